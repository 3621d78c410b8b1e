"""Records of archives ► pages: HTML as it was answered, or what a WAT says of it.

In: the records of an archive, in order. Out: for each, in the same order, a `Page`, or why it is left out, or None
when it is about no answer.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Page
from pipeline.extraction.pages import HTML_TYPES, PageRules, parse_page
from pipeline.extraction.wat import parse_wat
from pipeline.extraction.wat_links import Cutter, cut_links
from pipeline.web.archives.records import ArchiveRecord

MAX_PAGE_BYTES: Final = 16 << 20  # Common Crawl keeps 1 to 5 MiB of a page
HTML_START: Final = re.compile(rb"\s*(?:<\?xml|<!doctype\s+html|<html|<!--|<head|<body)", re.IGNORECASE)

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)


def read_pages(
    records: Iterable[ArchiveRecord], rules: PageRules, cut_links: Cutter = cut_links
) -> Iterator[Page | DropReason | None]:
    """Reads the records of one archive.

    Args:
        records: In their order.
        rules: How pages are read.
        cut_links: See `parse_wat`.
    """
    for record in records:
        if record.kind == "metadata" and record.mime == "application/json":
            yield parse_wat(record.body, rules, cut_links)
        else:
            yield _read_answer(record, rules)


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
