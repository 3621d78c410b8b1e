"""One input file ► its filtered pairs and the counts of what became of everything in it.

In: a WARC, WAT, WET or WACZ archive, a saved HTML page, or a table of URLs and texts. Out: batches of `EXTRACTED`, in
the order of the file, and counts: ``pages/…`` (answers, saved pages), ``json_ld/…`` (their scripts that name an image)
and ``pairs/…`` (candidates), conserved together with what deduplication drops later.
"""

import hashlib
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.carried_columns import with_carried
from pipeline.base.drops import Counts, DropReason
from pipeline.base.ids import pair_id
from pipeline.extraction.candidates import TEXT_SOURCES, Candidate, Page
from pipeline.extraction.contacts import scrub_contacts
from pipeline.extraction.filters import FilterOptions, clean_texts, normalized_texts, refuse_pairs
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.languages import identify_languages, primary_language
from pipeline.extraction.losers import EXTRACTED
from pipeline.extraction.pages import PageRules, parse_page
from pipeline.extraction.record_pages import HTML_START, MAX_PAGE_BYTES, read_pages
from pipeline.extraction.table_columns import NO_COLUMNS, TableColumns
from pipeline.extraction.url_lists import WHOLE, ListColumns, TablePart, list_format, read_url_list
from pipeline.web.bodies import decode_body
from pipeline.web.urls import canonicalize_url

_BATCH_ROWS: Final = 16_384
_ARCHIVE_NAME: Final = re.compile(r"\.(?:warc|wat|wet|wacz)(?:\.|$)", re.IGNORECASE)
_HTML_NAME: Final = re.compile(r"\.x?html?(?:\.gz)?$", re.IGNORECASE)


class ExtractionRules(NamedTuple):
    """Everything that decides what is extracted from a file, besides the file.

    Attributes:
        pages: How pages are read.
        columns: Which columns of tables are read.
        filters: Which pairs are kept.
        page_languages: Languages of pages that are read; empty: all.
        page_urls: Addresses of saved pages, by file name without ``.html`` and ``.gz``.
        others: Further columns of tables, and which of their rows are read.
    """

    pages: PageRules
    columns: ListColumns
    filters: FilterOptions
    page_urls: Mapping[str, str]
    page_languages: tuple[str, ...] = ()
    others: TableColumns = NO_COLUMNS

    @property
    def schema(self) -> pa.Schema:
        """`EXTRACTED`, with the columns that are carried."""
        return with_carried(EXTRACTED, self.others.carried)


