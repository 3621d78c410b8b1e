"""What became of the demo's data, in words.

In: the folder of the stages' outputs and the model's scores. Out: lines of text: the head queries before and after
the cap, where the shards are, the scores beside chance. (The funnel is printed by `wit400m run`.)
"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.base import files
from pipeline.base.arrays import count_elements, read_lists
from pipeline.base.folders import BalancedFolder, ShardsFolder
from pipeline.base.tables import read_table


class Score(NamedTuple):
    """One measure of the model on what it never saw."""

    name: str
    value: float  # a share, 0 to 1
    chance: float  # what guessing gives


def describe_data(data: str, *, num_queries: int = 15) -> Iterator[str]:
    """Yields the lines about the data set below a data folder."""
    yield "The head queries: pairs that hold them, pairs selected for them, pairs that hold them afterwards:"
    yield from _head_lines(data, num_queries)
    yield ""
    shards = ShardsFolder(files.join(data, "shards"))
    sizes = files.read_json(shards.sizes)
    yield f"Shards: {len(sizes)} with {sum(sizes.values()):,} samples in {shards.path} (jpg, txt, json)"


def describe_scores(scores: list[Score]) -> Iterator[str]:
    """Yields a table of scores beside chance."""
    yield f"{'':<44}{'model':>8}{'chance':>9}{'times':>7}"
    for score in scores:
        yield f"{score.name:<44}{score.value:>8.1%}{score.chance:>9.1%}{score.value / score.chance:>7.1f}"


def _head_lines(data: str, number: int) -> Iterator[str]:
    balanced = BalancedFolder(files.join(data, "balanced"))
    cuts = read_table(balanced.cuts)
    of_queries = (part for path in balanced.tables for part in read_lists(path, column="query_ids"))
    left = count_elements(of_queries, cuts.num_rows)
    yield f"{'query':<28}{'before':>8}{'selected':>10}{'after':>8}"
    for row in cuts.sort_by([("count", "descending"), ("query_id", "ascending")]).slice(0, number).to_pylist():
        yield f"{row['query']:<28}{row['count']:>8,}{row['kept']:>10,}{left[row['query_id']]:>8,}"
