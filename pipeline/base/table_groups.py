"""Groups of tables, the unit of what is compared over all tables; and the rows of a group's tables that were found.

In: tables with names, and how many rows each has. Out: groups of neighbours by name: of few tables each is its own
group; of many, a group is read by one worker, so that what is shuffled grows with groups and not with tables. What is
found is written a group, as lists of rows that are read a table: results do not depend on how tables are grouped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.base import files
from pipeline.base.packed import split_by_number

_MOST_ROWS: Final = 1 << 20  # of a group, unless it is one table: they are sorted in memory
_MOST_TABLES: Final = 32
_PLENTY: Final = 256  # groups: as many as that keep all workers busy
_TABLE_BITS: Final = np.uint32(5)  # of a record's unit: the table's place in its group
_ROW_BITS: Final = np.uint64(32)
_WORD: Final = np.dtype("<u4")
_PLACE: Final = np.dtype("<u8")

Rows = npt.NDArray[np.uint32]
T = TypeVar("T")


class TableGroup(NamedTuple, Generic[T]):
    """Tables that are read by one worker.

    Attributes:
        number: Of the group, from 0.
        name: Unlike that of any other group.
        tables: In the order of their names.
    """

    number: int
    name: str
    tables: tuple[T, ...]

    def unit(self, place: int) -> int:
        """What stands for one of the tables in a record's field ``unit``: ordered as the tables' names are."""
        return (self.number << int(_TABLE_BITS)) | place


def group_tables(tables: Sequence[T], num_rows: Sequence[int], *, name_of: Callable[[T], str]) -> list[TableGroup[T]]:
    """Tables in groups, which follow from names and numbers of rows alone.

    Args:
        tables: In any order.
        num_rows: Of each.
        name_of: Gives the name of a table, without folder or suffix; no two have the same.
    """
    named = sorted((name_of(table), place) for place, table in enumerate(tables))
    ends = [0, *_group_ends([num_rows[place] for _, place in named])]
    return [
        TableGroup(number, f"{named[first][0]}-{end - first}", tuple(tables[place] for _, place in named[first:end]))
        for number, (first, end) in enumerate(pairwise(ends))
    ]


def count_groups(num_tables: int, num_rows: int) -> int:
    """How many groups tables of equal sizes are.

    Args:
        num_tables: Of them.
        num_rows: Of all together.

    >>> count_groups(200, 50_000_000), count_groups(90_000, 90_000 * 28_000)
    (200, 2813)
    """
    return len(_group_ends([num_rows // max(1, num_tables)] * num_tables))


def split_by_group(records: npt.NDArray[Any], values: npt.NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    """Values of records as bytes, by the group of the records' field ``unit``."""
    return split_by_number(values, records["unit"] >> _TABLE_BITS)


def places_of(records: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Table in its group, and row, of records with the fields ``unit`` and ``row``: [records]."""
    tables = (records["unit"] & np.uint32(_MOST_TABLES - 1)).astype(_PLACE)
    return (tables << _ROW_BITS) | records["row"].astype(_PLACE)


def rows_by_table(places: bytes, num_tables: int) -> list[Rows]:
    """The rows of each table of a group, sorted, each once.

    Args:
        places: Of `places_of`, as bytes, in any order.
        num_tables: Of the group.
    """
    found = np.unique(np.frombuffer(places, _PLACE))
    starts = np.searchsorted(found, np.arange(num_tables + 1, dtype=_PLACE) << _ROW_BITS)
    return [found[start:end].astype(_WORD) for start, end in pairwise(starts)]


def write_row_lists(path: str, lists: Sequence[Rows]) -> None:
    """Writes the rows of each table of a group to one file, of which `read_rows` reads what it needs.

    Numbers of four bytes, little endian: where in the file each list begins, where the last one ends, all lists.
    """
    begins = np.cumsum([len(lists) + 1, *map(len, lists)]).astype(_WORD)
    files.write_bytes_whole(path, b"".join(part.astype(_WORD).tobytes() for part in [begins, *lists]))


def read_rows(path: str, place: int) -> Rows:
    """The rows of one table, sorted.

    Args:
        path: What `write_row_lists` wrote.
        place: Of the table in its group.
    """
    size = _WORD.itemsize
    begin, end = np.frombuffer(files.read_range(path, place * size, 2 * size), _WORD).tolist()
    return np.frombuffer(files.read_range(path, begin * size, (end - begin) * size), _WORD)


def _group_ends(num_rows: Iterable[int]) -> list[int]:
    """Where groups end, of tables with so many rows each, in order."""
    numbers = list(num_rows)
    most_tables = min(_MOST_TABLES, max(1, len(numbers) // _PLENTY))
    ends: list[int] = []
    first = rows = 0
    for place, number in enumerate(numbers):
        if place > first and (place - first == most_tables or rows + number > _MOST_ROWS):
            ends.append(place)
            first, rows = place, 0
        rows += number
    return [*ends, len(numbers)] if numbers else []