def input_kind(path: str) -> str:
    """What an input file is, by its name, else by its first bytes: ``table``, ``html`` or ``archive``.

    Raises:
        ValueError: When it is none of them.
    """
    if kind := named_kind(path):
        return kind
    with files.open_for_read(path) as file:
        start = file.read(1024)
    if start.startswith((b"WARC/", b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return "archive"
    if HTML_START.match(start):
        return "html"
    raise ValueError(f"{path}: not a web archive (WARC, WAT, WACZ), HTML page, or table (parquet, csv, tsv, jsonl)")


def named_kind(path: str) -> str | None:
    """What a file is by its name alone, or None where that does not tell."""
    name = files.basename(path)
    if list_format(path):
        return "table"
    if _ARCHIVE_NAME.search(name):
        return "archive"
    return "html" if _HTML_NAME.search(name) else None


def saved_page_key(path: str) -> str:
    """The name of a saved page without ``.html`` and ``.gz``."""
    return _HTML_NAME.sub("", files.basename(path))


class Extraction:
    """The pairs of one input file, batch by batch; its counts are whole when the last batch is out."""

    def __init__(self, path: str, name: str, rules: ExtractionRules, part: TablePart = WHOLE) -> None:
        self._path, self._name, self._rules, self._part = path, name, rules, part
        self._source_file = files.basename(path)
        self._rows: list[tuple[str, str, str, str, str, int | None]] = []
        self._values: list[pa.Table] = []  # carried columns, which rows point into
        self._num_values = 0
        self._num_unfit = 0
        self._pages: Counter[str] = Counter()
        self._json_lds: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()
        self._num_records = 0
        self._num_scrubbed = 0

    def batches(self, kind: str) -> Iterator[pa.Table]:
        """Tables of the rules' schema without the pairs that a filter refuses."""
        steps = {"archive": self._read_archive, "html": self._read_saved_page, "table": self._read_table}
        for _ in steps[kind]():
            if len(self._rows) >= _BATCH_ROWS:
                yield self._flush()
        yield self._flush()

    @property
    def counts(self) -> Counts:
        """What came in and what was dropped so far; pairs that are neither dropped go on to deduplication."""
        found = {f"pages/{name}": number for name, number in self._pages.items()}
        found |= {f"pairs/{name}": number for name, number in self._pairs.items() if number}
        found |= {f"json_ld/{name}": number for name, number in self._json_lds.items() if number}
        facts = {"records": self._num_records, "scrubbed_texts": self._num_scrubbed, "unfit_values": self._num_unfit}
        return found | {name: number for name, number in facts.items() if number}

    def _read_archive(self) -> Iterator[None]:
        def count_fault(_: object) -> None:
            self._add_page(DropReason.CUT_RECORD)

        for page in read_pages(self._path, self._rules.pages, count_fault):
            self._num_records += 1
            if page is not None:
                self._add_page(page)
                yield

    def _read_saved_page(self) -> Iterator[None]:
        html = _read_html(self._path)
        if not isinstance(html, DropReason):
            url = self._rules.page_urls.get(saved_page_key(self._path), "")
            self._add_page(parse_page(html, url, rules=self._rules.pages))
        else:
            self._add_page(html)
        yield

    def _read_table(self) -> Iterator[None]:
        target_px = self._rules.pages.target_px
        for batch in read_url_list(self._path, self._rules.columns, self._part, others=self._rules.others):
            self._drop_pairs(DropReason.BAD_ROW, batch.num_bad_rows)
            self._drop_pairs(DropReason.REFUSED_ROW, batch.num_refused)
            self._num_unfit += batch.num_unfit
            rows = zip(batch.urls, batch.texts, batch.page_urls, strict=True)
            for place, (url, text, page_url) in enumerate(rows):
                if batch.values is not None and (place == 0 or not self._values):  # the first, or after a flush
                    self._values.append(batch.values)
                    self._num_values += batch.values.num_rows
                carried = self._num_values - batch.values.num_rows + place if batch.values is not None else None
                candidates = [_table_candidate(url or "", text or "", target_px)]
                self._add_candidates(candidates, page_url or "", "", carried)
                yield

    def _add_page(self, page: Page | DropReason) -> None:
        self._pages["in"] += 1
        if isinstance(page, Page) and not _is_in_any_of(page, self._rules.page_languages):
            page = DropReason.OTHER_LANGUAGE
        if isinstance(page, DropReason):
            self._pages[f"drop/{page}"] += 1
            return
        self._pages["kept"] += 1
        self._json_lds["in"] += page.num_json_lds
        self._json_lds["kept"] += page.num_json_lds - page.num_unread
        self._json_lds[f"drop/{DropReason.BAD_JSON}"] += page.num_unread
        self._add_candidates(page.candidates, page.url, page.language)

    def _add_candidates(
        self, candidates: Iterable[Candidate], page_url: str, language: str, carried: int | None = None
    ) -> None:
        num_rows = len(self._rows)
        refused: list[DropReason] = []
        for image_url, text, text_source in candidates:
            if isinstance(image_url, DropReason):
                refused.append(image_url)
            else:
                self._rows.append((image_url, text, text_source, page_url, language, carried))
        self._pairs["in"] += len(self._rows) - num_rows
        for reason, number in Counter(refused).items():
            self._drop_pairs(reason, number)

    def _drop_pairs(self, reason: DropReason, number: int) -> None:
        if number:
            self._pairs["in"] += number
            self._pairs[f"drop/{reason}"] += number

    def _flush(self) -> pa.Table:
        columns: list[Sequence[Any]] = list(zip(*self._rows, strict=True)) or [()] * 6
        self._rows = []
        image_urls, texts, sources, page_urls, languages, places = columns
        pairs = pa.table(
            {
                "image_url": pa.array(image_urls, pa.string()),
                "text": pa.array(self._clean(texts), pa.string()),
                "text_source": pa.array(sources, pa.string()),
                "page_url": pa.array([url or None for url in page_urls], pa.string()),
                "language": pa.array([language or None for language in languages], pa.string()),
            }
        )
        for name, values in self._take_values(places).items():
            pairs = pairs.append_column(name, values)
        refusals = refuse_pairs(pairs, self._rules.filters)
        for reason, number in refusals.drops.items():
            self._pairs[f"drop/{reason}"] += number
        return self._identify(pairs.filter(pa.array(refusals.kept)))

    def _take_values(self, places: Sequence[int | None]) -> dict[str, pa.ChunkedArray]:
        """The carried columns of the rows that come next; null where a row is of a page."""
        schema = pa.schema(self._rules.others.carried)
        values = pa.concat_tables([schema.empty_table(), *self._values])
        self._values, self._num_values = [], 0
        taken = values.take(pa.array(places, pa.int64()))
        return {name: taken[name] for name in schema.names}

    def _clean(self, texts: Sequence[str]) -> list[str]:
        clean = clean_texts(texts)
        if not self._rules.filters.scrub_contacts:
            return clean
        scrubbed = [scrub_contacts(text) for text in clean]
        self._num_scrubbed += sum(map(operator.ne, clean, scrubbed))
        return scrubbed

    def _identify(self, pairs: pa.Table) -> pa.Table:
        urls, texts = pairs["image_url"].to_pylist(), pairs["text"].to_pylist()
        normal = normalized_texts(pairs["text"]).to_pylist()
        ids = [pair_id(url, text) for url, text in zip(urls, texts, strict=True)]
        same_ids = [pair_id(url, text) for url, text in zip(urls, normal, strict=True)]
        page_urls = [url or "" for url in pairs["page_url"].to_pylist()]
        orders = {url: page_order(url, self._name) for url in set(page_urls)}
        sources = pairs["text_source"].to_pylist()
        preferences = [preference(source, orders[url]) for source, url in zip(sources, page_urls, strict=True)]
        pairs = pairs.append_column("pair_id", pa.array(ids, pa.binary(16)))
        pairs = pairs.append_column("same_id", pa.array(same_ids, pa.binary(16)))
        pairs = pairs.append_column("text_key", pa.array([text_key(text) for text in normal], pa.uint64()))
        pairs = pairs.append_column("preference", pa.array(preferences, pa.uint64()))
        pairs = pairs.append_column("source_file", pa.repeat(pa.scalar(self._source_file), pairs.num_rows))
        return pairs.select(self._rules.schema.names)


def text_key(text: str) -> int:
    """The identity of a normalised text: 64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def page_order(page_url: str, name: str) -> int:
    """56 bits that put pages, and input files, into an order without meaning."""
    return int.from_bytes(hashlib.blake2b(f"{page_url}\0{name}".encode(), digest_size=7).digest(), "big")


def preference(text_source: str, order: int) -> int:
    """Which of equal pairs is kept: the smallest; better text sources first, then by `page_order`."""
    return TEXT_SOURCES.index(text_source) << 56 | order


def _is_in_any_of(page: Page, languages: Sequence[str]) -> bool:
    """Whether a page declares one of some languages, or else its texts are in one; all pages are if none is named."""
    if not languages:
        return True
    declared = primary_language(page.language)
    if not declared:
        [declared] = identify_languages([" ".join(candidate.text for candidate in page.candidates)])
    return declared in languages


def _read_html(path: str) -> bytes | DropReason:
    content = files.read_bytes(path)
    if path.lower().endswith(".gz"):
        return decode_body(content, "gzip", max_bytes=MAX_PAGE_BYTES)
    return content if len(content) <= MAX_PAGE_BYTES else DropReason.TOO_MANY_BYTES


def _table_candidate(url: str, text: str, target_px: int) -> Candidate:
    if not text or text.isspace():
        return Candidate(DropReason.NO_TEXT, "", "")
    reference = choose_reference({"src": url}, target_px=target_px)
    if not isinstance(reference, DropReason):
        reference = canonicalize_url(reference) or DropReason.BAD_URL
    return Candidate(reference, text, "table")
