"""Why each row of a group leaves, or that it stays: what the rules of selection hand from one to the next.

The first rules look at rows alone (`pipeline.sharding.selection.selecting.judge_rows`); those that follow compare rows
of all groups (`pipeline.sharding.selection.rules`). A rule looks at the rows that stay by the rules before, and writes
the verdicts anew. So every loss has one reason, and what leaves by one rule is no rival by the next.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.arrays import Ints, load_array, write_array
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import StageFolder
from pipeline.sharding.stored_samples import RawGroup, read_group

Verdicts = npt.NDArray[np.uint8]  # [rows] of a group: 0, or the place of the reason in `REASONS`
Mask = npt.NDArray[np.bool_]

STAYS: Final = 0
REASONS: Final = (
    None,
    DropReason.BLOCKED,
    DropReason.NO_SCORE,
    DropReason.LOW_SCORE,
    DropReason.REFUSED_ROW,
    DropReason.DUPLICATE_SAMPLE,
    DropReason.DUPLICATE_IMAGE,
    DropReason.NEAR_DUPLICATE,
    DropReason.CONTAMINATED,
    DropReason.DUPLICATE_PAIR,
    DropReason.REPEATED_TEXT,
)


def verdicts_of(group: RawGroup, *, folder: StageFolder) -> str:
    """Where the verdicts on a group lie."""
    return folder.file(f"{group.name}.npy")


def read_candidates(group: RawGroup, columns: Sequence[str], *, verdicts: StageFolder) -> tuple[pa.Table, Ints]:
    """The rows of a group that stay so far, and which of its rows they are.

    Args:
        group: Of raw tars.
        columns: What to read besides `pair_id`.
        verdicts: Of the rules before.
    """
    rows = np.flatnonzero(load_array(verdicts_of(group, folder=verdicts)) == STAYS)
    table = read_group(group, columns)
    return table if len(rows) == table.num_rows else table.take(rows), rows


def write_verdicts(output: str, num_rows: int, losses: Mapping[DropReason, Mask]) -> None:
    """Writes the first verdicts on a group.

    Args:
        output: Where to.
        num_rows: Of the group.
        losses: [rows] for each reason; of several reasons for a row the first counts.
    """
    verdicts = np.zeros(num_rows, np.uint8)
    for reason, rows in losses.items():
        verdicts[rows & (verdicts == STAYS)] = REASONS.index(reason)
    write_array(output, verdicts)


def write_losses(
    group: RawGroup, output: str, parts: Iterable[bytes], *, before: StageFolder, reason: DropReason
) -> Counts:
    """Writes the verdicts on a group anew, with the rows that leave by a rule.

    Args:
        group: Of raw tars.
        output: Where to.
        parts: These rows, int32; a row may come more than once.
        before: Where the verdicts lie by the rules before.
        reason: For which they leave.
    """
    verdicts = load_array(verdicts_of(group, folder=before))
    verdicts[np.frombuffer(b"".join(parts), np.int32)] = REASONS.index(reason)
    write_array(output, verdicts)
    return {}


def count_verdicts(verdicts: Verdicts) -> dict[str, int]:
    """How many rows leave for each reason that has some."""
    numbers = np.bincount(verdicts, minlength=len(REASONS)).tolist()
    return {str(reason): number for reason, number in zip(REASONS, numbers, strict=True) if reason and number}
