"""The cap: by tail share, by target size, for links that die; and how likely a pair is to be kept."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.balancing.caps import (
    PairSample,
    cap_for_pairs,
    cap_for_tail_share,
    expected_pairs,
    fetch_cap,
    is_short,
    keep_probabilities,
    keep_shares,
    next_fetch_caps,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=50).map(np.array)


def lists(rows):
    return pa.array(rows, pa.list_(pa.int32()))


@given(COUNTS, st.floats(0.001, 1))
def test_queries_below_the_cap_hold_the_tail_share_and_below_a_smaller_one_they_do_not(counts, share):
    cap = cap_for_tail_share(counts, share)
    if counts.sum():
        assert counts[counts < cap].sum() >= share * counts.sum()
        assert counts[counts < cap - 1].sum() < share * counts.sum()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_keep_probability_is_that_of_independent_draws_or_of_the_likeliest_query(shares):
    query_ids = lists([list(range(len(shares)))])
    [independent] = keep_probabilities(query_ids, np.array(shares), coordinated=False)
    assert independent == pytest.approx(1 - np.prod([1 - share for share in shares]))
    assert keep_probabilities(query_ids, np.array(shares), coordinated=True)[0] == max(shares)


def test_keep_probabilities_of_a_part_of_a_column_are_those_of_its_rows():
    shares = np.array([0.5, 0.25, 1.0])
    column = lists([[0], [1, 2], [0, 1], [1]])
    whole = keep_probabilities(column, shares, coordinated=False)
    assert keep_probabilities(column.slice(1, 2), shares, coordinated=False).tolist() == whole[1:3].tolist()
    assert keep_probabilities(column.slice(4), shares, coordinated=False).tolist() == []


@given(st.integers(1, 2000), st.booleans())
@settings(max_examples=50, deadline=None)
def test_cap_for_a_target_expects_as_many_pairs_and_one_more_would_be_too_many(target, coordinated):
    rng = np.random.default_rng(1)
    rows = [np.flatnonzero(rng.random(20) < 1 / np.arange(2, 22)).tolist() or [0] for _ in range(2000)]
    sample = PairSample(np.ones(2000), lists(rows))
    counts = np.bincount([id for row in rows for id in row], minlength=20).astype(float)
    cap = cap_for_pairs(sample, counts, target, coordinated=coordinated)

    def expected(cap):
        return expected_pairs(sample, keep_shares(counts, cap), coordinated=coordinated)

    assert expected(cap) <= target or cap == 1
    assert expected(cap + 1) > target or cap == counts.max()


@pytest.mark.parametrize(("cap", "alive"), [(20_000, 0.65), (200, 0.65), (5, 0.3), (20_000, 0.99)])
def test_of_what_is_fetched_enough_is_alive_nearly_always(cap, alive):
    fetched = fetch_cap(cap, alive)
    spread = np.sqrt(fetched * alive * (1 - alive))
    assert (fetched * alive - cap) / spread > 5.9
    assert fetched <= 1.1 * cap / alive or cap < 20_000


def test_a_short_query_gets_more_and_others_what_they_had():
    counts, fetched = np.array([1000, 1000, 40, 1000, 90]), np.array([60, 60, 40, 60, 60])
    alive = np.array([30, 50, 5, 0, 20])
    assert is_short(counts, fetched, alive, 50).tolist() == [True, False, False, True, True]
    caps = next_fetch_caps(counts, fetched, alive, 50)
    assert caps[1:].tolist() == [60, 40, 240, 90]
    assert 100 < caps[0] < 240
