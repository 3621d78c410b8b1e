"""The model of what stages cost: the page is what it writes, the stages' own numbers, sums of money."""

import pytest

import jobs.scale
from jobs.memory import parse_bytes
from jobs.scale import (
    STAGES,
    Machine,
    Prices,
    estimate_stage,
    first_limit,
    limit_loads,
    num_elements,
    num_fetch_units,
    num_tables,
    num_units,
    read_rates,
    slices_of,
)
from jobs.scale_page import PAGE_ROWS, scale_page
from pipeline.extraction.dedup import Duplicates
from pipeline.fetching.planning import choose_unit_urls
from pipeline.fetching.stage import FetchImages
from pipeline.sharding.stored_samples import num_buckets


@pytest.fixture(scope="module")
def rates():
    return read_rates()


def test_the_page_is_what_the_command_writes(checkout, rates):
    assert (checkout / "docs" / "scale.md").read_text() == scale_page(rates), "python benchmarks/scale.py --write"


def test_the_page_has_every_stage_at_every_size(rates):
    page = scale_page(rates)
    for stage in STAGES:
        assert page.count(f"\n| {stage} |") == len(PAGE_ROWS) + 1


@pytest.mark.parametrize("stage", STAGES)
def test_all_costs_grow_with_rows_and_none_faster_than_elements_may(stage, rates):
    small, large = (estimate_stage(stage, rows, rates) for rows in (10_000_000, 40_000_000))
    for name in ("vcpu_hours", "shuffled_bytes", "network_bytes", "stored_bytes"):
        assert getattr(large, name) == pytest.approx(4 * getattr(small, name))
    assert large.puts >= 1.5 * small.puts  # few raw tars are one group each
    assert large.dollars(Prices()) > 3 * small.dollars(Prices())
    assert large.elements <= 20 * small.elements  # sources times destinations, and some


def test_elements_are_sources_times_the_buckets_that_the_stage_chooses(monkeypatch):
    rows = 400_000_000
    hops = Duplicates(num_rows=rows).hops(num_tables(rows))
    assert num_elements("FindDuplicates", rows, 1.0) == sum(hop.elements for hop in hops)
    groups = num_units("SelectSamples", rows)
    assert num_elements("FindDuplicateSamples", rows, 1.0) == groups * num_buckets(num_fetch_units(rows))
    monkeypatch.setattr(jobs.scale, "num_buckets", lambda _: 7)
    assert num_elements("FindDuplicateSamples", rows, 1.0) == groups * 7
    assert num_elements("KeepSelected", rows, 0.0) == 0
    for label in ("FindDuplicates", "FindDuplicateSamples", "PlanShards"):
        assert 0 < num_elements(label, rows, 1.0) < 50_000_000


def test_fetch_units_are_those_of_the_plan():
    unit_urls = choose_unit_urls(10_000_000, asked=FetchImages.unit_urls)
    assert 10_000_000 / unit_urls < num_fetch_units(10_000_000) < 2 * 10_000_000 / unit_urls


def test_plans_ask_the_files_of_all_sources_in_a_few_million_requests(rates):
    rows = 400_000_000
    plan = next(step for step in estimate_stage("fetch-images", rows, rates).steps if step.step == "PlanUnits")
    asked = num_units("RouteRows", rows) * num_units("PlanUnits", rows)
    assert asked < plan.gets < 5_000_000
    assert num_units("RouteRows", rows) <= 1024


def test_slices_are_those_of_the_runner():
    assert slices_of(0, parse_bytes("8GiB")) == 1
    assert slices_of(8 << 30, parse_bytes("8GiB")) == 6


def test_money_is_hours_bytes_and_requests_times_their_prices(rates):
    cost = estimate_stage("write-shards", 10_000_000, rates)
    nothing = Prices(vcpu_hour=0, gib_hour=0, shuffle_gb=0, storage_gb_month=0, put_1000=0, get_1000=0)
    assert cost.dollars(nothing) == 0
    assert cost.dollars(nothing._replace(vcpu_hour=2.0)) == pytest.approx(2 * cost.vcpu_hours)
    assert cost.dollars(nothing._replace(get_1000=1.0)) == pytest.approx(cost.gets / 1000)
    assert cost.dollars(nothing._replace(storage_gb_month=1.0)) == pytest.approx(cost.stored_bytes / 1e9)


def test_the_first_limit_comes_sooner_on_a_smaller_machine(rates):
    name, rows = first_limit("write-shards", rates, Machine())
    assert limit_loads(estimate_stage("write-shards", rows, rates), Machine())[name] >= 1
    smaller = Machine(disk=10**11)
    name, sooner = first_limit("write-shards", rates, smaller)
    assert name.startswith("disk")
    assert sooner < rows


def test_a_stage_without_rates_has_no_estimate(rates):
    with pytest.raises(KeyError):
        estimate_stage("build-vocab", 1000, rates)
