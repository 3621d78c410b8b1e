"""Which rows of which tables are left out because of rows elsewhere in the whole input.

In: tables of `EXTRACTED`, one an input unit, and a rule that compares rows. Out: for each table a list of the rows that
lose. Rows travel as packed numpy records, by bucket of a hash: a few bytes a row, never its text. What decides is the
content of rows, then their table and place, never the order of arrival.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import UnitReport, report_unit
from pipeline.base.schemas import PAIR_ID, PAIRS
from pipeline.base.tables import count_rows

EXTRACTED = pa.schema(
    [
        *PAIRS,
        pa.field("same_id", PAIR_ID, nullable=False),  # blake2b-128 of (canonical image URL, NUL, normalised text)
        pa.field("text_key", pa.uint64(), nullable=False),  # blake2b-64 of the normalised text
        # Smaller is preferred: rank of the text source in the high byte, a hash of page and table below.
        pa.field("preference", pa.uint64(), nullable=False),
    ]
)

Rows = npt.NDArray[np.uint32]


class LosingRule(ABC):
    """What makes a row lose against another one; methods are called on workers."""

    @abstractmethod
    def pack(self, index: int, path: str) -> Iterator[tuple[int, bytes]]:
        """What is compared of table `index`, by bucket; what loses inside the table goes to `own_bucket(index)`."""

    @abstractmethod
    def find(self, packed: bytes) -> Iterator[tuple[int, bytes]]:
        """The losers among all that went to one bucket, table by table."""

    @abstractmethod
    def rows(self, path: str, losers: bytes) -> Rows:
        """The rows of a table that all its losers, joined, mean."""


@dataclass(kw_only=True, eq=False)
class FindLosers(beam.PTransform):
    """Writes the losing rows of every table, also where there are none.

    Attributes:
        tables: Paths of `EXTRACTED` tables, sorted by name.
        rule: What is compared.
        output: Folder for one ``NAME.npy`` a table.
    """

    tables: Sequence[str]
    rule: LosingRule
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        tables = list(enumerate(self.tables))
        losers = (
            root
            | "Tables" >> beam.Create(tables).with_output_types(tuple[int, str])
            | "Pack" >> beam.FlatMapTuple(self.rule.pack).with_output_types(tuple[int, bytes])
            | "Group" >> beam.GroupByKey()
            | "Find" >> beam.FlatMap(_find_in_bucket, self.rule).with_output_types(tuple[int, bytes])
        )
        none = root | "NoLosers" >> beam.Create([(index, b"") for index, _ in tables])
        return (
            (losers, none)
            | "AllTables" >> beam.Flatten()
            | "GroupLosers" >> beam.GroupByKey()
            | "WriteLosers"
            >> beam.Map(_write_losers, self.rule, list(self.tables), self.output).with_output_types(UnitReport)
        )


def num_buckets(num_tables: int) -> int:
    """In how many buckets the rows of some tables are compared: a bucket is sorted in memory."""
    return max(64, 2 * num_tables)


def own_bucket(index: int) -> int:
    """The bucket for what loses inside table `index`, whatever the other tables hold.

    >>> own_bucket(0)
    -1
    """
    return -1 - index


def split_by_bucket(records: np.ndarray, hashes: npt.NDArray[np.uint64], number: int) -> Iterator[tuple[int, bytes]]:
    """Records as bytes, by bucket of their hashes, in their order."""
    buckets = (hashes % np.uint64(number)).astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    found, starts = np.unique(buckets[order], return_index=True)
    for bucket, part in zip(found, np.split(records[order], starts[1:]), strict=False):
        yield int(bucket), part.tobytes()


def split_by_table(records: np.ndarray, field: str) -> Iterator[tuple[int, bytes]]:
    """One field of records, by their table."""
    for table in np.unique(records["table"]):
        yield int(table), records[field][records["table"] == table].tobytes()


def rank_in_groups(groups: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many equal elements stand before each element of a sorted array.

    >>> rank_in_groups(np.array([4, 4, 7, 4 + 4, 8, 8], np.uint64)).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    places = np.arange(len(groups))
    begins = np.ones(len(groups), np.bool_)
    begins[1:] = groups[1:] != groups[:-1]
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def losers_path(folder: str, name: str) -> str:
    """Where the losing rows of a table are written."""
    return files.join(folder, f"{name}.npy")


def read_losers(folder: str, name: str) -> Rows:
    """The losing rows of a table, sorted."""
    rows: Rows = np.load(io.BytesIO(files.read_bytes(losers_path(folder, name))))
    return rows


def surviving_rows(path: str, losers: Sequence[str]) -> npt.NDArray[np.int64]:
    """The rows of a table that are in none of its lists of losers, which lie in some folders."""
    kept = np.ones(count_rows(path), np.bool_)
    for folder in losers:
        kept[read_losers(folder, table_name(path))] = False
    return np.flatnonzero(kept)


def table_name(path: str) -> str:
    """The name of a table without its suffix."""
    return files.basename(path).removesuffix(".parquet")


def _find_in_bucket(bucket: tuple[int, Iterable[bytes]], rule: LosingRule) -> Iterator[tuple[int, bytes]]:
    number, parts = bucket
    if number < 0:
        yield -1 - number, b"".join(parts)
    else:
        yield from rule.find(b"".join(parts))


def _write_losers(
    found: tuple[int, Iterable[bytes]], rule: LosingRule, tables: Sequence[str], output: str
) -> UnitReport:
    index, parts = found
    name = table_name(tables[index])
    buffer = io.BytesIO()
    np.save(buffer, np.unique(rule.rows(tables[index], b"".join(parts))).astype(np.uint32))
    files.write_bytes_whole(losers_path(output, name), buffer.getvalue())
    return report_unit(name, {})
