"""A finished set of shards ► what is wrong with it: every file against its digest, every sample against its index.

In: the folder as write-shards, push or a copy left it; what it should hold is what its manifest says. A shard is read
once, from one end to the other. Out: problems in words, each with the file that it is about.
"""

import functools
import hashlib
import json
import tarfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO, Final, NamedTuple

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import (
    IMAGE_SUFFIXES,
    JSON_SUFFIX,
    PAIR_KEY,
    SAMPLE_JSON_KEYS,
    SHARD_FOLDERS,
    TEXT_SUFFIX,
    UID,
    describe_probability,
)
from pipeline.base.tables import read_table
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.sharding.forms import Form
from pipeline.sharding.packing.layout import BLOCK_SHARDS
from pipeline.sharding.packing.packing import count_images, shard_sizes, wids_indexes

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
_KEY_BYTES: Final = 16


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
        keys: Ids of the pairs of all samples, 16 bytes each, in the order of the shard.
        problems: In words.
        kept_for: How many samples its index says that each query keeps, by the query's id.
    """

    name: str
    keys: bytes
    problems: tuple[str, ...]
    kept_for: Mapping[int, int]


def verify_shard(entry: Mapping[str, Any], *, folder: str, form: Form, decode: bool) -> ShardReport:
    """Reads a shard and its index.

    Args:
        entry: What the manifest says of it.
        folder: Of the shards.
        form: Of the set.
        decode: Whether to decode images, too.
    """
    shards, name = ShardsFolder(folder), str(entry["name"])
    try:
        table = read_table(shards.index(name))
        index, is_own = table.to_pylist(), table.schema.field(UID) == SHARD_INDEX.field(UID)
        kept_for = Counter(query for row in index for query in row["kept_for"])
        images = count_images(table["mime"])
        if form.is_numbered and PAIR_KEY not in table.column_names:
            raise ValueError(f"no {PAIR_KEY}")
    except (OSError, ValueError, KeyError) as error:
        return ShardReport(name, b"", (f"index: {_one_line(error)}",), {})
    problems, keys, pair_key = list[str](), list[str](), PAIR_KEY if form.is_numbered else "key"
    queries = _query_strings(shards.query_counts)
    if images != entry["images"]:
        problems.append(f"images {images} in its index, {entry['images']} in the manifest")
    try:
        with files.open_for_read(shards.file(name)) as file:
            reading = _Reading(file)
            for number, sample in enumerate(_samples(reading)):
                row = index[number] if number < len(index) else None
                found = sample_problems(sample, row, form=form, decode=decode, queries=queries, own_uid=is_own)
                problems += [f"sample {sample.key}: {problem}" for problem in found]
                keys.append(row[pair_key] if row and form.is_numbered else sample.key)
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
    return ShardReport(name, b"".join(map(_key_bytes, keys)), tuple(problems), kept_for)


def _key_bytes(key: str) -> bytes:
    """The id of a pair, of its key; nothing where it is none."""
    try:
        found = bytes.fromhex(key)
    except ValueError:
        return b""
    return found if len(found) == _KEY_BYTES else b""


@functools.lru_cache(maxsize=1)
def _query_strings(path: str) -> Mapping[int, str]:
    """Queries by id; none where the table cannot be read, which is told elsewhere."""
    try:
        table = read_table(path, ["query_id", "query"])
    except (OSError, ValueError):
        return {}
    return dict(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))


def sample_problems(
    sample: FoundSample,
    row: Mapping[str, Any] | None,
    *,
    form: Form,
    decode: bool,
    queries: Mapping[int, str],
    own_uid: bool,
) -> Iterator[str]:
    """What is wrong with a sample.

    Args:
        sample: As it lies in its shard.
        row: Of the index; None: it has none.
        form: Of the set.
        decode: Whether to decode the image.
        queries: By id; none: they are not compared.
        own_uid: Whether uids are keys, and not of the tables that pairs came from.
    """
    key, members = sample.key, sample.members
    images = sorted(members.keys() & set(IMAGE_SUFFIXES.values()))
    others = [TEXT_SUFFIX, *([JSON_SUFFIX] if form.has_json else [])]
    if len(images) != 1 or members.keys() != {*images, *others}:
        yield f"members {', '.join(sorted(members))}; one image, {' and '.join(others)} belong there"
        return
    try:
        text = members[TEXT_SUFFIX].decode()
        told = json.loads(members[JSON_SUFFIX]) if form.has_json else None
    except ValueError as error:
        yield f"{_one_line(error)}"
        return
    names = {*SAMPLE_JSON_KEYS, *([PAIR_KEY] if form.is_numbered else [])}
    if form.has_json and (not isinstance(told, dict) or (missing := names - told.keys())):
        yield f"no {', '.join(sorted(missing)) if isinstance(told, dict) else 'object'} in its {JSON_SUFFIX}"
        return
    if told and told["key"] != key:
        yield f"its {JSON_SUFFIX} tells of key {told['key']!r}"
    elif told and told["caption"] != text:
        yield f"its {JSON_SUFFIX} tells of another text"
    if row is None:
        yield "not in the index"
        return
    if told is None:
        told = {"key": key, "caption": text, "width": row["width"], "height": row["height"]}
    same = (
        pair for pair in _told_by_index(row, queries, form=form, own_uid=own_uid) if form.has_json or pair[0] in told
    )
    if different := [name for name, value in same if told[name] != value]:
        yield f"another {', '.join(different)} in the index"
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


def _told_by_index(
    row: Mapping[str, Any], queries: Mapping[int, str], *, form: Form, own_uid: bool
) -> Iterator[tuple[str, Any]]:
    """What a row of an index says that the sample's JSON says too, as it is there."""
    yield from ((name, row[name]) for name in (*_SAME_NAMES, *((PAIR_KEY,) if form.is_numbered else ())))
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
    names = {entry["name"] for entry in entries}
    if len(names) < len(entries):
        yield f"{files.basename(shards.manifest)}: a shard is listed twice"
    for name in ("samples", "bytes"):
        if manifest[name] != sum(entry[name] for entry in entries):
            yield f"{files.basename(shards.manifest)}: {manifest[name]} {name}, but its shards have another sum"
    for path, wanted in {**shard_sizes(shards, manifest), **wids_indexes(shards, manifest)}.items():
        try:
            same = _sizes_of(files.read_json(path)) == _sizes_of(wanted)
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield f"{_name_of(shards, path)}: {_one_line(error)}"
        else:
            if not same:
                yield f"{_name_of(shards, path)}: other shards or samples than in the manifest"
    digests = {entry["name"]: entry["sha256"] for entry in entries}
    try:
        same = _digests_of_croissant(files.read_json(shards.croissant)) == digests
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{files.basename(shards.croissant)}: {_one_line(error)}"
    else:
        if not same:
            yield f"{files.basename(shards.croissant)}: other shards or digests than in the manifest"
    known = {*map(shards.file, names), *map(shards.index, names)}
    for folder in (shards.path, *map(shards.file, SHARD_FOLDERS)):
        for path in files.list_files(folder):
            if path not in known and path.endswith((".tar", ".parquet")):
                yield f"{_name_of(shards, path)}: not in the manifest"


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


