"""Fetch units: every row in one, whole hosts together, large hosts split by URL, the same for every order of input."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.ids import pair_id
from pipeline.base.schemas import PLAN
from pipeline.base.tables import write_table
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    assign_units,
    hash_texts,
    host_buckets,
    host_column,
    merge_plan,
    plan_units,
    plans_with_rows,
)

histograms = st.lists(st.integers(0, 50), min_size=1, max_size=60).map(np.array)
unit_sizes = st.integers(1, 40)


@given(histograms, unit_sizes)
@settings(max_examples=100)
def test_units_are_numbered_through_and_every_bucket_has_one(histogram, unit_urls):
    plan = plan_units(histogram, unit_urls=unit_urls)
    used = {int(u) + p for u, n in zip(plan.first_unit, plan.num_parts, strict=True) if n for p in range(n)}
    assert used == set(range(len(used)))
    assert ((plan.first_unit >= 0) == (histogram > 0)).all()


@given(histograms, unit_sizes)
@settings(max_examples=100)
def test_no_unit_of_whole_buckets_is_over_its_size_and_larger_buckets_are_split(histogram, unit_urls):
    plan = plan_units(histogram, unit_urls=unit_urls)
    whole = plan.num_parts == 1
    rows = np.bincount(plan.first_unit[whole], weights=histogram[whole], minlength=1)
    assert rows.max(initial=0) <= unit_urls
    split = plan.num_parts > 1
    assert (histogram[split] > unit_urls).all()
    assert (plan.num_parts[split] == -(-histogram[split] // unit_urls)).all()


@given(histograms, unit_sizes)
@settings(max_examples=50)
def test_units_are_not_wastefully_small(histogram, unit_urls):
    plan = plan_units(histogram, unit_urls=unit_urls)
    num_units = int((plan.first_unit + plan.num_parts).max(initial=0))
    assert num_units <= 2 * -(-histogram.sum() // unit_urls) + np.count_nonzero(plan.num_parts > 1) + 1


def test_parts_of_a_large_host_are_even_and_a_url_has_one():
    urls = pa.array([f"http://big.example/{n}.jpg" for n in range(20_000)])
    buckets = host_buckets(host_column(urls))
    plan = plan_units(np.bincount(buckets, minlength=HOST_BUCKETS), unit_urls=1000)
    units = assign_units(plan, buckets, hash_texts(urls))
    sizes = np.bincount(units)
    assert len(sizes) == 20
    assert sizes.min() > 850
    assert sizes.max() < 1150
    assert (assign_units(plan, buckets[::-1], hash_texts(urls[::-1])) == units[::-1]).all()


def test_hosts_are_found_whatever_their_port():
    urls = pa.array(["http://a.example/1", "https://a.example:8443/2", "http://[::1]:80/3"])
    assert host_column(urls).to_pylist() == ["a.example", "a.example", "[::1]"]


@pytest.mark.parametrize(
    ("histogram", "first_unit"),
    [([3, 1], [0, 1]), ([7, 1], [0, 3]), ([2, 1, 1], [0, 0, 1]), ([1, 3, 1], [0, 1, 2]), ([0, 0], [-1, -1])],
)
def test_a_bucket_joins_the_unit_before_it_only_where_it_fits(histogram, first_unit):
    assert plan_units(np.array(histogram), unit_urls=3).first_unit.tolist() == first_unit


def test_only_plans_with_rows_are_fetched(tmp_path):
    paths = [str(tmp_path / f"raw-0000{number}.parquet") for number in range(3)]
    for path, rows in zip(paths, ([plan_row("a")], [], [plan_row("b"), plan_row("c")]), strict=True):
        write_table(path, pa.Table.from_pylist(rows, PLAN), PLAN)
    assert plans_with_rows(paths) == [paths[0], paths[2]]


def plan_row(text, page_url="http://p.example/", source_file="a.warc"):
    identity = pair_id("http://a.example/1.jpg", text)
    return {
        "pair_id": identity,
        "image_url": "http://a.example/1.jpg",
        "text": text,
        "text_source": "alt",
        "page_url": page_url,
        "source_file": source_file,
        "query_ids": [1],
        "kept_for": [1],
        "keep_probability": 0.5,
        "key": identity.hex(),
        "host": "a.example",
    }


def batches(rows, size):
    return [pa.RecordBatch.from_pylist(rows[i : i + size], PLAN) for i in range(0, len(rows), size)]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_plan_is_in_key_order_with_each_pair_once_whatever_order_it_came_in(size):
    rows = [plan_row(f"text {n % 4}", page_url=f"http://p.example/{n}") for n in range(7)]
    wanted, num_repeats = merge_plan(batches(rows, 7))
    assert num_repeats == 3
    assert wanted["key"].to_pylist() == sorted({row["key"] for row in rows})
    assert set(wanted["page_url"].to_pylist()) == {f"http://p.example/{n}" for n in range(4)}
    assert merge_plan(batches(rows[::-1], size))[0].equals(wanted)
