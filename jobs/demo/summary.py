"""What became of the demo's data, in words.

In: the folder of the stages' outputs and the model's scores. Out: lines of text: the head queries before and after
the cap, where the shards are, the scores beside chance. (The funnel is printed by `wit400m run`.)
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.base import files
from pipeline.base.shard_format import SIZES_NAME


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
    sizes = json.loads(files.read_bytes(files.join(data, "shards", SIZES_NAME)))
    yield f"Shards: {len(sizes)} with {sum(sizes.values()):,} samples in {files.join(data, 'shards')} (jpg, txt, json)"


def describe_scores(scores: list[Score]) -> Iterator[str]:
    """Yields a table of scores beside chance."""
    yield f"{'':<44}{'model':>8}{'chance':>9}{'times':>7}"
    for score in scores:
        yield f"{score.name:<44}{score.value:>8.1%}{score.chance:>9.1%}{score.value / score.chance:>7.1f}"


def _head_lines(data: str, number: int) -> Iterator[str]:
    balanced = files.join(data, "balanced")
    cuts = pq.read_table(files.join(balanced, "cuts.parquet"))
    left = np.zeros(pc.max(cuts["query_id"]).as_py() + 1, np.int64)
    for path in files.list_files(balanced, ".parquet"):
        if files.basename(path) != "cuts.parquet":
            query_ids = pc.list_flatten(pq.read_table(path, columns=["query_ids"])["query_ids"]).to_numpy()
            left += np.bincount(query_ids, minlength=len(left))
    yield f"{'query':<28}{'before':>8}{'selected':>10}{'after':>8}"
    for row in cuts.sort_by([("count", "descending"), ("query_id", "ascending")]).slice(0, number).to_pylist():
        yield f"{row['query']:<28}{row['count']:>8,}{row['kept']:>10,}{left[row['query_id']]:>8,}"
