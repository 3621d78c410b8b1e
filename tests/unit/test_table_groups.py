"""Groups follow from names and sizes alone, and the rows that are listed for a table are those that were found."""

import pickle
import random

import numpy as np
import pytest

from pipeline.base import table_groups
from pipeline.base.table_groups import (
    TableGroup,
    count_groups,
    group_tables,
    places_of,
    read_rows,
    rows_by_table,
    split_by_group,
    write_row_lists,
)

RECORD = np.dtype([("unit", "<u4"), ("row", "<u4")])


def grouped(sizes, order=None):
    names = [f"t{number:05}" for number in range(len(sizes))]
    order = order or range(len(sizes))
    return group_tables([names[n] for n in order], [sizes[n] for n in order], name_of=str)


def test_few_tables_are_a_group_each_and_of_many_each_is_in_one_small_group():
    assert [group.tables for group in grouped([5] * 300)] == [(f"t{number:05}",) for number in range(300)]
    groups = grouped([5] * 20_000)
    assert [table for group in groups for table in group.tables] == [f"t{number:05}" for number in range(20_000)]
    assert max(len(group.tables) for group in groups) == 32
    assert [group.number for group in groups] == list(range(len(groups)))
    assert len({group.name for group in groups}) == len(groups) == count_groups(20_000, 100_000)


def test_a_group_holds_few_rows_unless_it_is_one_table():
    sizes = [random.Random(number).choice([10, 60_000, 3_000_000]) for number in range(9000)]
    groups = grouped(sizes)
    rows = [[sizes[int(name[1:])] for name in group.tables] for group in groups]
    assert all(sum(some) <= 1 << 20 or len(some) == 1 for some in rows)
    assert any(len(some) > 1 for some in rows)


def test_the_order_in_which_tables_are_given_does_not_show_and_no_group_lists_them_all():
    sizes = [random.Random(number).randrange(90_000) for number in range(5000)]
    order = list(range(5000))
    random.Random(1).shuffle(order)
    groups = grouped(sizes, order)
    assert groups == grouped(sizes)
    assert max(len(pickle.dumps(group)) for group in groups) < 1000


def test_no_tables_are_no_groups():
    assert grouped([]) == []
    assert count_groups(0, 0) == 0


@pytest.mark.parametrize("number", [0, 1, 90_000])
def test_units_order_as_tables_do_and_lead_back_to_their_group(number):
    group, after = TableGroup(number, "a", tuple("abc")), TableGroup(number + 1, "b", tuple("de"))
    units = [group.unit(0), group.unit(1), group.unit(2), after.unit(0), after.unit(1)]
    assert units == sorted(units)
    records = np.array([(unit, row) for row, unit in enumerate(units)], RECORD)
    told = {number: rows_by_table(places, 3) for number, places in split_by_group(records, places_of(records))}
    lists = {number: [rows.tolist() for rows in lists] for number, lists in told.items()}
    assert lists == {number: [[0], [1], [2]], number + 1: [[3], [4], []]}


def test_rows_are_read_as_written_each_once_and_in_order(tmp_path):
    largest = 2**32 - 1
    group = TableGroup(4, "a", tuple("abcd"))
    rows = [(1, largest), (1, 0), (3, 7), (1, 0), (3, 2)]
    records = np.array([(group.unit(place), row) for place, row in rows], RECORD)
    path = str(tmp_path / "some.rows")
    write_row_lists(path, rows_by_table(places_of(records).tobytes(), 4))
    assert [read_rows(path, place).tolist() for place in range(4)] == [[], [0, largest], [], [2, 7]]


def test_most_tables_of_a_group_have_a_number_each():
    assert (table_groups._MOST_TABLES - 1).bit_length() == table_groups._TABLE_BITS
