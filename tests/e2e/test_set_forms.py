"""Sets in the forms of other tools, with and without a validation split: written, verified, cut down, and read."""

import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from clip_train.data.shards import list_shards
from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base.shard_format import SAMPLE_JSON_KEYS
from pipeline.sharding.forms import FORMS
from pipeline.sharding.stage import WriteShards

SHARE = 0.3  # of 60 samples, in 6 shards each
NUMBERED = ("img2dataset", "datacomp")


@pytest.fixture(scope="module")
def sets(finished_set, tmp_path_factory):
    """A set in each form, by its name."""
    folder = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        stage = WriteShards(
            raw=(str(finished_set / "raw"),),
            balanced=str(finished_set / "balanced"),
            output=str(folder / form),
            min_shards=6,
            layout=form,
            validation_share=SHARE,
        )
        counts = run_stage(stage, workers=1, quiet=True)
        assert counts["train_samples"] + counts["validation_samples"] == counts["samples/kept"] == 60
        assert 8 < counts["validation_samples"] < 30
    return folder


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def entries(shards: Path, split: str | None = None):
    found = json.loads((shards / "manifest.json").read_text())["shards"]
    return [entry for entry in found if split in (None, entry.get("split", "train"))]


def index_of(shards: Path, split: str | None = None):
    """The rows of the indexes, with the name of the shard."""
    rows = []
    for entry in entries(shards, split):
        table = pq.read_table(shards / entry["name"].replace(".tar", ".parquet"))
        assert table.num_rows == entry["samples"]
        rows += [row | {"shard": entry["name"]} for row in table.to_pylist()]
    return rows


def pair_key(row):
    return row.get("pair_id", row["key"])


def samples_of(shards: Path, split: str | None = None):
    """Members by suffix, by shard and key."""
    found = {}
    for entry in entries(shards, split):
        with tarfile.open(shards / entry["name"]) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                found.setdefault((entry["name"], key), {})[suffix] = tar.extractfile(member).read()
    return found


def test_every_sample_is_in_one_shard_of_one_split_whatever_the_form(sets, finished_set, form):
    shards, made = sets / form, samples_of(sets / form)
    rows = index_of(shards)
    wanted = {row["key"]: row for row in index_of(finished_set / "shards")}
    assert sorted(map(pair_key, rows)) == sorted(wanted)
    assert len({row["key"] for row in rows}) == 60
    held_out = set(map(pair_key, index_of(shards, "validation")))
    assert held_out == set(map(pair_key, index_of(sets / "wit400m", "validation")))
    before = samples_of(finished_set / "shards")
    where = {row["key"]: row["shard"] for row in index_of(finished_set / "shards")}
    for row in rows:
        sample, key = made[row["shard"], row["key"]], pair_key(row)
        old = before[where[key], key]
        assert (sample["jpg"], sample["txt"].decode()) == (old["jpg"], row["caption"])
        same = wanted[key].keys() - {"key", "offset", "length", "shard"}
        assert {name: row[name] for name in same} == {name: wanted[key][name] for name in same}
        if form == "open_clip":
            assert sample.keys() == {"jpg", "txt"}
            continue
        told = json.loads(sample["json"])
        changed = {"key": row["key"], "pair_id": key, "status": "success", "error_message": None}
        assert told == json.loads(old["json"]) | (changed if form in NUMBERED else {})
        assert told["uid"] == key


NAMES = {
    "wit400m": (r"\d{5}\.tar", r"validation/\d{5}\.tar", r"[0-9a-f]{32}"),
    "img2dataset": (r"\d{5}\.tar", r"validation/\d{5}\.tar", r"\d{9}"),
    "open_clip": (r"\d{5}\.tar", r"validation/\d{5}\.tar", r"[0-9a-f]{32}"),
    "datacomp": (r"\d{8}\.tar", r"validation/\d{8}\.tar", r"\d{12}"),
    "hugging-face": (r"data/train-\d{5}-of-00006\.tar", r"data/validation-\d{5}-of-0000[5-9]\.tar", r"[0-9a-f]{32}"),
}


