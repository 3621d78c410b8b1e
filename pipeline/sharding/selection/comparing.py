"""Pictures of a cell compared with each other: which of them are alike to an earlier one.

In: descriptors, sorted by cell and then by who comes first. Out: a mark for each. A cell that holds many pictures, as
those of products on white ground, is cut in two at the median of the value its pictures differ in most, and so on until
some dozens are left to be compared pair by pair; pictures near a cut come into both parts. Where nothing is gained by
cutting, pictures are nearly all alike, and the first few of them mark the rest.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pixels.looks import LOOKS_BYTES, STEPS, Looks
from pipeline.sharding.selection.alike import MEAN_FLOOR, REACH, Rows, near_of, tolerance_of, values_of

_MOST_TOGETHER: Final = 64  # pictures that are compared pair by pair
_LARGEST_PART: Final = 0.8  # of a group that a cut may leave together
_LEADERS: Final = 256  # pictures that are compared with all others at once, where nothing is gained by cutting
_VALUES_AT_ONCE: Final = 1 << 22

_Mask = npt.NDArray[np.bool_]


class _Cells(NamedTuple):
    """Pictures by cell.

    Attributes:
        looks: [pictures, LOOKS_BYTES].
        samples: What the pictures are of: none is a copy of itself, as a symmetric one in a mirror: [pictures].
        distance: By how much they may differ.
    """

    looks: Looks
    samples: npt.NDArray[np.int64]
    distance: float


def mark_copies(
    looks: Looks, *, cells: npt.NDArray[np.uint64], samples: npt.NDArray[np.int64], distance: float
) -> _Mask:
    """Which pictures are alike to an earlier one of their cell.

    Args:
        looks: [pictures, LOOKS_BYTES].
        cells: [pictures], sorted.
        samples: What the pictures are of; no two of one sample are compared.
        distance: By how much pictures may differ, as a share of their contrast.
    """
    known = _Cells(looks, samples, distance)
    copies = np.zeros(len(looks), bool)
    starts = np.flatnonzero(np.diff(cells, prepend=~cells[:1]))
    sizes = np.diff(starts, append=len(cells))
    is_large = sizes > _MOST_TOGETHER
    parts = []
    for first, size in zip(starts[is_large].tolist(), sizes[is_large].tolist(), strict=True):
        parts += _cut_up(np.arange(first, first + size), known, copies)
    ends = np.cumsum([len(part) for part in parts], dtype=np.intp)
    flat = np.concatenate([np.arange(len(looks)), *parts])
    _mark_small(flat, starts[~is_large], sizes[~is_large], known, copies)
    _mark_small(flat, len(looks) + np.append(0, ends[:-1]) if parts else ends, np.diff(ends, prepend=0), known, copies)
    return copies


def _cut_up(places: Rows, known: _Cells, copies: _Mask) -> list[Rows]:
    """A large group in parts that are compared pair by pair; what is found on the way is marked."""
    places = _mark_twins(places, known, copies)
    parts, values = [], values_of(known.looks[places])
    tolerance = np.sqrt(tolerance_of(values, known.distance))
    waiting = [np.arange(len(places))]
    while waiting:
        group = waiting.pop()
        if len(group) <= _MOST_TOGETHER:
            parts.append(places[group])
            continue
        inner = values[group]
        axis = int(np.argmax(inner.std(axis=0) / REACH))
        line, near = inner[:, axis], near_of(axis, tolerance[group])
        middle = np.partition(line, len(line) // 2)[len(line) // 2] + STEPS[axis] / np.float32(2)
        cut = [group[line - near <= middle], group[line + near >= middle]]
        if max(map(len, cut)) > _LARGEST_PART * len(group):
            _mark_by_leaders(places[group], known, copies)
        else:
            waiting += cut
    return parts


def _mark_twins(places: Rows, known: _Cells, copies: _Mask) -> Rows:
    """Marks all but the first of those with the same descriptor; gives the first ones, in their order."""
    whole = np.ascontiguousarray(known.looks[places]).view(f"V{LOOKS_BYTES}").ravel()
    _, firsts, numbers = np.unique(whole, return_index=True, return_inverse=True)
    copies[places[known.samples[places] != known.samples[places[firsts[numbers]]]]] = True
    return places[np.sort(firsts)]


def _mark_by_leaders(places: Rows, known: _Cells, copies: _Mask) -> None:
    """Marks those of a group that are alike to an earlier one, which is compared with all that have no mark yet."""
    for first in range(0, len(places), _LEADERS):
        leaders = places[first : first + _LEADERS]
        others = places[first:][~copies[places[first:]]]
        step = max(1, _VALUES_AT_ONCE // _LEADERS)
        for start in range(0, len(others), step):
            later = others[start : start + step]
            found = _match(_unpack(leaders, known), _unpack(later, known)) & (leaders[:, None] < later)
            copies[later] |= found.any(axis=0)


def _mark_small(flat: Rows, starts: Rows, sizes: Rows, known: _Cells, copies: _Mask) -> None:
    """Marks those of small groups that are alike to an earlier one; groups of about one size are compared together.

    Args:
        flat: Places of pictures, each group's one after another.
        starts: Of groups in it.
        sizes: Of groups.
        known: The pictures.
        copies: Their marks.
    """
    width = 2
    while width < 2 * _MOST_TOGETHER:
        of_size = np.flatnonzero((sizes > width // 2) & (sizes <= width) & (sizes > 1))
        step = max(1, _VALUES_AT_ONCE // (width * LOOKS_BYTES))
        for first in range(0, len(of_size), step):
            some = of_size[first : first + step]
            counts = np.arange(width)
            places = flat[starts[some, None] + np.minimum(counts, sizes[some, None] - 1)]  # [groups, width]
            pictures = _unpack(places, known)
            is_earlier = (counts[:, None] < counts) & (counts < sizes[some, None, None])
            found = (_match(pictures, pictures) & is_earlier).any(axis=1)
            copies[places[found]] = True
        width *= 2


class _Pictures(NamedTuple):
    """Pictures as they are compared; [...] are groups.

    Attributes:
        details: All values but the mean gray: [..., pictures, LOOKS_BYTES - 1].
        means: [..., pictures].
        contrasts: Squares of the details' lengths.
        tolerances: By how much they may differ from others as rich, squared.
        samples: What they are of.
    """

    details: npt.NDArray[np.float32]
    means: npt.NDArray[np.float32]
    contrasts: npt.NDArray[np.float32]
    tolerances: npt.NDArray[np.float32]
    samples: npt.NDArray[np.int64]


def _unpack(places: Rows, known: _Cells) -> _Pictures:
    values = values_of(known.looks[places.ravel()])
    details = values[:, 1:].reshape(*places.shape, -1)
    tolerances = tolerance_of(values, known.distance).reshape(places.shape)
    contrasts = np.einsum("...i,...i->...", details, details)
    return _Pictures(details, values[:, 0].reshape(places.shape), contrasts, tolerances, known.samples[places])


def _match(ones: _Pictures, others: _Pictures) -> _Mask:
    """`are_alike` for each of some pictures with each of others, of other samples: [..., ones, others]."""
    products = ones.details @ np.swapaxes(others.details, -1, -2)  # of whole numbers below 2^24: exact
    squares = ones.contrasts[..., :, None] + others.contrasts[..., None, :] - 2 * products
    tolerances = np.minimum(ones.tolerances[..., :, None], others.tolerances[..., None, :])
    apart = np.abs(ones.means[..., :, None] - others.means[..., None, :])
    is_alike: _Mask = (squares <= tolerances) & (apart <= np.sqrt(tolerances) + MEAN_FLOOR)
    return is_alike & (ones.samples[..., :, None] != others.samples[..., None, :])
