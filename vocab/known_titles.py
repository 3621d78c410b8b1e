"""The titles of a dump as 64-bit hashes: eight bytes each, to tell which page views are worth keeping.

In: the titles of dumps; titles that were viewed. Out: sorted hashes; which of the viewed titles may be of the dump.
A title that is none passes with a chance of (number of hashes) / 2^64, so this saves memory and decides nothing.

Source: as `vocab.matcher_table`.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.hashing import BYTE_VALUES, Hashes
from vocab.matcher_table import hash_runs

_ROWS_AT_ONCE = 16_384  # each byte takes some 40 while it is hashed


def capitalize(titles: pa.ChunkedArray) -> pa.ChunkedArray:
    """Titles with a capital at their beginning.

    >>> capitalize(pa.chunked_array([["eiffel Tower", "école"]])).to_pylist()
    ['Eiffel Tower', 'École']
    """
    first = pc.utf8_upper(pc.utf8_slice_codeunits(titles, 0, 1))
    return pc.binary_join_element_wise(first, pc.utf8_slice_codeunits(titles, 1), "")


def hash_titles(titles: pa.ChunkedArray) -> Hashes:
    """The hash of every title."""
    parts = [
        _hash_part(chunk.slice(start, _ROWS_AT_ONCE).cast(pa.large_string()))
        for chunk in titles.chunks
        for start in range(0, len(chunk), _ROWS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0, np.uint64), *parts])


def join_hashes(parts: Iterable[Hashes]) -> Hashes:
    """All hashes, sorted."""
    return np.sort(np.concatenate([np.empty(0, np.uint64), *parts]))


def may_be_known(titles: pa.ChunkedArray, known: Hashes) -> pa.BooleanArray:
    """Which titles may be known, as they are or with a capital at their beginning.

    >>> known = join_hashes([hash_titles(pa.chunked_array([["Eiffel Tower", "iPod"]]))])
    >>> may_be_known(pa.chunked_array([["eiffel Tower", "iPod", "Tower", ""]]), known).to_pylist()
    [True, True, False, False]
    """
    is_known = _are_among(hash_titles(titles), known)
    first = pc.utf8_slice_codeunits(titles, 0, 1)
    is_small = pc.not_equal(first, pc.utf8_upper(first)).to_numpy()
    others = np.flatnonzero(is_small & ~is_known)
    is_known[others] = _are_among(hash_titles(capitalize(titles.take(pa.array(others)))), known)
    return pa.array(is_known)


def _hash_part(titles: pa.LargeStringArray) -> Hashes:
    _, ends, spelled = titles.buffers()
    offsets = np.frombuffer(ends, np.int64)[titles.offset : titles.offset + len(titles) + 1]
    text = np.frombuffer(spelled or b"", np.uint8)[offsets[0] : offsets[-1]]
    return hash_runs(BYTE_VALUES[text]).of_runs(offsets[:-1] - offsets[0], offsets[1:] - offsets[0])


def _are_among(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: npt.NDArray[np.bool_] = known[places] == hashes
    return found
