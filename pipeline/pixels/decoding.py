"""Files of any format to pixels, strictly: what is damaged, as far as it can be seen, is an error.

In: a file and its structure. Out: its picture, the first of several, as it lies in the file. JPEG is decoded by
`pipeline.pixels.jpeg`, the rest by Pillow, which is shown no more of a file than the picture.
"""

import io
import struct
import zlib
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from pipeline.pixels.boxes import read_avif
from pipeline.pixels.chunked import has_all_rows, read_bmp, read_gif, read_png, read_webp, webp_without_end
from pipeline.pixels.file_parts import ORIENTATION_TAG, UPRIGHT, FileParts
from pipeline.pixels.image_headers import Size
from pipeline.pixels.jpeg import decode_jpeg, is_common, read_jpeg, read_orientation
from pipeline.pixels.resizing import Pixels

DECODER_ERRORS: Final = (  # all that the decoders are known to raise for broken files
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AttributeError,
    RuntimeError, MemoryError, ZeroDivisionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

FORMATS: Final = {  # that are decoded, by media type: the names Pillow has for them
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
_WHITE: Final = (255, 255, 255)
_STRIP_PIXELS: Final = 1 << 20  # of a picture that are converted at once
_GRAY_MODES: Final = frozenset({"1", "L", "LA", "La"})


class Decoded(NamedTuple):
    """A decoded picture, and what its file says of it."""

    pixels: Pixels  # [height, width, channels] as it lies in the file: 1 gray, 3 RGB, 4 CMYK; maybe reduced
    size: Size  # of the whole picture as it lies in the file
    orientation: int
    icc: bytes
    exif: bytes
    is_plain: bool  # RGB, and nothing shines through


def read_parts(source: bytes, mime: str, *, raw: bool) -> FileParts | None:
    """Reads the structure of a file.

    Args:
        source: The file.
        mime: What its first bytes say it is.
        raw: Whether its bytes are to be kept whatever they are, with colour profile, orientation and all frames.
    """
    match mime:
        case "image/jpeg":
            return read_jpeg(source, keep_icc=raw, orientation_kept=raw)
        case "image/png":
            return read_png(source, keep_icc=raw, orientation_kept=raw)
        case "image/webp":
            return read_webp(source, keep_icc=raw, orientation_kept=raw)
        case "image/gif":
            return read_gif(source, all_frames=raw)
        case "image/avif":
            return read_avif(source)
        case _:
            return read_bmp(source)


def is_strict(mime: str, parts: FileParts) -> bool:
    """Whether a file is decoded by the decoder to which warnings are errors, and which can reduce."""
    return mime == "image/jpeg" and is_common(parts.picture)


def decode(mime: str, size: Size, parts: FileParts, *, wanted: Size) -> Decoded:
    """Decodes the picture of a file, or its first.

    Args:
        mime: Its type.
        size: Of the picture, as it lies in the file; it may turn out smaller.
        parts: The structure of the file.
        wanted: The size it will get, as it lies in the file.

    Raises:
        OSError, ValueError and others of `DECODER_ERRORS`: When the file is damaged.
    """
    orientation = read_orientation(parts.exif)
    if is_strict(mime, parts):
        pixels = decode_jpeg(parts.picture, size=size, wanted=wanted, gray=parts.num_components == 1)
        return Decoded(pixels, size, orientation, parts.icc, parts.exif, pixels.shape[2] == 3)
    if mime == "image/png" and not has_all_rows(parts.picture):
        raise ValueError("rows are missing")
    if mime == "image/webp" and _needs_no_end(parts.picture, size):
        raise ValueError("a hole in its code")
    with Image.open(io.BytesIO(parts.picture), formats=(FORMATS[mime],)) as image:
        opened = Size(*image.size)
        if opened.width * opened.height > size.width * size.height:
            raise ValueError("a larger picture than its header says")
        exif, icc = parts.exif, parts.icc
        if mime == "image/avif":
            orientation = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
            exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
            icc = image.info.get("icc_profile") or b""
        image.load()
        is_plain = image.mode == "RGB" and not image.has_transparency_data
        return Decoded(to_pixels(image), opened, orientation, icc, exif, is_plain)


def _needs_no_end(picture: bytes, size: Size) -> bool:
    """Whether a WebP file can be decoded without its end, where there is a doubt of it."""
    short = webp_without_end(picture)
    if short is None:
        return False
    try:
        with Image.open(io.BytesIO(short), formats=("WEBP",)) as image:
            if image.width * image.height <= size.width * size.height:
                image.load()
                return True
    except DECODER_ERRORS:
        pass
    return False


def to_pixels(image: Image.Image) -> Pixels:
    """A decoded picture as 8-bit RGB or gray: 16-bit gray scaled, what is transparent on white; by strips.

    Returns:
        uint8 [height, width, channels]: 1 or 3; 4 for CMYK, where 255 is no ink.
    """
    width, height = image.size
    result: Pixels | None = None
    rows = max(1, _STRIP_PIXELS // width)
    for first in range(0, height, rows):
        last = min(height, first + rows)
        strip = _strip_pixels(image if rows >= height else image.crop((0, first, width, last)))
        if rows >= height:
            return strip
        if result is None:
            result = np.empty((height, width, strip.shape[2]), np.uint8)
        result[first:last] = strip
    if result is None:
        raise ValueError("a picture without rows")
    return result


def _strip_pixels(image: Image.Image) -> Pixels:
    if image.mode == "CMYK":
        return 255 - np.asarray(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32 if image.mode != "I" else np.int32)
        return np.clip((wide + 128) // 257, 0, 255).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        matte = Image.new("RGB", picture.size, _WHITE)
        matte.paste(picture, mask=picture.getchannel("A"))
        return np.asarray(matte.convert("L") if image.mode in _GRAY_MODES else matte).reshape(*matte.size[::-1], -1)
    if image.mode in _GRAY_MODES:
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))
