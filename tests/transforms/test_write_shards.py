"""Raw tars to shards: full shards, key order, mixed hosts, no duplicate, the same bytes every time."""

import collections
import dataclasses
import hashlib
import io
import json
import math
import random
import signal
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import webdataset

from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.folders import RawFolder, raw_units
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.shard_format import SAMPLE_JSON_KEYS, SCORES_NAME
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.sharding.stage import WriteShards

SCORES = pa.schema([("key", pa.string()), ("score", pa.float32())])


def sample_bytes(key, image, text):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for suffix, data in (("jpg", image), ("json", json.dumps({"text": text}).encode()), ("txt", text.encode())):
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    return buffer.getvalue()[:size]


def index_row(url, image, text, status):
    identity = pair_id(url, text)
    row = dict.fromkeys(RAW_INDEX.names) | {"pair_id": identity, "key": identity.hex(), "status": status}
    row |= {"text_source": "alt", "source_file": "crawl.warc.gz"}
    row |= {"image_url": url, "text": text, "query_ids": [0], "kept_for": [0], "keep_probability": 1.0}
    if status == "ok":
        sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), 8)
        row |= {"sha256": hashlib.sha256(image).digest(), "mime": "image/jpeg", "bytes": len(image), **sizes}
    return row


def write_stage(folder: Path, stage: str, **options):
    """Declares a folder finished, made from all that are finished beside it."""
    made_from = sorted(str(path.parent) for path in folder.parent.glob(f"*/{STAGE_NAME}") if path.parent != folder)
    outputs = [{"name": str(folder)}]  # so that no two look the same
    identity = {"stage": stage, "options": options}
    close_folder(str(folder), identity=identity, counts={}, outputs=outputs, made_from=made_from)


