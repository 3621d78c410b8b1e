"""Several texts of one image: balanced by image, fetched once, one sample with all its texts."""

import json
import tarfile

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from pipeline.base import files
from pipeline.base.lineage import read_stage

A, B, C = (f"http://{host}.example/image/{number}.jpg" for number, host in enumerate("abc"))
PAIRS = [
    (A, "a cat", 0.1), (A, "a cat with a dog", 0.2), (A, "some tree", 0.3), (A, "nothing here", 0.4),
    (B, "the dog", 0.5), (B, "a tree and a dog", 0.6), (C, "a tree", 0.7),
]  # fmt: skip
MATCHED = {A: {"a cat", "a cat with a dog", "some tree"}, B: {"the dog", "a tree and a dog"}, C: {"a tree"}}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Pairs in two tables, so that texts of an image lie in both; matched."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        rows = [f"{url},{text},{score}" for url, text, score in PAIRS[number::2]]
        (tmp_path / f"part-{number}.csv").write_text("\n".join(["url,text,score", *rows]) + "\n")
    (tmp_path / "own.txt").write_text("cat\ndog\ntree\n")
    run("import-vocab", "own.txt", "--output", "data/vocab")
    run("extract-pairs", "--input", "part-0.csv", "part-1.csv", "--keep-column", "score")
    run("match-pairs")
    return tmp_path


def run(command, *words, code=0):
    assert main([command, *words, "--workers", "1"]) == code


def fetch_and_pack(loopback):
    network = ["--connect-to", *loopback.connect_to, "--host-rate", "0", "--contact", "me@lab.example"]
    run("fetch-images", *network)
    run("write-shards", "--min-shards", "1")


def kept_texts(folder="data/balanced"):
    """The texts of every URL, and those that a query selected."""
    every, selected = {}, {}
    for path in files.list_files(folder, ".parquet"):
        if not path.endswith("cuts.parquet"):
            for row in pq.read_table(path).to_pylist():
                every.setdefault(row["image_url"], set()).add(row["text"])
                if row["kept_for"]:
                    selected.setdefault(row["image_url"], set()).add(row["text"])
    return every, selected


def samples():
    rows = {row["url"]: row for row in pq.read_table("data/shards/00000.parquet").to_pylist()}
    with tarfile.open("data/shards/00000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    described = {json.loads(d)["url"]: json.loads(d) for name, d in members.items() if name.endswith(".json")}
    return rows, described, members


@pytest.mark.parametrize("texts", ["kept", "matched"])
def test_an_image_is_a_sample_with_all_its_texts(world, loopback, texts):
    run("balance-pairs", "--output", "pairs-alone", "--cap", "2")
    run("balance-pairs", "--cap", "2", "--by", "image", "--image-texts", texts)
    every, selected = kept_texts()
    assert selected == kept_texts("pairs-alone")[0]
    expected = selected if texts == "kept" else {url: MATCHED[url] for url in selected}
    assert every == expected and any(len(of_url) > 1 for of_url in every.values())
    fetch_and_pack(loopback)
    assert sorted(path for _, path in loopback.seen if path.startswith("/image/")) == sorted(
        url.removeprefix(url[: url.index("/image")]) for url in every
    )
    rows, described, members = samples()
    assert set(rows) == set(described) == set(every)
    scores = {(url, text): score for url, text, score in PAIRS}
    for url, row in rows.items():
        assert set(row["texts"]) == every[url] and len(row["texts"]) == len(every[url])
        assert (
            described[url]["texts"] == row["texts"] and row["caption"] == row["texts"][0] == described[url]["caption"]
        )
        assert members[f"{row['key']}.txt"].decode() == row["caption"] and row["caption"] in selected[url]
        assert row["score"] == scores[url, row["caption"]]
        words = [{"a cat": "cat"}.get(text, text) for text in row["texts"]]
        held = {word for word in ("cat", "dog", "tree") if any(word in text for text in words)}
        assert set(described[url]["queries"]) == held
    counts = read_stage("data/raw")["counts"]
    assert (counts["images/in"], counts["pairs/in"]) == (len(every), sum(map(len, every.values())))


def test_what_needs_pairs_refuses_images_before_work_starts(world, capsys):
    run("balance-pairs", "--by", "image")
    assert json.loads((world / "data/balanced/rule.json").read_text())["by"] == "image"
    for command, flags, message in [
        ("balance-final", [], "balanced must hold pairs to cut among, but data/balanced was balanced by image"),
        ("balance-pairs", ["--by", "image", "--yield", "0.5"], "by 'image' wants yield 1, not 0.5"),
        ("balance-pairs", ["--image-texts", "matched"], "image-texts 'matched' wants by 'image', not 'pair'"),
        (
            "balance-pairs",
            ["--by", "image", "--image-texts", "matched", "--previous", "data/balanced"],
            "image-texts 'matched' wants no previous, not 'data/balanced'",
        ),
        ("balance-pairs", [], "by 'image', not None"),
    ]:
        run(command, *flags, *(["--raw", "data/balanced"] if command == "balance-final" else []), code=2)
        assert message in capsys.readouterr().err


def test_by_pair_a_folder_is_what_it_was(world):
    run("balance-pairs")
    assert set(json.loads((world / "data/balanced/rule.json").read_text())) == {"cap", "fetch_cap", "seed", "hashes"}
    options = read_stage("data/balanced")["identity"]["options"]
    assert not {"by", "image_texts"} & set(options)
