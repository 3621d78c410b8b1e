"""`wit400m extract-pairs`: crawls and tables to distinct image-text pairs."""

from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.extraction.stage import ExtractPairs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(ExtractPairs, argv)
