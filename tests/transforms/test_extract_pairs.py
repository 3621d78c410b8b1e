import itertools
import os
import random
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from jobs.engines import Engine
from jobs.runner import make_step
from pipeline.base import table_groups
from pipeline.base.drops import DropReason, add_counts
from pipeline.base.files import basename
from pipeline.base.folders import table_name
from pipeline.base.ids import pair_id
from pipeline.base.packed import num_buckets, straight_to
from pipeline.base.schemas import PAIRS
from pipeline.base.table_groups import TableGroup, group_tables, rows_by_table
from pipeline.base.tables import count_rows, read_counts, read_table, write_table
from pipeline.extraction.dedup import Duplicates
from pipeline.extraction.filters import FilterOptions
from pipeline.extraction.inputs import InputUnit
from pipeline.extraction.losers import EXTRACTED, Losers, array_beside, extracted_tables
from pipeline.extraction.near_duplicates import NearDuplicates, band_values, sign_texts
from pipeline.extraction.pages import PageRules
from pipeline.extraction.repeats import RepeatedTexts
from pipeline.extraction.stage import extract_unit, find_step, write_distinct
from pipeline.extraction.unit import ExtractionRules, text_key
from pipeline.extraction.url_lists import ListColumns
from pipeline.steps import MapUnits, Step


def write_extracted(path, rows):
    """Rows are (text, preference) or (text, preference, url)."""
    rows = [(*row, "u")[:3] for row in rows]
    ids = pa.array([pair_id(url, text) for text, _, url in rows], pa.binary(16))
    columns = {
        "pair_id": ids,
        "image_url": [url for _, _, url in rows],
        "text": [text for text, _, _ in rows],
        "text_source": ["alt"] * len(rows),
        "page_url": pa.array([None] * len(rows), pa.string()),
        "language": pa.array([None] * len(rows), pa.string()),
        "source_file": [path.name] * len(rows),
        "same_id": ids,
        "text_key": pa.array([text_key(text) for text, _, _ in rows], pa.uint64()),
        "preference": pa.array([preference for _, preference, _ in rows], pa.uint64()),
    }
    write_table(str(path), pa.table(columns, EXTRACTED), EXTRACTED)
    return str(path)


@pytest.fixture
def tables(tmp_path):
    return [
        write_extracted(tmp_path / "a.parquet", [("x", 5), ("y", 5), ("x", 3), ("z", 1)]),
        write_extracted(tmp_path / "b.parquet", [("y", 4), ("x", 3), ("w", 9)]),
        write_extracted(tmp_path / "c.parquet", []),
        write_extracted(tmp_path / "d.parquet", [("v", 9)]),
    ]


def run(transform, memory=1 << 30):
    """Runs a transform; returns what was counted."""
    folder = os.path.commonpath([os.path.dirname(output) for output in transform.outputs])
    made = make_step(Step("Step", transform), Engine(workers=1, memory=memory), folder)
    return add_counts(*(receipt.counts for receipt in made.values()))


def grouped(tables):
    return group_tables(tables, list(map(count_rows, tables)), name_of=table_name)


def members(tables):
    return [table for group in grouped(tables) for table in extracted_tables(group)]


def find(tables, rule, folder, memory=1 << 30):
    """Runs the step of a rule; returns its losers."""
    lost = Losers(DropReason.DUPLICATE_PAIR, str(folder))
    step = find_step(grouped(tables), rule, lost)
    assert run(step.transform, memory) == {}
    assert step.transform.outputs == tuple(lost.path(group.name) for group in grouped(tables))
    return lost


def test_duplicates_lose_by_preference_then_table_then_row(tables, tmp_path):
    lost = find(tables, Duplicates(num_rows=8), tmp_path / "losers")
    assert [lost.rows(table).tolist() for table in members(tables)] == [[0, 1], [1], [], []]


def test_the_order_of_arrival_decides_nothing():
    rng = random.Random(0)
    places = itertools.product(range(5), range(40))
    rows = [(rng.randrange(4), rng.randrange(2), rng.randrange(3), table, row) for table, row in places]
    expected, rule = None, Duplicates(num_rows=len(rows))
    for _ in range(5):
        rng.shuffle(rows)
        _, losers = rule.split(np.array(rows, rule.dtype))
        found = sorted((int(record["unit"]), int(record["row"])) for record in losers)
        expected = expected or found
        assert found == expected
    assert len(expected) == len(rows) - len({row[:2] for row in rows})


