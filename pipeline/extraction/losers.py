"""Which rows of which tables are left out because of rows elsewhere in the whole input.

In: tables of `EXTRACTED`, one an input unit, and a rule that compares rows. Out: for each table a list of the rows that
lose. Rows travel as packed records (`pipeline.base.packed`), never with their text.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import table_name
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


class Losers(NamedTuple):
    """Rows that are left out.

    Attributes:
        reason: Why.
        folder: Where a file a table lists them.
    """

    reason: DropReason
    folder: str

    def path(self, table: str) -> str:
        """The file that lists the losing rows of a table."""
        return array_beside(table, folder=self.folder)

    def rows(self, table: str) -> Rows:
        """The losing rows of a table, sorted."""
        return read_array(self.path(table))


@dataclass(frozen=True, kw_only=True)
class LosingRule(ABC):
    """What makes a row lose against another one; methods are called on workers.

    Attributes:
        num_tables: How many tables there are.
    """

    num_tables: int

    @abstractmethod
    def pack(self, source: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
        """What is compared of a table (number, path), by bucket; what loses inside the table goes straight to it."""

    @abstractmethod
    def find(self, parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The losers among all that went to one bucket, by the number of their table."""

    def rows(self, table: str, found: bytes) -> Rows:
        """The rows of a table that all its losers, joined, mean; here: the rows, as they were packed."""
        return np.frombuffer(found, np.uint32)


def write_losers(table: str, output: str, found: Iterable[bytes], *, rule: LosingRule) -> Counts:
    """Writes the rows of a table that a rule found to lose."""
    write_array(output, np.unique(rule.rows(table, b"".join(found))).astype(np.uint32))
    return {}


def surviving_rows(table: str, losers: Sequence[Losers]) -> npt.NDArray[np.int64]:
    """The rows of a table that have not lost."""
    kept = np.ones(count_rows(table), np.bool_)
    for lost in losers:
        kept[lost.rows(table)] = False
    return np.flatnonzero(kept)


def rank_in_groups(groups: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many equal elements stand before each element of a sorted array.

    >>> rank_in_groups(np.array([4, 4, 7, 4 + 4, 8, 8], np.uint64)).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    places = np.arange(len(groups))
    begins = np.ones(len(groups), np.bool_)
    begins[1:] = groups[1:] != groups[:-1]
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def array_beside(table: str, *, folder: str) -> str:
    """The array in a folder that belongs to a table.

    >>> array_beside("out/_extracted/list.csv-ab.parquet", folder="out/_duplicates")
    'out/_duplicates/list.csv-ab.npy'
    """
    return files.join(folder, f"{table_name(table)}.npy")
