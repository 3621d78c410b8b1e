"""Bytes off the web to one kind of image: checked, upright, 8-bit sRGB, no larger than asked.

In: the bytes of one answer. Out: a `CheckedImage` ready to be stored, or the `DropReason` that refuses it.
The order is by cost: opt-out marker, format and size from the header, the structure of the file, what decoding it would
take, and only then `pipeline.pixels.decoding`.
Source: EXIF 2.32 4.6.4 (orientation); PLUS LDF 2.0.1 and IPTC Photo Metadata 2023.1 (Data Mining).
"""

import functools
import hashlib
import io
import logging
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image

from pipeline.base.drops import DropReason
from pipeline.base.options import option
from pipeline.pixels import kernels, resizing
from pipeline.pixels.averages import average_cells
from pipeline.pixels.chunked import is_run_length_coded
from pipeline.pixels.colour import needs_conversion, to_srgb
from pipeline.pixels.costs import (
    MAX_RUN_CODED_BYTES,
    MAX_RUN_CODED_PIXELS,
    MemoryGate,
    decoding_bytes,
    encoding_bytes,
    find_excess,
)
from pipeline.pixels.decoding import DECODER_ERRORS, Decoded, decode, is_strict, read_parts
from pipeline.pixels.exif import read_exif
from pipeline.pixels.file_parts import UPRIGHT, FileParts
from pipeline.pixels.hashing import hash_averages, perceptual_hash
from pipeline.pixels.image_headers import ImageHeader, Size, read_header
from pipeline.pixels.jpeg import encode_jpeg, read_orientation, scaled_size
from pipeline.pixels.looks import describe_averages
from pipeline.pixels.resizing import Fit, Pixels, ResizeMode, cut_or_frame, resize

_PILLOW_PIXELS: Final = 89_478_485  # above it Pillow itself warns of a bomb


@dataclass(kw_only=True, eq=False)
class ImageRules:
    """What an image must be, and what it is made into; options of the stage fetch-images."""

    image_size: int = option(256, "Side of a stored image, pixels.", minimum=1, maximum=8192)
    resize_mode: ResizeMode = option(
        "short_side",
        "What `image-size` means: the short side, the long side, a square cut from the centre, a square with a white "
        "border, or nothing.",
    )
    enlarge: bool = option(False, "Resize images that are smaller, too.")
    min_side_px: int = option(32, "Shortest side allowed, pixels.", minimum=1)
    max_pixels: int = option(
        50_000_000, "Most pixels allowed, as the header claims them.", minimum=1, maximum=_PILLOW_PIXELS
    )
    max_aspect_ratio: float = option(5.0, "Longest over shortest side allowed.", minimum=1)
    max_decode_bytes: int = option(
        300_000_000,
        "Memory that all decoders of a process may take together; an image that takes more alone is refused.",
        minimum=16_000_000,
    )
    reencode: Literal["auto", "always", "never"] = option(
        "auto",
        "Encode again what has to change (auto), everything, or nothing: then images are only verified, whatever their "
        "size and format.",
    )
    image_format: Literal["jpg", "webp", "png", "own"] = option(
        "jpg",
        "Format of stored images: one, as readers like Hugging Face's want it, or own: jpg, png and webp stay as they "
        "come, and what is encoded again becomes jpg.",
    )
    encode_quality: int = option(
        95, "Quality of what is encoded again; png loses nothing whatever it is.", minimum=1, maximum=100
    )
    exif: Literal["none", "keep", "with_gps"] = option(
        "none", "Keep EXIF fields as texts beside the image; where it was taken only if asked for by name."
    )


class CheckedImage(NamedTuple):
    """An image that passed every check, as it will be stored."""

    data: bytes
    mime: str
    width: int  # pixels, as stored, upright
    height: int
    original_width: int  # pixels, as fetched, upright
    original_height: int
    sha256: bytes  # of the bytes as fetched
    phash: int  # 64 bits, signed
    looks: bytes  # the descriptor of `pipeline.pixels.looks`
    exif: dict[str, str] | None = None  # None where it is not asked for


