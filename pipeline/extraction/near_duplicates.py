"""Texts that are nearly the same, over all inputs: the pairs of one of them are kept.

In: tables of `EXTRACTED` and the rows that lost before. Out: the rows whose text is nearly another one's. A text is the
set of its five-character runs; MinHash signatures are cut into bands, and of texts that agree in a whole band the one
with the smallest key stays. Equal texts stay or lose together. A table sends one text for each band's value, so common
texts crowd no bucket: 20 bytes a band and distinct text, nine bands at 0.8.
Source: Broder 1997 (MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets 3.4 (banding).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from datasketch import MinHash, MinHashLSH

from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.packed import num_buckets, split_by_bucket, split_by_unit, straight_to
from pipeline.base.tables import read_table
from pipeline.extraction.filters import normalized_texts
from pipeline.extraction.losers import Losers, LosingRule, Rows, array_beside, surviving_rows

NUM_PERMUTATIONS: Final = 128

_GRAM_CHARS: Final = 5
_BATCH_TEXTS: Final = 4096
_RECORD = np.dtype([("value", "u8"), ("text_key", "u8"), ("unit", "u4")])
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads products over all bits

Words = npt.NDArray[np.uint64]


def sign_texts(path: str, output: str, *, threshold: float, losers: Sequence[Losers]) -> Counts:
    """Writes the band values of every distinct text of a table: [texts, 1 + bands] uint64, a text's key and its values.

    Args:
        path: A table of `EXTRACTED`.
        output: A ``.npy``.
        threshold: Share of runs that two texts have in common from which on they count as the same.
        losers: The rows that lost before.
    """
    rows = surviving_rows(path, losers)
    table = read_table(path, ["text", "text_key"]).take(rows)
    keys, places = np.unique(table["text_key"].to_numpy(), return_index=True)
    texts = normalized_texts(table["text"].take(places)).to_pylist()
    parts = [
        band_values(texts[first : first + _BATCH_TEXTS], threshold)
        for first in range(0, max(1, len(texts)), _BATCH_TEXTS)
    ]
    write_array(output, np.column_stack([keys, np.concatenate(parts)]))
    return {}


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(LosingRule):
    """Compares what `sign_texts` wrote; see `LosingRule`.

    Attributes:
        signatures: Folder of it, one file a table.
        losers: The rows that lost before.
    """

    signatures: str
    losers: tuple[Losers, ...]

    def pack(self, source: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
        """The smallest text of every band value in a table."""
        number, path = source
        signed: Words = read_array(array_beside(path, folder=self.signatures))
        records = np.empty(signed[:, 1:].size, _RECORD)
        records["value"] = signed[:, 1:].ravel()
        records["text_key"] = np.repeat(signed[:, 0], signed.shape[1] - 1)
        records["unit"] = number
        first, rest = _split(records)
        yield straight_to(number), np.unique(rest["text_key"]).tobytes()
        yield from split_by_bucket(first, first["value"], num_buckets(self.num_tables))

    def find(self, parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The texts that share a band value with a smaller one."""
        _, larger = _split(np.frombuffer(b"".join(parts), _RECORD))
        yield from split_by_unit(larger, larger["text_key"])

    def rows(self, table: str, found: bytes) -> Rows:
        """The rows of the texts that lose."""
        rows = surviving_rows(table, self.losers)
        keys = read_table(table, ["text_key"])["text_key"].to_numpy()[rows]
        return rows[np.isin(keys, np.frombuffer(found, np.uint64))].astype(np.uint32)


def band_values(texts: Sequence[str], threshold: float) -> Words:
    """The values of the bands of texts, [texts, bands]; texts that are nearly the same agree in one of them.

    Args:
        texts: Normalised.
        threshold: See `sign_texts`; it decides the number of bands.
    """
    bands = MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS)
    signatures = MinHash.bulk([_grams(text) for text in texts], num_perm=NUM_PERMUTATIONS)
    hashes = np.array([signature.hashvalues for signature in signatures], np.uint64)
    hashes = hashes.reshape(len(texts), NUM_PERMUTATIONS)[:, : bands.b * bands.r].reshape(len(texts), bands.b, bands.r)
    values = np.broadcast_to(np.arange(1, bands.b + 1, dtype=np.uint64), hashes.shape[:2])
    for position in range(bands.r):
        values = (values ^ hashes[:, :, position]) * _MULTIPLIER
        values ^= values >> np.uint64(29)
    return values


def _split(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The records of the smallest text of every band value, and the others; a text is not listed twice among these."""
    records = np.unique(records[["value", "text_key", "unit"]])
    begins = np.ones(len(records), np.bool_)
    begins[1:] = records["value"][1:] != records["value"][:-1]
    smallest = records["text_key"][np.maximum.accumulate(np.where(begins, np.arange(len(records)), 0))]
    is_first = records["text_key"] == smallest
    return records[is_first], records[~is_first]


def _grams(text: str) -> list[bytes]:
    """The distinct runs of a text, in a fixed order."""
    runs = {text[start : start + _GRAM_CHARS] for start in range(max(1, len(text) - _GRAM_CHARS + 1))}
    return [run.encode() for run in sorted(runs)]
