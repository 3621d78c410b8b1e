"""The characters of a page, whatever encoding its bytes are in.

In: the bytes of a page and the charset of its Content-Type. Out: the same page as valid UTF-8.
Source: WHATWG HTML 13.2.3.2 (byte order mark, then HTTP header, then meta, then detection); WHATWG Encoding 4.2
(labels mean the larger encoding that contains them: iso-8859-1 is windows-1252, gb2312 is gb18030).
"""

import codecs
import re
from typing import Final

import charset_normalizer
import numpy as np
import pyarrow as pa

_META_BYTES: Final = 4096  # browsers look at 1024; many pages declare it later
_DETECTION_BYTES: Final = 8192
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META: Final = re.compile(
    rb"""<meta\b[^>]{0,512}?\bcharset\s*=\s*["']?\s*([\w.:-]{2,40})|<\?xml\b[^>]{0,256}?\bencoding\s*=\s*["']([\w.:-]{2,40})""",
    re.IGNORECASE,
)
_NON_ASCII_RUN: Final = re.compile(rb"[^<>]{0,64}[\x80-\xff][^<>]{0,256}")
_FALLBACK: Final = "cp1252"
# Python's name of a declared encoding -> the codec that reads it as browsers do; what is not here is not believed.
_CODECS: Final = {
    "utf-8": "utf-8", "utf-16": "utf-16-le", "utf-16-le": "utf-16-le", "utf-16-be": "utf-16-be",
    "ascii": "cp1252", "iso8859-1": "cp1252", "cp1252": "cp1252", "iso8859-9": "cp1254", "tis-620": "cp874",
    "iso8859-11": "cp874", "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "hz": "hz",
    "big5": "big5hkscs", "big5hkscs": "big5hkscs", "cp950": "big5hkscs", "euc_jp": "euc_jp", "shift_jis": "cp932",
    "cp932": "cp932", "iso2022_jp": "iso2022_jp", "euc_kr": "cp949", "cp949": "cp949", "koi8-r": "koi8-r",
    "koi8-u": "koi8-u", "mac-roman": "mac-roman", "mac-cyrillic": "mac-cyrillic",
    **{name: name for name in ("cp866", "cp874", *(f"cp125{n}" for n in range(9) if n != 2))},
    **{f"iso8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}  # fmt: skip
_DETECTED: Final = [
    "cp1252",
    "cp1251",
    "cp932",
    "gb18030",
    "big5hkscs",
    "euc_jp",
    "cp949",
    "cp1250",
    "cp1253",
    "cp1256",
]


def to_utf8(page: bytes, charset: str = "") -> bytes:
    """The page as valid UTF-8, without a byte order mark; what cannot be decoded becomes U+FFFD.

    Args:
        page: Bytes of a page.
        charset: As its Content-Type header says; may be empty or nonsense.
    """
    for bom, codec in _BOMS:
        if page.startswith(bom):
            return _transcode(page[len(bom) :], codec)
    declared = find_codec(charset) or _meta_codec(page)
    if declared is None:
        declared = "utf-8" if is_utf8(page) else _detect_codec(page)
    return _transcode(page, declared)


def find_codec(label: str) -> str | None:
    """The codec that reads pages of a declared encoding, or None for a label that means nothing.

    >>> find_codec(" ISO-8859-1 "), find_codec("x-sjis"), find_codec("hex")
    ('cp1252', 'cp932', None)
    """
    label = label.strip(" \t\r\n\"';").lower()
    try:
        name = codecs.lookup(label.removeprefix("x-")).name if label.isascii() and label else ""
    except (LookupError, ValueError):
        return None
    return _CODECS.get(name.replace("iso8859_", "iso8859-"))


def _meta_codec(page: bytes) -> str | None:
    found = _META.search(page, 0, _META_BYTES)
    if found is None:
        return None
    codec = find_codec((found[1] or found[2]).decode("ascii", "replace"))
    # a declaration that was read as ASCII is not in UTF-16
    return "utf-8" if codec and codec.startswith("utf-16") else codec


def _detect_codec(page: bytes) -> str:
    """A guess from the texts around non-ASCII bytes; markup, which is ASCII, would only dilute them."""
    sample = b" ".join(_NON_ASCII_RUN.findall(page[: 64 * _DETECTION_BYTES]))[:_DETECTION_BYTES]
    best = charset_normalizer.from_bytes(sample, cp_isolation=_DETECTED).best()
    return best.encoding if best else _FALLBACK


def is_utf8(page: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    ends = pa.py_buffer(np.array([0, len(page)], np.int32))
    try:  # Arrow looks at many bytes at once, and builds no string
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(page)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _transcode(page: bytes, codec: str) -> bytes:
    if codec == "utf-8" and is_utf8(page):
        return page
    return page.decode(codec, "replace").encode("utf-8", "replace")
