"""JPEG files: their structure, and a decoder to which a warning is an error.

In: the bytes of a file. Out: `FileParts`; pixels. libjpeg-turbo goes on where data is missing or makes no sense, and
says so in a warning; by `simplejpeg` such a file is refused. What that cannot take is left to Pillow, which decodes
rare shapes of chroma but hears no warnings.
Source: ITU-T T.81 B (markers, frames, scans), T.871 10 (JFIF), T.872 6.5.3 (Adobe); ICC.1:2022 B.4.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import simplejpeg

from pipeline.pixels.file_parts import UPRIGHT, FileParts, minimal_exif
from pipeline.pixels.image_headers import Size
from pipeline.pixels.resizing import Pixels
from pipeline.pixels.scratch import borrow

_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # what stands in the data of a scan is no marker
_SOI: Final = b"\xff\xd8"
_EOI, _SOS = 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_COMMENT: Final = 0xFE
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JFIF, _EXIF, _ICC = b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0"
_ICC_HEAD: Final = len(_ICC) + 2  # and its number and how many there are
_JFIF_LENGTH: Final = 16  # without a thumbnail
_MAX_SEGMENTS: Final = 65_536  # of a file that is looked at; photographs have some twenty
_COEFFICIENT_BYTES: Final = 2
_CHANNELS: Final = {"GRAY": 1, "RGB": 3, "CMYK": 4}
_DCT_SCALES: Final = (8, 4, 2)
_SMOOTHED: Final = 1.25  # reduced by the resize from here on, colours are smoothed there and need no second smoothing
_HEAD_ROOM: Final = 2  # times the size wanted that a reduced decode must leave for the resize


class _Frame(NamedTuple):
    marker: int
    size: Size
    factors: tuple[tuple[int, int], ...]  # sampling of each component


class _Segment(NamedTuple):
    marker: int
    content: bytes
    whole: bytes


def read_jpeg(source: bytes, *, keep_icc: bool, orientation_kept: bool) -> FileParts | None:
    """Reads the structure of a JPEG file.

    Args:
        source: The file.
        keep_icc: Whether the bytes to keep have their colour profile.
        orientation_kept: Whether they have the orientation, alone of the EXIF data.

    Returns:
        Its parts, or None when it has no picture or no end.
    """
    essence: list[bytes] = [_SOI]
    frame: _Frame | None = None
    profile: dict[int, _Segment] = {}
    exif, num_scans, marker = b"", 0, 0
    for segment in _segments(source):
        marker, content = segment.marker, segment.content
        if marker in (_SOS, _EOI) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT) or marker == _APP14:
            frame = frame or (_read_frame(marker, content) if marker in _FRAMES else None)
            num_scans += marker == _SOS
            essence.append(segment.whole)
        elif marker == _APP0 and content.startswith(_JFIF) and len(content) >= _JFIF_LENGTH - 2:
            essence.append(_segment(_APP0, content[: _JFIF_LENGTH - 4] + b"\0\0"))
        elif marker == _APP1 and content.startswith(_EXIF):
            exif = exif or content[len(_EXIF) :]
        elif marker == _APP2 and content.startswith(_ICC) and len(content) > _ICC_HEAD:
            profile.setdefault(content[len(_ICC)], segment)
    if marker != _EOI or frame is None or not num_scans:
        return None
    pieces = [profile[number] for number in sorted(profile)]
    extras = [piece.whole for piece in pieces] if keep_icc else []
    if orientation_kept and (turn := read_orientation(exif)) != UPRIGHT:
        extras = [_segment(_APP1, _EXIF + minimal_exif(turn)), *extras]
    return FileParts(
        picture=source,  # the decoder skips what is no picture, and stops at the end
        kept=b"".join(_insert(essence, extras)),
        icc=b"".join(piece.content[_ICC_HEAD:] for piece in pieces),
        exif=exif,
        num_scans=num_scans,
        num_components=len(frame.factors),
        bytes_a_pixel=_coefficient_bytes(frame, num_scans),
    )


def decode_jpeg(source: bytes, *, size: Size, wanted: Size, gray: bool = False) -> Pixels:
    """Decodes a JPEG file strictly.

    Args:
        source: The file.
        size: Of its picture, by the header.
        wanted: The size it will get; the decoder may reduce by 2, 4 or 8, to no less than twice that.
        gray: Whether gray will do.

    Returns:
        uint8 [height, width, channels]: 1 for gray, 3 for RGB, 4 for CMYK, where 255 is no ink. They last until the
        same thread decodes again.

    Raises:
        ValueError: When the decoder finds anything wrong, or another size.
    """
    height, width, colours, _ = simplejpeg.decode_jpeg_header(source)
    if Size(int(width), int(height)) != size:
        raise ValueError("two headers that differ")
    reduced = scaled_size(size, wanted)
    colourspace = "GRAY" if gray else "CMYK" if str(colours).upper() in ("CMYK", "YCCK") else "RGB"
    pixels: Pixels = simplejpeg.decode_jpeg(
        source,
        colourspace,
        min_width=reduced.width,
        min_height=reduced.height,
        fastupsample=min(reduced.width / wanted.width, reduced.height / wanted.height) >= _SMOOTHED,
        buffer=borrow("decoded", reduced.width * reduced.height * _CHANNELS[colourspace]),
        strict=True,
    )
    return pixels


def scaled_size(size: Size, wanted: Size) -> Size:
    """What the decoder makes of a picture that is wanted smaller: a half, a quarter, an eighth, or all of it.

    >>> scaled_size(Size(1600, 1200), Size(341, 256)), scaled_size(Size(500, 375), Size(341, 256))
    (Size(width=800, height=600), Size(width=500, height=375))
    """
    for scale in _DCT_SCALES:
        reduced = Size(*(-(-length // scale) for length in size))
        if all(have >= _HEAD_ROOM * want for have, want in zip(reduced, wanted, strict=True)):
            return reduced
    return size


def is_common(source: bytes) -> bool:
    """Whether the strict decoder knows the file's shape of chroma; only rare files are of others."""
    try:
        simplejpeg.decode_jpeg_header(source)
    except ValueError:
        return False
    return True


