"""Evaluation sets are read in whatever form they lie about, and what is no image is told apart from what is damaged."""

import io
import tarfile
import zipfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.pixels.looks import LOOKS_BYTES
from pipeline.sharding.evaluation import sources as evaluation_sources
from pipeline.sharding.evaluation.readers import read_unit
from pipeline.sharding.evaluation.sources import (
    EvaluationSet,
    Form,
    cut_units,
    list_sources,
    parse_sets,
    read_sources,
    stamp_set,
    write_sources,
)


def image_file(seed, kind="JPEG"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 40)).save(buffer, kind)
    return buffer.getvalue()


FILES = {f"{number}.jpg": image_file(number) for number in range(7)}


def read(path, name="set"):
    """Names and contents of all that is found, in order."""
    sources = list_sources([EvaluationSet(name, str(path))])
    return [found for unit in cut_units(sources) for _, found in read_unit(unit, sources)]


def images(path):
    return {found.image for found in read(path) if found.image is not None}


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=3)


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
AS_STRUCTS = [{"bytes": data, "path": name} for name, data in FILES.items()]


def write_folder(folder):
    for number, (name, data) in enumerate(FILES.items()):
        place = folder / "deep" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


FORMS = {
    "folder": write_folder,
    "tar": lambda folder: write_tar(folder / "a.tar", FILES),
    "tgz": lambda folder: write_tar(folder / "a.tar.gz", FILES, "w:gz"),
    "zip": lambda folder: write_zip(folder / "a.zip", FILES),
    "bytes": lambda folder: write_parquet(folder / "a.parquet", label=[*range(7)], jpg=[*FILES.values()]),
    "large bytes": lambda folder: write_parquet(
        folder / "a.parquet", jpg=pa.array([*FILES.values()], pa.large_binary())
    ),
    "structs": lambda folder: write_parquet(
        folder / "a.parquet", label=[*range(7)], image=pa.array(AS_STRUCTS, STRUCT)
    ),
    "lists of structs": lambda folder: write_parquet(
        folder / "a.parquet", images=pa.array([AS_STRUCTS[:3], None, [], AS_STRUCTS[3:]], pa.list_(STRUCT))
    ),
    "two columns": lambda folder: write_parquet(
        folder / "a.parquet",
        left=pa.array([*AS_STRUCTS[:4]], STRUCT),
        right=pa.array([*AS_STRUCTS[4:], None], STRUCT),
        mask=[b"none"] * 4,
    ),
}


@pytest.mark.parametrize("unit_bytes", [1 << 28, 2000])
@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_all_images_are_found_in_every_form_whole_or_in_parts(tmp_path, monkeypatch, write, unit_bytes):
    monkeypatch.setattr(evaluation_sources, "_BYTES_A_UNIT", unit_bytes)
    monkeypatch.setattr(evaluation_sources, "_IMAGES_A_UNIT", 3)
    write(tmp_path)
    found = read(tmp_path)
    assert sorted(one.image for one in found) == sorted(FILES.values())
    assert len({one.name for one in found}) == len(FILES)
    if (tmp_path / "a.parquet").exists():
        assert images(tmp_path / "a.parquet") == set(FILES.values())


def test_labels_beside_images_are_no_images_and_what_should_be_one_is_not_passed_over(tmp_path):
    members = {"1.jpg": FILES["1.jpg"], "1.txt": b"a cat", "1.json": b"{}", "2.png": b"<html>", "._3.jpg": b"Mac"}
    write_tar(tmp_path / "a.tar", members)
    for name, data in {**members, "_DSC1.JPG": FILES["2.jpg"], "README": b"words"}.items():
        (tmp_path / name).write_bytes(data)
    found = read(tmp_path)
    assert sorted(one.name for one in found if one.image is None) == [
        "1.json", "1.txt", "README", "a.tar/1.json", "a.tar/1.txt",
    ]  # fmt: skip
    assert sorted(one.image for one in found if one.image is not None) == sorted(
        [FILES["1.jpg"]] * 2 + [b"<html>"] * 2 + [FILES["2.jpg"]]
    )


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_sets_may_lie_in_a_store(tmp_path, write):
    write(tmp_path)
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/", "/evaluation/", recursive=True)
    try:
        here, there = (EvaluationSet("a", place) for place in (str(tmp_path), "memory://evaluation"))
        assert [(one.name, one.image) for one in read("memory://evaluation")] == [
            (one.name, one.image) for one in read(tmp_path)
        ]
        assert stamp_set(here) == stamp_set(there)
    finally:
        store.rm("/evaluation", recursive=True)


