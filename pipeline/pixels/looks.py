"""What a picture looks like, in 61 bytes: its lowest frequencies, by which copies are told from what is merely similar.

In: pixels, or their averages over cells. Out: of gray the 55 lowest frequencies (those across and down that add up to
less than 10), then three each of how far blue and red are above gray, as signed bytes in steps of a level, a half or a
quarter. Copies in other sizes and formats differ by a level or two all together, photographs of other things by twenty.
The picture in a mirror is the same with the signs of some bytes turned. Whole numbers throughout, so that every machine
gets the same bytes.
Source: ISO/IEC 15938-3:2002 6.6 (the colour layout descriptor of MPEG-7: quantised DCT coefficients of tiny pictures);
how many and how fine was chosen by the figures of `benchmarks/near_duplicates.py`.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.pixels.averages import CELLS, ONE_BITS, Planes, average_cells, cosines
from pipeline.pixels.resizing import Pixels

Looks = npt.NDArray[np.int8]  # [pictures, LOOKS_BYTES]

_ORDER: Final = 10  # frequencies of gray, across and down, add up to less
_COLOUR_ORDER: Final = 2
# A frequency sums up 32 x 32 cells (10 bits), each side by sqrt(2 / 32) (4 bits less for both), and is told as what it
# adds to the root mean square over the picture (another 5 bits of the 10 go); cells are in 1/256 (8 bits).
_LEVEL_BITS: Final = 8 + 2 * ONE_BITS + 4 + 5
_GRAY, _BLUE, _RED = 256, 144, 183  # of Y, and Cb and Cr by B - Y and R - Y, of ITU-R BT.601; in 1/256

_COSINES: Final = cosines(_ORDER, first=np.sqrt(0.5))  # [10, 32]
_MIDDLE: Final = (128 << 8) * CELLS * CELLS * _COSINES[0, 0] ** 2  # the sum over a picture that is all of a middle gray


def _places(order: int) -> list[tuple[int, int]]:
    """Frequencies down and across, lowest first."""
    return [(total - across, across) for total in range(order) for across in range(total + 1)]


NUM_GRAY: Final = len(_places(_ORDER))
_NUM_COLOURS: Final = len(_places(_COLOUR_ORDER))
_DOWN, _ACROSS = np.array(_places(_ORDER) + 2 * _places(_COLOUR_ORDER)).T
_PLANE: Final = np.repeat([0, 1, 2], [NUM_GRAY, _NUM_COLOURS, _NUM_COLOURS])
_FLAT: Final = (_PLANE * _ORDER + _DOWN) * _ORDER + _ACROSS
_STEP_BITS: Final = np.where(_DOWN + _ACROSS == 0, 0, np.where(_DOWN + _ACROSS <= 2, 1, 2))  # 1, 1/2 and 1/4 of a level
_SCALES: Final = np.repeat([_GRAY, _BLUE, _RED], [NUM_GRAY, _NUM_COLOURS, _NUM_COLOURS]) / 2.0 ** (
    8 + _LEVEL_BITS - _STEP_BITS
)
LOOKS_BYTES: Final = len(_FLAT)
STEPS: Final = (4 >> _STEP_BITS).astype(np.int16)  # what one is worth in each of the bytes, in quarters of a level
_MIRROR: Final = np.where(_ACROSS % 2, -1, 1).astype(np.int8)


def describe_looks(picture: Pixels) -> bytes:
    """The descriptor of a picture.

    Args:
        picture: [height, width, channels], RGB or gray, neither side longer than 65,535.

    Returns:
        `LOOKS_BYTES` signed bytes, the first the mean gray less 128.
    """
    return describe_averages(average_cells(picture))


def describe_averages(planes: Planes) -> bytes:
    """The same of a picture whose averages are known."""
    sums = np.zeros((3, _ORDER, _ORDER))
    sums[: len(planes)] = _COSINES @ planes @ _COSINES.T
    sums[0, 0, 0] -= _MIDDLE
    steps = np.rint(sums.ravel()[_FLAT] * _SCALES)
    return np.clip(steps, -127, 127).astype(np.int8).tobytes()


def looks_array(column: pa.Array | pa.ChunkedArray) -> Looks:
    """A column of descriptors, none of them null, as an array."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    data = np.frombuffer(array.buffers()[1] or b"", np.int8, count=LOOKS_BYTES * (array.offset + len(array)))
    return data.reshape(-1, LOOKS_BYTES)[array.offset :]


def mirror_looks(looks: Looks) -> Looks:
    """Descriptors of the same pictures seen in a mirror."""
    return looks * _MIRROR
