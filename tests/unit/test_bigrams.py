"""Bigrams of kept words: counts, sums by range, PMI as NLTK computes it."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.metrics import BigramAssocMeasures

from vocab.bigrams import (
    add_bigram_counts,
    count_bigrams,
    first_word_ranges,
    number_words,
    score_bigrams,
    select_bigrams,
    select_lettered,
    unpack_bigrams,
)
from vocab.words import WORD_SUMS, TokenCounter

KEPT = ["a", "b", "c"]


def word_table(counts):
    return pa.table(
        [pa.array(list(counts), pa.string()), pa.array(list(counts.values()), pa.int64())], schema=WORD_SUMS
    )


def bigrams_of(lines, kept=KEPT):
    counter = TokenCounter()
    for line in lines:
        counter.add_lines(line)
    table = counter.count()
    numbers = number_words(table.word_forms["word"].combine_chunks(), pa.array(kept, pa.string()))
    return count_bigrams(table.tokens, numbers)


def spelled(table, kept=KEPT):
    first, second, counts = unpack_bigrams(table)
    return {(kept[i], kept[j]): int(n) for i, j, n in zip(first, second, counts, strict=True)}


@settings(max_examples=80)
@given(st.lists(st.lists(st.sampled_from("abcxyz"), max_size=12), max_size=8))
def test_counts_equal_those_of_neighbours_in_a_line(lines):
    expected = Counter(pair for line in lines for pair in pairwise(line) if set(pair) <= set(KEPT))
    table = bigrams_of([" ".join(line) for line in lines])
    assert spelled(table) == expected
    packed = table["bigram"].to_pylist()
    assert packed == sorted(packed)


def test_a_word_that_is_not_kept_stands_between_its_neighbours():
    assert spelled(bigrams_of(["a x b", "a b"])) == {("a", "b"): 1}


def test_a_bigram_does_not_leave_its_line():
    assert spelled(bigrams_of(["c a", "b c"])) == {("c", "a"): 1, ("b", "c"): 1}


def test_a_bigram_does_not_leave_its_phrase():
    lines = ["c a, b-c (a) b \x1f c", "St. Louis, J. R. b."]
    kept = ["a", "b", "c", "j", "louis", "r", "st"]
    assert spelled(bigrams_of(lines, kept), kept) == {
        ("c", "a"): 1, ("b", "c"): 1, ("st", "louis"): 1, ("j", "r"): 1, ("r", "b"): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (1, {("war", "2"): 1, ("boeing", "747"): 1, ("747", "war"): 1, ("war", "war"): 1}),
        (2, {("war", "war"): 1}),
    ],
)
def test_one_word_of_a_bigram_has_a_letter_or_both(least, expected):
    kept = ["2", "747", "boeing", "war"]
    counts = bigrams_of(["war 2 2", "boeing 747 war war", "2 747"], kept)
    assert spelled(select_lettered(counts, pa.array(kept), least=least), kept) == expected


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcx"), max_size=9).map(" ".join), max_size=9), st.integers(1, 4))
def test_sums_by_range_are_the_sums_of_the_whole(lines, num_ranges):
    parts = [bigrams_of([line]) for line in lines]
    total = Counter()
    for part in parts:
        total.update(spelled(part))
    frequent = {pair: count for pair, count in total.items() if count >= 2}
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.bigrams._MERGE_ROWS", 2)
        for low, high in first_word_ranges(len(KEPT), num_ranges):
            keys = [part["bigram"].to_numpy() for part in parts]
            masks = [(key >= np.uint64(low)) & (key < np.uint64(high)) for key in keys]
            in_range = [part.filter(pa.array(mask)) for part, mask in zip(parts, masks, strict=True)]
            found |= spelled(add_bigram_counts(in_range, min_count=2))
    assert found == frequent


@settings(max_examples=80)
@given(st.integers(1, 10**5), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**9))
def test_pmi_equals_that_of_nltk(together, more_first, more_second, more_tokens):
    first, second = together + more_first, together + more_second
    num_tokens = first + second + more_tokens
    counts = add_bigram_counts([bigrams_of(["a b"] * 1)], min_count=1)
    counts = counts.set_column(1, counts.schema.field("count"), pa.array([together], pa.int64()))
    words = word_table({"a": first, "b": second, "c": 1})
    [row] = score_bigrams(counts, words, num_tokens=num_tokens).to_pylist()
    assert row["bigram"] == "a b"
    assert row["pmi"] == pytest.approx(BigramAssocMeasures.pmi(together, (first, second), num_tokens), abs=1e-6)
    assert -1 <= row["npmi"] <= 1


def test_words_that_are_always_together_have_npmi_one():
    counts = bigrams_of(["a b"])
    [row] = score_bigrams(counts, word_table({"a": 1, "b": 1, "c": 1}), num_tokens=64).to_pylist()
    assert (row["pmi"], row["npmi"]) == (6.0, 1.0)


def test_the_best_are_taken_with_ties_in_a_fixed_order():
    table = pa.table(
        {
            "bigram": ["d", "c", "b", "a"],
            "count": pa.array([5, 5, 9, 7], pa.int64()),
            "pmi": [3.0, 3.0, 3.0, 1.0],
            "npmi": [0.1, 0.9, 0.5, 1.0],
        }
    )

    def select(**options):
        chosen = {"rank_by": "pmi", "min_pmi": 2.0, "max_bigrams": 9} | options
        return select_bigrams(table, **chosen)["bigram"].to_pylist()

    assert select() == ["b", "c", "d"]
    assert select(rank_by="npmi") == ["c", "b", "d"]
    assert select(max_bigrams=2) == ["b", "c"]
    assert select(min_pmi=0.0) == ["b", "c", "d", "a"]


def test_no_bigrams_are_no_trouble():
    empty = add_bigram_counts([], min_count=1)
    assert score_bigrams(empty, word_table({}), num_tokens=0).num_rows == 0
