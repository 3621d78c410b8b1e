"""MediaWiki XML dumps: which parts can be read apart, and the articles and redirects in a part.

In: a dump (export schema 0.3 to 0.11; bz2, gzip, zstd, xz, 7z or plain; one stream or many). Out: `Article`s,
`Redirect`s of namespace 0, and a `Refusal` for every other page and every damaged stream.

A dump is read as a row of ``<page>…</page>`` elements, whatever stands around them: markup inside a text is escaped,
so the tags are found as bytes, and a page is parsed alone. A page belongs to the unit in which its tag begins; a unit
reads past its end to finish a page. So units may cut a dump anywhere, and a damaged stream costs only its own pages.

Source: https://www.mediawiki.org/wiki/Help:Export and https://www.mediawiki.org/xml/export-0.11.xsd.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

from vocab.kernels.compressed import Compression, OpenFile, detect_compression, read_chunks, read_pieces
from vocab.kernels.pieces import Piece
from vocab.kernels.seven_zip import NoReader
from vocab.redirects import find_redirect_target
from vocab.site import Site, guess_site, parse_site
from vocab.wiki_names import WikiNames, names_of

_OPENING, _CLOSING = b"<page>", b"</page>"
_OF_REVISION = b"<revision>"
_MAX_PAGE_BYTES = 32 << 20  # MediaWiki allows texts of 2 MiB; escaping makes a byte at most six
_HEAD_BYTES = 1 << 20
_ARTICLE_NAMESPACE = "0"


class NotADump(ValueError):
    """A file is something else than a MediaWiki XML dump."""


class Unit(NamedTuple):
    """A part of a dump that is read apart from the others."""

    path: str
    compression: str
    start: int  # bytes into the file as stored
    end: int


class Article(NamedTuple):
    """A page of namespace 0 that is no redirect."""

    title: str
    wikitext: str


class Redirect(NamedTuple):
    """A title of namespace 0 that leads to another."""

    title: str
    target: str


class RefusalReason(StrEnum):
    """Why a page or a stream gives no article."""

    OTHER_NAMESPACE = "other_namespace"
    NOT_WIKITEXT = "not_wikitext"
    BAD_PAGE = "bad_page"
    PAGE_TOO_LARGE = "page_too_large"
    CUT_PAGE = "cut_page"
    DAMAGED_STREAM = "damaged_stream"


class Refusal(NamedTuple):
    """A page or a stream that gives no article."""

    reason: RefusalReason
    offset: int  # of its stream, in bz2 of its block, in the file as stored


class StreamEnd(NamedTuple):
    """A stream was read to its end."""

    offset: int


DumpItem = Article | Redirect | Refusal | StreamEnd


def plan_units(path: str, open_file: OpenFile, *, unit_bytes: int, starts: Sequence[int] = ()) -> list[Unit]:
    """Cuts a dump into units that together hold every page once.

    Args:
        path: The dump.
        open_file: Opens a path for reading bytes.
        unit_bytes: Least bytes of a unit, as stored; gzip, zstd, xz and 7z files are always one unit.
        starts: Offsets of its streams (`read_index`), where units then begin; without them units begin anywhere and
            look for the first stream.
    """
    with open_file(path) as file:
        compression = detect_compression(file)
        size = file.seek(0, 2)
    if starts and not (compression is Compression.BZ2 and starts[-1] < size):
        raise NotADump(f"{path}: the index belongs to another dump ({starts[-1]:,} is no offset in it)")
    cuts = [0]
    if compression.is_splittable:
        for start in starts or range(unit_bytes, size, unit_bytes):
            if start - cuts[-1] >= unit_bytes:
                cuts.append(start)
    return [Unit(path, compression.value, start, end) for start, end in pairwise([*cuts, size])]


def read_site(path: str, open_file: OpenFile) -> Site:
    """Reads the head of a dump; of a bare ``<page>``, only the name of the file may tell the wiki.

    Raises:
        NotADump: When the file does not begin as a dump does, or nothing is installed that reads it.
    """
    try:
        head = _read_head(path, open_file)
    except NoReader as error:
        raise NotADump(f"{path}: {error}") from error
    if _OPENING not in head and b"<mediawiki" not in head:
        raise NotADump(f"{path}: {_what_it_is(head)}, not a MediaWiki XML dump (pages-articles…xml.bz2)")
    try:
        site = parse_site(head)
    except (ElementTree.ParseError, ValueError) as error:
        raise NotADump(f"{path}: its <siteinfo> is damaged ({error})") from error
    return guess_site(path) if site == Site() else site


def read_index(path: str, open_file: OpenFile) -> list[int]:
    """Reads the stream offsets of a multistream index (lines ``offset:page id:title``; plain or compressed).

    Raises:
        NotADump: When a line has no offset.
    """
    starts: set[int] = set()
    rest = b""
    with open_file(path) as file:
        for chunk in read_chunks(file):
            *lines, rest = (rest + chunk).split(b"\n")
            starts.update(_parse_offsets(lines, path))
    starts.update(_parse_offsets([rest], path))
    return sorted(starts)


def read_dump(unit: Unit, open_file: OpenFile, *, names: WikiNames | None = None) -> Iterator[DumpItem]:
    """Reads the pages that begin in a unit.

    Args:
        unit: Of a dump.
        open_file: Opens a path for reading bytes.
        names: Of the wiki, for pages that tell their namespace by their title only, and redirects by their text;
            None: English ones.
    """
    names = names or names_of(Site())
    with open_file(unit.path) as file:
        pieces = read_pieces(file, Compression(unit.compression), start=unit.start, cut=unit.end)
        for item in _split_pages(pieces, unit.end):
            yield item if isinstance(item, Refusal | StreamEnd) else _parse_page(*item, names)


class _Page(NamedTuple):
    xml: bytes
    offset: int


class _PageBuffer:
    """Decompressed bytes from which whole pages are taken; holds at most one page that is not whole yet."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0

    def add(self, data: bytes) -> None:
        self._bytes += data

    def clear(self) -> None:
        self._bytes.clear()
        self._searched = 0

    @property
    def is_open(self) -> bool:
        """Whether a page, or its tag, has begun; asked when all whole pages are taken."""
        return bool(self._bytes) and _OPENING.startswith(self._bytes[: len(_OPENING)])

    @property
    def is_full(self) -> bool:
        """Whether it holds too much, even without the revisions that others follow: only the last one of a page counts.

        Asked when all whole pages are taken.
        """
        if len(self._bytes) > _MAX_PAGE_BYTES:
            first, last = self._bytes.find(_OF_REVISION), self._bytes.rfind(_OF_REVISION)
            del self._bytes[first:last]
            self._searched = min(self._searched, max(0, len(self._bytes) - len(_CLOSING)))
        return len(self._bytes) > _MAX_PAGE_BYTES

    def take_pages(self) -> Iterator[bytes]:
        while self._seek_opening():
            stop = self._bytes.find(_CLOSING, self._searched)
            if stop < 0:
                self._searched = max(len(_OPENING), len(self._bytes) - len(_CLOSING))
                return
            page = bytes(self._bytes[: stop + len(_CLOSING)])
            del self._bytes[: len(page)]
            self._searched = 0
            yield page

    def _seek_opening(self) -> bool:
        """Drops what comes before the next page; of a tag that is not whole yet, before that."""
        start = self._bytes.find(_OPENING)
        if start > 0:
            del self._bytes[:start]
            self._searched = len(_OPENING)
        elif start < 0:
            sizes = range(len(_OPENING) - 1, 0, -1)
            begun = next((size for size in sizes if self._bytes.endswith(_OPENING[:size])), 0)
            del self._bytes[: len(self._bytes) - begun]
            self._searched = 0
        return start >= 0