def write_raw(folder: Path, units, name="raw", **options):
    """Raw tars as fetch-images leaves them; a unit is a list of (URL, image bytes, text, status)."""
    raw = folder / name
    for number, unit in enumerate(units):
        rows, data = [], b""
        for url, image, text, status in sorted(unit, key=lambda row: pair_id(row[0], row[2])):
            row = index_row(url, image, text, status)
            if status == "ok":
                sample = sample_bytes(row["key"], image, text)
                row |= {"offset": len(data), "length": len(sample)}
                data += sample
            rows.append(row)
        files.write_bytes_whole(str(raw / f"raw-{number:05d}.tar"), data)
        write_table(str(raw / f"raw-{number:05d}.index.parquet"), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    write_stage(raw, "fetch-images", **options)
    cuts = pa.table({"query_id": [0], "query": ["thing"], "count": [99], "cut": [None], "kept": [99]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    write_stage(folder / "balanced", "balance-pairs")


def stage_for(folder: Path, **options):
    given = {"raw": (str(folder / "raw"),), "balanced": str(folder / "balanced"), "output": str(folder / "shards")}
    given["min_shards"] = 1
    return WriteShards(**(given | options))


def shard_bytes(folder: Path):
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").glob("0*"))}


@pytest.fixture
def units():
    rng = random.Random(7)
    made = [
        [
            (f"http://h{u}.example/{i}", rng.randbytes(rng.randint(10, 2000)), f"text {u} {i}", "ok")
            for i in range(10 + u)
        ]
        for u in range(5)
    ]
    _, image, text, _ = made[0][0]
    made[0].append(("http://h0.example/gone", b"", "gone", "http_404"))
    made[1].append(("http://h1.example/mirror", image, "another text", "ok"))
    made[2].append(("http://h2.example/mirror", image, text, "ok"))
    return made


def places_of(shard, index):
    """The keys of the samples that lie where an index says, which is all of a shard, and whose images are as long."""
    keys, data, end = [], shard.read_bytes(), 0
    for offset, length, size in zip(*(index[name].to_pylist() for name in ("offset", "length", "bytes")), strict=True):
        assert offset == end
        end += length
        with tarfile.open(fileobj=io.BytesIO(data[offset:end])) as tar:
            members = tar.getmembers()
        assert [member.size for member in members if member.name.endswith(".jpg")] == [size]
        keys += {member.name.partition(".")[0] for member in members}
    assert not data[end:].strip(bytes(1))
    return keys


def test_shards_hold_every_survivor_once_each_in_key_order_and_all_are_full_but_the_last(tmp_path, units):
    write_raw(tmp_path, units)
    counts = run_stage(stage_for(tmp_path, max_samples=25), workers=1, quiet=True)
    assert counts["samples/in"] == sum(row[3] == "ok" for unit in units for row in unit)
    sizes = json.loads((tmp_path / "shards" / "sizes.json").read_text())
    full, rest = divmod(counts["samples/kept"], 25)
    assert list(sizes.values()) == [25] * full + [rest]
    assert list(sizes) == sorted(sizes)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    described = {entry["name"]: (entry["samples"], entry["bytes"], entry["sha256"]) for entry in manifest["shards"]}
    assert described == {
        name: (size, len(data), hashlib.sha256(data).hexdigest())
        for name, size in sizes.items()
        for data in [(tmp_path / "shards" / name).read_bytes()]
    }
    keys = []
    for name, size in sizes.items():
        with tarfile.open(tmp_path / "shards" / name) as tar:
            names = tar.getnames()
        own = list(dict.fromkeys(n.partition(".")[0] for n in names))
        index = read_table(str(tmp_path / "shards" / name.replace(".tar", ".parquet")))
        assert places_of(tmp_path / "shards" / name, index) == own
        assert len(names) == 3 * size == 3 * len(own)
        assert own == read_table(str(tmp_path / "shards" / name.replace(".tar", ".parquet")))["key"].to_pylist()
        assert own == sorted(own)
        keys += own
    assert len(set(keys)) == len(keys) == counts["samples/kept"]


def test_shards_of_known_images_are_the_known_bytes(tmp_path):
    """Another digest means that a published data set cannot be made again."""

    def image(number):
        return hashlib.sha256(b"%d" % number).digest() * (number % 7 + 1)

    urls = [f"http://h{number % 3}.example/{number}" for number in range(40)]
    rows = [(url, image(number), f"größe {number % 11}", "ok") for number, url in enumerate(urls)]
    write_raw(tmp_path, [rows[:25], [*rows[25:], ("http://h9.example/same", image(3), "größe 3", "ok")]])
    run_stage(stage_for(tmp_path, max_samples=14), workers=1, quiet=True)
    sizes = json.loads((tmp_path / "shards" / "sizes.json").read_text())
    assert sizes == {"00000.tar": 14, "00001.tar": 14, "00002.tar": 12}
    paths = sorted((tmp_path / "shards").glob("*.tar"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths]
    assert digests == ["82c851f248b8acad", "b7d29f7aef9784ca", "2b11f9d16c0bd27d"]


def test_webdataset_reads_the_shards(tmp_path, units):
    write_raw(tmp_path, units)
    run_stage(stage_for(tmp_path), workers=1, quiet=True)
    paths = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert len(samples) == json.loads((tmp_path / "shards" / "manifest.json").read_text())["samples"]
    assert all({"jpg", "txt", "json", "__key__"} <= set(sample) for sample in samples)


def test_small_sets_have_shards_for_all_workers(tmp_path, units):
    write_raw(tmp_path, units)
    counts = run_stage(stage_for(tmp_path, min_shards=16), workers=1, quiet=True)
    sizes = list(json.loads((tmp_path / "shards" / "sizes.json").read_text()).values())
    assert len(sizes) >= 16
    assert sum(sizes) == counts["samples/kept"]
    assert len(set(sizes[:-1])) == 1


def test_samples_for_which_a_condition_does_not_hold_are_left_out_and_counted_once(tmp_path, units):
    write_raw(tmp_path, units)
    run_stage(stage_for(tmp_path), workers=1, quiet=True)
    every = read_table(str(tmp_path / "shards" / "00000.parquet")).to_pylist()
    blocked = tmp_path / "urls.txt"
    blocked.write_text(every[3]["url"])
    stage = dataclasses.replace(
        stage_for(tmp_path, where="caption != 'text 0 1' and (width < 9 or url = 'x')", block=(f"urls={blocked}",)),
        output=str(tmp_path / "some"),
    )
    counts = run_stage(stage, workers=1, quiet=True)
    wanted = [row for row in every if row["caption"] != "text 0 1" and row["url"] != every[3]["url"]]
    kept = read_table(str(tmp_path / "some" / "00000.parquet")).to_pylist()
    assert [row | {"offset": 0} for row in kept] == [row | {"offset": 0} for row in wanted]
    refused = sum(row["caption"] == "text 0 1" for row in every)
    assert (counts["samples/drop/refused_row"], counts["samples/drop/blocked"]) == (refused, 1)


def test_a_sample_that_is_refused_wins_over_no_duplicate(tmp_path):
    image = b"the same bytes"
    rows = [(f"http://h{number}.example/", image, f"text {number}", "ok") for number in range(9)]
    write_raw(tmp_path, [rows])
    run_stage(stage_for(tmp_path, duplicates="image"), workers=1, quiet=True)
    [winner] = read_table(str(tmp_path / "shards" / "00000.parquet"))["caption"].to_pylist()
    stage = stage_for(tmp_path, duplicates="image", where=f"caption <> '{winner}'")
    counts = run_stage(dataclasses.replace(stage, output=str(tmp_path / "some")), workers=1, quiet=True)
    [second] = read_table(str(tmp_path / "some" / "00000.parquet"))["caption"].to_pylist()
    assert second != winner
    assert (counts["samples/drop/refused_row"], counts["samples/drop/duplicate_image"]) == (1, 7)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("width >=", "where: "),
        ("wide >= 3", "where: .*wide"),
        ("caption > 3", "where: "),
        ("offset > 3", "where: .*offset"),
    ],
)
def test_a_condition_that_cannot_be_is_told_before_work_starts(tmp_path, units, where, message):
    write_raw(tmp_path, units)
    with pytest.raises(ValueError, match=f"write-shards: {message}"):
        run_stage(stage_for(tmp_path, where=where), workers=1, quiet=True)
    assert not (tmp_path / "shards" / "manifest.json").exists()


def test_what_lies_beside_the_shards_is_what_their_readers_look_for(tmp_path, units):
    write_raw(tmp_path, units, exif="keep")
    run_stage(stage_for(tmp_path, max_samples=25), workers=1, quiet=True)
    shards = tmp_path / "shards"
    manifest = json.loads((shards / "manifest.json").read_text())
    wids = json.loads((shards / "wids.json").read_text())
    assert (wids["__kind__"], wids["wids_version"]) == ("wids-shard-index-v1", 1)
    assert wids["shardlist"] == [
        {"url": shard["name"], "nsamples": shard["samples"], "filesize": (shards / shard["name"]).stat().st_size}
        for shard in manifest["shards"]
    ]
    assert manifest["images"] == {"jpg": manifest["samples"]}
    index = read_table(str(shards / "00000.parquet"))
    row = index.slice(0, 1).to_pylist()[0]
    [sample] = islice(webdataset.WebDataset(str(shards / "00000.tar"), shardshuffle=False), 1)
    assert (row["key"], row["uid"], row["caption"]) == (sample["__key__"], sample["__key__"], sample["txt"].decode())
    assert row["sha256"] == hashlib.sha256(sample["jpg"]).hexdigest()
    begin, front, _ = (shards / "README.md").read_text().split("---\n", 2)
    assert begin == ""
    told = {name: json.loads(value) for name, value in (line.split(": ", 1) for line in front.splitlines())}
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "*.tar"}]
    features = {feature["name"]: feature for feature in told["dataset_info"]["features"]}
    assert features["jpg"] == {"name": "jpg", "dtype": "image"}
    names = [field["name"] for field in features["json"]["struct"]]
    assert names == sorted({*SAMPLE_JSON_KEYS, "exif"})


