"""Which sample goes to which shard, and which bytes are read for it: pure arithmetic on keys and places."""

import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import LostRows
from pipeline.base.ids import id_words, sorted_order, words_column
from pipeline.base.row_messages import pack_rows, read_messages
from pipeline.base.tables import write_table
from pipeline.sharding.packing.layout import (
    BLOCK_SHARDS,
    NUM_BINS,
    Block,
    SetLayout,
    count_survivors,
    key_bins,
    make_layout,
    num_counts,
    slices_of_blocks,
)
from pipeline.sharding.packing.planning import plan_block
from pipeline.sharding.packing.ranges import Piece, cut_pieces, read_pieces
from pipeline.sharding.selection.exact_duplicates import _RECORD, find_losers
from pipeline.sharding.selection.selecting import SURVIVORS
from pipeline.sharding.stored_samples import key_words


def records(rows):
    array = np.zeros(len(rows), _RECORD)
    for row, (duplicate, key) in enumerate(rows):
        array[row] = ((0, duplicate), (0, key), 0, row)
    return array


def test_of_duplicates_the_smallest_key_stays():
    losers = find_losers(records([(1, 9), (1, 3), (2, 1), (1, 5)]))
    assert sorted(losers["row"]) == [0, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**63)), unique_by=lambda row: row[1], max_size=30))
def test_the_order_of_records_does_not_decide(rows):
    def losing_keys(some):
        return sorted(find_losers(records(some))["key"][:, 1].tolist())

    assert losing_keys(rows) == losing_keys(rows[::-1])
    assert len(losing_keys(rows)) == len(rows) - len({duplicate for duplicate, _ in rows})


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 3))
def test_ids_as_numbers_sort_as_bytes_do(ids, start):
    column = words_column(np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2).astype(np.uint64))
    assert column.to_pylist() == ids
    part = column.slice(start)
    order = sorted_order(id_words(part))
    assert [part.to_pylist()[row] for row in order] == sorted(ids[start:])


def test_ids_of_an_empty_column_are_no_numbers():
    assert id_words(words_column(np.empty((0, 2), np.uint64))).shape == (0, 2)


KEYS = st.lists(st.one_of(st.integers(0, 2**128 - 1), st.integers(0, 40)), unique=True, max_size=60)


def survivors(keys, *, raw=0):
    """Rows of survivors with some keys."""
    rows = [
        dict.fromkeys(("width", "height", "original_width", "original_height", "length"), 1)
        | {"key": f"{key:032x}", "image_url": "", "text": "", "query_ids": [], "kept_for": [key % 3], "raw": raw}
        | {"keep_probability": 1.0, "sha256": bytes(32), "phash": 0, "mime": "image/png", "offset": place}
        | {"text_source": "alt", "source_file": "crawl.warc.gz", "bytes": 1}
        for place, key in enumerate(sorted(keys))
    ]
    return pa.Table.from_pylist(rows, SURVIVORS)


@given(KEYS, st.integers(1, 3), st.integers(1, 3))
def test_blocks_hold_all_samples_in_key_order_whichever_bins_they_meet_in(keys, max_samples, parts):
    tables = [survivors(keys[part::parts], raw=part) for part in range(parts)]
    bins = np.concatenate([key_bins(key_words(table["key"])) for table in tables])
    counts = np.bincount(bins, minlength=NUM_BINS)
    where = SetLayout((make_layout("train", counts, max_samples=max_samples, min_shards=1),), 0)
    routed = {}
    for table in tables:
        for block, rows in where.rows_by_block(table):
            routed.setdefault(block, []).append(pack_rows(rows))
    planned = []
    for block in where.blocks():
        plan = plan_block(block, read_messages(routed[block.number][::-1], SURVIVORS))["key"].to_pylist()
        ends = np.cumsum(block.sizes).tolist()
        shards = [plan[end - size : end] for size, end in zip(block.sizes, ends, strict=True)]
        assert all(shard == sorted(shard) for shard in shards)
        planned.append(sorted(plan))
    assert [key for block in planned for key in block] == [f"{key:032x}" for key in sorted(keys)]


