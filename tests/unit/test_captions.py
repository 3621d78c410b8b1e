"""A cap on samples of one caption, and on samples of one pair: which stay follows from content alone."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.ids import hash_ids, id_words
from pipeline.base.packed import unit_straight
from pipeline.sharding.selection import captions, same_keys
from pipeline.sharding.selection.captions import caption_ids, find_repeats, pack_captions
from pipeline.sharding.selection.same_keys import find_same_pairs, pack_pairs
from pipeline.sharding.stored_samples import RawGroup


def key(number):
    return number.to_bytes(16, "big")


def leaving(monkeypatch, module, pack, find, groups, **columns):
    """The (group, row) of what leaves, of groups that are lists of rows, each a key and what else is told of it."""
    tables = []
    for rows in groups:
        keys = pa.array([key(row[0]) for row in rows], pa.binary(16))
        others = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(columns.values(), 1)]
        tables.append(pa.table([keys, *others], ["pair_id", *columns]))
    monkeypatch.setattr(
        module,
        "read_candidates",
        lambda group, _, verdicts: (tables[group.number], 10 * np.arange(tables[group.number].num_rows)),
    )
    found, buckets = [], {}
    for number in range(len(groups)):
        for bucket, part in pack(RawGroup(number, ()), verdicts=None):
            buckets.setdefault(bucket, []).append(part)
    for bucket, parts in buckets.items():
        unit = unit_straight(bucket)
        found += [(unit, part) for part in parts] if unit is not None else list(find(parts[::-1]))
    return sorted((unit, row // 10) for unit, part in found for row in np.frombuffer(part, np.int32).tolist())


TEXTS = ("a cat", "A  Cat!", "a dog", "!", "")
GROUPS = st.lists(st.lists(st.tuples(st.integers(0, 2**128 - 1), st.sampled_from(TEXTS)), max_size=8), max_size=4)


def capped(groups, *, max_repeats=2, seed=0, buckets=3):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return leaving(
            monkeypatch,
            captions,
            lambda group, verdicts: pack_captions(
                group, verdicts=verdicts, max_repeats=max_repeats, seed=seed, buckets=buckets
            ),
            lambda parts: find_repeats(parts, max_repeats=max_repeats, seed=seed),
            groups,
            text=pa.string(),
        )


@given(GROUPS, st.integers(1, 3), st.integers(0, 9))
def test_of_each_caption_the_samples_with_the_smallest_lots_stay(groups, max_repeats, seed):
    words = {text: text if text in ("!", "") else text.lower().replace("  ", " ").strip("!") for text in TEXTS}
    by_words = {}
    for unit, rows in enumerate(groups):
        for row, (number, text) in enumerate(rows):
            lot = int(hash_ids(id_words(pa.array([key(number)], pa.binary(16))), seed=seed)[0])
            by_words.setdefault(words[text], []).append((lot, number, unit, row))
    wanted = sorted(place[2:] for places in by_words.values() for place in sorted(places)[max_repeats:])
    assert capped(groups, max_repeats=max_repeats, seed=seed) == wanted


def test_which_samples_stay_does_not_depend_on_groups_or_buckets():
    rows = [(number * 2**100 + number, "logo") for number in range(50)]

    def staying(groups, **options):
        gone = capped(groups, **options)
        return {row[0] for unit, its in enumerate(groups) for place, row in enumerate(its) if (unit, place) not in gone}

    one = staying([rows], max_repeats=7)
    assert len(one) == 7
    assert one == staying([rows[30:], rows[:30][::-1]], max_repeats=7, buckets=1)
    assert one != staying([rows], max_repeats=7, seed=1)


def test_a_group_sends_no_more_of_a_caption_than_may_stay(monkeypatch):
    table = pa.table({"pair_id": pa.array(map(key, range(99)), pa.binary(16)), "text": ["logo"] * 99})
    monkeypatch.setattr(captions, "read_candidates", lambda *_, **__: (table, np.arange(99)))
    parts = list(pack_captions(RawGroup(0, ()), verdicts=None, max_repeats=3, seed=0, buckets=5))
    assert Counter({unit_straight(bucket) is None: len(part) for bucket, part in parts}) == {True: 120, False: 4 * 96}


def test_captions_without_a_word_are_told_apart_by_their_characters():
    ids = caption_ids(pa.chunked_array([["★", "★★", "★"], ["", "cat", "cat★"]])).tolist()
    assert [ids.index(one) for one in ids] == [0, 1, 0, 3, 4, 4]


def same(groups, buckets=3):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return leaving(
            monkeypatch,
            same_keys,
            lambda group, verdicts: pack_pairs(group, verdicts=verdicts, buckets=buckets),
            find_same_pairs,
            groups,
            sha256=pa.binary(32),
        )


PAIRS = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([bytes([n]) * 32 for n in (0, 1, 255)])), max_size=6),
    max_size=3,
)


@given(PAIRS)
def test_of_one_pair_the_smallest_file_digest_stays_and_of_equal_files_the_first(groups):
    places = sorted(
        (number, digest, unit, row) for unit, rows in enumerate(groups) for row, (number, digest) in enumerate(rows)
    )
    firsts = {}
    for number, _, unit, row in places:
        firsts.setdefault(number, (unit, row))
    assert same(groups) == sorted((unit, row) for _, _, unit, row in places if (unit, row) not in firsts.values())