@pytest.mark.parametrize(("duplicates", "dropped"), [("keep", 0), ("pair", 1), ("image", 2)])
def test_duplicates_are_dropped_as_asked_and_counted(tmp_path, units, duplicates, dropped):
    write_raw(tmp_path, units)
    counts = run_stage(stage_for(tmp_path, duplicates=duplicates), workers=1, quiet=True)
    assert sum(number for name, number in counts.items() if name.startswith("samples/drop/")) == dropped


def test_one_and_two_workers_and_a_resumed_run_give_the_same_bytes(tmp_path, units):
    for name, workers in (("one", 1), ("two", 2), ("resumed", 1)):
        write_raw(tmp_path / name, units)
        run_stage(stage_for(tmp_path / name, max_samples=9), workers=workers, quiet=True)
    shards = tmp_path / "resumed" / "shards"
    (shards / STAGE_NAME).unlink()
    (shards / "00001.tar").unlink()
    run_stage(stage_for(tmp_path / "resumed", max_samples=9), workers=1, quiet=True)
    assert shard_bytes(tmp_path / "one") == shard_bytes(tmp_path / "two") == shard_bytes(tmp_path / "resumed")


def test_the_card_counts_what_every_query_got(tmp_path, units):
    write_raw(tmp_path, units)
    counts = run_stage(stage_for(tmp_path), workers=1, quiet=True)
    [row] = read_table(str(tmp_path / "shards" / "card" / "query_counts.parquet")).to_pylist()
    assert row == {"query_id": 0, "query": "thing", "found": 99, "balanced": 99, "samples": counts["samples/kept"]}
    assert "thing" in (tmp_path / "shards" / "README.md").read_text()


