"""The JSON of one WAT record ► what is wanted of it: with all rules of JSON, and all that writers of WATs do.

In: the JSON of a metadata record. Out: a `WatPage`, or why there is none, or None for a record about no answer.
Source: commoncrawl/ia-web-commons (the extractor), IIPC Web Archive Transformation specification.
"""

import html
import re
from typing import Final, NamedTuple

import msgspec

from pipeline.base.drops import DropReason
from pipeline.extraction.page_metadata import NAMES

_IMAGE_PATH: Final = "IMG@/src"
_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Halves of characters are no JSON to the decoder.
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Link(msgspec.Struct, gc=False):
    """Anything with an address: element and attribute it stands in, address, texts; `unescape` is still to be done."""

    path: str = ""
    url: str | None = None
    alt: str | None = None
    title: str | None = None


class WatPage(NamedTuple):
    """What a WAT record says of a page; `unescape` is still to be done to `base` and `images`.

    Attributes:
        url: Address of the page.
        base: The href of its base element; may be empty.
        metas: Names in lower case, and contents, of the meta elements and header lines of `NAMES`.
        images: Of every img with src.
    """

    url: str
    base: str
    metas: list[tuple[str, str]]
    images: list[Link]


class _Meta(msgspec.Struct, gc=False):
    name: str | None = None
    property: str | None = None
    http_equiv: str | None = msgspec.field(default=None, name="http-equiv")
    content: str | None = None


class _Head(msgspec.Struct, gc=False):
    base: str | None = msgspec.field(default=None, name="Base")
    metas: list[_Meta] = msgspec.field(default_factory=list, name="Metas")


class _Html(msgspec.Struct, gc=False):
    head: _Head = msgspec.field(default_factory=_Head, name="Head")
    links: list[Link] = msgspec.field(default_factory=list, name="Links")


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


def decode_record(record: bytes, abridged: bytes | memoryview = b"") -> WatPage | DropReason | None:
    """Decodes one record; see the module.

    Args:
        record: The JSON.
        abridged: Shorter JSON in which the same is found, unless it cannot be decoded; may be empty.
    """
    envelope = (abridged and _decode(abridged)) or _decode(record) or _decode(_SURROGATE_ESCAPE.sub(b"", record))
    if not envelope:
        return DropReason.CUT_JSON
    response = envelope.payload.response
    if response is None:
        return None
    if str(response.message.status) != "200":
        return DropReason.NOT_OK
    if response.html is None:
        return DropReason.NOT_HTML
    head = response.html.head
    metas = [(name, unescape(meta.content)) for meta in head.metas if meta.content and (name := _meaning_name(meta))]
    for name, values in response.headers.items():
        if (name := name.lower()) in NAMES:
            metas += [(name, value) for value in ([values] if isinstance(values, str) else values)]
    images = [link for link in response.html.links if link.path == _IMAGE_PATH]
    return WatPage(envelope.header.url, head.base or "", metas, images)


def find_declarations(record: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """What declares the encoding of a page: its Content-Type lines, and the attributes of its meta elements.

    Args:
        record: JSON that `decode_record` made a page of; it is decoded once more, since few pages are asked.
    """
    try:
        response = msgspec.json.decode(record)["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], []
    lines: list[str] = []
    for name, values in response.get("Headers", {}).items():
        if name.lower() == "content-type":
            lines += [values] if isinstance(values, str) else values
    metas = response["HTML-Metadata"].get("Head", {}).get("Metas", [])
    return lines, [{name: unescape(value) for name, value in meta.items() if isinstance(value, str)} for meta in metas]


def _meaning_name(meta: _Meta) -> str:
    """The first of an element's names that means something; empty if none does."""
    if (name := meta.name) and (name := name.lower()) in NAMES:
        return name
    if (name := meta.property) and (name := name.lower()) in NAMES:
        return name
    return name if (name := meta.http_equiv) and (name := name.lower()) in NAMES else ""


def unescape(text: str) -> str:
    """An attribute's value with its character references undone; in a URL, ``&copy=1`` is none."""
    if "&" not in text or ";" not in text:
        return text
    return _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)


def _decode(record: bytes | memoryview) -> _Envelope | None:
    try:
        return _DECODER.decode(record).envelope
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
