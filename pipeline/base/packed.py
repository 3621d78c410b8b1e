"""Rows that are compared across units, as packed numpy records: a few bytes a row are all that is shuffled.

In: records of one unit and a hash of each. Out: the records as bytes, by *bucket* of the hash: equal things of all
units meet in one bucket, and a bucket fits into memory. What was found in a bucket is told to units by their number.
What decides is the content of records, then their unit and row, never the order in which they arrive.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

BUCKET_BYTES: Final = 64 << 20  # of records; sorting takes a few times as much
_MIN_BUCKETS: Final = 64


class Hop(NamedTuple):
    """What one shuffle moves.

    Attributes:
        elements: Keys with bytes.
        bytes: All of them.
    """

    elements: int
    bytes: int


def num_buckets(payload: int) -> int:
    """In how many buckets records of so many bytes are compared: a bucket is sorted in memory.

    >>> num_buckets(1000), num_buckets(80 << 30)
    (64, 1280)
    """
    return max(_MIN_BUCKETS, -(-payload // BUCKET_BYTES))


def estimate_hops(*, num_sources: int, payload: int, found: int) -> tuple[Hop, Hop]:
    """The most that is moved to the buckets, and from there to units of which there are as many as sources.

    Args:
        num_sources: How many pack records.
        payload: Bytes of all records.
        found: Bytes of what is found, what goes straight to units included.

    >>> estimate_hops(num_sources=10, payload=80 << 30, found=1 << 30)
    (Hop(elements=12810, bytes=85899345920), Hop(elements=12810, bytes=1073741824))
    """
    elements = num_sources * (num_buckets(payload) + 1)
    return Hop(elements, payload), Hop(elements, found)


def straight_to(unit: int) -> int:
    """The bucket for what needs no comparing and goes to a unit as it is.

    >>> unit_straight(straight_to(7)), unit_straight(7)
    (7, None)
    """
    return -1 - unit


def unit_straight(bucket: int) -> int | None:
    """The unit of a bucket that `straight_to` made; None for a bucket of hashes."""
    return -1 - bucket if bucket < 0 else None


def split_by_bucket(
    records: npt.NDArray[Any], hashes: npt.NDArray[np.uint64], number: int
) -> Iterator[tuple[int, bytes]]:
    r"""Records as bytes, by bucket of their hashes, in their order.

    Args:
        records: [rows].
        hashes: [rows].
        number: Of buckets.

    >>> records = np.array([(1,), (2,), (3,)], [("row", "<u2")])
    >>> list(split_by_bucket(records, np.array([4, 5, 6], np.uint64), 2))
    [(0, b'\x01\x00\x03\x00'), (1, b'\x02\x00')]
    """
    return split_by_number(records, hashes % np.uint64(number))


def split_by_unit(records: npt.NDArray[Any], values: npt.NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    r"""Values of records as bytes, by the records' field ``unit``, in their order.

    >>> records = np.array([(1,), (0,), (1,)], [("unit", "<u4")])
    >>> list(split_by_unit(records, np.array([7, 8, 9], np.uint8)))
    [(0, b'\x08'), (1, b'\x07\t')]
    """
    return split_by_number(values, records["unit"])


def split_by_number(values: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    r"""Values as bytes, by a number that each has, in their order.

    >>> list(split_by_number(np.array([7, 8, 9], np.uint8), np.array([5, 2, 5])))
    [(2, b'\x08'), (5, b'\x07\t')]
    >>> list(split_by_number(np.array([]), np.array([])))
    []
    """
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    ordered = values[order]
    for number, (start, end) in zip(found.tolist(), pairwise([*starts, len(ordered)]), strict=True):
        yield number, ordered[start:end].tobytes()
