"""The matcher equals the obvious one: `" query " in " text "`."""

import gzip
import itertools
import json
import pathlib
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vocab.kernels.compiled
import vocab.matcher
import vocab.matcher_numpy
import vocab.matcher_table
from vocab.matcher import Matcher, compile_matcher
from vocab.normalize import METACLIP, Normalization, normalize_column

SHORT_TEXT = st.text(
    st.one_of(st.sampled_from("abslD1  .,''’++#\n\x00éÉ中国กิ\u0301"), st.characters(exclude_categories=["Cs"])),
    max_size=12,
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
        places = range(len(tokens))
        runs = {" ".join(tokens[first : first + width]) for first in places for width in range(1, longest + 1)}
        yield sorted(firsts[run] for run in runs if run in firsts)


def first_ids(queries, normalization):
    if normalization.style == "words":
        queries = space_texts(queries, normalization)
    return {query: len(queries) - 1 - place for place, query in enumerate(reversed(queries)) if query}


def space_texts(texts, normalization):
    if normalization.style == "words":
        column = pa.array(texts, pa.string())
        return normalize_column(column, case=normalization.case, clitics=normalization.clitics).to_pylist()
    spaced = [re.sub("([,.;:?!`])", r" \1 ", text) for text in texts]  # MetaCLIP's rule
    return [re.sub("[\t\n\r]", " ", text) for text in spaced]


def match_fast(matcher, texts):
    offsets, ids = matcher.match_column(pa.array(texts, pa.string()))
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[first:end].tolist() for first, end in itertools.pairwise(offsets)]


KERNELS = ["numba", "numpy"]
NORMALIZATIONS = [Normalization(), Normalization(case="sensitive"), METACLIP]
LANGUAGES = [Normalization(clitics=clitics) for clitics in ("none", "fr", "it", "tr")]


@given(
    st.lists(SHORT_TEXT, max_size=15), st.lists(SHORT_TEXT, max_size=6), st.sampled_from([*NORMALIZATIONS, *LANGUAGES])
)
@example(["a", "A", "a b", "b", "a"], ["a b", "", "A B A", "b\x00a", "ab"], Normalization())
@example(["a", "A", "a  b", " a", "a ", " "], ["a  b", "", "a,b", ". a"], METACLIP)
@example([], ["a"], Normalization())
@example(["dog", "dog's", "s"], ["dog's", "DOG'S", "dogs' s", "x'd've's", "'s", "s's'", "o'clock's'x"], Normalization())
@example(["c", "c plus plus", "c#"], ["C++", "C++11.", "a C# c", "C+x", "xC#", "+C#+", "é C++ C#"], Normalization())
@example(["l", "a", "qu'a"], ["l'a", "L'L'a", "qu'a'l", "aqu'a", "1l'a", "jusqu'a abcdefghi'a"], LANGUAGES[1])
@example(["b", "ab"], ["ab'b", "a'b", "1'b", "ab'a'b", "B'A'B"], LANGUAGES[3])
@settings(max_examples=100)
def test_fast_matcher_equals_reference(queries, texts, normalization):
    queries = [*queries, *texts[:2], *[text[:3] for text in texts]]
    expected = match_slowly(queries, texts, normalization)
    matcher = compile_matcher(queries, normalization=normalization)
    for kernel in KERNELS:
        assert match_fast(replace(matcher, kernel=kernel), texts) == expected, kernel


