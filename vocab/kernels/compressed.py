"""Compressed files as runs of plain bytes, from any offset, and past whatever is damaged.

In: a seekable binary file. Out: `Piece`s of its decompressed content. A bz2 file that is a row of streams (every
MediaWiki "multistream" dump, everything pbzip2 writes) can be entered anywhere: reading begins at the first stream
that starts at or after the offset. So can a file that is not compressed. gzip and zstd files are read from the start.

Source: bzip2 file format (a stream is "BZh", a level, and the 48-bit mark of a block or of the stream's end).
"""

import bz2
import functools
import re
from collections.abc import Callable, Generator, Iterator
from enum import StrEnum
from typing import BinaryIO, NamedTuple

import pyarrow as pa

OpenFile = Callable[[str], BinaryIO]
_ReadStream = Callable[[int], Generator[bytes, None, int | None]]

_READ_BYTES = 1 << 20
_BZ2_READ_BYTES = 1 << 16  # a stream of a multistream dump is some 100 KB
_STREAM_START = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_STREAM_START_BYTES = 10


class Compression(StrEnum):
    """How a file is compressed, told by its first bytes."""

    NONE = "none"
    BZ2 = "bz2"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def is_splittable(self) -> bool:
        """Whether reading may begin in the middle of a file."""
        return self in (Compression.NONE, Compression.BZ2)


_MAGIC = {b"BZh": Compression.BZ2, b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}


class Piece(NamedTuple):
    """A run of decompressed bytes; the last one of a compressed stream is empty and says how the stream ended."""

    offset: int  # where its stream starts in the file (of an uncompressed file: where the run itself starts)
    data: bytes
    ended: bool = False
    damaged: bool = False  # cut short or corrupt; what had been decompressed before came in earlier pieces


def detect_compression(file: BinaryIO) -> Compression:
    """Tells a file's compression by its first bytes."""
    file.seek(0)
    head = file.read(4)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), Compression.NONE)


def read_pieces(file: BinaryIO, compression: Compression, *, start: int = 0, cut: int = 0) -> Iterator[Piece]:
    """Reads on from an offset to the end of the file; stop taking pieces when there are enough.

    Args:
        file: Seekable.
        compression: Of the file.
        start: Where to begin; 0 unless the compression is splittable.
        cut: An offset that no piece of an uncompressed file crosses.
    """
    match compression:
        case Compression.BZ2:
            return _read_bz2(file, start)
        case Compression.NONE:
            return _read_plain(file, start, cut)
        case _:
            return _read_whole(file, compression)


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Reads a whole file, decompressed.

    Raises:
        OSError: When it is cut short or corrupt.
    """
    for piece in read_pieces(file, detect_compression(file)):
        if piece.damaged:
            raise OSError(f"the file is cut short or corrupt, in the stream that starts at byte {piece.offset:,}")
        yield piece.data


def _read_plain(file: BinaryIO, start: int, cut: int) -> Iterator[Piece]:
    file.seek(start)
    while data := file.read(min(_READ_BYTES, cut - start) if start < cut else _READ_BYTES):
        yield Piece(start, data)
        start += len(data)


def _read_whole(file: BinaryIO, compression: Compression) -> Iterator[Piece]:
    file.seek(0)
    stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression.value)
    try:
        while data := stream.read(_READ_BYTES):
            yield Piece(0, data)
    except OSError as error:
        if error.errno is not None:  # from the disk or the network, not from the decompressor
            raise
        yield Piece(0, b"", ended=True, damaged=True)
    else:
        yield Piece(0, b"", ended=True)


def _read_bz2(file: BinaryIO, start: int) -> Iterator[Piece]:
    read_stream = _stream_reader(file)
    offset = _find_stream(file, start)
    while offset is not None:
        stop = yield from _read_bz2_stream(read_stream, offset)
        yield Piece(offset, b"", ended=True, damaged=stop is None)
        if stop is None:
            offset = _find_stream(file, offset + 1)
        elif (head := _read_at(file, stop, _STREAM_START_BYTES)) and not _STREAM_START.match(head):
            yield Piece(offset, b"", ended=True, damaged=True)  # the start of the stream after it is destroyed
            offset = _find_stream(file, stop + 1)
        else:
            offset = stop if head else None


def _read_bz2_stream(read_stream: _ReadStream, offset: int) -> Generator[Piece, None, int | None]:
    content = read_stream(offset)
    while True:
        try:
            data = next(content)
        except StopIteration as end:
            stop: int | None = end.value
            return stop
        yield Piece(offset, data)


def _stream_reader(file: BinaryIO) -> _ReadStream:
    """What yields a stream's content and returns the offset behind it, or None when it is damaged."""
    from vocab.kernels.compiled import find_obstacle  # late, because it loads numba

    if find_obstacle():
        return functools.partial(_read_by_library, file)
    from vocab.kernels.bz2_blocks import StreamReader

    return StreamReader(file).read_stream


def _read_by_library(file: BinaryIO, offset: int) -> Generator[bytes, None, int | None]:
    """Does what `vocab.kernels.bz2_blocks` does, but may yield the beginning of a damaged block as well."""
    decompressor = bz2.BZ2Decompressor()
    file.seek(offset)
    while not decompressor.eof:
        raw = file.read(_BZ2_READ_BYTES) if decompressor.needs_input else b""
        if not raw and decompressor.needs_input:
            return None
        offset += len(raw)
        try:
            data = decompressor.decompress(raw, _READ_BYTES)
        except OSError:
            return None
        if data:
            yield data
    return offset - len(decompressor.unused_data)


def _find_stream(file: BinaryIO, start: int) -> int | None:
    """The offset of the first bz2 stream that starts at or after an offset."""
    window = _read_at(file, start, _READ_BYTES)
    while len(window) >= _STREAM_START_BYTES:
        if found := _STREAM_START.search(window):
            return start + found.start()
        start += len(window) - _STREAM_START_BYTES + 1
        window = _read_at(file, start, _READ_BYTES)
    return None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
