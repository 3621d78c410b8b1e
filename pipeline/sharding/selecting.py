"""Raw indexes ► which sample goes to which shard.

In: the index of every raw tar, and a model's scores if there are any. Out, per raw tar, its survivors (images that are
there, no duplicates, and fit their text well enough), and per shard a plan: rows of `SHARD_PLAN`, in key order. Keys
are hashes, so key order is a random order that every run repeats, and hosts, which a raw tar holds together, are mixed.
Raw tars are taken in groups; the survivors of a group are cut into shards of equal size (they differ by one sample at
most).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import CountUnits, DropReason, UnitReport, drop_counts, report_unit
from pipeline.base.ids import id_words
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.tables import count_rows, read_counts, read_table, write_table
from pipeline.sharding.scores import JoinScores, unpack_scores
from pipeline.sharding.stored_samples import read_stored

SELECTED = SHARD_INDEX.append(pa.field("offset", pa.int64(), nullable=False)).append(
    pa.field("length", pa.int64(), nullable=False)
)
SHARD_PLAN = SELECTED.append(pa.field("raw_name", pa.string(), nullable=False))
_NUM_BUCKETS = 64
_RECORD = np.dtype([("duplicate_id", ">u8", 2), ("key", ">u8", 2), ("raw", "i4"), ("row", "i4")])


@dataclass(frozen=True)
class ShardSpec:
    """One shard to plan: samples [first, last) of a group of raw tars, in key order."""

    shard_index: int
    raw_names: tuple[str, ...]
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
        selected: Tables that `SelectSamples` wrote, in order of their names.
        group_size: Raw tars a group.
        max_samples: Samples a shard may hold.
    """
    groups = [tuple(selected[i : i + group_size]) for i in range(0, len(selected), group_size)]
    cuts = cut_shards([sum(map(count_rows, group)) for group in groups], max_samples)
    flat = [(group, first, last) for group, edges in zip(groups, cuts, strict=True) for first, last in edges]
    return [ShardSpec(index, group, first, last) for index, (group, first, last) in enumerate(flat)]


def plan_shard(spec: ShardSpec) -> pa.Table:
    """The rows of one shard, in key order."""
    tables = []
    for path in spec.raw_names:
        table = read_table(path)
        name = pa.scalar(files.basename(path).removesuffix(".parquet"))
        tables.append(table.append_column("raw_name", pa.repeat(name, table.num_rows)))
    group = pa.concat_tables(tables)
    keys = group["key"].to_numpy(zero_copy_only=False).astype("S32")
    return group.take(np.argsort(keys, kind="stable")[spec.first : spec.last])


@dataclass(kw_only=True, eq=False)
class SelectSamples(beam.PTransform):
    """Writes the survivors of every raw tar; only records of at most 40 bytes are shuffled.

    Attributes:
        stage_name: Namespace of the counts.
        indexes: The raw indexes, by names that differ.
        output: Folder for one `SELECTED` table a raw tar, under its name.
        duplicates: ``keep`` all, or keep one sample a ``pair`` (same image bytes, same text) or an ``image``.
        scores: Tables of scores; without any, samples are not chosen by score.
        min_score: The lowest score that is kept.
    """

    stage_name: str
    indexes: Mapping[str, str]
    output: str
    duplicates: str
    scores: Sequence[str] = ()
    min_score: float = -math.inf

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        indexes = list(enumerate(self.indexes.values()))
        names = [name.removesuffix(".index.parquet") for name in self.indexes]
        raws = root | "RawIndexes" >> beam.Create(indexes).with_output_types(tuple[int, str])
        losers = (
            raws
            | "HashSamples" >> beam.FlatMap(_hash_samples, self.duplicates)
            | "GroupDuplicates" >> beam.GroupByKey()
            | "FindLosers" >> beam.FlatMap(_find_losers)
        )
        joined = {"path": raws, "losers": losers}
        if self.scores:
            scores = JoinScores(indexes=list(self.indexes.values()), tables=self.scores)
            joined["scores"] = root | "JoinScores" >> scores
        min_score = self.min_score if self.scores else None
        return (
            joined
            | "JoinLosers" >> beam.CoGroupByKey()
            | "WriteSurvivors"
            >> beam.Map(_write_survivors, names, self.output, self.duplicates, min_score).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class PlanShards(beam.PTransform):
    """Writes the plan of every shard.

    Attributes:
        specs: The shards to plan.
        output: Folder for one `SHARD_PLAN` table a shard.
    """

    specs: Sequence[ShardSpec]
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str], the plans' paths."""
        return root | "Shards" >> beam.Create(list(self.specs)) | "PlanShard" >> beam.Map(_write_plan, self.output)


def plan_path(folder: str, shard_index: int) -> str:
    """Where the plan of a shard lies."""
    return files.join(folder, f"{shard_index:05d}.parquet")


def _hash_samples(raw: tuple[int, str], duplicates: str) -> Iterator[tuple[int, bytes]]:
    raw_index, path = raw
    if duplicates == "keep":
        return
    table = read_stored(path)
    records = np.empty(table.num_rows, _RECORD)
    records["duplicate_id"] = id_words(duplicate_ids(table, by_text=duplicates == "pair"))
    records["key"] = id_words(table["pair_id"])
    records["raw"] = raw_index
    records["row"] = np.arange(table.num_rows)
    buckets = records["duplicate_id"][:, 0] % np.uint64(_NUM_BUCKETS)
    for bucket in np.unique(buckets):
        yield int(bucket), records[buckets == bucket].tobytes()


def _find_losers(bucket: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    losers = find_losers(np.frombuffer(b"".join(bucket[1]), _RECORD))
    for raw_index in np.unique(losers["raw"]):
        yield int(raw_index), losers["row"][losers["raw"] == raw_index].tobytes()


def _write_survivors(
    joined: tuple[int, dict[str, Any]], names: Sequence[str], output: str, duplicates: str, min_score: float | None
) -> UnitReport:
    raw_index, parts = joined
    [index_path] = parts["path"]
    name = names[raw_index]
    path = files.join(output, f"{name}.parquet")
    table = read_stored(index_path)
    losers = np.frombuffer(b"".join(parts["losers"]), np.int32)
    kept = np.ones(table.num_rows, bool)
    kept[losers] = False
    reason = DropReason.DUPLICATE_IMAGE if duplicates == "image" else DropReason.DUPLICATE_SAMPLE
    drops: dict[str, int] = {reason: len(losers)}
    if min_score is not None:
        scores = unpack_scores(parts["scores"], table.num_rows)
        is_unknown, is_low = np.isnan(scores), scores < np.float32(min_score)
        drops |= {DropReason.NO_SCORE: int((kept & is_unknown).sum()), DropReason.LOW_SCORE: int((kept & is_low).sum())}
        kept &= ~is_unknown & ~is_low
    counts = drop_counts("samples", int(kept.sum()), drops)
    write_table(path, table.filter(pa.array(kept)), SELECTED, counts)
    return report_unit(name, counts)


def _write_plan(spec: ShardSpec, output: str) -> str:
    path = plan_path(output, spec.shard_index)
    if read_counts(path) is None:
        write_table(path, plan_shard(spec), SHARD_PLAN)
    return path
