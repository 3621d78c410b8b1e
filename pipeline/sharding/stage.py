"""Raw tars ► final shards, their indexes, sizes, manifest and data card: the stage write-shards.

In: raw tars with indexes (fetch-images), the final selection among them if one was made (balance-pairs --final), a
model's scores of the samples if they are to be filtered, and the cap's cuts (balance-pairs). Out, in one folder:
``00000.tar`` with ``00000.parquet`` (`SHARD_INDEX`, in the order of the shard), ``sizes.json``, ``manifest.json`` (read
nothing that it does not name) and ``card/``. Samples are copied as byte ranges: no image is decoded, no image byte is
shuffled.
Source of the names: `pipeline.base.shard_format`.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import apache_beam as beam
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import CountUnits, UnitReport, report_unit
from pipeline.base.options import option
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import (
    JSON_SUFFIX,
    MANIFEST_NAME,
    SIZES_NAME,
    describe_probability,
    shard_name,
)
from pipeline.base.stage_folder import Shape, Stage, Step, history_of, input_tables
from pipeline.base.tables import read_table, sum_counts, write_table
from pipeline.base.tar import update_json
from pipeline.sharding.card import write_card
from pipeline.sharding.scores import closing_file, find_cut, score_tables
from pipeline.sharding.selecting import PlanShards, SelectSamples, plan_path, spec_shards

_INDEX_SUFFIX = ".index.parquet"
_TAR_RECORD_BYTES = 10_240  # POSIX ustar: an archive ends with two zero blocks and fills its last record


@dataclass(kw_only=True)
class WriteShards(Stage):
    """Writes WebDataset shards of equal size from raw tars, with a manifest and a data card."""

    name: ClassVar[str] = "write-shards"

    raw: tuple[str, ...] = option((), "Folders of raw tars (fetch-images), of all rounds.", under_data="raw")
    final: str = option(
        "", "Folder of the final selection (balance-pairs --final); without one all images are taken.", identity=False
    )
    balanced: str = option("", "Folder of balanced pairs, for the data card.", under_data="balanced")
    output: str = option("", "Folder to write.", under_data="shards")
    max_samples: int = option(10_000, "Samples a shard may hold; shards come out equal.", minimum=1)
    duplicates: str = option(
        "pair",
        "Of samples with the same image bytes keep one a text (pair), one at all (image), or all (keep).",
        choices=("pair", "image", "keep"),
    )
    scores: str = option(
        "",
        "Folder of scores (python -m clip_train score) of the raw tars or of shards made of them before, to filter by.",
        identity=False,
    )
    min_score: float | None = option(None, "With --scores: keep what has this cosine or more.", minimum=-1, maximum=1)
    top_score_share: float | None = option(
        None, "With --scores: keep the best of all scored samples, as large a share (DataComp: 0.3).", maximum=1
    )
    group_size: int = option(128, "Raw tars whose samples are mixed in a shard.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        cuts = [self.min_score is not None, self.top_score_share is not None]
        if self.scores and sum(cuts) != 1:
            raise ValueError(f"write-shards: scores {self.scores!r} wants either min-score or top-score-share")
        if any(cuts) and not self.scores:
            raise ValueError("write-shards: min-score and top-score-share want scores, not ''")
        if self.top_score_share is not None and self.top_score_share <= 0:
            raise ValueError(f"write-shards: top-score-share must be above 0, not {self.top_score_share}")

    def inputs(self) -> list[str]:
        """The raw folders, the final selection or the balanced folder, and the scores."""
        scores = [closing_file(self.scores)] if self.scores else []
        return [*self.raw, self.final or self.balanced, *scores]

    def steps(self) -> Iterator[Step]:
        """Select, plan, pack; then sizes, manifest and card."""
        raw_indexes = [path for raw in self.raw for path in input_tables(raw, _INDEX_SUFFIX)]
        names = files.distinct_names(raw_indexes)
        tars = {
            name.removesuffix(_INDEX_SUFFIX): path.removesuffix(_INDEX_SUFFIX) + ".tar"
            for name, path in zip(names, raw_indexes, strict=True)
        }
        indexes = [files.join(self.final, name) for name in names] if self.final else raw_indexes
        selected_folder, plan_folder = files.join(self.output, "_selected"), files.join(self.output, "_plan")
        scores = score_tables(self.scores) if self.scores else []
        select = SelectSamples(
            stage_name=self.name,
            indexes=dict(zip(names, indexes, strict=True)),
            output=selected_folder,
            duplicates=self.duplicates,
            scores=scores,
            min_score=self._cut(scores),
        )
        yield Step("SelectSamples", select, Shape.SHUFFLE)
        selected = files.list_files(selected_folder, ".parquet")
        specs = spec_shards(selected, group_size=self.group_size, max_samples=self.max_samples)
        plans = [plan_path(plan_folder, spec.shard_index) for spec in specs]
        yield Step("PlanShards", PlanShards(specs=specs, output=plan_folder), Shape.MAP, tuple(plans))
        cuts = files.join(self.final or self.balanced, "cuts.parquet")
        pack = PackShards(
            stage_name=self.name, plans=plans, tars=tars, output=self.output, queries=cuts if self.final else ""
        )
        yield Step("PackShards", pack, Shape.MAP, tuple(_report_path(self.output, plan) for plan in plans))
        reports = [json.loads(files.read_bytes(_report_path(self.output, plan))) for plan in plans]
        write_manifest(self.output, reports)
        write_card(
            files.join(self.output, "card"),
            indexes=[files.join(self.output, _table_name(report["name"])) for report in reports],
            cuts=read_table(cuts),
            history=[*history_of(self), {"stage": self.name, "counts": sum_counts(selected)}],
        )

    def _cut(self, scores: Sequence[str]) -> float:
        if self.top_score_share is not None:
            return find_cut(scores, self.top_score_share)
        return -math.inf if self.min_score is None else self.min_score


@dataclass(kw_only=True, eq=False)
class PackShards(beam.PTransform):
    """Copies the samples of every plan into its shard.

    Attributes:
        stage_name: Namespace of the counts.
        plans: Paths of `SHARD_PLAN` tables.
        tars: The raw tars, by the name that plans give them.
        output: Folder of the shards.
        queries: Table with the strings of all queries, to write into each sample which of them keep it in the end and
            how likely; empty: samples say so already.
    """

    stage_name: str
    plans: Sequence[str]
    tars: Mapping[str, str]
    output: str
    queries: str = ""

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Plans" >> beam.Create(list(self.plans)).with_output_types(str)
            | "PackShard" >> beam.Map(_pack_unit, self.tars, self.output, self.queries).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def pack_shard(plan: pa.Table, tars: Mapping[str, str], shard: BinaryIO, queries: pa.Array | None = None) -> str:
    """Copies the samples of a plan, in its order, from raw tars into a shard.

    Args:
        plan: Rows of `SHARD_PLAN`.
        tars: The raw tars, by the name that the plan gives them.
        shard: Where to write.
        queries: Strings of all queries, if what samples say of their selection is to be written anew.

    Returns:
        The SHA-256 of the shard, as hexadecimal digits.
    """
    digest = hashlib.sha256()
    size = 0
    with ExitStack() as stack:
        names = plan["raw_name"].unique().to_pylist()
        opened = {name: stack.enter_context(files.open_for_read(tars[name])) for name in names}
        places = zip(*(plan[column].to_pylist() for column in ("raw_name", "offset", "length")), strict=True)
        for row, (name, offset, length) in enumerate(places):
            opened[name].seek(offset)
            sample = opened[name].read(length)
            if len(sample) != length:
                raise OSError(f"{tars[name]} ends before byte {offset + length}; its index says more")
            if queries is not None:
                sample = update_json(sample, f".{JSON_SUFFIX}", describe_selection(plan, row, queries))
            digest.update(sample)
            size += shard.write(sample)
    ending = bytes(2 * 512 + -(size + 2 * 512) % _TAR_RECORD_BYTES)
    digest.update(ending)
    shard.write(ending)
    return digest.hexdigest()


def describe_selection(plan: pa.Table, row: int, queries: pa.Array) -> dict[str, Any]:
    """What a sample's JSON says of its selection (`shard_format`): the queries that keep it, and how likely."""
    kept_for = [queries[query_id].as_py() for query_id in plan["kept_for"][row].as_py()]
    return {"kept_for": kept_for, "keep_probability": describe_probability(plan["keep_probability"][row].as_py())}


