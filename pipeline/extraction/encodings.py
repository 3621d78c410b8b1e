"""The characters of a page, whatever encoding its bytes are in.

In: the bytes of a page, the charset of its Content-Type and where it was found. Out: the same page as valid UTF-8, and
the encoding it was in.
Source: WHATWG HTML 13.2.3.2 (byte order mark, then HTTP header, then the page's own declaration, then detection).
"""

import codecs
import re
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base.drops import DropReason
from pipeline.extraction.prescan import find_late_meta, prescan
from pipeline.web.encodings import REPLACEMENT, decode, find_encoding
from pipeline.web.urls import canonicalize_url, url_host

_PRESCAN_BYTES: Final = 1024
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_ISO_2022_JP: Final = re.compile(rb"\x1b(?:\$[@B]|\(J)")
_ASCII: Final = bytes(range(0x80))
# Detection. The first detector knows scripts apart, the second Latin ones, both better than the other; the second
# has to be told what is likely where there is not much to tell from, and a country tells more than it.
_DETECTION_BYTES: Final = 8192
_LONG_BYTES: Final = 100  # that are not ASCII
_LATIN: Final = (
    "iso-8859-2", "iso-8859-4", "iso-8859-10", "iso-8859-13", "iso-8859-15",
    "windows-1250", "windows-1252", "windows-1254", "windows-1257", "windows-1258",
)  # fmt: skip
_RARE: Final = (
    "iso-8859-3", "iso-8859-14", "iso-8859-16", "macintosh", "windows-1251", "koi8-r", "ibm866", "x-mac-cyrillic",
)  # fmt: skip
_DOS: Final = "ibm866"  # as which the first takes long Dutch pages
_CYRILLIC: Final = ("windows-1251", "x-mac-cyrillic")  # which the first does not tell apart
_CHARDET_NAMES: Final = {"macintosh": "mac-roman", "x-mac-cyrillic": "mac-cyrillic"}
_TURKISH: Final = "windows-1254"  # where the second sees Icelandic
_TAG_MARKS: Final = re.compile(rb"[<>]")


class DecodedPage(NamedTuple):
    """A page as text.

    Attributes:
        html: Valid UTF-8, without a byte order mark; what could not be decoded is U+FFFD.
        encoding: The name of the encoding it was in, in lower case.
    """

    html: bytes
    encoding: str


def decode_page(page: bytes, *, charset: str = "", url: str = "") -> DecodedPage | DropReason:
    """Decodes a page, or says that it is in an encoding that nobody decodes.

    Args:
        page: Its bytes.
        charset: As its Content-Type header says; may be empty or nonsense.
        url: Where it was found; a hint where nothing is declared.
    """
    for bom, encoding in _BOMS:
        if page.startswith(bom):
            return DecodedPage(_to_utf8(page[len(bom) :], encoding), encoding)
    declared = find_encoding(charset) or prescan(page, _PRESCAN_BYTES)
    if (declared or "utf-8") == "utf-8" and is_utf8(page) and not (declared is None and _may_be_others(page)):
        return DecodedPage(page, "utf-8")
    encoding = declared or _find_undeclared(page, url)
    if encoding == REPLACEMENT:
        return DropReason.UNREAD_ENCODING
    return DecodedPage(_to_utf8(page, encoding), encoding)


def _may_be_others(page: bytes) -> bool:
    """Whether valid UTF-8 that nobody calls so may be in one of the encodings that are made of ASCII bytes."""
    return page.startswith((b"<\0", b"\0<")) or (
        page.isascii() and b"\x1b" in page and _ISO_2022_JP.search(page) is not None
    )


def _find_undeclared(page: bytes, url: str) -> str:
    """The encoding of a page that does not begin with a declaration and is not plainly UTF-8."""
    if page.startswith((b"<\0", b"\0<")):
        return "utf-16le" if page[1] == 0 else "utf-16be"
    if page.isascii():
        return "iso-2022-jp"
    return "utf-8" if is_utf8(page) else find_late_meta(page) or detect_encoding(page, url)


def detect_encoding(page: bytes, url: str = "") -> str:
    """A guess.

    Args:
        page: Bytes that are not UTF-8.
        url: Where they were found.

    >>> detect_encoding("<p>Привет, мир</p>".encode("koi8-r"))
    'koi8-u'
    """
    from chardetng_py import EncodingDetector  # with its models, for the few pages that need it

    country = _country_of(url)
    detector = EncodingDetector()
    detector.feed(page, last=True)
    guess = detector.guess(tld=country.encode() or None, allow_utf8=False).lower()
    is_long = len(page.translate(None, _ASCII)) >= _LONG_BYTES
    if guess in (*_LATIN, _DOS):
        is_settled = not is_long and (bool(country) or guess in (_DOS, _TURKISH))
        rivals: tuple[str, ...] = (*_LATIN, *_RARE) if is_long else _LATIN
    else:
        is_settled = not is_long or guess not in _CYRILLIC
        rivals = _CYRILLIC
    return guess if is_settled else _tell_apart(page, rivals) or guess


def _tell_apart(page: bytes, encodings: tuple[str, ...]) -> str | None:
    import chardet

    texts = [text for text in _TAG_MARKS.split(page) if not text.isascii()]
    sample = b" ".join(texts)[:_DETECTION_BYTES]
    names = {_CHARDET_NAMES.get(name, name): name for name in encodings}
    found = chardet.detect(sample, include_encodings=names, compat_names=False)["encoding"] or ""
    return names.get(found) or find_encoding(found)


def _country_of(url: str) -> str:
    """The top domain of an address when it is that of a country, else nothing."""
    canonical = canonicalize_url(url)
    domain = url_host(canonical).rstrip(".").rpartition(".")[2] if canonical else ""
    return domain if (len(domain) == 2 and domain.isalpha()) or domain.startswith("xn--") else ""


def is_utf8(page: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    if page.isascii():
        return True
    ends = pa.py_buffer(np.array([0, len(page)], np.int32))
    try:  # Arrow looks at many bytes at once, and builds no string
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(page)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _to_utf8(page: bytes, encoding: str) -> bytes:
    if encoding == "utf-8" and is_utf8(page):  # behind a byte order mark
        return page
    return decode(page, encoding).encode("utf-8", "replace")
