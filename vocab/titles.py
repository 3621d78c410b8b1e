"""Titles: the names of the articles that people look at.

In: page-view files of the official formats (see `VIEW_FORMATS`), and a dump's articles and redirects. Out: titles with
their views; the views of a redirect count for the article it leads to.

Source: Radford et al. 2021, section 2.2 ("the names of all Wikipedia articles above a certain search volume");
https://dumps.wikimedia.org/other/pageviews/ (hourly), https://dumps.wikimedia.org/other/pageview_complete/ (days and
months), https://wikitech.wikimedia.org/wiki/Data_Platform/AQS/Pageviews (REST).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from vocab.normalize import Case, normalize_column
from vocab.streams import read_chunks
from vocab.sums import add_up

VIEWS = pa.schema([pa.field("title", pa.string(), nullable=False), pa.field("views", pa.int64(), nullable=False)])
TITLES = pa.schema([pa.field("title", pa.string(), nullable=False), pa.field("target", pa.string())])  # null: article

VIEW_FORMATS = (
    "hourly (`en Title 12 0`), daily or monthly complete (`en.wikipedia Title 34 desktop 12 A1B2`), "
    "JSON lists of articles with views, lines of `title TAB views`"
)

# Suffixes of the project codes in hourly files; Wikipedia has none. (Source: wikitech, Data_Platform/Pageviews.)
_HOURLY_SUFFIX = {
    "wikipedia": "", "wiktionary": ".d", "wikibooks": ".b", "wikiquote": ".q", "wikisource": ".s", "wikinews": ".n",
    "wikiversity": ".v", "wikivoyage": ".voy", "wikimedia": ".m",
}  # fmt: skip
_HOURLY_ROW = re.compile(rb"^\S+ \S+ \d+ \d+\r?$", re.MULTILINE)
_COMPLETE_ROW = re.compile(rb"^\S+ \S+ (?:\S+ )?[a-z-]+ \d+ \S+\r?$", re.MULTILINE)
_TSV_ROW = re.compile(rb"^([^\t\n]+)\t[ ]*(\d+)\r?$", re.MULTILINE)
_JSON_STARTS = (b"[", b"{")
_NUM_HOPS = 3  # redirects to redirects are mistakes that editors repair
_QUALIFIER = r"\s+\([^()]*\)$"
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class ViewCounts(NamedTuple):
    """The views in one file."""

    views: pa.Table  # VIEWS, sorted by title
    num_rows: int  # of the project
    num_bad_rows: int


class NotPageViews(ValueError):
    """A file is in no known page-view format."""


def count_views(file: BinaryIO, *, project: str) -> ViewCounts:
    """Reads a page-view file, compressed or not.

    Args:
        file: In one of `VIEW_FORMATS`.
        project: The wiki, e.g. "en.wikipedia"; its mobile site counts, too. Where a file names no project, all counts.

    Raises:
        NotPageViews: For another format.
        OSError: When the file is cut short or corrupt.
    """
    chunks = read_chunks(file)
    head = next(chunks, b"")
    if head.lstrip()[:1] in _JSON_STARTS:
        return _count_json(head + b"".join(chunks))
    row = _row_pattern(head, project)
    views: Counter[str] = Counter()
    num_rows = num_bad_rows = 0
    for lines in _whole_lines(head, chunks):
        found = row.complete.findall(lines)
        for title, number in found:
            views[title.decode(errors="replace")] += int(number)
        of_project = len(row.project.findall(lines))
        num_rows += of_project
        num_bad_rows += of_project - len(found)
    return ViewCounts(_views_table(views), num_rows, num_bad_rows)


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
        if head.lstrip()[:1] not in _JSON_STARTS:
            _row_pattern(head, project)
    except (NotPageViews, OSError) as error:
        raise NotPageViews(f"{name}: {error}") from error


def follow_redirects(views: pa.Table, titles: pa.Table) -> pa.Table:
    """Counts the views of redirects for their targets.

    Args:
        views: VIEWS, by canonical title.
        titles: TITLES of a dump; rows without target (articles) are passed over.
    """
    redirects = titles.filter(pc.is_valid(titles["target"])).group_by("title").aggregate([("target", "min")])
    for _ in range(_NUM_HOPS):
        joined = views.join(redirects, keys="title")
        title = pc.coalesce(joined["target_min"], joined["title"])
        views = add_up([pa.table([title, joined["views"]], schema=VIEWS)], VIEWS)
    return views


def only_articles(views: pa.Table, titles: pa.Table) -> pa.Table:
    """The rows whose title is an article of a dump."""
    articles = titles.filter(pc.is_null(titles["target"]))["title"]
    return views.filter(pc.is_in(views["title"], value_set=articles))


def without_namespaces(views: pa.Table, namespaces: Iterable[str]) -> pa.Table:
    """The rows whose title begins with the name of no namespace; for titles that no dump vouches for."""
    prefixes = pa.array(sorted(f"{name.lower()}:" for name in namespaces), pa.string())
    prefix = pc.utf8_lower(pc.replace_substring_regex(views["title"], r"^([^:]*:).*$", r"\1"))
    return views.filter(pc.invert(pc.is_in(prefix, value_set=prefixes)))


def without_titles(views: pa.Table, titles: Sequence[str]) -> pa.Table:
    """The rows of all other titles."""
    return views.filter(pc.invert(pc.is_in(views["title"], value_set=pa.array(titles, pa.string()))))


def select_titles(views: pa.Table, *, min_views: int, qualifiers: str = "strip", case: Case = "fold") -> pa.Table:
    """The titles with enough views, in their normalised form, most viewed first.

    Args:
        views: VIEWS, by canonical title.
        min_views: Least views, of all titles together that read the same.
        qualifiers: What to do with the "(film)" at the end of a title: "strip", "keep" or "drop" the title.
        case: Of the normalisation.

    Returns:
        VIEWS; what has no letter is no title.
    """
    titles = views["title"]
    if qualifiers == "drop":
        views = views.filter(pc.invert(pc.match_substring_regex(titles, _QUALIFIER)))
        titles = views["title"]
    elif qualifiers == "strip":
        titles = pc.replace_substring_regex(titles, _QUALIFIER, "")
    normalized = normalize_column(titles.combine_chunks(), case=case)
    sums = add_up([pa.table([normalized, views["views"]], schema=VIEWS)], VIEWS)
    enough = pc.and_(pc.greater_equal(sums["views"], min_views), pc.match_substring_regex(sums["title"], r"\p{L}"))
    return sums.filter(enough).sort_by([("views", "descending"), ("title", "ascending")])


def canonical_title(title: str) -> str:
    """A title as a dump spells it: spaces, no escapes, a capital first.

    >>> canonical_title("eiffel_Tower%2C_Paris")
    'Eiffel Tower, Paris'
    """
    plain = unquote(title) if _ESCAPE.search(title) else title
    plain = plain.replace("_", " ").strip()
    return plain[:1].upper() + plain[1:]


class _RowPattern(NamedTuple):
    complete: re.Pattern[bytes]  # (title, views)
    project: re.Pattern[bytes]  # any row of the project


def _row_pattern(head: bytes, project: str) -> _RowPattern:
    lines = head[:4096]
    language, _, family = project.partition(".")
    if _HOURLY_ROW.search(lines):
        suffix = _HOURLY_SUFFIX.get(family, "." + family)
        site = rb"^%s(?:\.m|\.zero)?%s " % (re.escape(language.encode()), re.escape(suffix.encode()))
        rest = rb"(\S+) (\d+) \d+\r?$"
    elif _COMPLETE_ROW.search(lines):
        site, rest = rb"^%s " % re.escape(project.encode()), rb"(\S+) (?:\S+ )?[a-z-]+ (\d+) \S+\r?$"
    elif _TSV_ROW.search(lines):
        return _RowPattern(_TSV_ROW, re.compile(rb"^(?=[^\r\n])", re.MULTILINE))
    else:
        raise NotPageViews(f"unknown page-view format: {lines[:60]!r} is none of {VIEW_FORMATS}")
    if not project:
        raise NotPageViews("the file has rows of many wikis and the dump does not name its own: say which one")
    return _RowPattern(re.compile(site + rest, re.MULTILINE), re.compile(site, re.MULTILINE))


def _whole_lines(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = head
    for chunk in chunks:
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        yield lines + newline
    yield rest


def _count_json(text: bytes) -> ViewCounts:
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
    return ViewCounts(_views_table(views), num_rows, num_bad_rows)


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


def _views_table(views: Mapping[str, int]) -> pa.Table:
    titles = [canonical_title(title) for title in views]
    return add_up([pa.table([titles, pa.array(views.values(), pa.int64())], schema=VIEWS)], VIEWS)
