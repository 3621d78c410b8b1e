"""Planning: plans of all units, the same whatever the order of rows and files, and counted."""

import shutil

import pyarrow as pa

from jobs.engines import Engine
from jobs.runner import make_step
from pipeline.base.drops import add_counts
from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED, PLAN
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import count_rows, read_table, write_table
from pipeline.fetching.stage import FetchImages
from pipeline.steps import Shape, Step
from pipeline.web.urls import url_host


def write_balanced(folder, urls, name="part"):
    rows = [
        {
            "pair_id": pair_id(url, "text"),
            "image_url": url,
            "text": "text",
            "text_source": "alt",
            "source_file": "crawl.warc",
            "query_ids": [1, 2],
            "kept_for": [1],
            "keep_probability": 0.5,
        }
        for url in urls
    ]
    path = str(folder / f"{name}.parquet")
    write_table(path, pa.Table.from_pylist(rows, BALANCED), BALANCED)
    return path


def close_balanced(folder, num_pairs):
    counts = {"pairs/kept": num_pairs}
    close_folder(str(folder), identity={"stage": "balance-pairs"}, counts=counts, outputs=[], made_from=[])


def plan(tables, output, unit_urls=20):
    """Runs the steps that plan; returns what they counted, the plans and the step that fetches."""
    (output / "balanced").mkdir(parents=True)
    for path in tables:
        shutil.copy(path, output / "balanced")
    close_balanced(output / "balanced", sum(map(count_rows, tables)))
    stage = FetchImages(
        contact="me@lab.example", balanced=str(output / "balanced"), output=str(output / "raw"), unit_urls=unit_urls
    )
    counts = {}
    for part in stage.steps():
        for step in [part] if isinstance(part, Step) else part:
            if step.label == "FetchUnits":
                return counts, sorted(map(str, output.glob("raw/_plan/raw-*.parquet"))), step.transform
            made = make_step(step, Engine(workers=1), stage.output)
            counts = add_counts(counts, *(receipt.counts for receipt in made.values()))
    raise AssertionError("no step fetches")


def plan_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.glob("raw/_plan/*.parquet")}


URLS = [f"http://h{n % 9}.example/{n}.jpg" for n in range(100)] + [f"http://big.example/{n}.jpg" for n in range(70)]


def test_every_pair_is_in_one_plan_and_a_host_in_one_unless_it_is_large(tmp_path):
    counts, plans, fetch = plan([write_balanced(tmp_path, URLS)], tmp_path / "one")
    tables = [read_table(path) for path in plans]
    assert sorted(url for table in tables for url in table["image_url"].to_pylist()) == sorted(URLS)
    hosts = [host for table in tables for host in set(map(url_host, table["image_url"].to_pylist()))]
    assert hosts.count("big.example") == 4
    assert len(hosts) == 9 + 4
    assert all(table.schema.equals(PLAN) for table in tables)
    assert counts == {"pairs/in": 170, "pairs/kept": 170}
    assert sorted(fetch.units) == list(range(len(plans)))


def test_units_of_a_large_host_are_one_lane(tmp_path):
    _, plans, fetch = plan([write_balanced(tmp_path, URLS)], tmp_path / "one")
    large = [n for n, path in enumerate(plans) if "http://big.example" in str(read_table(path)["image_url"][0])]
    assert len(large) == 4
    assert len({fetch.lane_of(unit) for unit in large}) == 1
    others = [unit for unit in fetch.units if unit not in large]
    assert len({fetch.lane_of(unit) for unit in fetch.units}) == len(others) + 1
    assert fetch.num_tasks == len(others) + 1


def test_hosts_of_one_site_are_in_one_unit_or_one_lane(tmp_path):
    urls = [f"http://img{n % 30}.{site}/{n}.jpg" for site in ("big.co.uk", "small.co.uk") for n in range(60)]
    _, plans, fetch = plan([write_balanced(tmp_path, urls)], tmp_path / "sites")
    found = [set(read_table(path)["image_url"].to_pylist()) for path in plans]
    for site in ("big.co.uk", "small.co.uk"):
        units = [unit for unit, its in enumerate(found) if any(site in url for url in its)]
        assert len(units) == 3
        assert len({fetch.lane_of(unit) for unit in units}) == 1


