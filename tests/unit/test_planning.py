"""Fetch units: every row in one, whole hosts together, large hosts split by URL, the same for every order of input."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.arrays import write_array
from pipeline.base.ids import pair_id
from pipeline.base.schemas import PLAN
from pipeline.base.tables import write_table
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    UnitGroup,
    assign_units,
    choose_unit_urls,
    count_hosts,
    group_units,
    hash_texts,
    host_buckets,
    host_column,
    merge_plan,
    order_of_work,
    plan_units,
    read_unit_plan,
    split_by_unit,
    units_a_group,
    units_of_urls,
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


def test_what_is_no_url_goes_to_a_unit_too_and_ends_nothing():
    urls = ["unix:/run/x", "//", "", "data:image/png;base64,AA", "file:///etc/passwd", "http://", "http://[::1"]
    assert host_column(pa.array(urls)).to_pylist() == ["", "", "", "", "", "", "["]
    assert host_buckets(host_column(pa.array(urls))).shape == (len(urls),)


def test_all_hosts_of_a_site_have_one_bucket_and_other_sites_others():
    hosts = [f"img{number}.{site}" for site in ("one.example", "two.co.uk", "three.co.uk") for number in range(300)]
    buckets = host_buckets(pa.array(hosts)).reshape(3, 300)
    assert (buckets == buckets[:, :1]).all()
    assert len(set(buckets[:, 0].tolist())) == 3
    assert host_buckets(pa.array(["one.example", "one.example."])).tolist() == [buckets[0, 0]] * 2


def test_tables_are_counted_by_site_and_their_urls_find_the_units_of_the_counts(tmp_path):
    urls = pa.array([f"http://img{n % 7}.{site}.example/{n}.jpg" for site in ("one", "two") for n in range(20)])
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    for path in paths:
        write_table(path, pa.table({"image_url": urls}), pa.schema([("image_url", pa.string())]))
    histogram = count_hosts(paths)
    assert sorted(histogram[histogram != 0].tolist()) == [40, 40]
    write_array(str(tmp_path / "hosts.npy"), histogram)
    plan = read_unit_plan(str(tmp_path / "hosts.npy"), unit_urls=20)
    units = units_of_urls(plan, urls)
    assert sorted(set(units.tolist())) == [0, 1, 2, 3]
    assert (units == assign_units(plan, host_buckets(host_column(urls)), hash_texts(urls))).all()


def test_hosts_of_a_large_site_are_one_lane():
    urls = pa.array([f"http://img{n % 300}.big.example/{n}.jpg" for n in range(3_000)])
    plan = plan_units(np.bincount(host_buckets(host_column(urls)), minlength=HOST_BUCKETS), unit_urls=100)
    units = units_of_urls(plan, urls)
    assert len(set(units.tolist())) == 30
    assert len(set(plan.lanes()[units].tolist())) == 1


def test_a_site_that_was_not_there_when_units_were_planned_is_an_error():
    urls = pa.array(["http://a.example/1.jpg", "http://b.example/1.jpg", "http://c.example/1.jpg"])
    plan = plan_units(np.bincount(host_buckets(host_column(urls[:1])), minlength=HOST_BUCKETS), unit_urls=100)
    assert units_of_urls(plan, urls[:1]).tolist() == [0]
    with pytest.raises(ValueError, match=r"http://b\.example/1\.jpg"):
        units_of_urls(plan, urls)


@pytest.mark.parametrize(
    ("num_pairs", "unit_urls"),
    [(0, 100), (6_400, 100), (6_401, 101), (639_999, 10_000), (640_001, 10_000), (400_000_000, 10_000)],
)
def test_units_are_large_where_pairs_are_many_and_enough_for_all_cores_where_not(num_pairs, unit_urls):
    assert choose_unit_urls(num_pairs) == unit_urls


@pytest.mark.parametrize("asked", [1, 50, 10_000, 1_000_000])
def test_a_size_of_units_that_is_asked_for_is_taken(asked):
    assert {choose_unit_urls(num_pairs, asked=asked) for num_pairs in (0, 5_000, 10**9)} == {asked}


@pytest.mark.parametrize(
    ("histogram", "first_unit"),
    [([3, 1], [0, 1]), ([7, 1], [0, 3]), ([2, 1, 1], [0, 0, 1]), ([1, 3, 1], [0, 1, 2]), ([0, 0], [-1, -1])],
)
def test_a_bucket_joins_the_unit_before_it_only_where_it_fits(histogram, first_unit):
    assert plan_units(np.array(histogram), unit_urls=3).first_unit.tolist() == first_unit


def row(text, page_url="http://p.example/", text_source="alt"):
    return {
        "pair_id": pair_id("http://a.example/1.jpg", text),
        "image_url": "http://a.example/1.jpg",
        "text": text,
        "text_source": text_source,
        "page_url": page_url,
        "query_ids": [1],
        "kept_for": [1],
        "keep_probability": 0.5,
    }


def test_a_plan_is_in_the_order_of_ids_with_each_pair_once_whatever_order_it_came_in():
    rows = [row(f"text {n % 4}", page_url=f"http://p.example/{n}") for n in range(7)]
    wanted, num_repeats = merge_plan(pa.Table.from_pylist(rows, PLAN))
    assert num_repeats == 3
    assert wanted["pair_id"].to_pylist() == sorted({row["pair_id"] for row in rows})
    assert set(wanted["page_url"].to_pylist()) == {f"http://p.example/{n}" for n in range(4)}
    assert merge_plan(pa.Table.from_pylist(rows[::-1], PLAN))[0].equals(wanted)


def test_of_repeated_pairs_the_same_one_is_kept():
    rows = [row("text", page, source) for page in ("http://q.example/", None) for source in ("title", "alt", "og")]
    for order in itertools.permutations(rows):
        [kept] = merge_plan(pa.Table.from_pylist(list(order), PLAN))[0].to_pylist()
        assert (kept["page_url"], kept["text_source"]) == ("http://q.example/", "alt")


@given(histograms, unit_sizes)
@settings(max_examples=100)
def test_units_share_a_lane_where_they_share_hosts_and_only_there(histogram, unit_urls):
    plan = plan_units(histogram, unit_urls=unit_urls)
    lanes = plan.lanes()
    assert len(lanes) == plan.num_units
    lanes_of = [
        {int(lanes[unit]) for unit in range(first, first + parts)}
        for first, parts in zip(plan.first_unit, plan.num_parts, strict=True)
        if parts
    ]
    assert all(len(found) == 1 for found in lanes_of), "the hosts of a bucket are in one lane"
    most = max(map(int, plan.num_parts), default=0)
    assert np.bincount(lanes, minlength=1).max(initial=0) == most, "hosts of several buckets are in no lane of many"


@given(histograms, unit_sizes)
@settings(max_examples=50)
def test_all_units_are_worked_on_long_lanes_first_and_in_order_within_a_lane(histogram, unit_urls):
    lanes = plan_units(histogram, unit_urls=unit_urls).lanes()
    order = order_of_work(lanes)
    assert sorted(order) == list(range(len(lanes)))
    lengths = [int((lanes == lanes[unit]).sum()) for unit in order]
    assert lengths == sorted(lengths, reverse=True)
    for lane in set(lanes.tolist()):
        assert [unit for unit in order if lanes[unit] == lane] == np.flatnonzero(lanes == lane).tolist()


@given(st.integers(0, 500), st.integers(1, 70))
def test_every_unit_is_in_one_group_of_neighbours(num_units, size):
    groups = group_units(num_units, size=size)
    assert [unit for group in groups for unit in group.units] == list(range(num_units))
    assert [group.number for group in groups] == list(range(len(groups)))
    assert all(unit // size == group.number for group in groups for unit in group.units)


def test_a_group_of_units_fits_into_memory():
    assert all(units_a_group(size) * size <= 200_000 for size in (1, 100, 10_000, 200_000))
    assert units_a_group(10_000) == 20


def test_each_unit_of_a_group_gets_its_rows_and_no_others_in_their_order():
    rows = pa.table({"unit": [4, 2, 4, 3, 2], "row": range(5)})
    found = {unit: its["row"].to_pylist() for unit, its in split_by_unit(UnitGroup(1, 2, 6), rows)}
    assert found == {2: [1, 4], 3: [3], 4: [0, 2], 5: []}
