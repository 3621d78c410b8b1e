"""Which shard a sample goes to: hosts evenly, every sample once, whatever the order; and who is held out."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.ids import pair_id
from pipeline.pixels.looks import LOOKS_BYTES
from pipeline.sharding.packing.layout import (
    BLOCK_SHARDS,
    NUM_BINS,
    Block,
    SetLayout,
    key_bins,
    make_layout,
    samples_a_shard,
)
from pipeline.sharding.packing.planning import SHARD_PLAN, deal_samples, number_hosts, plan_block
from pipeline.sharding.packing.splits import in_validation
from pipeline.sharding.stored_samples import key_words


def zipf_hosts(rng, samples, exponent):
    """A host for each sample, of as many as there are samples, by Zipf's law."""
    shares = (np.arange(samples) + 1.0) ** -exponent
    return rng.choice(samples, samples, p=shares / shares.sum())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 9))
def test_of_each_host_a_shard_has_its_share_rounded_up_or_down(hosts, number):
    size = -(-len(hosts) // number)
    sizes = [size] * (len(hosts) // size) + ([len(hosts) % size] if len(hosts) % size else [])
    shards = deal_samples(np.array(hosts), sizes)
    assert np.bincount(shards, minlength=len(sizes)).tolist() == sizes
    is_even = len(set(sizes)) == 1
    for host, count in Counter(hosts).items():
        for shard, own in enumerate(sizes):
            found, share = int(((np.array(hosts) == host) & (shards == shard)).sum()), count * own / len(hosts)
            assert share - (1 if is_even else 2) < found < share + (1 if is_even else 2)


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("samples", [90, 3_000, 40_000])
def test_no_host_has_above_three_times_its_share_of_any_shard(samples, exponent):
    """Of 16 shards and more; where three times the share is below 2, it may have 2."""
    rng = np.random.default_rng(samples)
    hosts = zipf_hosts(rng, samples, exponent)
    size = samples_a_shard(samples, max_samples=1000, min_shards=16)
    layout = make_layout("train", np.array([samples]), max_samples=1000, min_shards=16)
    totals = np.bincount(hosts, minlength=samples)
    start = 0
    for block in layout.blocks(0):
        own = hosts[start : start + sum(block.sizes)]
        shards = deal_samples(own, block.sizes)
        for shard in range(len(block.sizes)):
            counts = np.bincount(own[shards == shard], minlength=samples)
            assert (counts <= np.maximum(np.ceil(3 * totals * size / samples), 2)).all()
        start += len(own)
    assert start == samples


@given(st.integers(0, 400), st.integers(1, 9), st.integers(1, 40))
@settings(max_examples=200)
def test_blocks_and_units_hold_every_shard_once_and_all_shards_but_the_last_are_full(samples, most, fewest):
    layout = make_layout("train", np.array([samples]), max_samples=most, min_shards=fewest)
    blocks = layout.blocks(0)
    sizes = [size for block in blocks for size in block.sizes]
    assert sum(sizes) == samples
    assert set(sizes[:-1]) <= {layout.shard_samples}
    assert len(sizes) == layout.num_shards >= min(fewest, samples)
    if len(blocks) > 1:
        assert all(BLOCK_SHARDS // 2 <= len(block.sizes) <= BLOCK_SHARDS for block in blocks)
    for whole_blocks in (True, False):
        for at_once in (1, 3, 32):
            units = SetLayout((layout,), 0).units(most_at_once=at_once, whole_blocks=whole_blocks)
            assert [unit.number for unit in units] == list(range(len(units)))
            assert [size for unit in units for size in unit.sizes] == sizes
            assert [unit.first_shard for unit in units] == list(
                np.cumsum([0, *(len(unit.sizes) for unit in units)])[:-1]
            )
            assert all(len(unit.sizes) <= at_once for unit in units)


def plan_rows(number, *, hosts=7):
    """Rows of survivors, in no order."""
    rows = []
    for place in range(number):
        url = f"http://h{place % hosts}.example/{place}"
        row = dict.fromkeys(SHARD_PLAN.names, 0) | {"key": pair_id(url, "text").hex(), "image_url": url, "text": "text"}
        texts = {field.name: "" for field in SHARD_PLAN if field.type == pa.string() and not row[field.name]}
        rows.append(
            row
            | texts
            | {"query_ids": [], "kept_for": [], "sha256": bytes(32), "looks": bytes(LOOKS_BYTES), "offset": place}
        )
    return pa.Table.from_pylist(rows, SHARD_PLAN)


def test_blocks_hold_every_sample_once_whatever_the_order_of_rows():
    rows = plan_rows(500)
    bins = np.bincount(key_bins(key_words(rows["key"])), minlength=NUM_BINS)
    where = SetLayout((make_layout("train", bins, max_samples=9, min_shards=1),), 0)
    plans = []
    for order in (np.arange(500), np.random.default_rng(0).permutation(500)):
        table = rows.take(pa.array(order))
        parts = [table.slice(0, 200).sort_by("key"), table.slice(200).sort_by("key")]
        messages = [found for part in parts for found in where.rows_by_block(part)]
        blocks = where.blocks()
        plans.append(
            [
                plan_block(block, pa.concat_tables([rows for number, rows in messages if number == block.number]))
                for block in blocks
            ]
        )
    assert [plan["key"].to_pylist() for plan in plans[0]] == [plan["key"].to_pylist() for plan in plans[1]]
    keys = [key for plan in plans[0] for key in plan["key"].to_pylist()]
    assert sorted(keys) == sorted(rows["key"].to_pylist())
    assert len(plans[0]) == 2
    for before, after in zip(plans[0], plans[0][1:], strict=False):
        assert max(before["key"].to_pylist()) < min(after["key"].to_pylist())
    first = plans[0][0]["key"].to_pylist()[:9]
    assert first == sorted(first)


@pytest.mark.parametrize("copies", [[0, 0, 1, 2], [0, 1, 2, 2]], ids=["first", "at the border of the next block"])
def test_a_key_that_is_there_twice_is_an_error_also_at_the_border_of_a_block(copies):
    rows = plan_rows(3).sort_by("key").take(pa.array(copies))
    with pytest.raises(ValueError, match=f"sample {rows['key'][copies.index(max(set(copies), key=copies.count))]} was"):
        plan_block(Block(0, "train", 0, (3,), 0), rows)


def test_hosts_are_told_apart_as_they_are_written_but_for_capitals():
    urls = ["http://b.example/1", "https://B.example?x", "http://me@b.example#x", "http://b.example:80/", "", "odd"]
    assert number_hosts(pa.chunked_array([urls[:2], urls[2:]])).tolist() == [1, 1, 1, 2, 0, 0]


def pictures(number, seed=0):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(-(2**63), 2**63 - 1, number)
    digests = pa.array([rng.bytes(32) for _ in range(number)], pa.binary(32))
    return pa.table({"phash": hashes, "sha256": digests})


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_as_large_a_share_of_pictures_is_held_out_as_asked_for(share):
    table = pictures(20_000)
    for one in (table, table.set_column(0, "phash", pa.nulls(20_000, pa.int64()))):
        found = in_validation(one, share).mean()
        assert abs(found - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


def test_copies_of_a_picture_are_on_one_side_and_a_larger_share_holds_the_smaller():
    table = pictures(3000)
    copies = table.set_column(1, "sha256", pictures(3000, seed=1)["sha256"])
    assert in_validation(copies, 0.2).tolist() == in_validation(table, 0.2).tolist()
    assert not (in_validation(table, 0.1) & ~in_validation(table, 0.2)).any()
    parts = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert in_validation(parts, 0.2).tolist() == in_validation(table, 0.2).tolist()
    assert in_validation(table.slice(100, 50), 0.2).tolist() == in_validation(table, 0.2)[100:150].tolist()


def test_hashes_of_flat_pictures_which_are_small_numbers_are_spread_too():
    table = pa.table({"phash": np.arange(20_000), "sha256": pictures(20_000)["sha256"]})
    assert 0.09 < in_validation(table, 0.1).mean() < 0.11