def normalize_image(source: bytes, rules: ImageRules) -> CheckedImage | DropReason:
    """Checks an image and makes it uniform; for any number of threads, and for any bytes.

    Args:
        source: The file as fetched, decompressed.
        rules: What is allowed and wanted.

    Returns:
        The image, or why it was refused.
    """
    return DropReason.OPTED_OUT_EMBEDDED if EMBEDDED_OPT_OUT in source else make_uniform(source, rules)


def make_uniform(source: bytes, rules: ImageRules) -> CheckedImage | DropReason:
    """The same whatever the file says of its use: for images that are in no data set, and only compared with those."""
    header = read_header(source)
    if isinstance(header, DropReason):
        return header
    if refusal := check_size(Size(header.width, header.height), rules):
        return refusal
    try:
        return _normalize(source, header, rules)
    except DECODER_ERRORS:
        return DropReason.BROKEN_IMAGE


def prepare_pixels() -> None:
    """Loads the machine code that works on pixels, for this process and those that are forked from it."""
    perceptual_hash(resize(np.zeros((2, 2, 3), np.uint8), Size(1, 1)))
    if obstacle := kernels.resize_rows.find_obstacle():
        logging.getLogger(__name__).warning("pictures are resized several times slower, not compiled: %s", obstacle)


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


def fit_size(size: Size, rules: ImageRules) -> Fit:
    """The sizes of a picture on its way to the store.

    >>> fit_size(Size(640, 480), ImageRules(image_size=256)).stored
    Size(width=341, height=256)
    """
    return resizing.fit_size(size, mode=rules.resize_mode, side=rules.image_size, enlarge=rules.enlarge)


EMBEDDED_OPT_OUT: Final = b"DMI-PROHIBITED"  # prefix of every prohibition in plus:DataMining, and of no permission

_JPEG: Final = "image/jpeg"
_ENCODED: Final = {"jpg": _JPEG, "webp": "image/webp", "png": "image/png", "own": _JPEG}
_STORED_MIMES: Final = frozenset({"image/jpeg", "image/png", "image/webp"})  # may be kept as they came
_VERIFIED: Final = Size(32, 32)  # what a picture that is only verified is decoded for: its hash
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


class _Plan(NamedTuple):
    """What is known of a file before it is decoded."""

    mime: str
    size: Size
    parts: FileParts
    wanted: Size  # the size it will be resized to, as it lies in the file
    cost: int  # bytes of memory at the peak


@functools.cache
def _gate() -> MemoryGate:
    """The process's."""
    return MemoryGate()


def _normalize(source: bytes, header: ImageHeader, rules: ImageRules) -> CheckedImage | DropReason:
    plan = _plan(source, header, rules)
    if isinstance(plan, DropReason):
        return plan
    with _gate().holding(plan.cost, limit=rules.max_decode_bytes):
        decoded = decode(plan.mime, plan.size, plan.parts, wanted=plan.wanted)
        if refusal := check_size(decoded.size, rules):  # the decoder may know better than the header
            return refusal
        image = _keep(plan, decoded) if rules.reencode == "never" else _make(plan, decoded, rules)
    exif = None if rules.exif == "none" else read_exif(decoded.exif, with_gps=rules.exif == "with_gps")
    return image._replace(sha256=hashlib.sha256(source).digest(), exif=exif)


