"""Rows on their way to groups: none lost, few messages, and few bytes a row where 40,000 units are planned."""

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.on_worker import OnWorker
from pipeline.base.row_messages import read_messages
from pipeline.base.schemas import BALANCED
from pipeline.base.tables import write_table
from pipeline.fetching import grouped_rows
from pipeline.fetching.grouped_rows import (
    ROWS_AT_ONCE,
    first_rows,
    gather_rows,
    join_tables,
    split_rows,
)
from pipeline.fetching.lookup import ANSWERS, ASKED, PACKED_ANSWER_BYTES, PACKED_ASKED_BYTES
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    ROUTED,
    group_units,
    plan_units,
    route_rows,
    units_a_group,
)

WEB_PAIRS = Path(__file__).parents[2] / "benchmarks" / "web_pairs.py"
make_up_balanced = runpy.run_path(str(WEB_PAIRS))["make_up_balanced"]
NUM_UNITS, UNIT_URLS = 40_000, 10_000  # of 400 million pairs
LARGE_BUCKETS = 20
SCHEMA = pa.schema([pa.field("row", pa.int64(), nullable=False), pa.field("text", pa.string())])


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.text(max_size=9)), max_size=40))
def test_every_row_arrives_at_its_group_and_only_there(rows):
    table = pa.table({"row": range(len(rows)), "text": [text for _, text in rows]}, SCHEMA)
    groups = np.array([group for group, _ in rows], np.int64)
    messages = list(split_rows(table, groups))
    assert [group for group, _ in messages] == sorted(set(groups.tolist())), "one message a group"
    for group, message in messages:
        expected = [row for row, of in zip(table.to_pylist(), groups, strict=True) if of == group]
        assert read_messages([message], SCHEMA).to_pylist() == expected
    everything = read_messages([message for _, message in messages], SCHEMA)
    assert sorted(everything["row"].to_pylist()) == list(range(len(rows)))
    assert read_messages([b"".join(message for _, message in messages)], SCHEMA).equals(everything)


def test_no_message_is_no_row():
    assert read_messages([], SCHEMA).equals(SCHEMA.empty_table())


@pytest.mark.parametrize(("sizes", "at_once", "parts"), [([3, 3, 3], 5, [6, 3]), ([9], 5, [9]), ([1] * 5, 5, [5])])
def test_batches_are_gathered_until_they_are_many_rows(monkeypatch, sizes, at_once, parts):
    monkeypatch.setattr(grouped_rows, "ROWS_AT_ONCE", at_once)
    ends = np.cumsum(sizes).tolist()
    batches = [
        pa.record_batch({"row": range(end - size, end), "text": [None] * size}, SCHEMA)
        for size, end in zip(sizes, ends, strict=True)
    ]
    gathered = list(gather_rows(batches, SCHEMA))
    assert [part.num_rows for part in gathered] == parts
    assert pa.concat_tables(gathered)["row"].to_pylist() == list(range(sum(sizes)))


@given(st.integers(0, 300), st.integers(0, 10**9))
def test_tables_are_read_together_where_they_are_small_and_never_too_many(num_tables, num_rows):
    tables = [str(number) for number in range(num_tables)]
    sources = join_tables(tables, num_rows=num_rows)
    assert [path for source in sources for path in source] == tables
    assert all(1 <= len(source) <= 64 for source in sources)
    assert all((len(source) - 1) * num_rows <= ROWS_AT_ONCE * num_tables for source in sources)


@pytest.mark.parametrize("num_rows", [0, 400_000_000, 2_500_000_000])
@pytest.mark.parametrize("num_tables", [1, 1_000, 83_000, 1_000_000])
def test_sources_are_never_so_many_that_asking_each_of_them_takes_long(num_tables, num_rows):
    tables = list(map(str, range(num_tables)))
    sources = join_tables(tables, num_rows=num_rows)
    assert [path for source in sources for path in source] == tables
    assert len(sources) <= 1024


def test_the_first_row_of_each_id_is_taken():
    ids = [b"a" * 16, b"a" * 16, b"a" * 8 + b"b" * 8, b"b" * 16]
    table = pa.table({"id": pa.array(ids, pa.binary(16)), "row": range(4)})
    assert first_rows(table, "id")["row"].to_pylist() == [0, 2, 3]


