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
