"""Texts that are nearly the same, over all inputs: the pairs of one of them are kept.

In: tables of `EXTRACTED` and the rows that lost before. Out: the rows whose text is nearly another one's. A text is the
set of its five-character runs; MinHash signatures are cut into bands, and of texts that agree in a whole band the one
with the smallest key stays. Equal texts stay or lose together. A group of tables sends one text for each band's value,
so common texts crowd no bucket: 20 bytes a band and distinct text, nine bands at 0.8.
Source: Broder 1997 (MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets 3.4 (banding).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from datasketch import MinHash, MinHashLSH

from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.table_groups import Rows, TableGroup
from pipeline.base.tables import read_table
from pipeline.extraction.filters import normalized_texts
from pipeline.extraction.losers import (
    Extracted,
    Losers,
    LosingRule,
    Records,
    array_beside,
    extracted_tables,
    starts_group,
    surviving_rows,
)

NUM_PERMUTATIONS: Final = 128

_GRAM_CHARS: Final = 5
_BATCH_TEXTS: Final = 4096
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads products over all bits

Words = npt.NDArray[np.uint64]


def sign_texts(table: Extracted, output: str, *, threshold: float, losers: Sequence[Losers]) -> Counts:
    """Writes the band values of every distinct text of a table: [texts, 1 + bands] uint64, a text's key and its values.

    Args:
        table: The table.
        output: A ``.npy``.
        threshold: Share of runs that two texts have in common from which on they count as the same.
        losers: The rows that lost before.
    """
    rows = surviving_rows(table, losers)
    left = read_table(table.path, ["text", "text_key"]).take(rows)
    keys, places = np.unique(left["text_key"].to_numpy(), return_index=True)
    texts = normalized_texts(left["text"].take(places)).to_pylist()
    parts = [
        band_values(texts[first : first + _BATCH_TEXTS], threshold)
        for first in range(0, max(1, len(texts)), _BATCH_TEXTS)
    ]
    write_array(output, np.column_stack([keys, np.concatenate(parts)]))
    return {}


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(LosingRule):
    """All but the smallest text of a band's value lose, as `sign_texts` wrote them; see `LosingRule`.

    Attributes:
        threshold: That of `sign_texts`.
        signatures: Folder of what it wrote, one file a table.
        losers: The rows that lost before.
    """

    dtype: ClassVar[np.dtype[Any]] = np.dtype([("value", "u8"), ("text_key", "u8"), ("unit", "u4")])
    key = "value"

    threshold: float
    signatures: str
    losers: tuple[Losers, ...]

    @property
    def records_a_row(self) -> int:
        """The bands."""
        return int(_bands(self.threshold).b)

    def records(self, group: TableGroup[str], place: int) -> Records:
        """Every band's value of the texts of a table; what is told of a text concerns its whole group."""
        signed: Words = read_array(array_beside(group.tables[place], folder=self.signatures))
        records = np.empty(signed[:, 1:].size, self.dtype)
        records["value"] = signed[:, 1:].ravel()
        records["text_key"] = np.repeat(signed[:, 0], signed.shape[1] - 1)
        records["unit"] = group.unit(0)
        return records

    def split(self, records: Records) -> tuple[Records, Records]:
        """The records of the smallest text of every band's value, and the others, no text of a group twice in them."""
        ordered = records[np.lexsort((records["unit"], records["text_key"], records["value"]))]
        starts = starts_group(ordered["value"])
        again = ~(starts | starts_group(ordered["text_key"]) | starts_group(ordered["unit"]))
        ordered, starts = ordered[~again], starts[~again]
        smallest = ordered["text_key"][np.maximum.accumulate(np.where(starts, np.arange(len(ordered)), 0))]
        is_first = ordered["text_key"] == smallest
        return ordered[is_first], ordered[~is_first]

    def found(self, losers: Records) -> Words:
        """The texts."""
        return np.ascontiguousarray(losers["text_key"])

    def rows(self, group: TableGroup[str], found: bytes) -> list[Rows]:
        """The rows of the texts that lose."""
        losing = np.unique(np.frombuffer(found, np.uint64))
        return [self._rows(table, losing) for table in extracted_tables(group)]

    def _rows(self, table: Extracted, losing: Words) -> Rows:
        rows = surviving_rows(table, self.losers)
        keys = read_table(table.path, ["text_key"])["text_key"].to_numpy()[rows]
        return rows[np.isin(keys, losing)].astype(np.uint32)


def band_values(texts: Sequence[str], threshold: float) -> Words:
    """The values of the bands of texts, [texts, bands]; texts that are nearly the same agree in one of them.

    Args:
        texts: Normalised.
        threshold: See `sign_texts`; it decides the number of bands.
    """
    bands = _bands(threshold)
    signatures = MinHash.bulk([_grams(text) for text in texts], num_perm=NUM_PERMUTATIONS)
    hashes = np.array([signature.hashvalues for signature in signatures], np.uint64)
    hashes = hashes.reshape(len(texts), NUM_PERMUTATIONS)[:, : bands.b * bands.r].reshape(len(texts), bands.b, bands.r)
    values = np.broadcast_to(np.arange(1, bands.b + 1, dtype=np.uint64), hashes.shape[:2])
    for position in range(bands.r):
        values = (values ^ hashes[:, :, position]) * _MULTIPLIER
        values ^= values >> np.uint64(29)
    return values


def _bands(threshold: float) -> MinHashLSH:
    """Cuts a signature into bands (`b`) of rows (`r`)."""
    return MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS)


def _grams(text: str) -> list[bytes]:
    """The distinct runs of a text, in a fixed order."""
    runs = {text[start : start + _GRAM_CHARS] for start in range(max(1, len(text) - _GRAM_CHARS + 1))}
    return [run.encode() for run in sorted(runs)]
