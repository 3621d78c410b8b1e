"""Records of archives ► pages: HTML as it was answered, or what a WAT says of it.

In: the records of an archive, in order. Out: for each, in the same order, a `Page`, or why it is left out, or None
when it is about no answer.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from pipeline.archives.records import ArchiveRecord
from pipeline.drops import DropReason
from pipeline.extraction.candidates import Page
from pipeline.extraction.pages import HTML_TYPES, PageRules, parse_page
from pipeline.extraction.wat import parse_wats

MAX_PAGE_BYTES: Final = 16 << 20  # Common Crawl keeps 1 to 5 MiB of a page
HTML_START: Final = re.compile(rb"\s*(?:<\?xml|<!doctype\s+html|<html|<!--|<head|<body)", re.IGNORECASE)

_BATCH_BYTES: Final = 1 << 18  # of WAT records: what stays in the processor's cache
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)


def read_pages(
    records: Iterable[ArchiveRecord], rules: PageRules, *, is_compiled: bool = False
) -> Iterator[Page | DropReason | None]:
    """Reads records; a few of a WAT are held back to be read together.

    Args:
        records: Of one archive.
        rules: How pages are read.
        is_compiled: See `parse_wats`.
    """
    for is_wat, group in groupby(records, _is_wat_record):
        if is_wat:
            for batch in _batches(group):
                yield from parse_wats(batch, rules, is_compiled=is_compiled)
        else:
            for record in group:
                yield _read_answer(record, rules)


def _is_wat_record(record: ArchiveRecord) -> bool:
    return record.kind == "metadata" and record.mime == "application/json"


def _batches(records: Iterable[ArchiveRecord]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    num_bytes = 0
    for record in records:
        batch.append(record.body)
        num_bytes += len(record.body)
        if num_bytes >= _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _read_answer(record: ArchiveRecord, rules: PageRules) -> Page | DropReason | None:
    if record.kind not in ("response", "resource"):
        return None
    if record.mime not in HTML_TYPES and (record.mime or not HTML_START.match(record.body)):
        return DropReason.NOT_HTML
    if record.status not in (None, 200):
        return DropReason.NOT_OK
    html = record.payload(MAX_PAGE_BYTES)
    if isinstance(html, DropReason):
        return html
    charset = _CHARSET.search(",".join(record.header_values("content-type")))
    return parse_page(
        html,
        record.url,
        mime=record.mime,
        charset=charset[1] if charset else "",
        headers=record.headers,
        rules=rules,
    )
