"""Columns of tables: from what was read to the shards, through every stage."""

import glob
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from pipeline.base.lineage import read_stage

UID = pa.struct([("f0", pa.uint64()), ("f1", pa.uint64())])
SIMILARITIES = [0.1, 0.3, 0.5, 0.7, 0.9]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A table as LAION's, a table of another making, a saved page; own queries."""
    monkeypatch.chdir(tmp_path)
    table = pa.table(
        {
            "URL": [f"http://a.example/image/{n}.jpg" for n in range(5)],
            "TEXT": [f"a cat number {n}" for n in range(5)],
            "similarity": pa.array(SIMILARITIES, pa.float32()),
            "uid": pa.array([{"f0": 2**64 - 1 - n, "f1": n} for n in range(5)], UID),
            "WIDTH": pa.array([100, 200, 300, 400, 500], pa.int32()),
            "tags": [["x"], [], None, ["y", "z"], ["x"]],
        }
    )
    pq.write_table(table, "laion.parquet")
    (tmp_path / "scores.csv").write_text(
        "url,text,similarity,NSFW\nhttp://b.example/image/7.jpg,a dog,0.75,UNLIKELY\n"
        "http://a.example/image/4.jpg,A cat number 4!,0.4,UNSURE\nhttp://b.example/image/8.jpg,a dog,0.2,NSFW\n"
    )
    (tmp_path / "page.html").write_text('<img src="http://c.example/image/9.jpg" alt="a cat on a page">')
    (tmp_path / "own.txt").write_text("cat\ndog\n")
    return tmp_path


def run(command, *words):
    return main([command, *words, "--workers", "1"])


def import_vocab():
    assert run("import-vocab", "own.txt", "--output", "data/vocab") == 0


def match_and_fetch(loopback, *balance):
    import_vocab()
    assert run("match-pairs") == 0
    assert run("balance-pairs", *balance) == 0
    network = ["--connect-to", *loopback.connect_to, "--host-rate", "0", "--contact", "me@lab.example"]
    assert run("fetch-images", *network) == 0


def shard_rows():
    return {row["caption"]: row for row in pq.read_table("data/shards/00000.parquet").to_pylist()}


def shard_json():
    with tarfile.open("data/shards/00000.tar") as tar:
        members = [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]
    return {member["caption"]: member for member in members}


def test_columns_go_through_every_stage_to_the_shards(world, loopback):
    kept = ["--keep-column", "similarity", "--keep-column", "uid", "WIDTH=listed_width", "tags"]
    assert run("extract-pairs", "--input", "laion.parquet", "page.html", *kept, "--where", "similarity >= 0.3") == 0
    assert read_stage("data/pairs")["counts"]["pairs/drop/refused_row"] == 1
    match_and_fetch(loopback)
    assert run("write-shards", "--min-shards", "1") == 0
    rows, described = shard_rows(), shard_json()
    assert set(rows) == set(described) == {f"a cat number {n}" for n in range(1, 5)} | {"a cat on a page"}
    schema = pq.read_schema("data/shards/00000.parquet")
    types = [pa.float32(), UID, pa.int32()]
    assert [schema.field(name).type for name in ("similarity", "uid", "listed_width")] == types
    third = {"similarity": 0.7, "uid": {"f0": 2**64 - 4, "f1": 3}, "listed_width": 400, "tags": ["y", "z"]}
    assert described["a cat number 3"] | third == described["a cat number 3"]
    assert rows["a cat number 3"]["uid"] == third["uid"] and rows["a cat number 3"]["tags"] == ["y", "z"]
    assert (
        [rows["a cat on a page"][name] for name in third]
        == [described["a cat on a page"][name] for name in third]
        == [None] * 4
    )


def test_texts_and_parquet_share_a_column_and_of_equal_pairs_the_values_of_the_kept_one_stay(world, loopback):
    flags = ["--input", "laion.parquet", "scores.csv", "--keep-column", "similarity", "--where", "similarity >= 0.3"]
    assert run("extract-pairs", *flags) == 0
    assert read_stage("data/pairs")["counts"]["pairs/drop/duplicate_pair"] == 1
    match_and_fetch(loopback, "--cap", "3", "--yield", "0.9")
    assert run("balance-final") == 0
    assert run("write-shards", "--min-shards", "1", "--final", "data/final") == 0
    rows = shard_rows()
    assert rows["a dog"]["similarity"] == 0.75
    of_text = {"a cat number 4": pytest.approx(SIMILARITIES[4]), "A cat number 4!": pytest.approx(0.4)}
    [stayed] = [row for path in glob.glob("data/pairs/*.parquet") for row in pq.read_table(path).to_pylist()
                if row["text"] in of_text]  # fmt: skip
    assert stayed["similarity"] == of_text[stayed["text"]]
    assert {text: row["similarity"] for text, row in rows.items() if text in of_text} in (
        {}, {stayed["text"]: stayed["similarity"]}
    )  # fmt: skip


def test_outputs_without_the_options_have_no_trace_of_them_and_options_make_another_folder(world, capsys):
    assert run("extract-pairs", "--input", "laion.parquet") == 0
    options = read_stage("data/pairs")["identity"]["options"]
    assert not {"keep_column", "where"} & set(options)
    assert run("extract-pairs", "--input", "laion.parquet", "--where", "similarity > 0") == 2
    assert "where None, not 'similarity > 0'" in capsys.readouterr().err
    flags = ["--keep-column", "similarity", "--output", "other"]
    assert run("extract-pairs", "--input", "laion.parquet", *flags) == 0
    assert run("extract-pairs", "--input", "laion.parquet", *flags) == 0
    assert "already done" in capsys.readouterr().out


def test_crawls_that_carry_different_columns_are_not_added_up(world, capsys):
    import_vocab()
    for number, flags in enumerate(([], ["--keep-column", "similarity"])):
        source = ["laion.parquet", "scores.csv"][number]
        assert run("extract-pairs", "--input", source, "--output", f"pairs-{number}", *flags) == 0
        assert run("match-pairs", "--pairs", f"pairs-{number}", "--output", f"matched-{number}") == 0
    assert run("balance-pairs", "--pairs", "pairs-0", "--matched", "matched-0", "--output", "balanced-0") == 0
    more = ["--pairs", "pairs-1", "--matched", "matched-1", "--previous", "balanced-0"]
    assert run("balance-pairs", *more) == 2
    assert "carry different columns: similarity (double), and none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--keep-column", "nsfw"], "no column 'nsfw' among URL, TEXT, similarity"),
        (["--where", "similarity > 'high'"], "column 'similarity' (float) is a number, and cannot be compared"),
        (["--where", "similarity >"], "expected a column or a value, found the end"),
        (["--keep-column", "width"], "'width' is a column of our own; carry it under another name"),
        (["--keep-column", "uid", "--input", "ids.csv"], "column 'uid' is struct<f0: uint64, f1: uint64> in"),
    ],
)
def test_what_cannot_be_kept_or_asked_is_told_before_work_starts(world, capsys, flags, message):
    (world / "ids.csv").write_text("url,text,uid\nhttp://a.example/1.jpg,a cat,x1\n")
    assert run("extract-pairs", "--input", "laion.parquet", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (world / "data" / "pairs").exists()


def test_pages_alone_have_no_columns(world, capsys):
    assert run("extract-pairs", "--input", "page.html", "--where", "a > 1") == 2
    assert "where: there is no table among the inputs" in capsys.readouterr().err
