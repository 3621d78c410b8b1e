"""Page views: how often each title of a wiki was looked at, from the files that Wikimedia publishes.

In: a page-view file in one of `VIEW_FORMATS`, compressed or not. Out: titles as a dump spells them, with their views.
A file is read once, from its beginning: its rows are looked at in blocks, and only blocks with rows of the wiki are
parsed. Memory goes with the number of distinct titles of that wiki, or of those that a dump has.

Source: https://dumps.wikimedia.org/other/pageviews/readme.html (hours),
https://dumps.wikimedia.org/other/pageview_complete/readme.html (days and months),
https://wikitech.wikimedia.org/wiki/Data_Platform/AQS/Pageviews (REST).
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Literal, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vocab.kernels.compressed import read_chunks
from vocab.kernels.hashing import Hashes
from vocab.kernels.seven_zip import NoReader
from vocab.kernels.sums import add_up
from vocab.known_titles import may_be_known

Access = Literal["all", "desktop", "mobile"]

VIEWS = pa.schema([pa.field("title", pa.string(), nullable=False), pa.field("views", pa.int64(), nullable=False)])

VIEW_FORMATS = (
    "hourly (`en Title 12 0`), daily or monthly complete (`en.wikipedia Title 34 desktop 12 A1B2`), "
    "JSON lists of articles with views, lines of `title TAB views`"
)

# Suffixes of the project codes in hourly files; Wikipedia has none. (Source: wikitech, Data_Platform/Pageviews.)
_HOURLY_SUFFIX = {
    "wikipedia": "", "wiktionary": ".d", "wikibooks": ".b", "wikiquote": ".q", "wikisource": ".s", "wikinews": ".n",
    "wikiversity": ".v", "wikivoyage": ".voy", "wikimedia": ".m",
}  # fmt: skip
_MOBILE_SITES = (".m", ".zero")
_HOURLY_ROW = re.compile(rb"^\S+ \S+ \d+ \d+\r?$", re.MULTILINE)
_COMPLETE_ROW = re.compile(rb"^\S+ \S+ (\S+ )?[a-z-]+ \d+ \S+\r?$", re.MULTILINE)
_TSV_ROW = re.compile(rb"^[^\t\n]+\t[ ]*\d+\r?$", re.MULTILINE)
_JSON_STARTS = (b"[", b"{")
_HEAD_BYTES = 4096
_BLOCK_BYTES = 8 << 20
_NUMBER = r"^ *[0-9]{1,15}\r?$"
_ESCAPE = "%[0-9A-Fa-f]{2}"


class ViewCounts(NamedTuple):
    """The views in one file."""

    views: pa.Table  # VIEWS, sorted by title
    num_rows: int  # of the wiki
    num_bad_rows: int


class NotPageViews(ValueError):
    """A file is in no known page-view format."""


class _Layout(NamedTuple):
    """How the rows of a file are made, and which of them count."""

    separator: str
    columns: tuple[str, ...]
    projects: tuple[str, ...] = ()  # (): the file has no such column, every row counts
    access: Access = "all"  # where there is a column "access"
    known: Hashes | None = None  # of the titles that count; None: all


def count_views(file: BinaryIO, *, project: str, access: Access = "all", known: Hashes | None = None) -> ViewCounts:
    """Reads a page-view file.

    Args:
        file: In one of `VIEW_FORMATS`.
        project: The wiki, e.g. "en.wikipedia". Where a file names no wiki, all rows count.
        access: Which of its sites count; where a file names no site, all rows count.
        known: Titles to keep (`vocab.known_titles`); None: all.

    Raises:
        NotPageViews: For another format.
        OSError: When the file is cut short or corrupt.
    """
    chunks = read_chunks(file)
    head = next(chunks, b"")
    if head.lstrip()[:1] in _JSON_STARTS:
        return _count_json(head + b"".join(chunks), known)
    layout = _find_layout(head, project, access)._replace(known=known)
    counts = Counter[str]()

    def tables() -> Iterator[pa.Table]:
        for block in _whole_lines(head, chunks):
            if lines := _lines_of_interest(block, layout.projects):
                yield _parse_rows(lines, layout, counts)

    return ViewCounts(add_up(tables(), VIEWS), counts["rows"], counts["bad"])


def check_views(file: BinaryIO, *, project: str, name: str) -> None:
    """Looks at the beginning of a page-view file.

    Args:
        file: The file.
        project: As in `count_views`.
        name: What to call the file.

    Raises:
        NotPageViews: When `count_views` cannot read it.
    """
    try:
        head = next(read_chunks(file), b"")
        if not head:
            raise NotPageViews("the file is empty")
        if head.lstrip()[:1] not in _JSON_STARTS:
            _find_layout(head, project, "all")
    except (NotPageViews, NoReader, OSError) as error:
        raise NotPageViews(f"{name}: {error}") from error


def spell_titles(titles: pa.ChunkedArray) -> pa.ChunkedArray:
    """Titles as a dump spells them, but for the case of their first letter: single spaces, no escapes.

    >>> spell_titles(pa.chunked_array([["Eiffel_Tower%2C__Paris_", "100%"]])).to_pylist()
    ['Eiffel Tower, Paris', '100%']
    """
    is_escaped = pc.match_substring_regex(titles, _ESCAPE)
    if pc.any(is_escaped).as_py():
        plain = pa.array([unquote(title) for title in titles.filter(is_escaped).to_pylist()], pa.string())
        titles = pc.replace_with_mask(titles.combine_chunks(), is_escaped.combine_chunks(), plain)
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(titles, "[_ ]+", " "))


def _find_layout(head: bytes, project: str, access: Access) -> _Layout:
    lines = head[:_HEAD_BYTES]
    language, _, family = project.partition(".")
    if _HOURLY_ROW.search(lines):
        suffix = _HOURLY_SUFFIX.get(family, "." + family)
        mobile = tuple(f"{language}{site}{suffix}" for site in _MOBILE_SITES)
        projects = {"all": (language + suffix, *mobile), "desktop": (language + suffix,), "mobile": mobile}[access]
        layout = _Layout(" ", ("project", "title", "views", "bytes"), projects)
    elif row := _COMPLETE_ROW.search(lines):
        page = ("page",) if row[1] else ()
        layout = _Layout(" ", ("project", "title", *page, "access", "views", "hours"), (project,), access)
    elif _TSV_ROW.search(lines):
        return _Layout("\t", ("title", "views"))
    else:
        raise NotPageViews(f"unknown page-view format: {lines[:60]!r} is none of {VIEW_FORMATS}")
    if not project:
        raise NotPageViews("the file has rows of many wikis and the dump does not name its own: say which one")
    return layout


def _whole_lines(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content in blocks of whole lines."""
    pending, num_bytes = [head], len(head)
    for chunk in chunks:
        pending.append(chunk)
        num_bytes += len(chunk)
        if num_bytes >= _BLOCK_BYTES:
            lines, newline, rest = b"".join(pending).rpartition(b"\n")
            yield lines + newline
            pending, num_bytes = [rest], len(rest)
    yield b"".join(pending)


