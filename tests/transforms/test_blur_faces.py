"""Faces blurred on the way into shards: joined by key, counted, the same bytes every time, and indexes stay true."""

import hashlib
import io
import json
import tarfile
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from clip_train.__main__ import main as clip_train
from clip_train.commands import flag
from clip_train.use.shard_features import ImageMeasure
from jobs.dry_run import plan_steps
from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.ids import pair_id
from pipeline.base.lineage import read_stage
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.shard_format import SAMPLE_JSON_KEYS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import list_members
from pipeline.fetching.raw import encode_sample
from pipeline.sharding.finished.exporting import write_list
from pipeline.sharding.finished.verifying import verify_shard
from pipeline.sharding.forms import form_of
from pipeline.sharding.packing.blurring import blur_image, enlarge_box
from pipeline.sharding.stage import WriteShards

FACES = {
    3: [[0.25, 0.25, 0.5, 0.5, 0.9]],
    7: [[0, 0, 0.2, 0.2, 0.8], [0.5, 0.5, 0.9, 0.9, 0.7]],
    8: [[0.1, 0.1, 0.3, 0.3, 1]],
}
NUM_SAMPLES = 12


def url_of(number):
    return f"http://h{number % 3}.example/{number}"


KEYS = [pair_id(url_of(number), f"text {number}").hex() for number in range(NUM_SAMPLES)]


def image_of(number):
    pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if number % 4 == 3 else "JPEG", quality=90)
    return file.getvalue()


def close(folder, stage, made_from):
    close_folder(
        str(folder),
        identity={"stage": stage, "options": {}},
        counts={},
        outputs=[{"name": str(folder)}],
        made_from=[str(one) for one in made_from],
    )


