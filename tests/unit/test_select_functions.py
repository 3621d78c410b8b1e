"""The functions that write-shards is made of: what is stored, which shard it goes to, which score is good enough."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.ids import pair_id
from pipeline.base.schemas import RAW_INDEX
from pipeline.base.tables import write_table
from pipeline.sharding.scores import closing_file, find_cut, rank_scores
from pipeline.sharding.selecting import (
    _RECORD,
    SELECTED,
    SHARD_PLAN,
    ShardSpec,
    cut_shards,
    duplicate_ids,
    find_losers,
    plan_shard,
    spec_shards,
)
from pipeline.sharding.stored_samples import read_stored


def index_rows(numbers):
    for number in numbers:
        url = f"http://a.example/{number}"
        identity = pair_id(url, "text")
        sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), 8)
        yield (
            dict.fromkeys(RAW_INDEX.names)
            | sizes
            | {
                "pair_id": identity,
                "key": identity.hex(),
                "status": "not_found" if number % 5 == 0 else "ok",
                "offset": 512 * number,
                "length": 512,
                "sha256": hashlib.sha256(b"%d" % number).digest(),
                "image_url": url,
                "text": "text",
                "query_ids": [0],
                "kept_for": [0],
                "keep_probability": 1.0,
                "mime": "image/jpeg",
            }
        )


def write_index(path, numbers):
    write_table(str(path), pa.Table.from_pylist(list(index_rows(numbers)), RAW_INDEX), RAW_INDEX)
    return str(path)


def write_selected(path, numbers):
    rows = [{name: row[name] for name in SELECTED.names} for row in index_rows(numbers)]
    write_table(str(path), pa.Table.from_pylist(rows, SELECTED), SELECTED)
    return str(path)


def test_the_rows_with_an_image_are_read_in_key_order(tmp_path):
    rows = read_stored(write_index(tmp_path / "a.index.parquet", range(30)))
    wanted = sorted(pair_id(f"http://a.example/{number}", "text") for number in range(30) if number % 5)
    assert rows["pair_id"].to_pylist() == wanted
    assert read_stored(write_index(tmp_path / "b.index.parquet", [])).num_rows == 0


@pytest.mark.parametrize(
    ("sizes", "most", "cuts"),
    [
        ([], 5, []),
        ([0], 5, [[]]),
        ([5], 5, [[(0, 5)]]),
        ([6], 5, [[(0, 3), (3, 6)]]),
        ([7, 1], 3, [[(0, 2), (2, 4), (4, 7)], [(0, 1)]]),
        ([3], 1, [[(0, 1), (1, 2), (2, 3)]]),
    ],
)
def test_groups_are_cut_into_as_few_shards_as_hold_them(sizes, most, cuts):
    assert cut_shards(sizes, most) == cuts


def test_shards_are_numbered_through_over_the_groups(tmp_path):
    paths = [
        write_selected(tmp_path / f"{name}.parquet", range(size)) for name, size in zip("abc", (3, 4, 2), strict=True)
    ]
    assert spec_shards(paths, group_size=2, max_samples=4) == [
        ShardSpec(0, (paths[0], paths[1]), 0, 3),
        ShardSpec(1, (paths[0], paths[1]), 3, 7),
        ShardSpec(2, (paths[2],), 0, 2),
    ]
    assert spec_shards([], group_size=2, max_samples=4) == []


def test_the_shards_of_a_group_are_parts_of_its_rows_in_key_order(tmp_path):
    paths = tuple(
        write_selected(tmp_path / f"raw-{name}.parquet", numbers)
        for name, numbers in (("a", range(5)), ("b", range(5, 9)))
    )
    parts = [plan_shard(ShardSpec(0, paths, *edges)) for edges in ((0, 4), (4, 9))]
    assert parts[0].schema.names == SHARD_PLAN.names
    assert not any(SHARD_PLAN.field(name).nullable for name in ("offset", "length", "raw_name"))
    rows = pa.concat_tables(parts).to_pylist()
    keys = {pair_id(f"http://a.example/{number}", "text").hex(): number for number in range(9)}
    assert [row["key"] for row in rows] == sorted(keys)
    assert [row["raw_name"] for row in rows] == ["raw-a" if keys[row["key"]] < 5 else "raw-b" for row in rows]
    assert [row["offset"] for row in rows] == [512 * keys[row["key"]] for row in rows]


def test_duplicates_share_the_image_and_by_text_the_text_too():
    table = pa.table({"sha256": pa.array([b"a" * 32, b"a" * 32, b"b" * 32], pa.binary(32)), "text": ["x", "y", "x"]})
    images, pairs = (duplicate_ids(table, by_text=by_text).to_pylist() for by_text in (False, True))
    assert images[0] == images[1] != images[2]
    assert len(set(pairs)) == 3


@pytest.mark.parametrize(
    ("ids", "losers"),
    [
        ([((1, 1), (0, 5)), ((1, 1), (0, 4))], [0]),
        ([((1, 1), (1, 0)), ((1, 1), (0, 9))], [0]),
        ([((1, 1), (0, 0)), ((1, 2), (0, 1)), ((2, 1), (0, 2))], []),
        ([((1, 1), (0, 3)), ((2, 2), (0, 1)), ((1, 1), (0, 2)), ((2, 2), (0, 0))], [0, 1]),
        ([((1, 1), (0, 0)), ((2, 1), (0, 1)), ((1, 1), (0, 2))], [2]),
        ([((1, 1), (0, 0)), ((1, 2), (0, 1)), ((1, 1), (0, 2))], [2]),
        ([], []),
    ],
    ids=["low half", "high half", "other ids", "in between", "equal low half", "equal high half", "none"],
)
def test_of_equal_ids_the_record_with_the_smallest_key_stays(ids, losers):
    records = np.array([(id, key, 0, row) for row, (id, key) in enumerate(ids)], _RECORD)
    assert sorted(find_losers(records)["row"].tolist()) == losers


def test_a_folder_of_scores_is_finished_when_it_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished scores in .* \(no scores\.json\)"):
        closing_file(str(tmp_path))
    (tmp_path / "scores.json").write_text(json.dumps({"rows": {}}))
    assert closing_file(str(tmp_path)) == str(tmp_path / "scores.json")


def test_ranks_of_scores_cover_all_bits_in_order():
    scores = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-45, 1.0, np.inf], np.float32)
    assert rank_scores(scores).tolist() == [
        0x007FFFFF, 0x407FFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xBF800000, 0xFF800000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "share", "cut"),
    [
        ([0.5], 1.0, 0.5),
        ([0.5], 0.01, 0.5),
        ([-0.5, -0.25], 0.5, -0.25),
        ([-0.5, -0.25], 0.51, -0.5),
        ([-0.5, 0.0, 0.5], 2 / 3, 0.0),
        ([0.50000006, 0.5, 0.49999997], 1 / 3, 0.50000006),
        ([0.50000006, 0.5, 0.49999997], 2 / 3, 0.5),
        ([0.25, 0.25, 0.125], 0.1, 0.25),
        ([0.1, 0.2, 0.3, 0.4], 0.75, 0.2),
    ],
)
def test_the_cut_is_the_score_that_the_share_rounded_up_reaches(tmp_path, scores, share, cut):
    schema = pa.schema([("key", pa.string()), ("score", pa.float32())])
    table = pa.table([["0"] * len(scores), pa.array(scores, pa.float32())], schema=schema)
    write_table(str(tmp_path / "a.parquet"), table, schema)
    assert find_cut([str(tmp_path / "a.parquet")], share) == np.float32(cut)