def encode_jpeg(picture: Pixels, quality: int) -> bytes:
    """A baseline JPEG file with half as much colour each way (4:2:0)."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return encoded


def read_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that a TIFF structure gives in its first directory; 1 when it gives none.

    >>> read_orientation(minimal_exif(6)), read_orientation(b"II*")
    (6, 1)
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (number,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(min(number, 512)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def _segments(source: bytes) -> Iterator[_Segment]:
    """The segments of a file, data of scans with their headers; the last is the end of the image, unless it is cut."""
    place = len(_SOI)
    for _ in range(_MAX_SEGMENTS):
        found = _NEXT_MARKER.search(source, place)
        if not found:
            return
        start, marker = found.start(), source[found.start() + 1]
        if marker == _EOI:
            yield _Segment(marker, b"", source[start : start + 2])
            return
        end = start + 2 + int.from_bytes(source[start + 2 : start + 4], "big")
        if end > len(source) or end < start + 4:
            return
        following = _NEXT_MARKER.search(source, end) if marker == _SOS else None
        if marker == _SOS and not following:
            return
        place = following.start() if following else end
        yield _Segment(marker, source[start + 4 : end], source[start:place])


def _read_frame(marker: int, content: bytes) -> _Frame | None:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        return None
    height, width = struct.unpack_from(">HH", content, 1)
    factors = tuple((content[at + 1] >> 4, content[at + 1] & 15) for at in range(6, 6 + 3 * content[5], 3))
    if not factors or any(not (1 <= across <= 4 and 1 <= down <= 4) for across, down in factors):
        return None
    return _Frame(marker, Size(width, height), factors)


def _coefficient_bytes(frame: _Frame, num_scans: int) -> float:
    """Bytes a pixel that a decoder holds until the last scan; none where one scan brings everything."""
    if num_scans == 1 and frame.marker not in _PROGRESSIVE:
        return 0.0
    whole = max(across for across, _ in frame.factors) * max(down for _, down in frame.factors)
    return _COEFFICIENT_BYTES * sum(across * down for across, down in frame.factors) / whole


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _insert(essence: list[bytes], extras: list[bytes]) -> list[bytes]:
    """Extra segments behind the first, or behind JFIF's, which must come first."""
    head = 2 if len(essence) > 1 and essence[1][1] == _APP0 else 1
    return [*essence[:head], *extras, *essence[head:]]
