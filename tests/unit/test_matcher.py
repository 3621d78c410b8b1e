"""The matcher equals the obvious one: `" query " in " text "`."""

import gzip
import itertools
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vocab.matcher
from vocab.matcher import Matcher, compile_matcher
from vocab.normalize import METACLIP, Normalization, normalize_column

SHORT_TEXT = st.text(
    st.one_of(st.sampled_from("ab  .,'’\n\x00éÉ中国กิ\u0301"), st.characters(exclude_categories=["Cs"])), max_size=12
)


def match_slowly(queries, texts, normalization):
    """The reference: try every query on every text, by the definition."""
    firsts = first_ids(queries, normalization)
    return [
        sorted(id for query, id in firsts.items() if f" {query} " in f" {text} ")
        for text in space_texts(texts, normalization)
    ]


def match_by_runs(queries, texts, normalization, *, longest):
    """The same in reasonable time: look up every run of up to `longest` tokens of a text."""
    firsts = first_ids(queries, normalization)
    for text in space_texts(texts, normalization):
        tokens = text.split(" ")
        runs = {" ".join(tokens[a:b]) for a, b in itertools.combinations(range(len(tokens) + 1), 2) if b - a <= longest}
        yield sorted(firsts[run] for run in runs if run in firsts)


def first_ids(queries, normalization):
    if normalization.style == "words":
        queries = space_texts(queries, normalization)
    return {query: len(queries) - 1 - place for place, query in enumerate(reversed(queries)) if query}


def space_texts(texts, normalization):
    if normalization.style == "words":
        return normalize_column(pa.array(texts, pa.string()), case=normalization.case).to_pylist()
    spaced = [re.sub("([,.;:?!`])", r" \1 ", text) for text in texts]  # MetaCLIP's rule
    return [re.sub("[\t\n\r]", " ", text) for text in spaced]


def match_fast(matcher, texts):
    offsets, ids = matcher.match_column(pa.array(texts, pa.string()))
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[first:end].tolist() for first, end in itertools.pairwise(offsets)]


NORMALIZATIONS = [Normalization(), Normalization(case="sensitive"), METACLIP]


@given(st.lists(SHORT_TEXT, max_size=15), st.lists(SHORT_TEXT, max_size=6), st.sampled_from(NORMALIZATIONS))
@example(["a", "A", "a b", "b", "a"], ["a b", "", "A B A", "b\x00a", "ab"], Normalization())
@example(["a", "A", "a  b", " a", "a ", " "], ["a  b", "", "a,b", ". a"], METACLIP)
@example([], ["a"], Normalization())
@settings(max_examples=100, deadline=None)
def test_fast_matcher_equals_reference(queries, texts, normalization):
    queries = [*queries, *texts[:2], *[text[:3] for text in texts]]
    matcher = compile_matcher(queries, normalization=normalization)
    assert match_fast(matcher, texts) == match_slowly(queries, texts, normalization)


def test_text_longer_than_a_block_and_blocks_of_many_texts_equal_reference(monkeypatch):
    monkeypatch.setattr(vocab.matcher, "_BLOCK_BYTES", 1000)
    words = [f"w{number % 97}" for number in range(4000)]
    texts = [" ".join(words), "", *(" ".join(words[first : first + 5]) for first in range(0, 3000, 3)), "w1 " * 500]
    queries = ["w1 w2 w3 w4 w5 w6", "w96 w0", "w3", "w2 w2", "w1 w1 w1", "w"]
    assert match_fast(compile_matcher(queries), texts) == match_slowly(queries, texts, Normalization())


@pytest.mark.parametrize(
    ("query", "text", "contained"),
    [
        ("St. Louis", "in st louis, mo", True),
        ("Louis", "ST. LOUIS", True),
        ("new york", "New  York", True),
        ("york", "yorkshire", False),
        ("art", "modern-art", True),
        ("中国", "在中国的人", True),
        ("国中", "在中国的人", False),
        ("o'neill", "O’Neill", True),
        ("!", "wow!", False),
    ],
)
def test_query_is_found_as_whole_tokens_only(query, text, contained):
    assert compile_matcher([query]).match_text(text) == ([0] if contained else [])


def test_metaclip_style_keeps_the_faults_of_the_original():
    matcher = compile_matcher(["St. Louis", "new york", "photo", "(c)"], normalization=METACLIP)
    assert matcher.match_text("photo, new york (c) St. Louis") == [1, 2, 3]
    assert matcher.match_text("Photo of new  york") == []