def test_in_a_folder_tables_without_images_are_passed_over_and_so_are_hashes_beside_images(tmp_path):
    write_parquet(tmp_path / "labels.parquet", label=[1])
    write_parquet(tmp_path / "index.parquet", sha256=[bytes(32)])
    assert [(one.name, bool(one.hashes)) for one in read(tmp_path)] == [
        ("index.parquet/0", True),
        ("labels.parquet", False),
    ]
    write_tar(tmp_path / "a.tar", {"1.jpg": FILES["1.jpg"]})
    assert [(one.name, bool(one.image), bool(one.hashes)) for one in read(tmp_path)] == [
        ("a.tar/1.jpg", True, False),
        ("index.parquet", False, False),
        ("labels.parquet", False, False),
    ]


def test_a_single_image_is_a_set_whatever_it_is_called(tmp_path):
    (tmp_path / "picture").write_bytes(FILES["1.jpg"])
    assert images(tmp_path / "picture") == {FILES["1.jpg"]}


def test_hashes_are_read_from_texts_and_tables(tmp_path):
    digest, looks = bytes(range(32)), bytes(range(LOOKS_BYTES))
    text = f"# remark\n{digest.hex().upper()}  cat.jpg\n\nffffffffffffffff # all ones\n{looks.hex()}\n"
    (tmp_path / "list.txt").write_text(text)
    assert [one.hashes for one in read(tmp_path / "list.txt")] == [
        {"sha256": digest},
        {"phash": -1},
        {"looks": looks},
    ]
    write_parquet(tmp_path / "a.parquet", sha256=[digest.hex(), None], phash=pa.array([2**64 - 1, None], pa.uint64()))
    assert [one.hashes for one in read(tmp_path / "a.parquet")] == [{"sha256": digest, "phash": -1}]
    write_parquet(tmp_path / "b.parquet", sha256=[digest], phash=[-1], looks=pa.array([looks], pa.binary(LOOKS_BYTES)))
    assert [one.hashes for one in read(tmp_path / "b.parquet")] == [{"sha256": digest, "phash": -1, "looks": looks}]


def wrong_length(path):
    write_parquet(path / "a.parquet", sha256=[b"short"])
    return path / "a.parquet"


def no_columns(path):
    write_parquet(path / "a.parquet", caption=["a"], mask=[b"no image"])
    return path / "a.parquet"


def text_with(line):
    def write(path):
        (path / "list.txt").write_text(f"{bytes(32).hex()}\n{line}\n")
        return path / "list.txt"

    return write


def binary(path):
    (path / "a.npy").write_bytes(b"\x93NUMPY" + bytes([255, 254, 0]))
    return path / "a.npy"


def only_words(path):
    (path / "words.txt").write_text("a")
    return path


def not_parquet(path):
    (path / "a.parquet").write_bytes(b"PAR1")
    return path


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (no_columns, "no column of image bytes.*caption, mask"),
        (text_with("0" * 32), "line 2: '0*' is none of sha256"),
        (text_with("words"), "line 2: 'words'"),
        (binary, "neither an image"),
        (only_words, "no image, tar or table"),
        (not_parquet, "a.parquet|Parquet"),
        (lambda path: path / "nowhere", "no such file"),
    ],
    ids=["table", "md5", "text", "binary", "no image", "damaged table", "nothing there"],
)
def test_what_is_no_evaluation_set_is_told_before_anything_is_read(tmp_path, write, message):
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s)write-shards: decontaminate: coco: .*({message})"):
        list_sources([EvaluationSet("coco", str(write(tmp_path)))])


