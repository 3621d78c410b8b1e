"""A finished set of shards and lists of what must go ► the same set without it: only shards that hold it are rewritten.

What is to go is found in the indexes. Each shard that holds some of it is written anew, whole or not at all, then the
files that tell of all shards, and last the manifest and ``_stage.json``, so that the folder is finished as before and
verifies. ``removals.jsonl`` keeps what was removed when and why. A removal that was cut short is finished by the next.
"""

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.carried_columns import Carried, carried_fields
from pipeline.base.drops import Counts, DropReason, add_counts, drop_counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import UID
from pipeline.base.tables import count_rows, read_schema, read_table, write_table
from pipeline.base.tar import encode_json, encode_member, fill_archive
from pipeline.sharding.card import rewrite_card
from pipeline.sharding.packing import add_manifest, count_images, write_manifest
from pipeline.web.blocklists import KINDS, Blocklists

_BLOCK_BYTES: Final = 1 << 20


class Listed(NamedTuple):
    """The samples of a shard that are listed.

    Attributes:
        shard: Its name.
        keys: Of the samples.
        queries: How many of them each query keeps, by its id.
    """

    shard: str
    keys: tuple[str, ...]
    queries: Mapping[str, int]


def find_listed(shard: str, *, folder: str, lists: Blocklists) -> Listed:
    """The samples of a shard that are listed, from its index.

    Args:
        shard: Its name.
        folder: Of the shards.
        lists: What must go.
    """
    index = ShardsFolder(folder).index(shard)
    uid = [UID] if carries_uid(read_schema(index)) else []
    table = read_table(index, ["key", "url", "sha256", "phash", "kept_for", *uid])
    digests = pa.array([bytes.fromhex(digest) for digest in table["sha256"].to_pylist()], pa.binary(32))
    table = table.rename_columns({"url": "image_url"})
    table = table.set_column(table.schema.get_field_index("sha256"), "sha256", digests)
    listed = table.filter(pa.array(lists.rows(table)))
    queries = Counter(str(query) for row in listed["kept_for"].to_pylist() for query in row)
    return Listed(shard, tuple(listed["key"].to_pylist()), queries)


def carries_uid(schema: pa.Schema) -> bool:
    """Whether the uids of a shard's index are of the tables that the pairs came from; else they are keys."""
    return bool(schema.field(UID) != SHARD_INDEX.field(UID))


def remove_samples(listed: Listed, report: str, *, folder: str) -> None:
    """Writes a shard and its index without some samples; or removes both when nothing is left.

    Args:
        listed: The shard, and what must go; some or all of it may be gone already.
        report: Where to write, last, what the manifest is to say of it.
        folder: Of the shards.
    """
    shards, gone = ShardsFolder(folder), frozenset(listed.keys)
    path, index = shards.file(listed.shard), shards.index(listed.shard)
    entry = None
    if files.exists(index):
        rows = read_table(index)
        left = rows.filter(pc.invert(pc.is_in(rows["key"], pa.array(listed.keys, pa.string()))))
        if left.num_rows:
            digest, size = _copy_without(path, gone)
            lengths = left["length"].to_numpy()
            left = left.set_column(
                left.schema.get_field_index("offset"), left.schema.field("offset"), pa.array(lengths.cumsum() - lengths)
            )
            write_table(index, left, left.schema)
            entry = {"name": listed.shard, "samples": left.num_rows, "bytes": size, "sha256": digest}
            entry |= {"images": count_images(left["mime"])}
        else:
            files.remove_file(path)
            files.remove_file(index)
    files.write_json(report, {"entry": entry, **listed._asdict()}, sort_keys=False)


def keep_before(shards: ShardsFolder, before: ShardsFolder) -> None:
    """Copies what is told of all shards, so that it can be written anew as often as need be.

    Args:
        shards: Their folder.
        before: Where to.
    """
    paths = zip([*shards.about_all, shards.file(STAGE_NAME)], [*before.about_all, before.file(STAGE_NAME)], strict=True)
    for path, copy in paths:
        if files.exists(path):
            files.write_bytes_whole(copy, files.read_bytes(path))