def test_what_is_distinct_is_written_once_and_the_rest_is_counted(tables, tmp_path):
    lost = find(tables, Duplicates(num_rows=8), tmp_path / "losers")
    output = tmp_path / "pairs"

    def write():
        work = partial(write_distinct, losers=[lost])
        return MapUnits(units=members(tables), output_of=lambda table: str(output / basename(table.path)), work=work)

    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}
    texts = {path.stem: read_table(str(path))["text"].to_pylist() for path in output.glob("*.parquet")}
    assert texts == {"a": ["x", "z"], "b": ["y", "w"], "c": [], "d": ["v"]}
    assert read_table(str(output / "c.parquet")).schema.names == PAIRS.names
    (output / "a.parquet").rename(output / "kept.parquet")
    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}, "files that are there count as before"
    assert (output / "a.parquet").read_bytes() == (output / "kept.parquet").read_bytes()


def test_every_input_gives_a_table_with_its_counts_inside(tmp_path):
    source = tmp_path / "list.csv"
    source.write_text("url,text\nhttp://a.example/1.jpg,a cat\nhttp://a.example/2.jpg,\n")
    rules = ExtractionRules(PageRules(), ListColumns(), FilterOptions(), {})
    output = tmp_path / "out" / "list.csv-1.parquet"

    def extract():
        work = partial(extract_unit, rules=rules, tries=1, drop_unreadable=False)
        units = [InputUnit(str(source), "list.csv-1", "table")]
        return MapUnits(units=units, output_of=lambda _: str(output), work=work)

    counts = {"pairs/in": 2, "pairs/drop/no_text": 1}
    assert run(extract()) == counts
    assert read_counts(str(output)) == counts
    source.unlink()
    assert run(extract()) == counts, "a table that is there is not made again"


def texts_left(tables, lost):
    return Counter(
        text
        for table in members(tables)
        for row, text in enumerate(read_table(table.path)["text"].to_pylist())
        if row not in lost.rows(table)
    )


def test_a_text_keeps_as_many_pairs_as_the_cap_wherever_they_are(tmp_path):
    rows = [(text, 0, f"http://a.example/{i}.jpg") for i, text in enumerate(["logo"] * 30 + ["cat"] * 3 + ["dog"])]
    kept = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        folder = tmp_path / str(seed)
        tables = [write_extracted(folder / f"{i}.parquet", rows[i::3]) for i in range(3)]
        none = find(tables, Duplicates(num_rows=34), folder / "none")
        over = find(tables, RepeatedTexts(max_repeats=3, num_rows=34, losers=(none,)), folder / "over")
        assert texts_left(tables, over) == {"logo": 3, "cat": 3, "dog": 1}
        kept.append({
            url
            for table in members(tables)
            for row, url in enumerate(read_table(table.path)["image_url"].to_pylist())
            if row not in over.rows(table)
        })  # fmt: skip
    assert kept[0] == kept[1] == kept[2], "which pairs stay depends on the pairs alone"


LONG = "a photograph of the old harbour of the town at dusk with fishing boats, number"


def sign_all(tables, none, folder):
    sign = partial(sign_texts, threshold=0.8, losers=[none])
    run(MapUnits(units=members(tables), output_of=lambda table: array_beside(table.path, folder=folder), work=sign))


def test_of_texts_that_are_nearly_the_same_one_stays_with_all_its_pairs(tmp_path):
    texts = [f"{LONG} {i}" for i in range(6)] * 2 + ["a red cat", "a blue dog", "logo", "x", "x"]
    rows = [(text, 0, f"http://a.example/{i}.jpg") for i, text in enumerate(texts)]
    left = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        tables = [write_extracted(folder / f"{i}.parquet", rows[i::parts]) for i in range(parts)]
        none = find(tables, Duplicates(num_rows=17), folder / "none")
        signed = str(folder / "signed")
        sign_all(tables, none, signed)
        rule = NearDuplicates(signatures=signed, threshold=0.8, num_rows=17, losers=(none,))
        left.append(texts_left(tables, find(tables, rule, folder / "near")))
    assert left[0] == left[1], "how rows lie in tables decides nothing"
    assert {text: left[0][text] for text in texts[12:]} == {"a red cat": 1, "a blue dog": 1, "logo": 1, "x": 2}
    assert [number for text, number in left[0].items() if text.startswith(LONG)] == [2]


