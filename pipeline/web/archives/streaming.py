"""The records of an archive from first to last, the quick way: for those who need no places of records.

In: the path of an archive. Out: the records of `iterate_records`, but for their offsets. A gzip file is inflated in
large blocks (igzip, twice as fast as zlib), and records are cut out of them as long as everything is written in the
usual way; at the first irregularity, be it damage, `iterate_records` reads the file and gives what is left.
Source: ISO 28500 5 (record header), annex D (gzip members one after another).
"""

import gzip
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Final, TypeVar, cast

from isal import igzip, isal_zlib

from pipeline.base.files import open_for_read
from pipeline.web.archives.records import ArchiveRecord, Fault, iterate_records, make_record
from pipeline.web.archives.streams import GZIP_MAGIC

_Scanned = TypeVar("_Scanned")

UNKNOWN_OFFSET: Final = -1

_BLOCK_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 15
_MAX_RECORD_BYTES: Final = 16 << 20  # a larger one is an irregularity
_HEADER_END: Final = b"\r\n\r\n"  # also stands behind a record
# What igzip raises at damage; an overflow is a header of a member that is longer than its buffer.
_DAMAGE: Final = (EOFError, OverflowError, gzip.BadGzipFile, cast(type[Exception], isal_zlib.error))
_VERSIONS: Final = ("WARC/1.0", "WARC/1.1")
# ISO 28500 5.1 to 5.20; where others stand, or in other case, there may be two for one thing.
USUAL_NAMES: Final = frozenset(
    f"WARC-{name}"
    for name in (
        "Type", "Record-ID", "Date", "Concurrent-To", "Block-Digest", "Payload-Digest", "IP-Address", "Refers-To",
        "Refers-To-Target-URI", "Refers-To-Date", "Target-URI", "Truncated", "Warcinfo-ID", "Filename", "Profile",
        "Identified-Payload-Type", "Protocol", "Cipher-Suite",
    )
) | {"Content-Length", "Content-Type"}  # fmt: skip


def stream_records(path: str, on_fault: Callable[[Fault], None] = lambda fault: None) -> Iterator[ArchiveRecord]:
    """The records of an archive, in order; see `iterate_records`."""
    return stream_scanned(path, _scan_nothing, on_fault)


def stream_scanned(
    path: str, scan: Callable[[bytearray, int, int], tuple[list[_Scanned], int]], on_fault: Callable[[Fault], None]
) -> Iterator[ArchiveRecord | _Scanned]:
    """The records of an archive, in order, or what a function makes of them that reads many at once.

    Args:
        path: See `iterate_records`.
        scan: Takes inflated bytes, where in them a record begins, and where they end. Gives what it makes of each of
            the next records, as many as are whole and to its taste, and where the first one begins that is not.
        on_fault: See `iterate_records`.
    """
    num_read = yield from _cut_records(path, scan)
    if num_read is not None:
        rest = islice(iterate_records(path, on_fault), num_read, None)
        yield from (record._replace(offset=UNKNOWN_OFFSET) for record in rest)


def _scan_nothing(data: bytearray, first: int, last: int) -> tuple[list[ArchiveRecord], int]:
    return [], first


def _cut_records(
    path: str, scan: Callable[[bytearray, int, int], tuple[list[_Scanned], int]]
) -> Generator[ArchiveRecord | _Scanned, None, int | None]:
    """Cuts records out of a gzip file; returns how many there were before an irregularity, None if there was none."""
    with open_for_read(path) as file:
        if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            return 0
        file.seek(0)
        blocks = _Blocks(igzip.IGzipFile(fileobj=file))  # type: ignore[no-untyped-call]
        num_read = 0
        try:
            while True:
                scanned, blocks.first = scan(blocks.data, blocks.first, blocks.last)
                yield from scanned
                num_read += len(scanned)
                if scanned and blocks.fill():
                    continue
                if (record := _cut_record(blocks)) is None:
                    break
                yield record
                num_read += 1
        except (_Irregular, *_DAMAGE):
            return num_read
    return None if num_read else 0


class _Irregular(Exception):
    """Something that this reader leaves to another."""


class _Blocks:
    """Inflated bytes, of which a part is in memory.

    Attributes:
        data: Where they are kept.
        first: Where the part begins that is not read yet.
        last: Where it ends.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.data = bytearray(_BLOCK_BYTES)
        self.first = self.last = 0

    def need(self, num_bytes: int) -> bool:
        """Reads on until so many bytes from `first` on are there; whether there are so many."""
        if self.last - self.first >= num_bytes:
            return True
        self._make_room(num_bytes)
        with memoryview(self.data) as view:
            while self.last - self.first < num_bytes and (number := self._file.readinto(view[self.last :])):
                self.last += number
        return self.last - self.first >= num_bytes

    def fill(self) -> bool:
        """Reads on until a block is there; whether there was anything to read."""
        before = self.last - self.first
        self._make_room(_BLOCK_BYTES)
        with memoryview(self.data) as view:
            while number := self._file.readinto(view[self.last :]):
                self.last += number
        return self.last - self.first > before

    def _make_room(self, num_bytes: int) -> None:
        """Moves what is not read to the front, where the rest of so many bytes would not fit in behind it."""
        if self.first + num_bytes > len(self.data) or self.first > _BLOCK_BYTES // 2:
            rest = self.data[self.first : self.last]
            if num_bytes > len(self.data):
                self.data = bytearray(2 * num_bytes)
            self.data[: len(rest)] = rest
            self.first, self.last = 0, len(rest)


def _cut_record(blocks: _Blocks) -> ArchiveRecord | None:
    """The next record; None at the end of the file.

    Raises:
        _Irregular: When it is not written in the usual way.
    """
    if not blocks.need(1):
        return None
    end = blocks.data.find(_HEADER_END, blocks.first, blocks.last)
    if end < 0:
        blocks.need(_MAX_HEADER_BYTES)
        end = blocks.data.find(_HEADER_END, blocks.first, blocks.last)
    headers = _parse_header(blocks.data[blocks.first : end]) if end >= 0 else {}
    length = headers.get("Content-Length", "")
    if not (length.isdigit() and len(length) < 9 and int(length) < _MAX_RECORD_BYTES):
        raise _Irregular
    blocks.first = end + len(_HEADER_END)
    size = int(length)
    if not blocks.need(size + len(_HEADER_END)):
        raise _Irregular
    last = blocks.first + size
    if not blocks.data.startswith(_HEADER_END, last):
        raise _Irregular
    block = memoryview(blocks.data)[blocks.first : last]
    blocks.first = last + len(_HEADER_END)
    return make_record(headers.get, block, member="", offset=UNKNOWN_OFFSET)


def _parse_header(header: bytearray) -> dict[str, str]:
    """The fields of a record header; none where it is written in an unusual way."""
    try:
        version, *lines = header.decode("ascii").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
    except ValueError:
        return {}
    is_usual = (
        version in _VERSIONS and len(fields) == len(lines) == header.count(b"\n") and fields.keys() <= USUAL_NAMES
    )
    return fields if is_usual else {}
