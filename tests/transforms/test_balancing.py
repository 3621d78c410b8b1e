"""FindCuts and KeepSelected: cuts at the cap, queries asked again, selections and drops counted."""

import os

import numpy as np
import pyarrow as pa
import pytest

from jobs.engines import Engine, StepFailed
from jobs.runner import make_step
from pipeline.balancing.cutting import collect_step, take_step
from pipeline.balancing.known import Side, known_step, without_known
from pipeline.balancing.lots import LARGEST, Drawing, hash_queries, lot_bounds
from pipeline.balancing.pool import whole_tables
from pipeline.balancing.rules import Rule
from pipeline.balancing.stage import check_kept, cuts_table, keep_by_cuts
from pipeline.base import table_groups
from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import LostRows, add_counts
from pipeline.base.folders import BalancedFolder
from pipeline.base.ids import pair_id
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import estimate_hops, num_buckets
from pipeline.base.schemas import BALANCED, CUTS, MATCHED, PAIRS
from pipeline.base.tables import read_table, write_table
from pipeline.steps import Step

QUERIES = pa.chunked_array([["everywhere", "often", "rare", "nowhere"]])
CAP = 10
SEED = 3
COUNTS = np.array([90, 45, 9, 0])


MATCHED_PAIRS = pa.schema([*PAIRS, *MATCHED])  # in one table


def query_ids_of(number):
    return [0] + [1] * (number % 2 == 0) + [2] * (number % 10 == 0)


def matched_table(numbers):
    urls = [f"http://host.example/{number}" for number in numbers]
    constant = {"text_source": "alt", "page_url": None, "language": None, "source_file": "crawl"}
    columns = {
        "pair_id": [pair_id(url, "text") for url in urls],
        "image_url": urls,
        "text": ["text"] * len(urls),
        "query_ids": [query_ids_of(number) for number in numbers],
    } | {name: [value] * len(urls) for name, value in constant.items()}
    return pa.Table.from_pydict(columns, MATCHED_PAIRS)


@pytest.fixture
def world(tmp_path):
    """Files of 90 matched pairs in three tables, one of them empty."""
    tables = []
    for name, numbers in (("a", range(60)), ("b", range(60, 90)), ("c", ())):
        tables.append(str(tmp_path / "matched" / f"{name}.parquet"))
        write_table(tables[-1], matched_table(numbers), MATCHED_PAIRS)
    return tmp_path, tables


def run(transform, memory=1 << 30):
    folder = os.path.commonpath([os.path.dirname(output) for output in transform.outputs])
    made = make_step(Step("Step", transform), Engine(workers=1, memory=memory), folder)
    return add_counts(*(receipt.counts for receipt in made.values()))


def find_cuts(world, bounds, cap=CAP):
    folder, tables = world
    write_array(str(folder / "bounds.npy"), bounds)
    write_array(str(folder / "caps.npy"), np.full(4, cap))
    drawing = Rule(cap, cap, SEED, "independent").prepare_drawing(QUERIES, str(folder))
    lots_folder = str(folder / f"lots-{hash(bounds.tobytes())}")
    collect = collect_step(whole_tables(tables), drawing, str(folder / "bounds.npy"), lots_folder)
    found = str(folder / f"found-{hash(bounds.tobytes())}.npy")
    take = take_step(collect.outputs, str(folder / "caps.npy"), found, num_lots=100)
    assert run(collect) == run(take) == {}
    return read_array(found)


def asked(counts, cap=CAP):
    return np.where(counts > cap, lot_bounds(np.maximum(counts, 1), np.full(4, cap)), 0).astype(np.uint64)


def all_lots(query_id):
    numbers = [number for number in range(90) if query_id in query_ids_of(number)]
    drawing = Drawing(seed=SEED, query_hashes=hash_queries(QUERIES))
    pair_ids = matched_table(numbers)["pair_id"].combine_chunks()
    return np.sort(drawing.draw(pair_ids, np.arange(len(numbers)), np.full(len(numbers), query_id)))


def test_cut_is_the_lot_at_the_cap_of_each_query_asked_for(world):
    found = find_cuts(world, asked(COUNTS))
    assert found.tolist() == [(id, int(all_lots(id)[CAP - 1])) for id in (0, 1)]


def test_query_whose_bound_is_too_low_is_missing_among_the_cuts(world):
    bounds = asked(COUNTS)
    bounds[0] = all_lots(0)[CAP - 2]
    assert find_cuts(world, bounds)["query_id"].tolist() == [1]
    bounds[0] = all_lots(0)[CAP - 1]
    assert find_cuts(world, bounds)["query_id"].tolist() == [0, 1]


def test_pair_that_is_there_twice_at_a_cut_is_an_error(world):
    folder, tables = world
    write_table(tables[2], read_table(tables[0]), MATCHED_PAIRS)
    with pytest.raises(StepFailed, match="is a pair there twice"):
        find_cuts((folder, tables), np.full(4, LARGEST), cap=CAP)