def full_size_plan():
    """40,000 units of 400 million pairs: hosts in all buckets, and some large hosts."""
    histogram = np.full(HOST_BUCKETS, 3_000)
    histogram[:: HOST_BUCKETS // LARGE_BUCKETS] = (NUM_UNITS * UNIT_URLS - histogram.sum()) // LARGE_BUCKETS
    plan = plan_units(histogram, unit_urls=UNIT_URLS)
    assert plan.num_units >= NUM_UNITS
    return plan


def route(folder, tables):
    """What one source sends where 40,000 units are planned."""
    paths = []
    for number, table in enumerate(tables):
        paths.append(str(folder / f"{number}.parquet"))
        write_table(paths[-1], table, BALANCED)
    size = units_a_group(UNIT_URLS)
    return list(route_rows(paths, plan=OnWorker(full_size_plan), group_size=size))


def mean_length(table, name):
    return np.mean([len(value) for value in table[name].to_pylist()])


def test_a_row_costs_less_than_250_bytes_on_its_way_to_40_000_units(tmp_path):
    tables = [make_up_balanced(ROWS_AT_ONCE // 8, seed) for seed in range(8)]
    assert 90 < mean_length(tables[0], "image_url") < 110
    assert 75 < mean_length(tables[0], "text") < 95
    messages = route(tmp_path, tables)
    groups = group_units(full_size_plan().num_units, size=units_a_group(UNIT_URLS))
    assert len(messages) <= len(groups), "one message a group from so many rows, whatever table they lie in"
    rows = [read_messages([message], ROUTED) for _, message in messages]
    assert sum(part.num_rows for part in rows) == ROWS_AT_ONCE
    for (group, _), part in zip(messages[::50], rows[::50], strict=True):
        assert set(part["unit"].to_pylist()) <= set(groups[group].units)
    bytes_a_row = sum(len(message) for _, message in messages) / ROWS_AT_ONCE
    assert bytes_a_row < 250


def test_a_real_row_costs_less_than_250_bytes_in_messages_as_small(real_data):
    real = pq.read_table(real_data / "text_lists" / "laion_url_text_10k.parquet")
    rows = make_up_balanced(real.num_rows, 0).select([name for name in ROUTED.names if name != "unit"])
    pages = [url.rpartition("/")[0] + "/" for url in real["URL"].to_pylist()]
    for name, column in (("image_url", real["URL"]), ("text", real["TEXT"]), ("page_url", pages)):
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), [column])
    rows = rows.append_column("unit", pa.array(np.zeros(real.num_rows), pa.int32())).sort_by("image_url")
    rows_a_message = ROWS_AT_ONCE * units_a_group(UNIT_URLS) // NUM_UNITS
    messages = list(split_rows(rows, np.arange(rows.num_rows) // rows_a_message))
    assert sum(len(message) for _, message in messages) / rows.num_rows < 250


def test_what_archives_and_plans_tell_the_buckets_is_as_small_as_is_reckoned():
    rng = np.random.default_rng(0)
    num_rows, rows_a_message = 64_000, 300
    hashes = pa.array([rng.bytes(16) for _ in range(num_rows)], pa.binary(16))
    archives = [f"crawl-{n % 13:05d}.warc.gz-0123456789abcdef" for n in range(num_rows)]
    offsets = pa.array(rng.integers(0, 1 << 30, num_rows))
    location = pa.array([None if n % 20 else b"x" * 16 for n in range(num_rows)], pa.binary(16))
    nothing = pa.array(np.zeros(num_rows), pa.int8())
    answers = pa.table([hashes, location, nothing, pa.array(archives), pa.array([""] * num_rows), offsets], ANSWERS)
    asked = pa.table([pa.array(np.sort(rng.integers(0, 20, num_rows)), pa.int32()), hashes, hashes], ASKED)
    groups = np.arange(num_rows) // rows_a_message
    for rows, reckoned in ((answers, PACKED_ANSWER_BYTES), (asked, PACKED_ASKED_BYTES)):
        bytes_a_row = sum(len(message) for _, message in split_rows(rows, groups)) / num_rows
        assert 0.6 * reckoned < bytes_a_row < 1.2 * reckoned
