"""WebDataset shards with random access: the samples of local and of far shards, and the bytes of their members.

In: folders, tars, patterns and URLs of them, as `pipeline.base.shard_format` describes their content; those of
img2dataset and webdataset fit too. Out: `Shard` rows (path, number of samples) and, through `ShardReader`, members.
``sizes.json`` beside the tars, when it is there, saves opening them before they are needed, and the table beside a
shard saves going through it.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Never

from clip_train.data.cache import Opened, ShardCache
from clip_train.data.patterns import expand_braces
from clip_train.data.tars import SampleSpans, Span, find_members
from clip_train.errors import InputError
from pipeline.base import files
from pipeline.base.shard_format import SIZES_NAME, TEXT_SUFFIX


class Shard(NamedTuple):
    """One tar of samples."""

    path: str
    num_samples: int
    num_bytes: int | None = None  # None: to be asked for


class Members(NamedTuple):
    """The members of a sample; None for one that it lacks."""

    key: str
    image: bytes
    text: bytes | None
    json: bytes | None
    label: bytes | None

    def first_text(self) -> str:
        """The text of its own member, or the first that the JSON lists; empty when there is none."""
        own = (self.text or b"").decode(errors="replace")
        return own if own.strip() else next(iter(self._listed()), "")

    def all_texts(self) -> list[str]:
        """The texts that the JSON lists as ``texts``, else the one of its own member; none of them blank."""
        first = self.first_text()
        return self._listed() or ([first] if first else [])

    def _listed(self) -> list[str]:
        try:
            described = json.loads(self.json or b"{}")
        except ValueError:  # what other programs wrote need not be JSON
            return []
        texts = described.get("texts") if isinstance(described, dict) else None
        return [text for text in texts if isinstance(text, str) and text.strip()] if isinstance(texts, list) else []


def list_shards(paths: Sequence[str], *, cache: ShardCache | None = None, lenient: bool = False) -> list[Shard]:
    """The shards that paths name, in the order given, sorted within each.

    Args:
        paths: Folders, tars, globs, with braces (``{00000..00041}``, ``{a,b}``) if need be, local or URLs.
        cache: Where indexes of tars, and copies of far ones, are kept.
        lenient: Whether a tar that is cut short, and is listed in no ``sizes.json``, counts with what is left of it.

    Raises:
        InputError: For a path that matches no tar, or a set without samples.
    """
    return [shard for group in list_sets(paths, cache=cache, lenient=lenient) for shard in group]


def list_sets(paths: Sequence[str], *, cache: ShardCache | None = None, lenient: bool = False) -> list[list[Shard]]:
    """The same, for each path by itself."""
    cache = cache or ShardCache()
    sets = [_list_one(path, cache, lenient) for path in paths]
    if not any(shard.num_samples for group in sets for shard in group):
        raise InputError(f"no samples in {', '.join(paths) or 'an empty list of shards'}")
    return sets


def shards_digest(shards: Sequence[Shard]) -> str:
    """A digest of names, samples and bytes of shards, wherever they lie: the same data, the same digest."""
    rows = [(files.basename(s.path), s.num_samples, _num_bytes(s)) for s in shards]
    return hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()


class ShardReader:
    """Reads members of samples; keeps the most recently used tars open and indexed.

    Attributes:
        shards: The shards that `read` counts from 0.
    """

    def __init__(
        self, shards: Sequence[Shard], *, max_open: int = 64, cache: ShardCache | None = None, lenient: bool = False
    ) -> None:
        """Opens nothing yet.

        Args:
            shards: The shards.
            max_open: Most tars kept open.
            cache: Where indexes of tars, and copies of far ones, are kept.
            lenient: Whether a shard that is cut short, or is no tar at all, is an error only for the samples it lacks.
        """
        self.shards = list(shards)
        self._max_open = max_open
        self._cache = cache or ShardCache()
        self._lenient = lenient
        self._open: OrderedDict[int, Opened | str] = OrderedDict()  # or why it cannot be opened

    def members(self, shard: int, sample: int) -> Members:
        """All members of a sample, by one read.

        Raises:
            InputError: When they are not there.
        """
        spans, content = self._find(shard, sample)
        start = spans.whole.offset
        found = (content[span.offset - start : span.end - start] if span else None for span in spans[1:-1])
        return Members(spans.key, *found)  # type: ignore[arg-type]

    def spans(self, shard: int, sample: int) -> SampleSpans:
        """Where a sample's members lie."""
        return self._find(shard, sample)[0]

    def read(self, shard: int, span: Span) -> bytes:
        """The bytes of a member."""
        return os.pread(self._opened(shard).descriptor, span.length, span.offset)

    def image(self, shard: int, sample: int) -> bytes:
        """The encoded image of a sample."""
        return self.members(shard, sample).image

    def text(self, shard: int, sample: int) -> str:
        """The text of a sample.

        Raises:
            InputError: When it has none.
        """
        members = self.members(shard, sample)
        if members.text is None:
            raise InputError(f"{self.shards[shard].path}: sample {members.key} has no .{TEXT_SUFFIX} member")
        return members.text.decode(errors="replace")

    def samples(self) -> Iterator[tuple[int, int]]:
        """Every (shard, sample), in the order they lie."""
        for shard, described in enumerate(self.shards):
            yield from ((shard, sample) for sample in range(described.num_samples))

    def texts(self, limit: int) -> Iterator[str]:
        """The first texts, in the order they lie; where the reader is lenient, of the samples that have one."""
        return islice(self._texts(), limit)

    def close(self) -> None:
        """Closes every open tar."""
        while self._open:
            _close(self._open.popitem()[1])

    def _texts(self) -> Iterator[str]:
        for shard, sample in self.samples():
            try:
                text = self.text(shard, sample)
            except InputError:
                if not self._lenient:
                    raise
                continue
            yield text

    def _find(self, shard: int, sample: int) -> tuple[SampleSpans, bytes]:
        """A sample's spans, and the bytes in which its members lie."""
        descriptor, extents = self._opened(shard)
        path = self.shards[shard].path
        if sample >= len(extents):
            raise InputError(f"{path}: the tar is cut short, sample {sample} is not there")
        offset, length = extents[sample].tolist()
        try:
            content = os.pread(descriptor, length, offset)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        spans = find_members(content, offset) if len(content) == length else None
        if spans is None:
            raise InputError(f"{path}: no whole sample at byte {offset:,}")
        return spans, content

    def _opened(self, shard: int) -> Opened:
        known = self._open.get(shard)
        if known is None:
            if len(self._open) >= self._max_open:
                _close(self._open.popitem(last=False)[1])
            known = self._open[shard] = self._open_one(self.shards[shard])
        else:
            self._open.move_to_end(shard)
        if isinstance(known, str):
            raise InputError(known)
        return known

    def _open_one(self, shard: Shard) -> Opened | str:
        try:
            opened = self._cache.open(shard.path, shard.num_bytes)
        except InputError as error:
            if not self._lenient:
                raise
            return str(error)
        if not self._lenient and (problem := _describe_problem(shard, opened)):
            _close(opened)
            raise InputError(problem)
        return opened


