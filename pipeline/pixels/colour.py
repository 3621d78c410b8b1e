"""Colours that are meant otherwise than sRGB, made sRGB by the profile that a file carries.

In: pixels and an ICC profile. Out: pixels in sRGB. A profile that is broken, of a kind that does not fit the pixels or
as good as sRGB's changes nothing, as in browsers. What a profile does is worked out once and remembered, by its digest.
Source: ICC.1:2022; IEC 61966-2-1 (sRGB).
"""

import functools
import hashlib
import io
import threading
from collections import OrderedDict
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageCms

from pipeline.pixels.chunked import MAX_ICC_BYTES
from pipeline.pixels.resizing import Pixels

Mode = Literal["L", "RGB", "CMYK"]

_MAX_KNOWN: Final = 64  # profiles; a transform takes up to a megabyte
_SAME: Final = 2  # levels by which colours may differ that are as good as the same
_STEPS: Final = 9  # of each colour, when a profile is compared with sRGB
_NO_CACHE: Final = 0x0040  # cmsFLAGS_NOCACHE: a transform without it must not be shared between threads
_STRIP_PIXELS: Final = 1 << 20  # converted at once
_INKS: Final = 4


class Transforms:
    """What profiles do to colours, as many as are in use; for any number of threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, Mode], ImageCms.ImageCmsTransform | None] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, icc: bytes, mode: Mode) -> ImageCms.ImageCmsTransform | None:
        """The way from a profile to sRGB; None where there is nothing to do or nothing that can be done."""
        key = (hashlib.sha256(icc).digest(), mode)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        transform = build_transform(icc, mode)
        with self._lock:
            self._known[key] = transform
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return transform


@functools.cache
def _transforms() -> Transforms:
    return Transforms()


def needs_conversion(icc: bytes, mode: Mode) -> bool:
    """Whether a profile changes the colours of pixels of a mode."""
    return bool(icc) and _transforms().find(icc, mode) is not None


def to_srgb(pixels: Pixels, icc: bytes) -> Pixels:
    """Pixels as RGB in sRGB.

    Args:
        pixels: [height, width, channels]: 1 gray, 3 RGB, 4 CMYK, where 255 is no ink.
        icc: The profile; empty when there is none.

    Returns:
        uint8 [height, width, 3].
    """
    channels = pixels.shape[2]
    mode: Mode = "L" if channels == 1 else "CMYK" if channels == _INKS else "RGB"
    transform = _transforms().find(icc, mode) if icc else None
    if transform is None and mode == "RGB":
        return pixels
    if transform is None and mode == "L":
        return np.repeat(pixels, 3, axis=2)
    height, width = pixels.shape[:2]
    result = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for first in range(0, height, rows):
        strip = pixels[first : first + rows]
        if mode == "CMYK":
            strip = 255 - strip
        image = Image.fromarray(np.ascontiguousarray(strip[..., 0] if mode == "L" else strip), mode)
        result[first : first + rows] = np.asarray(transform.apply(image) if transform else image.convert("RGB"))
    return result


def build_transform(icc: bytes, mode: Mode) -> ImageCms.ImageCmsTransform | None:
    """Works out what a profile does to pixels of a mode; None when that is nothing, or it cannot be known."""
    if len(icc) > MAX_ICC_BYTES:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags(_NO_CACHE) | ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: Mode) -> bool:
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        wanted = np.repeat(probe[..., None], 3, axis=2)
    else:
        levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
        probe = wanted = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform))
    return bool(np.abs(found.astype(int) - wanted).max() <= _SAME)
