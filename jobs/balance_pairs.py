"""`wit400m balance-pairs`: matched pairs to at most `cap` pairs a query.

`--final`, as its first word, cuts exactly among the images that came; `--top-up` plans what to fetch next.
"""

import sys
from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.balancing.final import BalanceFinal, TopUpPairs
from pipeline.balancing.stage import BalancePairs
from pipeline.stages import Stage

_STAGES: dict[str, type[Stage]] = {"--final": BalanceFinal, "--top-up": TopUpPairs}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in _STAGES:
        return run_job(_STAGES[arguments[0]], arguments[1:])
    return run_job(BalancePairs, arguments)
