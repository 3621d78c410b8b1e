"""A cap on pairs of the same text over all inputs: furniture like "Avatar" or "Logo" stands beside millions of images.

In: tables of `EXTRACTED` and the rows that lost before. Out: the rows over the cap. Of a text's pairs those with the
smallest hash of (URL, text) stay, whatever file they are in. A table sends at most the cap of each text, 24 bytes a
pair.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.base.ids import id_words
from pipeline.base.packed import num_buckets, split_by_bucket, split_by_unit, straight_to
from pipeline.base.tables import read_table
from pipeline.extraction.losers import Losers, LosingRule, rank_in_groups, surviving_rows

_RECORD = np.dtype([("text_key", "u8"), ("order", "u8"), ("unit", "u4"), ("row", "u4")])


@dataclass(frozen=True, kw_only=True)
class RepeatedTexts(LosingRule):
    """See `LosingRule`.

    Attributes:
        max_repeats: Pairs of one text that stay.
        losers: The rows that lost before.
    """

    max_repeats: int
    losers: tuple[Losers, ...]

    def pack(self, source: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
        """The first pairs of every text of a table."""
        number, path = source
        rows = surviving_rows(path, self.losers)
        table = read_table(path, ["same_id", "text_key"]).take(rows)
        records = np.empty(len(rows), _RECORD)
        records["text_key"] = table["text_key"].to_numpy()
        records["order"] = id_words(table["same_id"])[:, 1]
        records["unit"] = number
        records["row"] = rows
        first, rest = self._split(records)
        yield straight_to(number), rest["row"].tobytes()
        yield from split_by_bucket(first, first["text_key"], num_buckets(self.num_tables))

    def find(self, parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The pairs over the cap."""
        _, over = self._split(np.frombuffer(b"".join(parts), _RECORD))
        yield from split_by_unit(over, over["row"])

    def _split(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first `max_repeats` records of every text, and the others."""
        order = np.lexsort((records["row"], records["unit"], records["order"], records["text_key"]))
        records = records[order]
        is_first = rank_in_groups(records["text_key"]) < self.max_repeats
        return records[is_first], records[~is_first]
