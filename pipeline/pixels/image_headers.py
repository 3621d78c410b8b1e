"""What the first bytes of an image say: its format and size, before any decoder sees it.

In: the bytes of a file. Out: an `ImageHeader` for the formats on the allow-list (JPEG, PNG, WebP, GIF, AVIF, BMP),
or the reason why there is none. SVG, TIFF and everything else are refused. A small file may claim a huge picture
(a "bomb"); its claim is read here so that it can be refused unopened.
Source: ITU-T T.81 B.1-B.2; W3C PNG 11.2.1; GIF89a 18; RFC 9649 (WebP); ISO/IEC 23008-12 6.5.3 (ispe); BITMAPINFOHEADER.
"""

import re
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from pipeline.base.drops import DropReason


class Size(NamedTuple):
    """Pixels of a picture as stored, before any rotation."""

    width: int
    height: int


class ImageHeader(NamedTuple):
    """The format and the claimed size of an image file."""

    mime: str
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader | DropReason:
    """Reads format and size without decoding.

    Args:
        data: The file, or at least its first 64 KiB.

    >>> read_header(b"GIF89a" + bytes([3, 0, 2, 0]))
    ImageHeader(mime='image/gif', width=3, height=2)
    >>> read_header(b"<svg/>")
    <DropReason.UNKNOWN_FORMAT: 'unknown_format'>
    """
    mime = sniff_format(data)
    if mime is None:
        return DropReason.UNKNOWN_FORMAT
    try:
        size = _SIZE_READERS[mime](data)
    except (struct.error, IndexError):  # the file ends inside its header
        size = None
    if size is None or size.width < 1 or size.height < 1:
        return DropReason.BROKEN_IMAGE
    return ImageHeader(mime, size.width, size.height)


def sniff_format(data: bytes) -> str | None:
    """The MIME type that the first bytes tell, or None when it is not on the allow-list."""
    for magic, mime in _MAGIC:
        if data.startswith(magic):
            return mime
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and _AVIF_BRANDS & _brands(data):
        return "image/avif"
    return None


_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_STANDALONE_MARKERS: Final = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # without a length field
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN_MARKER: Final = 0xDA
_MAX_SEGMENTS: Final = 4096  # JPEG segments and fill bytes looked at, so that a hostile file costs little
_META_BYTES: Final = 65_536  # of an AVIF file
_ISPE: Final = re.compile(rb"ispe(.{12})", re.DOTALL)
_CORE_HEADER_BYTES: Final = 12  # of the oldest BMP header, whose sizes are 16 bits wide


def _brands(data: bytes) -> set[bytes]:
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[start : start + 4] for start in (8, *range(16, end, 4))}


def _jpeg_size(data: bytes) -> Size | None:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _STANDALONE_MARKERS:
            position += 2
        elif marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return Size(width, height)
        elif marker == _SCAN_MARKER:
            return None
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _png_size(data: bytes) -> Size | None:
    return Size(*struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _gif_size(data: bytes) -> Size | None:
    return Size(*struct.unpack_from("<HH", data, 6))


def _bmp_size(data: bytes) -> Size | None:
    if struct.unpack_from("<I", data, 14)[0] == _CORE_HEADER_BYTES:
        return Size(*struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Size(width, abs(height))  # a negative height means rows from the top


def _webp_size(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        low, high, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        return Size(1 + low + (high << 16), 1 + low_height + (high_height << 16))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    return None


def _avif_size(data: bytes) -> Size | None:
    # one such property each for the picture, its tiles, its alpha plane, its thumbnail
    sizes = [Size(*struct.unpack(">4xII", found[1])) for found in _ISPE.finditer(data, 0, _META_BYTES)]
    return max(sizes, key=lambda size: size.width * size.height, default=None)


_SIZE_READERS: Final[dict[str, Callable[[bytes], Size | None]]] = {
    "image/jpeg": _jpeg_size,
    "image/png": _png_size,
    "image/webp": _webp_size,
    "image/gif": _gif_size,
    "image/avif": _avif_size,
    "image/bmp": _bmp_size,
}
