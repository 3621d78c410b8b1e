"""Ids as numbers and as strings: parts of columns, no column at all, and what is among sorted ids."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.ids import id_strings, id_words, pair_id, sorted_order, words_column
from pipeline.base.schemas import PAIR_ID

IDS = st.lists(st.integers(0, 2**128 - 1).map(lambda number: number.to_bytes(16)), max_size=12)


def numbers(ids):
    return [[int.from_bytes(id[:8]), int.from_bytes(id[8:])] for id in ids]


def test_an_id_depends_on_url_and_text_and_on_where_one_ends():
    assert len({pair_id(*pair) for pair in (("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", "bb"))}) == 5
    assert len(pair_id("a", "b")) == 16


@given(IDS, st.integers(0, 3), st.integers(0, 9))
def test_any_part_of_a_column_is_read_by_itself(ids, start, length):
    part = pa.array(ids, PAIR_ID).slice(start, length)
    assert id_words(part).tolist() == numbers(ids[start : start + length])
    assert [bytes(id).ljust(16, b"\0") for id in id_strings(part)] == ids[start : start + length]


def test_a_column_of_several_chunks_one_or_none_is_read():
    ids = [bytes([number]) * 16 for number in range(5)]
    parts = [pa.array(ids[:2], PAIR_ID), pa.array([], PAIR_ID), pa.array(ids[2:], PAIR_ID)]
    assert id_words(pa.chunked_array(parts)).tolist() == numbers(ids)
    assert id_words(pa.chunked_array([], PAIR_ID)).shape == (0, 2)
    for column in (pa.array([], PAIR_ID), pa.FixedSizeBinaryArray.from_buffers(PAIR_ID, 0, [None, None])):
        assert id_words(column).shape == (0, 2)
        assert id_strings(column).shape == (0,)


def test_numbers_become_ids_again_without_nulls():
    words = np.array([[1, 2], [2**64 - 1, 0]], np.uint64)
    column = words_column(words)
    assert column.type == PAIR_ID
    assert column.null_count == 0
    assert id_words(column).tolist() == words.tolist()


def test_rows_are_ordered_by_high_half_then_low_half_and_equal_ids_stay():
    words = np.array([[2, 1], [1, 9], [2, 0], [1, 9], [0, 5]], np.uint64)
    assert sorted_order(words).tolist() == [4, 1, 3, 2, 0]