class KeyWatch:
    """Watches the keys of shards, one after another in their order, for such as are there twice.

    Samples lie in key order but for those of a block of shards (`layout`), which are mixed.
    """

    def __init__(self) -> None:
        self._near: deque[tuple[str, frozenset[bytes]]] = deque()  # shards that may be of one block with the next
        self._far = b"", ""  # the last key before those, and its shard

    def see(self, report: ShardReport) -> Iterator[str]:
        """What is wrong with the keys of the next shard of a split."""
        keys = report.keys
        own = frozenset(keys[start : start + _KEY_BYTES] for start in range(0, len(keys), _KEY_BYTES))
        if not own:
            return
        for name, others in self._near:
            if both := own & others:
                yield f"{report.name}: holds sample {min(both).hex()}, as {name} does; {len(both):,} are in both"
        if (first := min(own)) <= self._far[0]:
            yield f"{report.name}: begins with key {first.hex()}, but {self._far[1]} ends with {self._far[0].hex()}"
        self._near.append((report.name, own))
        if len(self._near) == BLOCK_SHARDS:
            name, gone = self._near.popleft()
            self._far = max(self._far, (max(gone), name))


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
    """What a table of sizes or an index of wids says of shards."""
    listed = content.get("shardlist")
    return dict(content) if listed is None else {entry["url"]: entry["nsamples"] for entry in listed}


def _digests_of_croissant(content: Any) -> dict[str, str]:
    return {told["name"]: told["sha256"] for told in content["distribution"] if told["@type"] == "cr:FileObject"}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
