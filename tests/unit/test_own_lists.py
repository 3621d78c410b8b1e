"""Own lists of queries: every way they are written, and what is told of one that is none."""

import gzip

import pyarrow as pa
import pytest

from vocab.imports import FATES, Fate, fold_lists, mark_left_out
from vocab.matcher import compile_matcher
from vocab.normalize import METACLIP, Normalization
from vocab.own_lists import BadList, OwnColumns, read_own_list
from vocab.queries import QueryTable

CLASS_INDEX = b'{"0": ["n01440764", "tench"], "1": ["n01484850", "great_white_shark"]}'
LISTS = {
    "metaclip": ("metadata.json", b'["red panda", "Cat"]', [("red panda", None), ("Cat", None)]),
    "json-in-a-text": ("list.txt", b' ["red panda"]\n', [("red panda", None)]),
    "class-index": ("imagenet_class_index.json", CLASS_INDEX, [("tench", None), ("great white shark", None)]),
    "names-by-id": ("a.json", b'{"n01440764": "tench, Tinca tinca"}', [("tench", None), ("Tinca tinca", None)]),
    "names-by-number": ("a.json", b'{"0": "tench", "1": "cat"}', [("tench", None), ("cat", None)]),
    "numbers-by-name": ("a.json", b'{"tench": 1, "cat": 0}', [("tench", None), ("cat", None)]),
    "ids-by-name": ("a.json", b'{"tench": "n01440764", "cat": "n02121808"}', [("tench", None), ("cat", None)]),
    "counts-by-name": ("a.json", b'{"tench": 12, "cat": 7}', [("tench", 12), ("cat", 7)]),
    "lines": ("a.txt", b"\xef\xbb\xbfred panda\r\n\n  cat \n", [("red panda", None), ("cat", None)]),
    "no-suffix": ("classes", "北京\n".encode(), [("北京", None)]),
    "synset-words": ("synset_words.txt", b"n01440764 tench, Tinca tinca\n", [("tench", None), ("Tinca tinca", None)]),
    "a-line-with-a-comma": ("a.txt", b"Paris, France\n", [("Paris, France", None)]),
    "tsv": ("a.tsv", b'red panda\t7\nsay "hi"\t\n', [("red panda", 7), ('say "hi"', None)]),
    "tsv-in-a-text": ("a.txt", b"red panda\t7\ncat\t9\n", [("red panda", 7), ("cat", 9)]),
    "counts-first": ("a.tsv", b"7\tred panda\n9\tcat\n", [("red panda", 7), ("cat", 9)]),
    "header": ("a.tsv", b"id\tquery\tcount\nx\tred panda\t7\n", [("red panda", 7)]),
    "header-alone": ("a.csv", b"word\ncat\n", [("cat", None)]),
    "csv": ("a.csv", b'"panda, red",7\r\n"a\nb",8\r\n', [("panda, red", 7), ("a\nb", 8)]),
    "numbers-as-queries": ("a.tsv", b"1984\t7\n2001\t9\n", [("1984", 7), ("2001", 9)]),
    "gzip": ("a.txt.gz", gzip.compress(b"cat\n"), [("cat", None)]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_as_it_is_written(name):
    file, content, expected = LISTS[name]
    rows = read_own_list(file, content)
    assert list(zip(rows["text"].to_pylist(), rows["count"].to_pylist(), strict=True)) == expected


def test_a_row_knows_its_line_or_item():
    assert read_own_list("a.txt", b"\ncat\n\ndog\n")["source"].to_pylist() == ["a.txt, line 2", "a.txt, line 4"]
    assert read_own_list("a.json", b'[\n"cat", "dog"]')["source"].to_pylist() == ["a.json, item 1", "a.json, item 2"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (OwnColumns("name"), [("red panda", None)]),
        (OwnColumns("name", "seen"), [("red panda", 7)]),
        (OwnColumns("1", "2"), [("name", None), ("red panda", 7)]),
    ],
)
def test_columns_are_named_or_numbered(columns, expected):
    content = b"lang\tname\tseen\nen\tred panda\t7\n" if columns.query == "name" else b"a\tname\t\nen\tred panda\t7\n"
    rows = read_own_list("a.tsv", content, columns)
    assert list(zip(rows["text"].to_pylist(), rows["count"].to_pylist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.json", b'["a",\n 3', "a.json, line 2: not JSON"),
        ("a.json", b'["a", 3]', "a.json, item 2: not a string: 3"),
        ("a.json", b'"a"', "neither a JSON list nor an object"),
        ("a.json", b'{"a": "b"}', 'a.json, item 1: neither "a" nor "b" is a class number'),
        ("a.json", b'{"a": 1.5}', "a.json, item 1: neither"),
        ("a.json", b'{"a": -4}', "a.json, item 1: a count must be a whole number from 0, not -4"),
        ("a.json", b'{"0": ["n01440764"]}', "a.json, item 1: a class without a name"),
        ("a.json", b'["x", "\\ud800"]', "a.json, item 2: half a surrogate pair"),
        ("a.json", b"[]", "a.json: no query in it"),
        ("a.txt", b"\n \n", "a.txt: no query in it"),
        ("a.txt", b"cat\n\xff\n", "a.txt, line 2: not UTF-8"),
        ("a.txt", b"cat\nd\0g\n", "a.txt, line 2: a NUL byte"),
        ("a.tsv", b"cat\t1\ndog\n", "a.tsv, line 2: 1 fields, but the first row has 2"),
        ("a.tsv", b"cat\t1\ndog\tmany\n", 'a.tsv, line 2: a count must be a whole number from 0, not "many"'),
        ("a.csv", b'cat,1\n"dog,2\n', "a.csv, line 2: "),
        ("a.csv", b"a,b,c\n", "a.csv: cannot tell which of 3 columns holds queries; name it with query-column"),
        ("a.parquet", b"PAR1", "a.parquet: not a list of queries"),
        ("a.txt.gz", b"cat", "a.txt.gz: not a whole gzip file"),
    ],
)
def test_what_is_no_list_is_told_with_its_line(file, content, message):
    with pytest.raises(BadList) as error:
        read_own_list(file, content)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        ("a.tsv", OwnColumns("word"), "query-column: no column 'word' among cat, 7"),
        ("a.tsv", OwnColumns("0", "5"), "count-column: no column '5'"),
        ("a.tsv", OwnColumns("1", "1"), "query-column and count-column are the same"),
        ("a.txt", OwnColumns("word"), "has no columns"),
    ],
)
def test_a_column_that_is_not_there_is_told(file, columns, message):
    with pytest.raises(BadList, match=message):
        read_own_list(file, b"cat\t7\n" if file == "a.tsv" else b"cat\n", columns)