def write_raw(folder: Path):
    """Two raw tars of pictures as fetch-images leaves them."""
    cuts = pa.table({"query_id": [0], "query": ["thing"], "count": [99], "cut": [None], "kept": [99]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    close(folder / "balanced", "balance-pairs", [])
    for tar in range(2):
        rows, data = [], b""
        for key, number in sorted((KEYS[number], number) for number in range(tar, NUM_SAMPLES, 2)):
            image, text = image_of(number), f"text {number}"
            mime = "image/png" if number % 4 == 3 else "image/jpeg"
            sizes = {"width": 64, "height": 48, "original_width": 64, "original_height": 48}
            told = dict.fromkeys(SAMPLE_JSON_KEYS, "") | sizes | {"key": key, "uid": key, "caption": text}
            told |= {"url": url_of(number), "sha256": hashlib.sha256(image).hexdigest()}
            told |= {"phash": f"{1:016x}", "queries": ["thing"], "kept_for": ["thing"], "keep_probability": 1.0}
            sample = encode_sample(key, image=image, mime=mime, text=text, provenance=told)
            row = dict.fromkeys(RAW_INDEX.names) | sizes
            row |= {"pair_id": bytes.fromhex(key), "key": key, "status": "ok", "offset": len(data)}
            row |= {"length": len(sample), "sha256": hashlib.sha256(image).digest(), "phash": 1, "mime": mime}
            row |= {
                "bytes": len(image),
                "image_url": url_of(number),
                "text": text,
                "text_source": "",
                "source_file": "",
            }
            row |= {"query_ids": [0], "kept_for": [0], "keep_probability": 1.0}
            rows.append(row)
            data += sample
        files.write_bytes_whole(str(folder / "raw" / f"raw-{tar:05d}.tar"), data)
        index = pa.Table.from_pylist(rows, RAW_INDEX)
        write_table(str(folder / "raw" / f"raw-{tar:05d}.index.parquet"), index, RAW_INDEX)
    close(folder / "raw", "fetch-images", [folder / "balanced"])


def write_boxes(folder: Path, numbers=range(NUM_SAMPLES)):
    """A folder as `clip_train flag --faces` leaves it."""
    numbers = list(numbers)
    columns = {
        "key": [KEYS[number] for number in numbers],
        "faces": pa.array([len(FACES.get(number, [])) for number in numbers], pa.float32()),
        "boxes": pa.array([FACES.get(number, []) for number in numbers], pa.list_(pa.list_(pa.float32()))),
    }
    table = pa.table(columns)
    half = len(numbers) // 2
    for name, part in (("raw-00000", table[:half]), ("raw-00001", table[half:])):
        write_table(str(folder / f"{name}.parquet"), part, part.schema)
    closing = {"rows": {"raw-00000": half, "raw-00001": len(numbers) - half}, "identity": {"faces": len(numbers)}}
    files.write_json(str(folder / "scores.json"), closing)


def stage_for(folder: Path, **options):
    given = {"raw": (str(folder / "raw"),), "balanced": str(folder / "balanced"), "output": str(folder / "shards")}
    return WriteShards(**(given | {"max_samples": 5, "min_shards": 1} | options))


def samples_in(folder: Path):
    """(suffix of the image, its bytes, JSON) by key."""
    found = {}
    for path in sorted((folder / "shards").glob("0*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name, data in members.items():
            key, suffix = name.split(".")
            if suffix in ("jpg", "png"):
                found[key] = suffix, data, json.loads(members[f"{key}.json"])
    return found


def make_world(folder):
    write_raw(folder)
    write_boxes(folder / "faces")
    return folder


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


QUALITY = 60


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder whose shards are made."""
    folder = make_world(tmp_path_factory.mktemp("done"))
    run_stage(stage_for(folder, blur_faces=str(folder / "faces"), encode_quality=QUALITY), quiet=True)
    return folder


def test_images_with_faces_are_encoded_again_and_no_others(done):
    counts = read_stage(str(done / "shards"))["counts"]
    assert (counts["faces_blurred"], counts["samples_with_faces_blurred"]) == (4, 3)
    assert counts["samples/kept"] == NUM_SAMPLES and counts["samples_not_scanned"] == 0
    samples = samples_in(done)
    assert samples.keys() == set(KEYS)
    for number, key in enumerate(KEYS):
        suffix, image, told = samples[key]
        boxes = FACES.get(number, [])
        assert suffix == ("png" if number % 4 == 3 else "jpg") and told["faces_blurred"] == len(boxes)
        source = image_of(number)
        boxes = np.unique(np.float32(boxes).reshape(-1, 5), axis=0).tolist()
        assert image == (blur_image(source, boxes, quality=QUALITY) if boxes else source)


def test_nothing_of_a_face_is_left_anywhere_in_the_set(done):
    _, image, _ = samples_in(done)[KEYS[7]]
    pixels, source = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (image, image_of(7)))
    for box in FACES[7]:
        left, top, right, bottom = enlarge_box(box, (64, 48))
        ours, theirs = (some[top:bottom, left:right].astype(float).ravel() for some in (pixels, source))
        assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.4
    for path in (done / "shards").rglob("*"):
        assert not path.is_file() or image_of(7)[100:] not in path.read_bytes()


def test_the_index_tells_where_samples_lie_how_large_images_are_and_how_many_faces_they_had(done):
    shards, samples = ShardsFolder(str(done / "shards")), samples_in(done)
    manifest = files.read_json(shards.manifest)
    for entry in manifest["shards"]:
        tar = Path(shards.file(entry["name"])).read_bytes()
        for row in read_table(shards.index(entry["name"])).to_pylist():
            members = list_members(tar[row["offset"] : row["offset"] + row["length"]])
            assert [member.name.partition(".")[0] for member in members] == [row["key"]] * 3
            _, image, told = samples[row["key"]]
            assert row["bytes"] == len(image) and row["faces_blurred"] == told["faces_blurred"]
            assert (row["width"], row["height"]) == Image.open(io.BytesIO(image)).size
        assert verify_shard(entry, folder=shards.path, form=form_of(manifest), decode=True).problems == ()


def test_a_list_of_the_set_does_not_say_that_faces_are_blurred_in_pictures_that_are_fetched_by_it(done, tmp_path):
    shards = ShardsFolder(str(done / "shards"))
    assert sum(write_list(shards, str(tmp_path / "list.parquet"))) == NUM_SAMPLES
    assert "faces_blurred" not in read_table(str(tmp_path / "list.parquet")).column_names


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").glob("0*"))}


def test_the_bytes_are_the_same_for_any_workers_tables_and_order_of_tables(done, tmp_path):
    write_boxes(tmp_path / "again", [*reversed(range(NUM_SAMPLES)), *range(5)])  # some were looked at twice
    options = {"blur_faces": str(tmp_path / "again"), "encode_quality": QUALITY, "shards_at_once": 1}
    other = stage_for(done, output=str(tmp_path / "shards"), **options)
    run_stage(other, workers=2, quiet=True)
    assert shard_bytes(tmp_path) == shard_bytes(done)


def test_without_the_option_no_sample_says_anything_of_faces(world):
    run_stage(stage_for(world), quiet=True)
    assert not any("faces_blurred" in told for _, _, told in samples_in(world).values())
    assert "faces_blurred" not in read_table(ShardsFolder(str(world / "shards")).index("00000.tar")).column_names


def test_samples_that_nobody_looked_at_stop_the_run_unless_they_may_go_in(world):
    write_boxes(world / "some", range(9))
    with pytest.raises(ValueError, match=r"blur-faces: 3 samples are not in the tables of '.*some'.*--unscanned keep"):
        run_stage(stage_for(world, blur_faces=str(world / "some")), quiet=True)
    assert not (world / "shards" / "00000.tar").exists()
    counts = run_stage(stage_for(world, blur_faces=str(world / "some"), unscanned="keep"), overwrite=True, quiet=True)
    assert counts["samples_not_scanned"] == 3 and counts["faces_blurred"] == 4
    assert {told["faces_blurred"] for _, _, told in samples_in(world).values()} == {0, 1, 2}


def test_samples_that_are_not_wanted_need_not_have_been_looked_at(world):
    write_boxes(world / "some", range(9))
    where = " or ".join(f"caption = 'text {number}'" for number in range(9))
    counts = run_stage(stage_for(world, blur_faces=str(world / "some"), where=where), quiet=True)
    assert counts["samples/kept"] == 9 and counts["samples_not_scanned"] == 0


def test_a_run_with_other_boxes_or_another_quality_is_another_run(done, tmp_path):
    same = {"blur_faces": str(done / "faces"), "encode_quality": QUALITY}
    assert run_stage(stage_for(done, **same), quiet=True)["faces_blurred"] == 4
    write_boxes(tmp_path / "other", [*range(NUM_SAMPLES), 0])
    for options in ({}, {**same, "encode_quality": 90}, {**same, "blur_faces": str(tmp_path / "other")}):
        with pytest.raises(ValueError, match="shards"):
            run_stage(stage_for(done, **options), quiet=True)


def test_boxes_may_lie_beside_scores_that_are_chosen_by(world):
    faces = str(world / "faces")
    counts = run_stage(stage_for(world, blur_faces=faces, scores=(faces,), where="faces < 2"), quiet=True)
    assert (counts["samples/kept"], counts["faces_blurred"]) == (NUM_SAMPLES - 1, 2)


def test_what_the_trainer_flags_is_what_shards_are_chosen_and_blurred_by(world, monkeypatch):
    box = np.array([[0.25, 0.25, 0.5, 0.5, 0.9]], np.float32)
    detector = types.SimpleNamespace(measure=ImageMeasure(lambda image: box), identity={"model": "one face in each"})
    monkeypatch.setattr(flag, "load_detector", lambda given: detector)
    flags = str(world / "flags")
    given = ["--flag", "personal", "--faces", "detector.onnx", "--output", flags, "--device", "cpu"]
    assert clip_train(["flag", str(world / "raw"), *given]) == 0
    counts = run_stage(stage_for(world, blur_faces=flags, scores=(flags,), where="personal = 0"), quiet=True)
    assert counts["samples/kept"] == counts["faces_blurred"] == NUM_SAMPLES


def test_a_dry_run_tells_of_the_step(world):
    plans, is_whole = plan_steps(stage_for(world, blur_faces=str(world / "faces")))
    assert "JoinFaces" in [plan.step for plan in plans] and not is_whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unscanned": "keep"}, "unscanned and encode-quality want blur-faces"),
        ({"encode_quality": 80}, "unscanned and encode-quality want blur-faces"),
        ({"blur_faces": "x", "encode_quality": 0}, "encode-quality must be at least 1, not 0"),
        ({"blur_faces": "x", "unscanned": "drop"}, "unscanned must be one of refuse, keep, not 'drop'"),
    ],
)
def test_options_that_make_no_sense_are_refused(world, options, message):
    with pytest.raises(ValueError, match=message):
        stage_for(world, **options)
