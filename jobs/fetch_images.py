"""`wit400m fetch-images`: balanced pairs to images, in raw tars."""

from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.fetching import FetchImages


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(FetchImages, argv)