def write_manifest(folder: str, reports: Sequence[dict[str, Any]]) -> None:
    """Writes ``sizes.json`` and, last, ``manifest.json``."""
    sizes = {report["name"]: report["samples"] for report in reports}
    manifest = {"samples": sum(sizes.values()), "bytes": sum(r["bytes"] for r in reports), "shards": list(reports)}
    for name, content in ((SIZES_NAME, sizes), (MANIFEST_NAME, manifest)):
        files.write_bytes_whole(files.join(folder, name), (json.dumps(content, indent=1) + "\n").encode())


def _pack_unit(plan_file: str, tars: Mapping[str, str], output: str, queries_path: str) -> UnitReport:
    report_path = _report_path(output, plan_file)
    if files.exists(report_path):
        report = json.loads(files.read_bytes(report_path))
        return report_unit(report["name"], {"shards": 1})
    plan = read_table(plan_file)
    name = shard_name(int(files.basename(plan_file).removesuffix(".parquet")))
    path = files.join(output, name)
    queries = read_table(queries_path, ["query"])["query"].combine_chunks() if queries_path else None
    with files.write_whole(path) as shard:
        sha256 = pack_shard(plan, tars, shard, queries)
    write_table(files.join(output, _table_name(name)), plan, SHARD_INDEX)
    report = {"name": name, "samples": plan.num_rows, "bytes": files.file_size(path), "sha256": sha256}
    files.write_bytes_whole(report_path, json.dumps(report).encode())
    return report_unit(name, {"shards": 1})


def _report_path(output: str, plan_file: str) -> str:
    return files.join(output, "_packed", files.basename(plan_file).removesuffix(".parquet") + ".json")


def _table_name(shard: str) -> str:
    return shard.removesuffix(".tar") + ".parquet"