def test_shards_and_keys_are_named_as_the_form_has_them(sets, form):
    shards, (train, validation, key) = sets / form, NAMES[form]
    for split, pattern in (("train", train), ("validation", validation)):
        assert all(re.fullmatch(pattern, entry["name"]) for entry in entries(shards, split))
        assert all(re.fullmatch(key, row["key"]) for row in index_of(shards, split))
    keys = [row["key"] for row in index_of(shards)]
    if form in NUMBERED:
        assert keys == sorted(keys)
        sizes = [entry["samples"] for entry in entries(shards)]
        assert [int(key[-4:]) for key in keys] == [number for size in sizes for number in range(size)]
        assert [int(key[:-4]) for key in keys] == [shard for shard, size in enumerate(sizes) for _ in range(size)]
        for entry in entries(shards):
            stats = json.loads((shards / entry["name"].replace(".tar", "_stats.json")).read_text())
            assert (stats["count"], stats["successes"]) == (entry["samples"],) * 2
            assert stats["status_dict"] == {"success": entry["samples"]}
    else:
        assert not list(shards.rglob("*_stats.json"))


def test_tables_beside_the_shards_list_those_of_their_folder_or_split(sets, form):
    shards = sets / form
    for folder in {(shards / entry["name"]).parent for entry in entries(shards)}:
        told = json.loads((folder / "sizes.json").read_text())
        assert told == {
            Path(entry["name"]).name: entry["samples"]
            for entry in entries(shards)
            if (shards / entry["name"]).parent == folder
        }
    for split, name in (("train", "wids.json"), ("validation", "validation-wids.json")):
        listed = json.loads((shards / name).read_text())["shardlist"]
        assert [(one["url"], one["nsamples"]) for one in listed] == [
            (entry["name"], entry["samples"]) for entry in entries(shards, split)
        ]


def test_the_front_matter_gives_each_split_its_shards_and_names_all_members(sets, form):
    shards = sets / form
    text = (shards / "README.md").read_text()
    told = {name: json.loads(value) for name, value in (x.split(": ", 1) for x in text.split("---\n")[1].splitlines())}
    patterns = {one["split"]: one["path"] for one in told["configs"][0]["data_files"]}
    for split, pattern in patterns.items():
        assert sorted(map(str, shards.glob(pattern))) == [str(shards / one["name"]) for one in entries(shards, split)]
    features = {feature["name"]: feature for feature in told["dataset_info"]["features"]}
    has_json = form != "open_clip"
    assert features.keys() == {"jpg", "txt", "__key__", "__url__", *(["json"] if has_json else [])}
    if has_json:
        extra = {"pair_id", "status", "error_message"} if form in NUMBERED else set()
        assert {one["name"] for one in features["json"]["struct"]} == {*SAMPLE_JSON_KEYS, *extra}
    for pattern in re.findall(r"`([^` ]*\{\d+\.\.\d+\}[^` ]*)`|shards = \"(.*)\"", text):
        names = list(webdataset.shardlists.expand_urls(str(shards / "".join(pattern))))
        split = "validation" if "validation" in "".join(pattern) else "train"
        assert names == [str(shards / one["name"]) for one in entries(shards, split)]


def test_webdataset_reads_each_split(sets, form):
    for split in ("train", "validation"):
        paths = [str(sets / form / entry["name"]) for entry in entries(sets / form, split)]
        found = list(webdataset.WebDataset(paths, shardshuffle=False))
        assert [sample["__key__"] for sample in found] == [row["key"] for row in index_of(sets / form, split)]


def test_a_trainer_that_is_given_the_shards_of_a_split_trains_on_these_alone(sets, form):
    for split in ("train", "validation"):
        names = {"train": "", "validation": "validation"} if form != "hugging-face" else {split: f"data/{split}-*.tar"}
        wanted = [(str(sets / form / entry["name"]), entry["samples"]) for entry in entries(sets / form, split)]
        found = list_shards([str(sets / form / names[split])])
        assert [(shard.path, shard.num_samples) for shard in found] == wanted


def verify(folder: Path, capsys):
    capsys.readouterr()
    return main(["verify", str(folder), "--workers", "1"]), capsys.readouterr().out.splitlines()


def spoil_text(path: Path):
    """Writes another text into the first sample."""
    buffer, done = io.BytesIO(), False
    with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            content = old.extractfile(member).read()
            if member.name.endswith(".txt") and not done:
                content, done = b"another", True
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())