def test_without_a_size_a_few_thousand_pairs_are_many_units(tmp_path):
    urls = [f"http://a{n % 300}.example/{n}.jpg" for n in range(3_000)]
    _, plans, _ = plan([write_balanced(tmp_path, urls)], tmp_path / "small", unit_urls=0)
    assert 30 <= len(plans) <= 60


def test_plans_do_not_depend_on_the_order_of_rows_and_files(tmp_path):
    plan([write_balanced(tmp_path, URLS)], tmp_path / "one")
    parts = [write_balanced(tmp_path, URLS[::-1][part::3], f"p{part}") for part in (2, 0, 1)]
    plan(parts, tmp_path / "other")
    assert len(plan_bytes(tmp_path / "one")) > 5
    assert plan_bytes(tmp_path / "one") == plan_bytes(tmp_path / "other")


def test_plans_do_not_depend_on_how_many_units_and_rows_are_routed_together(tmp_path, monkeypatch):
    plan([write_balanced(tmp_path, URLS)], tmp_path / "one")
    monkeypatch.setattr("pipeline.fetching.grouped_rows.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("pipeline.fetching.planning._GROUP_ROWS", 40)
    parts = [write_balanced(tmp_path, URLS[part::5], f"p{part}") for part in range(5)]  # sources of several messages
    _, plans, _ = plan(parts, tmp_path / "other")
    assert len(list((tmp_path / "other").glob("raw/_plan/routed-*.bin"))) == 5
    groups = sorted((tmp_path / "other").glob("raw/_plan/group-*.parquet"))
    assert len(groups) == -(-len(plans) // 2)
    found = [plan_bytes(tmp_path / name) for name in ("one", "other")]
    one, other = ({name: data for name, data in its.items() if name.startswith("raw-")} for its in found)
    assert one == other


def test_a_group_says_how_many_rows_its_plans_have(tmp_path):
    _, plans, _ = plan([write_balanced(tmp_path, URLS)], tmp_path / "one")
    [group] = (tmp_path / "one").glob("raw/_plan/group-*.parquet")
    assert read_table(str(group)).to_pylist() == [
        {"unit": unit, "rows": count_rows(path)} for unit, path in enumerate(plans)
    ]


def test_repeated_pairs_are_dropped_and_counted(tmp_path):
    tables = [write_balanced(tmp_path, URLS, "a"), write_balanced(tmp_path, URLS[:30], "b")]
    counts, _, _ = plan(tables, tmp_path / "plan", unit_urls=1000)
    assert counts == {"pairs/in": 200, "pairs/kept": 170, "pairs/drop/duplicate_pair": 30}


def test_a_part_of_a_host_that_no_row_falls_into_has_an_empty_plan(tmp_path):
    url = "http://big.example/the-only-one.jpg"
    counts, plans, fetch = plan([write_balanced(tmp_path, [url] * 7)], tmp_path / "plan", unit_urls=2)
    assert counts == {"pairs/in": 7, "pairs/kept": 1, "pairs/drop/duplicate_pair": 6}
    assert sorted(count_rows(path) for path in plans) == [0, 0, 0, 1]
    assert len(fetch.units) == 4


def test_nothing_to_plan_is_a_plan_too(tmp_path):
    counts, plans, fetch = plan([write_balanced(tmp_path, [])], tmp_path / "plan")
    assert (counts, plans, list(fetch.units)) == ({}, [], [])


def test_no_step_that_plans_shuffles_rows(tmp_path):
    """What is shuffled on one machine lies in the memory of one process."""
    folder = tmp_path / "balanced"
    folder.mkdir()
    write_balanced(folder, URLS)
    close_balanced(folder, len(URLS))
    stage = FetchImages(contact="me@lab.example", balanced=str(folder), output=str(tmp_path / "raw"))
    for part in stage.steps():
        for step in [part] if isinstance(part, Step) else part:
            assert step.transform.shape is Shape.MAP, step.label
            if step.label != "FetchUnits":
                make_step(step, Engine(workers=1), stage.output)