def test_every_query_keeps_its_share_and_pairs_are_kept_or_over_the_cap(world):
    folder, tables = world
    found = find_cuts(world, asked(COUNTS))
    cuts = np.full(4, LARGEST)
    cuts[found["query_id"]] = found["lot"]
    table = cuts_table(QUERIES, COUNTS, cuts, np.minimum(COUNTS, CAP))
    assert table.schema.equals(CUTS)
    assert table["kept"].to_pylist() == [10, 10, 9, 0]
    assert table["cut"].is_null().to_pylist() == [False, False, True, True]
    balanced_folder = BalancedFolder(str(folder / "balanced"))
    write_table(balanced_folder.cuts, table, CUTS)
    rule = Rule(CAP, CAP, SEED, "independent")
    drawing = rule.prepare_drawing(QUERIES, str(folder))
    steps = keep_by_cuts(whole_tables(tables), balanced_folder, rule, drawing)
    counts = add_counts(*(run(step.transform) for together in steps for step in together))
    balanced = pa.concat_tables([read_table(balanced_folder.table(name)) for name in "abc"])
    assert balanced.schema.equals(BALANCED)
    assert counts["pairs/in"] == 90
    assert counts["pairs/kept"] == balanced.num_rows == 90 - counts["pairs/drop/over_cap"]
    assert counts["selections"] == 29
    rows = balanced.select(["query_ids", "kept_for"]).to_pylist()
    assert all(row["kept_for"] and set(row["kept_for"]) <= set(row["query_ids"]) for row in rows)
    kept = np.bincount([id for row in rows for id in row["kept_for"]], minlength=4)
    check_kept(table, kept)


def test_query_that_selected_too_many_or_too_few_pairs_is_an_error():
    table = cuts_table(QUERIES, COUNTS, np.full(4, LARGEST), np.minimum(COUNTS, CAP))
    check_kept(table, np.array([10, 10, 9, 0]))
    for wrong in ([11, 10, 9, 0], [10, 10, 8, 0]):
        with pytest.raises(LostRows, match="1 queries selected other numbers"):
            check_kept(table, np.array(wrong))


NEW = {"k": range(70, 100), "l": (), "m": range(55), "n": (200, 59, 201), "o": (61,)}


@pytest.mark.parametrize(
    ("plenty", "most_rows", "memory"),
    [(256, 1 << 20, 1 << 30), (2, 1 << 20, 1 << 30), (1, 1 << 20, 1 << 30), (1, 20, 1 << 30), (2, 1 << 20, 3000)],
    ids=["a table a group", "groups of a few", "one group", "by rows", "in slices"],
)
@pytest.mark.parametrize("order", ["klmno", "nmokl"])
def test_known_rows_are_those_of_pairs_that_the_earlier_cuts_select_however_tables_are_grouped(
    world, monkeypatch, plenty, most_rows, memory, order
):
    monkeypatch.setattr(table_groups, "_PLENTY", plenty)
    monkeypatch.setattr(table_groups, "_MOST_ROWS", most_rows)
    folder, tables = world
    paths = [str(folder / "new" / f"{name}.parquet") for name in order]
    for path, name in zip(paths, order, strict=True):
        write_table(path, matched_table(NEW[name]), MATCHED_PAIRS)
    cuts = np.array([0, LARGEST, LARGEST, 0], np.uint64)  # every even number, nothing else
    write_array(str(folder / "cuts.npy"), cuts)
    earlier, new = Side(whole_tables(tables), 90, 45), Side(whole_tables(paths), 89, 45)
    step = known_step(
        earlier,
        new,
        drawing=Rule(CAP, CAP, SEED, "independent").prepare_drawing(QUERIES, str(folder)),
        cuts=OnWorker(read_array, str(folder / "cuts.npy")),
        folder=str(folder / "known"),
    )
    assert run(step, memory) == {}
    left = without_known(new, str(folder / "known"))
    assert [table.path for table in left] == paths, "in their order"
    urls = {
        table.path[-9]: [url.rpartition("/")[2] for batch in table.read(["image_url"]) for url in batch[0].to_pylist()]
        for table in left
    }
    expected = {name: [str(n) for n in numbers if n % 2 or n >= 90] for name, numbers in NEW.items()}
    assert urls == expected


def test_ids_of_two_whole_crawls_are_few_elements_and_a_bucket_fits_into_memory():
    paths = [f"gs://bucket/pairs/CC-MAIN-2026-{number:05}.warc.wat.gz-00ff.parquet" for number in range(90_000)]
    sides = Side(whole_tables(paths), 400_000_000, 400_000_000), Side(whole_tables(paths), 2_520_000_000, 500_000_000)
    step = known_step(*sides, drawing=OnWorker(int), cuts=OnWorker(int), folder="known")
    hops = estimate_hops(num_sources=len(step.sources), payload=step.payload, found=0)
    assert max(hop.elements for hop in hops) < 50_000_000
    assert step.payload == 16 * 400_000_000 + 24 * 500_000_000
    assert step.payload / num_buckets(step.payload) <= 200e6
