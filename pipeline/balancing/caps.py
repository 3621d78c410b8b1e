"""Which cap, and what it does to a pair: all from the counts of queries.

In: counts of queries, and for a target size the queries of a sample of pairs. Out: the cap t; how many pairs to fetch
for it when only a share of the links is alive; how likely a pair is to be kept.

Source: Xu et al. 2023 (MetaCLIP), section 3.3: t such that queries found fewer than t times hold 6 % of all matches.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.arrays import Ints

Floats = npt.NDArray[np.float64]

_MARGIN_SIGMAS = 6.0  # too few of a query's links are alive once in 10^9, if links die independently
_MIN_MARGIN = 1.03  # and links of one query die together
_MAX_GROWTH = 4  # of what is fetched for a query, from one round to the next


class PairSample(NamedTuple):
    """Some pairs of a pool: `weights` says how many pairs each stands for.

    Attributes:
        weights: [pairs].
        query_ids: The queries of each.
    """

    weights: Floats
    query_ids: pa.ListArray


def cap_for_tail_share(counts: Ints, share: float) -> int:
    """The smallest cap for which queries found less often hold at least a share of all matches.

    >>> cap_for_tail_share(np.array([1, 2, 3, 94]), 0.06)
    4
    """
    ordered = np.sort(counts)
    held = np.cumsum(ordered)
    if not held.size or held[-1] == 0:
        return 1
    return int(ordered[np.searchsorted(held, share * held[-1])]) + 1


def cap_for_pairs(sample: PairSample, counts: Floats, target: float, *, coordinated: bool) -> int:
    """The largest cap that is expected to keep at most `target` pairs; 1 if all keep more.

    Args:
        sample: Of the pool.
        counts: Pairs that hold each query.
        target: Pairs wanted.
        coordinated: Whether all queries draw the same lot for a pair.
    """
    low, high = 1, math.ceil(counts.max(initial=1))
    while low < high:
        cap = (low + high + 1) // 2
        if expected_pairs(sample, keep_shares(counts, cap), coordinated=coordinated) <= target:
            low = cap
        else:
            high = cap - 1
    return low


def expected_pairs(sample: PairSample, shares: Floats, *, coordinated: bool) -> float:
    """How many pairs of the pool that a sample stands for are kept, on average over all lots."""
    likely = keep_probabilities(sample.query_ids, shares, coordinated=coordinated)
    return sum_products(likely, sample.weights)


def sum_products(ones: Floats, others: Floats) -> float:
    """The sum of products, in one thread; BLAS, which `@` calls, would keep all cores busy waiting for each other."""
    return float(np.sum(ones * others))


def keep_shares(counts: npt.NDArray[np.int64 | np.float64], caps: Ints | int) -> Floats:
    """The share of its pairs that each query selects: min(1, cap / count)."""
    return np.asarray(np.minimum(caps / np.maximum(counts, 1), 1.0))


def keep_probabilities(query_ids: pa.ListArray, shares: Floats, *, coordinated: bool) -> Floats:
    """How likely each pair is to be selected by one of its queries at least.

    Args:
        query_ids: The queries of each pair.
        shares: [num_queries], the share of its pairs that each query selects.
        coordinated: Whether all queries draw the same lot for a pair.

    >>> lists = pa.array([[0], [], [0, 1]], pa.list_(pa.int32()))
    >>> keep_probabilities(lists, np.array([0.5, 0.2]), coordinated=False).tolist()
    [0.5, 0.0, 0.6]
    >>> keep_probabilities(lists, np.array([0.5, 0.2]), coordinated=True).tolist()
    [0.5, 0.0, 0.5]
    """
    lengths = query_ids.value_lengths().to_numpy()
    starts = (np.cumsum(lengths) - lengths)[lengths > 0]
    own = shares[query_ids.flatten().to_numpy()]
    likely = np.zeros(len(query_ids))
    if coordinated:
        likely[lengths > 0] = np.maximum.reduceat(own, starts) if starts.size else []
    else:
        likely[lengths > 0] = 1 - np.multiply.reduceat(1 - own, starts) if starts.size else []
    return likely


def fetch_cap(cap: int, yield_: float) -> int:
    """How many pairs of a query to fetch so that, nearly always, `cap` of them are alive.

    Args:
        cap: Pairs wanted.
        yield_: The share of links that are alive.

    >>> fetch_cap(20_000, 0.65), fetch_cap(20_000, 1.0)
    (31693, 20000)
    """
    if yield_ == 1:
        return cap
    spread = _MARGIN_SIGMAS * math.sqrt(yield_ * (1 - yield_))
    root = (spread + math.sqrt(spread**2 + 4 * yield_ * cap)) / (2 * yield_)
    return math.ceil(max(root**2, _MIN_MARGIN * cap / yield_))


def next_fetch_caps(counts: Ints, fetched: Ints, alive: Ints, cap: int) -> Ints:
    """How many pairs of each query to fetch in all, after a round that brought too few of some.

    Args:
        counts: Pairs that hold each query.
        fetched: How many of them were fetched.
        alive: How many of these were alive.
        cap: Pairs wanted.
    """
    caps = fetched.copy()
    for query in np.flatnonzero(is_short(counts, fetched, alive, cap)).tolist():
        most = _MAX_GROWTH * int(fetched[query])
        own = fetch_cap(cap, alive[query] / fetched[query]) if alive[query] else most
        caps[query] = min(own, most, int(counts[query]))  # more than were fetched: cap / yield is more
    return caps


def is_short(counts: Ints, fetched: Ints, alive: Ints, cap: int) -> npt.NDArray[np.bool_]:
    """Which queries have fewer pairs alive than they may keep although there are more to fetch."""
    return (alive < cap) & (fetched < counts)