@pytest.mark.parametrize("kernel", KERNELS)
def test_text_longer_than_a_block_and_blocks_of_many_texts_equal_reference(monkeypatch, kernel):
    monkeypatch.setattr(vocab.matcher_numpy, "_BLOCK_BYTES", 1000)
    words = [f"w{number % 97}" for number in range(4000)]
    texts = [" ".join(words), "", *(" ".join(words[first : first + 5]) for first in range(0, 3000, 3)), "w1 " * 500]
    queries = ["w1 w2 w3 w4 w5 w6", "w96 w0", "w3", "w2 w2", "w1 w1 w1", "w"]
    texts += ["Ünder w1 w2", "w3 " * 6000 + "é", *["w2 w2"] * 3000, ""]
    assert match_fast(compile_matcher(queries, kernel=kernel), texts) == match_slowly(queries, texts, Normalization())


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


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("clitics", "query", "text", "contained"),
    [
        ("en", "dog", "the dog's bowl", True),
        ("en", "dog", "the DOG’S bowl", True),
        ("en", "dog", "a dog 's bowl", True),
        ("en", "dogs", "the dogs' bowl", True),
        ("en", "dog bowl", "the dog's bowl", False),
        ("en", "McDonald's", "at McDonald’s, by night", True),
        ("en", "McDonald's", "Mr McDonald", False),
        ("en", "mcdonald", "at McDonald's", True),
        ("en", "brien", "O'Brien", False),
        ("en", "clock", "five o'clock", False),
        ("en", "Rock 'n' Roll", "rock'n'roll", False),
        ("en", "Rock 'n' Roll", "ROCK 'N' ROLL", True),
        ("en", "église", "L'église", False),
        ("fr", "église", "L'église de Vétheuil", True),
        ("fr", "hui", "aujourd'hui", False),
        ("fr", "arbre", "l'arbre", True),
        ("it", "arte", "storia dell'arte", True),
        ("ca", "arbre", "un arbre, l'arbre", True),
        ("tr", "istanbul", "İstanbul'da", True),
        ("tr", "Ankara", "Ankara'dan", True),
        ("tr", "brien", "O'Brien", False),
        ("none", "dog", "the dog's bowl", False),
        ("en", "C++", "learning C++", True),
        ("en", "C++", "vitamin C", False),
        ("en", "C#", "C# and F#", True),
        ("en", "C#", "C++", False),
        ("en", "C sharp", "C♯ minor", True),
        ("en", "c", "C++", True),
        ("en", "cat", "#cat", True),
        ("en", "red panda", "red+panda", True),
        ("en", "disney", "Disney+", True),
        ("en", "Disney+", "Disney World", False),
        ("en", "item 7", "Item# 7", True),
    ],
)
def test_clitics_and_signs_are_words_of_their_own(kernel, clitics, query, text, contained):
    matcher = compile_matcher([query], normalization=Normalization(clitics=clitics), kernel=kernel)
    found = [matcher.match_text(shown) for shown in (text, f"… {text} …", f"({text})")]  # by bytes, and not
    assert found == [[0] if contained else []] * 3


def test_metaclip_style_keeps_the_faults_of_the_original():
    matcher = compile_matcher(["St. Louis", "new york", "photo", "(c)"], normalization=METACLIP)
    assert matcher.match_text("photo, new york (c) St. Louis") == [1, 2, 3]
    assert matcher.match_text("Photo of new  york") == []


def test_of_queries_that_normalise_alike_the_first_is_found():
    assert compile_matcher(["x", "Foo", "foo!", "foo bar"]).match_text("foo bar") == [1, 3]


@pytest.mark.parametrize("kernel", KERNELS)
def test_column_without_rows_and_matcher_without_queries_give_nothing(kernel):
    assert match_fast(compile_matcher(["a"], kernel=kernel), []) == []
    assert match_fast(compile_matcher([], kernel=kernel), ["a", "b", "é"]) == [[], [], []]
    assert match_fast(compile_matcher(["a"], kernel=kernel), [None, "a"]) == [[], [0]]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_part_of_a_column_is_matched_by_itself(kernel, kind):
    column = pa.array(["a b", None, "É a", "b", "a a"], kind)[1:4]
    offsets, ids = compile_matcher(["a", "b", "é a"], kernel=kernel).match_column(column)
    assert (offsets.tolist(), ids.tolist()) == ([0, 0, 2, 3], [0, 2, 1])


