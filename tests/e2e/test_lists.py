"""A finished set is listed, and fetched again by the list: the same shards, as long as the web is the same."""

import csv
import json
import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED, CUTS, LISTED
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from pipeline.fetching.stage import FetchImages
from pipeline.sharding.stage import WriteShards
from vocab.queries import QUERIES

STRINGS = ["a cat", "a dog", "never found", "the sea"]
CARRIED = [pa.field("similarity", pa.float32()), pa.field("uid", pa.string())]
NUM_PAIRS, NUM_DEAD = 30, 6


def write_data(folder: Path, carried=CARRIED) -> None:
    """What the stages before fetch-images leave: pairs on several hosts, every fifth of which is dead."""
    rows = []
    for number in range(NUM_PAIRS):
        url = f"http://h{number % 4}.example/{'image' if number % 5 else 'dead'}/{number % 24}.jpg"
        text = f"Text {number}, “ünïcode”\u2028 or\u202e so"
        row = {"pair_id": pair_id(url, text), "image_url": url, "text": text, "text_source": "alt"}
        row |= {"page_url": f"http://pages.example/{number}" if number % 3 else None, "language": "de"}
        row |= {"source_file": f"crawl-{number % 2}.warc.gz", "query_ids": [number % 2, 3], "kept_for": [3]}
        row |= {"keep_probability": 1 / (number + 1), "similarity": number / 7, "uid": f"{number:032x}"}
        rows.append(row)
    schema = pa.schema([*BALANCED, *carried])
    write_table(str(folder / "balanced" / "part-00000.parquet"), pa.Table.from_pylist(rows, schema), schema)
    ids = list(range(len(STRINGS)))
    cuts = {"query_id": ids, "query": STRINGS, "count": [9] * 4, "cut": [None] * 4, "kept": [9] * 4}
    write_table(str(folder / "balanced" / "cuts.parquet"), pa.table(cuts, CUTS), CUTS)
    queries = [{"query_id": i, "query": text, "display": text, "sources": ["word"]} for i, text in enumerate(STRINGS)]
    write_table(str(folder / "vocab" / "queries.parquet"), pa.Table.from_pylist(queries, QUERIES), QUERIES)
    vocab, outputs = str(folder / "vocab"), [{"name": str(folder)}]
    close_folder(vocab, identity={"stage": "build-vocab"}, counts={}, outputs=[], made_from=[])
    close_folder(
        str(folder / "balanced"), identity={"stage": "balance-pairs"}, counts={}, outputs=outputs, made_from=[vocab]
    )


def fetch(loopback, output: Path, **options):
    network = {"contact": "me@lab.example", "host_rate": 0.0, "read_timeout_s": 1.0, "timeout_s": 2.0}
    stage = FetchImages(output=str(output), connect_to=loopback.connect_to, **network | options)
    return run_stage(stage, workers=1, quiet=True)


def pack(output: Path, raw: Path, **options):
    stage = WriteShards(raw=(str(raw),), output=str(output), min_shards=4, **options)
    return run_stage(stage, workers=1, quiet=True)


def shard_bytes(folder: Path):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("0*"))}


@pytest.fixture
def data(tmp_path, loopback):
    """A set that was fetched and packed, and its list."""
    write_data(tmp_path)
    folders = {"balanced": str(tmp_path / "balanced"), "vocab": str(tmp_path / "vocab")}
    fetch(loopback, tmp_path / "raw", image_size=99, **folders)
    pack(tmp_path / "shards", tmp_path / "raw", balanced=str(tmp_path / "balanced"))
    assert main(["export-urls", str(tmp_path / "shards"), "--output", str(tmp_path / "list.parquet")]) == 0
    return tmp_path


def test_a_set_of_images_with_several_texts_and_all_that_peers_tell_is_the_same_too(tmp_path, loopback):
    write_data(tmp_path)
    (tmp_path / "balanced" / "rule.json").write_text('{"by": "image"}')
    options = {"img2dataset_names": True, "exif": "keep", "image_format": "webp"}
    folders = {"balanced": str(tmp_path / "balanced"), "vocab": str(tmp_path / "vocab")}
    fetch(loopback, tmp_path / "raw", **folders, **options)
    pack(tmp_path / "shards", tmp_path / "raw", balanced=folders["balanced"])
    assert main(["export-urls", str(tmp_path / "shards"), "--output", str(tmp_path / "list.parquet")]) == 0
    assert max(len(texts) for texts in pq.read_table(tmp_path / "list.parquet")["texts"].to_pylist()) == 2
    fetch(loopback, tmp_path / "again", from_list=(str(tmp_path / "list.parquet"),), **options)
    pack(tmp_path / "same", tmp_path / "again")
    assert shard_bytes(tmp_path / "same") == shard_bytes(tmp_path / "shards")


