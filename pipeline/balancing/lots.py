"""The lots that queries draw for pairs, and the cuts among them: an exact cap that depends on content alone.

Every query draws its own lot for every pair that holds it: a 64-bit hash of (seed, pair id, query string). A query
selects the pairs with the `cap` smallest lots; the largest of these is its cut. So a selection does not depend on the
order of files, pairs or queries, nor on what other queries select, and a smaller cap selects a subset. With
coordinated lots all queries draw the same lot for a pair, so that they agree more often on what they select.

Of a query with `count` pairs the cap-th smallest lot lies near cap / count of the range of lots. So it is enough to
collect the lots below a bound a little above that, and to ask again with a higher bound where they are too few.

Source: Duffield, Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums", J. ACM 54(6), 2007
(bottom-k samples); Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.arrays import Ints
from pipeline.base.ids import Words, hash_ids, id_words, mix_words

LARGEST: Final = np.uint64(2**64 - 1)  # as a cut: selects every pair
NO_LOTS: Final = np.empty(0, [("query_id", "<i4"), ("lot", "<u8")])
_MARGIN_SIGMAS = 6.0  # fewer than `cap` lots lie below a bound for about 1 query in 10^9

Lots = npt.NDArray[np.void]  # records of NO_LOTS' type


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What decides lots, beside the pairs.

    Attributes:
        seed: Another one makes other lots.
        query_hashes: [num_queries], of `hash_queries`.
    """

    seed: int
    query_hashes: Words

    def draw(self, pair_ids: pa.Array, rows: Ints, query_ids: npt.NDArray[np.int32]) -> Words:
        """The lots that queries draw for pairs.

        Args:
            pair_ids: Ids of the pairs.
            rows: [lots] which pair.
            query_ids: [lots] which query.
        """
        return self._mix_in(self._hash_pairs(pair_ids).take(rows), query_ids)

    def draw_all(self, matched: pa.RecordBatch) -> tuple[Ints, npt.NDArray[np.intp], Words]:
        """The lots that all queries of pairs draw: of each its pair's row, its query, and the lot itself."""
        lengths = matched["query_ids"].value_lengths().to_numpy()
        query_ids = matched["query_ids"].flatten().to_numpy().astype(np.intp)  # once, for all that is looked up by it
        lots = self._mix_in(np.repeat(self._hash_pairs(matched["pair_id"]), lengths), query_ids)
        return np.repeat(np.arange(len(lengths)), lengths), query_ids, lots

    def _hash_pairs(self, pair_ids: pa.Array) -> Words:
        return hash_ids(id_words(pair_ids), seed=self.seed)

    def _mix_in(self, pair_hashes: Words, query_ids: npt.NDArray[np.integer]) -> Words:
        pair_hashes ^= self.query_hashes.take(query_ids)
        return mix_words(pair_hashes)


def same_lots(num_queries: int) -> Words:
    """What stands for the hashes of queries when all draw the same lot for a pair."""
    return np.zeros(num_queries, np.uint64)


def hash_queries(queries: pa.Array | pa.ChunkedArray) -> Words:
    """A 64-bit hash of every query string, for independent lots."""
    digests = b"".join(hashlib.blake2b(query.encode(), digest_size=8).digest() for query in queries.to_pylist())
    return np.frombuffer(digests, "<u8")


def lot_bounds(counts: Ints, caps: Ints, *, widening: int = 1) -> Words:
    """Bounds that at least `cap` of `count` lots lie below, nearly always.

    Args:
        counts: Pairs that hold a query, for several queries; more than the cap each.
        caps: Lots wanted.
        widening: Factor on the bounds.
    """
    shares = widening * (caps + _MARGIN_SIGMAS * np.sqrt(caps)) / counts
    bounds = np.full(len(counts), LARGEST)
    bounds[shares < 1] = (shares[shares < 1] * 2.0**64).astype(np.uint64)
    return bounds


def expected_lots(counts: Ints, bounds: Words) -> int:
    """How many lots lie up to the bounds of their queries, on average.

    >>> expected_lots(np.array([100, 50]), np.array([2**63, 0], np.uint64))
    50
    """
    return round(float(np.sum(counts * (bounds / 2.0**64))))


def collect_lots(matched: pa.RecordBatch, bounds: Words, drawing: Drawing) -> Lots:
    """The lots up to the bound of their query; a bound of 0 asks for none.

    Args:
        matched: Pair ids with query ids.
        bounds: [num_queries].
        drawing: What decides lots.
    """
    _, query_ids, lots = drawing.draw_all(matched)
    own_bounds = bounds.take(query_ids)
    near = np.flatnonzero((lots <= own_bounds) & (own_bounds > 0))
    records = np.empty(len(near), NO_LOTS.dtype)
    records["query_id"], records["lot"] = query_ids.take(near), lots.take(near)
    return records


def take_cuts(lots: Lots, caps: Ints) -> Lots:
    """The cap-th smallest lot of every query, by query; none for a query with fewer lots.

    Args:
        lots: In any order.
        caps: [num_queries], from 1.

    Raises:
        ValueError: When the lot after a cut is the same, so that no cut selects exactly so many pairs.
    """
    ordered = lots[np.argsort(lots["query_id"], kind="stable")]
    query_ids, starts = np.unique(ordered["query_id"], return_index=True)
    own_caps = caps[query_ids]
    enough = np.flatnonzero(np.diff(starts, append=len(ordered)) >= own_caps)
    cuts = np.empty(len(enough), NO_LOTS.dtype)
    parts = np.split(ordered["lot"], starts[1:])
    for place, query in enumerate(enough.tolist()):
        cuts[place] = query_ids[query], _take_cut(parts[query], int(own_caps[query]), int(query_ids[query]))
    return cuts


def _take_cut(lots: Words, cap: int, query_id: int) -> int:
    around = np.partition(lots, [cap - 1, min(cap, len(lots) - 1)])[cap - 1 : cap + 1]
    if len(around) == 2 and around[0] == around[1]:
        raise ValueError(f"query {query_id} draws one lot for two pairs; is a pair there twice?")
    return int(around[0])


def select_lots(matched: pa.RecordBatch, cuts: Words, drawing: Drawing) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The lots up to the cut of their query.

    Args:
        matched: Pair ids with query ids.
        cuts: [num_queries].
        drawing: What decides lots.

    Returns:
        Row and query id of each, in order.
    """
    rows, query_ids, lots = drawing.draw_all(matched)
    selected = np.flatnonzero(lots <= cuts.take(query_ids))
    return rows.take(selected), query_ids.take(selected).astype(np.int32)
