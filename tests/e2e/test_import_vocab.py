"""import-vocab: own lists to a vocabulary that later stages take, alone and with one that is there."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from pipeline.base import files
from pipeline.base.lineage import read_stage
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from vocab.matcher import compile_matcher
from vocab.normalize import METACLIP
from vocab.queries import QUERIES

BUILT = [("cat", ["word", "synset"], 40), ("new york", ["bigram", "title"], 12), ("zebra", ["synset"], None)]


def write_built(folder, normalization=None):
    """A vocabulary as build-vocab leaves it."""
    rows = [
        {field.name: None for field in QUERIES}
        | {"query_id": i, "query": query, "display": query.title(), "sources": sources, "count": count}
        for i, (query, sources, count) in enumerate(BUILT)
    ]
    write_table(str(folder / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    matcher = compile_matcher([query for query, *_ in BUILT], normalization=normalization)
    matcher.save(str(folder / "matcher"), files.write_bytes_whole)
    close_folder(str(folder), identity={"stage": "build-vocab"}, counts={}, outputs=[], made_from=[])


@pytest.fixture
def world(tmp_path, monkeypatch):
    write_built(tmp_path / "vocab")
    (tmp_path / "own.json").write_text(json.dumps(["Red Panda", "CAT", "red  panda", "?!"]))
    (tmp_path / "counts.tsv").write_text("query\tcount\nboat\t3\ntree\t9\nred panda\t2\n")
    (tmp_path / "pairs.csv").write_text(
        "url,text\nhttp://a.example/1.jpg,A red panda in a tree\nhttp://a.example/2.jpg,a cat on a boat\n"
        "http://a.example/3.jpg,nothing of that\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return main([*words, "--workers", "1"])


def rows_of(folder):
    return {row["query"]: row for row in pq.read_table(f"{folder}/queries.parquet").to_pylist()}


def test_own_lists_alone_are_a_vocabulary(world, capsys):
    assert run("import-vocab", "own.json", "--output", "own", "counts.tsv") == 0
    assert pq.read_table("own/queries.parquet").schema.equals(QUERIES)
    rows = rows_of("own")
    assert list(rows) == ["boat", "cat", "red panda", "tree"]
    assert rows["red panda"] | {"query_id": 2, "count": 2, "sources": ["imported"]} == rows["red panda"]
    counts = read_stage("own")["counts"]
    drops = {"imports/drop/same_query": 2, "imports/drop/no_token": 1}
    assert counts == {"imports/in": 7, "imports/kept": 4, "queries": 4} | drops
    assert "4 of 7 imports (same_query 2, no_token 1); 4 queries" in capsys.readouterr().out
    page = (world / "own" / "report.html").read_text()
    assert "own.json, item 4" in page and "imported" in page


def test_later_stages_take_it_and_say_where_queries_are_from(world, capsys):
    assert run("import-vocab", "own.json", "counts.tsv", "--merge", "vocab") == 0
    assert run("extract-pairs", "--input", "pairs.csv") == 0
    assert run("match-pairs", "--vocab", "data/own-vocab") == 0
    assert run("balance-pairs", "--vocab", "data/own-vocab", "--cap", "1") == 0
    kept = {
        row["text"]: row["query_ids"]
        for path in files.list_files("data/balanced", ".parquet")
        if not path.endswith("cuts.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    queries = list(rows_of("data/own-vocab"))
    assert {text: [queries[i] for i in ids] for text, ids in kept.items()} == {
        "A red panda in a tree": ["red panda", "tree"],
        "a cat on a boat": ["boat", "cat"],
    }
    assert [entry["stage"] for entry in read_stage("data/balanced")["history"]] == [
        "build-vocab", "import-vocab", "extract-pairs", "match-pairs",
    ]  # fmt: skip
    capsys.readouterr()
    assert run("match-pairs", "--vocab", "data/own-vocab", "--explain", "a Red Panda, a cat, a zebra") == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1:] for line in lines] == [
        ["cat", "word,synset,imported", "own.json, item 2"],
        ["red panda", "imported", "counts.tsv, line 4; own.json, item 1; own.json, item 3"],
        ["zebra", "synset"],
    ]


def test_queries_that_are_there_come_first_and_keep_what_is_known_of_them(world, capsys):
    assert run("import-vocab", "own.json", "counts.tsv", "--merge", "vocab", "--max-queries", "5") == 0
    rows = rows_of("data/own-vocab")
    assert list(rows) == ["boat", "cat", "new york", "tree", "zebra"]
    assert (rows["cat"]["display"], rows["cat"]["count"], rows["cat"]["sources"]) == (
        "Cat", 40, ["word", "synset", "imported"],
    )  # fmt: skip
    assert rows["zebra"]["sources"] == ["synset"]
    counts = read_stage("data/own-vocab")["counts"]
    assert (counts["imports/drop/over_budget"], counts["imports_known_before"], counts["queries_before"]) == (1, 1, 3)
    assert read_stage("data/own-vocab")["ancestors"][0]["name"] == "build-vocab"
    assert run("import-vocab", "counts.tsv", "--merge", "data/own-vocab", "--output", "again") == 0
    assert rows_of("again")["red panda"]["sources"] == ["imported"]
    assert run("import-vocab", "counts.tsv", "own.json", "--merge", "vocab", "--max-queries", "5") == 0
    assert "already done" in capsys.readouterr().out


def test_the_normalisation_is_that_of_the_vocabulary(world, capsys):
    write_built(world / "exact", METACLIP)
    assert run("import-vocab", "own.json", "--merge", "exact", "--output", "own") == 0
    assert "CAT" in rows_of("own") and "cat" in rows_of("own")
    assert run("import-vocab", "own.json", "--merge", "exact", "--case", "fold", "--output", "other") == 2
    assert "case must be 'sensitive' as in" in capsys.readouterr().err
    assert run("import-vocab", "own.json", "--clitics", "fr", "--output", "french") == 0
    assert run("import-vocab", "own.json", "--merge", "french", "--clitics", "it", "--output", "other") == 2
    assert "clitics must be 'fr' as in french, not 'it'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "input must name at least one list"),
        (["nowhere.json"], "no file matches: nowhere.json"),
        (["bad.json"], "bad.json, item 2: not a string: 3"),
        (["marks.txt"], "not one query is left of marks.txt"),
        (["own.json", "--merge", "."], "no finished stage in ."),
        (
            ["own.json", "--merge", "vocab", "--max-queries", "2"],
            "max-queries must be at least 3, the queries of vocab",
        ),
        (["own.json", "--max-queries", "0"], "max-queries must be at least 1, not 0"),
        (["own.json", "--style", "metaclip", "--case", "fold"], "style metaclip is case-sensitive"),
        (["own.json", "--count-column", "n"], "own.json: has no columns, but query-column or count-column names one"),
        (["own.json", "--runer", "x"], "unknown flag: --runer"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(world, capsys, flags, message):
    (world / "bad.json").write_text('["a", 3]')
    (world / "marks.txt").write_text("!!\n")
    assert run("import-vocab", *flags) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (world / "data").exists()
