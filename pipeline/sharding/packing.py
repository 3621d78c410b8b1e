"""A shard's plan ► the shard and its index; the reports of all shards ► sizes and manifest.

Samples are copied from raw tars as byte ranges, in the order of the plan: no image is decoded.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder, table_name
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import JSON_SUFFIX, describe_probability, shard_name
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import fill_archive, update_json


def pack_unit(
    plan_file: str,
    report: str,
    *,
    shards: ShardsFolder,
    tars: Mapping[str, str],
    queries: OnWorker[pa.Array] | None,
) -> Counts:
    """Writes the shard of a plan and its index.

    Args:
        plan_file: A table of `SHARD_PLAN`.
        report: Where to write, last, what the manifest says of the shard.
        shards: The folder of the shards.
        tars: The raw tars, by the name that plans give them.
        queries: Strings of all queries, if samples are to say anew which of them keep it in the end and how likely;
            None: samples say so already.
    """
    plan, number = read_table(plan_file), table_name(plan_file)
    name = shard_name(int(number))
    path = shards.file(name)
    with files.write_whole(path) as shard:
        sha256 = pack_shard(plan, tars, shard, queries.get() if queries else None)
    write_table(shards.table(number), plan, SHARD_INDEX)
    content = {"name": name, "samples": plan.num_rows, "bytes": files.file_size(path), "sha256": sha256}
    files.write_json(report, content, sort_keys=False)
    return {}


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
    ending = fill_archive(size)
    digest.update(ending)
    shard.write(ending)
    return digest.hexdigest()


def describe_selection(plan: pa.Table, row: int, queries: pa.Array) -> dict[str, Any]:
    """What a sample's JSON says of its selection (`shard_format`): the queries that keep it, and how likely."""
    kept_for = [queries[query_id].as_py() for query_id in plan["kept_for"][row].as_py()]
    return {"kept_for": kept_for, "keep_probability": describe_probability(plan["keep_probability"][row].as_py())}


def write_manifest(shards: ShardsFolder, reports: Sequence[Mapping[str, Any]]) -> None:
    """Writes the sizes of all shards and, last, the manifest."""
    sizes = {report["name"]: report["samples"] for report in reports}
    manifest = {"samples": sum(sizes.values()), "bytes": sum(r["bytes"] for r in reports), "shards": list(reports)}
    files.write_json(shards.sizes, sizes, sort_keys=False)
    files.write_json(shards.manifest, manifest, sort_keys=False)
