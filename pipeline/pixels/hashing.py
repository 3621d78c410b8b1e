"""The perceptual hash of a picture: alike pictures have hashes that differ in few bits.

In: pixels, uint8 [height, width, 3] or [height, width, 1], or their averages. Out: 64 bits as a signed number: of gray
averages over a grid of 32 x 32 cells, the lowest 8 x 8 frequencies, and of each whether it exceeds the median. Whole
numbers throughout, so that every machine gets the same bits.
Source: C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, 3.2.1 (pHash).
"""

from typing import Final

import numpy as np

from pipeline.pixels.averages import Planes, average_cells, cosines
from pipeline.pixels.resizing import Pixels

_COSINES: Final = cosines(8)  # [8, 32]


def perceptual_hash(picture: Pixels) -> int:
    """The 64-bit pHash of a picture.

    Args:
        picture: [height, width, channels], RGB or gray, neither side longer than 65,535.

    Returns:
        The bits, lowest frequencies in the highest places, as a signed number.
    """
    return hash_averages(average_cells(picture))


def hash_averages(planes: Planes) -> int:
    """The same of a picture whose averages are known."""
    frequencies = _COSINES @ planes[0] @ _COSINES.T  # [8, 8]
    ordered = np.sort(frequencies, axis=None)
    bits = 2 * frequencies > ordered[31] + ordered[32]  # the median of 64 lies between two
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)
