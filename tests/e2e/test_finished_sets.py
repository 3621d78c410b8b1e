"""What is done with a finished set of shards: it is verified, and samples are taken out."""

import datetime
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import remove as jobs_remove
from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base import files
from pipeline.sharding.finished import removing
from pipeline.sharding.stage import WriteShards

NUM_SAMPLES = 60  # of the finished set, in 6 shards


class Place(NamedTuple):
    """A call of a function, before which a run is broken off."""

    module: ModuleType
    function: Callable
    after: int  # calls that go well


CUTS_AT = {
    "before the first shard": Place(jobs_remove, jobs_remove._carry_out, 0),
    "between shards": Place(jobs_remove, jobs_remove.remove_samples, 1),
    "before a tar is replaced": Place(files, files.write_json, 1),
    "before its index is": Place(removing, removing.write_table, 0),
    "before the first report": Place(files, files.write_json, 2),
    "before the manifest": Place(removing, removing.write_manifest, 0),
    "before the end": Place(removing, removing._tell_stage, 0),
}


class FixedTime(datetime.datetime):
    """Time stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, tzinfo=tz)


@pytest.fixture(scope="module")
def made(finished_set):
    return finished_set


@pytest.fixture
def shards(made, tmp_path):
    """A copy, to be spoilt."""
    return Path(shutil.copytree(made / "shards", tmp_path / "shards"))


def verify(folder, capsys, *flags, workers=1):
    """The exit code and the problems."""
    capsys.readouterr()  # what was said before
    code = main(["verify", str(folder), "--workers", str(workers), *flags])
    return code, capsys.readouterr().out.splitlines()


def test_a_whole_set_verifies_and_so_does_a_copy_without_the_file_of_its_stage(made, shards, capsys):
    assert verify(made / "shards", capsys) == (0, [f"verify: all is well in {made / 'shards'}"])
    (shards / "_stage.json").unlink()
    assert verify(shards, capsys) == (0, [f"verify: all is well in {shards}"])


def test_two_processes_find_the_same(shards, capsys):
    (shards / "00003.tar").unlink()
    flip(shards / "README.md", 9)
    one, two = (verify(shards, capsys, workers=workers) for workers in (1, 2))
    assert one == two
    assert [problem.partition(":")[0] for problem in one[1]] == ["README.md", "00003.tar"]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, change) -> None:
    """Writes a tar anew, with some contents changed: ``change(name, content)``, None for none."""
    buffer = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            content = change(member.name, old.extractfile(member).read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())


def break_first_image():
    seen = []

    def change(name, content):
        if name.endswith(".jpg") and not seen:
            seen.append(name)
            return content[: len(content) // 2]
        return content

    return change


def drop_first_text():
    seen = []

    def change(name, content):
        if name.endswith(".txt") and not seen:
            return seen.append(name)
        return content

    return change


FAULTS = {
    "a flipped byte of an image": (lambda s: flip(s / "00001.tar", 600), "00001.tar: sha256"),
    "a flipped byte of a header": (lambda s: flip(s / "00001.tar", 10), "00001.tar: "),
    "a cut tar": (lambda s: (s / "00002.tar").write_bytes((s / "00002.tar").read_bytes()[:5000]), "00002.tar: "),
    "an empty tar": (lambda s: (s / "00002.tar").write_bytes(b""), "00002.tar: "),
    "a missing tar": (lambda s: (s / "00003.tar").unlink(), "00003.tar: "),
    "a missing index": (lambda s: (s / "00003.parquet").unlink(), "00003.tar: index: "),
    "a doubled tar": (lambda s: shutil.copy(s / "00000.tar", s / "00099.tar"), "00099.tar: not in the manifest"),
    "a doubled index": (lambda s: shutil.copy(s / "00000.parquet", s / "00099.parquet"), "00099.parquet: not in the"),
    "a tar in the place of another": (
        lambda s: shutil.copy(s / "00000.tar", s / "00001.tar"),
        "00001.tar: holds sample",
    ),
    "an image that is cut": (
        lambda s: rewrite(s / "00004.tar", break_first_image()),
        "cannot be decoded (broken",
    ),
    "a text that is gone": (lambda s: rewrite(s / "00004.tar", drop_first_text()), "one image, txt and json belong"),
    "another text": (
        lambda s: rewrite(s / "00004.tar", lambda n, c: b"other" if n.endswith(".txt") else c),
        "tells of another text",
    ),
    "JSON that is none": (
        lambda s: rewrite(s / "00004.tar", lambda n, c: c[:-1] if n.endswith(".json") else c),
        "00004.tar: sample",
    ),
    "a flipped byte of an index": (lambda s: flip(s / "00000.parquet", 60), "00000.parquet: sha256"),
    "other sizes": (lambda s: (s / "sizes.json").write_text('{"00000.tar": 1}'), "sizes.json: other shards"),
    "no sizes": (lambda s: (s / "sizes.json").unlink(), "sizes.json: "),
    "a cut manifest": (
        lambda s: (s / "manifest.json").write_bytes((s / "manifest.json").read_bytes()[:-9]),
        "manifest.json: ",
    ),
    "another total": (
        lambda s: (s / "manifest.json").write_text(
            json.dumps(json.loads((s / "manifest.json").read_text()) | {"samples": 61})
        ),
        "manifest.json: 61 samples",
    ),
    "a card without its table": (lambda s: (s / "card" / "query_counts.parquet").unlink(), "card/query_counts.parquet"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_its_file_is_named(shards, capsys, fault):
    spoil, told = FAULTS[fault]
    spoil(shards)
    code, problems = verify(shards, capsys)
    assert code == 1
    assert any(told in problem for problem in problems), problems


OTHERS = {
    "url": ("http://other.example/", "another url in the index"),
    "page_url": ("http://other.example/", "another page_url in the index"),
    "source_file": ("other.warc.gz", "another source_file in the index"),
    "uid": ("other", "another uid in the index"),
    "phash": (-7, "another phash in the index"),
    "keep_probability": (0.5, "another keep_probability in the index"),
    "query_ids": ([], "another queries in the index"),
    "bytes": (7, "another image in the index"),
    "mime": ("image/png", "images {'jpg': 9, 'png': 1} in its index, {'jpg': 10} in the manifest"),
    "offset": (512, "another place in the index"),
    "length": (512, "another place in the index"),
}


def change_first(path: Path, name: str, value) -> None:
    """Writes a table anew with another value in the first row of a column."""
    table = pq.read_table(path)
    column = pa.array([value, *table[name].to_pylist()[1:]], table.schema.field(name).type)
    pq.write_table(table.set_column(table.schema.get_field_index(name), table.schema.field(name), column), path)


@pytest.mark.parametrize("name", OTHERS)
def test_an_index_that_says_something_else_is_found_without_the_file_of_the_stage(shards, capsys, name):
    (shards / "_stage.json").unlink()
    value, told = OTHERS[name]
    change_first(shards / "00000.parquet", name, value)
    code, problems = verify(shards, capsys, "--no-decode")
    assert code == 1
    assert told in problems[0]


def test_a_card_that_counts_otherwise_is_found_without_the_file_of_the_stage(shards, capsys):
    (shards / "_stage.json").unlink()
    change_first(shards / "card" / "query_counts.parquet", "samples", 61)
    told = "card/query_counts.parquet: 61 samples of query 0, but 60 in the indexes; 1 queries differ"
    assert verify(shards, capsys, "--no-decode") == (1, [told])


def test_folders_of_other_stages_are_verified_by_their_digests(made, tmp_path, capsys):
    folder = shutil.copytree(made / "balanced", tmp_path / "balanced")
    told = json.loads((folder / "_stage.json").read_text())
    data = (folder / "cuts.parquet").read_bytes()
    told["outputs"] = [{"name": "cuts.parquet", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    (folder / "_stage.json").write_text(json.dumps(told))
    assert verify(folder, capsys)[0] == 0
    flip(folder / "cuts.parquet", 30)
    assert verify(folder, capsys)[0] == 1


def test_where_nothing_is_finished_there_is_nothing_to_verify(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert "neither _stage.json of a finished stage nor manifest.json" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["verify", str(tmp_path), "--workers", "0"])


def contents(shards: Path):
    """All members of all shards, by name."""
    found = {}
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def remove(shards: Path, *flags, workers=1):
    return main(["remove", str(shards), "--workers", str(workers), *flags])


def indexes(shards: Path):
    return pa.concat_tables([pq.read_table(path) for path in sorted(shards.glob("0*.parquet"))])


def write_list(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_listed_goes_and_nothing_else_is_touched(shards, tmp_path, capsys, workers):
    rows, before, members = indexes(shards).drop_columns("offset").to_pylist(), digests(shards), contents(shards)
    times = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    in_second = pq.read_table(shards / "00001.parquet").to_pylist()
    chosen = [in_second[0], in_second[3]]
    urls = write_list(tmp_path / "urls", chosen[0]["url"], "http://none.example/")
    images = write_list(tmp_path / "images", chosen[1]["sha256"])
    assert remove(shards, "--urls", urls, "--images", images, "--reason", "asked for", workers=workers) == 0
    assert "remove: 2 samples gone from 1 shards; 58 are left" in capsys.readouterr().out
    gone = {row["key"] for row in chosen}
    assert contents(shards) == {name: data for name, data in members.items() if name.partition(".")[0] not in gone}
    assert indexes(shards).drop_columns("offset").to_pylist() == [row for row in rows if row["key"] not in gone]
    for path in sorted(shards.glob("0*.parquet")):
        lengths = pq.read_table(path)["length"].to_pylist()
        assert pq.read_table(path)["offset"].to_pylist() == [sum(lengths[:place]) for place in range(len(lengths))]
    after = {path.name: path.stat().st_mtime_ns for path in shards.iterdir() if path.name[0] == "0"}
    assert {name for name, time in after.items() if times[name] != time} == {"00001.tar", "00001.parquet"}
    changed = {name for name, digest in digests(shards).items() if before.get(name) != digest}
    told = {"manifest.json", "sizes.json", "wids.json", "README.md", "_stage.json", "removals.jsonl", "card.html"}
    assert changed == {"00001.tar", "00001.parquet", "croissant.json", *told}
    [record] = map(json.loads, (shards / "removals.jsonl").read_text().splitlines())
    assert (record["reason"], record["samples"], set(record["keys"])) == ("asked for", 2, gone)
    assert [shard["name"] for shard in record["shards"]] == ["00001.tar"]
    assert {kind: told["entries"] for kind, told in record["lists"].items()} == {"urls": 2, "sha256": 1}
    assert record["crawls"] == {"crawl.warc.gz": 2}
    assert "example" not in (shards / "removals.jsonl").read_text()  # it may go with the set
    told = [json.loads(line) for line in (tmp_path / "removals" / "removed.jsonl").read_text().splitlines()]
    assert [(one["key"], one["page_url"]) for one in told] == [(row["key"], row["page_url"]) for row in chosen]
    assert {(one["reason"], one["shard"], one["source_file"]) for one in told} == {
        ("asked for", "00001.tar", "crawl.warc.gz")
    }
    [counts] = pq.read_table(shards / "card" / "query_counts.parquet").to_pylist()
    assert counts["samples"] == 58
    assert verify(shards, capsys)[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_listed_is_traced_to_its_page_and_its_crawl_and_nothing_changes(shards, tmp_path, capsys, workers):
    before, [row, *_] = digests(shards), pq.read_table(shards / "00002.parquet").to_pylist()
    hosts = write_list(tmp_path / "hosts", "h3.example")
    images = write_list(tmp_path / "images", row["sha256"])
    assert main(["trace", str(shards), "--hosts", hosts, "--images", images, "--workers", str(workers)]) == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    wanted = [one for one in indexes(shards).to_pylist() if "//h3." in one["url"] or one["key"] == row["key"]]
    assert [one["key"] for one in found] == [one["key"] for one in wanted]
    names = ("url", "page_url", "source_file", "text_source", "caption")
    assert [[one[name] for name in names] for one in found] == [[one[name] for name in names] for one in wanted]
    assert {one["shard"] for one in found if one["key"] == row["key"]} == {"00002.tar"}
    assert f"trace: {len(wanted)} samples in " in err
    assert digests(shards) == before


def test_texts_off_the_web_reach_a_terminal_as_ascii(shards, tmp_path, capsys):
    change_first(shards / "00000.parquet", "caption", "a \u202egpj.\x1b[2Jtac")
    [key, *_] = pq.read_table(shards / "00000.parquet")["key"].to_pylist()
    assert main(["trace", str(shards), "--keys", write_list(tmp_path / "keys", key), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert out.isascii() and out.strip().isprintable()
    assert json.loads(out)["caption"] == "a \u202egpj.\x1b[2Jtac"


def test_a_shard_that_is_damaged_already_is_not_made_whole_by_a_removal(shards, tmp_path, capsys):
    keys = write_list(tmp_path / "keys", pq.read_table(shards / "00001.parquet")["key"][3].as_py())
    flip(shards / "00001.tar", 600)
    before = digests(shards)
    assert remove(shards, "--keys", keys) == 2
    assert "00001.tar: not what the manifest says" in capsys.readouterr().err
    assert digests(shards) == before
    flip(shards / "00001.tar", 600)
    assert remove(shards, "--keys", keys) == 0
    assert verify(shards, capsys)[0] == 0


def digests(folder: Path):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_hosts_and_keys_go_and_an_empty_shard_with_them(shards, tmp_path, capsys):
    first = [row["key"] for row in pq.read_table(shards / "00000.parquet").to_pylist()]
    hosts, keys = write_list(tmp_path / "hosts", "H3.example"), write_list(tmp_path / "keys", *first)
    assert remove(shards, "--hosts", hosts, "--keys", keys) == 0
    left = indexes(shards)
    assert left.num_rows and not any("//h3.example/" in url for url in left["url"].to_pylist())
    assert not (shards / "00000.tar").exists() and not (shards / "00000.parquet").exists()
    assert "00000.tar" not in json.loads((shards / "sizes.json").read_text())
    assert verify(shards, capsys)[0] == 0


def test_what_was_removed_stays_out_of_a_later_run(made, tmp_path, capsys):
    data = Path(shutil.copytree(made, tmp_path / "data"))
    row = pq.read_table(data / "shards" / "00002.parquet").to_pylist()[0]
    assert remove(data / "shards", "--ids", write_list(tmp_path / "ids", row["uid"])) == 0
    assert remove(data / "shards", "--urls", write_list(tmp_path / "urls", "http://new.example/7.jpg")) == 0
    assert "none of it is in" in capsys.readouterr().out
    assert (data / "removals" / "keys.txt").read_text() == row["key"] + "\n"
    assert (data / "removals" / "urls.txt").read_text() == "http://new.example/7.jpg\n"
    again = WriteShards(
        raw=(str(data / "raw"),),
        balanced=str(data / "balanced"),
        output=str(data / "again"),
        removals=str(data / "removals"),
    )
    counts = run_stage(again, workers=1, quiet=True)
    assert (counts["samples/kept"], counts["samples/drop/blocked"]) == (NUM_SAMPLES - 1, 1)
    assert row["key"] not in indexes(data / "again")["key"].to_pylist()


@pytest.mark.parametrize("at", CUTS_AT)
def test_a_removal_that_was_cut_short_is_finished_by_the_next_and_gives_the_same(made, tmp_path, monkeypatch, at):
    whole, cut = (Path(shutil.copytree(made / "shards", tmp_path / name / "shards")) for name in ("whole", "cut"))
    first = pq.read_table(whole / "00000.parquet")["key"].to_pylist()  # it will be empty
    lists = ["--hosts", write_list(tmp_path / "hosts", "h2.example", "h5.example")]
    lists += ["--keys", write_list(tmp_path / "keys", *first)]
    monkeypatch.setattr(jobs_remove, "datetime", FixedTime)
    assert remove(whole, *lists) == 0
    [counts] = pq.read_table(whole / "card" / "query_counts.parquet").to_pylist()
    assert counts["samples"] == indexes(whole).num_rows
    with monkeypatch.context() as patch:
        place, calls = CUTS_AT[at], []

        def break_off(*arguments, **options):
            calls.append(arguments)
            if len(calls) > place.after:
                raise KeyboardInterrupt
            return place.function(*arguments, **options)

        patch.setattr(place.module, place.function.__name__, break_off)
        with pytest.raises(KeyboardInterrupt):
            remove(cut, *lists)
    assert remove(cut, "--hosts", write_list(tmp_path / "other", "other.example")) == 0
    assert digests(cut) == digests(whole)
    assert digests(cut / "card") == digests(whole / "card")
    assert not (cut / "_removal").exists()


def test_a_removal_of_nothing_and_of_no_set_says_so(shards, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        remove(shards)
    assert "give a list" in capsys.readouterr().err
    assert remove(tmp_path, "--hosts", write_list(tmp_path / "hosts", "a.example")) == 2
    assert "only finished shards can lose" in capsys.readouterr().err
    assert remove(shards, "--hosts", write_list(tmp_path / "hosts", "a/b")) == 2
    assert "line 1: 'a/b' is none of the hosts" in capsys.readouterr().err
    assert remove(shards, "--hosts", str(tmp_path / "none")) == 2


def test_a_set_on_another_file_system_is_verified_and_loses_samples_there(shards, tmp_path, capsys):
    store, there = fsspec.filesystem("memory"), "memory://bucket/shards"
    store.put(str(shards), "/bucket/shards", recursive=True)
    try:
        assert verify(there, capsys)[0] == 0
        assert remove(there, "--hosts", write_list(tmp_path / "hosts", "h1.example"), "--removals", str(tmp_path)) == 0
        assert verify(there, capsys)[0] == 0
        assert remove(shards, "--hosts", str(tmp_path / "hosts"), "--removals", str(tmp_path)) == 0
        names = [name for name in digests(shards) if name.startswith("0")]
        assert [store.cat(f"/bucket/shards/{name}") for name in names] == [
            (shards / name).read_bytes() for name in names
        ]
        tar = bytearray(store.cat("/bucket/shards/00001.tar"))
        tar[600] ^= 1
        store.pipe("/bucket/shards/00001.tar", bytes(tar))
        code, problems = verify(there, capsys)
        assert code == 1
        assert problems[0].startswith("00001.tar: sha256")
    finally:
        store.rm("/bucket", recursive=True)
