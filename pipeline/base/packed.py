"""Rows that are compared across units, as packed numpy records: a few bytes a row are all that is shuffled.

In: records of one unit and a hash of each. Out: the records as bytes, by *bucket* of the hash: equal things of all
units meet in one bucket, and a bucket fits into memory. What was found in a bucket is told to units by their number.
What decides is the content of records, then their unit and row, never the order in which they arrive.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_MIN_BUCKETS = 64


def num_buckets(num_units: int) -> int:
    """In how many buckets the rows of some units are compared: a bucket is sorted in memory.

    >>> num_buckets(3), num_buckets(1000)
    (64, 2000)
    """
    return max(_MIN_BUCKETS, 2 * num_units)


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
    buckets = (hashes % np.uint64(number)).astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    found, starts = np.unique(buckets[order], return_index=True)
    for bucket, part in zip(found, np.split(records[order], starts[1:]), strict=False):
        yield int(bucket), part.tobytes()


def split_by_unit(records: npt.NDArray[Any], values: npt.NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    r"""Values of records as bytes, by the records' field ``unit``, in their order.

    >>> records = np.array([(1,), (0,), (1,)], [("unit", "<u4")])
    >>> list(split_by_unit(records, np.array([7, 8, 9], np.uint8)))
    [(0, b'\x08'), (1, b'\x07\t')]
    """
    order = np.argsort(records["unit"], kind="stable")
    found, starts = np.unique(records["unit"][order], return_index=True)
    for unit, part in zip(found, np.split(values[order], starts[1:]), strict=False):
        yield int(unit), part.tobytes()
