"""Which sample goes to which shard: pure arithmetic on keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.ids import id_words, sorted_order, words_column
from pipeline.sharding.selecting import _RECORD, cut_shards, find_losers


@given(st.lists(st.integers(0, 1000), max_size=8), st.integers(1, 50))
def test_shards_of_a_group_are_equal_and_hold_everything_once(sizes, most):
    for size, shards in zip(sizes, cut_shards(sizes, most), strict=True):
        lengths = [last - first for first, last in shards]
        assert sum(lengths) == size
        assert [first for first, _ in shards] == [sum(lengths[:k]) for k in range(len(shards))]
        assert len(shards) == -(-size // most)
        assert not lengths or max(lengths) - min(lengths) <= 1


def records(rows):
    array = np.zeros(len(rows), _RECORD)
    for row, (duplicate, key) in enumerate(rows):
        array[row] = ((0, duplicate), (0, key), 0, row)
    return array


def test_of_duplicates_the_smallest_key_stays():
    losers = find_losers(records([(1, 9), (1, 3), (2, 1), (1, 5)]))
    assert sorted(losers["row"]) == [0, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**63)), unique_by=lambda row: row[1], max_size=30))
def test_the_order_of_records_does_not_decide(rows):
    def losing_keys(some):
        return sorted(find_losers(records(some))["key"][:, 1].tolist())

    assert losing_keys(rows) == losing_keys(rows[::-1])
    assert len(losing_keys(rows)) == len(rows) - len({duplicate for duplicate, _ in rows})


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 3))
def test_ids_as_numbers_sort_as_bytes_do(ids, start):
    column = words_column(np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2).astype(np.uint64))
    assert column.to_pylist() == ids
    part = column.slice(start)
    order = sorted_order(id_words(part))
    assert [part.to_pylist()[row] for row in order] == sorted(ids[start:])


def test_ids_of_an_empty_column_are_no_numbers():
    assert id_words(words_column(np.empty((0, 2), np.uint64))).shape == (0, 2)


@pytest.mark.parametrize("size", [1, 127, 128, 129])
def test_every_raw_tar_falls_into_one_group(size):
    assert sum(len(shards) for shards in cut_shards([10] * size, 10)) == size
