"""Files that are compressed members one behind another, gzip, zstd or xz, read past whatever is damaged.

In: a window on the file. Out: `Piece`s of its content.

A member (in zstd a frame, in xz a stream) can only be read from its beginning. Of a damaged one all is given that can
be decompressed before the damage, and reading goes on at the next member. Zero bytes between and behind members are
padding, as tapes and xz have it; anything else there is damage.

Source: RFC 1952 (gzip), RFC 8878 (zstd frames, blocks, skippable frames), the .xz file format 1.2.
"""

import contextlib
import functools
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, NamedTuple, Protocol, cast

import zstandard
from isal import isal_zlib

from vocab.kernels.pieces import Piece, scan, skip_padding
from vocab.kernels.windows import Window

_READ_BYTES: Final = 1 << 17
_PIECE_BYTES: Final = 1 << 20
_START_BYTES: Final = 16
_OVERLAP_BYTES: Final = 1 << 16  # that a member without a sum may take from the next, when some of its own are lost
_GZIP_BITS: Final = 31  # a gzip header, a window of any size
_MOST_WINDOW: Final = 1 << 31  # of zstd --long=31
_SKIPPABLE: Final = b"\x2a\x4d\x18"  # behind a first byte from 50 to 5f
_DAMAGE: Final = (
    *(zlib.error, lzma.LZMAError, zstandard.ZstdError, OverflowError),
    cast(type[Exception], isal_zlib.error),
)


class _Decoder(Protocol):
    """Decompresses one member."""

    @property
    def num_unused(self) -> int | None:
        """Once the member is at its end, how many of the bytes that were given last lie behind it; None before."""

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """What some more bytes give, in pieces; raises one of `_DAMAGE`."""


class Format(NamedTuple):
    """How members are recognised and read."""

    begins: re.Pattern[bytes]  # how a member begins
    found: re.Pattern[bytes]  # the same, strict enough to be looked for in any bytes
    decoder: Callable[[], _Decoder]
    exact: Callable[[], _Decoder]  # one that gives a symbol as soon as its last bit is there


def read_members(window: Window, kind: Format) -> Iterator[Piece]:
    """Reads a whole file."""
    offset, known_to = skip_padding(window, 0), 0
    while offset is not None:
        stop = None
        if kind.begins.match(window.read(offset, _START_BYTES)):
            known_to, stop = offset + 1, (yield from _read_member(window, kind, offset))
        yield Piece(offset, b"", ended=True, damaged=stop is None)
        if stop is None:
            start = max(known_to, offset - _OVERLAP_BYTES)
            offset = next((found for found, _ in scan(window, start, kind.found)), None)
        else:
            offset = skip_padding(window, stop)


def _read_member(window: Window, kind: Format, offset: int) -> Generator[Piece, None, int | None]:
    """Reads the member at an offset; returns the offset behind it, None when it is damaged."""
    decoder, position, num_given = kind.decoder(), offset, 0
    with contextlib.suppress(*_DAMAGE):
        while raw := window.read(position, _READ_BYTES):
            for data in decoder.decompress(raw):
                yield Piece(offset, data)
                num_given += len(data)
            position += len(raw)
            if decoder.num_unused is not None:
                return position - decoder.num_unused
    for data in _read_to_damage(window, kind, offset, position):
        yield Piece(offset, data[num_given:])
        num_given = max(0, num_given - len(data))
    return None


def _read_to_damage(window: Window, kind: Format, offset: int, position: int) -> Iterator[bytes]:
    """The content of a damaged member, all of it that can be had: from a position near the damage on, byte by byte."""
    decoder = kind.exact()
    with contextlib.suppress(*_DAMAGE):
        for start in range(offset, position, _READ_BYTES):
            yield from decoder.decompress(window.read(start, _READ_BYTES))
        for byte in window.read(position, _READ_BYTES):
            yield from decoder.decompress(bytes([byte]))


class _Gunzip:
    def __init__(self, library: Any) -> None:
        self._inflater = library.decompressobj(_GZIP_BITS)

    @property
    def num_unused(self) -> int | None:
        return len(self._inflater.unused_data) if self._inflater.eof else None

    def decompress(self, data: bytes) -> Iterator[bytes]:
        content = self._inflater.decompress(data, _PIECE_BYTES)
        while content:
            yield content
            if self._inflater.eof:
                return
            content = self._inflater.decompress(self._inflater.unconsumed_tail, _PIECE_BYTES)


class _Unxz:
    def __init__(self) -> None:
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    @property
    def num_unused(self) -> int | None:
        return len(self._decompressor.unused_data) if self._decompressor.eof else None

    def decompress(self, data: bytes) -> Iterator[bytes]:
        content = self._decompressor.decompress(data, _PIECE_BYTES)
        while content:
            yield content
            if self._decompressor.eof:
                return
            content = self._decompressor.decompress(b"", _PIECE_BYTES)


class _Unzstd:
    """Gives the library a frame block by block, so that its content comes so: a few KB may hold gigabytes."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj()
        self._pending = b""
        self._parts = _cut_frame()
        self._wanted: _Part | None = next(self._parts)

    @property
    def num_unused(self) -> int | None:
        return len(self._pending) if self._wanted is None else None

    def decompress(self, data: bytes) -> Iterator[bytes]:
        pending, start = self._pending + data, 0
        while self._wanted and start + self._wanted.num_bytes <= len(pending):
            part = pending[start : start + self._wanted.num_bytes]
            start += len(part)
            content = self._decompressor.decompress(part) if part and self._wanted.is_content else b""
            try:
                self._wanted = self._parts.send(part)
            except StopIteration:
                self._wanted = None
            if content:
                yield content
        self._pending = pending[start:]


class _Part(NamedTuple):
    """Some bytes of a zstd frame."""

    num_bytes: int
    is_content: bool = True


def _cut_frame() -> Generator[_Part, bytes, None]:
    """Tells the parts of a zstd frame one by one, and is sent the bytes of each (RFC 8878, 3.1)."""
    start = yield _Part(5)
    if start[1:4] == _SKIPPABLE:
        yield from _cut_skippable(start + (yield _Part(3, is_content=False)))
        return
    header = start + (yield _Part(zstandard.frame_header_size(start) - len(start)))
    is_last = False
    while not is_last:
        number = int.from_bytes((yield _Part(3)), "little")
        is_last, is_run, size = bool(number & 1), number >> 1 & 3 == 1, number >> 3
        yield _Part(1 if is_run else size)
    if zstandard.get_frame_parameters(header).has_checksum:
        yield _Part(4)


def _cut_skippable(header: bytes) -> Iterator[_Part]:
    left = int.from_bytes(header[4:], "little")
    while left:
        yield _Part(min(left, _READ_BYTES), is_content=False)
        left -= min(left, _READ_BYTES)


GZIP: Final = Format(
    begins=re.compile(rb"\x1f\x8b\x08"),
    found=re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL),
    decoder=functools.partial(_Gunzip, isal_zlib),  # 2.4 times as fast
    exact=functools.partial(_Gunzip, zlib),
)
XZ: Final = Format(
    begins=re.compile(rb"\xfd7zXZ\x00"),
    found=re.compile(rb"\xfd7zXZ\x00\x00[\x00\x01\x04\x0a]"),
    decoder=_Unxz,
    exact=_Unxz,
)
ZSTD: Final = Format(
    begins=re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    found=re.compile(rb"\x28\xb5\x2f\xfd[%s]" % re.escape(bytes(byte for byte in range(256) if not byte & 8))),
    decoder=_Unzstd,
    exact=_Unzstd,
)
