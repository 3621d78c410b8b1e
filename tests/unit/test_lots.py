"""The cap: exactly so many lots a query, whatever the order, and a smaller cap within a larger."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.balancing.lots import (
    LARGEST,
    NO_LOTS,
    Drawing,
    collect_lots,
    hash_queries,
    lot_bounds,
    select_lots,
    take_cuts,
)
from pipeline.base.schemas import PAIR_ID

QUERIES = [f"query {number}" for number in range(20)]
DRAWING = Drawing(seed=0, query_hashes=hash_queries(pa.array(QUERIES)))


def matched_batch(query_ids, first=0):
    """Pairs `first`, `first + 1`, … with these query ids."""
    ids = [hashlib.blake2b(b"%d" % (first + row), digest_size=16).digest() for row in range(len(query_ids))]
    columns = {"pair_id": pa.array(ids, PAIR_ID), "query_ids": pa.array(query_ids, pa.list_(pa.int32()))}
    return pa.RecordBatch.from_pydict(columns)


def zipf_batch(num_pairs, seed=1):
    rng = np.random.default_rng(seed)
    shares = 0.8 / np.arange(1, len(QUERIES) + 1)
    lists = [np.flatnonzero(rng.random(len(QUERIES)) < shares).tolist() for _ in range(num_pairs)]
    return matched_batch(lists)


def cuts_for(batches, cap, drawing=DRAWING):
    counts = sum(np.bincount(batch["query_ids"].flatten(), minlength=len(QUERIES)) for batch in batches)
    bounds = np.where(counts > cap, lot_bounds(np.maximum(counts, 1), np.full(len(counts), cap)), 0).astype(np.uint64)
    found = take_cuts(
        np.concatenate([collect_lots(batch, bounds, drawing) for batch in batches]), np.full(len(QUERIES), cap)
    )
    assert found["query_id"].tolist() == np.flatnonzero(counts > cap).tolist()
    cuts = np.full(len(QUERIES), LARGEST)
    cuts[found["query_id"]] = found["lot"]
    return counts, cuts


def selections(batches, cuts, drawing=DRAWING):
    chosen = set()
    for batch in batches:
        rows, query_ids = select_lots(batch, cuts, drawing)
        pair_ids = batch["pair_id"].to_pylist()
        chosen |= {(pair_ids[row], query_id) for row, query_id in zip(rows, query_ids.tolist(), strict=True)}
    return chosen


@pytest.mark.parametrize("cap", [1, 2, 7, 40, 500])
def test_every_query_selects_exactly_the_cap_or_all_it_has(cap):
    batches = [zipf_batch(2000)]
    counts, cuts = cuts_for(batches, cap)
    chosen = np.array([query_id for _, query_id in selections(batches, cuts)])
    assert np.bincount(chosen, minlength=len(QUERIES)).tolist() == np.minimum(counts, cap).tolist()


def test_cap_keeps_the_same_pairs_when_input_is_reordered_and_cut_differently():
    batch = zipf_batch(1000)
    shuffled = batch.take(np.random.default_rng(2).permutation(1000))
    parts = [shuffled[:137], shuffled[137:138], shuffled[138:]]
    _, cuts = cuts_for([batch], 30)
    _, again = cuts_for(parts, 30)
    assert (cuts == again).all()
    assert selections([batch], cuts) == selections(parts, again)


def test_cap_keeps_the_same_pairs_when_queries_are_renumbered():
    batch = zipf_batch(500)
    renumbered = matched_batch([sorted(19 - id for id in ids) for ids in batch["query_ids"].to_pylist()])
    drawing = Drawing(seed=0, query_hashes=hash_queries(pa.array(QUERIES[::-1])))
    _, cuts = cuts_for([batch], 30)
    _, again = cuts_for([renumbered], 30, drawing)
    assert {(pair, 19 - id) for pair, id in selections([renumbered], again, drawing)} == selections([batch], cuts)


def test_smaller_cap_selects_a_subset():
    batches = [zipf_batch(1500)]
    nested = [selections(batches, cuts_for(batches, cap)[1]) for cap in (10, 20, 100, 10_000)]
    assert nested[0] < nested[1] < nested[2] < nested[3]


def test_another_seed_selects_other_pairs_and_queries_select_independently():
    batches = [matched_batch([[0, 1]] * 2000)]
    chosen = selections(batches, cuts_for(batches, 200)[1])
    other = Drawing(seed=1, query_hashes=DRAWING.query_hashes)
    assert len(chosen & selections(batches, cuts_for(batches, 200, other)[1], other)) < 0.2 * len(chosen)
    both = {pair for pair, id in chosen if id == 0} & {pair for pair, id in chosen if id == 1}
    assert 5 < len(both) < 40  # 20 expected of 200


def test_lots_are_uniform():
    lots = np.sort(DRAWING.draw(matched_batch([[0]] * 4000)["pair_id"], np.arange(4000), np.zeros(4000, np.int32)))
    distance = np.abs(lots / 2.0**64 - (np.arange(4000) + 0.5) / 4000).max()
    assert distance < 1.63 / np.sqrt(4000)  # Kolmogorov and Smirnov at 1 %


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), unique_by=lambda lot: lot[1], max_size=60),
    st.integers(1, 8),
)
@settings(max_examples=100)
def test_cut_is_the_lot_at_the_cap_in_order(lots, cap):
    found = take_cuts(np.array(lots, NO_LOTS.dtype), np.full(4, cap))
    ordered = {id: sorted(lot for other, lot in lots if other == id) for id, _ in lots}
    assert found.tolist() == [(id, ordered[id][cap - 1]) for id in sorted(ordered) if len(ordered[id]) >= cap]


def test_tie_at_the_cut_is_an_error_and_elsewhere_it_is_not():
    lots = np.array([(5, 10), (5, 20), (5, 20), (5, 30), (5, 40)], NO_LOTS.dtype)
    with pytest.raises(ValueError, match="query 5 draws one lot for two pairs"):
        take_cuts(lots, np.full(6, 2))
    assert [take_cuts(lots, np.full(6, cap))["lot"].tolist() for cap in (1, 3, 4, 5, 6)] == [[10], [20], [30], [40], []]


def test_bounds_leave_a_margin_and_end_at_the_largest_lot():
    bounds = lot_bounds(np.array([40_000, 20_001, 10**9]), np.full(3, 20_000))
    assert bounds[1] == LARGEST
    assert bounds[0] / 2.0**64 == pytest.approx((20_000 + 6 * 20_000**0.5) / 40_000)
    assert lot_bounds(np.array([10**9]), np.array([20_000]), widening=2)[0] == pytest.approx(2 * float(bounds[2]))