def test_of_queries_that_normalise_alike_the_first_is_found():
    assert compile_matcher(["x", "Foo", "foo!", "foo bar"]).match_text("foo bar") == [1, 3]


def test_column_without_rows_and_matcher_without_queries_give_nothing():
    assert match_fast(compile_matcher(["a"]), []) == []
    assert match_fast(compile_matcher([]), ["a", "b"]) == [[], []]
    assert match_fast(compile_matcher(["a"]), [None, "a"]) == [[], [0]]


def test_saved_matcher_loads_equal(tmp_path):
    def write_bytes(path, data):
        (tmp_path / path.rsplit("/", 1)[1]).write_bytes(data)

    queries = ["new york", "york", "city", "New York City Hall"]
    matcher = compile_matcher(queries, normalization=Normalization(case="sensitive"))
    matcher.save(str(tmp_path), write_bytes)
    loaded = Matcher.load(str(tmp_path))
    assert (loaded.normalization, loaded.num_queries, loaded.digest) == (matcher.normalization, 4, matcher.digest)
    assert loaded.match_text("New York City Hall in new york") == [0, 1, 3]


def test_digest_tells_queries_and_normalisations_apart():
    lists = [["a", "b"], ["b", "a"], ["a b"], ["a", "b", ""], ["", "a", "b"], ["a"]]
    digests = [compile_matcher(queries).digest for queries in lists]
    digests += [compile_matcher(["a", "b"], normalization=rule).digest for rule in NORMALIZATIONS[1:]]
    assert len(set(digests)) == len(digests)
    assert compile_matcher(["A", "b."]).digest == digests[0]


def test_queries_whose_hashes_collide_get_another_multiplier(monkeypatch):
    multipliers = vocab.matcher._multipliers
    monkeypatch.setattr(vocab.matcher, "_multipliers", lambda: iter([1, next(multipliers())]))
    matcher = compile_matcher(["ab", "ba"])  # times 1, the order of the bytes does not count
    assert matcher.multiplier != 1
    assert matcher.match_text("ba") == [1]


def test_full_table_gives_back_every_key_and_no_other():
    queries = [f"q{number}" for number in range(5000)]
    matcher = compile_matcher(queries)
    assert matcher.keys.size < 4 * len(queries) + 2
    assert np.count_nonzero(matcher.values) == len(queries)
    assert match_fast(matcher, [*queries, "q5000"]) == [[number] for number in range(5000)] + [[]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi30k", "laion", "xtd10_zh"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS, ids=["fold", "sensitive", "metaclip"])
def test_fast_matcher_equals_reference_on_real_captions(real_data, name, normalization):
    texts = read_captions(real_data / "text_lists", name)
    queries = frequent_queries(texts, normalization)
    matched = match_fast(compile_matcher(queries, normalization=normalization), texts)
    assert sum(map(len, matched)) > len(texts)
    assert matched == list(match_by_runs(queries, texts, normalization, longest=5))
    some = slice(None, None, len(texts) // 20)
    assert matched[some] == match_slowly(queries, texts[some], normalization)


def read_captions(folder, name):
    if name == "laion":
        return pq.read_table(folder / "laion_url_text_10k.parquet")["TEXT"].to_pylist()
    if name == "xtd10_zh":
        return (folder / "xtd10_zh.txt").read_text().splitlines()
    files = sorted((folder / "multi30k").glob("train.*.en.gz"))
    return [line for file in files for line in gzip.decompress(file.read_bytes()).decode().split("\n")]


def frequent_queries(texts, normalization):
    """Words, pairs and triples of the texts, a few thousand of each."""
    runs = Counter()
    for text in space_texts(texts, normalization):
        words = [word for word in text.split(" ") if word]
        for width in (1, 2, 3):
            runs.update(" ".join(words[first : first + width]) for first in range(len(words) - width + 1))
    return [run for run, _ in runs.most_common(6000)]


def test_powers_are_exact_whatever_the_size_of_multiplier_and_inverse():
    from vocab.matcher import _multipliers, _powers

    multipliers = _multipliers()
    for multiplier in (next(multipliers) for _ in range(20)):
        powers, inverse_powers = _powers(multiplier, 64)
        assert [int(p) for p in powers] == [pow(multiplier, k, 2**64) for k in range(64)]
        assert (powers * inverse_powers == 1).all()
