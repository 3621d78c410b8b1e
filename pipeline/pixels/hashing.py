"""The perceptual hash of a picture: alike pictures have hashes that differ in few bits.

In: pixels, uint8 [height, width, 3] or [height, width, 1]. Out: 64 bits as a signed number. Gray averages over a grid
of 32 x 32 cells, their lowest 8 x 8 frequencies, and of each whether it exceeds the median. Whole numbers throughout,
so that every machine gets the same bits.
Source: C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, 3.2.1 (pHash).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.pixels import kernels
from pipeline.pixels.resizing import Pixels

_CELLS: Final = 32
_COSINES: Final = np.rint(
    np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(_CELLS) + 1) / (2 * _CELLS)) * (1 << 12)
).astype(np.int64)  # [8, 32]: the first rows of the DCT-II matrix


def perceptual_hash(picture: Pixels) -> int:
    """The 64-bit pHash of a picture.

    Args:
        picture: [height, width, channels], RGB or gray, neither side longer than 65,535.

    Returns:
        The bits, lowest frequencies in the highest places, as a signed number.
    """
    height, width, channels = picture.shape
    rows = np.ascontiguousarray(picture).reshape(height, width * channels)
    if kernels.average_gray.find_obstacle():
        sums = average_slowly(rows, channels)
    else:
        sums = np.zeros((_CELLS, _CELLS), np.int64)
        strip = np.zeros((_CELLS, width), np.int64)
        kernels.average_gray(rows, channels, np.empty(width, np.int64), strip, sums)
    means = (sums + height * width // 2) // (height * width)  # 1/256 of a level
    frequencies = _COSINES @ means @ _COSINES.T  # [8, 8]
    ordered = np.sort(frequencies, axis=None)
    bits = 2 * frequencies > ordered[31] + ordered[32]  # the median of 64 lies between two
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def average_slowly(rows: Pixels, channels: int) -> npt.NDArray[np.int64]:
    """What `pixel_kernels.average_gray` gives, in numpy alone."""
    planes = rows.reshape(len(rows), -1, channels).astype(np.int64)
    gray = planes[..., 0] << 8 if channels == 1 else planes @ np.array([77, 150, 29])
    return _shares(gray.shape[0]) @ gray @ _shares(gray.shape[1]).T


def _shares(length: int) -> npt.NDArray[np.int64]:
    """How much of each pixel lies in each cell, in 1/32 pixels: [cells, length]."""
    cells, places = np.arange(_CELLS)[:, None], np.arange(length)
    overlaps = np.minimum((places + 1) * _CELLS, (cells + 1) * length) - np.maximum(places * _CELLS, cells * length)
    return np.maximum(overlaps, 0)
