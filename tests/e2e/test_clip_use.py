"""A trained model in use, by the commands: labels for images and URLs, features, search, scores, edited pixels."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw

import clip_train
from clip_train.__main__ import main
from clip_train.data import remote
from clip_train.training.checkpoint import save_model
from jobs.__main__ import main as wit400m
from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED, CUTS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from vocab.queries import QUERIES

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("ellipse", "rectangle")
CPU = ["--device", "cpu"]


def draw(colour, shape, rng):
    image = Image.new("RGB", rng.choice([(32, 32), (40, 32), (32, 44)]), "white")
    left, top = rng.randint(1, 10), rng.randint(1, 10)
    getattr(ImageDraw.Draw(image), shape)((left, top, left + 18, top + 18), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_shard(path, samples):
    """A tar of (key, image bytes, text or None)."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, image, text in samples:
            values = {"png": image, "json": json.dumps({"url": f"http://a.example/{key}"}).encode()}
            for suffix, data in (values | ({"txt": text.encode()} if text else {})).items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shards of captioned drawings; one sample has no text, one no readable image."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("world") / "shards"
    folder.mkdir()
    for shard in range(3):
        samples = []
        for number in range(32):
            colour, shape = COLOURS[number % 4], SHAPES[number // 4 % 2]
            samples.append((f"{shard}{number:04d}", draw(colour, shape, rng), f"a {colour} {shape}"))
        if shard == 1:
            samples += [("broken", b"no image", "a red ellipse"), ("silent", draw("red", "ellipse", rng), None)]
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    """A model that knows colours."""
    output = str(tmp_path_factory.mktemp("run"))
    texts = [str(shards / f"{shard:05d}.tar") for shard in (0, 2)]
    flags = ["--model", "tiny-32", "--vocab-size", "560", "--batch-size", "32", "--warmup-steps", "4", "--steps", "60"]
    assert main(["train", "--shards", *texts, "--output", output, *flags, *CPU, "--threads", "1"]) == 0
    return output


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "red.png"
    path.write_bytes(draw("red", "ellipse", random.Random(5)))
    return path


@pytest.fixture(scope="module")
def features(shards, trained, tmp_path_factory):
    """The features of the shards, in both formats."""
    folder = tmp_path_factory.mktemp("features")
    for format in ("parquet", "npy"):
        command = ["embed", str(shards), "--checkpoint", trained, "--output", str(folder / format)]
        assert main([*command, "--format", format, "--batch-size", "7", *CPU]) == 0
    return folder


def retrieve(tmp_path, *command):
    figures = tmp_path / "figures.json"
    assert main(["retrieve", *command, "--json", str(figures), *CPU]) == 0
    return json.loads(figures.read_text())


def test_embed_writes_a_row_for_every_sample_that_has_image_and_text(shards, trained, features, capsys):
    assert main(["embed", str(shards), "--checkpoint", trained, "--output", str(features / "parquet"), *CPU]) == 0
    assert "96 samples, 1 left out (no_text), 1 left out (unreadable_image)" in capsys.readouterr().out
    table = pq.read_table(features / "parquet" / "00001.parquet")
    assert table.column_names == ["key", "url", "caption", "image_features", "text_features"]
    assert table.schema.field("image_features").type == pa.list_(pa.float16(), 64)
    assert table.slice(3, 1).select(["key", "url", "caption"]).to_pylist() == [
        {"key": "10003", "url": "http://a.example/10003", "caption": "a yellow ellipse"}
    ]
    model, _preprocess = clip_train.load(trained, "cpu")
    reader = clip_train.data.shards.ShardReader(clip_train.data.shards.list_shards([str(shards / "00001.tar")]))
    image = clip_train.encode_images(model, [reader.image(0, 3)])[0]
    np.testing.assert_allclose(table["image_features"][3].values.to_numpy(), image.numpy(), atol=1e-3)
    arrays = np.load(features / "npy" / "text_emb" / "text_emb_00001.npy")
    np.testing.assert_array_equal(arrays[3], table["text_features"][3].values.to_numpy())


def test_two_ranks_write_the_features_of_one(shards, trained, features, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", "-m", "clip_train", "embed", str(shards), "--checkpoint", trained]
    command += ["--output", str(tmp_path / "two"), "--batch-size", "7", *CPU]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("96 samples") == 1
    for name in ("00000.parquet", "00001.parquet", "00002.parquet"):
        one, two = (pq.read_table(folder / name) for folder in (features / "parquet", tmp_path / "two"))
        assert one["key"] == two["key"]
        for column in ("image_features", "text_features"):
            ours, theirs = (np.stack(table[column].to_numpy()) for table in (one, two))
            np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_retrieve_finds_the_images_that_a_text_names(trained, features, tmp_path, capsys, format):
    where = ["--features", str(features / format), "--checkpoint", trained, "--top", "5"]
    [red, blue] = retrieve(tmp_path, "a red ellipse", "a blue rectangle", *where)
    assert all("red" in sample["caption"] for sample in red["samples"])
    assert all("blue" in sample["caption"] for sample in blue["samples"])
    cosines = [sample["cosine"] for sample in red["samples"]]
    assert len(cosines) == 5 and cosines == sorted(cosines, reverse=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and lines[0] == "a red ellipse" and "http://a.example/" in lines[1]


def test_retrieve_finds_texts_and_images_for_an_image(trained, features, picture, tmp_path):
    where = ["--features", str(features / "npy"), "--checkpoint", trained, "--image", str(picture), "--top", "3"]
    [by_text] = retrieve(tmp_path, *where, "--among", "texts")
    assert all("red" in sample["caption"] for sample in by_text["samples"])
    [by_image] = retrieve(tmp_path, *where)
    assert all("red" in sample["caption"] for sample in by_image["samples"])


def test_retrieve_finds_the_same_with_faiss(trained, features, tmp_path):
    pytest.importorskip("faiss")
    where = ["a green ellipse", "--features", str(features / "npy"), "--checkpoint", trained]
    exact = retrieve(tmp_path, *where)
    for index in ("faiss-flat", "faiss-ivf"):
        [found] = retrieve(tmp_path, *where, "--index", index)
        assert [sample["key"] for sample in found["samples"]] == [sample["key"] for sample in exact[0]["samples"]]


def test_features_of_another_model_are_refused(trained, features, tmp_path, capsys):
    torch.manual_seed(1)
    tokenizer = clip_train.load(trained, "cpu")[0].tokenizer
    other = str(tmp_path / "other")
    save_model(other, clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer))
    command = ["retrieve", "a red ellipse", "--features", str(features / "npy"), "--checkpoint", other, *CPU]
    assert main(command) == 2
    assert "features of another model" in capsys.readouterr().err


@pytest.fixture
def site(loopback, monkeypatch):
    """The address of a web server that also answers as the web does at its worst."""
    monkeypatch.setenv("NO_PROXY", "*")
    return f"http://127.0.0.1:{loopback.port}"


def test_classify_takes_urls_and_files(trained, picture, site, capsys):
    command = ["classify", f"{site}/good.jpg", str(picture), "--checkpoint", trained, *CPU]
    assert main([*command, "--labels", "red ellipse", "blue rectangle", "--template", "a {}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3]] == [f"{site}/good.jpg", str(picture)]
    assert lines[4].endswith("red ellipse")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/gone.jpg", "the server answers 410"),
        ("/error.jpg", "the server answers 500"),
        ("/loop.jpg", "redirect"),
        ("/to-file.jpg", "cannot be fetched|the server answers 302"),
        ("/page.jpg", "not a readable image"),
        ("/empty.jpg", "not a readable image"),
        ("/truncated.jpg", "not a readable image"),
        ("/hangs-up.jpg", "cannot be fetched"),
        ("/gibberish.jpg", "cannot be fetched"),
    ],
)
def test_a_url_without_an_image_is_told_in_one_line(trained, site, capsys, path, message):
    assert main(["classify", site + path, "--checkpoint", trained, "--labels", "cat", *CPU]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{site}{path}" in error
    assert any(part in error for part in message.split("|")), error


@pytest.mark.parametrize(
    ("path", "limits", "message"),
    [
        ("/endless.jpg", {"max_bytes": 1 << 20}, "larger than 1,048,576 bytes"),
        ("/silent.jpg", {"timeout_s": 0.3}, "timed out"),
        ("/stalls.jpg", {"timeout_s": 0.3}, "timed out"),
        ("/drip.jpg", {"timeout_s": 0.5}, "not all there after 0.5 s"),
    ],
)
def test_a_url_is_given_up_when_it_is_too_large_or_too_slow(site, path, limits, message):
    with pytest.raises(clip_train.InputError, match=message):
        remote.fetch_image(site + path, **limits)


def test_an_unreachable_host_is_told_by_its_url(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(clip_train.InputError, match=r"http://127\.0\.0\.1:9/x\.jpg: cannot be fetched"):
        remote.fetch_image("http://127.0.0.1:9/x.jpg")
    with pytest.raises(clip_train.InputError, match="cannot be fetched"):
        remote.fetch_image("http://[broken/x.jpg")


def write_pairs(folder, pairs):
    """The folders that fetch-images and write-shards read: pairs of (image URL, text) that a query kept."""
    rows = [
        {"pair_id": pair_id(url, text), "image_url": url, "text": text, "text_source": "alt", "source_file": "crawl"}
        | {"query_ids": [0], "kept_for": [0], "keep_probability": 1.0}
        for url, text in pairs
    ]
    write_table(str(folder / "balanced" / "part.parquet"), pa.Table.from_pylist(rows, BALANCED), BALANCED)
    cuts = pa.table({"query_id": [0], "query": ["a"], "count": [len(rows)], "cut": [None], "kept": [len(rows)]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    close_folder(str(folder / "vocab"), identity={"stage": "build-vocab"}, counts={}, outputs=[], made_from=[])
    close_folder(
        str(folder / "balanced"),
        identity={"stage": "balance-pairs"},
        counts={},
        outputs=[{"name": str(folder)}],
        made_from=[str(folder / "vocab")],
    )
    queries = [{"query_id": 0, "query": "a", "display": "a", "sources": ["word"]}]
    write_table(str(folder / "vocab" / "queries.parquet"), pa.Table.from_pylist(queries, QUERIES), QUERIES)


def keys_in(folder: Path):
    return {key for path in folder.glob("0*.parquet") for key in read_table(str(path))["key"].to_pylist()}


def test_scores_of_shards_decide_what_the_next_shards_hold(trained, loopback, tmp_path, capsys):
    urls = [f"http://h{number % 3}.example/image/{number}.jpg" for number in range(20)]
    pairs = [(url, f"a {COLOURS[number % 4]} {SHAPES[number % 2]}") for number, url in enumerate(urls)]
    pairs.append(("http://h9.example/image/0.jpg", pairs[0][1]))  # the same image bytes and text once more
    write_pairs(tmp_path, pairs)
    data = ["--data", str(tmp_path), "--workers", "1", "--quiet"]
    network = ["--connect-to", *loopback.connect_to, "--host-rate", "0", "--timeout-s", "5"]
    assert wit400m(["fetch-images", *data, "--contact", "me@lab.example", *network]) == 0
    assert wit400m(["write-shards", *data, "--max-samples", "8"]) == 0
    for source in ("shards", "raw"):  # finished shards and raw tars are scored alike
        output = str(tmp_path / f"{source}-scores")
        assert main(["score", str(tmp_path / source), "--checkpoint", trained, "--output", output, *CPU]) == 0
    scores = {}
    for source in ("shards", "raw"):
        tables = [read_table(str(path)) for path in sorted((tmp_path / f"{source}-scores").glob("*.parquet"))]
        rows = pa.concat_tables(tables)
        scores[source] = dict(zip(rows["key"].to_pylist(), rows["score"].to_pylist(), strict=True))
    assert len(scores["shards"]) == 20 and len(scores["raw"]) == 21
    assert scores["shards"] == pytest.approx({key: scores["raw"][key] for key in scores["shards"]}, abs=1e-5)
    ordered = sorted(scores["shards"].values(), reverse=True)
    for name, cut, kept in (("min", ["--min-score", repr(ordered[6])], 7), ("share", ["--top-score-share", "0.25"], 5)):
        filtering = ["--scores", str(tmp_path / "shards-scores"), *cut, "--output", str(tmp_path / name)]
        assert wit400m(["write-shards", *data, *filtering]) == 0
        wanted = {key for key, score in scores["shards"].items() if score >= ordered[kept - 1]}
        assert keys_in(tmp_path / name) == wanted
        funnel = json.loads((tmp_path / name / "card" / "funnel.json").read_text())
        assert funnel[-1]["counts"]["samples/drop/low_score"] == 20 - kept
    capsys.readouterr()


def test_edit_writes_an_image_that_fits_the_text_better(trained, picture, tmp_path, capsys):
    output = tmp_path / "edited.jpg"
    command = ["edit", str(picture), "--text", "a blue ellipse", "--output", str(output), "--checkpoint", trained]
    assert main([*command, "--steps", "8", "--crops", "2", *CPU]) == 0
    before, after = (float(word) for word in capsys.readouterr().out.split() if word.startswith(("0.", "-0.")))
    assert after > before
    with Image.open(output) as edited, Image.open(picture) as original:
        assert edited.format == "JPEG" and edited.size == original.size


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["classify", "{shards}/00000.tar", "--labels", "a"], "00000.tar: not a readable image"),
        (["classify", "{picture}", "--labels", " , "], "--labels must name at least one label"),
        (["classify", "{picture}", "--labels", "{long}"], "longer than the context of 32"),
        (["edit", "{picture}", "--text", "{long}", "--output", "x.png"], "longer than the context of 32"),
        (["edit", "{picture}", "--output", "x.png"], "--text must be given"),
        (["edit", "{picture}", "--text", "a", "--output", "no/such/x.png", "--steps", "1"], "No such file"),
        (["edit", "no.png", "--text", "a", "--output", "x.png"], "no.png: No such file"),
        (["embed", "{shards}"], "--output must be given"),
        (["embed", "no/shards", "--output", "x"], "no such shard"),
        (["embed", "{shards}", "{shards}", "--output", "x"], "two shards are called 00000.tar"),
        (["embed", "{shards}", "--output", "{shards}"], "holds other files"),
        (["score", "{shards}", "--output", "{features}/npy"], "holds other files"),
        (["retrieve", "--features", "{features}/npy"], "nothing to search with"),
        (["retrieve", "", "--features", "{features}/npy"], "nothing to search with"),
        (["retrieve", "a", "--features", "{shards}"], "features.json: No such file"),
        (["retrieve", "{long}", "--features", "{features}/npy"], "longer than the context of 32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_told_in_one_line(
    shards, trained, features, picture, tmp_path, monkeypatch, capsys, command, message
):
    monkeypatch.chdir(tmp_path)
    places = {"shards": shards, "features": features, "picture": picture, "long": "word " * 40}
    assert main([*(word.format(**places) for word in command), "--checkpoint", trained, *CPU]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("ViT-B/32", "a model without weights"),
        ("vit-b-33", "did you mean ViT-B/32"),
        ("{broken}", "do not fit the model"),
    ],
)
def test_a_model_that_is_not_there_is_told_in_one_line(shards, trained, picture, tmp_path, capsys, checkpoint, message):
    model = clip_train.load(trained, "cpu")[0]
    save_model(str(tmp_path / "broken"), model)
    config = json.loads((tmp_path / "broken" / "config.json").read_text())
    config["model"]["image"]["width"] = 96
    (tmp_path / "broken" / "config.json").write_text(json.dumps(config))
    where = checkpoint.format(broken=tmp_path / "broken")
    for command in (
        ["classify", str(picture), "--labels", "a"],
        ["score", str(shards), "--output", str(tmp_path / "x")],
    ):
        assert main([*command, "--checkpoint", where, *CPU]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
