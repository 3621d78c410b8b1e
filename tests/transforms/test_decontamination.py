"""write-shards without the images of evaluation sets, with a cap on captions, and over rounds that overlap."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, StageMismatch
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import END_OF_ARCHIVE, encode_member
from pipeline.pixels.images import CheckedImage, ImageRules, make_uniform
from pipeline.sharding.stage import WriteShards


def photograph(seed, side=96):
    """A picture with the spectrum of a photograph."""
    rng = np.random.default_rng(seed)
    steps = np.fft.fftfreq(side)
    falling = 1 / np.maximum(np.hypot(steps[:, None], steps[None]), 1 / side)
    planes = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * falling).real for _ in range(3)]
    mixed = np.stack(planes, -1) @ np.array([[1, 1, 1], [0.3, 0, -0.3], [0.1, -0.2, 0.1]])
    levels = 128 + 45 * mixed / mixed.std()
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PICTURES = [photograph(seed) for seed in range(12)]


def write_raw(folder: Path, samples, name="raw", a_tar=5, **options):
    """Raw tars as fetch-images leaves them, of (URL, image, text)."""
    for number, first in enumerate(range(0, len(samples), a_tar)):
        rows, data = [], b""
        part = samples[first : first + a_tar]
        for url, image, text in sorted(part, key=lambda sample: pair_id(sample[0], sample[2])):
            stored = make_uniform(image, ImageRules(**options))
            assert isinstance(stored, CheckedImage)
            identity = pair_id(url, text)
            told = {name: getattr(stored, name) for name in RAW_INDEX.names if hasattr(stored, name)}
            members = {"jpg": stored.data, "json": json.dumps({"key": identity.hex()}).encode(), "txt": text.encode()}
            sample = b"".join(encode_member(f"{identity.hex()}.{suffix}", body) for suffix, body in members.items())
            row = dict.fromkeys(RAW_INDEX.names) | told
            row |= {"pair_id": identity, "key": identity.hex(), "status": "ok", "image_url": url, "text": text}
            row |= {"text_source": "alt", "source_file": "a.warc", "query_ids": [0], "kept_for": [0]}
            row |= {"keep_probability": 1.0, "offset": len(data), "length": len(sample), "bytes": len(stored.data)}
            rows.append(row)
            data += sample
        raw = folder / name
        files.write_bytes_whole(str(raw / f"raw-{number:05d}.tar"), data + END_OF_ARCHIVE)
        write_table(str(raw / f"raw-{number:05d}.index.parquet"), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    declare(folder / name, "fetch-images", **options)
    cuts = pa.table({"query_id": [0], "query": ["thing"], "count": [99], "cut": [None], "kept": [99]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    declare(folder / "balanced", "balance-pairs")


def declare(folder: Path, stage: str, **options):
    """Declares a folder finished, made from all that are finished beside it."""
    made_from = sorted(str(path.parent) for path in folder.parent.glob(f"*/{STAGE_NAME}") if path.parent != folder)
    outputs = [{"name": str(folder)}]  # so that no two look the same
    close_folder(
        str(folder), identity={"stage": stage, "options": options}, counts={}, outputs=outputs, made_from=made_from
    )


def stage_for(folder: Path, **options):
    given = {"raw": (str(folder / "raw"),), "balanced": str(folder / "balanced"), "output": str(folder / "shards")}
    return WriteShards(**(given | {"min_shards": 1} | options))


def run(folder, workers=1, **options):
    return run_stage(stage_for(folder, **options), workers=workers, quiet=True)


def captions_of(shards):
    return sorted(text for path in shards.glob("0*.parquet") for text in read_table(str(path))["caption"].to_pylist())


def write_evaluation(folder: Path):
    """Two sets: a folder of four pictures (and what cannot be read), and a table of two of them."""
    (folder / "eval" / "deep").mkdir(parents=True)
    for number in range(4):
        (folder / "eval" / "deep" / f"{number}.png").write_bytes(encode(PICTURES[number], "PNG"))
    (folder / "eval" / "broken.jpg").write_bytes(encode(PICTURES[4])[:500])
    (folder / "eval" / "labels.txt").write_text("cat")
    images = [{"bytes": encode(PICTURES[number], quality=80), "path": None} for number in (3, 5)]
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), folder / "table.parquet")
    return {"decontaminate": (f"two={folder / 'table.parquet'}", f"one={folder / 'eval'}")}


SAMPLES = [
    ("http://a.example/0", encode(PICTURES[0], "PNG"), "exactly one of the folder"),
    ("http://a.example/1", encode(PICTURES[0].resize((48, 48)), quality=60), "nearly the same"),
    ("http://b.example/2", encode(PICTURES[1].crop((2, 2, 94, 94)), quality=80), "cut a little"),
    ("http://b.example/3", encode(PICTURES[3], quality=80), "of both sets, exactly of the table"),
    ("http://b.example/4", encode(PICTURES[4])[:500], "cannot be read"),
    ("http://c.example/5", encode(PICTURES[5], quality=30), "nearly of the table"),
    *((f"http://d.example/{number}", encode(PICTURES[number]), f"other {number}") for number in range(6, 12)),
]
READABLE = [sample for sample in SAMPLES if sample[2] != "cannot be read"]
OTHERS = [f"other {number}" for number in sorted(range(6, 12), key=str)]


def test_images_of_evaluation_sets_are_left_out_and_told_set_by_set(tmp_path):
    write_raw(tmp_path, READABLE)
    sets = write_evaluation(tmp_path)
    counts = run(tmp_path, **sets, duplicates="keep", near_duplicates="keep")
    assert captions_of(tmp_path / "shards") == OTHERS
    assert (counts["samples/drop/contaminated"], counts["samples/kept"]) == (5, 6)
    assert (counts["evaluation/in"], counts["evaluation/kept"]) == (7, 6)
    one, two = json.loads((tmp_path / "shards" / "card" / "decontamination.json").read_text())
    assert counts["samples/in"] == 11
    assert one == {
        "name": "one", "images": 4, "unreadable": 1, "hashes": 0, "other_files": 1,
        "exact": 1, "near": 3, "images_hit": 3,
        "most_hit": [{"name": f"deep/{name}.png", "samples": number} for name, number in ((0, 2), (1, 1), (3, 1))],
    }  # fmt: skip
    assert [two[name] for name in ("name", "images", "exact", "near", "images_hit")] == ["two", 2, 1, 1, 2]
    assert (counts["evaluation set one/near"], counts["evaluation set two/exact"]) == (3, 1)
    funnel = json.loads((tmp_path / "shards" / "card" / "funnel.json").read_text())
    assert funnel[-1]["counts"]["evaluation set one/images_hit"] == 3


def test_hashes_take_out_what_they_are_of(tmp_path):
    write_raw(tmp_path, READABLE)
    table = read_table(str(tmp_path / "raw" / "raw-00000.index.parquet"))
    of = {text: row for row, text in enumerate(table["text"].to_pylist())}
    digest = table["sha256"][of["cut a little"]].as_py().hex()
    phash = table["phash"][of["nearly the same"]].as_py() % 2**64 ^ 0b101
    (tmp_path / "hashes.txt").write_text(f"{digest}\n{phash:016x}  x.jpg\n")
    sets = {"decontaminate": (f"hashes={tmp_path / 'hashes.txt'}",), "near_duplicates": "keep"}
    counts = run(tmp_path, **sets, phash_distance=2)
    [report] = json.loads((tmp_path / "shards" / "card" / "decontamination.json").read_text())
    assert (report["hashes"], report["exact"], report["near"], report["images_hit"]) == (2, 1, 2, 2)
    assert counts["samples/drop/contaminated"] == 3  # the exact original looks as the near copy does
    assert "cut a little" not in captions_of(tmp_path / "shards")


def read_once(*_, **__):
    raise AssertionError("evaluation images are read once")


def test_one_and_two_workers_the_order_of_sets_and_a_run_cut_short_give_the_same_bytes(tmp_path, monkeypatch):
    for name in ("one", "two", "broken"):
        write_raw(tmp_path / name, READABLE)
        sets = write_evaluation(tmp_path / name)["decontaminate"]
        if name == "broken":
            tar = tmp_path / name / "raw" / "raw-00001.tar"
            tar.rename(tmp_path / "away.tar")
            with pytest.raises(Exception, match=r"raw-00001\.tar"):
                run(tmp_path / name, decontaminate=sets)
            (tmp_path / "away.tar").rename(tar)
            monkeypatch.setattr("pipeline.sharding.evaluation.decontaminating.describe_unit", read_once)
        run(tmp_path / name, workers=2 if name == "two" else 1, decontaminate=sets[::-1] if name == "two" else sets)
    made = [
        {
            path.name: path.read_bytes()
            for pattern in ("0*", "card/*")
            for path in (tmp_path / name / "shards").glob(pattern)
        }
        for name in ("one", "two", "broken")
    ]
    assert {"00000.tar", "decontamination.json"} <= set(made[0])
    assert made[0] == made[1] == made[2]


def test_other_content_of_a_set_is_another_output_and_another_place_is_not(tmp_path):
    write_raw(tmp_path, READABLE)
    sets = write_evaluation(tmp_path)["decontaminate"]
    run(tmp_path, decontaminate=sets)
    (tmp_path / "eval").rename(tmp_path / "moved")
    moved = (sets[0], f"one={tmp_path / 'moved'}")
    run(tmp_path, decontaminate=moved)
    for other in (sets[:1], (sets[0], f"another={tmp_path / 'moved'}")):
        with pytest.raises(StageMismatch, match="evaluation set"):
            run(tmp_path, decontaminate=other)
    (tmp_path / "moved" / "deep" / "0.png").write_bytes(encode(PICTURES[9], "PNG"))
    with pytest.raises(StageMismatch, match="evaluation set one"):
        run(tmp_path, decontaminate=moved)


def test_a_set_without_a_readable_image_is_an_error_and_takes_out_nothing_in_silence(tmp_path):
    write_raw(tmp_path, READABLE)
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "broken.jpg").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"write-shards: decontaminate: one: no image in .* could be read"):
        run(tmp_path, decontaminate=(f"one={tmp_path / 'eval'}",))
    with pytest.raises(FileNotFoundError, match="decontaminate: one: no such file or folder"):
        run(tmp_path, decontaminate=(f"one={tmp_path / 'nowhere'}",))


def test_evaluation_images_are_cut_as_the_stored_ones_were(tmp_path):
    wide = [Image.fromarray(np.hstack([np.asarray(photograph(seed, 300))] * 2)) for seed in range(3)]
    options = {"resize_mode": "center_crop", "image_size": 100}
    samples = [(f"http://a.example/{number}", encode(one, quality=70), f"{number}") for number, one in enumerate(wide)]
    small = ("http://a.example/small", encode(wide[1].resize((120, 60)), quality=90), "too small to be cut")
    write_raw(tmp_path, [*samples, small], **options)
    (tmp_path / "eval").mkdir()
    for number in range(2):
        (tmp_path / "eval" / f"{number}.png").write_bytes(encode(wide[number], "PNG"))
    run(tmp_path, decontaminate=(f"one={tmp_path / 'eval'}",), near_duplicates="keep")
    assert captions_of(tmp_path / "shards") == ["2"]


@pytest.mark.parametrize("workers", [1, 2])
def test_of_a_caption_as_many_samples_stay_as_asked(tmp_path, workers):
    texts = ["A logo", "a logo!", "A  LOGO", "a dog", "LOGO", "logo."]
    samples = [(f"http://a.example/{place}", encode(PICTURES[place]), text) for place, text in enumerate(texts)]
    write_raw(tmp_path, samples, a_tar=2)
    counts = run(tmp_path, workers=workers, max_caption_repeats=1)
    left = [text.lower().strip("!.").replace("  ", " ") for text in captions_of(tmp_path / "shards")]
    assert sorted(left) == ["a dog", "a logo", "logo"]
    assert counts["samples/drop/repeated_text"] == 3


def test_what_left_before_takes_no_place_of_a_caption(tmp_path):
    samples = [(f"http://a.example/{place}", encode(PICTURES[place]), "logo") for place in range(6)]
    write_raw(tmp_path, samples)
    (tmp_path / "eval").mkdir()
    for place in range(5):
        (tmp_path / "eval" / f"{place}.jpg").write_bytes(samples[place][1])
    counts = run(tmp_path, max_caption_repeats=1, decontaminate=(f"one={tmp_path / 'eval'}",))
    assert (counts["samples/drop/contaminated"], counts["samples/kept"]) == (5, 1)
    assert "samples/drop/repeated_text" not in counts


@pytest.mark.parametrize("duplicates", ["keep", "pair", "image"])
def test_of_a_pair_that_two_rounds_fetched_one_sample_stays_whatever_is_done_with_duplicates(tmp_path, duplicates):
    one = [(f"http://a.example/{place}", encode(PICTURES[place]), f"text {place}") for place in range(4)]
    other_image = ("http://a.example/2", encode(PICTURES[9]), "text 2")
    two = [*one[:2], other_image, ("http://a.example/9", encode(PICTURES[7]), "text 9")]
    write_raw(tmp_path, one, "raw-1")
    write_raw(tmp_path, two, "raw-2")
    raws = (str(tmp_path / "raw-1"), str(tmp_path / "raw-2"))
    counts = run(tmp_path, raw=raws, duplicates=duplicates)
    assert (counts["samples/kept"], counts["samples/drop/duplicate_pair"]) == (5, 3)
    index = pa.concat_tables([read_table(str(path)) for path in sorted((tmp_path / "shards").glob("0*.parquet"))])
    assert index["key"].to_pylist() == sorted({pair_id(url, text).hex() for url, _, text in [*one, *two]})
    [kept] = [row["sha256"] for row in index.to_pylist() if row["caption"] == "text 2"]
    assert kept == min(hashlib.sha256(image).hexdigest() for _, image, _ in (one[2], other_image))
    backwards = run(tmp_path, raw=raws[::-1], duplicates=duplicates, output=str(tmp_path / "again"))
    assert backwards == counts
    for path in (tmp_path / "shards").glob("0*"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_samples_are_chosen_by_bytes_and_shape(tmp_path):
    shapes = [(96, 96), (96, 31), (30, 96), (96, 32)]
    samples = [
        (f"http://a.example/{place}", encode(PICTURES[place].resize(shape), quality=95), f"{place}")
        for place, shape in enumerate(shapes)
    ]
    write_raw(tmp_path, samples, min_side_px=1)
    sizes = {
        row["text"]: row["bytes"] for row in read_table(str(tmp_path / "raw" / "raw-00000.index.parquet")).to_pylist()
    }
    counts = run(tmp_path, where=f"aspect <= 3 and bytes > {sizes['3']}", near_duplicates="keep")
    assert captions_of(tmp_path / "shards") == ["0"]
    assert counts["samples/drop/refused_row"] == 3
    run(tmp_path, where="aspect <= 3", output=str(tmp_path / "wide"))
    assert captions_of(tmp_path / "wide") == ["0", "3"]