def test_the_card_names_the_rules_that_were_switched_off(tmp_path, units):
    write_raw(tmp_path / "kept", units, robots=True)
    write_raw(tmp_path / "off", units, robots=False, allow_private=True)
    cards = {}
    for name in ("kept", "off"):
        run_stage(stage_for(tmp_path / name), workers=1, quiet=True)
        cards[name] = (tmp_path / name / "shards" / "README.md").read_text()
    assert "None: all rules" in cards["kept"]
    assert "No robots.txt was read, and none obeyed. (fetch-images, robots; in 1 of 1 runs)" in cards["off"]
    assert "Private and local addresses" in cards["off"]


def write_rounds(folder: Path, units):
    """Two folders of raw tars, as two rounds of fetching leave them; gives their paths."""
    write_raw(folder, units[:2], "raw-1")
    write_raw(folder, units[2:], "raw-2")
    return str(folder / "raw-1"), str(folder / "raw-2")


@pytest.fixture
def one_unit(monkeypatch):
    """All shards are packed at once, unless fewer are asked for."""
    monkeypatch.setattr("pipeline.sharding.packing.layout._WANTED_UNITS", 1)


def test_neither_the_order_of_folders_nor_how_many_shards_are_packed_at_once_changes_a_byte(tmp_path, units, one_unit):
    raws = write_rounds(tmp_path, units)
    made = []
    for name, folders, at_once in (("plain", raws, 32), ("backwards", raws[::-1], 32), ("two", raws, 2)):
        output = str(tmp_path / name / "shards")
        stage = stage_for(tmp_path, raw=folders, output=output, max_samples=9, shards_at_once=at_once)
        run_stage(stage, quiet=True)
        made.append(shard_bytes(tmp_path / name))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("at_once", [2, 3])
def test_a_run_that_broke_off_goes_on_with_folders_in_another_order_and_gives_the_same_bytes(
    tmp_path, units, one_unit, at_once
):
    raws = write_rounds(tmp_path, units)
    whole, broken = ({"output": str(tmp_path / name / "shards"), "max_samples": 9} for name in ("whole", "broken"))
    run_stage(stage_for(tmp_path, raw=raws, **whole), quiet=True)
    tar = Path(raws[1]) / "raw-00002.tar"
    whole_tar = tar.read_bytes()
    tar.write_bytes(whole_tar[:-600])
    with pytest.raises(Exception, match=r"raw-00002\.tar ends before"):
        run_stage(stage_for(tmp_path, raw=raws, shards_at_once=2, **broken), quiet=True)
    assert len(list(tmp_path.glob("broken/shards/_plans/*.parquet"))) == 1
    assert 0 < len(list(tmp_path.glob("broken/shards/_packed-by-2/*.json"))) < 4, "the sample is in one shard"
    tar.write_bytes(whole_tar)
    run_stage(stage_for(tmp_path, raw=raws[::-1], shards_at_once=at_once, **broken), quiet=True)
    assert shard_bytes(tmp_path / "broken") == shard_bytes(tmp_path / "whole")


# Where a run is killed: a function of a module, and the call of it that is the end.
KILLED_AT = (
    ("pipeline.sharding.selection.selecting:write_table", 2),  # select
    ("pipeline.sharding.packing.packing:copy_samples", 3),  # pack: in a shard
    ("pipeline.sharding.packing.packing:write_table", 2),  # between a shard and its index
    ("pipeline.base.files:write_json", -1),  # finalise: among the tables of all shards
)

