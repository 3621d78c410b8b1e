"""A finished set of shards and lists of what must go ► the same set without it: only shards that hold it are rewritten.

What is to go is found in the indexes. Each shard that holds some of it is written anew, whole or not at all, then the
files that tell of all shards, and last the manifest and ``_stage.json``, so that the folder is finished as before and
verifies. ``removals.jsonl`` keeps what was removed when and why, and from which crawls. A removal that was cut short is
finished by the next.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.carried_columns import Carried, carried_fields
from pipeline.base.drops import Counts, DropReason, add_counts, drop_counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import PAIR_KEY, UID
from pipeline.base.tables import read_schema, read_table, write_table
from pipeline.base.tar import encode_json, fill_archive
from pipeline.sharding.card.query_counts import num_queries
from pipeline.sharding.card.survey import Each
from pipeline.sharding.card.writing import remake_card
from pipeline.sharding.forms import describe_split, form_of, split_of, stats_name, write_stats
from pipeline.sharding.packing.packing import add_manifest, count_images, write_manifest
from pipeline.web.blocklists import KINDS, Blocklists

ORIGINS_NAME: Final = "removed.jsonl"  # among the lists of what was removed
_BLOCK_BYTES: Final = 1 << 20


class Trace(NamedTuple):
    """Where a sample is, and where it comes from.

    Attributes:
        key: Of the sample.
        shard: Its name.
        url: Of the image.
        page_url: Of the page that it was found on; empty where that is not known.
        source_file: Of the crawl, or the table, that the page was in.
        text_source: Where on the page its text stood.
        caption: Its text.
    """

    key: str
    shard: str
    url: str
    page_url: str
    source_file: str
    text_source: str
    caption: str


class Listed(NamedTuple):
    """The samples of a shard that are listed.

    Attributes:
        shard: Its name.
        keys: Of the samples, as they are called in the shard.
        queries: How many of them each query keeps, by its id.
        origins: Of each sample the addresses of its image and its page, and the file of the crawl.
    """

    shard: str
    keys: tuple[str, ...]
    queries: Mapping[str, int]
    origins: Sequence[tuple[str, str, str]]


_ORIGIN: Final = ("url", "page_url", "source_file")
_TRACED: Final = tuple(name for name in Trace._fields if name not in ("key", "shard"))


def find_listed(shard: str, *, folder: str, lists: Blocklists) -> Listed:
    """The samples of a shard that are listed, from its index.

    Args:
        shard: Its name.
        folder: Of the shards.
        lists: What must go.
    """
    listed = _listed_rows(shard, folder, lists, ["kept_for", *_ORIGIN])
    queries = Counter(str(query) for row in listed["kept_for"].to_pylist() for query in row)
    origins = list(zip(*(listed[name].to_pylist() for name in _ORIGIN), strict=True))
    return Listed(shard, tuple(listed["key"].to_pylist()), queries, origins)


def trace_listed(shard: str, *, folder: str, lists: Blocklists) -> list[Trace]:
    """Where the samples of a shard that are listed come from. Args: as `find_listed`."""
    rows = _listed_rows(shard, folder, lists, list(_TRACED)).to_pylist()
    return [Trace(row["key"], shard, *(row[name] for name in _TRACED)) for row in rows]


def _listed_rows(shard: str, folder: str, lists: Blocklists, columns: Sequence[str]) -> pa.Table:
    """The rows of a shard's index that are listed, with some of its columns and their key."""
    index = ShardsFolder(folder).index(shard)
    schema = read_schema(index)
    uid = [UID] if carries_uid(schema) else []
    pair_key = PAIR_KEY if PAIR_KEY in schema.names else "key"  # lists name pairs, whatever samples are called
    table = read_table(index, list(dict.fromkeys(["key", pair_key, "url", "sha256", "phash", *columns, *uid])))
    digests = pa.array([bytes.fromhex(digest) for digest in table["sha256"].to_pylist()], pa.binary(32))
    looked_at = pa.table(
        {"key": table[pair_key], "image_url": table["url"], "sha256": digests, "phash": table["phash"]}
    )
    looked_at = looked_at.append_column(UID, table[UID]) if uid else looked_at
    return table.select(["key", *columns]).filter(pa.array(lists.rows(looked_at)))