def test_rows_go_to_one_block_but_where_blocks_meet_in_a_bin():
    counts = np.zeros(NUM_BINS, np.int64)
    counts[[3, 7, 9]] = 40, 40, 40
    layout = make_layout("train", counts, max_samples=3, min_shards=1)
    assert (layout.num_samples, layout.num_shards) == (120, 40)
    blocks = layout.blocks(5)
    assert [(block.number, block.first_shard, len(block.sizes), block.skip) for block in blocks] == [
        (5, 0, 20, 0),
        (6, 20, 20, 20),
    ]
    rows = np.repeat([3, 7, 9], 40)
    assert list(slices_of_blocks(layout, rows)) == [(0, 0, 80), (1, 40, 120)]


@pytest.mark.parametrize(("samples", "at_once"), [(1, 1), (640, 1), (650, 2), (5_000, 8), (99_990, 32)])
def test_units_are_as_large_as_asked_where_there_are_many_shards_and_no_larger_than_a_block(samples, at_once):
    where = SetLayout((make_layout("train", np.array([samples]), max_samples=10, min_shards=1),), 0)
    units = where.units(most_at_once=32, whole_blocks=False)
    assert max(len(unit.sizes) for unit in units) == min(at_once, BLOCK_SHARDS, max(map(len, sizes_of(where))))
    assert len(units) >= min(64, samples // 10) / 2


def sizes_of(where):
    return [block.sizes for block in where.blocks()]


def test_samples_that_were_counted_and_did_not_come_are_an_error():
    with pytest.raises(LostRows, match=": 3 samples were counted, 2 came"):
        plan_block(Block(4, "train", 10, (3,), 1), survivors([1, 2, 3]))


def test_a_key_that_comes_twice_is_an_error():
    rows = pa.concat_tables([survivors([1, 2, 4]), survivors([2, 3], raw=1)])
    with pytest.raises(ValueError, match=f"sample {2:032x} was fetched twice"):
        plan_block(Block(0, "train", 0, (5,), 0), rows)


def test_both_splits_are_counted_and_together_they_are_all(tmp_path):
    keys = range(0, 2**128, 2**121)
    table = survivors(keys)
    table = table.set_column(table.schema.get_field_index("phash"), "phash", pa.array(range(len(keys))))
    write_table(str(tmp_path / "a.parquet"), table, SURVIVORS)
    path = str(tmp_path / "a.parquet")
    whole, parts = (count_survivors(path, num_queries=4, validation_share=share) for share in (0, 0.3))
    assert (len(whole), len(parts)) == (num_counts(0, 4), num_counts(0.3, 4))
    train, validation = parts[:NUM_BINS], parts[NUM_BINS : 2 * NUM_BINS]
    assert (train + validation).tolist() == whole[:NUM_BINS].tolist()
    assert 20 < validation.sum() < 60
    assert parts[-4:].tolist() == whole[-4:].tolist()


def test_survivors_are_counted_by_bin_and_by_query(tmp_path):
    write_table(str(tmp_path / "a.parquet"), survivors([0, 1, 2, 2**127, 2**128 - 1]), SURVIVORS)
    counts = count_survivors(str(tmp_path / "a.parquet"), num_queries=4, validation_share=0)
    places = np.flatnonzero(counts[:NUM_BINS])
    assert places.tolist() == [0, NUM_BINS // 2, NUM_BINS - 1]
    assert counts[places].tolist() == [3, 1, 1]
    assert (
        counts[NUM_BINS:].tolist()
        == np.bincount([key % 3 for key in (0, 1, 2, 2**127, 2**128 - 1)], minlength=4).tolist()
    )


@given(st.lists(st.integers(0, 2**128 - 1), max_size=9), st.integers(0, 4))
def test_keys_as_numbers_are_the_numbers_they_spell(keys, start):
    column = pa.chunked_array([pa.array([f"{key:032x}" for key in keys], pa.string()).slice(start)])
    assert [int(high) << 64 | int(low) for high, low in key_words(column)] == keys[start:]


@pytest.mark.parametrize("key", ["00ff", "0" * 31 + "g", "0" * 33])
def test_other_keys_are_refused(key):
    with pytest.raises(ValueError, match=r"32 digits|hexadecimal"):
        key_words(pa.array([key]))


PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 << 20), st.integers(1, 3 << 20)), max_size=40)


