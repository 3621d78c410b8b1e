"""Counting words over arrays equals counting them one by one."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.normalize import tokenize
from vocab.sums import add_up
from vocab.words import LINE_END, WORD_COUNTS, count_tokens, select_words

LINES = st.lists(st.text(st.sampled_from("ab' .1é中国\U0001f600\n"), max_size=12), max_size=8)


def counts_of(table):
    return dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))


def table_of(counts):
    return pa.table(
        [pa.array(list(counts), pa.string()), pa.array(list(counts.values()), pa.int64())], schema=WORD_COUNTS
    )


@settings(max_examples=80, deadline=None)
@given(LINES)
def test_counts_and_order_equal_those_of_single_tokens(lines):
    table = count_tokens(pa.array(lines, pa.string()))
    tokens = [tokenize(line) for line in lines]
    assert counts_of(table.word_counts) == Counter(token for line in tokens for token in line)
    words = table.word_counts["word"].to_pylist()
    assert words == sorted(words)
    spelled = [None if number == LINE_END else words[number] for number in table.tokens]
    assert spelled == [item for line in tokens if line for item in [*line, None]]


def test_case_may_be_kept():
    assert counts_of(count_tokens(pa.array(["May may"]), case="sensitive").word_counts) == {"May": 1, "may": 1}


def test_no_lines_give_no_words():
    table = count_tokens(pa.array([], pa.large_string()))
    assert table.word_counts.num_rows == 0
    assert table.word_counts.schema == WORD_COUNTS
    assert len(table.tokens) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), max_size=6))
def test_sums_do_not_depend_on_how_many_are_held_at_a_time(parts):
    total = sum(map(Counter, parts), Counter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.sums._PENDING_ROWS", 3)
        table = add_up(map(table_of, parts), WORD_COUNTS)
    assert table["word"].to_pylist() == sorted(total)
    assert counts_of(table) == total


def test_words_are_frequent_and_have_a_letter():
    table = table_of({"a": 5, "b2b": 5, "rare": 4, "1984": 50, "国": 5, "½": 9, "7": 3})
    assert counts_of(select_words(table, min_count=5)) == {"a": 5, "b2b": 5, "国": 5}


def test_small_numbers_may_be_words_however_rare():
    kept = select_words(table_of({"a": 5, "1": 3, "3": 9, "1984": 50}), min_count=5, numbers_below=3)
    assert counts_of(kept) == {"0": 0, "1": 3, "2": 0, "a": 5}
    assert kept["word"].to_pylist() == ["0", "1", "2", "a"]
