"""Counts are conserved: in = kept + drops."""

import pytest

from pipeline.base.drops import LostRows, add_counts, check_counts, drop_counts


def test_conserved_counts_pass():
    check_counts(drop_counts("pairs", 3, {"no_query": 2}) | drop_counts("pages", 1, {}) | {"matches": 7})


@pytest.mark.parametrize(
    "counts",
    [
        {"pairs/in": 3, "pairs/kept": 2},
        {"pairs/in": 3, "pairs/kept": 2, "pairs/drop/a": 2},
        {"pairs/kept": 2},
        {"pairs/in": 2},
    ],
)
def test_lost_or_doubled_rows_are_an_error(counts):
    with pytest.raises(LostRows, match="pairs"):
        check_counts(counts)


def test_counts_add_up_name_by_name():
    assert add_counts({"a": 1}, {}, {"b": 2, "a": 3}) == {"a": 4, "b": 2}


def test_counts_of_one_thing_are_conserved_and_reasons_without_rows_left_out():
    assert drop_counts("pairs", 0, {"b": 1, "a": 2, "c": 0}) == {
        "pairs/in": 3,
        "pairs/kept": 0,
        "pairs/drop/a": 2,
        "pairs/drop/b": 1,
    }


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"pairs/in": 3, "pairs/kept": 1}, "pairs: 3 came in, but kept and dropped are 1"),
        ({"pairs/in": 1}, "pairs: 1 came in, but kept and dropped are 0"),
        ({"pairs/drop/a": 1}, "pairs: 0 came in, but kept and dropped are 1"),
        ({"a/in": 1, "a/kept": 1, "b/in": 1, "b/drop/x": 2}, "b: 1 came in, but kept and dropped are 2"),
    ],
)
def test_what_does_not_add_up_is_said(counts, message):
    with pytest.raises(LostRows, match=message):
        check_counts(counts)


@pytest.mark.parametrize("counts", [{}, {"pairs/in": 0}, {"pairs/kept": 0}, {"pairs/others": 5, "matches": 2}])
def test_nothing_and_information_need_not_add_up(counts):
    check_counts(counts)


def test_sums_are_in_the_order_of_names():
    assert list(add_counts({"b": 1}, {"a": 1})) == ["a", "b"]