@given(PLACES)
def test_pieces_hold_every_sample_once_in_order_and_are_bounded(steps):
    """Steps are (raw tar, gap before the sample, its length)."""
    raws, offsets, lengths, ends = [], [], [], {}
    for raw, gap, length in sorted(steps, key=lambda step: step[0]):
        raws.append(raw)
        offsets.append(ends.get(raw, 0) + gap)
        lengths.append(length)
        ends[raw] = offsets[-1] + length
    pieces = list(cut_pieces(*(np.array(column, np.int64) for column in (raws, offsets, lengths))))
    rows = [(piece, row) for piece in pieces for row in range(piece.first, piece.last)]
    assert [row for _, row in rows] == list(range(len(steps)))
    for piece, row in rows:
        assert (piece.raw, piece.start <= offsets[row], offsets[row] + lengths[row] <= piece.end) == (
            raws[row],
            True,
            True,
        )
    for piece in pieces:
        assert piece.end - piece.start < (4 << 20) + max(lengths)
    for one, other in pairwise(pieces):
        assert one.raw < other.raw or one.end <= other.start


def test_samples_side_by_side_are_one_piece_and_those_with_a_long_gap_between_are_not():
    start = 9 << 20
    raws, offsets = np.array([0, 0, 0, 0, 1]), np.array([512, 1024, start, start + 512 + (1 << 20), start])
    assert [piece[:3] for piece in cut_pieces(raws, offsets, np.full(5, 512))] == [
        (0, 512, 1536),
        (0, start, start + 1024 + (1 << 20)),
        (1, start, start + 512),
    ]


def test_a_long_range_is_read_in_pieces_of_four_mebibytes():
    offsets = np.arange(20) << 19
    pieces = list(cut_pieces(np.zeros(20, np.int64), offsets, np.full(20, 1 << 19)))
    assert [(piece.start >> 20, piece.end >> 20, piece.first, piece.last) for piece in pieces] == [
        (0, 4, 0, 8),
        (4, 8, 8, 16),
        (8, 10, 16, 20),
    ]


@pytest.mark.parametrize(("mebibytes", "at_once"), [(13, 4), (4, 16), (1, 16), (100, 1)])
def test_pieces_come_in_order_however_many_are_read_at_once_and_no_more_than_fit_are_held(
    monkeypatch, mebibytes, at_once
):
    drawn = []

    def draw():
        for number in range(50):
            drawn.append(number)
            start = 1 + number * (mebibytes << 20)
            yield Piece(0, start, start + (mebibytes << 20), number, number + 1)

    def read(_, start, length):
        time.sleep(0.001 * ((start >> 20) % 3))
        return (start, length)

    class Answer(tuple):
        def __len__(self):
            return self[1]

    monkeypatch.setattr("pipeline.sharding.packing.ranges.files.read_range", lambda *place: Answer(read(*place)))
    in_flight = []
    for number, (piece, data) in enumerate(read_pieces(draw(), ["a.tar"])):
        assert (piece.first, *data) == (number, piece.start, piece.end - piece.start)
        in_flight.append(len(drawn) - number - (number < 50 - at_once))  # one more is drawn, and waits
    assert max(in_flight) == at_once


def test_an_error_of_one_piece_is_raised_and_the_rest_is_not_read(monkeypatch):
    asked = []

    def read(_, start, length):
        asked.append(start)
        return bytes(length if start < 3 else 0)

    monkeypatch.setattr("pipeline.sharding.packing.ranges.files.read_range", read)
    pieces = [Piece(0, start, start + 1, start, start + 1) for start in range(1000)]
    with pytest.raises(OSError, match=r"a\.tar ends before byte 4"):
        list(read_pieces(pieces, ["a.tar"]))
    assert len(asked) < 50
