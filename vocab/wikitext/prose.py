"""Wikitext ► prose: what a reader of the article sees as running text, one paragraph a line.

In: the wikitext of an article. Out: its paragraphs, headings and list items, and the captions of its images, as plain
text. Left out: comments, references, formulas, code, templates that show no text of the article, tables, files,
categories, links to other languages, addresses and all remaining markup.

A line ends where a block, a table or its cell does, and a `BOUNDARY` (U+001F) stands where something inline was left
out that a reader sees: words on both sides of it are no neighbours. A reference leaves a space.

Every pass reads the text once from left to right, and what is opened but never closed stays as text, so the time is
linear in the length of any text, however it is nested or broken.

Source: https://www.mediawiki.org/wiki/Help:Formatting, Help:Links, Help:Tables, Help:Images; Parser.php and
Sanitizer.php of MediaWiki 1.39.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from html.entities import html5
from typing import Final, Self

from vocab.site import Site
from vocab.wiki_names import WikiNames, names_of
from vocab.wikitext.elements import NAMES, take_elements
from vocab.wikitext.links import LinkReader
from vocab.wikitext.marks import APOSTROPHE, BLOCK, BOUNDARY, KEPT, KEPT_END
from vocab.wikitext.nesting import resolve_nesting
from vocab.wikitext.quotes import drop_quotes
from vocab.wikitext.variants import Converter, find_converter

_TABLE_MARK = re.compile(r"\n[ \t:]*+(?:\{\||\|\})")
_TABLE_REST = re.compile(r"\n[ \t:]*+(?:\{\||\||![ \t])[^\n]*+")
_SWITCH = re.compile(r"__(?:[^\s_]|_(?!_))++__")
_WIDE_SWITCH = re.compile(r"＿＿(?:[^\s＿]|＿(?!＿))++＿＿")
_EXTERNAL_LINK = re.compile(r"\[(?:https?:|ftps?:|mailto:|news:|//)[^\s<>\[\]]*+[ \t]*+([^\[\]\n]*+)\]", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\[\]|]*+")
_BLOCK_TAG = re.compile(
    r"</?(?:br|p|div|li|ul|ol|dl|dd|dt|td|tr|th|table|caption|blockquote|center|hr|h[1-6])\b[^<>]*>", re.IGNORECASE
)
# Tags that MediaWiki knows, and those of extensions; it shows others as they are written.
_TAG = re.compile(
    r"</?(?:abbr|b|bdi|bdo|big|charinsert|cite|data|del|dfn|em|font|i|ins|kbd|languages|link|mark|meta|phonos|poem|q|rb"
    r"|rp|rt|rtc|ruby|s|samp|small|span|strike|strong|sub|sup|time|translate|tt|tvar|u|var|wbr|img"
    rf"|{'|'.join(NAMES)}|noinclude|onlyinclude)(?:[\s/][^<>]*+)?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(#0*[0-9]{1,7}|#[xX]0*[0-9a-fA-F]{1,6}|[A-Za-z0-9\x80-\U0010ffff]++);")
_ENTITY_ALIASES: Final = {"רלמ": "\u200f", "رلم": "\u200f"}
_ALLOWED_CODES: Final = ((0x20, 0x7E), (0xA0, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
_KEPT_TEXT = re.compile(f"{KEPT}([0-9]+){KEPT_END}")
_LINE_MARKS = f"*#:;=- \t{BOUNDARY}"
_LINE_END_MARKS = f"= \t{BOUNDARY}"


@dataclass(frozen=True, kw_only=True)
class Edition:
    """The wiki that a text is of, and what of it is read."""

    names: WikiNames = field(default_factory=lambda: names_of(Site()))
    converter: Converter | None = None
    captions: bool = True  # whether those of images are
    links: LinkReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", LinkReader(self.names))

    @classmethod
    def of_site(cls, site: Site, *, variant: str = "", captions: bool = True) -> Self:
        """The edition of a wiki.

        Args:
            site: The wiki.
            variant: Of its language, where a text gives a choice; "": as MediaWiki does when none is asked for.
            captions: Whether captions of images are read.

        Raises:
            ValueError: When the language of the wiki has no such variant.
        """
        names = names_of(site)
        language = names.language if site.host or site.database or site.language else ""
        return cls(names=names, converter=find_converter(language, variant), captions=captions)


def clean_wikitext(wikitext: str, edition: Edition | None = None) -> str:
    """Turns wikitext into prose.

    Args:
        wikitext: Of one article.
        edition: Of the article's wiki; None: one of which nothing is known.

    Returns:
        Non-empty lines, without white space around them; a caption is a line of its own.

    >>> clean_wikitext("A '''bus''' ({{lang|la|omnibus}}) is a [[road vehicle|vehicle]].<ref>Book</ref>")
    'A bus (omnibus) is a vehicle.'
    """
    edition = edition or _unknown_edition()
    kept: list[str] = []
    text = _resolve(wikitext.replace(KEPT, ""), edition, kept)
    text = drop_quotes(_drop_switches(_drop_tables(text), edition.names))
    text = _ADDRESS.sub(" ", _EXTERNAL_LINK.sub(_show_external_link, text))
    text = _TAG.sub("", _BLOCK_TAG.sub("\n", text)).replace(APOSTROPHE, "'")
    lines = (
        line.lstrip(_LINE_MARKS).rstrip(_LINE_END_MARKS)
        for line in _decode_entities(text).replace(BLOCK, "\n").split("\n")
    )
    if kept:
        texts = [" ".join(_decode_entities(text).splitlines()) for text in kept]
        lines = (_KEPT_TEXT.sub(lambda number: texts[int(number[1])], line).strip() for line in lines)
    return "\n".join(line for line in lines if line)


@cache
def _unknown_edition() -> Edition:
    return Edition.of_site(Site())


def _resolve(wikitext: str, edition: Edition, kept: list[str]) -> str:
    """The text without elements, templates and links; behind it the captions."""
    text, galleries = take_elements(wikitext, kept)
    text, captions = resolve_nesting(text, edition.links, edition.converter)
    if not edition.captions:
        return text
    if galleries:
        inside, _ = take_elements("\n".join(galleries), kept)
        inside, inner = resolve_nesting(inside, edition.links, edition.converter)
        files = (line.partition("|")[2] for line in inside.split("\n"))
        captions += [edition.links.find_caption(options, is_shown=True) for options in files if options] + inner
    return "\n".join([text, *captions])


def _drop_tables(text: str) -> str:
    """Leaves out tables, each with all that is nested in it, and the rows of those that never end."""
    if "|" not in text and "!" not in text:
        return text
    text = "\n" + text  # tables begin and end at the start of a line
    opened: list[int] = []
    spans: list[tuple[int, int]] = []
    for mark in _TABLE_MARK.finditer(text) if "{|" in text else ():
        if mark[0][-1] == "|":
            opened.append(mark.start())
        elif opened:
            start = opened.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, mark.end()))
    kept = []
    position = 0
    for start, stop in spans:
        kept.append(text[position:start])
        position = stop
    return _TABLE_REST.sub("", "\n".join([*kept, text[position:]]))


def _drop_switches(text: str, names: WikiNames) -> str:
    def drop(switch: re.Match[str]) -> str:
        return "" if names.switches.fullmatch(switch[0]) else switch[0]

    text = _SWITCH.sub(drop, text)
    return _WIDE_SWITCH.sub(drop, text) if "＿" in text else text


def _show_external_link(link: re.Match[str]) -> str:
    """Its label; without one it has a number, as references have."""
    return link[1] or " "


def _decode_entities(text: str) -> str:
    return _ENTITY.sub(_decode_entity, text.replace("&nbsp;", "\xa0")) if "&" in text else text


def _decode_entity(entity: re.Match[str]) -> str:
    """The character of an entity; what names none, or one that HTML does not allow, is shown as it is written."""
    name = entity[1]
    if name[0] != "#":
        return html5.get(name + ";") or _ENTITY_ALIASES.get(name, entity[0])
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    is_allowed = code in (0x9, 0xA) or any(first <= code <= last for first, last in _ALLOWED_CODES)
    return chr(code) if is_allowed else entity[0]
