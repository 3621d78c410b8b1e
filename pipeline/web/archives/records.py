"""Records of web archives: WARC 0.18, 1.0 and 1.1, plain, gzip or zstd, and WACZ (a zip that holds WARCs).

In: the path of an archive. Out: its records one after another (`iterate_records`), one record again by its place
(`open_record`), or a table of where its images lie (`index_images`). A cut or corrupt record is a `Fault` for the
caller to count; reading goes on at the next record that is whole.
Source: ISO 28500 (WARC 1.1) and annex D (one gzip member a record); IIPC WARC zstd specification; WACZ 1.1.1, 5.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecord

from pipeline.base.drops import DropReason
from pipeline.base.files import open_for_read
from pipeline.web.archives.streams import WarcStream, open_member, open_zip
from pipeline.web.bodies import decode_body
from pipeline.web.urls import UrlResolver, canonicalize_url

MAX_BODY_BYTES: Final = 64 << 20  # after decompression

IMAGE_INDEX: Final = pa.schema(
    [
        pa.field("canonical_url", pa.string(), nullable=False),  # as in pairs
        pa.field("url", pa.string(), nullable=False),  # as in the archive
        pa.field("member", pa.string(), nullable=False),  # WARC inside a WACZ; empty otherwise
        pa.field("offset", pa.int64(), nullable=False),  # for `open_record`
        pa.field("status", pa.int16()),  # of the HTTP answer; null for a resource record
        pa.field("mime", pa.string(), nullable=False),  # as declared; may be empty
        pa.field("location", pa.string()),  # canonical URL that holds the image instead: redirects, revisits
    ]
)

_MAX_RECORD_BYTES: Final = 256 << 20  # larger ones are faults: nothing we look for is so large
_MAX_FAULTS: Final = 1_000  # in one file; what follows so many is not worth the search
_MAX_HTTP_HEADER_BYTES: Final = 256 << 10
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd
_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")


class Fault(NamedTuple):
    """A place in an archive that could not be read."""

    member: str
    offset: int
    message: str


class ArchiveRecord(NamedTuple):
    """One record; HTTP header lines are split from the body, which is still as it was transferred.

    Attributes:
        kind: WARC-Type: response, resource, request, metadata, revisit…
        url: WARC-Target-URI.
        mime: Media type of the body as declared, without parameters, in lower case.
        status: HTTP status; None when the record holds no HTTP answer.
        headers: HTTP header lines in their order, names in lower case.
        body: Bytes of the record after the HTTP header; `payload` undoes their transfer and content codings.
        refers_to: WARC-Refers-To-Target-URI of a revisit.
        member: WARC inside a WACZ; empty otherwise.
        offset: Where the record starts: in the file, or in the decompressed stream where that is one stream only.
    """

    kind: str
    url: str
    mime: str
    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    refers_to: str
    member: str
    offset: int

    def header_values(self, name: str) -> list[str]:
        """The values of all HTTP header lines of a name in lower case."""
        return [value for header, value in self.headers if header == name]

    def payload(self, max_bytes: int = MAX_BODY_BYTES) -> bytes | DropReason:
        """The body with chunking and compression undone.

        Archives written by browsers keep the header lines but hold the body decoded: what does not look encoded is
        taken as it is.
        """
        body = self.body
        if any("chunked" in value.lower() for value in self.header_values("transfer-encoding")):
            body = _join_chunks(body)
        encoding = ",".join(self.header_values("content-encoding"))
        if not encoding:
            return body if len(body) <= max_bytes else DropReason.TOO_MANY_BYTES
        decoded = decode_body(body, encoding, max_bytes=max_bytes)
        if decoded is DropReason.BAD_ENCODING and not body.startswith(_COMPRESSED):
            return body if len(body) <= max_bytes else DropReason.TOO_MANY_BYTES
        return decoded


def iterate_records(path: str, on_fault: Callable[[Fault], None] = lambda fault: None) -> Iterator[ArchiveRecord]:
    """The records of an archive, in order.

    Args:
        path: WARC or WACZ, on any file system.
        on_fault: Called for every place that could not be read.
    """
    try:
        reader = ArchiveReader(path)
    except zipfile.BadZipFile as error:
        on_fault(Fault("", 0, str(error)))
        return
    with reader:
        for member in reader.members():
            yield from reader.iterate_member(member, on_fault)


def open_record(path: str, member: str, offset: int) -> ArchiveRecord:
    """Reads one record again, by the place that `iterate_records` or `index_images` gave.

    Raises:
        LookupError: When no record starts there.
    """
    with ArchiveReader(path) as reader:
        return reader.open_record(member, offset)


def index_images(path: str) -> pa.Table:
    """Where the images of an archive lie (`IMAGE_INDEX`), in the order of the archive.

    Answers that may be images, redirects, and revisits of another URL; those of pages, scripts and styles are left out.
    """
    rows = [row for record in iterate_records(path) if (row := _index_row(record))]
    return pa.Table.from_pylist(rows, IMAGE_INDEX)


class ArchiveReader:
    """An open archive, for many reads; a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open_for_read(path)
        try:
            self._zip = open_zip(self._file)
        except zipfile.BadZipFile:
            self._file.close()
            raise
        self._streams: dict[str, WarcStream] = {}

    def __enter__(self) -> "ArchiveReader":
        """Opens nothing: the file is open already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the file."""
        self._file.close()

    def members(self) -> list[str]:
        """The WARCs in a WACZ, sorted by name; for a WARC one empty name."""
        if self._zip is None:
            return [""]
        return sorted(name for name in self._zip.namelist() if ".warc" in name.rsplit("/", 1)[-1].lower())

    def iterate_member(self, member: str, on_fault: Callable[[Fault], None]) -> Iterator[ArchiveRecord]:
        """The records of one WARC, in order; after a fault those that follow the next whole record's start."""
        try:
            stream = self._stream(member)
        except zipfile.BadZipFile as error:
            on_fault(Fault(member, 0, str(error)))
            return
        start, trouble = 0, "holds no record"
        for _ in range(_MAX_FAULTS):
            position = start
            try:
                for record in _iterate_from(stream.file, start):
                    position, trouble = record.stream_pos, ""
                    yield _read_record(record, member)
                if trouble or stream.breakage:
                    on_fault(Fault(member, position, stream.breakage or trouble))
                return
            except (_Unreadable, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk or the network, not the archive
                on_fault(Fault(member, position, str(error)))
            found = stream.find_record(position + 1)
            if found is None:
                return
            start, trouble = found, ""
        on_fault(Fault(member, start, f"more than {_MAX_FAULTS} faults; the rest is not read"))

    def open_record(self, member: str, offset: int) -> ArchiveRecord:
        """Reads the record that starts at `offset`.

        Raises:
            LookupError: When no record starts there.
        """
        try:
            for record in _iterate_from(self._stream(member).file, offset):
                return _read_record(record, member)
        except (_Unreadable, OSError) as error:
            raise LookupError(f"{self._path}: no whole record at byte {offset} {member}") from error
        raise LookupError(f"{self._path}: ends before byte {offset} {member}")

    def _stream(self, member: str) -> WarcStream:
        if member not in self._streams:
            source = self._file if self._zip is None else open_member(self._file, self._zip, member)
            self._streams[member] = WarcStream(source)
        return self._streams[member]


class _Unreadable(Exception):
    """A record that is cut off or too large."""


def _iterate_from(file: BinaryIO, start: int) -> Iterator[WarcRecord]:
    file.seek(start)
    return ArchiveIterator(file, parse_http=False, quirks_mode=True)


def _read_record(record: WarcRecord, member: str) -> ArchiveRecord:
    length = record.content_length
    if length > _MAX_RECORD_BYTES:
        raise _Unreadable(f"record of {length} bytes")
    block = record.reader.read()
    if len(block) < length:
        raise _Unreadable(f"record of {length} bytes is cut after {len(block)}")
    return make_record(record.headers.get, block, member=member, offset=record.stream_pos)


def make_record(
    get: Callable[[str], str | None], block: bytes | memoryview, *, member: str, offset: int
) -> ArchiveRecord:
    """Makes a record of its parts.

    Args:
        get: Gives the value of a field of the record header, by its name.
        block: What follows the header.
        member: WARC inside a WACZ; empty otherwise.
        offset: Where the record starts.
    """
    status, headers, body = _split_http(block)
    if status is None:
        declared = get("Content-Type") or ""
    else:
        declared = next((value for name, value in headers if name == "content-type"), "")
    kind = (get("WARC-Type") or "").lower()
    refers_to = (get("WARC-Refers-To-Target-URI") or "") if kind == "revisit" else ""
    return ArchiveRecord(
        kind=kind,
        url=(get("WARC-Target-URI") or "").strip("<> "),  # some writers put it in angle brackets
        mime=declared.partition(";")[0].strip().lower(),
        status=status,
        headers=headers,
        body=body,
        refers_to=refers_to.strip("<> "),
        member=member,
        offset=offset,
    )


def _split_http(block: bytes | memoryview) -> tuple[int | None, tuple[tuple[str, str], ...], bytes]:
    """Status, header lines and body of an HTTP answer; the block is the body when it is none."""
    status = _STATUS_LINE.match(block)
    if status is None:
        return None, (), bytes(block)
    end = _HEADER_END.search(block, 0, _MAX_HTTP_HEADER_BYTES)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block[:_MAX_HTTP_HEADER_BYTES], b"")
    headers: list[tuple[str, str]] = []
    for line in str(head, "latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and headers:  # a folded line, RFC 9112 5.2
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    return int(status[1]), tuple(headers), bytes(body)


def _join_chunks(body: bytes) -> bytes:
    """Undoes chunked transfer (RFC 9112 7.1) as far as it goes; a body that is not chunked stays as it is."""
    chunks: list[bytes] = []
    position = 0
    while (line_end := body.find(b"\n", position, position + 1024)) >= 0:
        try:
            size = int(body[position:line_end].partition(b";")[0].strip(), 16)
        except ValueError:
            size = -1
        if size < 0:
            return body if not chunks else b"".join(chunks)
        if size == 0:
            break
        chunks.append(body[line_end + 1 : line_end + 1 + size])
        position = line_end + 1 + size
        position += 2 if body[position : position + 2] == b"\r\n" else 1
    return b"".join(chunks) if chunks or body.startswith(b"0") else body


def _index_row(record: ArchiveRecord) -> dict[str, object] | None:
    url = canonicalize_url(record.url)
    location = None
    if url is None:
        return None
    if record.kind == "revisit":
        location = canonicalize_url(record.refers_to)
    elif record.kind not in ("response", "resource"):
        return None
    elif record.status is not None and 300 <= record.status < 400:
        targets = record.header_values("location")
        location = UrlResolver(url).resolve(targets[0]) if targets else None
    elif not record.mime.startswith("image/") and record.mime not in ("", "application/octet-stream"):
        return None
    if location == url or (location is None and record.kind == "revisit"):
        return None
    return {
        "canonical_url": url,
        "url": record.url,
        "member": record.member,
        "offset": record.offset,
        "status": record.status,
        "mime": record.mime,
        "location": location,
    }
