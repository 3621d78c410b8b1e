"""Scores that samples were chosen by ► how many samples have which, of all that have one and of those in the shards.

Shards know nothing of scores: they are counted while samples are selected, and told as they were when the set was made.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.arrays import load_array
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import write_table
from pipeline.sharding.card.counting import SCORE_COUNTS, round_numbers
from pipeline.sharding.selection.scores import JoinedScores, read_joined
from pipeline.sharding.selection.verdicts import STAYS, verdicts_of
from pipeline.sharding.stored_samples import RawGroup


def write_group(group: RawGroup, output: str, *, scores: Sequence[JoinedScores], verdicts: StageFolder) -> Counts:
    """Writes the counts of a group.

    Args:
        group: Of raw tars.
        output: Where to.
        scores: Of all groups.
        verdicts: Of all rules.
    """
    stays = load_array(verdicts_of(group, folder=verdicts)) == STAYS
    parts = [
        count_scores(name, column, stays) for joined in scores for name, column in read_joined(joined, group).items()
    ]
    write_table(output, add_scores(parts), SCORE_COUNTS)
    return {}


def count_scores(name: str, scores: pa.Array, stays: npt.NDArray[np.bool_]) -> pa.Table:
    """How many rows have which score (`SCORE_COUNTS`), those aside that have none.

    Args:
        name: Of the score.
        scores: [rows] float32.
        stays: [rows], whether a row is in the shards.
    """
    known = np.asarray(scores.is_valid()) & np.isfinite(scores.fill_null(np.inf).to_numpy(zero_copy_only=False))
    numbers = round_numbers(scores.fill_null(0).to_numpy(zero_copy_only=False)[known])
    ones = np.ones(len(numbers), np.int64)
    rows = [[name] * len(numbers), numbers, ones, stays[known].astype(np.int64)]
    return add_scores([pa.table(rows, SCORE_COUNTS)])


def add_scores(counts: Iterable[pa.Table]) -> pa.Table:
    """Adds up counts, sorted by name and score."""
    added = SCORE_COUNTS.empty_table()
    for table in counts:  # one after another: all of them together may be large
        both = pa.concat_tables([added, table]).group_by(["name", "number"])
        sums = both.aggregate([("scored", "sum"), ("kept", "sum")])
        added = pa.table([sums[name] for name in ("name", "number", "scored_sum", "kept_sum")], SCORE_COUNTS)
    return added.sort_by([("name", "ascending"), ("number", "ascending")])
