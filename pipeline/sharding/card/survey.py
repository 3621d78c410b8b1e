"""The indexes of all shards ► what the card tells of them: counts of values, and the samples it shows.

Groups of shards are read by workers; what they find comes together in buckets (`counting.split_values`), and picks in
one bucket of their own. The same functions work with and without Beam: as a step, or in processes (`survey_in`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import pyarrow as pa

from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.row_messages import pack_rows, read_messages
from pipeline.base.tables import read_schema, read_table, write_table
from pipeline.sharding.card.counting import VALUE_COUNTS, add_values, count_values, rank_values, split_values
from pipeline.sharding.card.picking import PICKS, merge_picks, pick_samples
from pipeline.sharding.stored_samples import cut_groups

_GROUPS_A_BUCKET: Final = 16
_PICKS_BUCKET: Final = 0
_UNUSED: Final = frozenset({"uid", "query_ids", "keep_probability", "sha256", "phash", "looks", "width", "height"})

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class Survey(NamedTuple):
    """What is known of a set.

    Attributes:
        values: How many samples have which value (`VALUE_COUNTS`, ranked).
        picks: The samples to show (`PICKS`).
    """

    values: pa.Table
    picks: pa.Table


class ShardGroup(NamedTuple):
    """Shards that are read together.

    Attributes:
        names: Of the shards.
    """

    names: tuple[str, ...]


def group_shards(names: Sequence[str]) -> list[ShardGroup]:
    """Shards in groups of neighbours."""
    return [ShardGroup(part) for part in cut_groups(names)]


def num_parts(num_groups: int) -> int:
    """In how many parts the survey of so many groups of shards comes: one of picks, the others of counts.

    >>> num_parts(1), num_parts(1250)
    (2, 79)
    """
    return 1 + max(1, num_groups // _GROUPS_A_BUCKET)


def pack_group(
    group: ShardGroup, *, folder: str, queries: Sequence[int], num_buckets: int
) -> Iterator[tuple[int, bytes]]:
    """What is found in a group of shards, by bucket: picks in the first, counts in the others.

    Args:
        group: The shards.
        folder: Where they lie.
        queries: Ids of the queries whose samples are shown.
        num_buckets: Buckets of counts.
    """
    shards = ShardsFolder(folder)
    counts, picks = [], PICKS.empty_table()
    for name in group.names:
        columns = [column for column in read_schema(shards.index(name)).names if column not in _UNUSED]
        index = read_table(shards.index(name), columns)
        counts.append(count_values(index))
        picks = merge_picks([picks, pick_samples(index, shard=name, queries=queries)])
    if picks.num_rows:
        yield _PICKS_BUCKET, pack_rows(picks)
    for bucket, part in split_values(add_values(counts), num_buckets=num_buckets):
        yield bucket + 1, pack_rows(part)


def write_bucket(bucket: int, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes what was found of a bucket: picks (`PICKS`), or counts (`VALUE_COUNTS`), which all are in it."""
    merged = merge_bucket(bucket, parts)
    write_table(output, merged, merged.schema)
    return {}


def merge_bucket(bucket: int, parts: Iterable[bytes]) -> pa.Table:
    """What was found of a bucket, together."""
    if bucket == _PICKS_BUCKET:
        return merge_picks([read_messages(parts, PICKS)])
    return rank_values([add_values([read_messages(parts, VALUE_COUNTS)])])


def read_survey(outputs: Sequence[str]) -> Survey:
    """The survey, from the outputs of its step."""
    picks, *counts = map(read_table, outputs)
    return Survey(rank_values(counts), picks)


def survey_in(each: Each, names: Sequence[str], *, shards: ShardsFolder, queries: Sequence[int]) -> Survey:
    """The survey without a step: packed counts of all groups are in memory at a time.

    Args:
        each: `map`, or one in several processes.
        names: Of the shards.
        shards: Their folder.
        queries: Ids of the queries whose samples are shown.
    """
    groups = group_shards(names)
    num_buckets = num_parts(len(groups)) - 1
    pack = partial(_pack_whole, folder=shards.path, queries=queries, num_buckets=num_buckets)
    parts = defaultdict[int, list[bytes]](list)
    for packed in each(pack, groups):
        for bucket, message in packed:
            parts[bucket].append(message)
    picks, *counts = (merge_bucket(bucket, parts[bucket]) for bucket in range(num_buckets + 1))
    return Survey(rank_values(counts), picks)


def _pack_whole(group: ShardGroup, *, folder: str, queries: Sequence[int], num_buckets: int) -> list[tuple[int, bytes]]:
    return list(pack_group(group, folder=folder, queries=queries, num_buckets=num_buckets))
