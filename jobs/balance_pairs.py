"""`wit400m balance-pairs`: matched pairs to at most `cap` pairs a query."""

from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.balancing.stage import BalancePairs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(BalancePairs, argv)
