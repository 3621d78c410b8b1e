"""List columns as flat arrays, and arrays as files ``.npy``."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.tables import read_batches

Ints = npt.NDArray[np.int64]


def flatten_lists(lists: pa.ListArray) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The row and the value of every element of a list column, in order.

    >>> [array.tolist() for array in flatten_lists(pa.array([[7, 8], [], [9]], pa.list_(pa.int32())))]
    [[0, 0, 2], [7, 8, 9]]
    """
    lengths = lists.value_lengths().to_numpy()
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten().to_numpy()


def list_column(lengths: Ints, values: npt.NDArray[np.int32]) -> pa.ListArray:
    """A list column from the length of every list and all their elements, one list after another.

    >>> list_column(np.array([2, 0, 1]), np.array([7, 8, 9], np.int32)).to_pylist()
    [[7, 8], [], [9]]
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets).cast(pa.int32()), pa.array(values))


def write_array(path: str, array: npt.NDArray[Any]) -> None:
    """Writes an array as ``.npy``, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    files.write_bytes_whole(path, buffer.getvalue())


def read_array(path: str) -> npt.NDArray[Any]:
    """Maps an array into memory, which processes on a machine then share; it cannot be written to."""
    return np.asarray(np.load(files.local_path(path), mmap_mode="r"))


def load_array(path: str) -> npt.NDArray[Any]:
    """Reads an array into the memory of this process, which may change it."""
    return np.asarray(np.load(io.BytesIO(files.read_bytes(path))))


def read_lists(path: str, *, column: str) -> Iterator[pa.ListArray]:
    """The list column of a Parquet file, batch by batch."""
    for batch in read_batches(path, [column]):
        yield batch[column]


def count_elements(lists: Iterable[pa.ListArray], size: int) -> Ints:
    """How often each number below a size is in some lists: [size].

    >>> count_elements([pa.array([[0, 2], [2]], pa.list_(pa.int32()))], 4).tolist()
    [1, 0, 2, 0]
    """
    counts = np.zeros(size, np.int64)
    for part in lists:
        np.add.at(counts, part.flatten().to_numpy(), 1)
    return counts


def join_sorted(wanted: npt.NDArray[Any], known: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Places of equal values: in `wanted`, and in `known`.

    Args:
        wanted: [rows].
        known: [values], sorted.

    >>> [places.tolist() for places in join_sorted(np.array([5, 7, 4]), np.array([4, 5, 5, 6]))]
    [[0, 0, 2], [1, 2, 0]]
    """
    lefts = np.searchsorted(known, wanted, "left")
    numbers = np.searchsorted(known, wanted, "right") - lefts
    rows = np.repeat(np.arange(len(wanted)), numbers)
    starts = np.cumsum(numbers) - numbers
    return rows, np.repeat(lefts - starts, numbers) + np.arange(len(rows))
