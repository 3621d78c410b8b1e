"""A finished set of shards ► what is wrong with it: every file against its digest, every sample against its index.

In: the folder as write-shards, push or a copy left it; what it should hold is what its manifest says. A shard is read
once, from one end to the other. Out: problems in words, each with the file that it is about.
"""

import functools
import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO, Final, NamedTuple

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import (
    IMAGE_SUFFIXES,
    JSON_SUFFIX,
    SAMPLE_JSON_KEYS,
    TEXT_SUFFIX,
    UID,
    describe_probability,
)
from pipeline.base.tables import read_table
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.sharding.packing import count_images

_MOST_TOLD: Final = 5  # problems of one shard
_AS_IT_IS: Final = ImageRules(reencode="never", min_side_px=1, max_aspect_ratio=1e9, max_pixels=89_478_485)
_NAMED: Final = ("queries", "kept_for")  # in the JSON strings, in the index ids:
_ID_NAMES: Final = ("query_ids", "kept_for")
_SAME_NAMES: Final = tuple(
    name
    for name in SHARD_INDEX.names
    if name in SAMPLE_JSON_KEYS and name not in (*_NAMED, UID, "phash", "keep_probability")
)
_BLOCK_BYTES: Final = 1 << 20


class FoundSample(NamedTuple):
    """A sample as it lies in a shard.

    Attributes:
        key: Of its members.
        members: Their contents, by suffix.
        start: Where the header of the first begins.
        end: The byte behind the last, and its padding.
    """

    key: str
    members: Mapping[str, bytes]
    start: int
    end: int


class ShardReport(NamedTuple):
    """What a shard holds, and what is wrong with it.

    Attributes:
        name: Of the shard.
        keys: Of the first and the last sample; empty where there is none.
        problems: In words.
        kept_for: How many samples its index says that each query keeps, by the query's id.
    """

    name: str
    keys: tuple[str, str]
    problems: tuple[str, ...]
    kept_for: Mapping[int, int]


def verify_shard(entry: Mapping[str, Any], *, folder: str, decode: bool) -> ShardReport:
    """Reads a shard and its index.

    Args:
        entry: What the manifest says of it.
        folder: Of the shards.
        decode: Whether to decode images, too.
    """
    shards, name = ShardsFolder(folder), str(entry["name"])
    try:
        table = read_table(shards.index(name))
        index, is_own = table.to_pylist(), table.schema.field(UID) == SHARD_INDEX.field(UID)
        kept_for = Counter(query for row in index for query in row["kept_for"])
        images = count_images(table["mime"])
    except (OSError, ValueError, KeyError) as error:
        return ShardReport(name, ("", ""), (f"index: {_one_line(error)}",), {})
    problems, keys = list[str](), list[str]()
    queries = _query_strings(shards.query_counts)
    if images != entry["images"]:
        problems.append(f"images {images} in its index, {entry['images']} in the manifest")
    try:
        with files.open_for_read(shards.file(name)) as file:
            reading = _Reading(file)
            for number, sample in enumerate(_samples(reading)):
                row = index[number] if number < len(index) else None
                found = sample_problems(sample, row, decode=decode, queries=queries, own_uid=is_own)
                problems += [f"sample {sample.key}: {problem}" for problem in found]
                keys.append(sample.key)
            reading.finish()
    except (OSError, tarfile.TarError, ValueError) as error:
        problems.append(_one_line(error))
    else:
        if (reading.size, reading.digest) != (entry["bytes"], entry["sha256"]):
            problems.insert(0, _other_bytes(reading.size, reading.digest, entry))
        if not len(keys) == len(index) == entry["samples"]:
            told = f"{len(keys)} samples, {len(index)} rows in its index, {entry['samples']} in the manifest"
            problems.append(told)
    problems += [f"sample {key} comes after {before}" for before, key in pairwise(keys) if key <= before]
    if len(problems) > _MOST_TOLD:
        problems[_MOST_TOLD:] = [f"and {len(problems) - _MOST_TOLD:,} more"]
    return ShardReport(name, (keys[0], keys[-1]) if keys else ("", ""), tuple(problems), kept_for)


