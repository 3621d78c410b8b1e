"""WebDataset shards with random access: where each sample's members lie, and their bytes.

In: folders or tars as `pipeline.base.shard_format` describes them; those of img2dataset and webdataset fit too.
Out: `Shard` rows (path, number of samples) and, through `ShardReader`, the bytes of any member.
``sizes.json`` beside the tars, when it is there, saves opening them before they are needed.

Source: POSIX.1-1988 ustar header layout; WebDataset format, https://github.com/webdataset/webdataset.
"""

import glob
import hashlib
import json
import mmap
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from clip_train.errors import InputError
from pipeline.base.shard_format import IMAGE_SUFFIXES, JSON_SUFFIX, SIZES_NAME, TEXT_SUFFIX

IMAGE_MEMBER_SUFFIXES = frozenset({*IMAGE_SUFFIXES.values(), "jpeg"})

_BLOCK = 512
_LABEL_SUFFIX = "cls"  # of a member with the class, as webdataset names it


class Shard(NamedTuple):
    """One tar of samples."""

    path: str
    num_samples: int


class Span(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    length: int


class SampleSpans(NamedTuple):
    """Where the members of one sample lie; None for a member that it lacks."""

    key: str
    image: Span
    text: Span | None
    json: Span | None
    label: Span | None


def list_shards(paths: Sequence[str]) -> list[Shard]:
    """The shards that folders, tars and glob patterns name, in the order given, sorted within each.

    Raises:
        InputError: For a path that matches no tar, or a set without samples.
    """
    shards = [shard for path in paths for shard in _list_one(path)]
    if not any(shard.num_samples for shard in shards):
        raise InputError(f"no samples in {', '.join(paths) or 'an empty list of shards'}")
    return shards


def shards_digest(shards: Sequence[Shard]) -> str:
    """A digest of names, samples and bytes of shards, wherever they lie: the same data, the same digest."""
    rows = [(os.path.basename(s.path), s.num_samples, os.path.getsize(s.path)) for s in shards]
    return hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()


def index_shard(path: str) -> list[SampleSpans]:
    """Finds the samples of a tar: adjacent members whose names agree up to the first dot, one of them an image.

    Raises:
        InputError: When the file cannot be read as a tar or is cut short.
    """
    samples: list[SampleSpans] = []
    members: dict[str, Span] = {}
    current = None
    for name, span in _read_members(path):
        folder, base = os.path.split(name)
        stem, _, suffix = base.partition(".")
        key = os.path.join(folder, stem)
        if key != current:
            samples += _spans_of(current or "", members)
            current, members = key, {}
        members[suffix.lower()] = span
    return samples + _spans_of(current or "", members)


class ShardReader:
    """Reads members of samples; keeps the most recently used tars open and indexed.

    Attributes:
        shards: The shards that `read` counts from 0.
    """

    def __init__(self, shards: Sequence[Shard], *, max_open: int = 64) -> None:
        self.shards = list(shards)
        self._max_open = max_open
        self._open: OrderedDict[int, tuple[int, list[SampleSpans]]] = OrderedDict()

    def spans(self, shard: int, sample: int) -> SampleSpans:
        """Where a sample's members lie."""
        return self._opened(shard)[1][sample]

    def read(self, shard: int, span: Span) -> bytes:
        """The bytes of a member."""
        return os.pread(self._opened(shard)[0], span.length, span.offset)

    def image(self, shard: int, sample: int) -> bytes:
        """The encoded image of a sample."""
        return self.read(shard, self.spans(shard, sample).image)

    def text(self, shard: int, sample: int) -> str:
        """The text of a sample.

        Raises:
            InputError: When it has none.
        """
        spans = self.spans(shard, sample)
        if spans.text is None:
            raise InputError(f"{self.shards[shard].path}: sample {spans.key} has no .{TEXT_SUFFIX} member")
        return self.read(shard, spans.text).decode(errors="replace")

    def all_texts(self, shard: int, sample: int) -> list[str]:
        """The texts of a sample: those that its JSON lists as ``texts``, else its one text.

        Raises:
            InputError: When it has none.
        """
        span = self.spans(shard, sample).json
        try:
            described = json.loads(self.read(shard, span)) if span is not None else {}
            texts = described.get("texts")
        except (ValueError, AttributeError):  # what other programs wrote need not be JSON
            texts = None
        listed = [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []
        return listed or [self.text(shard, sample)]

    def samples(self) -> Iterator[tuple[int, int]]:
        """Every (shard, sample), in the order they lie."""
        for shard, (_, num_samples) in enumerate(self.shards):
            yield from ((shard, sample) for sample in range(num_samples))

    def texts(self, limit: int) -> Iterator[str]:
        """The first texts, in the order they lie."""
        return (self.text(shard, sample) for shard, sample in islice(self.samples(), limit))

    def _opened(self, shard: int) -> tuple[int, list[SampleSpans]]:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        path, num_samples = self.shards[shard]
        samples = index_shard(path)
        if len(samples) != num_samples:
            raise InputError(f"{path}: {len(samples)} samples, but {SIZES_NAME} says {num_samples}")
        if len(self._open) == self._max_open:
            os.close(self._open.popitem(last=False)[1][0])
        self._open[shard] = os.open(path, os.O_RDONLY), samples
        return self._open[shard]

    def close(self) -> None:
        """Closes every open tar."""
        while self._open:
            os.close(self._open.popitem()[1][0])


def _list_one(path: str) -> list[Shard]:
    if os.path.isdir(path):
        names = sorted(n for n in os.listdir(path) if n.endswith(".tar") and n[0] not in "._")
        tars = [os.path.join(path, name) for name in names]
    else:
        tars = [path] if os.path.isfile(path) else sorted(glob.glob(path))
    if not tars:
        raise InputError(f"{path}: no such shard, or folder without .tar files")
    sizes = {folder: _read_sizes(folder) for folder in {os.path.dirname(tar) for tar in tars}}
    return [Shard(tar, _num_samples(tar, sizes[os.path.dirname(tar)])) for tar in tars]


def _num_samples(tar: str, sizes: dict[str, int]) -> int:
    known = sizes.get(os.path.basename(tar))
    return len(index_shard(tar)) if known is None else known


def _read_sizes(folder: str) -> dict[str, int]:
    path = os.path.join(folder, SIZES_NAME)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return {str(name): int(size) for name, size in json.load(file).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a table of shard sizes") from error


def _spans_of(key: str, members: dict[str, Span]) -> list[SampleSpans]:
    images = [span for suffix, span in members.items() if suffix in IMAGE_MEMBER_SUFFIXES]
    if not images:
        return []
    return [SampleSpans(key, images[0], *(members.get(suffix) for suffix in (TEXT_SUFFIX, JSON_SUFFIX, _LABEL_SUFFIX)))]


def _read_members(path: str) -> list[tuple[str, Span]]:
    """Names and places of a tar's files; plain headers are read here, ten times as fast as by tarfile."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            members = _read_plain_members(file.fileno(), size)
        if members is None:
            with tarfile.open(path, "r:") as tar:
                members = [(m.name, Span(m.offset_data, m.size)) for m in tar if m.isreg()]
    except (OSError, tarfile.TarError, ValueError) as error:
        raise InputError(f"{path}: not a readable tar ({error})") from error
    if any(span.offset + span.length > size for _, span in members):
        raise InputError(f"{path}: the tar is cut short")
    return members


def _read_plain_members(descriptor: int, size: int) -> list[tuple[str, Span]] | None:
    """Members of a tar whose headers are all plain ustar; None when one is extended (long name, sparse, ...)."""
    members: list[tuple[str, Span]] = []
    if not size:
        return members
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
        position = 0
        while position + _BLOCK <= size and content[position]:
            header = content[position : position + _BLOCK]
            kind, digits = header[156:157], header[124:136].strip(b"\0 ")
            if kind not in b"0\0" or header[257:262] != b"ustar" or not digits.isdigit():
                return None
            length = int(digits, 8)
            name, prefix = header[:100].rstrip(b"\0"), header[345:500].rstrip(b"\0")
            # GNU headers keep times where ustar keeps the prefix of a long name
            if prefix and header[257:263] == b"ustar\0":
                name = prefix + b"/" + name
            members.append((name.decode(errors="surrogateescape"), Span(position + _BLOCK, length)))
            position += _BLOCK + -(-length // _BLOCK) * _BLOCK
    return members