def finish(shards: ShardsFolder, before: ShardsFolder, reports: Mapping[str, str], record: Mapping[str, Any]) -> Counts:
    """Writes what is told of all shards anew, after all were rewritten.

    Args:
        shards: Their folder.
        before: What was told before.
        reports: Of each shard that was rewritten the report.
        record: What the log says of the removal besides.

    Returns:
        Counts of samples.
    """
    manifest = files.read_json(before.manifest)
    found = dict(zip(reports, files.each(files.read_json, reports.values()), strict=True))
    entries = [found[e["name"]]["entry"] if e["name"] in found else e for e in manifest["shards"]]
    after = add_manifest([entry for entry in entries if entry])
    fewer = np.zeros(count_rows(before.query_counts), np.int64)
    for report in found.values():
        for query, number in report["queries"].items():
            fewer[int(query)] += number
    keys = [key for report in found.values() for key in report["keys"]]
    counts = drop_counts("samples", after["samples"], {DropReason.BLOCKED: len(keys)})
    carried = _carried_by(shards, after)
    rewrite_card(shards, before=before, manifest=after, carried=carried, fewer=fewer, counts=counts)
    digests = {entry["name"]: entry["sha256"] for entry in manifest["shards"]}
    told = [
        {
            "name": name,
            "samples": len(report["keys"]),
            "sha256_before": digests[name],
            "sha256": report["entry"] and report["entry"]["sha256"],
        }
        for name, report in found.items()
    ]
    log = files.read_bytes(before.removals) if files.exists(before.removals) else b""
    line = encode_json({**record, "samples": len(keys), "keys": sorted(keys), "shards": told})
    files.write_bytes_whole(shards.removals, log + line + b"\n")
    write_manifest(shards, after)
    if files.exists(before.file(STAGE_NAME)):
        _tell_stage(shards, read_stage(before.path), found, after)
    return counts


def add_lists(folder: str, lists: Blocklists) -> None:
    """Adds what must go to the lists of a folder, which later stages read.

    Args:
        folder: Of the removals of a data set.
        lists: What is to be added.
    """
    for kind in KINDS:
        if entries := lists.entries.get(kind):
            path = files.join(folder, f"{kind}.txt")
            known = files.read_bytes(path).decode().split("\n") if files.exists(path) else []
            more = sorted(entries - set(known))
            files.write_bytes_whole(path, "\n".join([*(line for line in known if line), *more, ""]).encode())


def _copy_without(path: str, gone: frozenset[str]) -> tuple[str, int]:
    """Writes a tar anew without some samples; returns its digest and its bytes."""
    digest, size = hashlib.sha256(), 0
    with files.write_whole(path) as new:
        for data in _members(path, gone):
            digest.update(data)
            size += new.write(data)
        ending = fill_archive(size)
        digest.update(ending)
        size += new.write(ending)
    return digest.hexdigest(), size


def _members(path: str, gone: frozenset[str]) -> Iterator[bytes]:
    """The members of a tar, but for those of some samples."""
    with (
        files.open_for_read(path) as file,
        tarfile.open(fileobj=file, mode="r|", bufsize=_BLOCK_BYTES) as tar,
    ):
        for member in tar:
            if member.name.partition(".")[0] not in gone:
                content = tar.extractfile(member)
                yield encode_member(member.name, content.read() if content else b"")


def _carried_by(shards: ShardsFolder, manifest: Mapping[str, Any]) -> Carried:
    """The columns that samples carry, by the first shard that is left."""
    for entry in manifest["shards"][:1]:
        schema = read_schema(shards.index(entry["name"]))
        ours = set(SHARD_INDEX.names) - ({UID} if carries_uid(schema) else set())
        return tuple(field for field in carried_fields(schema) if field.name not in ours)
    return ()


def _tell_stage(
    shards: ShardsFolder,
    content: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Any],
) -> None:
    """Has ``_stage.json`` tell of the files as they are now."""
    changed = {name for shard in found for name in _names_of(shard)}
    changed |= {path.removeprefix(f"{shards.path}/") for path in shards.about_all}
    empty = {name for shard, report in found.items() if not report["entry"] for name in _names_of(shard)}
    known = [output for output in content["outputs"] if output["name"] not in changed]
    anew = [_describe(shards, name) for name in sorted(changed - empty)]
    outputs = sorted([*known, *anew], key=lambda output: str(output["name"]))
    gone = sum(len(report["keys"]) for report in found.values())
    counts = add_counts(content["counts"], {f"samples/drop/{DropReason.BLOCKED}": gone})
    counts |= {"samples/kept": after["samples"], "shards": len(after["shards"])}
    files.write_json(shards.file(STAGE_NAME), {**content, "outputs": outputs, "counts": counts})


def _names_of(shard: str) -> tuple[str, str]:
    return shard, shard.partition(".")[0] + ".parquet"


def _describe(shards: ShardsFolder, name: str) -> dict[str, Any]:
    path = shards.file(*name.split("/"))
    return {"name": name, "bytes": files.file_size(path), "sha256": files.file_digest(path)}