def carries_uid(schema: pa.Schema) -> bool:
    """Whether the uids of a shard's index are of the tables that the pairs came from; else they are keys."""
    return bool(schema.field(UID) != SHARD_INDEX.field(UID))


def remove_samples(listed: Listed, report: str, *, folder: str, sha256: str) -> None:
    """Writes a shard and its index without some samples; or removes both when nothing is left.

    Args:
        listed: The shard, and what must go; some or all of it may be gone already.
        report: Where to write, last, what the manifest is to say of it.
        folder: Of the shards.
        sha256: Of the shard as it was before the removal.

    Raises:
        OSError: When the shard was not what the manifest says.
    """
    shards = ShardsFolder(folder)
    path, index = shards.file(listed.shard), shards.index(listed.shard)
    entry = None
    if files.exists(index):
        rows = read_table(index)
        left = rows.filter(pc.invert(pc.is_in(rows["key"], pa.array(listed.keys, pa.string()))))
        if left.num_rows:
            made = _rewrite(path, left, sha256, note=f"{report.removesuffix('.json')}-made.json")
            lengths = left["length"].to_numpy()
            left = left.set_column(
                left.schema.get_field_index("offset"), left.schema.field("offset"), pa.array(lengths.cumsum() - lengths)
            )
            write_table(index, left, left.schema)
            if files.exists(shards.file(stats_name(listed.shard))):
                write_stats(shards, listed.shard, samples=left.num_rows)
            entry = {"name": listed.shard, "samples": left.num_rows, **made, "images": count_images(left["mime"])}
        else:
            for name in _names_of(listed.shard):
                files.remove_file(shards.file(name))
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


def finish(
    shards: ShardsFolder,
    before: ShardsFolder,
    reports: Mapping[str, str],
    *,
    record: Mapping[str, Any],
    each: Each,
) -> Counts:
    """Writes what is told of all shards anew, after all were rewritten.

    Args:
        shards: Their folder.
        before: What was told before.
        reports: Of each shard that was rewritten the report.
        record: What the log says of the removal besides.
        each: `map`, or one in several processes, for the card, which shows nothing of what is gone.

    Returns:
        Counts of samples.
    """
    manifest = files.read_json(before.manifest)
    found = dict(zip(reports, files.each(files.read_json, reports.values()), strict=True))
    entries = [
        {**found[e["name"]]["entry"], **describe_split(split_of(e))} if e["name"] in found else e
        for e in manifest["shards"]
        if e["name"] not in found or found[e["name"]]["entry"]
    ]
    after = add_manifest(entries, form_of(manifest))
    fewer = np.zeros(num_queries(read_table(before.query_counts, ["query_id"])), np.int64)
    for report in found.values():
        for query, number in report["queries"].items():
            fewer[int(query)] += number
    keys = [key for report in found.values() for key in report["keys"]]
    crawls = Counter(crawl for report in found.values() for _, _, crawl in report["origins"])
    counts = drop_counts("samples", after["samples"], {DropReason.BLOCKED: len(keys)})
    carried = _carried_by(shards, after)
    remake_card(shards, before=before, manifest=after, carried=carried, fewer=fewer, counts=counts, each=each)
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
    line = encode_json({**record, "samples": len(keys), "keys": sorted(keys), "crawls": crawls, "shards": told})
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