def rows_of(*lists):
    return pa.concat_tables(read_own_list(name, content) for name, content in lists)


def fates_of(folded):
    return {row["text"]: row["fate"] for row in folded.fates.to_pylist()}


MIXED = rows_of(("a.tsv", b"Cat\t7\ncat\t2\nNew  York\t8\n!?\t3\n"), ("b.txt", b"New-York\n" + b"x" * 300))


def test_rows_that_are_one_query_are_one_and_what_is_none_is_refused():
    folded = fold_lists(MIXED, Normalization(), max_chars=256)
    assert (
        folded.queries.to_pylist()
        == [
            {"query": "cat", "display": "Cat", "count": 9},
            {"query": "new york", "display": "New York", "count": 8},
        ][::-1]
    )
    assert fates_of(folded) == {
        "Cat": "kept", "cat": "same_query", "New  York": "kept", "!?": "no_token",
        "New-York": "same_query", "x" * 300: "query_too_long",
    }  # fmt: skip
    assert folded.fates.schema == FATES


def test_the_order_of_lists_makes_no_difference():
    swapped = pa.concat_tables([MIXED.slice(3), MIXED.slice(0, 3)])
    one, other = (fold_lists(rows, Normalization(), max_chars=256) for rows in (MIXED, swapped))
    assert one.queries.equals(other.queries)
    assert one.fates.equals(other.fates)


def test_metaclips_style_leaves_queries_as_they_are():
    folded = fold_lists(rows_of(("m.json", b'["Cat", "cat", "  ", "a.b"]')), METACLIP, max_chars=256)
    assert folded.queries["query"].to_pylist() == ["Cat", "cat", "a.b"]
    assert fates_of(folded)["  "] == Fate.NO_TOKEN


def test_a_capital_i_with_a_dot_is_found_however_it_is_written():
    folded = fold_lists(rows_of(("a.txt", "İstanbul\n".encode())), Normalization(), max_chars=256)
    matcher = compile_matcher(folded.queries["query"].combine_chunks())
    assert [matcher.match_text(text) for text in ("İSTANBUL!", "i̇stanbul", "Istanbul", "istanbul")] == [[0]] * 4


BUILT = QueryTable.empty().with_imports(
    fold_lists(rows_of(("a.tsv", b"cat\t5\nzebra\t4\n")), Normalization(), max_chars=9).queries
)


def test_own_queries_come_behind_those_that_are_there():
    own = fold_lists(rows_of(("b.tsv", b"cat\t50\ndog\t9\nant\t3\n")), Normalization(), max_chars=9)
    table = BUILT.with_imports(own.queries, max_queries=3)
    assert table.queries == ["cat", "dog", "zebra"]
    assert table.rows["count"].to_pylist() == [5, 9, 4]
    assert table.rows["query_id"].to_pylist() == [0, 1, 2]
    fates = mark_left_out(own.fates, table.rows["query"].combine_chunks())
    assert fates_of(own._replace(fates=fates)) == {"cat": "kept", "dog": "kept", "ant": "over_budget"}
    with pytest.raises(ValueError, match="2 queries are there already, more than 1"):
        BUILT.with_imports(own.queries, max_queries=1)