@functools.lru_cache(maxsize=1)
def _query_strings(path: str) -> Mapping[int, str]:
    """Queries by id; none where the table cannot be read, which is told elsewhere."""
    try:
        table = read_table(path, ["query_id", "query"])
    except (OSError, ValueError):
        return {}
    return dict(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))


def sample_problems(
    sample: FoundSample, row: Mapping[str, Any] | None, *, decode: bool, queries: Mapping[int, str], own_uid: bool
) -> Iterator[str]:
    """What is wrong with a sample.

    Args:
        sample: As it lies in its shard.
        row: Of the index; None: it has none.
        decode: Whether to decode the image.
        queries: By id; none: they are not compared.
        own_uid: Whether uids are keys, and not of the tables that pairs came from.
    """
    key, members = sample.key, sample.members
    images = sorted(members.keys() & set(IMAGE_SUFFIXES.values()))
    if len(images) != 1 or members.keys() != {*images, TEXT_SUFFIX, JSON_SUFFIX}:
        yield f"members {', '.join(sorted(members))}; one image, {TEXT_SUFFIX} and {JSON_SUFFIX} belong there"
        return
    try:
        told = json.loads(members[JSON_SUFFIX])
        text = members[TEXT_SUFFIX].decode()
    except ValueError as error:
        yield f"{_one_line(error)}"
        return
    if not isinstance(told, dict) or (missing := set(SAMPLE_JSON_KEYS) - told.keys()):
        yield f"no {', '.join(sorted(missing)) if isinstance(told, dict) else 'object'} in its {JSON_SUFFIX}"
        return
    if told["key"] != key:
        yield f"its {JSON_SUFFIX} tells of key {told['key']!r}"
    elif told["caption"] != text:
        yield f"its {JSON_SUFFIX} tells of another text"
    if row is None:
        yield "not in the index"
    elif others := [name for name, value in _told_by_index(row, queries, own_uid=own_uid) if told[name] != value]:
        yield f"another {', '.join(others)} in the index"
    elif (row["offset"], row["length"]) != (sample.start, sample.end - sample.start):
        yield f"at byte {sample.start:,}, {sample.end - sample.start:,} bytes; another place in the index"
    elif (IMAGE_SUFFIXES.get(row["mime"]), row["bytes"]) != (images[0], len(members[images[0]])):
        yield f"a {images[0]} of {len(members[images[0]]):,} bytes; another image in the index"
    if decode:
        image = normalize_image(members[images[0]], _AS_IT_IS)
        if isinstance(image, str):
            yield f"its image cannot be decoded ({image})"
        elif (image.width, image.height) != (told["width"], told["height"]):
            yield f"its image has {image.width} x {image.height} pixels, not {told['width']} x {told['height']}"


def _told_by_index(row: Mapping[str, Any], queries: Mapping[int, str], *, own_uid: bool) -> Iterator[tuple[str, Any]]:
    """What a row of an index says that the sample's JSON says too, as it is there."""
    yield from ((name, row[name]) for name in _SAME_NAMES)
    yield "keep_probability", describe_probability(row["keep_probability"])
    if row["phash"] is not None:
        yield "phash", f"{row['phash'] & 0xFFFF_FFFF_FFFF_FFFF:016x}"
    if own_uid:
        yield UID, row[UID]
    if queries:
        yield from ((name, [queries.get(one) for one in row[ids]]) for name, ids in zip(_NAMED, _ID_NAMES, strict=True))


