"""Exact epochs: every sample once, whatever the ranks, the workers, the place where a run was cut."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_train.data.order import BLOCK, EpochOrder, MixedOrder

sizes_of_shards = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)


@settings(max_examples=60)
@given(sizes_of_shards, st.integers(1, 5), st.integers(0, 3))
def test_each_epoch_holds_every_sample_once(sizes, shuffle_shards, seed):
    order = EpochOrder(sizes, seed=seed, shuffle_shards=shuffle_shards)
    everything = {(shard, sample) for shard, size in enumerate(sizes) for sample in range(size)}
    for epoch in range(2):
        drawn = order.draw(epoch * order.num_samples, (epoch + 1) * order.num_samples)
        assert {place.epoch for place in drawn} == {epoch}
        assert Counter((place.shard, place.sample) for place in drawn) == Counter(everything)


@settings(max_examples=60)
@given(sizes_of_shards, st.integers(1, 5), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_stream_is_the_same_in_any_pieces(sizes, shuffle_shards, lengths):
    whole = EpochOrder(sizes, seed=1, shuffle_shards=shuffle_shards).draw(0, sum(lengths))
    order = EpochOrder(sizes, seed=1, shuffle_shards=shuffle_shards)
    position, pieces = 0, []
    for length in lengths:
        pieces += order.draw(position, position + length)
        position += length
    assert pieces == whole
    assert EpochOrder(sizes, seed=1, shuffle_shards=shuffle_shards).draw(position - 1, position) == whole[-1:]


@pytest.mark.parametrize(("world_size", "workers"), [(1, 1), (1, 3), (2, 1), (4, 3)])
def test_ranks_and_workers_share_an_epoch_without_gap_or_overlap(world_size, workers):
    order = EpochOrder([30, 50, 16], seed=5, shuffle_shards=2)
    batch_size, local_size = 8, 8 // world_size
    seen = Counter()
    for worker in range(workers):
        for step in range(worker, order.num_samples // batch_size, workers):
            for rank in range(world_size):
                start = step * batch_size + rank * local_size
                seen.update((p.shard, p.sample) for p in order.draw(start, start + local_size))
    assert len(seen) == order.num_samples
    assert set(seen.values()) == {1}


def test_epochs_and_seeds_differ_in_order():
    order = EpochOrder([40, 40], seed=0, shuffle_shards=2)
    first, second = ([p[1:] for p in order.draw(80 * e, 80 * e + 80)] for e in range(2))
    other = [p[1:] for p in EpochOrder([40, 40], seed=1, shuffle_shards=2).draw(0, 80)]
    assert first != second
    assert first != other
    assert len({shard for shard, _ in first[:10]}) == 2, "samples of the shards of a window are mixed"


def test_only_the_shards_of_a_window_are_mixed():
    order = EpochOrder([10] * 6, seed=0, shuffle_shards=2)
    shards = [place.shard for place in order.draw(0, 60)]
    assert [len(set(shards[start : start + 20])) for start in (0, 20, 40)] == [2, 2, 2]


SETS = [[5, 7], [20], [1, 2, 3]]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_mixed_stream_is_the_same_in_any_pieces(weights, lengths):
    whole = MixedOrder(SETS, weights, seed=1, shuffle_shards=2).draw(0, sum(lengths))
    order = MixedOrder(SETS, weights, seed=1, shuffle_shards=2)
    position, pieces = 0, []
    for length in lengths:
        pieces += order.draw(position, position + length)
        position += length
    assert pieces == whole


def test_each_set_has_its_share_of_a_mixed_stream_and_each_of_its_samples_comes_as_often():
    order = MixedOrder(SETS, [1, 2, 5], seed=0, shuffle_shards=2)
    assert order.num_samples == 38
    drawn = order.draw(BLOCK - 500, 3 * BLOCK - 500)  # over two bounds of blocks
    owners = [0, 0, 1, 2, 2, 2]
    shares = Counter(owners[place.shard] for place in drawn)
    assert [shares[set_] / len(drawn) for set_ in range(3)] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)
    for set_ in range(3):
        times = Counter((place.shard, place.sample) for place in drawn if owners[place.shard] == set_)
        assert max(times.values()) - min(times.values()) <= 1 + 1  # an epoch is cut at both ends
        assert len(times) == sum(SETS[set_])
    epochs = [place.epoch for place in drawn if owners[place.shard] == 1]
    assert epochs == sorted(epochs)


@pytest.mark.parametrize(
    ("sets", "weights", "message"),
    [
        (SETS, [1, 2], "2 weights for 3 sets"),
        (SETS, [1, 0, 2], "weights 1, 0, 2 must all be above 0"),
        (SETS, [1, float("nan"), 2], "must all be above 0"),
        (SETS, [1, 1e9, 1], "weight 1 is less than one in"),
        ([[5], [0]], [1, 1], "set 2 has no samples"),
    ],
)
def test_weights_that_do_not_fit_are_refused(sets, weights, message):
    with pytest.raises(ValueError, match=message):
        MixedOrder(sets, weights, seed=0, shuffle_shards=1)
