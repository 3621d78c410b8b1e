"""Columns of query ids as flat arrays, and the count of every query in them: what match-pairs and balance-pairs share.

In: tables with a list column of query ids. Out: a file ``.npy``, [num_queries] int64.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import CountUnits, UnitReport, report_unit
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


@dataclass(kw_only=True, eq=False)
class CountQueries(beam.PTransform):
    """Writes for every query in how many rows of some tables it is listed.

    Attributes:
        stage_name: Namespace of the counts.
        tables: What `read` is called with.
        read: Gives the lists of query ids of one table, part by part.
        num_queries: Length of the array to write.
        output: Where it goes.
    """

    stage_name: str
    tables: Sequence[Any]
    read: Callable[[Any], Iterable[pa.ListArray]]
    num_queries: int
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Tables" >> beam.Create(list(self.tables))
            | "CountTable" >> beam.Map(self._count_table).with_output_types(np.ndarray)
            | "SumCounts" >> beam.CombineGlobally(_SumCounts(self.num_queries))
            | "WriteCounts" >> beam.Map(_write_counts, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )

    def _count_table(self, table: Any) -> Ints:
        counts = np.zeros(self.num_queries, np.int64)
        for lists in self.read(table):
            np.add.at(counts, lists.flatten().to_numpy(), 1)
        return counts


def read_lists(path: str, *, column: str) -> Iterator[pa.ListArray]:
    """The list column of a Parquet file, batch by batch."""
    for batch in read_batches(path, [column]):
        yield batch[column]


class _SumCounts(beam.CombineFn):
    def __init__(self, num_queries: int) -> None:
        self._num_queries = num_queries

    def create_accumulator(self) -> Ints:
        return np.zeros(self._num_queries, np.int64)

    def add_input(self, accumulator: Ints, counts: Ints) -> Ints:
        accumulator += counts
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Ints]) -> Ints:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: Ints) -> Ints:
        return accumulator


def _write_counts(counts: Ints, output: str) -> UnitReport:
    write_array(output, counts)
    return report_unit(files.basename(output), {})
