"""Which pictures are alike: one is a copy of the other, in another size, format or quality.

In: descriptors of pictures (`pipeline.pixels.looks`). Out: whether two are alike; and for many, *cells*: numbers of
which alike pictures share one, so that only pictures of a cell need be compared. What is compared are differences of
whole numbers: every machine and every order of comparing gives the same.

Two are alike where, to the root mean square over the picture, they differ by no more than a level and five eighths
and a share of their contrast together: what JPEG, WebP and resizing do to small pictures, and what they do to rich
ones. Of a flat picture the contrast is small, and so is what it may differ by.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pixels.looks import LOOKS_BYTES, NUM_GRAY, STEPS, Looks, mirror_looks

DISTANCE: Final = 0.055  # of the contrast; the figures are in benchmarks/README.md
MAX_DISTANCE: Final = 0.3

_LEVEL: Final = 4  # steps: values are told in quarters of a level
_FLOOR: Final = 1.625 * _LEVEL  # that any two may differ by
_MOST_CONTRAST: Final = 64 * _LEVEL  # of a picture that counts; more has a dark thing on white, whatever it is
MEAN_FLOOR: Final = 2 * _LEVEL  # that the mean gray may differ by on top
_PAIRS_AT_ONCE: Final = 1 << 16

Values = npt.NDArray[np.float32]  # [pictures, LOOKS_BYTES], quarters of a level: whole numbers, as are sums of products
Rows = npt.NDArray[np.intp]


class _Axis(NamedTuple):
    """A value that cells are told apart by.

    Attributes:
        byte: Of the descriptor.
        edges: Between cells, quarters of a level; between two values that a byte can have.
    """

    byte: int
    edges: tuple[float, ...]


# The values that spread most beside what copies differ by, those first that tell most apart for fewest entries; cut
# where photographs and product pictures are cut into about equal shares.
_AXES: Final = (
    _Axis(0, (-82, 18, 186, 314, 386)),  # mean gray
    _Axis(1, (-27, 3, 19, 47, 89)),  # 1 down
    _Axis(3, (-25, 9, 37, 67, 117)),  # 2 down
    _Axis(5, (-13, 19, 49, 89, 161)),  # 2 across
    _Axis(12, (-46.5, -14.5, 11.5)),  # 2 down, 2 across
    _Axis(6, (-26.5, -2.5, 17.5)),  # 3 down
    _Axis(10, (-22.5, -1.5, 18.5)),  # 4 down
    _Axis(14, (-8.5, 12.5)),  # 4 across
    _Axis(2, (-11, 5)),  # 1 across
    _Axis(8, (-8.5,)),  # 1 down, 2 across
    _Axis(15, (1.5,)),  # 5 down
)
# The share of pictures that the largest cell holds by so many of them: measured on photographs.
_LARGEST_CELLS: Final = {4: 0.045, 6: 0.015, 8: 0.005, 9: 0.0025}
_MOST_IN_A_CELL: Final = 1_000_000
# By how much copies differ in single values, as a share of what they may differ by all together: 999 of 1,000 by less.
REACH: Final = np.full(LOOKS_BYTES, 0.28, np.float32)
REACH[0] = 1.1
REACH[[NUM_GRAY, NUM_GRAY + 3]] = 0.5
_MIRRORED_BYTE: Final = 2  # 1 across: its sign says which way round a picture is


class Entries(NamedTuple):
    """Pictures in the cells where their copies may be: one entry a cell.

    Attributes:
        rows: Of the pictures: [entries].
        looks: Their descriptors, or those in a mirror: [entries, LOOKS_BYTES].
        cells: [entries].
    """

    rows: Rows
    looks: Looks
    cells: npt.NDArray[np.uint64]


def values_of(looks: Looks) -> Values:
    """What descriptors say, in quarters of a level."""
    return (looks * STEPS).astype(np.float32)


def tolerance_of(values: Values, distance: float) -> npt.NDArray[np.float32]:
    """By how much pictures may differ from others as rich, squared: [pictures].

    Args:
        values: Of the pictures.
        distance: As a share of the contrast.
    """
    contrast = np.einsum("ij,ij->i", values[:, 1:], values[:, 1:])
    return np.float32(_FLOOR**2) + np.float32(distance**2) * np.minimum(contrast, np.float32(_MOST_CONTRAST**2))


def are_alike(values: Values, others: Values, *, distance: float) -> npt.NDArray[np.bool_]:
    """Which pictures are alike, pair by pair: [pairs].

    Args:
        values: Of the ones: [pairs, LOOKS_BYTES].
        others: Of the others.
        distance: As a share of the contrast.
    """
    apart = values - others
    squares = np.einsum("ij,ij->i", apart[:, 1:], apart[:, 1:])
    tolerance = np.minimum(tolerance_of(values, distance), tolerance_of(others, distance))
    return (squares <= tolerance) & (np.abs(apart[:, 0]) <= np.sqrt(tolerance) + MEAN_FLOOR)


def near_of(byte: int, tolerance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How near to an edge of cells, or to a cut, pictures belong on both sides: half of what copies differ by.

    Args:
        byte: The value that is compared with the edge.
        tolerance: By how much pictures may differ: [pictures].
    """
    return np.maximum(REACH[byte] * tolerance / 2, STEPS[byte] / np.float32(2))


def entries_a_picture(distance: float, num_axes: int = len(_AXES)) -> float:
    """How many cells a picture is entered in, about: measured on photographs and product pictures.

    >>> [round(entries_a_picture(DISTANCE, axes), 1) for axes in (4, 8, 11)], round(entries_a_picture(0.2), 1)
    ([1.4, 2.0, 2.5], 18.4)
    """
    return math.exp(num_axes * (0.015 + 1.25 * distance))


