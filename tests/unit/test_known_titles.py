"""Which viewed titles a dump may have."""

import random
import string

import pyarrow as pa

from vocab.known_titles import hash_titles, join_hashes, may_be_known


def make_titles(rng, number):
    letters = string.ascii_letters + " äÉ北京🙂"
    return ["".join(rng.choices(letters, k=rng.randrange(12))) for _ in range(number)]


def test_titles_are_told_apart_wherever_they_lie_in_a_column():
    rng = random.Random(2)
    known, others = make_titles(rng, 40_000), make_titles(rng, 40_000)
    halves = [hash_titles(pa.chunked_array([half])) for half in (known[:20_000], known[15_000:])]
    column = pa.chunked_array([pa.array(["x", *others])[1:], pa.array(known, pa.string())])
    alike = set(known)
    expected = [title in alike or title[:1].upper() + title[1:] in alike for title in [*others, *known]]
    assert may_be_known(column, join_hashes(halves)).to_pylist() == expected
    assert any(expected[:40_000])
    assert not all(expected)


def test_nothing_is_known_where_there_is_no_title():
    column = pa.chunked_array([["Fox", ""]])
    assert may_be_known(column, join_hashes([])).to_pylist() == [False, False]
    assert may_be_known(pa.chunked_array([], pa.string()), hash_titles(column)).to_pylist() == []
