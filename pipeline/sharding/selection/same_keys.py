"""Pairs that were fetched more than once, in rounds that overlap: of each one sample stays, for keys are unique.

A rule of selection. In: the samples of groups that stay so far. Out: the rows that leave. Of the samples of a pair the
one with the smallest SHA-256 of the fetched file stays, and of equal files the first in the order of raw tars (their
names follow from their content): which rounds are given first does not matter. 40 bytes a sample are shuffled.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import numpy as np

from pipeline.base.drops import DropReason
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.sharding.selection.rules import GroupRule
from pipeline.sharding.selection.verdicts import read_candidates
from pipeline.sharding.stored_samples import RawGroup

_DIGEST_BYTES: Final = 32
_RECORD: Final = np.dtype([("key", ">u8", 2), ("file", ">u8", 2), ("unit", "i4"), ("row", "i4")])


def unique_pairs(*, buckets: int, payload: int) -> GroupRule:
    """The rule.

    Args:
        buckets: In how many pairs are compared.
        payload: Bytes of a record for each sample, about.
    """
    return GroupRule(
        "FindPairsFetchedTwice",
        DropReason.DUPLICATE_PAIR,
        partial(pack_pairs, buckets=buckets),
        find_same_pairs,
        payload,
    )


def pack_pairs(group: RawGroup, *, verdicts: StageFolder, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The samples of a group as records, by bucket of their keys.

    Args:
        group: Of raw tars.
        verdicts: Of the rules before.
        buckets: How many there are.
    """
    table, rows = read_candidates(group, ["sha256"], verdicts=verdicts)
    records = np.empty(table.num_rows, _RECORD)
    digests = b"".join(digest[: _DIGEST_BYTES // 2] for digest in table["sha256"].to_pylist())
    records["key"], records["file"] = id_words(table["pair_id"]), np.frombuffer(digests, ">u8").reshape(-1, 2)
    records["unit"], records["row"] = group.number, rows
    yield from split_by_bucket(records, records["key"][:, 1].astype(np.uint64), buckets)


def find_same_pairs(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows that leave of all records in a bucket, by group."""
    records = np.frombuffer(b"".join(parts), _RECORD)
    order = np.lexsort((records["row"], records["unit"], *records["file"].T[::-1], *records["key"].T[::-1]))
    ordered = records[order]
    same = (ordered["key"][1:] == ordered["key"][:-1]).all(axis=1)
    leave = ordered[1:][same]
    return split_by_unit(leave, leave["row"])