def test_each_text_may_hold_any_number_of_queries():
    queries = [f"q{number}" for number in range(3000)]
    texts = [" ".join(reversed(queries[:held])) for held in (0, 1, 2, 63, 64, 65, 3000, 5)]
    for kernel in KERNELS:
        found = match_fast(compile_matcher(queries, kernel=kernel), texts)
        assert found == [sorted(range(held)) for held in (0, 1, 2, 63, 64, 65, 3000, 5)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_saved_matcher_loads_equal(tmp_path, kernel):
    def write_bytes(path, data):
        (tmp_path / path.rsplit("/", 1)[1]).write_bytes(data)

    queries = ["new york", "york", "city", "New York City Hall"]
    matcher = compile_matcher(queries, normalization=Normalization(case="sensitive", clitics="fr"))
    matcher.save(str(tmp_path), write_bytes)
    loaded = Matcher.load(str(tmp_path), kernel=kernel)
    assert (loaded.normalization, loaded.num_queries, loaded.digest) == (matcher.normalization, 4, matcher.digest)
    assert not loaded.table.slots.flags.writeable
    assert loaded.match_text("New York City Hall in new york") == [0, 1, 3]


def test_digest_tells_queries_and_normalisations_apart():
    lists = [["a", "b"], ["b", "a"], ["a b"], ["a", "b", ""], ["", "a", "b"], ["a"]]
    digests = [compile_matcher(queries).digest for queries in lists]
    digests += [compile_matcher(["a", "b"], normalization=rule).digest for rule in [*NORMALIZATIONS[1:], *LANGUAGES]]
    assert len(set(digests)) == len(digests)
    assert compile_matcher(["A", "b."]).digest == digests[0]


def test_queries_whose_hashes_collide_get_another_multiplier(monkeypatch):
    multipliers = vocab.matcher_table._multipliers
    monkeypatch.setattr(vocab.matcher_table, "_multipliers", lambda: iter([1, next(multipliers())]))
    matcher = compile_matcher(["ab", "ba"])  # times 1, the order of the bytes does not count
    assert matcher.table.multiplier != 1
    assert matcher.match_text("ba") == [1]


def test_full_table_gives_back_every_key_and_no_other():
    queries = [f"q{number}" for number in range(5000)]
    matcher = compile_matcher(queries)
    assert matcher.table.slots.size < 4 * len(queries) + 2
    assert np.count_nonzero(matcher.table.slots) == len(queries)
    assert match_fast(matcher, [*queries, "q5000"]) == [[number] for number in range(5000)] + [[]]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("query", "text", "contained"),
    [
        ("中国", "在中国的人", True),
        ("国中", "在中国的人", False),
        ("東京タワー", "夜の東京タワーです", True),
        ("กิน", "กินข้าว", True),
        ("ก", "กินข้าว", False),
        ("ປະເທດ", "ຢູ່ປະເທດລາວ", True),
        ("ទេស", "ប្រទេស", True),
        ("ទ", "ប្រទេស", False),
        ("မြန်မာ", "ပြည်မြန်မာ", True),
        ("བོད", "བོད་ཡིག", True),
        ("한국", "한국사람", False),
    ],
)
def test_scripts_without_spaces_are_cut_between_characters(kernel, query, text, contained):
    matcher = compile_matcher([query], kernel=kernel)
    assert matcher.match_text(f"photo: {text}, 2008") == ([0] if contained else [])


@pytest.mark.parametrize("kernel", KERNELS)
def test_column_whose_offsets_leave_its_data_is_refused(kernel):
    offsets = np.array([0, 100, 2], np.int32)
    column = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(b"ab"))
    with pytest.raises(ValueError, match="offsets outside of its data"):
        compile_matcher(["a"], kernel=kernel).match_column(column)


@pytest.fixture
def forget_compiler():
    def forget():
        vocab.kernels.compiled.find_obstacle.cache_clear()
        vocab.matcher._is_compiled.cache_clear()

    forget()
    yield
    forget()


def test_without_a_compiler_texts_are_matched_by_numpy_and_one_line_says_so(monkeypatch, caplog, forget_compiler):
    def fail(function):
        raise ImportError("no numba")

    monkeypatch.setattr(vocab.kernels.compiled, "_compile", fail)
    matcher = compile_matcher(["new york", "york"])
    matcher.prepare()
    assert matcher.match_text("in New York") == [0, 1]
    assert [record.message for record in caplog.records] == [
        "texts are matched by numpy, several times slower: numba cannot be loaded: no numba"
    ]
    with pytest.raises(ValueError, match=r"kernel numba .* no numba"):
        compile_matcher(["a"], kernel="numba").prepare()


def test_where_nothing_can_be_kept_nothing_is_compiled(monkeypatch, caplog, forget_compiler):
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert compile_matcher(["b"]).match_text("a b") == [0]
    assert "numba finds no folder to keep compiled functions in, set NUMBA_CACHE_DIR" in caplog.text


def test_files_of_another_format_are_refused(tmp_path):
    (tmp_path / "matcher.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match="matcher format 1, not 3; compile the queries anew"):
        Matcher.load(str(tmp_path))


ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGH", "àéîõüßñçåø", "e\u0301a\u0308o\u0302", "абвгдежзийк", "αβγδεζηθ",
    "ابتثجح", "אבגדהו", "अआइईकखगि", "กขคงจิ", "中国人大小山水火", "あいうアイウ", "가나다라", "0123456789",
    "😀😁🏽\u200d",
]  # fmt: skip
BETWEEN = [" "] * 12 + [
    "  ",
    ", ",
    ". ",
    "-",
    "/",
    "'",
    "’",
    "'s ",
    "'a ",
    "+ ",
    "#",
    "\n",
    "\t",
    " (",
    ") ",
    "!",
    "\u00a0",
    "…",
    ",",
    "\x00",
    "、",
]