def cut_tar(path):
    write_tar(path, FILES)
    path.write_bytes(path.read_bytes()[:5000])


def broken_header(path):
    write_tar(path, FILES)
    data = bytearray(path.read_bytes())
    start = data.index(b"3.jpg")
    data[start : start + 100] = bytes(100)
    path.write_bytes(data)


def cut_gzip(path):
    write_tar(path, FILES, "w:gz")
    path.write_bytes(path.read_bytes()[:-900])


def cut_zip(path):
    write_zip(path, FILES)
    data = path.read_bytes()
    path.write_bytes(data[:300] + b"x" * 100 + data[400:])


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.tar", cut_tar), ("b.tar", broken_header), ("c.tar.gz", cut_gzip), ("d.zip", cut_zip)],
    ids=["cut tar", "header", "cut gzip", "zip"],
)
def test_a_damaged_archive_is_an_error_and_no_smaller_set(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=f"decontaminate: .*{name} is damaged"):
        read(tmp_path)


def test_a_wrong_hash_in_a_table_names_file_and_row(tmp_path):
    with pytest.raises(ValueError, match=r"a\.parquet: row 0: sha256 of 5 bytes, not 32"):
        read(wrong_length(tmp_path))


@pytest.mark.parametrize("asked", ["coco", "=path", "coco=", "a/b=path", "a b=path"])
def test_a_set_needs_a_name_and_a_path(asked):
    with pytest.raises(ValueError, match=r"write-shards: decontaminate: .*NAME=PATH"):
        parse_sets([asked])


@pytest.mark.parametrize("asked", [["a=x", "a=y"], ["a=x", "b=x"]])
def test_a_name_or_a_path_that_comes_twice_is_refused(asked):
    with pytest.raises(ValueError, match="given twice"):
        parse_sets(asked)


def test_sets_are_in_the_order_of_their_names():
    assert [one.name for one in parse_sets(["b=x", "a=y"])] == ["a", "b"]


def test_the_list_of_files_survives_being_written(tmp_path):
    write_folder(tmp_path)
    write_parquet(tmp_path / "a.parquet", jpg=[*FILES.values()])
    sources = list_sources([EvaluationSet("a", str(tmp_path))])
    write_sources(str(tmp_path / "list.json"), sources)
    assert read_sources(str(tmp_path / "list.json")) == sources
    assert sources[0].form is Form.TABLE


def test_a_stamp_tells_a_changed_a_renamed_and_a_new_file_and_not_another_folder(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        write_folder(folder)
    assert stamp_set(EvaluationSet("a", str(one))) == stamp_set(EvaluationSet("a", str(other)))
    stamps = [stamp_set(EvaluationSet("a", str(one))), stamp_set(EvaluationSet("b", str(one)))]
    picture = other / "deep" / "0" / "0.jpg"
    picture.write_bytes(picture.read_bytes()[:-2] + b"\xff\xd8")
    stamps.append(stamp_set(EvaluationSet("a", str(other))))
    picture.rename(picture.with_name("new.jpg"))
    stamps.append(stamp_set(EvaluationSet("a", str(other))))
    (other / "more.jpg").write_bytes(FILES["1.jpg"])
    stamps.append(stamp_set(EvaluationSet("a", str(other))))
    assert len({stamp["digest"] + stamp["name"] for stamp in stamps}) == len(stamps)


def test_units_hold_images_of_one_set(monkeypatch):
    monkeypatch.setattr(evaluation_sources, "_IMAGES_A_UNIT", 2)
    image, tar = ((form, 1, ()) for form in (Form.IMAGE, Form.TAR))
    forms = [(0, image), (0, image), (0, image), (0, tar), (1, image), (1, image)]
    sources = [
        evaluation_sources.Source(number, f"{place}", f"{place}", *rest) for place, (number, rest) in enumerate(forms)
    ]
    sources[3] = sources[3]._replace(parts=2)
    spans = [(unit.first, unit.last, unit.part) for unit in cut_units(sources)]
    assert spans == [(0, 2, 0), (2, 3, 0), (3, 4, 0), (3, 4, 1), (4, 6, 0)]
