"""Labelled images wherever they lie: folders, tars, tables."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_train.errors import InputError
from clip_train.evaluate.labelled import LabelFields, parse_classes, read_labelled

CLASSES = parse_classes(["cat", "n7\tdog", "2020"])


def write_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def classes_of(path, **changes):
    fields = LabelFields(**changes)
    return [(image.load(), image.class_index) for image in read_labelled(str(path), CLASSES, fields)]


@pytest.mark.parametrize(
    ("label", "index"),
    [("cat", 0), ("n7", 1), (1, 1), ("1", 1), ("2020", 2), (2020, 2)],
    ids=["name", "label", "number", "digits", "name of digits", "name as a number"],
)
def test_a_label_is_the_datas_name_or_a_number_in_the_list(tmp_path, label, index):
    write_tar(tmp_path / "a.tar", [("s.jpg", b"image"), ("s.json", json.dumps({"class": label}).encode())])
    assert classes_of(tmp_path / "a.tar") == [(b"image", index)]


def test_the_json_of_a_sample_goes_before_its_cls_member_and_that_before_its_folder(tmp_path):
    folder, cls = "n7/", [("n7/b.cls", b"0\n"), ("n7/b.jpg", b"2")]
    write_tar(
        tmp_path / "a.tar",
        [
            (folder + "a.jpg", b"1"),
            *cls,
            (folder + "c.jpg", b"3"),
            (folder + "c.json", b'{"class": "2020"}'),
            (folder + "c.cls", b"0"),
            (folder + "d.jpg", b"4"),
            (folder + "d.json", b"{broken"),
        ],
    )
    assert classes_of(tmp_path) == [(b"1", 1), (b"2", 0), (b"3", 2), (b"4", 1)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_rows_of_tables_name_an_image_and_a_class(tmp_path, suffix):
    table = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"file": ["x.jpg", "y.jpg"], "kind": ["cat", "2020"]}), table)
    else:
        comma = "," if suffix == "csv" else "\t"
        table.write_text(f"kind{comma}file\ncat{comma}x.jpg\n2020{comma}y.jpg\n")
    found = classes_of(table, image_column="file", class_column="kind")
    assert found == [(str(tmp_path / "x.jpg"), 0), (str(tmp_path / "y.jpg"), 2)]


def test_parquet_may_hold_the_images_themselves(tmp_path):
    plain = pa.table({"image": [b"one"], "class": [1]})
    nested = pa.table(
        {"image": [{"bytes": b"two", "path": "x.jpg"}, {"bytes": None, "path": "y.jpg"}], "class": [0, 1]}
    )
    pq.write_table(plain, tmp_path / "plain.parquet")
    pq.write_table(nested, tmp_path / "nested.parquet")
    assert classes_of(tmp_path / "plain.parquet") == [(b"one", 1)]
    assert classes_of(tmp_path / "nested.parquet") == [(b"two", 0), (str(tmp_path / "y.jpg"), 1)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("s.jpg", b"")], "no 'class' in its JSON, no .cls member and no folder"),
        ([("s.jpg", b""), ("s.json", b'{"class": "horse"}')], "'horse', which is not among the classes"),
        ([("s.jpg", b""), ("s.cls", b"3")], "'3', which is not among the classes"),
        ([("s.txt", b"")], "no samples"),
    ],
    ids=["no label", "unknown name", "number too large", "no image"],
)
def test_tars_without_known_classes_are_refused(tmp_path, members, message):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=message):
        classes_of(tmp_path / "a.tar")


@pytest.mark.parametrize("image", [None, 5], ids=["nothing", "a number"])
def test_rows_without_an_image_are_refused(tmp_path, image):
    pq.write_table(pa.table({"image": [image], "class": ["cat"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="row 0: 'image' holds neither a path nor an image"):
        classes_of(tmp_path / "t.parquet")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="no class folders with images"):
        classes_of(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        classes_of(tmp_path / "elsewhere")
