"""What a report shows of a source, on small tables."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.plots import rank_curve
from pipeline.vocabulary.report.survey import (
    Near,
    WordSurvey,
    count_bins,
    count_log_bins,
    find_near,
    merge_near,
    survey_words,
)


def words_table(figures):
    return pa.table({"word": list(figures), "count": pa.array(figures.values(), pa.int64())})


def test_the_nearest_strings_are_found_on_both_sides_of_a_threshold():
    near = find_near(words_table({"a": 5, "b": 99, "c": 100, "d": 120, "e": 1}), figure="count", threshold=100)
    assert [it.text for it in near.above] == ["c", "d"]
    assert [it.text for it in near.below] == ["b", "a", "e"]


def test_of_many_ties_the_same_ones_are_shown_whatever_their_order():
    table = words_table({f"w{number:04d}": 100 for number in range(5000)})
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(5000)))
    near = find_near(table, figure="count", threshold=100)
    assert near == find_near(shuffled, figure="count", threshold=100)
    assert len(near.above) == 12
    assert sorted(near.above) != [(f"w{number:04d}", 100) for number in range(12)]  # not just the first


def test_parts_give_the_same_as_the_whole():
    rng = np.random.default_rng(1)
    table = words_table({f"w{number}": int(rng.integers(1, 300)) for number in range(900)})
    parts = [find_near(table.slice(start, 100), figure="count", threshold=77) for start in range(0, 900, 100)]
    assert merge_near(parts, 77) == find_near(table, figure="count", threshold=77)
    assert merge_near([], 5) == Near([], [])


def test_a_survey_of_ranges_is_that_of_all_words_and_reads_back():
    rng = np.random.default_rng(4)
    table = words_table({f"w{number}": int(count) for number, count in enumerate(rng.zipf(1.4, 5000).clip(max=9999))})
    parts = [survey_words(table.slice(start, 1000), threshold=30) for start in range(0, 5000, 1000)]
    parts = [WordSurvey.from_json(part.to_json()) for part in parts]
    whole = WordSurvey.merge(parts, threshold=30)
    assert whole == survey_words(table, threshold=30)
    assert whole.rank_curve() == rank_curve(table["count"].to_numpy())
    assert whole.near.below[0].figure < 30 <= whole.near.above[0].figure


def test_a_rank_curve_keeps_both_ends_and_falls():
    figures = np.random.default_rng(2).zipf(1.5, 100_000)
    curve = rank_curve(figures)
    assert (curve[0].rank, curve[0].figure) == (1, figures.max())
    assert (curve[-1].rank, curve[-1].figure) == (100_000, figures.min())
    assert len(curve) <= 160
    assert all(a.rank < b.rank and a.figure >= b.figure for a, b in itertools.pairwise(curve))
    assert rank_curve(np.empty(0, np.int64)) == []


@pytest.mark.parametrize("threshold", [1, 7, 70, 1000, 12_345])
def test_no_bin_of_views_lies_on_both_sides_of_the_threshold(threshold):
    views = np.arange(1, 30_000)
    bins = count_log_bins(views, threshold=threshold, per_decade=5)
    assert sum(number for place, number in bins.items() if place < 0) == threshold - 1
    assert sum(bins.values()) == len(views)


def test_no_bin_of_bits_lies_on_both_sides_of_the_threshold():
    bits = np.random.default_rng(3).normal(4, 3, 1000).round(6)
    bins = count_bins(bits, threshold=3.3, width=0.5)
    assert sum(number for place, number in bins.items() if place >= 0) == (bits >= 3.3).sum()
    assert sum(bins.values()) == 1000
