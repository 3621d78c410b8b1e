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
@settings(max_examples=50)
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


@pytest.mark.parametrize(
    ("counts", "share", "cap"),
    [
        ([1, 2, 3, 94], 0.01, 2),
        ([1, 2, 3, 94], 0.06, 4),
        ([1, 2, 3, 94], 0.061, 95),
        ([94, 3, 2, 1], 1.0, 95),
        ([0, 0], 0.06, 1),
        ([], 0.06, 1),
        ([0, 1], 0.06, 2),
    ],
)
def test_the_cap_for_a_tail_share_is_one_above_the_last_query_of_the_tail(counts, share, cap):
    assert cap_for_tail_share(np.array(counts, np.int64), share) == cap


@pytest.mark.parametrize(
    ("counts", "target", "cap"),
    [
        ([10.0], 0, 1),
        ([10.0], 1, 1),
        ([10.0], 1.999, 1),
        ([10.0], 2, 2),
        ([10.0], 9, 9),
        ([10.0], 10, 10),
        ([10.0], 11, 10),
        ([9.5], 100, 10),
        ([0.5], 100, 1),
        ([], 100, 1),
    ],
)
def test_the_cap_for_a_target_is_the_largest_that_expects_no_more(counts, target, cap):
    """A pool of ten pairs of one query, seen through a sample of five."""
    rows = lists([[0] * bool(counts)] * 5)
    sample = PairSample(np.full(5, 2.0), rows)
    for coordinated in (False, True):
        assert cap_for_pairs(sample, np.array(counts), target, coordinated=coordinated) == cap


def test_expected_pairs_are_the_chances_of_a_sample_times_what_each_stands_for():
    sample = PairSample(np.array([1.0, 10.0, 100.0, 1000.0]), lists([[0], [], [0, 1], [1]]))
    shares = np.array([0.5, 0.25])
    assert expected_pairs(sample, shares, coordinated=False) == 0.5 + 62.5 + 250
    assert expected_pairs(sample, shares, coordinated=True) == 0.5 + 50 + 250


def test_a_query_selects_the_cap_or_all_it_has_or_has_none():
    assert keep_shares(np.array([0, 1, 5, 10, 40]), 10).tolist() == [1, 1, 1, 1, 0.25]
    assert keep_shares(np.array([0, 1, 4, 8]), np.array([0, 1, 2, 2])).tolist() == [0, 1, 0.5, 0.25]
    assert keep_shares(np.array([0.5]), np.array([0.25])).tolist() == [0.25]
    assert keep_shares(np.array([0.0]), 0).tolist() == [0.0]


@pytest.mark.parametrize("coordinated", [False, True])
def test_pairs_without_a_query_are_never_kept(coordinated):
    rows = lists([[], [0], [], [], [0], []])
    assert keep_probabilities(rows, np.array([0.5]), coordinated=coordinated).tolist() == [0, 0.5, 0, 0, 0.5, 0]
    assert keep_probabilities(lists([[], []]), np.array([0.5]), coordinated=coordinated).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("cap", "alive", "fetched"),
    [(20_000, 1.0, 20_000), (20_000, 0.65, 31_693), (1, 0.5, 40), (100, 0.5, 305), (10**7, 0.5, 20_600_000)],
    ids=["all alive", "most", "one of a query", "hundred", "links of a query die together"],
)
def test_as_many_are_fetched_as_a_margin_of_six_sigmas_asks_for_and_3_percent_more_at_least(cap, alive, fetched):
    assert fetch_cap(cap, alive) == fetched


@pytest.mark.parametrize(
    ("count", "fetched", "alive", "cap", "wanted"),
    [
        pytest.param(1000, 60, 30, 50, fetch_cap(50, 0.5), id="by the yield seen"),
        pytest.param(1000, 60, 1, 50, 240, id="four times as many at most"),
        pytest.param(1000, 60, 0, 50, 240, id="none alive"),
        pytest.param(200, 60, 0, 50, 200, id="all there are"),
        pytest.param(1000, 10**9, 49, 50, 10**9, id="all were fetched"),
        pytest.param(100, 100, 49, 50, 100, id="none left"),
        pytest.param(101, 100, 49, 50, 101, id="one left"),
        pytest.param(1000, 60, 50, 50, 60, id="enough"),
        pytest.param(1000, 60, 60, 61, 61, id="all alive and one missing"),
        pytest.param(10**6, 100_000, 99_990, 100_000, 103_011, id="a margin over what is missing"),
    ],
)
def test_what_is_fetched_next_of_a_query(count, fetched, alive, cap, wanted):
    one = (np.array([value]) for value in (count, fetched, alive))
    assert next_fetch_caps(*one, cap).tolist() == [wanted]


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_a_short_query_gets_at_least_one_more(cap, fetched, data):
    alive = data.draw(st.integers(0, min(cap - 1, fetched)))
    [wanted] = next_fetch_caps(np.array([10**6]), np.array([fetched]), np.array([alive]), cap)
    assert wanted > fetched


def test_a_query_is_short_only_below_its_cap_and_while_there_is_more():
    alive, fetched, counts = np.array([9, 10, 11, 9, 9]), np.full(5, 20), np.array([30, 30, 30, 20, 21])
    assert is_short(counts, fetched, alive, 10).tolist() == [True, False, False, False, True]