def _lines_of_interest(block: bytes, projects: tuple[str, ...]) -> bytes:
    """The lines from the first to the last of some wikis; official files are sorted by wiki."""
    if not projects:
        return block
    text = b"\n" + block
    starts = [f"\n{project} ".encode() for project in projects]
    first = min((offset for start in starts if (offset := text.find(start)) >= 0), default=-1)
    if first < 0:
        return b""
    end = text.find(b"\n", max(map(text.rfind, starts)) + 1)
    return text[first + 1 : end if end > 0 else len(text)]


def _parse_rows(lines: bytes, layout: _Layout, counts: Counter[str]) -> pa.Table:
    """VIEWS of the rows that count; adds them and the bad ones to `counts`."""
    table, num_misshapen = _read_rows(_as_utf8(lines), layout)
    if layout.projects:
        table = table.filter(pc.is_in(table["project"], pa.array(layout.projects)))
    if "access" in table.column_names and layout.access != "all":
        is_desktop = pc.equal(table["access"], "desktop")
        table = table.filter(is_desktop if layout.access == "desktop" else pc.invert(is_desktop))
    good = table.filter(pc.match_substring_regex(table["views"], _NUMBER))
    counts["rows"] += table.num_rows + num_misshapen
    counts["bad"] += table.num_rows - good.num_rows + num_misshapen
    numbers = pc.utf8_trim_whitespace(good["views"]).cast(pa.int64())
    return _keep_known(pa.table([spell_titles(good["title"]), numbers], schema=VIEWS), layout.known)


def _keep_known(views: pa.Table, known: Hashes | None) -> pa.Table:
    return views if known is None else views.filter(may_be_known(views["title"], known))


def _as_utf8(lines: bytes) -> bytes:
    """The same, but for what is no UTF-8: that becomes the character that stands for it."""
    try:
        pa.array([lines], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return lines.decode(errors="replace").encode()
    return lines


def _read_rows(lines: bytes, layout: _Layout) -> tuple[pa.Table, int]:
    """The columns that matter, and the number of rows of the wiki that have more or fewer columns than there are."""
    num_misshapen = 0
    starts = tuple(f"{project} " for project in layout.projects) or ("",)

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        nonlocal num_misshapen
        num_misshapen += row.text.startswith(starts)
        return "skip"

    names = [name for name in layout.columns if name in ("project", "title", "access", "views")]
    table = pyarrow.csv.read_csv(
        io.BytesIO(lines),
        pyarrow.csv.ReadOptions(column_names=layout.columns, use_threads=False, block_size=len(lines) + 1),
        pyarrow.csv.ParseOptions(delimiter=layout.separator, quote_char=False, invalid_row_handler=skip),
        pyarrow.csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string())),
    )
    return table, num_misshapen


def _count_json(text: bytes, known: Hashes | None) -> ViewCounts:
    views: Counter[str] = Counter()
    num_rows = num_bad_rows = 0
    try:
        rows = list(_json_rows(json.loads(text)))
    except ValueError as error:
        raise NotPageViews(f"broken JSON: {error}") from error
    for row in rows:
        title, number = row.get("article", row.get("page")), row.get("views", row.get("count"))
        num_rows += 1
        if isinstance(title, str) and str(number).isdigit():
            views[title] += int(number)
        else:
            num_bad_rows += 1
    titles = spell_titles(pa.chunked_array([list(views)], pa.string()))
    table = pa.table([titles, pa.array(views.values(), pa.int64())], schema=VIEWS)
    return ViewCounts(add_up([_keep_known(table, known)], VIEWS), num_rows, num_bad_rows)


def _json_rows(content: Any) -> Iterator[Mapping[str, Any]]:
    """Every object with an article and a number in it, however it is wrapped."""
    if isinstance(content, list):
        for item in content:
            yield from _json_rows(item)
    elif isinstance(content, dict):
        if not content.keys().isdisjoint(("article", "page")):
            yield content
        else:
            for item in content.values():
                yield from _json_rows(item)
