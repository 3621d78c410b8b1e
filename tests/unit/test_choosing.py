"""Which samples lists name: ids of any form, queries as they are written."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.schemas import RAW_INDEX, SHARD_INDEX
from pipeline.sharding.finished.choosing import (
    as_raw_index,
    carried_in_shards,
    find_ids,
    find_queries,
    ids_of_texts,
    ids_of_words,
)


@pytest.mark.parametrize("seed", range(5))
def test_ids_are_found_as_in_a_set_also_where_halves_agree_and_end_in_zeros(seed):
    rng = np.random.default_rng(seed)
    halves = np.array([0, 1, 255, 256, 1 << 56, (1 << 64) - 1], np.uint64)
    wanted, rows = (rng.choice(halves, (number, 2)) for number in (9, 40))
    listed = {tuple(one) for one in wanted.tolist()}
    ordered = np.unique(wanted, axis=0)  # as numbers
    is_wanted, places = find_ids(ids_of_words(ordered), ids_of_words(rows))
    assert is_wanted.tolist() == [tuple(row) in listed for row in rows.tolist()]
    assert {tuple(ordered[place].tolist()) for place in places} == listed & set(map(tuple, rows.tolist()))


def test_no_ids_are_none_of_the_rows():
    is_wanted, places = find_ids(np.empty(0, "S16"), np.array([b"a"] * 3, "S16"))
    assert (is_wanted.tolist(), places.tolist()) == ([False] * 3, [])


def test_texts_that_are_no_digits_are_ids_too_whatever_their_case():
    ids = ids_of_texts(["Some/UID", "some/uid", "other"])
    assert ids[0] == ids[1] != ids[2]
    assert ids_of_texts([]).shape == (0,)


def test_queries_are_found_as_they_are_or_as_a_vocabulary_writes_them(tmp_path):
    (tmp_path / "queries.txt").write_text("\ufeffThe  Sea\nA.D.\n\nA.D.\nnone\n", encoding="utf-8")
    known = pa.table({"query_id": [7, 2, 9], "query": ["the sea", "A.D.", "a.d."]})
    found = find_queries(str(tmp_path / "queries.txt"), known)
    assert (found.ids.tolist(), found.unknown) == ([2, 7], 1)


@pytest.mark.parametrize("uid", [SHARD_INDEX.field("uid"), pa.field("uid", pa.string())], ids=["own", "carried"])
def test_an_index_of_a_shard_becomes_a_raw_one_with_what_it_carries(uid):
    schema = pa.schema([*(field for field in SHARD_INDEX if field.name != "uid"), uid, pa.field("nsfw", pa.float32())])
    row = {field.name: "" for field in schema if field.type == pa.string()} | {"nsfw": 0.5, "phash": -1}
    row |= {field.name: 7 for field in schema if field.type in (pa.int32(), pa.int64()) and field.name != "phash"}
    row |= {"key": f"{1 << 100:032x}", "uid": "u", "sha256": "ab" * 32, "keep_probability": 0.25, "url": "http://a/"}
    row |= {"query_ids": [1, 2], "kept_for": [2], "mime": "image/png", "caption": "a cat"}
    raw = as_raw_index(pa.Table.from_pylist([row], schema))
    carried = carried_in_shards(schema)
    assert [field.name for field in carried] == (["nsfw"] if uid.nullable is False else ["uid", "nsfw"])
    assert raw.schema.names == [*RAW_INDEX.names, *(field.name for field in carried)]
    [made] = raw.to_pylist()
    assert (made["pair_id"], made["sha256"], made["status"]) == ((1 << 100).to_bytes(16), b"\xab" * 32, "ok")
    assert (made["image_url"], made["text"], made["offset"], made["phash"]) == ("http://a/", "a cat", 7, -1)
