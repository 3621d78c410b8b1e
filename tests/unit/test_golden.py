"""What every data set depends on, pinned: another hash would silently change which pairs are kept and where."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.balancing.lots import (
    LARGEST,
    NO_LOTS,
    Drawing,
    collect_lots,
    hash_queries,
    same_lots,
    select_lots,
    take_cuts,
)
from pipeline.base.ids import hash_texts, id_words, pair_id
from pipeline.base.schemas import PAIR_ID
from pipeline.fetching.planning import HOST_BUCKETS, assign_units, host_buckets, host_column, plan_units
from pipeline.sharding.selection.exact_duplicates import duplicate_ids

QUERIES = ["cat", "new york", "größe", "中国"]
QUERY_HASHES = [3429664268601861939, 16703759672511399573, 16832822397561338100, 8702158699464267683]
PAIR_IDS = {
    "a cat": "9fbbb012288d41b86046567300aa850f",
    "": "203d7661a15e714190e8647918306b02",
    "Größe 中国": "9e14b3d02150ab6d0073f0e62dbd94f0",
    "x" * 300: "173c4e382cde8fe5da46c508821c99ee",
}
COLUMN = pa.array(map(bytes.fromhex, PAIR_IDS.values()), PAIR_ID)


def test_pair_ids_are_the_known_ones():
    found = [pair_id(f"http://host.example/{number}.jpg", text).hex() for number, text in enumerate(PAIR_IDS)]
    assert found == list(PAIR_IDS.values())


def test_query_hashes_are_the_known_ones():
    assert hash_queries(pa.array(QUERIES)).tolist() == QUERY_HASHES
    assert hash_queries(pa.chunked_array([QUERIES[:1], QUERIES[1:]])).tolist() == QUERY_HASHES
    assert same_lots(3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("seed", "lots"),
    [
        (0, "0c91ee448bdbf91a 8e7150546d2ab363 ed27189a3b56b762 a8a4061c82fbab5c"),
        (1, "4ee1eacd40e7adc8 6a56b56440f64927 10176691451121c8 dce69b374bd53578"),
        (2**63 - 1, "934d2908d12cb626 d870c51158c61d8e 0953b279f4370886 4c414ec500ca4257"),
    ],
)
def test_lots_of_a_query_are_the_known_ones(seed, lots):
    drawing = Drawing(seed=seed, query_hashes=hash_queries(pa.array(QUERIES)))
    drawn = drawing.draw(COLUMN, np.arange(4), np.zeros(4, np.int32))
    assert [f"{lot:016x}" for lot in drawn.tolist()] == lots.split()


def test_coordinated_lots_are_the_known_ones_whatever_the_query():
    drawn = Drawing(seed=7, query_hashes=same_lots(4)).draw(COLUMN, np.arange(4), np.arange(4, dtype=np.int32))
    wanted = ["3f3675fb6cfabfee", "48f2933e833f232d", "ce86a7bcc1b94ce1", "a65e2b7c5d4040be"]
    assert [f"{lot:016x}" for lot in drawn.tolist()] == wanted


def test_every_byte_of_an_id_and_every_query_counts_for_a_lot():
    ids = [bytes(16), *(bytes(place) + b"\1" + bytes(15 - place) for place in range(16))]
    drawing = Drawing(seed=0, query_hashes=hash_queries(pa.array(QUERIES)))
    rows, query_ids = np.repeat(np.arange(17), 4), np.tile(np.arange(4, dtype=np.int32), 17)
    assert len(set(drawing.draw(pa.array(ids, PAIR_ID), rows, query_ids).tolist())) == 17 * 4


def test_the_pairs_that_two_queries_select_are_the_known_ones():
    ids = pa.array([pair_id(f"http://host.example/{number}", "text") for number in range(40)], PAIR_ID)
    lists = pa.array([[0, 1]] * 40, pa.list_(pa.int32()))
    matched = pa.RecordBatch.from_pydict({"pair_id": ids, "query_ids": lists})
    drawing = Drawing(seed=0, query_hashes=hash_queries(pa.array(QUERIES)))
    found = take_cuts(collect_lots(matched, np.full(4, LARGEST), drawing), np.full(4, 5))
    assert found.tolist() == [(0, 2406732146733732807), (1, 2481641914187593487)]
    cuts = np.full(4, LARGEST)
    cuts[found["query_id"]] = found["lot"]
    rows, query_ids = select_lots(matched, cuts, drawing)
    assert rows[query_ids == 0].tolist() == [1, 16, 24, 37, 38]
    assert rows[query_ids == 1].tolist() == [9, 12, 23, 32, 38]


def test_urls_go_to_the_known_fetch_units():
    urls = [f"http://{host}.example/{number}.jpg" for host in "abc" for number in range(2)]
    urls = pa.array(urls + [f"https://big.example/{number}.jpg" for number in range(6)])
    hashes, buckets = hash_texts(urls), host_buckets(host_column(urls))
    assert hashes[:3].tolist() == [4899280091168604921, 10084540849246751772, 2460507806752784926]
    assert buckets.tolist() == [12814] * 2 + [54043] * 2 + [4550] * 2 + [98] * 6
    plan = plan_units(np.bincount(buckets, minlength=HOST_BUCKETS), unit_urls=3)
    assert assign_units(plan, buckets, hashes).tolist() == [3, 3, 4, 4, 2, 2, 0, 0, 0, 0, 0, 1]


def test_duplicates_share_the_known_ids():
    table = pa.table({"sha256": pa.array([b"\1" * 32, b"\2" * 32], pa.binary(32)), "text": ["a cat", "größe"]})
    found = {by_text: [id.hex() for id in duplicate_ids(table, by_text=by_text).to_pylist()] for by_text in (0, 1)}
    assert found == {
        0: ["c035f853fcd0f0589e30c9e2dc1a0f57", "fdf644cee9f9ba3d82d46809b692ab07"],
        1: ["fd806318d3c81735c931d0e4e999bff2", "17cf578e45444e1e4c62675fdb8cfb7e"],
    }


def test_the_largest_cut_is_the_largest_lot_and_no_lots_are_none():
    assert LARGEST == 2**64 - 1
    assert NO_LOTS.size == 0


def test_ids_are_read_with_the_high_half_first():
    column = pa.array([bytes(range(16)), bytes([255] * 8 + [0] * 7 + [1])], PAIR_ID)
    assert id_words(column).tolist() == [[0x0001020304050607, 0x08090A0B0C0D0E0F], [2**64 - 1, 1]]
