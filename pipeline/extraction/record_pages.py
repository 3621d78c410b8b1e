"""Records of archives ► pages: HTML as it was answered, or what a WAT says of it.

In: an archive. Out: for each of its records, in order, a `Page`, or why it is left out, or None when it is about no
answer.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from pipeline.base import files
from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Page
from pipeline.extraction.pages import HTML_TYPES, PageRules, parse_page
from pipeline.extraction.wat import parse_wat
from pipeline.extraction.wat_scan import WatScanner, load_scanner
from pipeline.web.archives.records import ArchiveRecord, Fault
from pipeline.web.archives.streaming import stream_scanned
from pipeline.web.bodies import decode_body
from pipeline.web.http import parse_charset

SCANNED_BYTES: Final = 4 << 20  # of a WAT, from which on machine code pays
MAX_PAGE_BYTES: Final = 16 << 20  # Common Crawl keeps 1 to 5 MiB of a page
HTML_START: Final = re.compile(rb"\s*(?:<\?xml|<!doctype\s+html|<html|<!--|<head|<body)", re.IGNORECASE)

_CODINGS: Final = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))  # by how a body begins
_BINARY: Final = bytes({*range(1, 9), *range(14, 27), *range(28, 32)})  # no text holds them
_BINARY_START: Final = 1024
_BINARY_SHARE: Final = 0.02


def read_pages(
    path: str, rules: PageRules, on_fault: Callable[[Fault], None] = lambda fault: None
) -> Iterator[Page | DropReason | None]:
    """Reads the records of an archive.

    Args:
        path: See `stream_records`.
        rules: How pages are read.
        on_fault: See `stream_records`.
    """
    is_large = files.file_size(path) >= SCANNED_BYTES
    scanner: WatScanner | None = None

    def scan(data: bytearray, first: int, last: int) -> tuple[list[Page | DropReason | None], int]:
        return scanner.scan(data, first, last) if scanner else ([], first)

    for record in stream_scanned(path, scan, on_fault):
        if not isinstance(record, ArchiveRecord):
            yield record
        elif is_wat_record(record):
            if is_large and scanner is None:
                is_large, scanner = False, load_scanner(rules)
            yield parse_wat(record.body, rules)
        else:
            yield read_answer(record, rules)


def is_wat_record(record: ArchiveRecord) -> bool:
    """Whether a record is one of those that a WAT is made of."""
    return record.kind == "metadata" and record.mime == "application/json"


def read_answer(record: ArchiveRecord, rules: PageRules) -> Page | DropReason | None:
    """Reads a record of a WARC."""
    if record.kind not in ("response", "resource"):
        return None
    if record.mime not in HTML_TYPES and (record.mime or not HTML_START.match(record.body)):
        return DropReason.NOT_HTML
    if record.status not in (None, 200):
        return DropReason.NOT_OK
    html = _read_html(record)
    if isinstance(html, DropReason):
        return html
    return parse_page(
        html,
        record.url,
        mime=record.mime,
        charset=parse_charset(record.header_values("content-type")),
        headers=record.headers,
        rules=rules,
    )


def _read_html(record: ArchiveRecord) -> bytes | DropReason:
    """The page, decoded by what its header lines say of its coding, or else by what it is."""
    html = record.payload(MAX_PAGE_BYTES)
    body = record.body if html is DropReason.BAD_ENCODING else html
    if isinstance(body, bytes) and (coding := next((name for magic, name in _CODINGS if body.startswith(magic)), "")):
        return decode_body(body, coding, max_bytes=MAX_PAGE_BYTES)
    is_as_it_came = html == record.body and bool(record.header_values("content-encoding"))
    return DropReason.BAD_ENCODING if is_as_it_came and _is_binary(record.body) else html


def _is_binary(body: bytes) -> bool:
    """Whether a body is of a coding that is not known, or damaged, and no text: UTF-16 says so at its start."""
    start = body[:_BINARY_START]
    num_others = len(start) - len(start.translate(None, _BINARY))
    return num_others > _BINARY_SHARE * len(start) and not start.startswith((b"\xff\xfe", b"\xfe\xff"))