def choose_axes(pictures: int) -> int:
    """By how many values cells are told apart, so that a cell holds a million pictures at most.

    >>> [choose_axes(pictures) for pictures in (10_000_000, 100_000_000, 400_000_000)]
    [4, 8, 9]
    """
    most = (axes for axes, share in _LARGEST_CELLS.items() if pictures * share <= _MOST_IN_A_CELL)
    return next(most, len(_AXES))


def enter_cells(looks: Looks, *, distance: float, mirrored: bool, num_axes: int = len(_AXES)) -> Entries:
    """The cells of pictures; those that are alike share one, 999 of 1,000 pairs.

    A picture near the edge of a cell is entered on both sides of it.

    Args:
        looks: [pictures, LOOKS_BYTES].
        distance: As a share of the contrast.
        mirrored: Whether pictures are alike that are so in a mirror: then all are entered the same way round.
        num_axes: By how many values cells are told apart.
    """
    rows = np.arange(len(looks))
    if mirrored:
        rows, looks = _turn_one_way(looks, distance)
    values = values_of(looks)
    tolerance = np.sqrt(tolerance_of(values, distance))
    entries, cells = np.arange(len(looks)), np.zeros(len(looks), np.uint64)
    for axis in _AXES[:num_axes]:
        edges, near = np.array(axis.edges, np.float32), near_of(axis.byte, tolerance)
        lowest = np.searchsorted(edges, values[:, axis.byte] - near)
        numbers = np.searchsorted(edges, values[:, axis.byte] + near) - lowest + 1
        spread, offsets = _repeat(numbers[entries])
        entries = entries[spread]
        cells = cells[spread] * np.uint64(len(edges) + 1) + (lowest[entries] + offsets).astype(np.uint64)
    return Entries(rows[entries], looks[entries], cells)


def find_alike(looks: Looks, others: Looks, *, distance: float = DISTANCE, mirrored: bool = False) -> tuple[Rows, Rows]:
    """All pairs of pictures of two sets that are alike.

    Args:
        looks: [pictures, LOOKS_BYTES].
        others: [other pictures, LOOKS_BYTES].
        distance: As a share of the contrast.
        mirrored: Whether pictures are alike that are so in a mirror.

    Returns:
        Rows of the first, and of the second, pair by pair, in their order.
    """
    return AlikeIndex(others, distance=distance, mirrored=mirrored).find(looks)


class AlikeIndex:
    """Pictures, to find those among them that others are alike to; some 80 bytes an entry, two entries a picture.

    Args:
        looks: [pictures, LOOKS_BYTES].
        distance: As a share of the contrast.
        mirrored: Whether pictures are alike that are so in a mirror.
    """

    def __init__(self, looks: Looks, *, distance: float = DISTANCE, mirrored: bool = False) -> None:
        self._distance, self._mirrored = distance, mirrored
        entries = enter_cells(looks, distance=distance, mirrored=mirrored)
        order = np.argsort(entries.cells, kind="stable")
        self._entries = Entries(entries.rows[order], entries.looks[order], entries.cells[order])

    def find(self, looks: Looks) -> tuple[Rows, Rows]:
        """All pairs of pictures and those of the index that are alike.

        Args:
            looks: [pictures, LOOKS_BYTES].

        Returns:
            Rows of the pictures, and of the index, pair by pair, in their order.
        """
        asked = enter_cells(looks, distance=self._distance, mirrored=self._mirrored)
        firsts = np.searchsorted(self._entries.cells, asked.cells)
        numbers = np.searchsorted(self._entries.cells, asked.cells, side="right") - firsts
        found = [np.empty((0, 2), np.intp)]
        for part in _cut(numbers):
            ones, offsets = _repeat(numbers[part])
            ones = ones + part.start
            others = firsts[ones] + offsets
            for first in range(0, len(ones), _PAIRS_AT_ONCE):
                one, other = ones[first : first + _PAIRS_AT_ONCE], others[first : first + _PAIRS_AT_ONCE]
                alike = are_alike(
                    values_of(asked.looks[one]), values_of(self._entries.looks[other]), distance=self._distance
                )
                found.append(np.stack([asked.rows[one[alike]], self._entries.rows[other[alike]]], axis=1))
        pairs = np.unique(np.concatenate(found), axis=0)
        return pairs[:, 0], pairs[:, 1]


def _turn_one_way(looks: Looks, distance: float) -> tuple[Rows, Looks]:
    """Pictures the way round that is theirs, or both ways where it is not clear; with their rows."""
    values = values_of(looks)
    near = near_of(_MIRRORED_BYTE, np.sqrt(tolerance_of(values, distance))) + 1
    as_is = np.flatnonzero(values[:, _MIRRORED_BYTE] >= -near)
    turned = np.flatnonzero(values[:, _MIRRORED_BYTE] <= near)
    return np.concatenate([as_is, turned]), np.concatenate([looks[as_is], mirror_looks(looks[turned])])


def _repeat(numbers: npt.NDArray[np.intp]) -> tuple[Rows, npt.NDArray[np.intp]]:
    """Each place as often as its number says, and a count within each."""
    places = np.repeat(np.arange(len(numbers)), numbers)
    return places, np.arange(len(places)) - np.repeat(np.cumsum(numbers) - numbers, numbers)


def _cut(numbers: npt.NDArray[np.intp]) -> Sequence[slice]:
    """Runs of places whose numbers add up to about what is compared at once."""
    ends = np.cumsum(numbers)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, total, _PAIRS_AT_ONCE))
    bounds = np.unique(np.concatenate([[0], cuts, [len(numbers)]]))
    return [slice(int(first), int(last)) for first, last in pairwise(bounds)]
