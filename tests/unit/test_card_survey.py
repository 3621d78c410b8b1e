"""What the data card counts in the indexes of shards, and which samples it shows."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.schemas import SHARD_INDEX
from pipeline.pixels.looks import LOOKS_BYTES
from pipeline.sharding.card import counting
from pipeline.sharding.card.counting import add_values, count_values, rank_values, round_numbers, split_values
from pipeline.sharding.card.drawing import cut_bars, measure_spread
from pipeline.sharding.card.picking import NUM_RANDOM, OF_ALL, choose_queries, merge_picks, pick_samples
from pipeline.sharding.card.queries import CARD_QUERIES
from pipeline.sharding.card.scores import add_scores, count_scores

NUM_ROWS = 300


def index(first=0, num_rows=NUM_ROWS, **carried):
    """An index of samples with numbers from `first` on."""
    numbers = range(first, first + num_rows)
    rows = {
        "key": [f"{number:032x}" for number in numbers],
        "url": [f"https://user@H{number % 5}.example:81/{number}.jpg?a=//b" for number in numbers],
        "page_url": ["" if number % 3 else "http://[2001:db8::1]/p" for number in numbers],
        "caption": ["one two " * (number % 4 + 1) for number in numbers],
        "kept_for": [[0] if number % 2 else [0, 1] for number in numbers],
        "original_width": [100 + number for number in numbers],
        "original_height": [200 for _ in numbers],
        "bytes": [5_000 for _ in numbers],
    }
    blank = {"string": "", "list": [], "float": 0.0, "fixed_size_binary": bytes(LOOKS_BYTES)}
    for field in SHARD_INDEX:
        kind = next((kind for kind in blank if str(field.type).startswith(kind)), "")
        rows.setdefault(field.name, [blank.get(kind, 0)] * num_rows)
    table = pa.table([rows[name] for name in SHARD_INDEX.names], SHARD_INDEX)
    for name, values in carried.items():
        table = table.append_column(name, pa.array(values))
    return table


def told(counts, name):
    """What is counted of a name, by value."""
    rows = counts.filter(pa.compute.equal(counts["name"], name)).to_pylist()
    return {row["text"] if row["number"] is None else row["number"]: row["samples"] for row in rows}


def test_texts_and_numbers_are_counted_and_none_is_lost():
    counts = count_values(index())
    assert told(counts, counting.IMAGE_HOST) == {f"H{number}.example": 60 for number in range(5)}
    assert told(counts, counting.PAGE_HOST) == {"[2001:db8::1]": 100, "": 200}
    assert told(counts, counting.CHARACTERS) == {8.0: 75, 16.0: 75, 24.0: 75, 32.0: 75}
    assert told(counts, counting.WORDS) == {2.0: 75, 4.0: 75, 6.0: 75, 8.0: 75}
    assert told(counts, counting.SHORT_SIDE)[200.0] == 200  # the height, from a width of 200 on
    assert min(told(counts, counting.ASPECT)) == 1.0
    for name in (*counting.TEXTS, *counting.NUMBERS):
        assert sum(told(counts, name).values()) == NUM_ROWS


def test_carried_numbers_and_licences_are_counted_and_nulls_are_none():
    carried = {
        "similarity": [None, 0.25, float("nan")] * 100,
        "LICENSE": ["by", None, "by-sa"] * 100,
        "note": ["x"] * NUM_ROWS,
        "image host": ["mine"] * NUM_ROWS,
    }
    counts = count_values(index(**carried))
    assert told(counts, "similarity") == {0.25: 100}
    assert told(counts, "LICENSE") == {"by": 100, "": 100, "by-sa": 100}
    assert not told(counts, "note")
    assert "mine" not in told(counts, counting.IMAGE_HOST)


@pytest.mark.parametrize("num_buckets", [1, 7])
def test_counts_of_parts_add_up_to_those_of_the_whole(num_buckets):
    parts = [count_values(index(first, 60)) for first in range(0, NUM_ROWS, 60)]
    buckets = {}
    for part in parts[::-1]:
        for bucket, counts in split_values(part, num_buckets=num_buckets):
            buckets.setdefault(bucket, []).append(counts)
    ranked = rank_values([rank_values([add_values(counts)]) for counts in buckets.values()])
    assert ranked.equals(rank_values([add_values([count_values(index())])]))


def test_of_many_texts_the_most_frequent_are_told_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(counting, "_MOST_TOLD", 2)
    counts = add_values([count_values(index(0, 7)), count_values(index(0, 3))])
    split = [rank_values([part]) for _, part in split_values(counts, num_buckets=3)]
    hosts = [row for row in rank_values(split).to_pylist() if row["name"] == counting.IMAGE_HOST]
    assert [(row["text"], row["values"], row["samples"]) for row in hosts] == [
        ("H0.example", 1, 3),
        ("H1.example", 1, 3),
        (None, 3, 4),
    ]
    assert rank_values([rank_values(split)]).equals(rank_values(split))


def test_numbers_are_rounded_by_less_than_a_thousandth_towards_zero():
    numbers = np.random.default_rng(0).normal(0, 1e3, 1000).astype(np.float32)
    rounded = round_numbers(numbers)
    assert np.all(np.abs(rounded) <= np.abs(numbers))
    assert np.all(np.abs(numbers - rounded) <= np.abs(numbers) * counting.NUMBER_STEP)
    assert round_numbers(np.arange(2048, dtype=np.float32)).tolist() == list(range(2048))


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        pytest.param(range(3, 17), "linear", id="few-whole"),
        pytest.param(range(1000, 2000), "linear", id="whole"),
        pytest.param(range(1, 200_000, 50), "log", id="wide"),
        pytest.param(np.linspace(0.2, 0.4, 999), "linear", id="scores"),
        pytest.param(np.linspace(-1, 1, 999), "linear", id="signs"),
        pytest.param(np.geomspace(1e-5, 1, 999), "linear", id="shares"),
        pytest.param([0, 1e-3, 1e6], "linear", id="outlier"),
        pytest.param([7], "linear", id="one"),
        pytest.param([0, 0.5], "linear", id="zero"),
    ],
)
def test_bars_hold_every_sample_or_say_how_many_they_do_not(values, scale):
    rounded = round_numbers(np.array(list(values), np.float32))
    bars = cut_bars(add_up(rounded))
    [layer] = bars.layers
    assert sum(number for *_, number in layer) + bars.beyond == len(rounded)
    assert (bars.scale, len(layer) <= 60) == (scale, True)
    assert all(low < high for low, high, _ in layer)
    assert bars.beyond <= max(1, 0.005 * len(rounded))


def test_bars_of_evenly_spread_numbers_are_even():
    """No comb: each bar has as many of the steps in which numbers are counted as the next."""
    values = round_numbers(np.linspace(0.5, 0.99, 50_000, dtype=np.float32))
    [layer] = cut_bars(add_up(values)).layers
    heights = [number for *_, number in layer][1:-1]
    assert max(heights) < 1.1 * min(heights)


def add_up(values):
    distinct, samples = np.unique(values, return_counts=True)
    return pa.table({"number": distinct, "samples": samples})


def test_a_spread_tells_shares_of_samples():
    spread = measure_spread(pa.table({"number": pa.array([1.0, 2.0, 9.0]), "samples": [94, 5, 1]}))
    assert spread == (100, (1.0, 1.0, 1.0, 2.0, 9.0))


def test_scores_count_rows_and_those_that_stay():
    scores = pa.array([0.5, None, 0.25, 0.5, float("nan")], pa.float32())
    counts = count_scores("clip", scores, np.array([True, True, False, False, True]))
    assert counts.to_pylist() == [
        {"name": "clip", "number": 0.25, "scored": 1, "kept": 0},
        {"name": "clip", "number": 0.5, "scored": 2, "kept": 1},
    ]
    twice = add_scores([counts, counts])
    assert twice["scored"].to_pylist() == [2, 4]
    (scored, kept), *_ = cut_bars(twice, ("scored", "kept"))
    assert [[number for *_, number in bars] for bars in (scored, kept)] == [[2, 4], [2]]


def query_rows(*samples):
    ids = list(range(len(samples)))
    return pa.table([ids, [f"q{one}" for one in ids], [9] * len(ids), [9] * len(ids), list(samples)], CARD_QUERIES)


def test_the_shown_queries_begin_with_the_most_frequent_and_have_full_rows_if_any_has():
    chosen = choose_queries(query_rows(*[50] * 1000, *[2] * 1000))
    assert chosen[0] == 0 and chosen[-1] == 999 and len(chosen) == 8
    assert choose_queries(query_rows(0, 3, 1)) == [1]
    assert choose_queries(query_rows(0, 0)) == []
    assert choose_queries(query_rows()) == []


def test_the_same_samples_are_picked_however_they_are_sharded():
    whole = merge_picks([pick_samples(index(), shard="s", queries=[1])])
    parts = [pick_samples(index(first, 50), shard="s", queries=[1]) for first in range(0, NUM_ROWS, 50)]
    merged = merge_picks([merge_picks(parts[3:]), *parts[:3][::-1]])
    assert merged.equals(whole)
    by_query = whole["query_id"].to_pylist()
    assert by_query.count(OF_ALL) == NUM_RANDOM and by_query.count(1) == 6
    keys = [int(row["key"], 16) for row in whole.to_pylist() if row["query_id"] == 1]
    assert all(key % 2 == 0 for key in keys)
    assert len(set(keys)) == 6
