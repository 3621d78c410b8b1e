"""`wit400m write-shards`: raw tars to WebDataset shards."""

from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.sharding.stage import WriteShards


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(WriteShards, argv)
