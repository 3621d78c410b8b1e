"""Blurred faces: nothing of a box is left but some mean colours, the rest of the picture and of the file stays."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.base.folders import StageFolder
from pipeline.base.shard_format import IMAGE_SUFFIXES
from pipeline.base.tables import write_table
from pipeline.base.tar import list_members
from pipeline.fetching.raw import encode_sample
from pipeline.pixels.image_headers import read_header
from pipeline.sharding.forms import FORMS
from pipeline.sharding.packing.blurring import blur_boxes, blur_image, enlarge_box
from pipeline.sharding.packing.face_boxes import (
    _RECORD,
    BOXES_FIELD,
    _table_records,
    box_tables,
    find_boxes,
    read_face_folder,
)
from pipeline.sharding.packing.samples import Rewriting, size_of_image, with_blurred

FACE = [0.375, 0.25, 0.625, 0.75, 1.0]  # exact as float32


def noise(width=120, height=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(pixels, suffix, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, **options)
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def outside(box, pixels):
    left, top, right, bottom = enlarge_box(box, pixels.shape[1::-1])
    mask = np.ones(pixels.shape[:2], bool)
    mask[top:bottom, left:right] = False
    return mask


def test_what_is_around_the_enlarged_box_stays_and_what_is_in_it_does_not():
    picture = noise()
    blurred = blur_boxes(picture, [FACE])
    around = outside(FACE, picture)
    np.testing.assert_array_equal(blurred[around], picture[around])
    left, top, right, bottom = enlarge_box(FACE, (120, 80))
    assert (left, top, right, bottom) == (35, 10, 85, 70)
    assert np.abs(blurred[top:bottom, left:right].astype(int) - picture[top:bottom, left:right]).mean() > 40


def test_two_pictures_with_the_same_means_in_a_box_cannot_be_told_apart_afterwards():
    face = noise(48, 48, seed=3)
    cells = face.reshape(6, 8, 6, 8, 3).swapaxes(1, 2)
    turned = cells[:, :, ::-1, ::-1].swapaxes(1, 2).reshape(48, 48, 3)  # each cell upside down: the same mean, no face
    picture, other = noise(128, 128), noise(128, 128)
    boxes = [[0.25, 0.25, 0.5, 0.5, 1]]
    assert enlarge_box(boxes[0], (128, 128)) == (24, 24, 72, 72)
    picture[24:72, 24:72], other[24:72, 24:72] = face, turned
    np.testing.assert_array_equal(blur_boxes(picture, boxes), blur_boxes(other, boxes))
    assert (picture != other).any()


@pytest.mark.parametrize(
    "box",
    [[-1, -1, 2, 2], [0.99, 0.99, 1, 1], [0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.21, 0.9], [0, 0, 1e-3, 1e-3], [2, 2, 3, 3]],
    ids=["all", "corner", "a point", "a line", "less than a pixel", "outside"],
)
def test_boxes_of_any_shape_are_blurred_as_far_as_they_lie_in_the_picture(box):
    picture = noise()
    blurred = blur_boxes(picture, [box])
    assert blurred.shape == picture.shape
    around = outside(box, picture)
    np.testing.assert_array_equal(blurred[around], picture[around])
    if (~around).sum() > 1:
        inside = blurred[~around].astype(int) - picture[~around]
        assert np.abs(inside).max() > 0


@pytest.mark.parametrize("mime", IMAGE_SUFFIXES)
def test_the_image_keeps_its_format_and_its_size(mime):
    name = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF"}.get(mime)
    name = name or {"image/avif": "AVIF", "image/bmp": "BMP"}[mime]
    flat = np.full((80, 120, 3), 200, np.uint8)
    flat[24:56, 48:72] = noise(24, 32)
    blurred = blur_image(encoded(flat, name), [FACE], quality=95)
    header = read_header(blurred)
    assert (header.mime, header.width, header.height) == (mime, 120, 80)
    pixels = decoded(blurred).astype(int)
    around = outside(FACE, flat)
    assert np.abs(pixels[around] - 200).max() < 40 and np.abs(pixels[around] - 200).mean() < 2
    assert np.abs(pixels[24:56, 48:72] - flat[24:56, 48:72]).mean() > 30
    assert blur_image(encoded(flat, name), [FACE], quality=95) == blurred


def test_an_image_that_lies_on_its_side_is_blurred_where_its_face_is_and_stands_up():
    pixels = noise()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    source = encoded(pixels, "PNG", exif=exif)
    blurred = decoded(blur_image(source, [FACE], quality=95))
    np.testing.assert_array_equal(blurred, blur_boxes(pixels, [FACE]).transpose(1, 0, 2)[:, ::-1])


def test_gray_and_clear_pictures_and_those_of_several_frames_are_blurred_too():
    gray = encoded(noise()[:, :, 0], "JPEG")
    assert decoded(blur_image(gray, [FACE], quality=95)).shape == (80, 120, 3)
    clear = encoded(np.dstack([noise(), np.full((80, 120), 128, np.uint8)]), "PNG")
    assert decoded(blur_image(clear, [FACE], quality=95)).shape == (80, 120, 3)
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(blur_image(file.getvalue(), [FACE], quality=95))).n_frames == 1


def rewritten(image, boxes, *, quality=95, form="wit400m"):
    """The members of a sample after `Rewriting`, by name."""
    told = {"key": "ab", "width": 120}
    members = encode_sample("ab", image=image, mime="image/jpeg", text="a text", provenance=told)
    rewriting = Rewriting(FORMS[form], blur_quality=quality)
    rows = pa.table({"key": ["ab"], "boxes": pa.array([boxes], BOXES_FIELD.type), "bytes": pa.array([1], pa.int32())})
    [change] = rewriting.changes(rows, ["cd"])
    made = rewriting.rewrite(memoryview(members), change)
    found = {member.name: made[member.data : member.data + member.size] for member in list_members(made)}
    assert size_of_image(made) == len(found["cd.jpg"])
    [row] = with_blurred(rows, [size_of_image(made)]).to_pylist()
    assert (row["bytes"], row["faces_blurred"]) == (len(found["cd.jpg"]), len(boxes or ()))
    return found


def test_a_sample_without_faces_keeps_its_image_and_says_so():
    source = encoded(noise(), "JPEG")
    for boxes in ([], None):
        members = rewritten(source, boxes)
        assert members["cd.jpg"] == source and members["cd.txt"] == b"a text"
        assert json.loads(members["cd.json"]) == {"key": "ab", "width": 120, "faces_blurred": 0}


def test_a_sample_with_faces_has_another_image_of_the_quality_asked_for():
    source, sizes = encoded(noise(), "JPEG", quality=95), []
    for quality in (95, 50):
        members = rewritten(source, [FACE, FACE], quality=quality)
        assert list(members) == ["cd.jpg", "cd.json", "cd.txt"]
        assert json.loads(members["cd.json"])["faces_blurred"] == 2
        assert members["cd.jpg"] == blur_image(source, [FACE, FACE], quality=quality)
        sizes.append(len(members["cd.jpg"]))
    assert sizes[1] < 0.6 * sizes[0]


def test_faces_are_blurred_in_forms_without_json_too():
    source = encoded(noise(), "JPEG")
    members = rewritten(source, [FACE], form="open_clip")
    assert list(members) == ["cd.jpg", "cd.txt"] and members["cd.jpg"] == blur_image(source, [FACE], quality=95)


def test_a_face_in_an_image_that_cannot_be_decoded_is_no_reason_to_let_it_pass():
    for source in (encoded(noise(), "JPEG")[:500], b"no image"):
        with pytest.raises(ValueError, match=r"ab\.jpg has faces to blur, but cannot be decoded"):
            rewritten(source, [FACE])


KEYS = [f"{number:032x}" for number in (5, 1 << 100, 7)]


def write_boxes_table(path, keys, boxes, kind=None):
    table = pa.table({"key": keys, "boxes": pa.array(boxes, kind or pa.list_(pa.list_(pa.float32())))})
    write_table(str(path), table, table.schema)
    return str(path)


def test_samples_get_the_boxes_of_all_tables_that_tell_of_them(tmp_path):
    first = _table_records(write_boxes_table(tmp_path / "a.parquet", KEYS[:2], [[FACE, [0, 0, 1, 1, 0.5]], []]))
    second = _table_records(write_boxes_table(tmp_path / "b.parquet", KEYS[1:2], [[FACE]]))
    samples = np.zeros(3, _RECORD)
    samples["key"] = [[0, 5], [1 << 36, 0], [0, 7]]
    samples["unit"], samples["row"] = [1, 2, 2], [4, 0, 9]
    parts = [part.tobytes() for part in (second, samples[:2], first, samples[2:])]
    found = {unit: np.frombuffer(data, _RECORD) for unit, data in find_boxes(parts)}
    assert found.keys() == {1, 2}
    assert found[1]["row"].tolist() == [4] * 3 and np.isnan(found[1]["box"]).all(axis=1).sum() == 1
    assert found[2]["row"].tolist() == [0] * 3 and np.isnan(found[2]["box"]).all(axis=1).sum() == 2


@pytest.mark.parametrize(
    ("keys", "boxes", "kind"),
    [
        (["short"], [[FACE]], None),
        (KEYS[:1], [[FACE[:4]]], None),
        (KEYS[:1], [[[0, 0, 1, float("nan"), 0.5]]], None),
        (KEYS[:2], [[FACE[:4]], [[*FACE, 1.0]]], None),
    ],
    ids=["key", "four numbers", "nan", "four and six"],
)
def test_what_are_no_boxes_is_told_with_the_table(tmp_path, keys, boxes, kind):
    path = write_boxes_table(tmp_path / "a.parquet", keys, boxes, kind)
    with pytest.raises(ValueError, match=r"a\.parquet: no boxes of samples that write-shards wrote"):
        _table_records(path)


def test_a_folder_of_boxes_must_be_finished_and_hold_some(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished boxes in"):
        read_face_folder(str(tmp_path))
    (tmp_path / "scores.json").write_text('{"rows": {"00000": 1}, "identity": {}}')
    table = pa.table({"key": KEYS[:1], "score": pa.array([0.5], pa.float32())})
    write_table(StageFolder(str(tmp_path)).table("00000"), table, table.schema)
    with pytest.raises(ValueError, match=r"blur-faces: .*its tables hold no boxes"):
        read_face_folder(str(tmp_path))
    write_boxes_table(tmp_path / "00000.parquet", KEYS[:1], [[FACE]])
    assert read_face_folder(f"{tmp_path}/") == f"{tmp_path}/scores.json"
    assert [tables.paths for tables in box_tables(str(tmp_path))] == [(f"{tmp_path}/00000.parquet",)]
