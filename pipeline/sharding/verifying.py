"""A finished set of shards ► what is wrong with it: every file against its digest, every sample against its index.

In: the folder as write-shards, push or a copy left it; what it should hold is what its manifest says. A shard is read
once, from one end to the other. Out: problems in words, each with the file that it is about.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO, Final, NamedTuple

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.shard_format import IMAGE_SUFFIXES, JSON_SUFFIX, SAMPLE_JSON_KEYS, TEXT_SUFFIX
from pipeline.base.tables import read_table
from pipeline.pixels.images import ImageRules, normalize_image

_MOST_TOLD: Final = 5  # problems of one shard
_AS_IT_IS: Final = ImageRules(reencode="never", min_side_px=1, max_aspect_ratio=1e9, max_pixels=89_478_485)
_SAME_NAMES: Final = ("key", "url", "caption", "sha256", "width", "height", "original_width", "original_height")
_BLOCK_BYTES: Final = 1 << 20

Sample = tuple[str, Mapping[str, bytes]]  # key; contents by suffix


class ShardReport(NamedTuple):
    """What a shard holds, and what is wrong with it."""

    name: str
    keys: tuple[str, str]  # of the first and the last sample; empty where there is none
    problems: tuple[str, ...]


def verify_shard(entry: Mapping[str, Any], *, folder: str, decode: bool) -> ShardReport:
    """Reads a shard and its index.

    Args:
        entry: What the manifest says of it.
        folder: Of the shards.
        decode: Whether to decode images, too.
    """
    shards, name = ShardsFolder(folder), str(entry["name"])
    try:
        index = read_table(shards.index(name)).to_pylist()
    except (OSError, ValueError) as error:
        return ShardReport(name, ("", ""), (f"index: {_one_line(error)}",))
    problems, keys = list[str](), list[str]()
    try:
        with files.open_for_read(shards.file(name)) as file:
            reading = _Reading(file)
            for number, (key, members) in enumerate(_samples(reading)):
                row = index[number] if number < len(index) else None
                problems += [
                    f"sample {key}: {problem}" for problem in sample_problems(key, members, row, decode=decode)
                ]
                keys.append(key)
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
    return ShardReport(name, (keys[0], keys[-1]) if keys else ("", ""), tuple(problems))


def sample_problems(
    key: str, members: Mapping[str, bytes], row: Mapping[str, Any] | None, *, decode: bool
) -> Iterator[str]:
    """What is wrong with a sample.

    Args:
        key: Of the sample.
        members: Its contents, by suffix.
        row: Of the index; None: it has none.
        decode: Whether to decode the image.
    """
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
    if (told["key"], told["caption"]) != (key, text):
        yield (
            f"its {JSON_SUFFIX} tells of key {told['key']!r} and another text"
            if told["key"] == key
            else (f"its {JSON_SUFFIX} tells of key {told['key']!r}")
        )
    if row is None:
        yield "not in the index"
    elif others := [name for name in _SAME_NAMES if row[name] != told[name]]:
        yield f"another {', '.join(others)} in the index"
    if decode:
        image = normalize_image(members[images[0]], _AS_IT_IS)
        if isinstance(image, str):
            yield f"its image cannot be decoded ({image})"
        elif (image.width, image.height) != (told["width"], told["height"]):
            yield f"its image has {image.width} x {image.height} pixels, not {told['width']} x {told['height']}"


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
    for name in files.list_files(shards.path, ".tar"):
        if files.basename(name) not in sizes:
            yield f"{files.basename(name)}: not in the manifest"


def order_problems(reports: Sequence[ShardReport]) -> Iterator[str]:
    """Shards whose keys do not go on where those of the shard before end: some sample may be in both."""
    told = [report for report in reports if report.keys[0]]
    for before, report in pairwise(told):
        if report.keys[0] <= before.keys[1]:
            yield f"{report.name}: begins with key {report.keys[0]}, but {before.name} ends with {before.keys[1]}"


def output_problems(folder: str, outputs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Files of any stage that are not as its ``_stage.json`` has them.

    Args:
        folder: Of the stage.
        outputs: ``{"name": …, "bytes": …, "sha256": …}`` of each.
    """
    for output in outputs:
        path = files.join(folder, output["name"])
        try:
            size, digest = files.file_size(path), files.file_digest(path)
        except OSError as error:
            yield f"{output['name']}: {_one_line(error)}"
        else:
            if (size, digest) != (output["bytes"], output["sha256"]):
                yield f"{output['name']}: {_other_bytes(size, digest, output)}"


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


def _samples(reading: _Reading) -> Iterator[Sample]:
    """The samples of a shard: runs of members with one key."""
    key, members = "", dict[str, bytes]()
    with tarfile.open(fileobj=reading, mode="r|", bufsize=_BLOCK_BYTES) as tar:  # type: ignore[call-overload]
        for member in tar:
            found, _, suffix = member.name.partition(".")
            if found != key or suffix in members:
                if members:
                    yield key, members
                key, members = found, {}
            content = tar.extractfile(member)
            members[suffix] = content.read() if content else b""
    if members:
        yield key, members


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
