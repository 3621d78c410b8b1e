"""The JSON of one WAT record ► what is wanted of it: with all rules of JSON, and all that writers of WATs do.

In: the JSON of a metadata record. Out: a `WatPage`, or why there is none, or None for a record about no answer.
`wat_scan` gives the same for many records at once, as far as they are written in the usual way.
Source: commoncrawl/ia-web-commons (the extractor), IIPC Web Archive Transformation specification.
"""

import html
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from pipeline.drops import DropReason
from pipeline.extraction.page_metadata import NAMES

IMAGE_PATH: Final = "IMG@/src"

_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class WatPage(NamedTuple):
    """What a WAT record says of a page; `unescape` is still to be done to `base` and `images`.

    Attributes:
        url: Address of the page.
        base: The href of its base element; may be empty.
        metas: Names in lower case, and contents, of the meta elements and header lines of `NAMES`.
        images: Of every img with src, and alt or title: address, alt, title; then how many characters of the address
            are plain. These are all but an empty fragment where that is known already: it is no placeholder's, nothing
            in it needs encoding, and it begins with a scheme or slash.
        num_bare: How many img with src have neither alt nor title.
    """

    url: str
    base: str
    metas: list[tuple[str, str]]
    images: list[tuple[str, str, str, int]]
    num_bare: int


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


_DECODER: Final = msgspec.json.Decoder(_Record)


def decode_record(record: bytes) -> WatPage | DropReason | None:
    """Decodes one record; see the module."""
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
    head = response.html.head
    metas = wanted_metas((meta.name or meta.property or "", meta.content) for meta in head.metas if meta.content)
    headers = [
        (lowered, value)
        for name, values in response.headers.items()
        if (lowered := name.lower()) in NAMES
        for value in ([values] if isinstance(values, str) else values)
    ]
    links = [link for link in response.html.links if link.path == IMAGE_PATH]
    images = [(link.url or "", link.alt or "", link.title or "", 0) for link in links if link.alt or link.title]
    return WatPage(envelope.header.url, head.base or "", metas + headers, images, len(links) - len(images))


def wanted_metas(metas: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The meta elements of `NAMES`: names in lower case, and contents."""
    return [(lowered, unescape(content)) for name, content in metas if (lowered := name.lower()) in NAMES]


def unescape(text: str) -> str:
    """An attribute's value with its character references undone; in a URL, ``&copy=1`` is none."""
    if "&" not in text or ";" not in text:
        return text
    return _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)


def _decode(record: bytes) -> _Envelope | None:
    for text in (record, _SURROGATE_ESCAPE.sub(b"", record)):  # halves of characters are no JSON to the decoder
        try:
            return _DECODER.decode(text).envelope
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None
