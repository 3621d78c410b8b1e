"""Which rows of which tables are left out because of rows elsewhere in the whole input.

In: tables of `EXTRACTED`, one an input unit, in groups (`pipeline.base.table_groups`), and a rule that compares rows.
Out: for each group a list of the rows that lose. Rows travel as packed records (`pipeline.base.packed`), never with
their text, and of rows that one group can tell apart only those that stay travel at all.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import table_name
from pipeline.base.packed import Hop, estimate_hops, num_buckets, split_by_bucket, straight_to
from pipeline.base.schemas import PAIR_ID, PAIRS
from pipeline.base.table_groups import (
    Rows,
    TableGroup,
    count_groups,
    places_of,
    read_rows,
    rows_by_table,
    split_by_group,
    write_row_lists,
)
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

Records = npt.NDArray[Any]  # [records] of a rule's `dtype`

_FOUND_BYTES = 8  # of a row that loses


class Extracted(NamedTuple):
    """A table of `EXTRACTED`, and where its losing rows are listed.

    Attributes:
        path: Of the table.
        group: Name of its group.
        place: In the group.
    """

    path: str
    group: str
    place: int


def extracted_tables(group: TableGroup[str]) -> list[Extracted]:
    """The tables of a group of paths."""
    return [Extracted(path, group.name, place) for place, path in enumerate(group.tables)]


class Losers(NamedTuple):
    """Rows that are left out.

    Attributes:
        reason: Why.
        folder: Where a file a group lists them.
    """

    reason: DropReason
    folder: str

    def path(self, group: str) -> str:
        """The file that lists the losing rows of a group, by its name."""
        return files.join(self.folder, f"{group}.rows")

    def rows(self, table: Extracted) -> Rows:
        """The losing rows of a table, sorted."""
        return read_rows(self.path(table.group), table.place)


@dataclass(frozen=True, kw_only=True)
class LosingRule(ABC):
    """What makes a row lose against another one; methods are called on workers.

    Attributes:
        num_rows: Rows of all tables, about; they decide the number of buckets, and no result.
    """

    dtype: ClassVar[np.dtype[Any]]  # of records: what is compared, and ``unit`` (`TableGroup.unit`)
    key: ClassVar[str]  # the field by which records meet

    num_rows: int

    @property
    def records_a_row(self) -> int:
        """The most records that a row becomes."""
        return 1

    @property
    def payload(self) -> int:
        """Bytes of all records, at most."""
        return self.num_rows * self.records_a_row * self.dtype.itemsize

    @abstractmethod
    def records(self, group: TableGroup[str], place: int) -> Records:
        """What is compared of a table of a group."""

    @abstractmethod
    def split(self, records: Records) -> tuple[Records, Records]:
        """The records that stay, and those that lose against one of these; the order they come in does not matter."""

    def found(self, losers: Records) -> npt.NDArray[np.uint64]:
        """What a group is told of its records that lose, [records]; here: which rows they are."""
        return places_of(losers)

    def rows(self, group: TableGroup[str], found: bytes) -> list[Rows]:
        """The rows of each table that all that a group was told means."""
        return rows_by_table(found, len(group.tables))

    def pack(self, group: TableGroup[str]) -> Iterator[tuple[int, bytes]]:
        """What is compared of a group, by bucket; what loses inside it goes straight to it."""
        kept, losers = self.split(np.concatenate([self.records(group, place) for place in range(len(group.tables))]))
        if len(losers):
            yield straight_to(group.number), np.unique(self.found(losers)).tobytes()
        yield from split_by_bucket(kept, kept[self.key], num_buckets(self.payload))

    def find(self, parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """What groups are told of the records that went to one bucket."""
        _, losers = self.split(np.frombuffer(b"".join(parts), self.dtype))
        return split_by_group(losers, self.found(losers))

    def hops(self, num_tables: int) -> tuple[Hop, Hop]:
        """The most that is shuffled of tables of equal sizes: to the buckets, and from there to groups."""
        found = self.num_rows * self.records_a_row * _FOUND_BYTES
        num_groups = count_groups(num_tables, self.num_rows)
        return estimate_hops(num_sources=num_groups, payload=self.payload, found=found)


def write_losers(group: TableGroup[str], output: str, found: Iterable[bytes], *, rule: LosingRule) -> Counts:
    """Writes the rows of a group that a rule found to lose."""
    write_row_lists(output, rule.rows(group, b"".join(found)))
    return {}


def surviving_rows(table: Extracted, losers: Sequence[Losers]) -> npt.NDArray[np.int64]:
    """The rows of a table that have not lost."""
    kept = np.ones(count_rows(table.path), np.bool_)
    for lost in losers:
        kept[lost.rows(table)] = False
    return np.flatnonzero(kept)


def starts_group(groups: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which elements of a sorted array differ from the one before.

    >>> starts_group(np.array([4, 4, 7])).tolist()
    [True, False, True]
    """
    starts = np.ones(len(groups), np.bool_)
    starts[1:] = groups[1:] != groups[:-1]
    return starts


def rank_in_groups(groups: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many equal elements stand before each element of a sorted array.

    >>> rank_in_groups(np.array([4, 4, 7, 4 + 4, 8, 8], np.uint64)).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    places = np.arange(len(groups))
    return places - np.maximum.accumulate(np.where(starts_group(groups), places, 0))


def array_beside(table: str, *, folder: str) -> str:
    """The array in a folder that belongs to a table.

    >>> array_beside("out/_extracted/list.csv-ab.parquet", folder="out/_signatures")
    'out/_signatures/list.csv-ab.npy'
    """
    return files.join(folder, f"{table_name(table)}.npy")
