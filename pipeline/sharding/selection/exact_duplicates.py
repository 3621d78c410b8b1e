"""Samples with the same image bytes: of each the one with the smallest key stays. A rule of selection.

What travels are records of 40 bytes: an id that duplicates share, the key, and the row.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.sharding.selection.verdicts import read_candidates
from pipeline.sharding.stored_samples import RawGroup

# Of samples with the same image bytes keep one a text, one at all, or all.
Duplicates = Literal["pair", "image", "keep"]

_RECORD = np.dtype([("duplicate_id", ">u8", 2), ("key", ">u8", 2), ("unit", "i4"), ("row", "i4")])


def duplicate_ids(table: pa.Table, *, by_text: bool) -> pa.Array:
    """An id that duplicates share: of the image bytes, and of the text too if `by_text`."""
    digests = table["sha256"].to_pylist()
    texts = table["text"].to_pylist() if by_text else [""] * len(digests)
    ids = [
        hashlib.blake2b(digest + text.encode(), digest_size=16).digest()
        for digest, text in zip(digests, texts, strict=True)
    ]
    return pa.array(ids, pa.binary(16))


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records that share a duplicate id, all but the one with the smallest key; of one key, the first row.

    Args:
        records: [n] of `_RECORD`, in any order.
    """
    keys = (records["row"], records["unit"], records["key"][:, 1], records["key"][:, 0])
    order = np.lexsort((*keys, *records["duplicate_id"].T[::-1]))
    ordered = records[order]
    same = np.all(ordered["duplicate_id"][1:] == ordered["duplicate_id"][:-1], axis=1)
    return ordered[1:][same]


def pack_samples(
    group: RawGroup, *, verdicts: StageFolder, duplicates: Duplicates, buckets: int
) -> Iterator[tuple[int, bytes]]:
    """The samples of a group as records, by bucket of their duplicate ids.

    Args:
        group: Of raw tars.
        verdicts: Of the rules before; who leaves by one wins over no duplicate.
        duplicates: What is compared.
        buckets: How many there are.
    """
    if duplicates == "keep":
        return
    table, rows = read_candidates(group, ["sha256", "text"], verdicts=verdicts)
    records = np.empty(table.num_rows, _RECORD)
    records["duplicate_id"] = id_words(duplicate_ids(table, by_text=duplicates == "pair"))
    records["key"] = id_words(table["pair_id"])
    records["unit"], records["row"] = group.number, rows
    yield from split_by_bucket(records, records["duplicate_id"][:, 0], buckets)


def find_losing_rows(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows of the losers among all records in a bucket, by group."""
    losers = find_losers(np.frombuffer(b"".join(parts), _RECORD))
    return split_by_unit(losers, losers["row"])