KILLER = """
import importlib, os, signal, sys
from pathlib import Path
sys.path[:0] = [{home!r}]
from jobs.runner import run_stage
from pipeline.sharding.stage import WriteShards
name, function = {place!r}.split(":")
module, calls = importlib.import_module(name), []
before = getattr(module, function)
def call(*arguments, **options):
    calls.append(arguments)
    if len(calls) == {number} or ({number} < 0 and str(arguments[0]).endswith("wids.json")):
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*arguments, **options)
setattr(module, function, call)
run_stage(WriteShards(**{options!r}), workers=1, quiet=True)
"""


def test_a_run_that_is_killed_in_every_phase_gives_the_same_bytes(tmp_path, units):
    write_raw(tmp_path, units)
    run_stage(stage_for(tmp_path, max_samples=9), workers=1, quiet=True)
    options = {"raw": (str(tmp_path / "raw"),), "balanced": str(tmp_path / "balanced"), "min_shards": 1}
    options |= {"max_samples": 9, "output": str(tmp_path / "killed" / "shards")}
    for place, number in KILLED_AT:
        program = KILLER.format(home=str(Path(__file__).parents[2]), place=place, number=number, options=options)
        killed = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "killed" / "shards" / "manifest.json").exists()
    run_stage(WriteShards(**options), workers=1, quiet=True)
    whole, continued = (
        {str(path.relative_to(shards)): path.read_bytes() for path in shards.rglob("*") if path.is_file()}
        for shards in (tmp_path / "shards", tmp_path / "killed" / "shards")
    )
    assert whole.keys() == continued.keys()
    assert {name for name in whole if whole[name] != continued[name]} <= {STAGE_NAME}, "which says when it was made"


def test_hosts_that_raw_tars_hold_together_are_mixed_in_every_shard(tmp_path):
    """Raw tars are ranges of hosts; one host has a third of all samples, as wikimedia has of some crawls."""
    hosts = [f"h{number}" for number in range(40)] + ["large"] * 20
    units = [
        [(f"http://{host}.example/{place}/{number}", b"%d %d" % (place, number), "text", "ok") for number in range(20)]
        for place, host in enumerate(hosts)
    ]
    write_raw(tmp_path, units)
    run_stage(stage_for(tmp_path, max_samples=300, shards_at_once=2), quiet=True)
    indexes = sorted((tmp_path / "shards").glob("0*.parquet"))
    assert len(indexes) == 4
    for index in indexes:
        urls = read_table(str(index))["url"].to_pylist()
        of_host = collections.Counter(url.split("/")[2].split(".")[0] for url in urls)
        assert of_host.pop("large") < 3 * 300 / 3
        assert max(of_host.values()) < 3 * 5 + 5, "a host has 5 of 300, give or take"
        assert len(of_host) > 35