def test_a_set_of_any_form_verifies_and_faults_of_either_split_are_found(sets, tmp_path, capsys, form):
    assert verify(sets / form, capsys) == (0, [f"verify: all is well in {sets / form}"])
    shards = Path(shutil.copytree(sets / form, tmp_path / "shards"))
    (shards / "_stage.json").unlink()
    assert verify(shards, capsys)[0] == 0
    first, other = entries(shards, "train")[0]["name"], entries(shards, "validation")[-1]["name"]
    spoil_text(shards / other)
    shutil.copy(shards / first, (shards / first).parent / "more.tar")
    (shards / "validation-wids.json").unlink()
    code, problems = verify(shards, capsys)
    assert code == 1
    for told in (f"{other}: sha256", "another text" if form != "open_clip" else "another caption", "more.tar: not in"):
        assert any(told in problem for problem in problems), (told, problems)
    assert any(problem.startswith("validation-wids.json: ") for problem in problems)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_samples_are_taken_out_of_any_form_by_the_ids_of_their_pairs(sets, tmp_path, capsys, form, split):
    shards = Path(shutil.copytree(sets / form, tmp_path / "set" / "shards"))
    rows = index_of(shards, split)
    first = [row for row in rows if row["shard"] == rows[0]["shard"]]  # a whole shard
    other = rows[len(first)]  # and one of the next
    gone = {pair_key(row) for row in [*first, other]}
    ids = tmp_path / "ids"
    ids.write_text("\n".join(gone))
    assert main(["remove", str(shards), "--ids", str(ids), "--workers", "1"]) == 0
    left = index_of(shards)
    assert {pair_key(row) for row in left} == {pair_key(row) for row in index_of(sets / form)} - gone
    assert samples_of(shards).keys() == {(row["shard"], row["key"]) for row in left}
    assert not list(shards.glob(rows[0]["shard"].removesuffix(".tar") + "*"))
    assert verify(shards, capsys)[0] == 0
    if form in NUMBERED:
        changed = json.loads((shards / other["shard"].replace(".tar", "_stats.json")).read_text())
        assert changed["count"] == changed["successes"] == sum(row["shard"] == other["shard"] for row in left) > 0


def test_a_split_that_loses_all_its_samples_leaves_no_tables_behind(sets, tmp_path, capsys):
    for form in ("wit400m", "hugging-face"):
        shards = Path(shutil.copytree(sets / form, tmp_path / form / "shards"))
        ids = tmp_path / "ids"
        ids.write_text("\n".join(row["key"] for row in index_of(shards, "validation")))
        assert main(["remove", str(shards), "--ids", str(ids), "--workers", "1"]) == 0
        assert not (shards / "validation-wids.json").exists()
        assert not (shards / "validation" / "sizes.json").exists()
        assert "held out" not in (shards / "README.md").read_text()
        assert verify(shards, capsys)[0] == 0


def test_all_copies_of_a_picture_are_on_one_side(sets):
    sides = {}
    for split in ("train", "validation"):
        for row in index_of(sets / "wit400m", split):
            sides.setdefault(row["phash"], set()).add(split)
    assert all(len(split) == 1 for split in sides.values())


def test_without_a_share_there_is_no_split_and_the_manifest_is_as_it_was(finished_set):
    manifest = json.loads((finished_set / "shards" / "manifest.json").read_text())
    assert manifest.keys() == {"samples", "bytes", "images", "shards"}
    assert all(entry.keys() == {"name", "samples", "bytes", "sha256", "images"} for entry in manifest["shards"])
    names = {path.name for path in (finished_set / "shards").iterdir()}
    assert not names & {"validation", "validation-wids.json", "data"}


@pytest.mark.parametrize(("share", "layout"), [(1, "wit400m"), (-0.1, "wit400m"), (0.1, "parquet")])
def test_shares_and_layouts_that_cannot_be_are_told_before_work_starts(finished_set, tmp_path, share, layout):
    name = "layout" if layout == "parquet" else "validation.share"
    with pytest.raises(ValueError, match=name):
        WriteShards(output=str(tmp_path), layout=layout, validation_share=share)


def test_all_pictures_may_be_held_out_but_few(finished_set, tmp_path):
    stage = WriteShards(
        raw=(str(finished_set / "raw"),),
        balanced=str(finished_set / "balanced"),
        output=str(tmp_path / "shards"),
        min_shards=6,
        validation_share=0.9999,
    )
    run_stage(stage, workers=1, quiet=True)
    assert entries(tmp_path / "shards", "train") == []
    assert json.loads((tmp_path / "shards" / "wids.json").read_text())["shardlist"] == []
    table = pa.concat_tables([pq.read_table(path) for path in (tmp_path / "shards" / "validation").glob("*.parquet")])
    assert table.num_rows == 60
