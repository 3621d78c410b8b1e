"""The functions that balancing is made of, each on a few rows: what is kept, passed over, counted and refused."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.balancing import keeping
from pipeline.balancing.final import count_short, final_cuts, keep_fetched
from pipeline.balancing.keeping import Selection, keep_selected, keep_table, open_selection, with_columns
from pipeline.balancing.lots import LARGEST, Drawing, collect_lots, hash_queries, lot_bounds, select_lots
from pipeline.balancing.pool import PoolTable, new_names, pair_weights, whole_tables
from pipeline.balancing.rules import (
    Rule,
    cut_column,
    cut_words,
    finished_rule,
    open_drawing,
    read_cuts,
    read_rule,
    write_rule,
)
from pipeline.balancing.sampling import SAMPLED, read_sample, sample_pairs
from pipeline.balancing.stage import BalancePairs, check_kept, cuts_table
from pipeline.base.arrays import flatten_lists, list_column, read_array, read_lists, write_array
from pipeline.base.drops import LostRows, check_counts
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import BALANCED, CUTS, FINAL_CUTS, MATCHED, PAIR_ID, PAIRS, RAW_INDEX
from pipeline.base.stage_folder import close_folder
from pipeline.base.table_groups import write_row_lists
from pipeline.base.tables import read_counts, read_table, write_table

QUERIES = pa.chunked_array([["everywhere", "often", "rare"]])
DRAWING = Drawing(seed=5, query_hashes=hash_queries(QUERIES))
TABLE = pa.schema([*PAIRS, *MATCHED])
LISTS = [[0, 1], [0], [], [0, 1, 2], [1], [0], [0, 1], [], [0], [0, 2]]


def identity(number):
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def pair_rows(lists=LISTS):
    return [
        {"pair_id": identity(number), "image_url": f"http://a.example/{number}", "text": f"text {number}"}
        | {"text_source": "alt", "source_file": "crawl", "query_ids": ids}
        for number, ids in enumerate(lists)
    ]


def pair_batch(lists=LISTS):
    return pa.RecordBatch.from_pylist(pair_rows(lists), TABLE)


def lots_of(query_id, lists=LISTS):
    """The lot of every pair that holds a query: pair number to lot."""
    numbers = [number for number, ids in enumerate(lists) if query_id in ids]
    ids = pa.array([identity(number) for number in numbers], PAIR_ID)
    lots = DRAWING.draw(ids, np.arange(len(numbers)), np.full(len(numbers), query_id, np.int32))
    return dict(zip(numbers, lots.tolist(), strict=True))


def chosen_by(cuts, lists=LISTS):
    """The definition: pair number to the queries whose lot for it is at most their cut."""
    found = {}
    for query_id, cut in enumerate(cuts.tolist()):
        for number, lot in lots_of(query_id, lists).items():
            if lot <= cut:
                found.setdefault(number, []).append(query_id)
    return dict(sorted(found.items()))


def cuts_at(*caps):
    """The cuts at which queries select so many of their pairs; None is all of them."""
    return np.array(
        [
            LARGEST if cap is None else sorted(lots_of(query).values())[cap - 1] if cap else 0
            for query, cap in enumerate(caps)
        ],
        np.uint64,
    )


def selection(cuts, fetched=None, shares=(0.5, 0.25, 1.0), coordinated=False):
    return Selection(drawing=DRAWING, cuts=cuts, shares=np.array(shares), coordinated=coordinated, fetched=fetched)


def opened(*arguments, **options):
    return OnWorker(selection, *arguments, **options)


CUTS_OF = [(None, None, None), (3, 2, 1), (1, None, 0), (0, 0, 0), (7, 4, 2)]


@pytest.mark.parametrize("caps", CUTS_OF, ids=str)
def test_pairs_are_kept_for_the_queries_whose_lot_is_at_most_their_cut(caps):
    cuts = cuts_at(*caps)
    kept = keep_selected(pair_batch(), selection(cuts))
    wanted = chosen_by(cuts)
    assert kept.pairs["pair_id"].to_pylist() == [identity(number) for number in wanted]
    assert kept.pairs["kept_for"].to_pylist() == list(wanted.values())
    assert kept.num_fetched == 0
    for query_id, cap in enumerate(caps):
        own = [number for number, ids in wanted.items() if query_id in ids]
        assert len(own) == (len(lots_of(query_id)) if cap is None else cap)
    rows, query_ids = select_lots(pair_batch(), cuts, DRAWING)
    assert list(zip(rows.tolist(), query_ids.tolist(), strict=True)) == [
        (number, id) for number, ids in wanted.items() for id in ids
    ]


@pytest.mark.parametrize(
    ("coordinated", "chances"),
    [
        (False, [0.625, 0.5, 0, 1, 0.25, 0.5, 0.625, 0, 0.5, 1]),
        (True, [0.5, 0.5, 0, 1, 0.25, 0.5, 0.5, 0, 0.5, 1]),
    ],
)
def test_every_pair_has_its_chance_and_kept_ones_state_it(coordinated, chances):
    kept = keep_selected(pair_batch(), selection(cuts_at(3, 2, 1), coordinated=coordinated))
    assert kept.chances.tolist() == chances
    numbers = [int(url.rsplit("/")[-1]) for url in kept.pairs["image_url"].to_pylist()]
    assert kept.pairs["keep_probability"].to_pylist() == [chances[number] for number in numbers]
    assert kept.pairs["keep_probability"].type == pa.float32()


def test_pairs_that_an_earlier_round_selected_are_passed_over_and_counted():
    earlier, cuts = cuts_at(2, 1, 0), cuts_at(5, 3, 1)
    kept = keep_selected(pair_batch(), selection(cuts, fetched=earlier))
    before, now = chosen_by(earlier), chosen_by(cuts)
    wanted = {number: ids for number, ids in now.items() if number not in before}
    assert kept.pairs["pair_id"].to_pylist() == [identity(number) for number in wanted]
    assert kept.pairs["kept_for"].to_pylist() == list(wanted.values())
    assert kept.num_fetched == len(now) - len(wanted) > 0


def test_columns_are_put_in_or_in_place_of_others():
    batch = pa.RecordBatch.from_pydict({"a": [1], "b": [2]})
    assert with_columns(batch, {"b": pa.array([3]), "c": pa.array([4])}).to_pydict() == {"a": [1], "b": [3], "c": [4]}


@pytest.fixture
def table(tmp_path):
    path = str(tmp_path / "pairs.parquet")
    write_table(path, pa.Table.from_batches([pair_batch()]), TABLE)
    return path


@pytest.mark.parametrize("least_rows", [1, 3, 65_536])
def test_a_table_of_kept_pairs_counts_every_pair_once(table, tmp_path, monkeypatch, least_rows):
    monkeypatch.setattr(keeping, "_MIN_ROWS", least_rows)
    monkeypatch.setattr(
        PoolTable, "read", lambda *_, **__: (pair_batch()[first : first + 2] for first in range(0, 10, 2))
    )
    earlier, cuts = cuts_at(1, 0, 0), cuts_at(3, 2, 1)
    target = str(tmp_path / "kept.parquet")
    counts = keep_table(PoolTable(table, "kept.parquet"), target, selection=opened(cuts, fetched=earlier))
    before, now = chosen_by(earlier), chosen_by(cuts)
    wanted = {number: ids for number, ids in now.items() if number not in before}
    assert counts == {
        "pairs/in": 8,
        "pairs/kept": len(wanted),
        "pairs/drop/fetched_before": 1,
        "pairs/drop/over_cap": 7 - len(wanted),
        "selections": sum(map(len, wanted.values())),
        "expected_pairs": 5,
    }
    check_counts(counts)
    filled = len({number // 2 for number in wanted})  # batches with a pair that is kept
    assert pq.ParquetFile(target).num_row_groups == {1: filled, 3: 2, 65_536: 1}[least_rows]
    assert read_counts(target) == counts
    written = read_table(target)
    assert written.schema.equals(BALANCED)
    assert written["kept_for"].to_pylist() == list(wanted.values())


def test_pairs_that_are_known_are_passed_over_and_counted(table, tmp_path):
    known = str(tmp_path / "known.rows")
    write_row_lists(known, [np.array([1], np.uint32), np.array([0, 2, 5], np.uint32)])
    source = PoolTable(table, "kept.parquet", known=known, place=1)
    counts = keep_table(source, str(tmp_path / "kept.parquet"), selection=opened(cuts_at(None, None, None)))
    assert counts == {
        "pairs/in": 9,
        "pairs/kept": 6,
        "pairs/drop/known_pair": 3,
        "selections": 10,
        "expected_pairs": 4,
    }


def test_a_table_without_pairs_is_kept_as_one(tmp_path):
    path, target = str(tmp_path / "none.parquet"), str(tmp_path / "kept.parquet")
    write_table(path, TABLE.empty_table(), TABLE)
    counts = keep_table(PoolTable(path, "kept.parquet"), target, selection=opened(cuts_at(1, 1, 1)))
    assert counts == {"pairs/in": 0, "pairs/kept": 0, "selections": 0, "expected_pairs": 0}
    assert read_table(target).num_rows == 0


def test_files_of_a_selection_open_as_it_was(tmp_path):
    arrays = {"hashes": DRAWING.query_hashes, "cuts": cuts_at(1, 1, 1), "shares": np.array([0.5, 0.25, 1.0])}
    paths = {name: str(tmp_path / f"{name}.npy") for name in arrays}
    for name, path in paths.items():
        write_array(path, arrays[name])
    drawing = OnWorker(open_drawing, 5, paths["hashes"])
    for fetched in ("", paths["cuts"]):
        files = {name: paths[name] for name in ("cuts", "shares")}
        opened = open_selection(drawing, **files, coordinated=True, fetched=fetched)
        assert opened.drawing.seed == 5
        assert opened.coordinated
        assert (opened.fetched is None) == (not fetched)
        for name, array in (("cuts", opened.cuts), ("shares", opened.shares), ("hashes", opened.drawing.query_hashes)):
            assert array.tolist() == arrays[name].tolist()
            assert not array.flags.writeable


def test_balanced_pairs_stand_for_those_that_were_not_kept(table, tmp_path):
    assert pair_weights(pair_batch()).tolist() == [1.0] * 10
    target = str(tmp_path / "kept.parquet")
    keep_table(PoolTable(table, "kept"), target, selection=opened(cuts_at(None, None, None)))
    [batch] = PoolTable(target, "kept", balanced=True).read(["query_ids"])
    assert batch.schema.names == ["query_ids", "keep_probability"]
    assert pair_weights(batch).tolist() == [1.6, 2, 1, 4, 2, 1.6, 2, 1]


def test_new_tables_have_names_that_follow_from_their_crawl_and_not_from_its_folder(tmp_path):
    earlier = whole_tables(["a/x.parquet", "a/y.parquet"])
    assert [source.name for source in earlier] == ["x.parquet", "y.parquet"]
    names = {}
    for folder, count in (("one", 1), ("moved/one", 1), ("other", 2)):
        matched = str(tmp_path / folder)
        close_folder(matched, identity={"stage": "match-pairs"}, counts={"n": count}, outputs=[], made_from=[])
        names[folder] = [table.name for table in new_names(earlier, earlier, matched=matched)]
    assert names["one"] == names["moved/one"] != names["other"]
    assert all(name.endswith("-x.parquet") for name, _ in names.values())
    with pytest.raises(ValueError, match="was added to the previous crawls before"):
        new_names(earlier, whole_tables([f"b/{name}" for name in names["one"]]), matched=str(tmp_path / "one"))


def test_sources_give_their_lists(table):
    [lists] = PoolTable(table, "x").query_lists()
    assert lists.to_pylist() == LISTS
    [lists] = read_lists(table, column="query_ids")
    assert lists.to_pylist() == LISTS
    [batch] = PoolTable(table, "x").read(["query_ids"])
    assert batch.schema.names == ["query_ids"]


def test_lists_are_flattened_and_put_together_again():
    rows, values = flatten_lists(pair_batch()["query_ids"].slice(2, 3))
    assert (rows.tolist(), values.tolist()) == ([1, 1, 1, 2], [0, 1, 2, 1])
    assert list_column(np.array([0, 3, 1]), values).to_pylist() == [[], [0, 1, 2], [1]]
    assert list_column(np.array([], np.int64), np.array([], np.int32)).to_pylist() == []


def test_arrays_are_read_as_they_were_written(tmp_path):
    path = str(tmp_path / "a.npy")
    write_array(path, np.array([[1, 2], [3, 4]], np.uint64))
    assert read_array(path).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="read-only"):
        read_array(path)[0, 0] = 9


@pytest.mark.parametrize("share", [1.0, 0.5, 0.125])
def test_a_sample_is_the_pairs_with_a_query_whose_low_half_lies_in_the_share(share):
    batch = pair_batch([ids for _ in range(40) for ids in LISTS])
    sample = sample_pairs(batch, share)
    chosen = [
        ids
        for number, ids in enumerate(batch["query_ids"].to_pylist())
        if ids and int.from_bytes(identity(number)[8:]) / 2.0**64 <= share
    ]
    assert sample["query_ids"].to_pylist() == chosen
    assert sample["weight"].to_pylist() == [1 / share] * len(chosen)
    assert abs(len(chosen) - 320 * share) < 5 * (320 * share * (1 - share)) ** 0.5 + 1


def test_a_sample_of_all_is_all_that_hold_a_query():
    ids = pa.array([b"\xff" * 16, bytes(16)], PAIR_ID)
    batch = pa.RecordBatch.from_pydict({"pair_id": ids, "query_ids": pa.array([[0], [1]], pa.list_(pa.int32()))})
    assert sample_pairs(batch, 1.0)["query_ids"].to_pylist() == [[0], [1]]


def test_a_sample_of_several_tables_or_none_is_read_in_order(tmp_path):
    assert read_sample([]).weights.tolist() == []
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    for path, lists in zip(paths, ([[0], [1, 2]], [[2]]), strict=True):
        write_table(path, [sample_pairs(pair_batch(lists), 1.0)], SAMPLED)
    assert not any(field.nullable for field in SAMPLED)
    sample = read_sample(paths)
    assert sample.weights.tolist() == [1, 1, 1]
    assert sample.query_ids.to_pylist() == [[0], [1, 2], [2]]


def test_a_rule_is_read_as_it_was_written(tmp_path):
    folder, rule = str(tmp_path), Rule(cap=10, fetch_cap=20, seed=2**62, hashes="coordinated")
    assert read_rule(folder) is None
    with pytest.raises(FileNotFoundError, match=r"no rule\.json in .* is it a folder of balance-pairs"):
        finished_rule(folder)
    write_rule(folder, rule)
    assert (tmp_path / "rule.json").read_text() == (
        '{\n "cap": 10,\n "fetch_cap": 20,\n "seed": 4611686018427387904,\n "hashes": "coordinated"\n}\n'
    )
    assert read_rule(folder) == finished_rule(folder) == rule
    assert rule.coordinated
    assert not rule._replace(hashes="independent").coordinated


@pytest.mark.parametrize("hashes", ["independent", "coordinated"])
def test_a_rule_says_what_lots_are_drawn_by(tmp_path, hashes):
    drawing = Rule(cap=1, fetch_cap=1, seed=3, hashes=hashes).prepare_drawing(QUERIES, str(tmp_path)).get()
    assert drawing.seed == 3
    wanted = hash_queries(QUERIES).tolist() if hashes == "independent" else [0, 0, 0]
    assert drawing.query_hashes.tolist() == wanted


def test_only_queries_that_draw_lots_are_hashed(tmp_path):
    rule = Rule(cap=1, fetch_cap=1, seed=3, hashes="independent")
    drawing = rule.prepare_drawing(QUERIES, str(tmp_path), np.array([True, False, True])).get()
    first, _, last = hash_queries(QUERIES).tolist()
    assert drawing.query_hashes.tolist() == [first, 0, last]


def test_columns_read_as_dictionaries_hold_the_same_and_are_written_as_text(tmp_path):
    path, copy = str(tmp_path / "pairs.parquet"), str(tmp_path / "copy.parquet")
    names = [None, "en", "de", "en"]
    schema = pa.schema([PAIRS.field("language"), MATCHED.field("query_ids")])
    table = pa.table([names, [[0], [], [1], [2]]], schema=schema)
    write_table(path, table, schema)
    [batch] = PoolTable(path, "x").read(schema.names, dictionaries=["language"])
    assert pa.types.is_dictionary(batch["language"].type)
    assert batch["language"].to_pylist() == names
    write_table(copy, [batch], schema)
    assert read_table(copy).equals(table)


def test_the_largest_cut_is_null_in_a_table():
    cuts = np.array([0, 7, LARGEST - 1, LARGEST], np.uint64)
    column = cut_column(cuts)
    assert column.to_pylist() == [0, 7, 2**64 - 2, None]
    assert cut_words(pa.chunked_array([column])).tolist() == cuts.tolist()


def test_a_table_of_cuts_says_what_the_cap_does_to_every_query(tmp_path):
    table = cuts_table(QUERIES, np.array([9, 5, 0]), np.array([7, LARGEST, LARGEST], np.uint64), np.array([4, 5, 0]))
    assert table.schema.equals(CUTS)
    assert table.to_pylist() == [
        {"query_id": 0, "query": "everywhere", "count": 9, "cut": 7, "kept": 4},
        {"query_id": 1, "query": "often", "count": 5, "cut": None, "kept": 5},
        {"query_id": 2, "query": "rare", "count": 0, "cut": None, "kept": 0},
    ]
    write_table(str(tmp_path / "cuts.parquet"), table, CUTS)
    assert read_cuts(str(tmp_path)).equals(table)


def test_a_query_that_selected_another_number_of_pairs_is_named():
    table = cuts_table(QUERIES, np.array([9, 5, 0]), np.full(3, LARGEST), np.array([4, 5, 0]))
    check_kept(table, np.array([4, 5, 0]))
    with pytest.raises(LostRows, match=r"2 queries selected .* e\.g\. 'often' 6, not 5"):
        check_kept(table, np.array([4, 6, 1]))


def frontier():
    return cuts_table(QUERIES, np.array([100, 50, 5]), np.array([900, 800, LARGEST], np.uint64), np.array([20, 20, 5]))


def test_final_cuts_are_those_among_what_came():
    alive = np.array([12, 7, 3])
    table = final_cuts(frontier(), np.array([500, 800, LARGEST], np.uint64), alive, 10)
    assert table.schema.names == FINAL_CUTS.names
    assert table["kept"].to_pylist() == [10, 7, 3]
    assert table["cut"].to_pylist() == [500, 800, None]
    assert table["fetch_cut"].to_pylist() == [900, 800, None]
    assert table["fetched"].to_pylist() == [20, 20, 5]
    assert table["count"].to_pylist() == [100, 50, 5]
    assert table["alive"].to_pylist() == [12, 7, 3]


@pytest.mark.parametrize(
    ("alive", "cap", "short"),
    [([12, 7, 3], 10, (1, 3)), ([9, 7, 3], 10, (2, 4)), ([10, 10, 3], 10, (0, 0)), ([12, 7, 3], 20, (2, 21))],
)
def test_queries_that_came_short_are_counted_with_what_they_lack(alive, cap, short):
    table = final_cuts(frontier(), np.full(3, LARGEST), np.array(alive), cap)
    assert count_short(table, cap) == {"short_queries": short[0], "missing_pairs": short[1]}


def test_of_a_raw_index_the_rows_with_an_image_are_selected_and_all_counted(tmp_path):
    statuses = ["ok", "not_found", "ok", "ok", "timed_out", "ok", "ok", "not_found", "ok", "ok"]
    rows = [
        dict.fromkeys(RAW_INDEX.names)
        | {name: row[name] for name in row if name in RAW_INDEX.names}
        | {"key": identity(number).hex(), "status": status, "kept_for": [], "keep_probability": 1.0}
        for number, (row, status) in enumerate(zip(pair_rows(), statuses, strict=True))
    ]
    index, target = str(tmp_path / "raw.parquet"), str(tmp_path / "kept.parquet")
    write_table(index, pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    cuts = cuts_at(3, 2, 1)
    counts = keep_fetched(PoolTable(index, "kept.parquet"), target, selection=opened(cuts))
    wanted = {number: ids for number, ids in chosen_by(cuts).items() if statuses[number] == "ok"}
    written = read_table(target)
    assert written.schema.equals(RAW_INDEX)
    assert written["pair_id"].to_pylist() == [identity(number) for number in wanted]
    assert written["kept_for"].to_pylist() == list(wanted.values())
    assert counts == {
        "pairs/in": 10,
        "pairs/kept": len(wanted),
        "pairs/drop/not_found": 2,
        "pairs/drop/over_cap": 7 - len(wanted),
        "pairs/drop/timed_out": 1,
    }
    assert read_counts(target) == counts


def test_of_a_raw_index_without_an_image_nothing_is_selected(tmp_path):
    row = dict.fromkeys(RAW_INDEX.names) | {"pair_id": bytes(16), "key": "0" * 32, "status": "not_found", "text": ""}
    row |= {
        "image_url": "",
        "text_source": "alt",
        "source_file": "crawl.warc.gz",
        "query_ids": [0],
        "kept_for": [0],
        "keep_probability": 1.0,
    }
    index = str(tmp_path / "raw.parquet")
    write_table(index, pa.Table.from_pylist([row], RAW_INDEX), RAW_INDEX)
    counts = keep_fetched(
        PoolTable(index, "kept.parquet"),
        str(tmp_path / "kept.parquet"),
        selection=opened(cuts_at(None, None, None)),
    )
    assert counts == {"pairs/in": 1, "pairs/kept": 0, "pairs/drop/not_found": 1}


def test_the_cap_is_that_of_clip_unless_a_rule_is_given():
    assert BalancePairs(matched="m", pairs="p", vocab="v", output="o").cap == 20_000
    assert BalancePairs(matched="m", pairs="p", vocab="v", output="o", tail_share=0.1).cap is None
    with pytest.raises(ValueError, match="give one of cap, tail-share and target-pairs, not cap and target-pairs"):
        BalancePairs(matched="m", pairs="p", vocab="v", output="o", cap=1, target_pairs=1)


def test_lots_are_collected_up_to_the_bound_of_their_query_and_none_at_0():
    cuts = cuts_at(3, 2, 1)
    bounds = np.array([cuts[0], cuts[1] - np.uint64(1), 0], np.uint64)
    lots = collect_lots(pair_batch(), bounds, DRAWING)
    wanted = [(id, lot) for id in (0, 1) for lot in lots_of(id).values() if lot <= bounds[id]]
    assert sorted(lots.tolist()) == sorted(wanted)
    assert len(lots) == 3 + 1


def test_a_bound_is_the_share_of_the_range_that_the_cap_and_a_margin_make():
    counts, caps = np.array([1000, 1000, 500, 161, 160, 10]), np.array([100, 4, 100, 100, 100, 9])
    bounds = lot_bounds(counts, caps) / 2.0**64
    assert bounds.tolist() == pytest.approx([0.16, 0.016, 0.32, 160 / 161, 1, 1])
    assert lot_bounds(counts[4:], caps[4:]).tolist() == [2**64 - 1] * 2
    assert (lot_bounds(counts, caps, widening=2)[:3] / 2.0**64).tolist() == pytest.approx([0.32, 0.032, 0.64])
