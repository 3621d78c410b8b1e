"""Balanced pairs ► fetch units: which worker asks which hosts.

In: tables of balanced pairs. Out: ``raw-NNNNN.parquet``, one plan a unit (`PLAN`, in key order). A unit is a range of
host hashes, so that one worker asks a host for all of its images, over kept connections and at one pace; a host that
outgrows a unit is split by hash of the image URL, so that one worker fetches a URL for all pairs that hold it. Parts of
one host may be fetched side by side, each at the host's pace. What is shuffled are record batches as Arrow IPC
messages, one for every input batch and unit.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts, CountUnits, DropReason, UnitReport, add_counts, drop_counts, report_unit
from pipeline.base.schemas import BALANCED, PLAN
from pipeline.base.shard_format import raw_name, sample_key
from pipeline.base.tables import read_batches, read_counts, write_table
from pipeline.web.urls import url_host

HOST_BUCKETS: Final = 1 << 16
_UNITS_NAME: Final = "_units.json"  # written last: the plan is whole
# Rows of one pair differ in these alone; the first of them is kept.
_ORDER: Final = [(name, "ascending") for name in ("key", "page_url", "source_file", "text_source", "language")]

Words = npt.NDArray[np.uint64]


class UnitPlan(NamedTuple):
    """Which units the hosts of a bucket go to.

    Attributes:
        first_unit: [HOST_BUCKETS] int64, the first unit of a bucket; -1 for an empty one.
        num_parts: [HOST_BUCKETS] int64, over how many units its URLs are spread.
    """

    first_unit: npt.NDArray[np.int64]
    num_parts: npt.NDArray[np.int64]


def plan_units(histogram: npt.NDArray[np.int64], *, unit_urls: int) -> UnitPlan:
    """Packs buckets of hosts, in order, into units of at most `unit_urls` rows; splits larger buckets.

    Args:
        histogram: Rows a bucket.
        unit_urls: Rows a unit; the parts of a split bucket come near it.

    >>> plan = plan_units(np.array([2, 0, 1, 3, 7]), unit_urls=3)
    >>> plan.first_unit.tolist(), plan.num_parts.tolist()
    ([0, -1, 0, 1, 2], [1, 0, 1, 1, 3])
    """
    first_unit = np.full(len(histogram), -1, np.int64)
    num_parts = -(-histogram // unit_urls)
    next_unit = room = 0
    for bucket in np.flatnonzero(histogram):
        rows = int(histogram[bucket])
        if rows <= room:
            first_unit[bucket] = next_unit - 1
            room -= rows
            continue
        first_unit[bucket] = next_unit
        next_unit += int(num_parts[bucket])
        room = max(0, unit_urls - rows)
    return UnitPlan(first_unit, num_parts)


def assign_units(plan: UnitPlan, buckets: npt.NDArray[np.int64], url_hashes: Words) -> npt.NDArray[np.int64]:
    """The unit of every row.

    Args:
        plan: Units of the buckets.
        buckets: [rows] bucket of the host.
        url_hashes: [rows] hash of the image URL.
    """
    parts = plan.num_parts[buckets].astype(np.uint64)
    part = (url_hashes >> np.uint64(32)) * parts >> np.uint64(32)
    return plan.first_unit[buckets] + part.astype(np.int64)


def hash_texts(column: pa.Array) -> Words:
    """The first 64 bits of each text's blake2b."""
    coded = column.dictionary_encode()
    words = [int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest()) for t in coded.dictionary.to_pylist()]
    return np.array(words, np.uint64)[coded.indices.to_numpy()]


def host_column(urls: pa.Array) -> pa.Array:
    """The hosts of canonical URLs."""
    return pa.array([url_host(url) for url in urls.to_pylist()], pa.string())


def host_buckets(hosts: pa.Array) -> npt.NDArray[np.int64]:
    """The bucket of every host."""
    return (hash_texts(hosts) % np.uint64(HOST_BUCKETS)).astype(np.int64)


def merge_plan(batches: Iterable[pa.RecordBatch]) -> tuple[pa.Table, int]:
    """The rows of one unit in key order, each pair once.

    Returns:
        The rows, and how many more of the same pairs there were.
    """
    table = pa.Table.from_batches(batches, PLAN).sort_by(_ORDER)
    keys = table["key"].to_numpy()
    is_first = np.ones(len(keys), bool)
    is_first[1:] = keys[1:] != keys[:-1]
    return table.filter(pa.array(is_first)), int(len(keys) - is_first.sum())


