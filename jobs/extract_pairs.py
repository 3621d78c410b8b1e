"""`wit400m extract-pairs`: crawls and tables to distinct image-text pairs."""

from collections.abc import Sequence

from jobs.runner import run_job, show_warnings
from pipeline.extraction.stage import ExtractPairs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    show_warnings("pipeline.extraction.stage")
    return run_job(ExtractPairs, argv)
