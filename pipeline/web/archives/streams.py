"""The bytes of a WARC as a seekable file in which a reader can start at any record, however it is compressed.

In: an open WARC or WACZ. Out: `WarcStream` for each WARC in it. Where every record is a gzip member or zstd frame of
its own, positions are those of the file; where many records share one, positions are those of the inflated stream.
Source: ISO 28500 annex D (one gzip member a record); RFC 1952; RFC 8878 (zstd); APPNOTE.TXT 4.3 (zip).
"""

import errno
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, NamedTuple, Protocol, cast

import zstandard

GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_RECORD_START: Final = re.compile(rb"\nWARC/[01]\.\d{1,2}\r?\n")
_LENGTH_HEADER: Final = re.compile(rb"\r?\ncontent-length:[ \t]*(\d{1,18})", re.IGNORECASE)
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_SCAN_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 18
_INFLATE_BYTES: Final = 1 << 16
_SCAN_OVERLAP: Final = 64  # longer than the first line of a record


def open_zip(file: BinaryIO) -> zipfile.ZipFile | None:
    """The zip that a file is, or None.

    Raises:
        zipfile.BadZipFile: For a zip that is cut or corrupt.
    """
    file.seek(0)
    if file.read(4) != _ZIP_MAGIC:
        return None
    with _refuse_bad_zip():
        return zipfile.ZipFile(file)


def open_member(file: BinaryIO, archive: zipfile.ZipFile, member: str) -> BinaryIO:
    """A member of a zip as a seekable file.

    Raises:
        zipfile.BadZipFile: When the member is not where the directory says, or is encrypted.
    """
    with _refuse_bad_zip():
        archive.open(member).close()
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED:
            return _buffered(_InflatedFile(lambda _: archive.open(member), file))
        file.seek(info.header_offset + 26)  # APPNOTE.TXT 4.3.7: lengths of name and extra field in the local header
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        return _buffered(_FilePart(file, info.header_offset + 30 + name_length + extra_length, info.file_size))


@contextmanager
def _refuse_bad_zip() -> Iterator[None]:
    """Turns what the zip module raises at corrupt numbers and names into its own error."""
    try:
        yield
    except (ValueError, NotImplementedError, RuntimeError, struct.error, EOFError) as error:
        raise zipfile.BadZipFile(str(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where no file can be
            raise
        raise zipfile.BadZipFile(str(error)) from error


class WarcStream:
    """One WARC as a seekable file in which fastwarc can start at any record."""

    def __init__(self, source: BinaryIO) -> None:
        source.seek(0)
        magic = source.read(4)
        self._inflated: _InflatedFile | None = None
        self._make_inflater = _inflater_of(magic)
        if self._make_inflater is not None and _holds_many_records(source, self._make_inflater()):
            self._inflated = _InflatedFile(_Gunzip if magic.startswith(GZIP_MAGIC) else _unzstd, source)
            source = _buffered(self._inflated)
            self._make_inflater = None
        self.file = source
        self._magic = b"\nWARC/" if self._make_inflater is None else magic[:3]

    @property
    def breakage(self) -> str:
        """Why the inflated stream ended where it did; empty when it was whole, or is not one stream."""
        return self._inflated.breakage if self._inflated else ""

    def find_record(self, position: int) -> int | None:
        """The first byte at or after `position` where a record seems to start."""
        while True:
            self.file.seek(position)
            block = self.file.read(_SCAN_BYTES + _SCAN_OVERLAP)
            found = block.find(self._magic)
            while 0 <= found < _SCAN_BYTES:
                if self._make_inflater is None:
                    if _RECORD_START.match(block, found):
                        return position + found + 1
                elif (_try_inflate(self._make_inflater(), block[found : found + 4096]) or b"").startswith(b"WARC/"):
                    return position + found
                found = block.find(self._magic, found + 1)
            if len(block) < _SCAN_BYTES + _SCAN_OVERLAP:
                return None
            position += _SCAN_BYTES


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _InflatedFile(io.RawIOBase):
    """What a decompressor reads from a file; it ends where the compressed bytes are broken."""

    def __init__(self, open_inflated: Callable[[BinaryIO], _Reads], source: BinaryIO) -> None:
        super().__init__()
        self._open_inflated, self._source = open_inflated, source
        self.breakage = ""
        self._restart()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            while self.read(_SCAN_BYTES):
                pass
            return self._position
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._restart()
        while self._position < target and self.read(min(_SCAN_BYTES, target - self._position)):
            pass
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._inflated.read(min(len(buffer), _INFLATE_BYTES))
        except (EOFError, OSError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            self.breakage = str(error)
            data = b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _restart(self) -> None:
        self._source.seek(0)
        self._inflated = self._open_inflated(self._source)
        self._position = 0


class _FilePart(io.RawIOBase):
    """A range of bytes of a file, as a file: a member that a zip stores uncompressed."""

    def __init__(self, source: BinaryIO, first: int, length: int) -> None:
        super().__init__()
        self._source, self._first, self._length, self._position = source, first, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._source.seek(self._first + self._position)
        data = self._source.read(max(0, min(len(buffer), self._length - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _buffered(raw: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER_BYTES))


class _Gunzip:
    """Reads gzip members one after another; unlike the standard library's, it gives all bytes before a breakage."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._compressed = b""
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def read(self, size: int) -> bytes:
        while True:
            self._compressed = self._compressed or self._source.read(_INFLATE_BYTES)
            if not self._compressed:
                if self._inflater.eof:
                    return b""
                raise EOFError("gzip stream is cut")
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            data = self._inflater.decompress(self._compressed, size)
            self._compressed = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if data:
                return data


def _unzstd(source: BinaryIO) -> _Reads:
    return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True, closefd=False)


class _Inflater(NamedTuple):
    """A decompressor of one gzip member or zstd frame."""

    decompress: Callable[[bytes], bytes]
    is_done: Callable[[], bool]


def _gzip_inflater() -> _Inflater:
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    return _Inflater(inflater.decompress, lambda: inflater.eof)


def _zstd_inflater() -> _Inflater:
    inflater = zstandard.ZstdDecompressor().decompressobj()
    return _Inflater(inflater.decompress, lambda: inflater.eof)


def _inflater_of(magic: bytes) -> Callable[[], _Inflater] | None:
    if magic.startswith(GZIP_MAGIC):
        return _gzip_inflater
    return _zstd_inflater if magic == _ZSTD_MAGIC else None


def _try_inflate(inflater: _Inflater, data: bytes) -> bytes | None:
    try:
        return inflater.decompress(data)
    except (zlib.error, zstandard.ZstdError):
        return None


def _holds_many_records(source: BinaryIO, inflater: _Inflater) -> bool:
    """Whether the first compressed member holds more than one record: then records have no places of their own."""
    source.seek(0)
    head, size, expected = b"", 0, None
    while not inflater.is_done() and (data := source.read(1 << 12)):
        part = _try_inflate(inflater, data)
        if part is None:
            return False
        size += len(part)
        head += part if expected is None else b""
        end = _HEADER_END.search(head) if expected is None else None
        length = _LENGTH_HEADER.search(head, 0, end.start()) if end else None
        if (end and not length) or len(head) > _SCAN_BYTES:
            return False
        if end and length:
            head, expected = b"", end.end() + int(length[1]) + len(b"\r\n\r\n")
        if expected is not None and size > expected:
            return True
    return False