def _describe_problem(shard: Shard, opened: Opened) -> str:
    """What is wrong with a shard as a whole; empty when nothing is."""
    found = len(opened.extents)
    if found != shard.num_samples:
        return f"{shard.path}: {found} samples, but {SIZES_NAME} says {shard.num_samples}"
    is_cut = found and int(opened.extents.sum(axis=1).max()) > os.fstat(opened.descriptor).st_size
    return f"{shard.path}: the tar is cut short" if is_cut else ""


def _close(opened: Opened | str) -> None:
    if not isinstance(opened, str):
        os.close(opened.descriptor)


def _num_bytes(shard: Shard) -> int:
    return files.file_size(shard.path) if shard.num_bytes is None else shard.num_bytes


def _list_one(path: str, cache: ShardCache, lenient: bool) -> list[Shard]:
    try:
        is_literal = files.is_local(path) and os.path.exists(path)
        names = [path] if is_literal else expand_braces(path)
        found = _list_tars(names)
        folders = list(dict.fromkeys(tar.rpartition("/")[0] for tar in found))
        sizes = dict(zip(folders, files.each(_read_sizes, folders), strict=True))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    shards = []
    for tar, num_bytes in found.items():
        num_samples = sizes[tar.rpartition("/")[0]].get(files.basename(tar))
        if num_samples is None:
            num_samples = _count_samples(tar, num_bytes, cache, lenient)
        shards.append(Shard(tar, num_samples, num_bytes))
    return shards


def _list_tars(names: list[str]) -> dict[str, int]:
    """The tars that paths, folders and globs name, and their bytes.

    Raises:
        InputError: When one names none.
    """
    paths: list[str] = []
    for name in names:
        if name.endswith(".tar") and not any(mark in name for mark in "*?["):
            paths.append(name)
            continue
        if files.is_folder(name):
            inside = files.list_files(name, ".tar")
        else:
            try:
                inside = files.expand_inputs([name])
            except FileNotFoundError:
                inside = []
        paths += inside or _refuse(name)
    # web servers list files without their sizes, or list nothing
    asked = [path for path in paths if files.is_local(path) or path.startswith("http")]
    known = dict(zip(asked, files.each(_size_or_none, asked), strict=True))
    known |= files.sizes([path for path in paths if path not in known])
    return {path: size if (size := known.get(path)) is not None else _refuse(path) for path in paths}


def _size_or_none(path: str) -> int | None:
    try:
        return files.file_size(path)
    except FileNotFoundError:
        return None


def _refuse(name: str) -> Never:
    raise InputError(f"{name}: no such shard, or folder without .tar files")


def _count_samples(tar: str, num_bytes: int, cache: ShardCache, lenient: bool) -> int:
    if (extents := cache.read_table(tar)) is not None:
        return len(extents)
    opened = cache.open(tar, num_bytes)
    try:
        shard = Shard(tar, len(opened.extents))
        if not lenient and (problem := _describe_problem(shard, opened)):
            raise InputError(problem)
        return shard.num_samples
    finally:
        _close(opened)


def _read_sizes(folder: str) -> dict[str, int]:
    path = f"{folder}/{SIZES_NAME}" if folder else SIZES_NAME
    try:
        found = json.loads(files.read_bytes(path))
        return {str(name): int(size) for name, size in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a table of shard sizes") from error
