"""`wit400m build-vocab`: dump, page views and WordNet to the query vocabulary."""

from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.vocabulary.stage import BuildVocab


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    return run_job(BuildVocab, argv)
