"""A cap on pairs of the same text over all inputs: furniture like "Avatar" or "Logo" stands beside millions of images.

In: tables of `EXTRACTED` and the rows that lost before. Out: the rows over the cap. Of a text's pairs those with the
smallest hash of (URL, text) stay, whatever file they are in. A group of tables sends at most the cap of each text, 24
bytes a pair.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.table_groups import TableGroup
from pipeline.base.tables import read_table
from pipeline.extraction.losers import Losers, LosingRule, Records, extracted_tables, rank_in_groups, surviving_rows


@dataclass(frozen=True, kw_only=True)
class RepeatedTexts(LosingRule):
    """All but the first pairs of a text lose; see `LosingRule`.

    Attributes:
        max_repeats: Pairs of one text that stay.
        losers: The rows that lost before.
    """

    dtype: ClassVar[np.dtype[Any]] = np.dtype([("text_key", "u8"), ("order", "u8"), ("unit", "u4"), ("row", "u4")])
    key = "text_key"

    max_repeats: int
    losers: tuple[Losers, ...]

    def records(self, group: TableGroup[str], place: int) -> Records:
        """The rows of a table that are left."""
        rows = surviving_rows(extracted_tables(group)[place], self.losers)
        table = read_table(group.tables[place], ["same_id", "text_key"]).take(rows)
        records = np.empty(len(rows), self.dtype)
        records["text_key"] = table["text_key"].to_numpy()
        records["order"] = id_words(table["same_id"])[:, 1]
        records["unit"] = group.unit(place)
        records["row"] = rows
        return records

    def split(self, records: Records) -> tuple[Records, Records]:
        """The first `max_repeats` pairs of every text, and the others."""
        order = np.lexsort((records["row"], records["unit"], records["order"], records["text_key"]))
        records = records[order]
        is_first = rank_in_groups(records["text_key"]) < self.max_repeats
        return records[is_first], records[~is_first]
