"""A finished set of some samples of a finished set: by ids, by queries, by a condition."""

import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.sharding.finished.subsetting import Subset

NUM_SAMPLES = 60


@pytest.fixture
def shards(finished_set, tmp_path):
    """A copy, to be spoilt."""
    return Path(shutil.copytree(finished_set / "shards", tmp_path / "shards"))


def indexes(folder: Path):
    """The rows of all indexes, in the order of their keys."""
    return pa.concat_tables([pq.read_table(path) for path in folder.glob("0*.parquet")]).sort_by("key")


def contents(folder: Path):
    """All members of all shards, by name."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def digests(folder: Path):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("0*")}


def subset(shards: Path, output: Path, **options):
    stage = Subset(shards=(str(shards),), output=str(output), **options)
    return run_stage(stage, workers=1, quiet=True)


def write_ids(folder: Path, keys, form: str) -> str:
    halves = [(int(key[:16], 16), int(key[16:], 16)) for key in keys]
    if form == "two uint64":
        np.save(folder / "uid.npy", np.array(halves, np.dtype("u8,u8")))
    elif form == "columns":
        np.save(folder / "uid.npy", np.array(halves, np.uint64))
    elif form == "texts":
        np.save(folder / "uid.npy", np.array([key.upper() for key in keys]))
    elif form == "bytes":
        np.save(folder / "uid.npy", np.array([key.encode() for key in keys]))
    else:
        (folder / "uid.txt").write_text("# those\n" + "\n".join(f"{key}  # one" for key in keys))
        return str(folder / "uid.txt")
    return str(folder / "uid.npy")


@pytest.mark.parametrize("form", ["two uint64", "columns", "texts", "bytes", "a text"])
def test_ids_of_every_form_give_those_samples_to_the_byte_and_others_are_counted(shards, tmp_path, capsys, form):
    rows = indexes(shards)
    keys = rows["key"].to_pylist()[5::3]
    ids = write_ids(tmp_path, [*keys, *keys[:2], "f" * 32], form)
    command = ["subset", str(shards), "--output", str(tmp_path / "part"), "--ids", ids, "--min-shards", "4"]
    assert main([*command, "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert f"{len(keys)} of {len(keys) + 1} ids (not_there 1)" in told
    assert f"{len(keys)} of {NUM_SAMPLES} samples (not_listed {NUM_SAMPLES - len(keys)})" in told
    part = contents(tmp_path / "part")
    assert part == {name: data for name, data in contents(shards).items() if name.partition(".")[0] in keys}
    places = ["offset"]
    assert indexes(tmp_path / "part").drop_columns(places).to_pylist() == [
        row for row in rows.drop_columns(places).to_pylist() if row["key"] in keys
    ]
    sizes = json.loads((tmp_path / "part" / "sizes.json").read_text())
    assert list(sizes.values()) == [5, 5, 5, 4] and len(keys) == 19
    assert main(["verify", str(tmp_path / "part"), "--workers", "1"]) == 0


def test_what_is_asked_for_in_several_ways_must_hold_at_once(shards, tmp_path):
    rows = indexes(shards).to_pylist()
    ids = write_ids(tmp_path, [row["key"] for row in rows[:30]], "a text")
    (tmp_path / "queries").write_text("Picture \nno such query\n")
    counts = subset(
        shards, tmp_path / "part", ids=(ids,), queries=str(tmp_path / "queries"), where="url < 'http://h3.'"
    )
    wanted = [row["key"] for row in rows[:30] if row["url"] < "http://h3."]
    assert sorted(row["key"] for row in indexes(tmp_path / "part").to_pylist()) == sorted(wanted)
    assert counts["samples/in"] == NUM_SAMPLES
    assert counts["samples/drop/not_listed"] == 30
    assert counts["samples/drop/refused_row"] == 30 - len(wanted)
    assert (counts["queries/in"], counts["queries/drop/not_there"]) == (2, 1)


def test_two_workers_give_the_same_and_a_subset_of_a_subset_is_a_subset(shards, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        stage = Subset(shards=(str(shards),), output=str(tmp_path / name), where="url > 'http://h2.'", min_shards=3)
        run_stage(stage, workers=workers, quiet=True)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    subset(tmp_path / "one", tmp_path / "of one", where="url > 'http://h4.'", min_shards=3)
    subset(shards, tmp_path / "at once", where="url > 'http://h4.'", min_shards=3)
    assert digests(tmp_path / "of one") == digests(tmp_path / "at once")


def test_a_subset_of_all_is_the_set(shards, tmp_path):
    subset(shards, tmp_path / "all", min_shards=6)
    assert digests(tmp_path / "all") == digests(shards)
    told, before = (json.loads((folder / "_stage.json").read_text()) for folder in (tmp_path / "all", shards))
    assert {one["name"] for one in told["ancestors"]} == {one["name"] for one in before["ancestors"]} | {"write-shards"}


def test_a_set_on_another_file_system_is_parted_and_listed_there(shards, tmp_path):
    store, there = fsspec.filesystem("memory"), "memory://bucket"
    store.put(str(shards), "/bucket/shards", recursive=True)
    ids = write_ids(tmp_path, indexes(shards)["key"].to_pylist()[::2], "two uint64")
    store.put(ids, "/bucket/uid.npy")
    try:
        stage = Subset(shards=(f"{there}/shards",), output=f"{there}/part", ids=(f"{there}/uid.npy",), min_shards=3)
        run_stage(stage, workers=1, quiet=True)
        subset(shards, tmp_path / "part", ids=(ids,), min_shards=3)
        store.get("/bucket/part", str(tmp_path / "copy"), recursive=True)
        assert digests(tmp_path / "copy") == digests(tmp_path / "part")
        assert len(digests(tmp_path / "copy")) == 6
        assert main(["export-urls", f"{there}/part", "--output", f"{there}/list.parquet"]) == 0
        assert main(["export-urls", str(tmp_path / "part"), "--output", str(tmp_path / "list.parquet")]) == 0
        assert store.cat("/bucket/list.parquet") == (tmp_path / "list.parquet").read_bytes()
    finally:
        store.rm("/bucket", recursive=True)


def test_the_card_tells_of_the_part_and_of_what_was_before(shards, tmp_path):
    removed = tmp_path / "keys"
    removed.write_text(indexes(shards)["key"][0].as_py())
    assert main(["remove", str(shards), "--keys", str(removed), "--workers", "1"]) == 0
    subset(shards, tmp_path / "part", where="url > 'http://h4.'")
    number = indexes(tmp_path / "part").num_rows
    [counts] = pq.read_table(tmp_path / "part" / "card" / "query_counts.parquet").to_pylist()
    assert (counts["found"], counts["balanced"], counts["samples"]) == (60, 60, number)
    funnel = json.loads((tmp_path / "part" / "card" / "funnel.json").read_text())
    assert [entry["stage"] for entry in funnel][-3:] == ["write-shards", "remove", "subset"]
    assert funnel[-1]["counts"]["samples/in"] == NUM_SAMPLES - 1


def test_queries_are_those_that_selected_a_sample_when_asked_so(shards, tmp_path):
    table = pq.read_table(shards / "00000.parquet")
    fewer = pa.array([[], *table["kept_for"].to_pylist()[1:]], table.schema.field("kept_for").type)
    place = table.schema.get_field_index("kept_for")
    pq.write_table(table.set_column(place, table.schema.field(place), fewer), shards / "00000.parquet")
    (tmp_path / "queries").write_text("picture")
    counts = subset(shards, tmp_path / "held", queries=str(tmp_path / "queries"))
    assert counts["samples/kept"] == NUM_SAMPLES
    counts = subset(shards, tmp_path / "kept", queries=str(tmp_path / "queries"), query_column="kept_for")
    assert (counts["samples/kept"], counts["samples/drop/no_query"]) == (NUM_SAMPLES - 1, 1)


BAD = {
    "ids that are none": (lambda f: {"ids": (save(f, np.zeros((3, 3))),)}, "an id is two uint64, or a text"),
    "objects": (lambda f: {"ids": (save(f, np.array([{}])),)}, "an id is two uint64, or a text"),
    "no npy": (lambda f: {"ids": (note(f, "ids.npy", "x"),)}, "ids.npy: "),
    "no such file": (lambda f: {"ids": (str(f / "none.txt"),)}, "none.txt"),
    "queries of another vocabulary": (lambda f: {"queries": note(f, "queries", "a dog")}, "none of those in"),
    "no condition": (lambda f: {"where": "url >"}, "where: "),
    "two sets": (lambda f: {"shards": ("a", "b")}, "shards must be one folder, not a, b"),
}


def save(folder: Path, array) -> str:
    np.save(folder / "ids.npy", array)
    return str(folder / "ids.npy")


def note(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("case", BAD)
def test_bad_use_is_told_before_anything_is_written(shards, tmp_path, case):
    make, told = BAD[case]
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(told)):
        run_stage(Subset(**{"shards": (str(shards),), "output": str(tmp_path / "part")} | make(tmp_path)), quiet=True)
    assert not any((tmp_path / "part").glob("*"))


def test_images_of_evaluation_sets_are_found_in_a_finished_set_as_in_raw_tars(finished_set, tmp_path):
    [copied, other] = pq.read_table(finished_set / "shards" / "00001.parquet").slice(0, 2).to_pylist()
    with tarfile.open(finished_set / "shards" / "00001.tar") as tar:
        image = Image.open(tar.extractfile(f"{copied['key']}.jpg"))
        image.load()
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "again.png")
    counts = subset(finished_set / "shards", tmp_path / "part", decontaminate=(f"tiny={tmp_path / 'images'}",))
    [told] = json.loads((tmp_path / "part" / "card" / "decontamination.json").read_text())
    assert (told["images"], told["exact"], told["images_hit"]) == (1, 0, 1)
    assert counts["samples/drop/contaminated"] == told["near"] >= 1
    left = {row["key"] for path in (tmp_path / "part").glob("0*.parquet") for row in pq.read_table(path).to_pylist()}
    assert copied["key"] not in left
    assert other["key"] in left
