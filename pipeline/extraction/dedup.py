"""Exact duplicates over all inputs: of pairs with the same URL and the same normalised text one is kept.

In: tables of `EXTRACTED`. Out: the losing rows. Of equal pairs the one with the smallest preference stays, then the one
in the table first by name, then the first row. What is shuffled is 32 bytes a pair.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.packed import num_buckets, split_by_bucket, split_by_unit
from pipeline.base.tables import read_table
from pipeline.extraction.losers import LosingRule

_RECORD = np.dtype([("same_id", "u8", 2), ("preference", "u8"), ("unit", "u4"), ("row", "u4")])


@dataclass(frozen=True, kw_only=True)
class Duplicates(LosingRule):
    """See `LosingRule`."""

    def pack(self, source: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
        """All rows of a table, by bucket of their identity."""
        number, path = source
        rows = read_table(path, ["same_id", "preference"])
        records = np.empty(rows.num_rows, _RECORD)
        records["same_id"] = id_words(rows["same_id"])
        records["preference"] = rows["preference"].to_numpy()
        records["unit"] = number
        records["row"] = np.arange(rows.num_rows)
        yield from split_by_bucket(records, records["same_id"][:, 0], num_buckets(self.num_tables))

    def find(self, parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """All but the preferred one of equal pairs."""
        losers = find_losers(np.frombuffer(b"".join(parts), _RECORD))
        yield from split_by_unit(losers, losers["row"])


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records with the same identity, all but the preferred one.

    Args:
        records: [n] of `_RECORD`, in any order; equal pairs are not split over several calls.
    """
    high, low = records["same_id"].T
    order = np.lexsort((records["row"], records["unit"], records["preference"], low, high))
    ordered = records[order]
    same = np.all(ordered["same_id"][1:] == ordered["same_id"][:-1], axis=1)
    return ordered[1:][same]
