"""Bytes off the web to one kind of image: checked, upright, 8-bit RGB, no larger than asked.

In: the bytes of one answer. Out: a `CheckedImage` ready to be stored, or the `DropReason` that refuses it.
The order is by cost: opt-out marker, format and size from the header, and only then the decoder.
Source: EXIF 2.32 4.6.4 (orientation); PLUS LDF 2.0.1 and IPTC Photo Metadata 2023.1 (Data Mining);
C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, 3.2.1 (pHash).
"""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image

from pipeline.base.drops import DropReason
from pipeline.base.options import option
from pipeline.fetching.image_headers import ImageHeader, Size, read_header

_PILLOW_PIXELS: Final = 89_478_485  # above it Pillow itself warns of a bomb


@dataclass(kw_only=True, eq=False)
class ImageRules:
    """What an image must be, and what it is made into; options of the stage fetch-images."""

    image_size: int = option(256, "Side of a stored image, pixels; smaller images are not enlarged.", minimum=1)
    resize_mode: Literal["none", "short_side", "long_side"] = option("short_side", "Which side `image-size` means.")
    min_side_px: int = option(32, "Shortest side allowed, pixels.", minimum=1)
    max_pixels: int = option(
        50_000_000, "Most pixels allowed, as the header claims them.", minimum=1, maximum=_PILLOW_PIXELS
    )
    max_aspect_ratio: float = option(5.0, "Longest over shortest side allowed.", minimum=1)
    reencode: Literal["auto", "always"] = option(
        "auto", "Keep the bytes of images that need no change (auto), or never."
    )
    jpeg_quality: int = option(95, "Quality of what is encoded again.", minimum=1, maximum=100)


class CheckedImage(NamedTuple):
    """An image that passed every check, as it will be stored."""

    data: bytes
    mime: str
    width: int  # pixels, as stored
    height: int
    original_width: int  # pixels, as fetched, upright
    original_height: int
    sha256: bytes  # of the bytes as fetched
    phash: int  # 64 bits, signed


def normalize_image(source: bytes, rules: ImageRules) -> CheckedImage | DropReason:
    """Checks an image and makes it uniform.

    Args:
        source: The file as fetched, decompressed.
        rules: What is allowed and wanted.

    Returns:
        The image, or why it was refused.
    """
    if EMBEDDED_OPT_OUT in source:
        return DropReason.OPTED_OUT_EMBEDDED
    header = read_header(source)
    if isinstance(header, DropReason):
        return header
    if refusal := check_size(Size(header.width, header.height), rules):
        return refusal
    try:
        decoded = _decode(source, header, rules)
    except _DECODER_ERRORS:
        return DropReason.BROKEN_IMAGE
    if isinstance(decoded, DropReason):
        return decoded
    picture = decoded.picture
    size = fit_size(decoded.original, rules)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
    keep_source = rules.reencode == "auto" and decoded.is_plain and size == decoded.original
    return CheckedImage(
        data=source if keep_source else _encode_jpeg(picture, rules.jpeg_quality),
        mime=header.mime if keep_source else "image/jpeg",
        width=size.width,
        height=size.height,
        original_width=decoded.original.width,
        original_height=decoded.original.height,
        sha256=hashlib.sha256(source).digest(),
        phash=perceptual_hash(picture),
    )


def check_size(size: Size, rules: ImageRules) -> DropReason | None:
    """Why a picture of this size is refused, or None.

    >>> check_size(Size(20_000, 20_000), ImageRules())
    <DropReason.TOO_MANY_PIXELS: 'too_many_pixels'>
    """
    if size.width * size.height > rules.max_pixels:
        return DropReason.TOO_MANY_PIXELS
    if min(size) < rules.min_side_px:
        return DropReason.TOO_SMALL
    if max(size) > rules.max_aspect_ratio * min(size):
        return DropReason.TOO_NARROW
    return None


def fit_size(size: Size, rules: ImageRules) -> Size:
    """The size to store a picture in: shrunk to fit, never enlarged.

    >>> fit_size(Size(640, 480), ImageRules(image_size=256))
    Size(width=341, height=256)
    """
    side = {"none": 0, "short_side": min(size), "long_side": max(size)}[rules.resize_mode]
    if side <= rules.image_size:
        return size
    return Size(*(max(1, round(edge * rules.image_size / side)) for edge in size))


def perceptual_hash(picture: Image.Image) -> int:
    """The 64-bit pHash of a picture: which of its 8 x 8 lowest frequencies exceed their median.

    Whole numbers throughout, so that every machine gets the same bits. Pictures that look alike differ in few.

    Returns:
        The bits, lowest frequencies in the highest places, as a signed number.
    """
    small = picture.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    gray = np.asarray(small, dtype=np.int64)  # [32, 32]
    frequencies = _COSINES @ gray @ _COSINES.T  # [8, 8]
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


EMBEDDED_OPT_OUT: Final = b"DMI-PROHIBITED"  # prefix of every prohibition in plus:DataMining, and of no permission

_FORMATS: Final = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
_STORED_MIMES: Final = frozenset({"image/jpeg", "image/png", "image/webp"})  # may be kept as they came
_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_REDUCING_GAP: Final = 2.0  # large steps down start with a cheap average, to twice the size wanted
_WHITE: Final = (255, 255, 255)
_HASH_SIDE: Final = 32
_COSINES: Final = np.rint(
    np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(_HASH_SIDE) + 1) / (2 * _HASH_SIDE)) * (1 << 12)
).astype(np.int64)  # [8, 32]: the first rows of the DCT-II matrix
_DECODER_ERRORS: Final = (  # all that Pillow is known to raise for broken files
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class _Decoded(NamedTuple):
    picture: Image.Image  # upright RGB, maybe decoded at a fraction of its size
    original: Size  # upright
    is_plain: bool  # nothing about it had to change


def _decode(source: bytes, header: ImageHeader, rules: ImageRules) -> _Decoded | DropReason:
    with Image.open(io.BytesIO(source), formats=(_FORMATS[header.mime],)) as image:
        opened = Size(*image.size)  # a second frame header may contradict the first
        if opened != (header.width, header.height) and (refusal := check_size(opened, rules)):
            return refusal
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        if header.mime == "image/jpeg":
            image.draft(None, fit_size(opened, rules))  # the decoder can shrink by 2, 4 or 8 for less than nothing
        image.load()
        is_plain = (
            image.mode == "RGB"
            and orientation not in _TURNS
            and header.mime in _STORED_MIMES
            and getattr(image, "n_frames", 1) == 1
            and not image.has_transparency_data
        )
        picture = to_rgb(image)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    original = Size(opened.height, opened.width) if orientation in _SIDEWAYS else opened
    return _Decoded(picture, original, is_plain)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any decoded picture as 8-bit RGB: 16-bit gray scaled, what is transparent on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip((wide + 128) // 257, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        matte = Image.new("RGB", picture.size, _WHITE)
        matte.paste(picture, mask=picture.getchannel("A"))
        return matte
    return image.convert("RGB")


def _encode_jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