def test_bands_agree_for_texts_that_are_alike_and_not_for_others():
    values = band_values([LONG, f"{LONG} 7", "an entirely other sentence about mountains and snow", ""], 0.8)
    assert values.shape == (4, 9)
    shared = [(values[0] == values[other]).sum() for other in (1, 2, 3)]
    assert shared[0] > 0 and shared[1:] == [0, 0]
    assert np.array_equal(
        values, band_values([LONG, f"{LONG} 7", "an entirely other sentence about mountains and snow", ""], 0.8)
    )


WAYS = [
    pytest.param({}, False, 1 << 30, id="a table a group"),
    pytest.param({"_PLENTY": 2}, False, 1 << 30, id="groups of a few"),
    pytest.param({"_PLENTY": 1}, False, 1 << 30, id="one group"),
    pytest.param({"_PLENTY": 2, "_MOST_ROWS": 30}, True, 1 << 30, id="by rows, tables in another order"),
    pytest.param({"_PLENTY": 3}, True, 30_000, id="in slices"),
]


def lost_by_all_rules(tables, folder, memory):
    """Rows that lose by each rule in turn, of every table by name."""
    num_rows = sum(map(count_rows, tables))
    same = find(tables, Duplicates(num_rows=num_rows), folder / "same", memory)
    cap = RepeatedTexts(max_repeats=4, num_rows=num_rows, losers=(same,))
    over = find(tables, cap, folder / "over", memory)
    sign_all(tables, over, str(folder / "signed"))
    rule = NearDuplicates(signatures=str(folder / "signed"), threshold=0.8, num_rows=num_rows, losers=(same, over))
    near = find(tables, rule, folder / "near", memory)
    return {
        basename(table.path): [lost.rows(table).tolist() for lost in (same, over, near)] for table in members(tables)
    }


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    """Eleven tables, one of them empty, with rows that lose by every rule, and how they lie when each is a group."""
    rng = random.Random(7)
    texts = [f"{LONG} {number}" for number in range(8)] + [
        f"a text of its own, {number * 7919}" for number in range(40)
    ]
    folder = tmp_path_factory.mktemp("crawl")
    tables = []
    for number, size in enumerate([25, 3, 0, 17, 60, 1, 9, 30, 12, 5, 20]):
        rows = [(rng.choice(texts), rng.randrange(3), f"u{rng.randrange(12)}") for _ in range(size)]
        tables.append(write_extracted(folder / f"t{number:02}.parquet", rows))
    return tables, lost_by_all_rules(tables, folder / "expected", 1 << 30)


@pytest.mark.parametrize(("sizes", "reverse", "memory"), WAYS)
def test_the_same_rows_lose_however_tables_are_grouped_ordered_and_sliced(
    crawl, tmp_path, monkeypatch, sizes, reverse, memory
):
    tables, expected = crawl
    assert all(any(lists[kind] for lists in expected.values()) for kind in range(3)), "every rule finds some"
    for name, value in sizes.items():
        monkeypatch.setattr(table_groups, name, value)
    given = tables[::-1] if reverse else tables
    assert lost_by_all_rules(given, tmp_path, memory) == expected


def test_a_group_of_tables_sends_one_of_equal_rows(tables):
    [group] = [TableGroup(3, "all", tuple(tables))]
    sent = dict(Duplicates(num_rows=8).pack(group))
    straight = sent.pop(straight_to(3))
    assert [rows.tolist() for rows in rows_by_table(straight, 4)] == [[0, 1], [1], [], []]
    assert sum(map(len, sent.values())) == 5 * Duplicates.dtype.itemsize


NUM_WATS, PAIRS_A_WAT = 90_000, 28_000  # of a crawl of Common Crawl


@pytest.mark.parametrize("kind", ["same", "over", "near"])
def test_a_whole_crawl_is_few_elements_and_a_bucket_fits_into_memory(kind):
    num_rows = NUM_WATS * PAIRS_A_WAT
    rule = {
        "same": Duplicates(num_rows=num_rows),
        "over": RepeatedTexts(num_rows=num_rows, max_repeats=1000, losers=()),
        "near": NearDuplicates(num_rows=num_rows, threshold=0.8, signatures="", losers=()),
    }[kind]
    hops = rule.hops(NUM_WATS)
    assert max(hop.elements for hop in hops) < 50_000_000
    assert hops[0].bytes == rule.payload == num_rows * {"same": 32, "over": 24, "near": 9 * 20}[kind]
    assert rule.payload / num_buckets(rule.payload) <= 200e6
