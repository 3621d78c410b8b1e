"""Pictures that are alike are found in cells as well as pair by pair; who leaves depends on pairs and keys alone."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.arrays import write_array
from pipeline.base.folders import StageFolder
from pipeline.base.schemas import LOOKS, RAW_INDEX
from pipeline.base.tables import write_table
from pipeline.pixels.looks import LOOKS_BYTES, STEPS, mirror_looks
from pipeline.sharding.selection.alike import are_alike, find_alike, values_of
from pipeline.sharding.selection.near_duplicates import RECORD, Alikeness, find_copies, make_records, pack_looks
from pipeline.sharding.selection.verdicts import verdicts_of
from pipeline.sharding.stored_samples import RawGroup, RawTar

DISTANCE = 0.055
SPREAD = np.concatenate([np.repeat([30.0, *(60 / np.arange(2, 11) ** 1.5)], range(1, 11)), [9, 4, 3, 9, 4, 3]])


def pictures(rng, number):
    """Descriptors as photographs have them."""
    return quantized(rng.normal(0, SPREAD, (number, LOOKS_BYTES)) * 4)


def products(rng, number):
    """Descriptors as of products on white ground: a few shapes, little between those of a shape."""
    shapes = rng.normal(0, SPREAD, (3, LOOKS_BYTES)) * 2
    shapes[:, 0] = 360
    return quantized(shapes[rng.integers(0, 3, number)] + rng.normal(0, 4, (number, LOOKS_BYTES)))


def quantized(values):
    return np.clip(np.rint(values / STEPS), -127, 127).astype(np.int8)


def copies(rng, looks, by=0.7):
    """The same a little changed, by quarters of a level."""
    return quantized(looks * STEPS + rng.normal(0, by, looks.shape))


def samples(looks, keys=None, text="text"):
    number = len(looks)
    keys = np.arange(number) if keys is None else keys
    ids = [int(key).to_bytes(16, "big") for key in keys]
    texts = [text] * number if isinstance(text, str) else text
    column = pa.array([row.tobytes() for row in looks], LOOKS)
    return pa.table({"pair_id": pa.array(ids, pa.binary(16)), "looks": column, "text": texts})


def leaving(table, *, by_text=False, mirrored=False, parts=1, distance=DISTANCE, num_axes=4):
    """The rows that leave, by what is found in all records, in some parts."""
    records = make_records(table, Alikeness(by_text, distance, mirrored, num_axes))
    pieces = [records[part::parts].tobytes() for part in range(parts)]
    return [
        row
        for _, rows in find_copies(pieces, distance=distance)
        for row in np.unique(np.frombuffer(rows, np.int32)).tolist()
    ]


def by_pairs(looks, distance=DISTANCE):
    """The same by comparing everything with all before it: keys are row numbers."""
    values = values_of(looks)
    return [
        row
        for row in range(1, len(looks))
        if are_alike(np.repeat(values[row : row + 1], row, axis=0), values[:row], distance=distance).any()
    ]


@pytest.mark.parametrize("make", [pictures, products], ids=["photographs", "products"])
@pytest.mark.parametrize(("distance", "num_axes"), [(0.0, 4), (DISTANCE, 4), (DISTANCE, 11), (0.15, 6)])
def test_what_is_found_in_cells_is_what_is_found_pair_by_pair(make, distance, num_axes):
    rng = np.random.default_rng(1)
    looks = make(rng, 700)
    looks = np.concatenate([looks, copies(rng, looks[:300]), copies(rng, looks[100:200], by=1.2)])
    looks = looks[rng.permutation(len(looks))]
    found, wanted = leaving(samples(looks), distance=distance, num_axes=num_axes), by_pairs(looks, distance)
    assert set(found) <= set(wanted)
    assert len(found) >= 0.995 * len(wanted) > 250


def test_the_outcome_depends_neither_on_the_order_of_rows_nor_on_how_they_come():
    rng = np.random.default_rng(2)
    looks = products(rng, 400)
    looks = np.concatenate([looks, copies(rng, looks, by=0.8)])
    keys = rng.permutation(len(looks))
    wanted = sorted(keys[leaving(samples(looks, keys))].tolist())
    for parts in (2, 7):
        order = rng.permutation(len(looks))
        assert sorted(keys[order][leaving(samples(looks[order], keys[order]), parts=parts)].tolist()) == wanted
    assert 300 < len(wanted) < 600


def test_of_a_chain_the_smallest_key_stays_and_no_two_that_stay_are_alike():
    steps = np.zeros((5, LOOKS_BYTES), np.int8)
    steps[:, 1] = 40
    steps[:, 20] = np.arange(5) * 5  # neighbours are alike, the others are not
    for keys, gone in (([0, 1, 2, 3, 4], {1, 2, 3, 4}), ([2, 0, 3, 1, 4], {2, 3, 4}), ([0, 4, 1, 3, 2], {4, 3})):
        left = leaving(samples(steps, keys))
        assert {keys[row] for row in left} == gone
        staying = [row for row in range(5) if row not in left]
        assert not any(
            are_alike(*values_of(steps[[one, other]])[:, None], distance=DISTANCE).any()
            for one in staying
            for other in staying
            if one != other
        )


def test_thousands_that_are_all_alike_leave_but_for_one():
    rng = np.random.default_rng(3)
    looks = copies(rng, np.repeat(pictures(rng, 1), 3000, axis=0), by=0.3)
    blank = np.repeat(np.array([[100] + [0] * 60], np.int8), 3000, axis=0)
    order = rng.permutation(6000)
    rows = leaving(samples(np.concatenate([looks, blank])[order]))
    firsts = [int(np.flatnonzero(half)[0]) for half in (order < 3000, order >= 3000)]
    assert sorted(set(range(6000)) - set(rows)) == sorted(firsts)


def test_with_texts_only_samples_of_one_text_are_compared():
    looks = np.repeat(pictures(np.random.default_rng(4), 1), 4, axis=0)
    table = samples(looks, text=["a", "b", "a", "b"])
    assert leaving(table, by_text=True) == [2, 3]
    assert leaving(table) == [1, 2, 3]


def test_pictures_in_a_mirror_are_copies_if_that_is_asked_for():
    rng = np.random.default_rng(5)
    looks = pictures(rng, 300)
    looks[:100, 2] = rng.integers(-1, 2, 100)  # about as much on the left as on the right
    both = samples(np.concatenate([looks, copies(rng, mirror_looks(looks))]))
    assert len(leaving(both, mirrored=True)) == 300
    assert not leaving(both)
    assert len(leaving(samples(np.concatenate([looks, copies(rng, looks)])), mirrored=True)) == 300


def test_a_symmetric_picture_is_no_copy_of_itself():
    looks = pictures(np.random.default_rng(6), 50)
    looks = np.where(mirror_looks(np.ones_like(looks)) < 0, 0, looks).astype(np.int8)
    assert leaving(samples(looks), mirrored=True) == []


def test_flat_pictures_of_other_colours_are_not_alike():
    looks = np.zeros((6, LOOKS_BYTES), np.int8)
    looks[:, 0], looks[:, 55] = [100, 102, 110, 100, 120, 100], [0, 0, 0, 4, 0, 5]
    assert leaving(samples(looks)) == [1, 5]


@pytest.mark.parametrize("mirrored", [False, True])
def test_all_pairs_of_two_sets_are_found(mirrored):
    rng = np.random.default_rng(7)
    looks, others = pictures(rng, 500), np.concatenate([products(rng, 200), pictures(rng, 100)])
    looks[50:80], looks[80:90] = copies(rng, others[200:230]), copies(rng, others[:10])
    looks[90:120] = copies(rng, mirror_looks(others[230:260]))
    ones, twos = find_alike(looks, others, mirrored=mirrored)
    wanted = set()
    for row, values in enumerate(values_of(looks)):
        both = np.repeat(values[None], len(others), axis=0)
        for turned in (others, mirror_looks(others))[: 1 + mirrored]:
            found = np.flatnonzero(are_alike(both, values_of(turned), distance=DISTANCE))
            wanted |= {(row, other) for other in found.tolist()}
    found = list(zip(ones.tolist(), twos.tolist(), strict=True))
    assert found == sorted(set(found))
    assert set(found) == wanted
    assert {(50, 200), (80, 0)} <= wanted
    assert ((90, 230) in wanted) == mirrored


def test_nothing_is_alike_to_nothing():
    none = np.empty((0, LOOKS_BYTES), np.int8)
    some = pictures(np.random.default_rng(8), 3)
    for one, other in ((none, some), (some, none), (none, none)):
        assert [len(rows) for rows in find_alike(one, other)] == [0, 0]
    assert leaving(samples(none)) == []
    assert not list(find_copies([], distance=DISTANCE))


def test_records_are_of_rows_that_stay_and_have_a_descriptor(tmp_path):
    looks = pictures(np.random.default_rng(9), 6)
    table = samples(looks)
    known = pa.array([None if row == 2 else value for row, value in enumerate(table["looks"].to_pylist())], LOOKS)
    columns = {"pair_id": table["pair_id"], "looks": known, "text": table["text"], "status": ["ok"] * 6}
    index = str(tmp_path / "0.index.parquet")
    schema = pa.schema([RAW_INDEX.field(name) for name in columns])
    write_table(index, pa.table(columns, schema), schema)
    group, verdicts = RawGroup(7, (RawTar(0, "", index),)), StageFolder(str(tmp_path / "verdicts"))
    write_array(verdicts_of(group, folder=verdicts), np.array([0, 1, 0, 0, 0, 1], np.uint8))
    packed = pack_looks(group, verdicts=verdicts, alikeness=Alikeness(False, DISTANCE, False), buckets=4)
    buckets, parts = zip(*packed, strict=True)
    records = np.frombuffer(b"".join(parts), RECORD)
    assert set(buckets) <= set(range(4))
    assert set(records["row"].tolist()) == {0, 3, 4}
    assert set(records["unit"].tolist()) == {7}
    for record in records:
        assert (record["looks"] == looks[record["row"]]).all()
        assert record["key"].tolist() == [0, record["row"]]