@pytest.fixture
def stored(tmp_path, units):
    """Raw tars in a store."""
    write_raw(tmp_path, units)
    store, folder = fsspec.filesystem("memory"), f"memory://{tmp_path.name}/raw"
    store.put(str(tmp_path / "raw"), f"/{tmp_path.name}/raw", recursive=True)
    yield folder
    store.rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_of_a_store_a_unit_asks_each_raw_tar_once_and_for_each_byte_once(tmp_path, stored, monkeypatch, at_once):
    asked, read_range = [], files.read_range

    def count(path, start, length):
        if path.endswith(".tar") and "/raw/" in path:  # the card asks the shards for some samples
            asked.append((path, start, start + length))
        return read_range(path, start, length)

    monkeypatch.setattr("pipeline.sharding.packing.ranges.files.read_range", count)
    options = {"max_samples": 9, "shards_at_once": at_once, "duplicates": "keep"}
    run_stage(stage_for(tmp_path, raw=(stored,), **options), workers=1, quiet=True)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    tars = {path: files.file_size(path) for path in files.list_files(stored, ".tar")}
    assert len(asked) <= len(tars) * -(-len(manifest["shards"]) // at_once)
    if at_once >= len(manifest["shards"]):
        for path, size in tars.items():
            starts, ends = zip(*sorted(place[1:] for place in asked if place[0] == path), strict=True)
            assert (starts[0], *ends) == (*starts, size), "ranges follow one another, from the first byte to the last"
    local = stage_for(tmp_path, max_samples=9, duplicates="keep")
    run_stage(dataclasses.replace(local, output=str(tmp_path / "local" / "shards")), workers=1, quiet=True)
    assert shard_bytes(tmp_path / "local") == shard_bytes(tmp_path)


def test_a_raw_tar_in_the_place_of_another_is_an_error(tmp_path, units):
    write_raw(tmp_path, units)
    one, other = (tmp_path / "raw" / f"raw-0000{number}.tar" for number in (3, 4))
    data = one.read_bytes(), other.read_bytes()
    for path, content in zip((one, other), data[::-1], strict=True):
        path.write_bytes(content.ljust(max(map(len, data)), b"\0"))
    with pytest.raises(Exception, match=r"raw-0000[34]\.tar: sample [0-9a-f]{32} should be at byte \d+, but there is "):
        run_stage(stage_for(tmp_path), workers=1, quiet=True)
    assert not list((tmp_path / "shards").glob("0*.tar"))


def test_a_pair_that_was_fetched_twice_with_two_images_is_an_error(tmp_path, units):
    url, image, text, status = units[0][0]
    write_raw(tmp_path, [*units, [(url, image + b"new", text, status)]])
    with pytest.raises(Exception, match="was fetched twice"):
        run_stage(stage_for(tmp_path), workers=1, quiet=True)


def test_no_image_makes_no_shard(tmp_path):
    write_raw(tmp_path, [[("http://a.example/gone", b"", "gone", "http_404")]])
    run_stage(stage_for(tmp_path), workers=1, quiet=True)
    assert json.loads((tmp_path / "shards" / "sizes.json").read_text()) == {}


def test_a_raw_tar_that_is_too_short_is_an_error(tmp_path, units):
    write_raw(tmp_path, units)
    tar = tmp_path / "raw" / "raw-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(Exception, match=r"raw-00001\.tar ends before"):
        run_stage(stage_for(tmp_path), workers=1, quiet=True)
    assert not (tmp_path / "shards" / STAGE_NAME).exists()


def test_a_final_selection_over_two_raw_folders_decides_what_is_packed_and_what_samples_say(tmp_path, units):
    write_raw(tmp_path / "one", units[:2])
    write_raw(tmp_path / "two", units[2:])
    final = tmp_path / "final"
    raws = [str(tmp_path / folder / "raw") for folder in ("one", "two")]
    wanted = {}
    for folder in ("one", "two"):
        for path in sorted((tmp_path / folder / "raw").glob("*.parquet")):
            rows = [row for row in read_table(str(path)).to_pylist() if row["status"] == "ok"][:3]
            rows = [row | {"kept_for": [0], "keep_probability": 0.125} for row in rows]
            wanted |= {row["key"]: row["text"] for row in rows}
            name = next(unit.name for unit in raw_units(raws) if unit.index_file == str(path))
            write_table(RawFolder(str(final)).index(name), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    cuts = pa.table({"query_id": [0], "query": ["thing"], "count": [99], "cut": [None], "kept": [15]}, CUTS)
    write_table(str(final / "cuts.parquet"), cuts, CUTS)
    close_folder(str(final), identity={"stage": "balance-final"}, counts={}, outputs=[], made_from=raws)
    stage = WriteShards(
        raw=tuple(raws),
        final=str(final),
        output=str(tmp_path / "shards"),
        min_shards=1,
    )
    run_stage(stage, workers=1, quiet=True)
    paths = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert {sample["__key__"]: sample["txt"].decode() for sample in samples} == wanted
    assert all(json.loads(sample["json"])["kept_for"] == ["thing"] for sample in samples)
    assert all(json.loads(sample["json"])["keep_probability"] == 0.125 for sample in samples)
    index = read_table(str(tmp_path / "shards" / "00000.parquet"))
    assert index["keep_probability"].to_pylist() == [0.125] * len(wanted)


def write_scores(folder: Path, parts):
    """Scores as clip_train writes them: tables of (key, score), and the file that closes the folder."""
    for number, rows in enumerate(parts):
        table = pa.table([[key for key, _ in rows], [score for _, score in rows]], schema=SCORES)
        write_table(str(folder / f"{number:05d}.parquet"), table, SCORES)
    closing = {"identity": {}, "rows": {f"{number:05d}": len(rows) for number, rows in enumerate(parts)}}
    files.write_bytes_whole(str(folder / SCORES_NAME), json.dumps(closing).encode())
    return str(folder)


def keys_in(folder: Path):
    return [key for path in sorted(folder.glob("0*.parquet")) for key in read_table(str(path))["key"].to_pylist()]


def test_shards_hold_the_samples_at_or_above_a_score_and_the_rest_is_counted(tmp_path, units):
    write_raw(tmp_path, units)
    duplicates = run_stage(stage_for(tmp_path), workers=1, quiet=True)["samples/drop/duplicate_sample"]
    keys = keys_in(tmp_path / "shards")
    score_of = {key: float(np.float32(0.2 + 0.01 * (hash_ % 20))) for hash_, key in enumerate(keys[3:])}
    rows = list(score_of.items())
    scores = write_scores(tmp_path / "scores", [rows[::2], rows[1::2]])
    for name, options, cut in (
        ("min", {"min_score": 0.28}, np.float32(0.28)),
        ("share", {"top_score_share": 0.3}, sorted(score_of.values())[-math.ceil(0.3 * len(rows))]),
    ):
        output = str(tmp_path / name)
        stage = dataclasses.replace(stage_for(tmp_path, scores=(scores,), **options), output=output)
        counts = run_stage(stage, workers=1, quiet=True)
        wanted = [key for key in keys if score_of.get(key, -1) >= cut]
        assert 0 < len(wanted) < len(rows)
        assert keys_in(tmp_path / name) == wanted
        assert counts["samples/drop/no_score"] == 3 + duplicates  # which lost, so that nobody scored them
        assert counts["samples/drop/low_score"] == len(rows) - len(wanted)
        assert "low_score" in (tmp_path / name / "README.md").read_text()


def test_of_several_scores_of_a_sample_the_highest_counts(tmp_path, units):
    write_raw(tmp_path, units)
    run_stage(stage_for(tmp_path), workers=1, quiet=True)
    [first, second, *others] = keys_in(tmp_path / "shards")
    parts = [[(first, 0.1), (second, 0.9)], [(first, 0.4), (second, 0.2), (others[0], 0.3)]]
    scores = write_scores(tmp_path / "scores", parts)
    for workers in (1, 2):
        output = tmp_path / f"{workers}-workers"
        stage = dataclasses.replace(stage_for(tmp_path, scores=(scores,), min_score=0.35), output=str(output))
        run_stage(stage, workers=workers, quiet=True)
        assert keys_in(output) == [first, second]
    tars = [(tmp_path / f"{workers}-workers" / "00000.tar").read_bytes() for workers in (1, 2)]
    assert tars[0] == tars[1]


def write_flags(folder: Path, columns):
    """Scores of several kinds: name of a column -> score by key."""
    keys = sorted({key for scores in columns.values() for key in scores})
    table = pa.table(
        {"key": keys} | {n: pa.array([s.get(key) for key in keys], pa.float32()) for n, s in columns.items()}
    )
    write_table(str(folder / "00000.parquet"), table, table.schema)
    files.write_json(str(folder / SCORES_NAME), {"identity": {}, "rows": {"00000": len(keys)}})
    return str(folder)


def test_a_condition_may_name_the_scores_of_any_number_of_tables(tmp_path, units):
    write_raw(tmp_path, units)
    duplicates = run_stage(stage_for(tmp_path), workers=1, quiet=True)["samples/drop/duplicate_sample"]
    keys = keys_in(tmp_path / "shards")
    rng = np.random.default_rng(5)
    clip, nsfw, mark = (dict(zip(keys, rng.random(len(keys)).astype(np.float32).tolist(), strict=True)) for _ in "123")
    del clip[keys[0]], nsfw[keys[1]]
    scores = write_scores(tmp_path / "cosines", [list(clip.items())])
    flags = write_flags(tmp_path / "flags", {"nsfw": nsfw, "watermark": mark})
    outputs = []
    for workers, given in ((1, (f"clip={scores}", flags)), (2, (flags, f"clip={scores}"))):
        options = {"scores": given, "where": "clip >= 0.28 and (nsfw < 0.5 or watermark < 0.2) and width < 9"}
        outputs.append(tmp_path / f"{workers}-workers")
        stage = dataclasses.replace(stage_for(tmp_path, **options), output=str(outputs[-1]))
        counts = run_stage(stage, workers=workers, quiet=True)
        wanted = [
            key for key in keys
            if clip.get(key, 0) >= 0.28 and (nsfw.get(key, 1) < 0.5 or mark[key] < 0.2)
        ]  # fmt: skip
        assert keys_in(outputs[-1]) == wanted
        unknown = [key for key in keys[:2] if key not in wanted]
        assert counts["samples/drop/no_score"] == len(unknown) + duplicates
        assert counts["samples/drop/refused_row"] == len(keys) - len(wanted) - len(unknown)
    assert len({(output / "00000.tar").read_bytes() for output in outputs}) == 1
    identities = [json.loads((output / STAGE_NAME).read_text())["identity"] for output in outputs]
    assert identities[0] == identities[1]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (("{flags}",), {"min_score": 0.1}, "want one score, not nsfw, watermark; say where"),
        (("{flags}", "{flags}"), {"where": "nsfw < 0.5"}, "'nsfw' is the name of two columns"),
        (("width={cosines}",), {"where": "width < 9"}, "'width' is the name of two columns"),
        (("{cosines}",), {"where": "clip < 0.5"}, "clip"),
    ],
)
def test_scores_that_cannot_be_told_apart_are_an_error(tmp_path, units, scores, options, message):
    write_raw(tmp_path, units[:1])
    made = {
        "cosines": write_scores(tmp_path / "cosines", [[("0" * 32, 0.5)]]),
        "flags": write_flags(tmp_path / "flags", {"nsfw": {"0" * 32: 0.5}, "watermark": {"0" * 32: 0.5}}),
    }
    with pytest.raises(ValueError, match=message):
        run_stage(stage_for(tmp_path, scores=tuple(one.format(**made) for one in scores), **options), quiet=True)


