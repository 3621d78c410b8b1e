"""Balanced pairs ► fetch units: which worker asks which hosts.

In: tables of balanced pairs. Out: one plan a unit (`PLAN`, in the order of pair ids, which is that of keys). A unit is
a range of hashes of sites, so that one worker asks a host, and all others of its site (`pipeline.web.sites`), for all
of their images, over kept connections and at one pace. A site that outgrows a unit is split by hash of the image URL,
so that a URL is fetched once for all pairs that hold it; the units of one bucket of sites are a *lane*, and one worker
does them one after another, at the same pace.

Rows go to groups of neighbouring units, compressed, through one file a source (`pipeline.fetching.routed_files`). A
worker holds the rows of a quarter of a million pairs, or of one group: some hundred MB, however many pairs there are.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.arrays import Ints, flatten_lists, list_column
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import Words, hash_texts, id_words, sorted_order
from pipeline.base.on_worker import OnWorker
from pipeline.base.row_messages import read_messages
from pipeline.base.schemas import PLAN, TEXTS
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_batches, write_table
from pipeline.fetching.grouped_rows import first_rows, gather_rows, split_rows
from pipeline.fetching.routed_files import RoutedFiles, write_routed
from pipeline.web.sites import site_of
from pipeline.web.urls import url_host

HOST_BUCKETS: Final = 1 << 16
UNIT: Final = pa.field("unit", pa.int32(), nullable=False)
ROUTED: Final = PLAN.append(UNIT)
GROUP: Final = pa.schema([pa.field("unit", pa.int32(), nullable=False), pa.field("rows", pa.int64(), nullable=False)])

_WANTED_UNITS: Final = 64  # at least, where pairs are enough
_FEWEST_UNIT_URLS: Final = 100
_MOST_UNIT_URLS: Final = 10_000  # what is done again at most when a worker dies
_GROUP_ROWS: Final = 200_000  # sorted in memory, about 80 MB of pairs
_MOST_GROUP_UNITS: Final = 64  # files that are written one after another
# Rows of one pair that differ, differ in these; the first of them is kept.
_ORDER: Final = [(name, "ascending") for name in ("pair_id", "page_url", "text_source", "keep_probability")]


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

    def lanes(self) -> Ints:
        """The lane of every unit, [num_units]: the first unit of the same hosts.

        >>> plan_units(np.array([2, 0, 1, 3, 7]), unit_urls=3).lanes().tolist()
        [0, 1, 2, 2, 2]
        """
        lanes = np.arange(self.num_units)
        for bucket in np.flatnonzero(self.num_parts > 1):
            first = self.first_unit[bucket]
            lanes[first : first + self.num_parts[bucket]] = first
        return lanes


class UnitGroup(NamedTuple):
    """Neighbouring units that are made together.

    Attributes:
        number: Of the group.
        first: Its first unit.
        end: The unit after its last.
    """

    number: int
    first: int
    end: int

    @property
    def units(self) -> range:
        """The numbers of its units."""
        return range(self.first, self.end)


def plan_units(histogram: Ints, *, unit_urls: int) -> UnitPlan:
    """Packs buckets of hosts, in order, into units of at most `unit_urls` rows; splits larger buckets.

    A unit holds whole buckets, or a part of one bucket and nothing else.

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