def make_texts(num_texts, seed):
    """Texts in several alphabets, a few words of each very frequent; some are empty and some very long."""
    rng = random.Random(seed)
    words = [["".join(rng.choices(alphabet, k=rng.randint(1, 6))) for _ in range(60)] for alphabet in ALPHABETS]
    weights = [1 / rank for rank in range(1, 61)]
    for number in range(num_texts):
        length = 4000 if number % 500 == 7 else rng.randint(0, 18)
        main = rng.choice(words)
        parts = []
        for _ in range(length):
            parts += [rng.choices(main if rng.random() < 0.8 else rng.choice(words), weights)[0], rng.choice(BETWEEN)]
        yield "".join(parts)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("normalization", NORMALIZATIONS, ids=["fold", "sensitive", "metaclip"])
def test_fast_matcher_equals_reference_on_made_up_texts_in_many_alphabets(seed, normalization):
    texts = list(make_texts(1500, seed))
    queries = frequent_queries(texts, normalization)
    matcher = compile_matcher(queries, normalization=normalization)
    matched, same = (match_fast(replace(matcher, kernel=kernel), texts) for kernel in KERNELS)
    assert matched == same
    assert sum(map(len, matched)) > 3 * len(texts)
    assert matched == list(match_by_runs(queries, texts, normalization, longest=5))
    some = slice(None, None, 50)
    assert matched[some] == match_slowly(queries, texts[some], normalization)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi30k", "coco", "laion", "xtd10_en", "xtd10_zh", "zhwiki"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS, ids=["fold", "sensitive", "metaclip"])
def test_fast_matcher_equals_reference_on_real_texts(real_data, name, normalization):
    texts = read_texts(real_data, name)
    queries = frequent_queries(texts, normalization)
    matcher = compile_matcher(queries, normalization=normalization)
    matched, same = (match_fast(replace(matcher, kernel=kernel), texts) for kernel in KERNELS)
    assert matched == same
    assert sum(map(len, matched)) > len(texts) / 10  # MetaCLIP does not cut Chinese
    assert matched == list(match_by_runs(queries, texts, normalization, longest=5))
    some = slice(None, None, len(texts) // 20)
    assert matched[some] == match_slowly(queries, texts[some], normalization)


def read_texts(real_data, name):
    lists = real_data / "text_lists"
    if name == "laion":
        return pq.read_table(lists / "laion_url_text_10k.parquet")["TEXT"].to_pylist()
    if name == "coco":
        captions = json.loads((lists / "coco_captions_val2017.json").read_text())["annotations"]
        return [row["caption"] for row in captions]
    if name == "zhwiki":
        return (real_data / "wikipedia" / "zhwiki-titles-part030.txt").read_text().splitlines()
    if name.startswith("xtd10"):
        return (lists / f"{name}.txt").read_text().splitlines()
    files = sorted((lists / "multi30k").glob("train.*.en.gz"))
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
    for multiplier in itertools.islice(vocab.matcher_table._multipliers(), 20):
        powers, inverse_powers = vocab.matcher_table._powers(multiplier, 64)
        assert [int(p) for p in powers] == [pow(multiplier, k, 2**64) for k in range(64)]
        assert (powers * inverse_powers == 1).all()


LOADED = """
import sys
from vocab import matcher_compiled
from vocab.matcher import Matcher, load_kernel
load_kernel()
before = list(matcher_compiled.match_rows.signatures)
found = Matcher.load(sys.argv[1]).match_text("in New York")
sys.exit(0 if found == [0] and before == list(matcher_compiled.match_rows.signatures) else f"{found} {before}")
"""


@pytest.mark.skipif(bool(vocab.kernels.compiled.find_obstacle()), reason="nothing is compiled here")
def test_what_is_loaded_before_workers_are_forked_is_all_that_a_matcher_in_files_needs(tmp_path):
    compile_matcher(["new york"]).save(str(tmp_path), lambda path, data: pathlib.Path(path).write_bytes(data))
    done = subprocess.run([sys.executable, "-c", LOADED, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
