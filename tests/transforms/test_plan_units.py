"""PlanUnits: plans of all units, the same whatever the order of rows and files, and counted."""

import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline

from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED, PLAN
from pipeline.base.tables import read_table, write_table
from pipeline.fetching.planning import PlanUnits, read_plan


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


def run(tables, output, unit_urls=20):
    with Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | PlanUnits(stage_name="fetch-images", tables=tables, output=str(output), unit_urls=unit_urls)
    counters = pipeline.result.metrics().query()["counters"]
    return {
        counter.key.metric.name: counter.result
        for counter in counters
        if counter.key.metric.namespace == "fetch-images"
    }


def plan_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.glob("raw-*.parquet")}


URLS = [f"http://h{n % 9}.example/{n}.jpg" for n in range(100)] + [f"http://big.example/{n}.jpg" for n in range(70)]


def test_every_pair_is_in_one_plan_and_a_host_in_one_unless_it_is_large(tmp_path):
    counts = run([write_balanced(tmp_path, URLS)], tmp_path / "plan")
    plans, kept_counts = read_plan(str(tmp_path / "plan"))
    tables = [read_table(path) for path in plans]
    assert sorted(url for table in tables for url in table["image_url"].to_pylist()) == sorted(URLS)
    hosts = [host for table in tables for host in table["host"].unique().to_pylist()]
    assert hosts.count("big.example") == 4
    assert len(hosts) == 9 + 4
    assert all(table.schema.equals(PLAN) for table in tables)
    assert counts == kept_counts == {"pairs/in": 170, "pairs/kept": 170}


def test_plans_do_not_depend_on_the_order_of_rows_and_files(tmp_path):
    run([write_balanced(tmp_path, URLS)], tmp_path / "one")
    parts = [write_balanced(tmp_path, URLS[::-1][part::3], f"p{part}") for part in (2, 0, 1)]
    run(parts, tmp_path / "other")
    assert len(plan_bytes(tmp_path / "one")) > 5
    assert plan_bytes(tmp_path / "one") == plan_bytes(tmp_path / "other")


def test_repeated_pairs_are_dropped_and_counted(tmp_path):
    tables = [write_balanced(tmp_path, URLS, "a"), write_balanced(tmp_path, URLS[:30], "b")]
    counts = run(tables, tmp_path / "plan", unit_urls=1000)
    assert counts == {"pairs/in": 200, "pairs/kept": 170, "pairs/drop/duplicate_pair": 30}


def test_nothing_to_plan_is_a_plan_too(tmp_path):
    assert run([write_balanced(tmp_path, [])], tmp_path / "plan") == {}
    assert read_plan(str(tmp_path / "plan")) == ([], {})
    assert read_plan(str(tmp_path / "absent")) is None
