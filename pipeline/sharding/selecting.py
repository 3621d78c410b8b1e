"""Raw indexes ► which sample goes to which shard.

In: the index of every raw tar, and a model's scores if there are any. Out, per raw tar, its survivors (images that are
there, no duplicates, and fit their text well enough), and per shard a plan: rows of `SHARD_PLAN`, in key order. Keys
are hashes, so key order is a random order that every run repeats, and hosts, which a raw tar holds together, are mixed.
Raw tars are taken in groups; the survivors of a group are cut into shards of equal size (they differ by one sample at
most).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.base.arrays import read_array
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import table_name
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.tables import count_rows_each, read_table, write_table
from pipeline.sharding.stored_samples import NUM_BUCKETS, RawTar, read_stored

# Of samples with the same image bytes keep one a text, one at all, or all.
Duplicates = Literal["pair", "image", "keep"]

SELECTED = SHARD_INDEX.append(pa.field("offset", pa.int64(), nullable=False)).append(
    pa.field("length", pa.int64(), nullable=False)
)
SHARD_PLAN = SELECTED.append(pa.field("raw_name", pa.string(), nullable=False))
_RECORD = np.dtype([("duplicate_id", ">u8", 2), ("key", ">u8", 2), ("unit", "i4"), ("row", "i4")])


@dataclass(frozen=True)
class ShardSpec:
    """One shard to plan: samples [first, last) of a group of raw tars, in key order."""

    shard_index: int
    tables: tuple[str, ...]  # `SELECTED`
    first: int
    last: int


def duplicate_ids(table: pa.Table, *, by_text: bool) -> pa.Array:
    """An id that duplicates share: of the image bytes, and of the text too if `by_text`."""
    digests = table["sha256"].to_pylist()
    texts = table["text"].to_pylist() if by_text else [""] * len(digests)
    ids = [
        hashlib.blake2b(digest + text.encode(), digest_size=16).digest()
        for digest, text in zip(digests, texts, strict=True)
    ]
    return pa.array(ids, pa.binary(16))


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records that share a duplicate id, all but the one with the smallest key.

    Args:
        records: [n] of `_RECORD`, in any order.
    """
    order = np.lexsort((records["key"][:, 1], records["key"][:, 0], *records["duplicate_id"].T[::-1]))
    ordered = records[order]
    same = np.all(ordered["duplicate_id"][1:] == ordered["duplicate_id"][:-1], axis=1)
    return ordered[1:][same]


def cut_shards(group_sizes: Sequence[int], max_samples: int) -> list[list[tuple[int, int]]]:
    """Cuts every group into as few shards as hold it, of equal size.

    >>> cut_shards([5, 0, 2], 2)
    [[(0, 1), (1, 3), (3, 5)], [], [(0, 2)]]
    """
    cuts = []
    for size in group_sizes:
        shards = -(-size // max_samples)
        edges = [size * k // shards for k in range(shards + 1)] if shards else []
        cuts.append(list(pairwise(edges)))
    return cuts


def spec_shards(selected: Sequence[str], *, group_size: int, max_samples: int) -> list[ShardSpec]:
    """The shards that the survivors of all raw tars make, numbered through.

    Args:
        selected: Tables of survivors (`SELECTED`), in order of their names.
        group_size: Raw tars a group.
        max_samples: Samples a shard may hold.
    """
    starts, sizes = range(0, len(selected), group_size), count_rows_each(selected)
    groups = [tuple(selected[start : start + group_size]) for start in starts]
    cuts = cut_shards([sum(sizes[start : start + group_size]) for start in starts], max_samples)
    flat = [(group, first, last) for group, edges in zip(groups, cuts, strict=True) for first, last in edges]
    return [ShardSpec(index, group, first, last) for index, (group, first, last) in enumerate(flat)]


def plan_shard(spec: ShardSpec) -> pa.Table:
    """The rows of one shard, in key order."""
    tables = []
    for path in spec.tables:
        table = read_table(path)
        tables.append(table.append_column("raw_name", pa.repeat(table_name(path), table.num_rows)))
    group = pa.concat_tables(tables)
    keys = group["key"].to_numpy(zero_copy_only=False).astype("S32")
    return group.take(np.argsort(keys, kind="stable")[spec.first : spec.last])


def pack_samples(raw: RawTar, *, duplicates: Duplicates) -> Iterator[tuple[int, bytes]]:
    """The samples of a raw tar as records of 40 bytes, by bucket of their duplicate ids."""
    if duplicates == "keep":
        return
    table = read_stored(raw.index_file)
    records = np.empty(table.num_rows, _RECORD)
    records["duplicate_id"] = id_words(duplicate_ids(table, by_text=duplicates == "pair"))
    records["key"] = id_words(table["pair_id"])
    records["unit"], records["row"] = raw.number, np.arange(table.num_rows)
    yield from split_by_bucket(records, records["duplicate_id"][:, 0], NUM_BUCKETS)


def find_losing_rows(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows of the losers among all records in a bucket, by raw tar."""
    losers = find_losers(np.frombuffer(b"".join(parts), _RECORD))
    return split_by_unit(losers, losers["row"])


def write_survivors(
    raw: RawTar, output: str, parts: Iterable[bytes], *, duplicates: Duplicates, min_score: float | None
) -> Counts:
    """Writes the samples of a raw tar that stay (`SELECTED`).

    Args:
        raw: The raw tar.
        output: Where to write.
        parts: The rows that lose to a duplicate.
        duplicates: What was compared.
        min_score: The lowest score that is good enough; None: samples are not chosen by score.
    """
    table = read_stored(raw.index_file)
    losers = np.frombuffer(b"".join(parts), np.int32)
    kept = np.ones(table.num_rows, bool)
    kept[losers] = False
    reason = DropReason.DUPLICATE_IMAGE if duplicates == "image" else DropReason.DUPLICATE_SAMPLE
    drops: dict[str, int] = {reason: len(losers)}
    if min_score is not None:
        scores = read_array(raw.scores)
        is_unknown, is_low = np.isnan(scores), scores < np.float32(min_score)
        drops |= {DropReason.NO_SCORE: int((kept & is_unknown).sum()), DropReason.LOW_SCORE: int((kept & is_low).sum())}
        kept &= ~is_unknown & ~is_low
    counts = drop_counts("samples", int(kept.sum()), drops)
    write_table(output, table.filter(pa.array(kept)), SELECTED, counts)
    return counts


def write_plan(spec: ShardSpec, output: str) -> Counts:
    """Writes the plan of a shard."""
    write_table(output, plan_shard(spec), SHARD_PLAN)
    return {}
