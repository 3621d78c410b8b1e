"""Rows on their way to groups: as few messages as can be, each of many rows.

In: the rows of some tables, a *source*, and the number of the group that each row goes to. Out: for every group that
any of about `ROWS_AT_ONCE` rows go to a message (`pipeline.base.row_messages`). Rows go to groups of many units, and
small tables are read together. Messages travel through files (`pipeline.fetching.routed_files`), or are shuffled.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.base.arrays import Ints
from pipeline.base.ids import Words, id_words
from pipeline.base.row_messages import pack_rows

ROWS_AT_ONCE: Final = 1 << 18  # of a source, held and routed together: about 100 MB of pairs
_MOST_TABLES: Final = 64  # of a source of so many rows
_MOST_SOURCES: Final = 1024  # each group of units asks each for its rows; more tables are larger sources


def join_tables(tables: Sequence[str], *, num_rows: int) -> list[tuple[str, ...]]:
    """Sources of about `ROWS_AT_ONCE` rows, of neighbouring tables; of more rows where there would be too many sources.

    Args:
        tables: Their paths.
        num_rows: Of all of them, about.

    >>> join_tables(["a", "b", "c"], num_rows=300_000)
    [('a', 'b'), ('c',)]
    """
    number = min(max(ROWS_AT_ONCE * len(tables) // max(num_rows, 1), 1), _MOST_TABLES)
    number = max(number, -(-len(tables) // _MOST_SOURCES))
    return [tuple(tables[start : start + number]) for start in range(0, len(tables), number)]


def gather_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in parts of `ROWS_AT_ONCE`, or a little more."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(part.num_rows for part in held) >= ROWS_AT_ONCE:
            yield pa.Table.from_batches(held, schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema)


def split_rows(rows: pa.Table, groups: Ints) -> Iterator[tuple[int, bytes]]:
    """A message for every group that some rows go to.

    Args:
        rows: Within a group in the order that packs best, equal things side by side.
        groups: [rows] number of the group of each.
    """
    if (groups[1:] < groups[:-1]).any():
        order = np.argsort(groups, kind="stable")
        rows, groups = rows.take(pa.array(order)), groups[order]
    found, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
    for group, start, size in zip(found, starts, sizes, strict=True):
        yield int(group), pack_rows(rows.slice(start, size))


def hash_buckets(hashes: Words, number: int) -> Ints:
    """Which of some buckets each hash of 128 bits falls into: [rows]."""
    return (hashes[:, 0] % np.uint64(number)).astype(np.int64)


def first_rows(rows: pa.Table, column: str) -> pa.Table:
    """Of rows that are sorted by an id the first of each."""
    words = id_words(rows[column])
    is_first = np.ones(len(words), bool)
    is_first[1:] = (words[1:] != words[:-1]).any(axis=1)
    return rows.filter(pa.array(is_first))