def choose_unit_urls(num_pairs: int, *, asked: int = 0) -> int:
    """Pairs in a fetch unit: as asked, else so many that there are units enough for all cores, and none is too large.

    It depends on the data alone: on every machine units are the same.

    Args:
        num_pairs: Of all units, about.
        asked: Pairs in a unit; 0: by their number.

    >>> [choose_unit_urls(pairs) for pairs in (50, 10_000, 640_000, 400_000_000)], choose_unit_urls(50, asked=7)
    ([100, 157, 10000, 10000], 7)
    """
    return asked or min(max(-(-num_pairs // _WANTED_UNITS), _FEWEST_UNIT_URLS), _MOST_UNIT_URLS)


def units_a_group(unit_urls: int) -> int:
    """How many units are made together: as many as their rows fit into memory.

    >>> units_a_group(10_000), units_a_group(100), units_a_group(1_000_000)
    (20, 64, 1)
    """
    return min(max(_GROUP_ROWS // unit_urls, 1), _MOST_GROUP_UNITS)


def group_units(num_units: int, *, size: int) -> list[UnitGroup]:
    """All units in groups of a size.

    >>> [group.units for group in group_units(5, size=2)]
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    firsts = range(0, num_units, size)
    return [UnitGroup(number, first, min(first + size, num_units)) for number, first in enumerate(firsts)]


def order_of_work(lanes: Ints) -> list[int]:
    """All units, those of long lanes first, since nobody can help with those at the end; in order within a lane.

    >>> order_of_work(np.array([0, 1, 2, 2, 2, 5]))
    [2, 3, 4, 0, 1, 5]
    """
    lengths = np.bincount(lanes, minlength=1)[lanes]
    order: list[int] = np.lexsort((lanes, -lengths)).tolist()
    return order


def assign_units(plan: UnitPlan, buckets: Ints, url_hashes: Words) -> Ints:
    """The unit of every row.

    Args:
        plan: Units of the buckets.
        buckets: [rows] bucket of the host.
        url_hashes: [rows] hash of the image URL; of no account where a bucket is not split.
    """
    parts = plan.num_parts[buckets].astype(np.uint64)
    part = (url_hashes >> np.uint64(32)) * parts >> np.uint64(32)
    return plan.first_unit[buckets] + part.astype(np.int64)


def host_column(urls: pa.Array) -> pa.Array:
    """The hosts of canonical URLs."""
    return pa.array([url_host(url) for url in urls.to_pylist()], pa.string())


def host_buckets(hosts: pa.Array) -> Ints:
    """The bucket of every host: that of its site.

    >>> len(set(host_buckets(pa.array(["a.example.com", "b.example.com", "example.com"])).tolist()))
    1
    """
    coded = hosts.dictionary_encode()
    sites = pa.array([site_of(host) for host in coded.dictionary.to_pylist()], pa.string())
    buckets = (hash_texts(sites) % np.uint64(HOST_BUCKETS)).astype(np.int64)
    return buckets[coded.indices.to_numpy()]


def units_of_urls(plan: UnitPlan, urls: pa.Array) -> Ints:
    """The unit of every canonical image URL.

    Raises:
        ValueError: When one is of a bucket that was empty when the units were planned.
    """
    buckets = host_buckets(host_column(urls))
    if len(unplanned := np.flatnonzero(plan.num_parts[buckets] == 0)):
        raise ValueError(
            f"{urls[unplanned[0]]}: its site was not there when the units were planned; was the package "
            "publicsuffixlist changed since? Begin anew with --overwrite"
        )
    is_split = plan.num_parts[buckets] > 1
    hashes = np.zeros(len(urls), np.uint64)
    hashes[is_split] = hash_texts(urls.filter(pa.array(is_split)))
    return assign_units(plan, buckets, hashes)


def merge_plan(rows: pa.Table) -> tuple[pa.Table, int]:
    """The rows of one unit in the order of their ids, each pair once.

    Returns:
        The rows, and how many more of the same pairs there were.
    """
    plan = first_rows(rows.sort_by(_ORDER), "pair_id")
    return plan, rows.num_rows - plan.num_rows


def merge_images(rows: pa.Table) -> pa.Table:
    """The images of a unit: of the pairs of a URL one row, the best pair's, with all `TEXTS` and all queries.

    The best is one that a query selected, then one with many queries. How likely an image was to be kept follows from
    how likely each of its pairs was, since their lots are drawn apart.

    Args:
        rows: Each pair once.

    Returns:
        In the order of ids.
    """
    lengths = {f"{name} of the pair": pc.list_value_length(rows[name]) for name in ("kept_for", "query_ids")}
    order = [("image_url", "ascending"), *((name, "descending") for name in lengths), ("pair_id", "ascending")]
    schema = rows.schema
    for name, length in lengths.items():
        rows = rows.append_column(name, length)
    numbered = rows.sort_by(order).select(schema.names).combine_chunks()
    urls = numbered["image_url"].combine_chunks()
    images = pc.index_in(urls, value_set=pc.unique(urls)).to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.diff(images, prepend=-1))
    merged = numbered.take(pa.array(starts))
    bounds = pa.array(np.append(starts, len(images)), pa.int32())
    chances = numbered["keep_probability"].to_numpy().astype(np.float64)
    missed = np.multiply.reduceat(1 - chances, starts) if len(starts) else chances
    columns = {
        "query_ids": _union_lists(numbered["query_ids"], images),
        "kept_for": _union_lists(numbered["kept_for"], images),
        "keep_probability": pa.array(1 - missed).cast(pa.float32()),
    }
    for name, column in columns.items():
        merged = merged.set_column(merged.schema.get_field_index(name), name, column)
    texts = pa.ListArray.from_arrays(bounds, numbered["text"].combine_chunks())
    merged = merged.append_column(TEXTS.name, texts).cast(schema.append(TEXTS))
    return merged.take(pa.array(sorted_order(id_words(merged["pair_id"]))))


def _union_lists(lists: pa.ChunkedArray, images: Ints) -> pa.ListArray:
    """The elements of the lists of each image, sorted, each once.

    Args:
        lists: [rows].
        images: [rows], sorted: the number of the image of each.
    """
    rows, values = flatten_lists(lists.combine_chunks())
    found = np.unique(np.stack([images[rows], values.astype(np.int64)], axis=1), axis=0)
    num_images = int(images[-1]) + 1 if len(images) else 0
    return list_column(np.bincount(found[:, 0], minlength=num_images), found[:, 1].astype(np.int32))


def count_hosts(source: Sequence[str]) -> Ints:
    """Rows of some tables of balanced pairs by bucket of their hosts: [HOST_BUCKETS]."""
    histogram = np.zeros(HOST_BUCKETS, np.int64)
    for path in source:
        for batch in read_batches(path, ["image_url"]):
            histogram += np.bincount(host_buckets(host_column(batch["image_url"])), minlength=HOST_BUCKETS)
    return histogram


def read_unit_plan(histogram_file: str, *, unit_urls: int) -> UnitPlan:
    """The units of a histogram in a file."""
    return plan_units(np.load(io.BytesIO(files.read_bytes(histogram_file))), unit_urls=unit_urls)


def routed_file(plans: StageFolder, number: int) -> str:
    """The file of the rows of a source on their way."""
    return plans.file(f"routed-{number:05d}.bin")


def open_routed(plans: StageFolder, num_sources: int, *, num_groups: int) -> RoutedFiles:
    """The files of all sources."""
    return RoutedFiles((routed_file(plans, number) for number in range(num_sources)), num_groups=num_groups)


def write_routes(
    source: tuple[int, Sequence[str]],
    output: str,
    *,
    plan: OnWorker[UnitPlan],
    group_size: int,
    schema: pa.Schema = PLAN,
) -> Counts:
    """Writes the rows of some tables of balanced pairs by group of units.

    Args:
        source: Number, and paths of tables.
        output: Where they go.
        plan: The units.
        group_size: Units a group.
        schema: Of the plans: `PLAN`, with the columns that are carried.
    """
    _, tables = source
    num_groups = -(-plan.get().num_units // group_size)
    write_routed(output, route_rows(tables, plan=plan, group_size=group_size, schema=schema), num_groups=num_groups)
    return {}


def route_rows(
    tables: Sequence[str], *, plan: OnWorker[UnitPlan], group_size: int, schema: pa.Schema = PLAN
) -> Iterator[tuple[int, bytes]]:
    """The rows of some tables of balanced pairs by group of units, as messages of a plan's schema and their `UNIT`."""
    batches = (batch for path in tables for batch in read_batches(path, schema.names))
    for rows in gather_rows(batches, schema):
        units = units_of_urls(plan.get(), rows["image_url"].combine_chunks())
        routed = rows.append_column(UNIT, pa.array(units, pa.int32()))
        routed = routed.sort_by([("unit", "ascending"), ("image_url", "ascending")])
        yield from split_rows(routed, routed["unit"].to_numpy() // group_size)


def write_plans(
    group: UnitGroup,
    output: str,
    *,
    routed: OnWorker[RoutedFiles],
    plans: StageFolder,
    schema: pa.Schema = PLAN,
    by_image: bool = False,
) -> Counts:
    """Writes the plan of every unit of a group from the rows that were routed to it, and last how many there are.

    Args:
        group: The units.
        output: Where it is said how many rows the plan of each has (`GROUP`).
        routed: The rows of all sources.
        plans: Where plans go, by the names of their units.
        schema: Of the plans: `PLAN`, with the columns that are carried.
        by_image: Whether the pairs of an image are one row of a plan.

    Returns:
        Pairs in, kept, and dropped because they came more than once.
    """
    rows = read_messages(routed.get().read(group.number), schema.append(UNIT))
    num_rows: list[int] = []
    repeated = 0
    planned = schema.append(TEXTS) if by_image else schema
    for unit, its_rows in split_by_unit(group, rows):
        plan, more = merge_plan(its_rows)
        repeated += more
        plan = merge_images(plan) if by_image else plan
        write_table(plans.table(raw_name(unit)), plan, planned)
        num_rows.append(plan.num_rows)
    counts = drop_counts("pairs", rows.num_rows - repeated, {DropReason.DUPLICATE_PAIR: repeated})
    write_group(group, output, num_rows, counts)
    return counts


def split_by_unit(group: UnitGroup, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Every unit of a group with its rows, by their column ``unit``."""
    units = rows["unit"].to_numpy()
    order = np.argsort(units, kind="stable")
    ends = np.searchsorted(units[order], group.units, side="right")
    starts = np.searchsorted(units[order], group.units)
    for unit, start, end in zip(group.units, starts, ends, strict=True):
        yield unit, rows.take(pa.array(order[start:end]))


def write_group(group: UnitGroup, output: str, num_rows: Sequence[int], counts: Counts) -> None:
    """Writes how many rows the tables of a group's units have, which is its last file."""
    write_table(output, pa.table({"unit": list(group.units), "rows": num_rows}, GROUP), GROUP, counts)
