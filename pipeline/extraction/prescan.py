"""The encoding that a page declares in its own bytes.

In: the bytes of a page, and how many of them count. Out: the name of an encoding, or None. A declaration is a meta
element with charset, or with http-equiv and content, outside comments; or else that of XML.
Source: WHATWG HTML 13.2.3.2 (prescan, get an attribute, get an XML encoding), 2.6 (extracting a character encoding from
a meta element).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.web.encodings import UTF_16, find_encoding

# A name, and perhaps a value: in double quotes, in single ones, or bare.
_NAME: Final = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_VALUE: Final = rb"""[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"([^"]*+)"|'([^']*+)'|([^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>))"""
_ATTRIBUTE: Final = re.compile(rb"[\t\n\f\r /]*+(" + _NAME + rb")(?:" + _VALUE + rb"|(?![\t\n\f\r ]*+=))")
# To the end of the tag. Without groups: Python 3.11 fails at some pages (SystemError) that end within one.
_ATTRIBUTES: Final = rb"(?:" + re.sub(rb"\((?!\?)", rb"(?:", _ATTRIBUTE.pattern) + rb")*+[\t\n\f\r /]*+>"
_TAG: Final = re.compile(rb"</?[A-Za-z][^\t\n\f\r >]*+" + _ATTRIBUTES)
_META: Final = re.compile(rb"<meta(?=[\t\n\f\r /])" + _ATTRIBUTES, re.IGNORECASE)
# What stands before the first meta element: texts, comments, declarations, other tags.
_BEFORE_META: Final = re.compile(
    rb"(?:[^<]++|<!(?=--).*?-->|<(?:!(?!--)|/(?![A-Za-z])|\?)[^>]*+>|<(?![!/?A-Za-z])|"
    rb"<(?!(?i:meta)[\t\n\f\r /])/?[A-Za-z][^\t\n\f\r >]*+" + _ATTRIBUTES + rb")*+",
    re.DOTALL,
)
_META_CHARS: Final = len("<meta")
_RAW_TEXT: Final = re.compile(
    rb"<(script|style|title|textarea|xmp|iframe|noembed|noframes)(?=[\t\n\f\r />])", re.IGNORECASE
)
_IN_CONTENT: Final = re.compile(
    rb"""charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"([^"]*+)"|'([^']*+)'|([^"'\t\n\f\r ;][^\t\n\f\r ;]*+))?""", re.IGNORECASE
)
_XML: Final = re.compile(
    rb"""<\?xml(?:(?!encoding)[^>])*+encoding[\x00-\x20]*+=[\x00-\x20]*+(?:"([^"\x00-\x20>]*+)"|'([^'\x00-\x20>]*+)')"""
)
_UTF_16_XML: Final = ((b"<\0?\0x\0", "utf-16le"), (b"\0<\0?\0x", "utf-16be"))


def prescan(page: bytes, num_bytes: int) -> str | None:
    """The encoding declared in the first bytes of a page.

    Args:
        page: Its bytes.
        num_bytes: How many of them are looked at.

    >>> prescan(b"<!-- <meta charset=big5> --><meta charset=koi>", 1024)
    'koi8-r'
    """
    head = page[:num_bytes]
    for start, encoding in _UTF_16_XML:
        if head.startswith(start):
            return encoding
    return next(_find_metas(head, skips_raw_text=False), None) or _find_xml(head)


def find_late_meta(page: bytes) -> str | None:
    """The encoding declared anywhere in a page, by a meta element that is none of a script's text."""
    return next(_find_metas(page, skips_raw_text=True), None)


def _find_metas(page: bytes, *, skips_raw_text: bool) -> Iterator[str]:
    """The encodings that meta elements declare; it ends where the page breaks off within anything."""
    before = None if skips_raw_text else _BEFORE_META.match(page)
    at = page.find(b"<", before.end() if before else 0)
    while at >= 0:
        following = page[at + 1 : at + 2]
        if following.isalpha() or (following == b"/" and page[at + 2 : at + 3].isalpha()):
            tag = _META.match(page, at) or _TAG.match(page, at)
            if tag and tag.re is _META and (encoding := read_declaration(_read_attributes(page, *tag.span()))):
                yield encoding
            raw = _RAW_TEXT.match(page, at) if skips_raw_text and tag else None
            at = tag.end() - 1 if tag else -1
            at = _find_end_tag(page, raw[1], at) if raw else at
        elif page.startswith(b"<!--", at):
            at = page.find(b"-->", at + 2)
        elif following in (b"!", b"/", b"?"):
            at = page.find(b">", at)
        if at < 0:
            return
        at = page.find(b"<", at + 1)


def _read_attributes(page: bytes, start: int, end: int) -> dict[bytes, bytes]:
    """Names and values of a meta element's attributes, in lower case."""
    attributes: dict[bytes, bytes] = {}
    for found in _ATTRIBUTE.finditer(page, start + _META_CHARS, end):
        name, double, single, bare = found.groups()
        attributes.setdefault(name.lower(), (double or single or bare or b"").lower())
    return attributes


def read_declaration(attributes: Mapping[bytes, bytes]) -> str | None:
    """The encoding that a meta element declares, if any.

    Args:
        attributes: Names and values, in lower case.
    """
    if (charset := attributes.get(b"charset")) is not None:
        return _believed(charset)
    if attributes.get(b"http-equiv") != b"content-type":
        return None
    for found in _IN_CONTENT.finditer(attributes.get(b"content", b"")):
        return _believed(found[1] or found[2] or found[3] or b"")
    return None


def _believed(label: bytes) -> str | None:
    """An encoding that is declared in ASCII, which it therefore is not when it is UTF-16."""
    encoding = find_encoding(label.decode("latin-1"))
    if encoding in UTF_16:
        return "utf-8"
    return "windows-1252" if encoding == "x-user-defined" else encoding


def _find_xml(page: bytes) -> str | None:
    found = _XML.match(page)
    return _believed(found[1] or found[2] or b"") if found else None


def _find_end_tag(page: bytes, name: bytes, at: int) -> int:
    """Where the end of an element of raw text begins; -1 when it never ends."""
    found = re.compile(rb"</" + name + rb"(?=[\t\n\f\r />])", re.IGNORECASE).search(page, at)
    return found.start() - 1 if found else -1
