"""EXIF data as text, for those who ask for it.

In: a TIFF structure. Out: field names of the standard and their values as short texts. Where a picture was taken is
left out unless it is asked for by name; makers' notes, thumbnails and other binary values are left out always.
Source: EXIF 2.32 4.6.4-4.6.6.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

from PIL import ExifTags, Image

_MAX_TEXT: Final = 1_000  # characters of a value
_MAX_FIELDS: Final = 300
_GPS_PREFIX: Final = "GPS"
_BINARY: Final = frozenset(
    {"MakerNote", "JPEGInterchangeFormat", "JpegIFOffset", "JpegIFByteCount", "PrintImageMatching"}
)
_POINTERS: Final = frozenset({"ExifOffset", "GPSInfo", "InteropOffset"})
_READ_ERRORS: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError, MemoryError,
    AttributeError, struct.error, ZeroDivisionError,
)  # fmt: skip


def read_exif(exif: bytes, *, with_gps: bool) -> dict[str, str]:
    """The fields of EXIF data by name, in the order of their names.

    Args:
        exif: A TIFF structure; what is broken in it is left out.
        with_gps: Whether the place counts.
    """
    found: dict[str, str] = {}
    directories: tuple[tuple[int, Mapping[int, str]], ...] = (
        (ExifTags.IFD.Exif, ExifTags.TAGS),
        *(((ExifTags.IFD.GPSInfo, ExifTags.GPSTAGS),) if with_gps else ()),
    )
    try:
        loaded = Image.Exif()
        loaded.load(exif)
        found |= _describe(loaded, ExifTags.TAGS)
        for directory, names in directories:
            found |= _describe(loaded.get_ifd(directory), names)
    except _READ_ERRORS:
        pass
    kept = (name for name in sorted(found) if with_gps or not name.startswith(_GPS_PREFIX))
    return {name: found[name] for name in list(kept)[:_MAX_FIELDS]}


def _describe(fields: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, str]:
    texts = {}
    for tag in fields:
        name = names.get(tag)
        if name is None or name in _BINARY or name in _POINTERS:
            continue
        try:
            text = _text_of(fields[tag])
        except _READ_ERRORS:
            continue
        if text and len(text) <= _MAX_TEXT:
            texts[name] = text
    return texts


def _text_of(value: Any) -> str:
    """A value as text: numbers by spaces, bytes only where they are text; empty for what is neither."""
    if isinstance(value, bytes):
        value = value.removeprefix(b"ASCII\0\0\0").rstrip(b"\0 ")
        return value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else ""
    if isinstance(value, str):
        return "".join(letter for letter in value.strip("\0 ") if letter.isprintable())
    if isinstance(value, tuple):
        return " ".join(_text_of(part) for part in value[:64])
    return f"{float(value):g}" if not isinstance(value, int) else str(value)