def test_what_scores_are_called_is_part_of_what_is_made(tmp_path, units):
    write_raw(tmp_path, units)
    one, two = (write_scores(tmp_path / f"{n}", [[(f"{row:032x}", 0.5) for row in range(n)]]) for n in (1, 2))
    first = stage_for(tmp_path, scores=(f"a={one}", f"b={two}"), where="a is null")
    assert run_stage(first, workers=1, quiet=True)["samples/kept"] > 0
    again = dataclasses.replace(first, scores=(f"b={two}", f"a={one}"))
    assert run_stage(again, workers=1, quiet=True)["samples/kept"] > 0
    with pytest.raises(ValueError, match="made with other"):
        run_stage(dataclasses.replace(first, scores=(f"a={two}", f"b={one}")), workers=1, quiet=True)


def test_scores_without_any_score_keep_nothing(tmp_path, units):
    write_raw(tmp_path, [*units[:2], [("http://a.example/gone", b"", "gone", "http_404")]])
    counts = run_stage(stage_for(tmp_path, scores=(write_scores(tmp_path / "scores", []),), min_score=0.1), quiet=True)
    assert counts["samples/in"] == counts["samples/drop/no_score"] > 0
    assert counts["shards"] == 0


def test_scores_of_other_shards_are_an_error_and_a_missing_folder_too(tmp_path, units):
    write_raw(tmp_path, units)
    scores = write_scores(tmp_path / "scores", [[("000000017", 0.4)]])
    with pytest.raises(Exception, match="that write-shards did not write"):
        run_stage(stage_for(tmp_path, scores=(scores,), min_score=0.1), workers=1, quiet=True)
    with pytest.raises(FileNotFoundError, match="no finished scores"):
        run_stage(stage_for(tmp_path, scores=(str(tmp_path / "nowhere"),), min_score=0.1), workers=1, quiet=True)


def test_a_second_run_does_nothing(tmp_path, units):
    write_raw(tmp_path, units)
    first = run_stage(stage_for(tmp_path), workers=1, quiet=True)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    assert run_stage(stage_for(tmp_path), workers=1, quiet=True) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == times
    assert read_stage(str(tmp_path / "shards"))["counts"] == first
