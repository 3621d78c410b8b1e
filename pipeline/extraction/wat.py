"""WAT records ► candidates: the images of a page as Common Crawl's metadata files list them.

In: the JSON of a WAT metadata record. Out: a `Page`, or why it is left out, or None for a record about no answer.
WAT lists src, alt and title of an img, and the page's meta elements: a twentieth of the bytes of WARC, without lazy
attributes, srcset and captions.
Source: commoncrawl/ia-web-commons (the extractor), IIPC Web Archive Transformation specification.
"""

import html
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.drops import DropReason
from pipeline.extraction.candidates import Page
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.page_metadata import NAMES, NOTHING, Find, find_card_images, forbids_use, resolve_finds
from pipeline.extraction.pages import DEFAULT_RULES, PageRules

_MARKS_OF_IMAGES: Final = (b"IMG@", b"og:image", b"twitter:image")
_IMAGE_PATH: Final = "IMG@/src"
_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Link(msgspec.Struct, gc=False):
    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None


class _Meta(msgspec.Struct, gc=False):
    name: str | None = None
    property: str | None = None
    content: str | None = None


class _Head(msgspec.Struct, gc=False):
    base: str | None = msgspec.field(default=None, name="Base")
    metas: list[_Meta] = msgspec.field(default_factory=list, name="Metas")


class _Html(msgspec.Struct, gc=False):
    head: _Head = msgspec.field(default_factory=_Head, name="Head")
    links: list[_Link] = msgspec.field(default_factory=list, name="Links")


class _Message(msgspec.Struct, gc=False):
    status: str | int = msgspec.field(default="", name="Status")


class _Response(msgspec.Struct, gc=False):
    headers: dict[str, str | list[str]] = msgspec.field(default_factory=dict, name="Headers")
    message: _Message = msgspec.field(default_factory=_Message, name="Response-Message")
    html: _Html | None = msgspec.field(default=None, name="HTML-Metadata")


class _Payload(msgspec.Struct, gc=False):
    response: _Response | None = msgspec.field(default=None, name="HTTP-Response-Metadata")


class _WarcHeader(msgspec.Struct, gc=False):
    url: str = msgspec.field(default="", name="WARC-Target-URI")


class _Envelope(msgspec.Struct, gc=False):
    payload: _Payload = msgspec.field(default_factory=_Payload, name="Payload-Metadata")
    header: _WarcHeader = msgspec.field(default_factory=_WarcHeader, name="WARC-Header-Metadata")


class _Record(msgspec.Struct, gc=False):
    envelope: _Envelope = msgspec.field(name="Envelope")


_NO_FIND: Final = (NOTHING,)
_DECODER: Final = msgspec.json.Decoder(_Record)


def parse_wat(record: bytes, rules: PageRules = DEFAULT_RULES) -> Page | DropReason | None:
    """Finds the images of the page that a WAT record is about.

    Args:
        record: The JSON of one metadata record.
        rules: How pages are read.

    Returns:
        None when the record is about a request or about the crawl.
    """
    if b'"HTTP-Response-Metadata"' not in record:
        return None if record.rstrip().endswith(b"}") else DropReason.CUT_JSON
    if b'"HTML-Metadata"' not in record:
        return DropReason.NOT_HTML
    if not any(mark in record for mark in _MARKS_OF_IMAGES):
        return Page("", "", [])
    envelope = _decode(record)
    if envelope is None:
        return DropReason.CUT_JSON
    response = envelope.payload.response
    if response is None:
        return None
    if str(response.message.status) != "200":
        return DropReason.NOT_OK
    if response.html is None:
        return DropReason.NOT_HTML
    return _read_page(envelope.header.url, response, response.html, rules)


def _decode(record: bytes) -> _Envelope | None:
    for text in (record, _SURROGATE_ESCAPE.sub(b"", record)):  # halves of characters are no JSON to the decoder
        try:
            return _DECODER.decode(text).envelope
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None


def _read_page(url: str, response: _Response, page: _Html, rules: PageRules) -> Page | DropReason:
    metas = [
        (name, _unescape(meta.content))
        for meta in page.head.metas
        if meta.content and (name := (meta.name or meta.property or "").lower()) in NAMES
    ]
    metas += [
        (name.lower(), value)
        for name, values in response.headers.items()
        if name.lower() in NAMES
        for value in _listed(values)
    ]
    if forbids_use(metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    finds = [find for link in page.links if link.path == _IMAGE_PATH for find in _find_image(link, rules)]
    finds += find_card_images(metas)
    return Page(url, "", resolve_finds(finds, url=url, base=_unescape(page.head.base or "")))


def _find_image(link: _Link, rules: PageRules) -> Sequence[Find]:
    if not link.alt and not link.title:
        return _NO_FIND
    alt = _unescape(link.alt or "")
    if alt and not rules.all_texts and not alt.isspace():  # no text is better
        texts = [(alt, "alt")]
    else:
        texts = [(text, source) for text, source in ((alt, "alt"), (_unescape(link.title or ""), "title")) if text]
        texts = [(text, source) for text, source in texts if not text.isspace()]
    if not texts:
        return _NO_FIND
    reference = choose_reference({"src": _unescape(link.url or "")}, target_px=rules.target_px)
    return [Find(reference, text, source) for text, source in (texts if rules.all_texts else texts[:1])]


def _unescape(text: str) -> str:
    """An attribute's value with its character references undone; in a URL, ``&copy=1`` is none."""
    if "&" not in text or ";" not in text:
        return text
    return _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