def test_a_set_that_is_fetched_by_its_list_has_the_same_bytes_and_verifies(data, loopback, capsys):
    fsspec.filesystem("memory").put(str(data / "list.parquet"), "/lists/list.parquet")  # a list may be anywhere
    counts = fetch(loopback, data / "again", from_list=("memory://lists/list.parquet",), image_size=99)
    kept = NUM_PAIRS - NUM_DEAD
    assert {name: counts[name] for name in ("rows/in", "images/in", "images/kept")} == dict.fromkeys(
        ("rows/in", "images/in", "images/kept"), kept
    )
    pack(data / "same", data / "again")
    before = shard_bytes(data / "shards")
    assert len(before) == 8
    assert shard_bytes(data / "same") == before
    assert main(["verify", str(data / "same"), "--workers", "1"]) == 0
    table = pq.read_table(data / "same" / "card" / "query_counts.parquet").to_pylist()
    assert {row["query"]: row["samples"] for row in table} == {"a cat": 0, "a dog": 0, "the sea": kept}


def test_a_list_says_all_that_samples_do_and_the_flags_to_fetch_them_by(data, capsys):
    assert main(["export-urls", str(data / "shards"), "--output", str(data / "list.parquet")]) == 0
    again = f"to fetch it again: wit400m fetch-images --from-list {data / 'list.parquet'} --image-size 99\n"
    assert again in capsys.readouterr().out
    rows = pq.read_table(data / "list.parquet").to_pylist()
    index = [row for path in sorted((data / "shards").glob("0*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = [name for name in (*LISTED.names, "similarity") if name not in ("queries", "kept_for")]
    assert [{name: row[name] for name in names} for row in rows] == [
        {name: row[name] for name in names} for row in index
    ]
    assert {tuple(row["queries"]) for row in rows} == {("a cat", "the sea"), ("a dog", "the sea")}
    assert {tuple(row["kept_for"]) for row in rows} == {("the sea",)}


def test_csv_has_the_same_rows(data):
    assert main(["export-urls", str(data / "shards"), "--output", str(data / "list.csv")]) == 0
    with open(data / "list.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(data / "list.parquet").to_pylist()
    assert [(row["key"], row["caption"], json.loads(row["queries"])) for row in rows] == [
        (row["key"], row["caption"], row["queries"]) for row in table
    ]


def change_web(loopback, picture: bytes):
    async def changed(visit):
        await visit.reply(picture, Content_Type="image/jpeg")

    loopback.handlers["/image/2.jpg"] = changed


@pytest.mark.parametrize("manner", ["drop", "keep"])
def test_an_image_that_changed_since_is_dropped_or_kept_and_counted(data, loopback, manner):
    other = data / "other.jpg"
    Image.new("RGB", (320, 240), "red").save(other)
    change_web(loopback, other.read_bytes())
    counts = fetch(
        loopback, data / "again", from_list=(str(data / "list.parquet"),), image_size=99, changed_images=manner
    )
    changed = sum("/image/2.jpg" in row["url"] for row in pq.read_table(data / "list.parquet").to_pylist())
    assert changed == 2
    told = (counts["images/in"] - counts["images/kept"], counts.get("images/drop/changed_image"))
    assert told == ((2, 2) if manner == "drop" else (0, None))
    assert counts.get("changed_images") == (None if manner == "drop" else 2)
    pack(data / "same", data / "again")
    keys = {row["key"] for path in (data / "same").glob("0*.parquet") for row in pq.read_table(path).to_pylist()}
    assert len(keys) == NUM_PAIRS - NUM_DEAD - (2 if manner == "drop" else 0)
    # What was another image once is asked for again when that is wanted, and so it is when it is as it was.
    del loopback.handlers["/image/2.jpg"]
    options = {"from_list": (str(data / "list.parquet"),), "image_size": 99, "changed_images": manner}
    counts = fetch(loopback, data / "again", retry=("changed_image",), **options)
    assert counts["images/kept"] == NUM_PAIRS - NUM_DEAD


def test_a_list_of_others_needs_addresses_and_texts_alone_and_its_columns_are_carried(tmp_path, loopback):
    urls = [f"http://h.example/image/{number}.jpg" for number in (1, 2)]
    urls += ["ftp://h.example/3.jpg", "HTTP://H.example/image/4.jpg"]
    columns = {"url": urls, "caption": ["one", None, "three", "four"], "nsfw": pa.array([0.5] * 4, pa.float32())}
    columns |= {"queries": [["b", None, "a", "b"], ["c"], None, []], "keep_probability": pa.array([0.5] * 4)}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "theirs.parquet")
    counts = fetch(loopback, tmp_path / "raw", from_list=(str(tmp_path / "theirs.parquet"),))
    assert (counts["rows/kept"], counts["rows/drop/bad_url"], counts["rows/drop/no_text"]) == (2, 1, 1)
    pack(tmp_path / "shards", tmp_path / "raw")
    rows = [row for path in (tmp_path / "shards").glob("0*.parquet") for row in pq.read_table(path).to_pylist()]
    wanted = {pair_id(url, text).hex() for url, text in ((urls[0], "one"), ("http://h.example/image/4.jpg", "four"))}
    assert {row["key"] for row in rows} == wanted
    told = {(row["nsfw"], row["text_source"], row["source_file"], *row["query_ids"]) for row in rows}
    assert told == {(0.5, "caption", "theirs.parquet"), (0.5, "caption", "theirs.parquet", 0, 1)}


def test_two_lists_of_one_vocabulary_are_packed_together_and_of_two_are_refused(data, loopback):
    table = pq.read_table(data / "list.parquet")
    for name, part in (("one", table.slice(0, 10)), ("two", table.slice(10))):
        write_table(str(data / f"{name}.parquet"), part, part.schema)
        fetch(loopback, data / name, from_list=(str(data / f"{name}.parquet"),), image_size=99)
    raws = (str(data / "one"), str(data / "two"))
    run_stage(WriteShards(raw=raws, output=str(data / "both"), min_shards=4), workers=1, quiet=True)
    assert shard_bytes(data / "both") == shard_bytes(data / "shards")
    strings = pa.array([["a bird", "the sea"]] * table.num_rows, table.schema.field("queries").type)
    ids = pa.array([[0, 3]] * table.num_rows, table.schema.field("query_ids").type)
    for name, column in (("queries", strings), ("query_ids", ids)):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    write_table(str(data / "other.parquet"), table, table.schema)
    fetch(loopback, data / "other", from_list=(str(data / "other.parquet"),), image_size=99)
    stage = WriteShards(raw=(raws[0], str(data / "other")), output=str(data / "mixed"))
    with pytest.raises(ValueError, match="raw: lists of two vocabularies: query 0 is"):
        run_stage(stage, workers=1, quiet=True)


BAD = {
    "no column": ({"url": ["http://a.example/1.jpg"]}, "no column 'caption' among url"),
    "no table": (None, "no Parquet table"),
    "addresses that are no texts": ({"url": [b"http://a.example/"], "caption": ["a"]}, "column 'url' is binary, and"),
    "queries that are no lists": (
        {"url": ["u"], "caption": ["a"], "queries": ["a"]},
        "column 'queries' is string, and",
    ),
    "ids that are texts": (
        {"url": ["u"], "caption": ["a"], "query_ids": [["1"]]},
        "column 'query_ids' is list<element: string>, and should be list<element: int32 not null>",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_list_is_told_before_anything_is_written(tmp_path, case):
    columns, told = BAD[case]
    path = tmp_path / "list.parquet"
    path.write_bytes(b"x") if columns is None else pq.write_table(pa.table(columns), path)
    stage = FetchImages(output=str(tmp_path / "raw"), from_list=(str(path),), contact="me@lab.example")
    with pytest.raises(ValueError, match=f"from-list: {path}: .*{re.escape(told)}"):
        run_stage(stage, workers=1, quiet=True)
    assert not list((tmp_path / "raw").glob("*"))


def test_a_list_goes_to_one_kind_of_file_and_only_of_a_finished_set(finished_set, tmp_path, capsys):
    assert main(["export-urls", str(finished_set / "shards"), "--output", str(tmp_path / "list.txt")]) == 2
    assert "output must end with .parquet or .csv" in capsys.readouterr().err
    assert main(["export-urls", str(tmp_path), "--output", str(tmp_path / "list.csv")]) == 2
    assert "only finished shards can be listed" in capsys.readouterr().err


def test_what_a_list_costs_to_fetch_is_told_before(data, capsys, monkeypatch):
    monkeypatch.chdir(data / "raw")  # no folder of balanced pairs is here
    command = ["fetch-images", "--from-list", str(data / "list.parquet"), "--contact", "me@lab.example", "--dry-run"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "FindQueries" in told and f"rows in {NUM_PAIRS - NUM_DEAD}\n" in told and "balanced" not in told