def _split_pages(pieces: Iterable[Piece], end: int) -> Iterator[_Page | Refusal | StreamEnd]:
    buffer = _PageBuffer()
    offset = 0
    for piece in pieces:
        is_beyond = piece.offset >= end
        if is_beyond and not buffer.is_open:
            return
        offset = piece.offset
        buffer.add(piece.data)
        if is_beyond and not buffer.is_open:
            return
        for page in buffer.take_pages():
            yield _Page(page, offset)
            if is_beyond:
                return
        if buffer.is_full or piece.damaged:
            if buffer.is_open:
                reason = RefusalReason.CUT_PAGE if piece.damaged else RefusalReason.PAGE_TOO_LARGE
                yield Refusal(reason, offset)
            buffer.clear()
        if piece.ended and not is_beyond:
            yield Refusal(RefusalReason.DAMAGED_STREAM, offset) if piece.damaged else StreamEnd(offset)
    if buffer.is_open:
        yield Refusal(RefusalReason.CUT_PAGE, offset)


def _parse_page(xml: bytes, offset: int, names: WikiNames) -> Article | Redirect | Refusal:
    try:
        page = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return Refusal(RefusalReason.BAD_PAGE, offset)
    title = page.findtext("title")
    if not title:
        return Refusal(RefusalReason.BAD_PAGE, offset)
    if not _is_article(page, title, names):
        return Refusal(RefusalReason.OTHER_NAMESPACE, offset)
    redirect = page.find("redirect")
    if redirect is not None and (target := redirect.get("title")):
        return Redirect(title, target)
    revisions = page.findall("revision")
    if not revisions:
        return Refusal(RefusalReason.BAD_PAGE, offset)
    if revisions[-1].findtext("model", "wikitext") != "wikitext":
        return Refusal(RefusalReason.NOT_WIKITEXT, offset)
    text = revisions[-1].findtext("text") or ""
    target = find_redirect_target(text, names)
    return Article(title, text) if target is None and redirect is None else Redirect(title, target or "")


def _is_article(page: ElementTree.Element, title: str, names: WikiNames) -> bool:
    """Whether a page is of the articles' namespace; schemas before 0.6 tell it by the title only."""
    namespace = page.findtext("ns")
    return names.is_article_title(title) if namespace is None else namespace == _ARTICLE_NAMESPACE


def _read_head(path: str, open_file: OpenFile) -> bytes:
    head = b""
    with open_file(path) as file:
        for piece in read_pieces(file, detect_compression(file)):
            head += piece.data
            if len(head) >= _HEAD_BYTES or _OPENING in head or (piece.ended and head):
                break
    return head


def _what_it_is(head: bytes) -> str:
    start = head[:2048].lstrip().lower()
    if not start:
        return "the file is empty or damaged"
    if start.startswith(b"<!doctype html") or b"<html" in start:
        return "this is an HTML page (the error page of a failed download?)"
    return "this file holds something else"


def _parse_offsets(lines: Iterable[bytes], path: str) -> set[int]:
    offsets = {line.partition(b":")[0] for line in lines if line.strip()}
    if bad := [offset for offset in offsets if not offset.isdigit()]:
        raise NotADump(f"{path}: this is no index of a multistream dump ({bad[0][:40]!r} is no offset)")
    return {int(offset) for offset in offsets}
