"""The colours of a picture averaged over a grid of 32 x 32 equal cells: what hashes and descriptors are made of.

In: pixels, uint8 [height, width, 3] or [height, width, 1]. Out: whole numbers, so that every machine gets the same; as
floating-point numbers, which hold them and their products with cosines exactly, and are multiplied faster.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.pixels import kernels
from pipeline.pixels.resizing import Pixels
from pipeline.pixels.scratch import borrow

CELLS: Final = 32
ONE_BITS: Final = 12  # of the fraction of a cosine
Planes = npt.NDArray[np.float64]  # [1 or 3, CELLS, CELLS]

# Gray, and how far blue and red are above it, of red, green and blue; in 1/256.
_MIXTURES: Final = np.array([[77, 150, 29], [-77, -150, 227], [179, -150, -29]])


def average_cells(picture: Pixels) -> Planes:
    """The averages of a picture, in 1/256 of a level: gray, and of a coloured one how far blue and red are above gray.

    Args:
        picture: [height, width, channels], RGB or gray, neither side longer than 65,535.

    Returns:
        Whole numbers [channels, CELLS, CELLS].
    """
    height, width, channels = picture.shape
    rows = np.ascontiguousarray(picture).reshape(height, width * channels)
    if kernels.average_channels.find_obstacle():
        sums = average_slowly(rows, channels)
    else:
        sums = np.empty((channels, CELLS * CELLS), np.int64)
        line = borrow("line", 4 * width * channels).view(np.uint32)
        kernels.average_channels(rows, line, sums.reshape(channels * CELLS, CELLS))
    mixed = sums << 8 if channels == 1 else _MIXTURES @ sums
    area = height * width
    return ((mixed + area // 2) // area).astype(np.float64).reshape(channels, CELLS, CELLS)


def average_slowly(rows: Pixels, channels: int) -> npt.NDArray[np.int64]:
    """What `kernels.average_channels` gives, in numpy alone: [channels, CELLS x CELLS]."""
    planes = rows.reshape(len(rows), -1, channels).astype(np.int64).transpose(2, 0, 1)
    return (_shares(planes.shape[1]) @ planes @ _shares(planes.shape[2]).T).reshape(channels, -1)


def cosines(number: int, *, first: float = 1.0) -> npt.NDArray[np.float64]:
    """The first rows of the DCT-II matrix for the sides of a plane, as whole numbers: 1 is 1 << `ONE_BITS`.

    Args:
        number: Of rows.
        first: What all of the first row is.

    Returns:
        [number, CELLS].
    """
    rows = np.cos(np.pi * np.outer(np.arange(number), 2 * np.arange(CELLS) + 1) / (2 * CELLS))
    rows[0] = first
    return np.rint(rows * (1 << ONE_BITS))


def _shares(length: int) -> npt.NDArray[np.int64]:
    """How much of each pixel lies in each cell, in 1/32 pixels: [cells, length]."""
    cells, places = np.arange(CELLS)[:, None], np.arange(length)
    overlaps = np.minimum((places + 1) * CELLS, (cells + 1) * length) - np.maximum(places * CELLS, cells * length)
    return np.maximum(overlaps, 0)
