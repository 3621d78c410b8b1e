"""Resizing of RGB pictures, and the sizes that the resize modes lead to.

In: uint8 arrays [height, width, 3]. Out: the same, in another size, by a bicubic filter (a = -0.5) that is as much
wider as the picture is reduced, so that no detail turns into noise: what Pillow's BICUBIC gives, within two levels.
The weights are whole numbers of 1/16384 and the sums whole too: every machine gets the same bits, compiled or not.
Source: R. Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 4.
"""

import functools
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pixels import kernels
from pipeline.pixels.image_headers import Size
from pipeline.pixels.scratch import borrow

ResizeMode = Literal["none", "short_side", "long_side", "center_crop", "border"]
Pixels = npt.NDArray[np.uint8]

_SHARPNESS: Final = -0.5  # Keys's a
_REACH: Final = 2.0  # pixels on both sides that a cubic looks at
_ONE: Final = 1 << 14
_FINE: Final = 6  # as in `pixel_kernels`
_ROWS_AT_ONCE: Final = 64  # of the first pass: 192 bytes a column, 100 kB for a photograph
_WHITE: Final = 255


class Fit(NamedTuple):
    """How a picture becomes the one that is stored: resized, then cut or framed around its centre."""

    scaled: Size
    stored: Size


class _Weights(NamedTuple):
    firsts: npt.NDArray[np.int64]  # [new size]
    weights: npt.NDArray[np.int16]  # [new size, taps], every row sums up to 16384


def fit_size(size: Size, *, mode: ResizeMode, side: int, enlarge: bool) -> Fit:
    """The sizes of a picture on its way to the store.

    Args:
        size: Of the picture, upright.
        mode: What `side` means: ``short_side`` and ``long_side`` keep the shape; ``center_crop`` cuts the middle square
            out of a picture whose short side is `side`; ``border`` frames one whose long side is `side` to a square.
        side: Pixels.
        enlarge: Whether a picture that is smaller is resized too; otherwise it stays as it is.

    >>> fit_size(Size(640, 480), mode="border", side=256, enlarge=False)
    Fit(scaled=Size(width=256, height=192), stored=Size(width=256, height=256))
    """
    if mode == "none":
        return Fit(size, size)
    edge = min(size) if mode in ("short_side", "center_crop") else max(size)
    if edge < side and not enlarge:
        return Fit(size, size)
    scaled = Size(*(max(1, round(length * side / edge)) for length in size))
    return Fit(scaled, Size(side, side) if mode in ("center_crop", "border") else scaled)


def resize(picture: Pixels, size: Size) -> Pixels:
    """A picture in another size.

    Args:
        picture: [height, width, 3].
        size: To give it.
    """
    height, width, channels = picture.shape
    if (width, height) == size:
        return picture
    rows, columns = _weights(height, size.height), _weights(width, size.width)
    source = np.ascontiguousarray(picture).reshape(height, width * channels)
    if kernels.resize_rows.find_obstacle():
        return resize_slowly(picture, size)
    block = borrow("block", width * channels * _ROWS_AT_ONCE).reshape(width, channels * _ROWS_AT_ONCE)
    middle = borrow("middle", 2 * height * size.width * channels).view(np.int16).reshape(height, size.width * channels)
    column = borrow("column", 2 * block.shape[1]).view(np.int16)
    sums = borrow("sums", 4 * max(middle.shape[1], block.shape[1])).view(np.int32)
    result = np.empty((size.height, size.width * channels), np.uint8)
    kernels.resize_rows(
        source, rows.firsts, rows.weights, columns.firsts, columns.weights, block, column, sums, middle, result
    )
    return result.reshape(size.height, size.width, channels)


def resize_slowly(picture: Pixels, size: Size) -> Pixels:
    """What `resize` gives, in numpy alone: for where nothing can be compiled."""
    height, width, _ = picture.shape
    turned = _blend(picture.transpose(1, 0, 2), _weights(width, size.width), shift=14 - _FINE, top=255 << _FINE)
    lines = turned.transpose(1, 0, 2)
    return _blend(lines, _weights(height, size.height), shift=14 + _FINE, top=255).astype(np.uint8)


def cut_or_frame(picture: Pixels, size: Size) -> Pixels:
    """The middle of a picture, or the picture in the middle of white, side by side for both of its sides."""
    height, width, channels = picture.shape
    if (width, height) == size:
        return picture
    result = np.full((size.height, size.width, channels), _WHITE, np.uint8)
    cut = tuple(max(0, (have - want) // 2) for have, want in ((height, size.height), (width, size.width)))
    inner = picture[cut[0] :, cut[1] :][: size.height, : size.width]
    above, left = (size.height - inner.shape[0]) // 2, (size.width - inner.shape[1]) // 2
    result[above : above + inner.shape[0], left : left + inner.shape[1]] = inner
    return result


def _blend(source: npt.NDArray[np.integer], weights: _Weights, *, shift: int, top: int) -> npt.NDArray[np.int32]:
    sums = np.full((len(weights.firsts), *source.shape[1:]), 1 << (shift - 1), np.int32)
    for tap in range(weights.weights.shape[1]):
        factors = weights.weights[:, tap].astype(np.int32)[:, None, None]
        sums += factors * source[weights.firsts + tap]
    clipped: npt.NDArray[np.int32] = np.clip(sums >> shift, 0, top)
    return clipped


@functools.lru_cache(maxsize=512)
def _weights(old: int, new: int) -> _Weights:
    """The blends that make `new` pixels of `old` ones."""
    step = old / new
    reach = _REACH * max(step, 1.0)
    centres = (np.arange(new) + 0.5) * step
    firsts = np.maximum(np.floor(centres - reach + 0.5).astype(np.int64), 0)
    lasts = np.minimum(np.floor(centres + reach + 0.5).astype(np.int64), old)
    taps = int((lasts - firsts).max())
    firsts = np.minimum(firsts, old - taps)
    places = firsts[:, None] + np.arange(taps)
    exact = _cubic((places + 0.5 - centres[:, None]) / max(step, 1.0))
    exact /= exact.sum(axis=1, keepdims=True)
    weights = np.rint(exact * _ONE).astype(np.int64)
    weights[np.arange(new), weights.argmax(axis=1)] += _ONE - weights.sum(axis=1)
    return _Weights(firsts, weights.astype(np.int16))


def _cubic(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    far, a = np.abs(distances), _SHARPNESS
    near = ((a + 2) * far - (a + 3)) * far * far + 1
    outer = (((far - 5) * far + 8) * far - 4) * a
    return np.where(far < 1, near, np.where(far < _REACH, outer, 0.0))
