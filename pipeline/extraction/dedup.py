"""Exact duplicates over all inputs: of pairs with the same URL and the same normalised text one is kept.

In: tables of `EXTRACTED`. Out: the losing rows. Of equal pairs the one with the smallest preference stays, then the one
in the table first by name, then the first row. What is shuffled is 32 bytes a pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.tables import read_table
from pipeline.extraction.losers import LosingRule, Rows, num_buckets, split_by_bucket, split_by_table

_RECORD = np.dtype([("same_id", "u8", 2), ("preference", "u8"), ("table", "u4"), ("row", "u4")])


@dataclass(frozen=True, kw_only=True)
class Duplicates(LosingRule):
    """See `LosingRule`.

    Attributes:
        num_tables: How many tables there are.
    """

    num_tables: int

    def pack(self, index: int, path: str) -> Iterator[tuple[int, bytes]]:
        """All rows of a table, by bucket of their identity."""
        rows = read_table(path, ["same_id", "preference"])
        records = np.empty(rows.num_rows, _RECORD)
        records["same_id"] = id_words(rows["same_id"])
        records["preference"] = rows["preference"].to_numpy()
        records["table"] = index
        records["row"] = np.arange(rows.num_rows)
        yield from split_by_bucket(records, records["same_id"][:, 0], num_buckets(self.num_tables))

    def find(self, packed: bytes) -> Iterator[tuple[int, bytes]]:
        """All but the preferred one of equal pairs."""
        yield from split_by_table(find_losers(np.frombuffer(packed, _RECORD)), "row")

    def rows(self, path: str, losers: bytes) -> Rows:
        """The rows, as they were packed."""
        return np.frombuffer(losers, np.uint32)


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records with the same identity, all but the preferred one.

    Args:
        records: [n] of `_RECORD`, in any order; equal pairs are not split over several calls.
    """
    high, low = records["same_id"].T
    order = np.lexsort((records["row"], records["table"], records["preference"], low, high))
    ordered = records[order]
    same = np.all(ordered["same_id"][1:] == ordered["same_id"][:-1], axis=1)
    return ordered[1:][same]
