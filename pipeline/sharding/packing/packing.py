"""The plan of a block ► its shards and their indexes; the reports of all units ► the manifest and its kin.

Samples are copied as bytes: no image is decoded. A shard is made of *chunks* of a few MB: each is read, checked by the
headers of its members, hashed and written while it is in the processor's cache; and the next is read ahead meanwhile.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.carried_columns import carried_fields, with_carried
from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder, StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import IMAGE_SUFFIXES, PAIR_KEY, TRAIN, UID
from pipeline.base.tables import read_some_groups, write_table
from pipeline.base.tar import fill_archive
from pipeline.sharding.forms import Form, describe_form, describe_split, split_of, write_stats
from pipeline.sharding.packing.layout import PackUnit, SetLayout
from pipeline.sharding.packing.samples import Rewriting, count_blurred, size_of_image, with_blurred
from pipeline.sharding.packing.sources import Source, open_source

_CHUNK_BYTES: Final = 4 << 20  # of samples, about: what is read, checked, hashed and written at once


def pack_unit(
    unit: PackUnit,
    report: str,
    *,
    shards: ShardsFolder,
    plans: StageFolder,
    tars: OnWorker[list[str]],
    layout: OnWorker[SetLayout],
    form: Form,
    queries: OnWorker[pa.Array] | None,
    blur_quality: int | None = None,
) -> Counts:
    """Writes the shards of a pack unit and their indexes.

    Args:
        unit: The unit.
        report: Where to write, last, what the manifest says of its shards.
        shards: The folder of the shards.
        plans: The folder of the plans of all blocks.
        tars: Paths of the raw tars, by number.
        layout: Of all shards.
        form: Of the set.
        queries: Strings of all queries, if samples are to say anew which of them keep it in the end and how likely;
            None: samples say so already.
        blur_quality: Of images that are encoded again because faces in them are blurred; None: none are.

    Raises:
        OSError: When a raw tar does not hold what its index says.
        ValueError: When an image with faces to blur cannot be decoded.
    """
    groups = range(unit.first_group, unit.first_group + len(unit.sizes))
    plan = read_some_groups(plans.table(unit.block), groups).combine_chunks()
    where = layout.get()
    rewriting = Rewriting(form, queries.get() if queries else None, blur_quality)
    reports, first = [], 0
    with open_source(plan, tars.get()) as source:
        for place, size in enumerate(unit.sizes):
            number = unit.first_shard + place
            keys = form.sample_keys(
                plan["key"].slice(first, size).to_pylist(),
                shard=where.shards_before(unit.split) + number,
                num_shards=sum(layout.num_shards for layout in where.splits),
                shard_samples=where.shard_samples,
            )
            name = form.shard_name(unit.split, number, where.num_shards(unit.split))
            described = write_shard(name, source, first, keys, shards=shards, rewriting=rewriting)
            reports.append(described | describe_split(unit.split))
            first += size
    files.write_json(report, reports, sort_keys=False)
    return count_blurred(plan) if blur_quality is not None else {}


def write_shard(
    name: str, source: Source, first: int, keys: Sequence[str], *, shards: ShardsFolder, rewriting: Rewriting
) -> dict[str, Any]:
    """Writes a shard and its index.

    Args:
        name: Of the shard.
        source: Of the samples.
        first: The row of the first of them.
        keys: What each sample is called in the shard.
        shards: The folder of the shards.
        rewriting: How samples change.

    Returns:
        What the manifest says of it.
    """
    with files.write_hashed(shards.file(name)) as shard:
        lengths, image_bytes = copy_samples(source, first, keys, shard, rewriting)
        shard.write(fill_archive(shard.bytes))
        described = {"name": name, "samples": len(keys), "bytes": shard.bytes, "sha256": shard.sha256}
    rows = source.plan.slice(first, len(keys))
    if rewriting.blur_quality is not None:
        rows = with_blurred(rows, image_bytes)
    index = index_shard(rows, lengths, keys=keys if rewriting.form.is_numbered else None)
    write_table(shards.index(name), index, index.schema)
    if rewriting.form.is_numbered:
        write_stats(shards, name, samples=len(keys))
    return {**described, "images": count_images(rows["mime"])}


def copy_samples(
    source: Source, first: int, keys: Sequence[str], shard: files.HashedFile, rewriting: Rewriting
) -> tuple[list[int], list[int]]:
    """Copies samples, one after another.

    Args:
        source: Of the samples.
        first: The row of the first of them.
        keys: What each is called in the shard.
        shard: Where to.
        rewriting: How samples change.

    Returns:
        Bytes of each sample's members in the shard; and bytes of each image, if images change.
    """
    chunks = cut_chunks(source.lengths[first : first + len(keys)])
    # While one is hashed, the other is filled.
    buffers = [np.empty(max((size for _, _, size in chunks), default=0), np.uint8) for _ in range(2)]
    lengths, image_bytes = list[int](), list[int]()
    source.expect(first, first + chunks[0][1])
    for number, (start, end, size) in enumerate(chunks):
        if number + 1 < len(chunks):
            source.expect(first + end, first + chunks[number + 1][1])
        buffer = buffers[number % 2][:size]
        starts = source.read(first + start, first + end, buffer)
        if not rewriting.is_needed:
            shard.write(buffer.data)
            lengths += np.diff(starts).tolist()
            continue
        rows, view, places = source.plan.slice(first + start, end - start), buffer.data, starts.tolist()
        changes = rewriting.changes(rows, keys[start:end])
        samples = [
            rewriting.rewrite(view[begin:stop], change)
            for begin, stop, change in zip(places[:-1], places[1:], changes, strict=True)
        ]
        shard.write(b"".join(samples))
        lengths += map(len, samples)
        if rewriting.blur_quality is not None:
            image_bytes += map(size_of_image, samples)
    return lengths, image_bytes


def cut_chunks(lengths: Ints) -> list[tuple[int, int, int]]:
    """Samples that are read at once: the first, the one behind the last, and the bytes of all.

    >>> cut_chunks(np.array([1 << 21, 1 << 21, 1 << 20, 1 << 23, 512]))
    [(0, 2, 4194304), (2, 3, 1048576), (3, 4, 8388608), (4, 5, 512)]
    """
    chunks, start, size = [], 0, 0
    for row, length in enumerate(lengths.tolist()):
        if size and size + length > _CHUNK_BYTES:
            chunks.append((start, row, size))
            start, size = row, 0
        size += length
    return [*chunks, (start, len(lengths), size)]


def count_images(mimes: pa.ChunkedArray) -> dict[str, int]:
    """How many images have each suffix."""
    return dict(sorted(Counter(IMAGE_SUFFIXES[mime] for mime in mimes.to_pylist()).items()))


def index_shard(rows: pa.Table, lengths: Sequence[int], *, keys: Sequence[str] | None = None) -> pa.Table:
    """The index of a shard (`SHARD_INDEX`, and what is carried).

    Args:
        rows: Of `SHARD_PLAN`.
        lengths: Bytes of each sample's members in the shard.
        keys: What samples are called in the shard; the ids of their pairs then are a column of their own, and
            img2dataset's other columns are there, too. None: the ids of their pairs.
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
    index = pa.table(
        [named[name] if name in named and name in ours.names else rows[name] for name in schema.names], schema
    )
    if keys is None:
        return index
    index = index.set_column(schema.get_field_index("key"), schema.field("key"), pa.array(keys, pa.string()))
    told = {PAIR_KEY: rows["key"], "status": pa.repeat("success", rows.num_rows)}
    for name, column in {**told, "error_message": pa.nulls(rows.num_rows, pa.string())}.items():
        index = index.append_column(pa.field(name, pa.string(), nullable=name == "error_message"), column)
    return index


