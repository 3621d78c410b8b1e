"""`wit400m balance-pairs`: matched pairs to at most `cap` pairs a query.

`--final` cuts exactly among the images that came; `--top-up` plans what to fetch next.
"""

import sys
from collections.abc import Sequence

from jobs.runner import run_job
from pipeline.balancing.final import BalanceFinal, TopUpPairs
from pipeline.balancing.stage import BalancePairs
from pipeline.base.stage_folder import Stage

# In this order: a top-up has an option --final, with a folder.
_STAGES: dict[str, type[Stage]] = {"--top-up": TopUpPairs, "--final": BalanceFinal}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for word, stage in _STAGES.items():
        if word in arguments:
            arguments.remove(word)
            return run_job(stage, arguments)
    return run_job(BalancePairs, arguments)