def folder_problems(shards: ShardsFolder, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the files that tell of all shards, and with which files there are."""
    entries = manifest["shards"]
    sizes = {entry["name"]: entry["samples"] for entry in entries}
    if len(sizes) < len(entries):
        yield f"{files.basename(shards.manifest)}: a shard is listed twice"
    for name in ("samples", "bytes"):
        if manifest[name] != sum(entry[name] for entry in entries):
            yield f"{files.basename(shards.manifest)}: {manifest[name]} {name}, but its shards have another sum"
    for path, found in ((shards.sizes, _sizes_of), (shards.wids, _sizes_of_wids)):
        try:
            same = found(files.read_json(path)) == sizes
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield f"{files.basename(path)}: {_one_line(error)}"
        else:
            if not same:
                yield f"{files.basename(path)}: other shards or samples than in the manifest"
    known = {*sizes, *(files.basename(shards.index(name)) for name in sizes)}
    for path in files.list_files(shards.path):
        if (name := files.basename(path)) not in known and name.endswith((".tar", ".parquet")):
            yield f"{name}: not in the manifest"


def query_problems(shards: ShardsFolder, reports: Sequence[ShardReport]) -> Iterator[str]:
    """Whether the card says of each query how many samples it keeps, as the indexes of all shards do."""
    try:
        table = read_table(shards.query_counts, ["query_id", "samples"])
    except (OSError, ValueError) as error:
        yield f"{_name_of(shards, shards.query_counts)}: {_one_line(error)}"
        return
    counted: Counter[int] = Counter()
    for report in reports:
        counted.update(report.kept_for)
    told = dict(zip(table["query_id"].to_pylist(), table["samples"].to_pylist(), strict=True))
    wrong = sorted(query for query in told.keys() | counted.keys() if told.get(query) != counted[query])
    if wrong:
        number = told.get(wrong[0])
        yield (
            f"{_name_of(shards, shards.query_counts)}: {number if number is not None else 'no'} samples of query "
            f"{wrong[0]}, but {counted[wrong[0]]} in the indexes; {len(wrong):,} queries differ"
        )


def _name_of(shards: ShardsFolder, path: str) -> str:
    return path.removeprefix(f"{shards.path}/")


def order_problems(reports: Sequence[ShardReport]) -> Iterator[str]:
    """Shards whose keys do not go on where those of the shard before end: some sample may be in both."""
    told = [report for report in reports if report.keys[0]]
    for before, report in pairwise(told):
        if report.keys[0] <= before.keys[1]:
            yield f"{report.name}: begins with key {report.keys[0]}, but {before.name} ends with {before.keys[1]}"


def list_output_problems(folder: str, output: Mapping[str, Any]) -> list[str]:
    """What is wrong with a file of any stage, by what its ``_stage.json`` says.

    Args:
        folder: Of the stage.
        output: ``{"name": …, "bytes": …, "sha256": …}``.
    """
    path = files.join(folder, output["name"])
    try:
        size, digest = files.file_size(path), files.file_digest(path)
    except OSError as error:
        return [f"{output['name']}: {_one_line(error)}"]
    if (size, digest) != (output["bytes"], output["sha256"]):
        return [f"{output['name']}: {_other_bytes(size, digest, output)}"]
    return []


class _Reading:
    """A file that is read through, and what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int) -> bytes:
        """The next bytes, as `tarfile` asks for them."""
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def finish(self) -> None:
        """Reads the rest."""
        while self.read(_BLOCK_BYTES):
            pass


def _samples(reading: _Reading) -> Iterator[FoundSample]:
    """The samples of a shard: runs of members with one key."""
    key, members, start, end = "", dict[str, bytes](), 0, 0
    with tarfile.open(fileobj=reading, mode="r|", bufsize=_BLOCK_BYTES) as tar:  # type: ignore[call-overload]
        for member in tar:
            found, _, suffix = member.name.partition(".")
            if found != key or suffix in members:
                if members:
                    yield FoundSample(key, members, start, end)
                key, members, start = found, {}, member.offset
            content = tar.extractfile(member)
            members[suffix] = content.read() if content else b""
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    if members:
        yield FoundSample(key, members, start, end)


def _other_bytes(size: int, digest: str, told: Mapping[str, Any]) -> str:
    if size != told["bytes"]:
        return f"{size:,} bytes, not {told['bytes']:,}"
    return f"sha256 {digest[:16]}…, not {told['sha256'][:16]}…"


def _sizes_of(content: Any) -> dict[str, int]:
    return dict(content)


def _sizes_of_wids(content: Any) -> dict[str, int]:
    return {entry["url"]: entry["nsamples"] for entry in content["shardlist"]}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
