"""What Dataflow is told of a step besides its pipeline: a name and labels by which its job is found.

In: Beam's flags as the user gave them, the stage's and the step's names. Out: more flags. Nothing of Google's is
imported here.
Source: Dataflow's names of jobs, ``[a-z]([-a-z0-9]*[a-z0-9])?``, and of labels, 63 of ``[a-z0-9_-]``.
"""

import argparse
import re
from collections.abc import Sequence
from typing import Final

RUNNER: Final = "DataflowRunner"
MAX_LENGTH: Final = 63  # of a label's value; of a job's name as Beam itself makes them
_MIN_STEP: Final = 12  # letters of a step's name that a long prefix leaves


def dataflow_flags(beam_flags: Sequence[str], *, stage: str, step: str, unique: str) -> list[str]:
    """The flags that name and label the job of a step; none for another engine than Dataflow.

    Args:
        beam_flags: Flags that were given; their ``--job_name``, if any, stands before the step's name.
        stage: Name of the stage.
        step: Label of the step.
        unique: What no other job has: lower-case letters, digits and dashes.

    >>> flags = ["--runner=DataflowRunner"]
    >>> dataflow_flags(flags, stage="match-pairs", step="MatchQueries", unique="1128-7f")
    ['--job_name=wit400m-match-pairs-match-queries-1128-7f', '--labels=wit400m-stage=match-pairs', \
'--labels=wit400m-step=match-queries']
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    parser.add_argument("--job_name")
    given, _ = parser.parse_known_args(list(beam_flags))
    if given.runner != RUNNER:
        return []
    name = job_name(given.job_name or f"wit400m-{stage}", step, unique)
    return [
        f"--job_name={name}",
        f"--labels=wit400m-stage={stage}",
        f"--labels=wit400m-step={kebab(step)[:MAX_LENGTH]}",
    ]


def job_name(prefix: str, step: str, unique: str) -> str:
    """A name of at most 63 characters: of what is too long the step's name is cut, then the prefix.

    >>> job_name("wit400m-build-vocab", "MergeWords-JoinWords-CountBigrams", "1128-7f")
    'wit400m-build-vocab-merge-words-join-words-count-bigram-1128-7f'
    """
    room = MAX_LENGTH - len(unique) - 2
    prefix = prefix[: room - _MIN_STEP]
    return f"{prefix}-{kebab(step)[: room - len(prefix)].rstrip('-')}-{unique}"


def kebab(label: str) -> str:
    """A step's label as Dataflow writes names.

    >>> kebab("CollectLots1of4")
    'collect-lots1of4'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", label).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")
