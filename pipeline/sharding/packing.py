"""The plan of a pack unit ► its shards and their indexes; the reports of all units ► the manifest and its kin.

Samples are copied as bytes: no image is decoded. Raw tars are read one after another, and samples put where they belong
in a local temporary file, the *spool*, which holds those of all shards of the unit, one shard after another. So a unit
reads one range of each raw tar, and holds a few pieces of these in memory.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.carried_columns import carried_fields, with_carried
from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder, StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import IMAGE_SUFFIXES, JSON_SUFFIX, UID, describe_probability, member_name, shard_name
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import fill_archive, list_members, update_json
from pipeline.sharding.layout import Layout, PackUnit
from pipeline.sharding.ranges import cut_pieces, read_pieces


def pack_unit(
    unit: PackUnit,
    report: str,
    *,
    shards: ShardsFolder,
    plans: StageFolder,
    tars: OnWorker[list[str]],
    layout: OnWorker[Layout],
    queries: OnWorker[pa.Array] | None,
) -> Counts:
    """Writes the shards of a pack unit and their indexes.

    Args:
        unit: The unit.
        report: Where to write, last, what the manifest says of its shards.
        shards: The folder of the shards.
        plans: The folder of the plans of all units.
        tars: Paths of the raw tars, by number.
        layout: Of all shards.
        queries: Strings of all queries, if samples are to say anew which of them keep it in the end and how likely;
            None: samples say so already.

    Raises:
        OSError: When a raw tar does not hold what its index says.
    """
    plan, num_shards, size = read_table(plans.table(unit.name)), layout.get().num_shards, layout.get().shard_samples
    strings = queries.get() if queries else None
    reports = []
    with tempfile.TemporaryFile(prefix="wit400m-") as spool:
        spool_samples(plan, tars.get(), spool)
        for first in range(0, plan.num_rows, size):
            name = shard_name((unit.first + first) // size, num_shards)
            reports.append(write_shard(name, plan.slice(first, size), spool, shards=shards, queries=strings))
    files.write_json(report, reports, sort_keys=False)
    return {}


def spool_samples(plan: pa.Table, tars: list[str], spool: BinaryIO) -> None:
    """Copies all samples of a plan, in its order, from raw tars into a file, which is then read from its beginning.

    Args:
        plan: Rows of `SHARD_PLAN`.
        tars: Paths of the raw tars, by number.
        spool: An empty file.

    Raises:
        OSError: When a raw tar does not hold what its index says.
    """
    raws, offsets, lengths = (plan[name].to_numpy().astype(np.int64) for name in ("raw", "offset", "length"))
    places = np.cumsum(lengths) - lengths
    order = np.lexsort((offsets, raws))
    keys = plan["key"].combine_chunks().take(pa.array(order)).to_pylist()
    starts, sizes, targets = (column[order].tolist() for column in (offsets, lengths, places))
    for piece, data in read_pieces(cut_pieces(raws[order], offsets[order], lengths[order]), tars):
        view = memoryview(data)
        for row in range(piece.first, piece.last):
            start = starts[row] - piece.start
            sample = view[start : start + sizes[row]]
            check_sample(sample, keys[row], tar=tars[piece.raw], offset=starts[row])
            os.pwrite(spool.fileno(), sample, targets[row])
    spool.seek(0)


def check_sample(sample: memoryview, key: str, *, tar: str, offset: int) -> None:
    """Checks that some bytes of a raw tar are the members of the sample that should be there.

    Raises:
        OSError: When they are not.
    """
    try:
        names = [member.name for member in list_members(sample)]
        found = next((repr(name) for name in names if not name.startswith(member_name(key, ""))), "")
    except ValueError as error:
        found = str(error)
    if found:
        raise OSError(f"{tar}: sample {key} should be at byte {offset}, but there is {found}; is this tar another one?")


def write_shard(
    name: str, rows: pa.Table, spool: BinaryIO, *, shards: ShardsFolder, queries: pa.Array | None
) -> dict[str, Any]:
    """Writes a shard, whose samples come next in a spool, and its index.

    Args:
        name: Of the shard.
        rows: Of `SHARD_PLAN`.
        spool: Holds the samples.
        shards: The folder of the shards.
        queries: Strings of all queries, if what samples say of their selection is to be written anew.

    Returns:
        What the manifest says of it.
    """
    path, digest, lengths = shards.file(name), hashlib.sha256(), list[int]()
    with files.write_whole(path) as shard:
        for sample in read_samples(rows, spool, queries):
            digest.update(sample)
            lengths.append(shard.write(sample))
        ending = fill_archive(sum(lengths))
        digest.update(ending)
        size = sum(lengths) + shard.write(ending)
    index = index_shard(rows, lengths)
    write_table(shards.index(name), index, index.schema)
    described = {"name": name, "samples": rows.num_rows, "bytes": size, "sha256": digest.hexdigest()}
    return {**described, "images": count_images(rows["mime"])}


def count_images(mimes: pa.ChunkedArray) -> dict[str, int]:
    """How many images have each suffix."""
    return dict(sorted(Counter(IMAGE_SUFFIXES[mime] for mime in mimes.to_pylist()).items()))


def index_shard(rows: pa.Table, lengths: Sequence[int]) -> pa.Table:
    """The index of a shard (`SHARD_INDEX`, and what is carried).

    Args:
        rows: Of `SHARD_PLAN`.
        lengths: Bytes of each sample's members in the shard.
    """
    carried = carried_fields(rows.schema)
    ends = np.cumsum(lengths, dtype=np.int64)
    named = {
        UID: rows["key"],
        "url": rows["image_url"],
        "caption": rows["text"],
        "page_url": rows["page_url"].fill_null(""),
        "language": rows["language"].fill_null(""),
        "sha256": pa.array([digest.hex() for digest in rows["sha256"].to_pylist()], pa.string()),
        "offset": pa.array(ends - lengths),
        "length": pa.array(lengths, pa.int64()),
    }
    ours = pa.schema([field for field in SHARD_INDEX if field.name not in {column.name for column in carried}])
    schema = with_carried(ours, carried)
    return pa.table(
        [named[name] if name in named and name in ours.names else rows[name] for name in schema.names], schema
    )


def read_samples(rows: pa.Table, spool: BinaryIO, queries: pa.Array | None) -> Iterator[bytes]:
    """The samples of a shard, as they are to lie in it."""
    for row, length in enumerate(rows["length"].to_pylist()):
        sample = spool.read(length)
        if queries is not None:
            sample = update_json(sample, f".{JSON_SUFFIX}", describe_selection(rows, row, queries))
        yield sample


def describe_selection(plan: pa.Table, row: int, queries: pa.Array) -> dict[str, Any]:
    """What a sample's JSON says of its selection (`shard_format`): the queries that keep it, and how likely."""
    kept_for = [queries[query_id].as_py() for query_id in plan["kept_for"][row].as_py()]
    return {"kept_for": kept_for, "keep_probability": describe_probability(plan["keep_probability"][row].as_py())}


def read_manifest(reports: Sequence[str]) -> dict[str, Any]:
    """The manifest of all shards.

    Args:
        reports: Files that say what is in the shards of each pack unit, in order.
    """
    return add_manifest([entry for entries in files.each(files.read_json, reports) for entry in entries])


def add_manifest(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of all shards, from what it says of each."""
    images: Counter[str] = Counter()
    for entry in entries:
        images.update(entry["images"])
    totals = {name: sum(entry[name] for entry in entries) for name in ("samples", "bytes")}
    return {**totals, "images": dict(sorted(images.items())), "shards": list(entries)}


def write_manifest(shards: ShardsFolder, manifest: Mapping[str, Any]) -> None:
    """Writes the sizes of all shards, the index of the package wids and, last, the manifest."""
    entries = manifest["shards"]
    listed = [{"url": entry["name"], "nsamples": entry["samples"], "filesize": entry["bytes"]} for entry in entries]
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": listed}
    files.write_json(shards.sizes, {entry["name"]: entry["samples"] for entry in entries}, sort_keys=False)
    files.write_json(shards.wids, index, sort_keys=False)
    files.write_json(shards.manifest, manifest, sort_keys=False)
