"""A cap on pairs of the same text over all inputs: furniture like "Avatar" or "Logo" stands beside millions of images.

In: tables of `EXTRACTED` and the rows that lost before. Out: the rows over the cap. Of a text's pairs those with the
smallest hash of (URL, text) stay, whatever file they are in. A table sends at most the cap of each text, 24 bytes a
pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.tables import read_table
from pipeline.extraction.losers import (
    LosingRule,
    Rows,
    num_buckets,
    own_bucket,
    rank_in_groups,
    split_by_bucket,
    split_by_table,
    surviving_rows,
)

_RECORD = np.dtype([("text_key", "u8"), ("order", "u8"), ("table", "u4"), ("row", "u4")])


@dataclass(frozen=True, kw_only=True)
class RepeatedTexts(LosingRule):
    """See `LosingRule`.

    Attributes:
        max_repeats: Pairs of one text that stay.
        num_tables: How many tables there are.
        losers: Folders of the rows that lost before.
    """

    max_repeats: int
    num_tables: int
    losers: tuple[str, ...]

    def pack(self, index: int, path: str) -> Iterator[tuple[int, bytes]]:
        """The first pairs of every text of a table."""
        rows = surviving_rows(path, self.losers)
        table = read_table(path, ["same_id", "text_key"]).take(rows)
        records = np.empty(len(rows), _RECORD)
        records["text_key"] = table["text_key"].to_numpy()
        records["order"] = id_words(table["same_id"])[:, 1]
        records["table"] = index
        records["row"] = rows
        first, rest = self._split(records)
        yield own_bucket(index), rest["row"].tobytes()
        yield from split_by_bucket(first, first["text_key"], num_buckets(self.num_tables))

    def find(self, packed: bytes) -> Iterator[tuple[int, bytes]]:
        """The pairs over the cap."""
        yield from split_by_table(self._split(np.frombuffer(packed, _RECORD))[1], "row")

    def rows(self, path: str, losers: bytes) -> Rows:
        """The rows, as they were packed."""
        return np.frombuffer(losers, np.uint32)

    def _split(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first `max_repeats` records of every text, and the others."""
        order = np.lexsort((records["row"], records["table"], records["order"], records["text_key"]))
        records = records[order]
        is_first = rank_in_groups(records["text_key"]) < self.max_repeats
        return records[is_first], records[~is_first]
