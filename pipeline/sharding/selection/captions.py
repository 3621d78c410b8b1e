"""A cap on samples of one caption: "logo" or "image of product" stands beside millions of pictures.

A rule of selection. In: the samples of groups that stay so far. Out: the rows over the cap. Captions are the same whose
words are: they are compared as texts are searched for queries (`vocab.normalize`), case and punctuation aside. Of those
of one caption the samples with the smallest hash of (seed, key) stay, wherever they lie. A group sends at most the cap
of each caption, 40 bytes a sample: however frequent one is, what meets of it is bounded by the number of groups.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import DropReason
from pipeline.base.folders import StageFolder
from pipeline.base.ids import Words, hash_ids, id_words
from pipeline.base.packed import split_by_bucket, split_by_unit, straight_to
from pipeline.sharding.selection.rules import GroupRule
from pipeline.sharding.selection.verdicts import read_candidates
from pipeline.sharding.stored_samples import RawGroup
from vocab.normalize import normalize_column

_RECORD: Final = np.dtype([("caption", ">u8", 2), ("key", ">u8", 2), ("unit", "i4"), ("row", "i4")])

Records = npt.NDArray[np.void]  # of `_RECORD`


def caption_ids(texts: pa.Array | pa.ChunkedArray) -> Words:
    """128 bits that captions with the same words share: [rows, 2]. A caption without a word is like itself alone.

    >>> ids = caption_ids(pa.array(["A cat!", "a  CAT", "!", "?"]))
    >>> bool((ids[0] == ids[1]).all()), bool((ids[2] == ids[3]).all())
    (True, False)
    """
    column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    words = normalize_column(column)
    known = pc.if_else(pc.equal(words, ""), pc.binary_join_element_wise("", column, "\0"), words)
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in known.to_pylist()]
    return id_words(pa.array(digests, pa.binary(16)))


def cap_captions(max_repeats: int, *, seed: int, buckets: int, payload: int) -> GroupRule:
    """The rule.

    Args:
        max_repeats: Samples of a caption that stay.
        seed: Decides which.
        buckets: In how many captions are compared.
        payload: Bytes of a record for each sample, about.
    """
    return GroupRule(
        "FindRepeatedCaptions",
        DropReason.REPEATED_TEXT,
        partial(pack_captions, max_repeats=max_repeats, seed=seed, buckets=buckets),
        partial(find_repeats, max_repeats=max_repeats, seed=seed),
        payload,
    )


def pack_captions(
    group: RawGroup, *, verdicts: StageFolder, max_repeats: int, seed: int, buckets: int
) -> Iterator[tuple[int, bytes]]:
    """The samples of a group as records by bucket of their captions; those that are over the cap already go straight.

    Args:
        group: Of raw tars.
        verdicts: Of the rules before.
        max_repeats: Samples of a caption that stay.
        seed: Decides which.
        buckets: How many there are.
    """
    table, rows = read_candidates(group, ["text"], verdicts=verdicts)
    records = np.empty(table.num_rows, _RECORD)
    records["caption"], records["key"] = caption_ids(table["text"]), id_words(table["pair_id"])
    records["unit"], records["row"] = group.number, rows
    stay, leave = split_repeats(records, max_repeats=max_repeats, seed=seed)
    if len(leave):
        yield straight_to(group.number), leave["row"].tobytes()
    yield from split_by_bucket(stay, stay["caption"][:, 0].astype(np.uint64), buckets)


def find_repeats(parts: Iterable[bytes], *, max_repeats: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """The rows over the cap of all records in a bucket, by group."""
    _, leave = split_repeats(np.frombuffer(b"".join(parts), _RECORD), max_repeats=max_repeats, seed=seed)
    return split_by_unit(leave, leave["row"])


def split_repeats(records: Records, *, max_repeats: int, seed: int) -> tuple[Records, Records]:
    """Those of each caption that stay, and the others."""
    keys = records["key"].astype(np.uint64)
    lots = hash_ids(keys, seed=seed)
    order = np.lexsort((records["row"], records["unit"], keys[:, 1], keys[:, 0], lots, *records["caption"].T[::-1]))
    ordered = records[order]
    begins = np.ones(len(ordered), bool)
    begins[1:] = (ordered["caption"][1:] != ordered["caption"][:-1]).any(axis=1)
    starts = np.flatnonzero(begins)
    ranks = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    return ordered[ranks < max_repeats], ordered[ranks >= max_repeats]
