"""Balanced pairs ► fetch units: which worker asks which hosts.

In: tables of balanced pairs. Out: one plan a unit (`PLAN`, in key order). A unit is a range of
host hashes, so that one worker asks a host for all of its images, over kept connections and at one pace; a host that
outgrows a unit is split by hash of the image URL, so that one worker fetches a URL for all pairs that hold it. Parts of
one host may be fetched side by side, each at the host's pace. What is shuffled are record batches as Arrow IPC
messages, one for every input batch and unit.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints, read_array
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.ids import Words
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import BALANCED, PLAN
from pipeline.base.shard_format import sample_key
from pipeline.base.tables import count_rows_each, read_batches, write_table
from pipeline.web.urls import url_host

HOST_BUCKETS: Final = 1 << 16
# Rows of one pair differ in these alone; the first of them is kept.
_ORDER: Final = [(name, "ascending") for name in ("key", "page_url", "source_file", "text_source", "language")]


class UnitPlan(NamedTuple):
    """Which units the hosts of a bucket go to.

    Attributes:
        first_unit: [HOST_BUCKETS] int64, the first unit of a bucket; -1 for an empty one.
        num_parts: [HOST_BUCKETS] int64, over how many units its URLs are spread.
    """

    first_unit: Ints
    num_parts: Ints

    @property
    def num_units(self) -> int:
        """Units, numbered from 0."""
        return int((self.first_unit + self.num_parts).max(initial=0))


def plan_units(histogram: Ints, *, unit_urls: int) -> UnitPlan:
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


def assign_units(plan: UnitPlan, buckets: Ints, url_hashes: Words) -> Ints:
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


def host_buckets(hosts: pa.Array) -> Ints:
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


def count_hosts(path: str) -> Ints:
    """Rows of a table of balanced pairs by bucket of their hosts: [HOST_BUCKETS]."""
    histogram = np.zeros(HOST_BUCKETS, np.int64)
    for batch in read_batches(path, ["image_url"]):
        histogram += np.bincount(host_buckets(host_column(batch["image_url"])), minlength=HOST_BUCKETS)
    return histogram


def read_unit_plan(histogram_file: str, *, unit_urls: int) -> UnitPlan:
    """The units of a histogram in a file."""
    return plan_units(read_array(histogram_file), unit_urls=unit_urls)


def route_rows(path: str, *, plan: OnWorker[UnitPlan]) -> Iterator[tuple[int, bytes]]:
    """The rows of a table of balanced pairs by unit, as Arrow IPC messages of `PLAN`."""
    for batch in read_batches(path, BALANCED.names):
        hosts = host_column(batch["image_url"])
        keys = pa.array(map(sample_key, batch["pair_id"].to_pylist()), pa.string())
        rows = pa.RecordBatch.from_arrays([*batch.select(BALANCED.names).columns, keys, hosts], PLAN.names).cast(PLAN)
        units = assign_units(plan.get(), host_buckets(hosts), hash_texts(batch["image_url"]))
        for unit in np.unique(units):
            yield int(unit), rows.filter(pc.equal(pa.array(units), int(unit))).serialize().to_pybytes()


def write_plan(unit: int, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes the plan of a unit from the rows that were routed to it.

    Returns:
        Pairs in, kept, and dropped because they came more than once.
    """
    table, num_repeats = merge_plan(pa.ipc.read_record_batch(pa.py_buffer(part), PLAN) for part in parts)
    counts = drop_counts("pairs", table.num_rows, {DropReason.DUPLICATE_PAIR: num_repeats})
    write_table(output, table, PLAN, counts)
    return counts


def plans_with_rows(paths: Sequence[str]) -> list[str]:
    """The plans of units that have something to fetch; a part of a split bucket may have none."""
    return [path for path, num_rows in zip(paths, count_rows_each(paths), strict=True) if num_rows]
