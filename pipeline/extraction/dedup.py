"""Exact duplicates over all inputs: of pairs with the same URL and the same normalised text one is kept.

In: tables of `EXTRACTED`. Out: the losing rows. Of equal pairs the one with the smallest preference stays, then the one
in the table first by name, then the first row. What is shuffled is 32 bytes a pair, one of equal pairs of a group of
tables.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.table_groups import TableGroup
from pipeline.base.tables import read_table
from pipeline.extraction.losers import LosingRule, Records, starts_group


@dataclass(frozen=True, kw_only=True)
class Duplicates(LosingRule):
    """All but the preferred one of equal pairs lose; see `LosingRule`."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype(
        [("high", "u8"), ("low", "u8"), ("preference", "u8"), ("unit", "u4"), ("row", "u4")]
    )
    key = "high"

    def records(self, group: TableGroup[str], place: int) -> Records:
        """All rows of a table."""
        rows = read_table(group.tables[place], ["same_id", "preference"])
        records = np.empty(rows.num_rows, self.dtype)
        records["high"], records["low"] = id_words(rows["same_id"]).T
        records["preference"] = rows["preference"].to_numpy()
        records["unit"] = group.unit(place)
        records["row"] = np.arange(rows.num_rows)
        return records

    def split(self, records: Records) -> tuple[Records, Records]:
        """The preferred pairs, and the others."""
        names = ("row", "unit", "preference", "low", "high")
        ordered = records[np.lexsort([records[name] for name in names])]
        stays = starts_group(ordered["high"]) | starts_group(ordered["low"])
        return ordered[stays], ordered[~stays]