def read_manifest(reports: Sequence[str], form: Form) -> dict[str, Any]:
    """The manifest of all shards.

    Args:
        reports: Files that say what is in the shards of each pack unit, in order.
        form: Of the set.
    """
    return add_manifest([entry for entries in files.each(files.read_json, reports) for entry in entries], form)


def add_manifest(entries: Sequence[Mapping[str, Any]], form: Form) -> dict[str, Any]:
    """The manifest of all shards, from what it says of each, and the form of the set."""
    images: Counter[str] = Counter()
    for entry in entries:
        images.update(entry["images"])
    totals = {name: sum(entry[name] for entry in entries) for name in ("samples", "bytes")}
    return {**describe_form(form), **totals, "images": dict(sorted(images.items())), "shards": list(entries)}


def write_manifest(shards: ShardsFolder, manifest: Mapping[str, Any]) -> None:
    """Writes the sizes of all shards, the indexes of the package wids and, last, the manifest."""
    told = {**shard_sizes(shards, manifest), **wids_indexes(shards, manifest)}
    for path, content in told.items():
        files.write_json(path, content, sort_keys=False)
    for path in {*shards.all_sizes, *shards.all_wids} - told.keys():
        files.remove_file(path)  # of a split that has lost all its shards
    files.write_json(shards.manifest, manifest, sort_keys=False)


def shard_sizes(shards: ShardsFolder, manifest: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The tables of sizes, by their paths: one in each folder with shards, as open_clip looks for it; one at least."""
    found: dict[str, dict[str, int]] = {}
    for entry in manifest["shards"]:
        path = shards.sizes_beside(entry["name"])
        found.setdefault(path, {})[files.basename(entry["name"])] = entry["samples"]
    return found or {shards.sizes: {}}


def wids_indexes(shards: ShardsFolder, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The indexes of the package wids, by their paths: one for each split; that of the training split is always there.

    Shards are named from the folder of the index.
    """
    found: dict[str, list[dict[str, Any]]] = {shards.wids_of(TRAIN): []}
    for entry in manifest["shards"]:
        listed = {"url": entry["name"], "nsamples": entry["samples"], "filesize": entry["bytes"]}
        found.setdefault(shards.wids_of(split_of(entry)), []).append(listed)
    kind = {"__kind__": "wids-shard-index-v1", "wids_version": 1}
    return {path: {**kind, "shardlist": listed} for path, listed in found.items()}