@dataclass(kw_only=True, eq=False)
class PlanUnits(beam.PTransform):
    """Writes the plan of every fetch unit.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Tables of balanced pairs.
        output: Folder for the plans.
        unit_urls: Rows a unit.
    """

    stage_name: str
    tables: Sequence[str]
    output: str
    unit_urls: int

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        tables = root | "Balanced" >> beam.Create(list(self.tables)).with_output_types(str)
        plan = (
            tables
            | "CountHosts" >> beam.Map(_count_hosts).with_output_types(bytes)
            | "SumHosts" >> beam.CombineGlobally(_SumHistograms())
            | "PlanUnits" >> beam.Map(_plan_from, self.unit_urls)
        )
        return (
            tables
            | "RouteRows"
            >> beam.FlatMap(_route_rows, beam.pvalue.AsSingleton(plan)).with_output_types(tuple[int, bytes])
            | "GroupUnits" >> beam.GroupByKey()
            | "WritePlan" >> beam.Map(_write_plan, self.output).with_output_types(UnitReport)
            | "AllPlans" >> beam.combiners.ToList()
            | "CommitPlan" >> beam.FlatMap(_commit_plan, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class ReportPlan(beam.PTransform):
    """Counts again a plan that an earlier run made.

    Attributes:
        stage_name: Namespace of the counts.
        counts: What `read_plan` found.
    """

    stage_name: str
    counts: Counts

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        reports = [report_unit("plan", self.counts)]
        return root | "Plan" >> beam.Create(reports).with_output_types(UnitReport) | CountUnits(self.stage_name)


def read_plan(folder: str) -> tuple[list[str], Counts] | None:
    """The plans of all units and what was counted in making them; None when they are not all there."""
    path = files.join(folder, _UNITS_NAME)
    if not files.exists(path):
        return None
    content = json.loads(files.read_bytes(path))
    return [files.join(folder, f"{name}.parquet") for name in content["units"]], content["counts"]


class _SumHistograms(beam.CombineFn):
    """Adds up histograms; they travel as bytes."""

    def create_accumulator(self) -> bytes:
        return bytes(8 * HOST_BUCKETS)

    def add_input(self, accumulator: bytes, histogram: bytes) -> bytes:
        return self.merge_accumulators([accumulator, histogram])

    def merge_accumulators(self, accumulators: Iterable[bytes]) -> bytes:
        total = np.zeros(HOST_BUCKETS, np.int64)
        for accumulator in accumulators:
            total += np.frombuffer(accumulator, np.int64)
        return total.tobytes()

    def extract_output(self, accumulator: bytes) -> bytes:
        return accumulator


def _count_hosts(path: str) -> bytes:
    histogram = np.zeros(HOST_BUCKETS, np.int64)
    for batch in read_batches(path, ["image_url"]):
        histogram += np.bincount(host_buckets(host_column(batch["image_url"])), minlength=HOST_BUCKETS)
    return histogram.tobytes()


def _plan_from(histogram: bytes, unit_urls: int) -> UnitPlan:
    return plan_units(np.frombuffer(histogram, np.int64), unit_urls=unit_urls)


def _route_rows(path: str, plan: UnitPlan) -> Iterator[tuple[int, bytes]]:
    for batch in read_batches(path, BALANCED.names):
        hosts = host_column(batch["image_url"])
        keys = pa.array(map(sample_key, batch["pair_id"].to_pylist()), pa.string())
        rows = pa.RecordBatch.from_arrays([*batch.select(BALANCED.names).columns, keys, hosts], PLAN.names).cast(PLAN)
        units = assign_units(plan, host_buckets(hosts), hash_texts(batch["image_url"]))
        for unit in np.unique(units):
            yield int(unit), rows.filter(pc.equal(pa.array(units), int(unit))).serialize().to_pybytes()


def _write_plan(grouped: tuple[int, Iterable[bytes]], folder: str) -> UnitReport:
    unit, parts = grouped
    name = raw_name(unit)
    path = files.join(folder, f"{name}.parquet")
    counts = read_counts(path)
    if counts is None:
        table, num_repeats = merge_plan(pa.ipc.read_record_batch(pa.py_buffer(part), PLAN) for part in parts)
        counts = drop_counts("pairs", table.num_rows, {DropReason.DUPLICATE_PAIR: num_repeats})
        write_table(path, table, PLAN, counts)
    return report_unit(name, counts)


def _commit_plan(reports: Sequence[UnitReport], folder: str) -> list[UnitReport]:
    counts = add_counts(*(dict(zip(report.names, report.values, strict=True)) for report in reports))
    content = {"units": sorted(report.unit for report in reports), "counts": counts}
    files.write_bytes_whole(files.join(folder, _UNITS_NAME), json.dumps(content).encode())
    return list(reports)
