"""The functions that write-shards is made of: what is stored, which shard it goes to, which score is good enough."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.arrays import load_array
from pipeline.base.drops import DropReason
from pipeline.base.folders import StageFolder
from pipeline.base.ids import pair_id
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import RAW_INDEX
from pipeline.base.tables import read_table, write_table
from pipeline.sharding.selection.exact_duplicates import _RECORD, duplicate_ids, find_losers
from pipeline.sharding.selection.scores import rank_scores
from pipeline.sharding.selection.selecting import SURVIVORS, Wanted, judge_rows, write_survivors
from pipeline.sharding.selection.verdicts import (
    count_verdicts,
    read_candidates,
    verdicts_of,
    write_losses,
    write_verdicts,
)
from pipeline.sharding.stored_samples import RawGroup, RawTar, cut_groups, num_buckets, read_group, read_stored
from pipeline.web.blocklists import read_blocklists


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
                "text_source": "alt",
                "source_file": "crawl.warc.gz",
                "bytes": 100,
                "query_ids": [0],
                "kept_for": [0],
                "keep_probability": 1.0,
                "mime": "image/jpeg",
            }
        )


def write_index(path, numbers):
    write_table(str(path), pa.Table.from_pylist(list(index_rows(numbers)), RAW_INDEX), RAW_INDEX)
    return str(path)


def test_the_rows_with_an_image_are_read_in_key_order(tmp_path):
    rows = read_stored(write_index(tmp_path / "a.index.parquet", range(30)))
    wanted = sorted(pair_id(f"http://a.example/{number}", "text") for number in range(30) if number % 5)
    assert rows["pair_id"].to_pylist() == wanted
    assert read_stored(write_index(tmp_path / "b.index.parquet", [])).num_rows == 0


def test_the_rows_of_a_group_are_those_of_its_raw_tars_one_after_another(tmp_path):
    raws = tuple(
        RawTar(number, "", write_index(tmp_path / f"{number}.index.parquet", range(start, start + 9)))
        for number, start in ((4, 10), (5, 0))
    )
    rows = read_group(RawGroup(2, raws), ["text"])
    wanted = [
        (sorted(pair_id(f"http://a.example/{number}", "text") for number in numbers if number % 5), raw)
        for numbers, raw in ((range(10, 19), 4), (range(9), 5))
    ]
    assert rows["pair_id"].to_pylist() == [key for keys, _ in wanted for key in keys]
    assert not rows.schema.field("raw").nullable
    assert rows["raw"].to_pylist() == [raw for keys, raw in wanted for _ in keys]


def test_survivors_of_a_group_are_in_key_order_and_say_which_raw_tar_holds_them(tmp_path):
    indexes = [
        write_index(tmp_path / f"{number}.index.parquet", range(number * 6, number * 6 + 6)) for number in (0, 1)
    ]
    group = RawGroup(0, tuple(RawTar(number + 7, "", index) for number, index in enumerate(indexes)))
    before, after = (StageFolder(str(tmp_path / name)) for name in ("before", "after"))
    judge_rows(group, verdicts_of(group, folder=before), wanted=Wanted(OnWorker(read_blocklists, ())))
    losers = np.array([0], np.int32).tobytes()
    reason = DropReason.DUPLICATE_SAMPLE
    write_losses(group, verdicts_of(group, folder=after), [losers, losers], before=before, reason=reason)
    counts = write_survivors(group, str(tmp_path / "out.parquet"), verdicts=after, carried=())
    table = read_table(str(tmp_path / "out.parquet"))
    numbers = {pair_id(f"http://a.example/{number}", "text").hex(): number for number in range(12) if number % 5}
    lost = min(key for key, number in numbers.items() if number < 6)
    assert table.schema.equals(SURVIVORS)
    assert not any(SURVIVORS.field(name).nullable for name in ("raw", "offset", "length"))
    assert table["key"].to_pylist() == sorted(numbers.keys() - {lost})
    assert table["raw"].to_pylist() == [7 if numbers[key] < 6 else 8 for key in table["key"].to_pylist()]
    assert table["offset"].to_pylist() == [512 * numbers[key] for key in table["key"].to_pylist()]
    assert counts == {"samples/in": 9, "samples/kept": 8, "samples/drop/duplicate_sample": 1}


def test_of_one_key_the_first_row_stays_in_whatever_order_records_come():
    records = np.array([((1, 1), (0, 5), unit, row) for unit, row in ((1, 0), (0, 3), (0, 2))], _RECORD)
    for order in (records, records[::-1], np.roll(records, 1)):
        losers = find_losers(order)
        assert sorted(zip(losers["unit"].tolist(), losers["row"].tolist(), strict=True)) == [(0, 3), (1, 0)]


@pytest.mark.parametrize("tars", [1, 500, 1024, 40_000, 250_000])
def test_what_is_shuffled_of_many_raw_tars_are_few_messages(tars):
    groups = cut_groups(range(tars))
    assert [tar for group in groups for tar in group] == list(range(tars))
    assert len(groups) * num_buckets(tars) < 10_000_000
    assert tars * 10_000 / num_buckets(tars) < 3_000_000, "rows that are sorted in memory"


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


def test_a_row_leaves_for_the_first_reason_and_is_no_candidate_then(tmp_path):
    index = write_index(tmp_path / "0.index.parquet", range(1, 5))
    group = RawGroup(3, (RawTar(0, "", index),))
    folder, after = StageFolder(str(tmp_path / "before")), StageFolder(str(tmp_path / "after"))
    masks = [np.array(rows, bool) for rows in ([1, 0, 0, 0], [1, 1, 0, 0])]
    reasons = (DropReason.BLOCKED, DropReason.REFUSED_ROW)
    write_verdicts(verdicts_of(group, folder=folder), 4, dict(zip(reasons, masks, strict=True)))
    table, rows = read_candidates(group, ["text"], verdicts=folder)
    assert rows.tolist() == [2, 3]
    assert table["pair_id"].to_pylist() == read_group(group, [])["pair_id"].to_pylist()[2:]
    gone = np.array([3], np.int32).tobytes()
    write_losses(group, verdicts_of(group, folder=after), [gone], before=folder, reason=DropReason.DUPLICATE_IMAGE)
    assert count_verdicts(load_array(verdicts_of(group, folder=after))) == {
        "blocked": 1,
        "refused_row": 1,
        "duplicate_image": 1,
    }


def test_ranks_of_scores_cover_all_bits_in_order():
    scores = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-45, 1.0, np.inf], np.float32)
    assert rank_scores(scores).tolist() == [
        0x007FFFFF, 0x407FFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xBF800000, 0xFF800000,
    ]  # fmt: skip