def add_origins(folder: str, found: Iterable[Listed], record: Mapping[str, Any]) -> None:
    """Notes in ``removed.jsonl`` where what was removed came from: a line a sample, each once however often it is told.

    It lies with the lists, which stay with whoever made the set; the log beside the shards, which goes wherever they
    go, must not lead back to what somebody wanted gone.

    Args:
        folder: Of the removals of a data set.
        found: What was removed.
        record: What the log says of the removal besides.
    """
    path = files.join(folder, ORIGINS_NAME)
    known = files.read_bytes(path) if files.exists(path) else b""
    there = set(known.splitlines())
    lines = []
    for listed in found:
        for key, origin in zip(listed.keys, listed.origins, strict=True):
            told = {"at": record["at"], "reason": record["reason"], "shard": listed.shard, "key": key}
            lines.append(encode_json(told | dict(zip(_ORIGIN, origin, strict=True))))
    added = [line + b"\n" for line in lines if line not in there]
    if added:
        files.write_bytes_whole(path, known + b"".join(added))


def _rewrite(path: str, left: pa.Table, sha256: str, *, note: str) -> dict[str, Any]:
    """Writes a tar anew with some of its samples, unless that was done before.

    Args:
        path: Of the tar.
        left: Rows of its index.
        sha256: Of the tar as it was.
        note: Where to write, before the new tar takes the place of the old one, what it will be.

    Returns:
        Bytes and sha256 of the new one.

    Raises:
        OSError: When the tar was another one.
    """
    if files.exists(note) and files.file_digest(path) == (made := dict(files.read_json(note)))["sha256"]:
        return made
    old, new, size = hashlib.sha256(), hashlib.sha256(), 0
    with files.open_for_read(path) as source, files.write_whole(path) as file:
        for data, is_kept in _pieces(source, _spans(left)):
            old.update(data)
            if is_kept:
                new.update(data)
                size += file.write(data)
        if old.hexdigest() != sha256:
            raise OSError(f"{path}: not what the manifest says; `wit400m verify` tells more")
        ending = fill_archive(size)
        new.update(ending)
        made = {"bytes": size + file.write(ending), "sha256": new.hexdigest()}
        files.write_json(note, made)
    return made


def _spans(rows: pa.Table) -> list[tuple[int, int]]:
    """The ranges of bytes in which some samples of a shard lie, neighbours in one: first byte, byte behind the last.

    >>> _spans(pa.table({"offset": [0, 5, 20], "length": [5, 5, 10]}))
    [(0, 10), (20, 30)]
    """
    starts = rows["offset"].to_numpy()
    ends = starts + rows["length"].to_numpy()
    begins = np.flatnonzero(np.append(True, starts[1:] != ends[:-1]))
    return list(zip(starts[begins].tolist(), ends[np.append(begins[1:] - 1, len(ends) - 1)].tolist(), strict=True))


def _pieces(file: BinaryIO, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[bytes, bool]]:
    """All bytes of a file, in order, and whether they are in one of some ranges."""
    place = 0
    for start, end in spans:
        for size, is_kept in ((start - place, False), (end - start, True)):
            while size > 0 and (data := file.read(min(size, _BLOCK_BYTES))):
                yield data, is_kept
                size -= len(data)
        place = end
    while data := file.read(_BLOCK_BYTES):
        yield data, False


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
    anew = [_describe(shards, name) for name in sorted(changed - empty) if files.exists(shards.file(name))]
    outputs = sorted([*known, *anew], key=lambda output: str(output["name"]))
    gone = sum(len(report["keys"]) for report in found.values())
    counts = add_counts(content["counts"], {f"samples/drop/{DropReason.BLOCKED}": gone})
    counts |= {"samples/kept": after["samples"], "shards": len(after["shards"])}
    files.write_json(shards.file(STAGE_NAME), {**content, "outputs": outputs, "counts": counts})


def _names_of(shard: str) -> tuple[str, ...]:
    """The files of one shard, some of which are there only in some forms of a set."""
    return shard, shard.removesuffix(".tar") + ".parquet", stats_name(shard)


def _describe(shards: ShardsFolder, name: str) -> dict[str, Any]:
    path = shards.file(*name.split("/"))
    return {"name": name, "bytes": files.file_size(path), "sha256": files.file_digest(path)}