def _plan(source: bytes, header: ImageHeader, rules: ImageRules) -> _Plan | DropReason:
    """Reads the structure of a file and what decoding it will take."""
    raw = rules.reencode == "never"
    parts = read_parts(source, header.mime, raw=raw)
    if parts is None:
        return DropReason.BROKEN_IMAGE
    size = Size(max(header.width, parts.extent[0]), max(header.height, parts.extent[1]))
    if refusal := check_size(size, rules) or _find_excess(source, header.mime, size, parts):
        return refusal
    wanted = _VERIFIED if raw else _wanted_size(size, read_orientation(parts.exif), rules)
    reduced = scaled_size(size, wanted) if is_strict(header.mime, parts) else None
    cost = decoding_bytes(header.mime, size, reduced=reduced, parts=parts)
    cost += 0 if raw else encoding_bytes(fit_size(size, rules).stored)
    return DropReason.TOO_COSTLY if cost > rules.max_decode_bytes else _Plan(header.mime, size, parts, wanted, cost)


def _find_excess(source: bytes, mime: str, size: Size, parts: FileParts) -> DropReason | None:
    if mime == "image/bmp" and is_run_length_coded(source):
        too_much = len(source) > MAX_RUN_CODED_BYTES or size.width * size.height > MAX_RUN_CODED_PIXELS
        return DropReason.TOO_COSTLY if too_much else None
    return find_excess(size, parts)


def _wanted_size(size: Size, orientation: int, rules: ImageRules) -> Size:
    """The size that a picture is resized to, as it lies in the file."""
    scaled = fit_size(_turned(size, orientation), rules).scaled
    return _turned(scaled, orientation)


def _turned(size: Size, orientation: int) -> Size:
    return Size(size.height, size.width) if orientation in _SIDEWAYS else size


def _make(plan: _Plan, decoded: Decoded, rules: ImageRules) -> CheckedImage:
    """The image of a picture that may be changed: upright, in sRGB, in its size; its own bytes where that is so."""
    original = _turned(decoded.size, decoded.orientation)
    fit = fit_size(original, rules)
    is_rgb = decoded.pixels.shape[2] == 3
    picture = decoded.pixels if is_rgb else to_srgb(decoded.pixels, decoded.icc)
    picture = resize(picture, _turned(fit.scaled, decoded.orientation))
    picture = to_srgb(picture, decoded.icc) if is_rgb else picture  # of fewer pixels: cheaper
    picture = cut_or_frame(turn(picture, decoded.orientation), fit.stored)
    keep_source = (
        rules.reencode == "auto"
        and decoded.is_plain
        and plan.mime in (_STORED_MIMES if rules.image_format == "own" else {_ENCODED[rules.image_format]})
        and plan.parts.num_frames == 1
        and decoded.orientation == UPRIGHT
        and fit == (original, original)
        and not needs_conversion(decoded.icc, "RGB")
    )
    data = plan.parts.kept if keep_source else encode(picture, rules)
    mime = plan.mime if keep_source else _ENCODED[rules.image_format]
    return _describe(picture, data, mime, stored=fit.stored, original=original)


def _keep(plan: _Plan, decoded: Decoded) -> CheckedImage:
    """The image of a file that is only verified: its own bytes without metadata."""
    upright = _turned(decoded.size, decoded.orientation)
    picture = turn(to_srgb(decoded.pixels, b""), decoded.orientation)
    return _describe(picture, plan.parts.kept, plan.mime, stored=upright, original=upright)


def _describe(picture: Pixels, data: bytes, mime: str, *, stored: Size, original: Size) -> CheckedImage:
    """The image of a picture, as what it is stored."""
    averages = average_cells(picture)
    phash, looks = hash_averages(averages), describe_averages(averages)
    return CheckedImage(data, mime, *stored, *original, sha256=b"", phash=phash, looks=looks)


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels [height, width, channels] as they are meant to be seen, by the EXIF orientation (1 to 8)."""
    if orientation in _SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def encode(picture: Pixels, rules: ImageRules) -> bytes:
    """A picture [height, width, 3] as a file of the format and quality asked for."""
    if rules.image_format in ("jpg", "own"):
        return encode_jpeg(picture, rules.encode_quality)
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    if rules.image_format == "webp":
        image.save(buffer, "WEBP", quality=rules.encode_quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
