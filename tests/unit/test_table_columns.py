"""Further columns of tables: their types, told or stated; what is read of them."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.base.carried_columns import carried_by, json_column, with_carried
from pipeline.base.schemas import BALANCED, PAIRS
from pipeline.base.tables import write_table
from pipeline.extraction.table_columns import (
    ColumnWishes,
    agree_on_types,
    guess_types,
    parse_kept,
    parse_where,
    typed_values,
)
from pipeline.extraction.url_lists import TablePart, read_url_list, table_parts, tell_columns

UIDS = [2**64 - 1, 7, None]


def wishes_of(*kept, where=""):
    return ColumnWishes(parse_kept(kept), parse_where(where))


def read(path, *kept, where="", part=None):
    wishes = wishes_of(*kept, where=where)
    columns = agree_on_types([tell_columns(str(path), wishes.names)], wishes)
    batches = list(read_url_list(str(path), **({"part": part} if part else {}), others=columns))
    rows = [row for batch in batches for row in (batch.values.to_pylist() if batch.values else batch.urls)]
    return rows, sum(batch.num_refused for batch in batches), sum(batch.num_unfit for batch in batches)


@pytest.fixture
def parquet(tmp_path):
    table = pa.table(
        {
            "url": [f"http://h.example/{n}" for n in range(3)],
            "text": ["a", "b", "c"],
            "similarity": pa.array([0.1, 0.5, None], pa.float32()),
            "uid": pa.array(
                [{"f0": n, "f1": 1} if n else None for n in UIDS], pa.struct([("f0", pa.uint64()), ("f1", pa.uint64())])
            ),
            "areas": pa.array([[[0.5, 1.0]], [], None], pa.list_(pa.list_(pa.float64()))),
            "lang": pa.array(["de", "en", "de"]).dictionary_encode(),
            "broken": pa.array([b"\xff", b"ok", None]).view(pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    return tmp_path / "a.parquet"


def test_parquet_columns_keep_their_types_and_values(parquet):
    wishes = wishes_of("similarity", "uid", "areas", "lang", "broken")
    columns = agree_on_types([tell_columns(str(parquet), wishes.names)], wishes)
    uid = pa.struct([("f0", pa.uint64()), ("f1", pa.uint64())])
    kinds = [pa.float32(), uid, pa.list_(pa.list_(pa.float64())), pa.string(), pa.string()]
    assert [field.type for field in columns.carried] == kinds
    rows, *counts = read(parquet, "uid", "areas", "lang", "broken")
    assert [row["uid"] and row["uid"]["f0"] for row in rows] == UIDS
    assert [(row["lang"], row["areas"], row["broken"]) for row in rows[:2]] == [
        ("de", [[0.5, 1.0]], "\ufffd"),
        ("en", [], "ok"),
    ]
    assert counts == [0, 0]


def test_a_condition_needs_no_kept_column_and_refused_rows_are_counted(parquet):
    assert read(parquet, where="similarity >= 0.1 and lang = 'en'") == (["http://h.example/1"], 2, 0)
    assert read(parquet, "lang=language_listed", where="similarity is null") == ([{"language_listed": "de"}], 2, 0)
    parts = table_parts(str(parquet), 1)
    assert [read(parquet, where="similarity > 0.3", part=part)[1] for part in parts] == [1, 0, 1]


LINES = (
    "url,text,score,n,ok,id,empty\nhttp://h/1,a,0.5,3,true,007,\nhttp://h/2,b,1,,False,12,\nhttp://h/3,c,oops,9,,x,\n"
)


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress], ids=["plain", "gz"])
def test_types_of_texts_are_told_from_their_values(tmp_path, compress):
    path = tmp_path / f"a.csv{'' if compress(b'x') == b'x' else '.gz'}"
    path.write_bytes(compress(LINES.encode()))
    rows, *_ = read(path, "score", "n", "ok", "id=code", "empty")
    assert rows[0] == {"score": "0.5", "n": 3, "ok": True, "code": "007", "empty": None}
    assert [row["n"] for row in rows] == [3, None, 9] and [row["ok"] for row in rows] == [True, False, None]
    assert read(path, "n", where="n >= 3 and ok") == ([{"n": 3}], 2, 0)


def test_a_value_that_is_not_of_the_type_told_from_the_first_rows_is_null_and_counted(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [f"http://h/{n}\ttext\t{n}" for n in range(10_050)]
    path.write_text("url\ttext\tn\n" + "\n".join([*rows, "http://h/x\ttext\tmany", "http://h/y\ttext\t1_0"]) + "\n")
    found, refused, unfit = read(path, "n")
    assert (found[-3:], refused, unfit) == ([{"n": 10_049}, {"n": None}, {"n": None}], 0, 2)
    parts = table_parts(str(path), 100_000)
    assert len(parts) > 1
    assert [row for part in parts for row in read(path, "n", part=part)[0]] == found


def test_columns_without_a_header_have_numbers(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a cat\thttp://h/1\t0.25\na dog\thttp://h/2\t0.75\n")
    wishes = wishes_of("2=score", where='"2" > 0.5')
    columns = agree_on_types([tell_columns(str(path), wishes.names)], wishes)
    from pipeline.extraction.url_lists import ListColumns

    [batch] = read_url_list(str(path), ListColumns(url="1", text="0"), TablePart(0, -1), others=columns)
    assert batch.values.to_pylist() == [{"score": 0.75}]


def test_json_lines_have_their_own_types(tmp_path):
    rows = [
        {"url": "http://h/1", "text": "a", "score": 1, "tags": ["x"], "mixed": 1, "big": 2**63},
        {"url": "http://h/2", "text": "b", "score": 0.5, "tags": [], "mixed": {"a": 1}},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found, *_ = read(path, "score", "tags", "mixed", "big")
    assert found == [
        {"score": 1.0, "tags": ["x"], "mixed": "1", "big": 2**63},
        {"score": 0.5, "tags": [], "mixed": '{"a": 1}', "big": None},
    ]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-2", ""], pa.int64()),
        (["1", str(2**64 - 1)], pa.uint64()),
        (["1", "2.5", "1e-3"], pa.float64()),
        (["01", "2"], pa.string()),
        (["1_000"], pa.string()),
        ([str(2**70)], pa.string()),
        (["00.5", "0"], pa.float64()),
        (["true", "False"], pa.bool_()),
        (["1", "true"], pa.string()),
        (["", None], pa.null()),
        ([1, 2.5], pa.float64()),
        ([1, "a"], pa.string()),
        ([True], pa.bool_()),
    ],
)
def test_a_type_is_the_narrowest_that_holds_all(values, type_):
    assert guess_types({"x": values}).field("x").type == type_


def test_values_become_what_their_type_is_or_null():
    assert typed_values([1.5, 2, True, "3"], pa.int64()).to_pylist() == [None, 2, None, 3]
    assert typed_values(["nan", "x"], pa.float32()).null_count == 1
    assert typed_values([["a"], 3], pa.list_(pa.string())).to_pylist() == [["a"], None]
    assert typed_values([str(2**40)], pa.int32()).to_pylist() == [None]


def tell(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, pa.DataType):
        pq.write_table(pa.table({"x": pa.array([None], content)}), path)
    else:
        path.write_text(content)
    return tell_columns(str(path), ["x"])


CSV_OF = {
    "int": "url,x\nhttp://h/1,3\n",
    "float": "url,x\nhttp://h/1,.5\n",
    "text": "url,x\nhttp://h/1,a\n",
    "none": "url,x\n",
}


@pytest.mark.parametrize(
    ("tables", "type_"),
    [
        ([pa.float32(), CSV_OF["int"], CSV_OF["float"], CSV_OF["none"]], pa.float32()),
        ([pa.int32(), CSV_OF["int"]], pa.int32()),
        ([pa.string(), CSV_OF["int"]], pa.string()),
        ([pa.null(), pa.bool_()], pa.bool_()),
        ([CSV_OF["int"], CSV_OF["float"]], pa.float64()),
        ([CSV_OF["int"], CSV_OF["text"]], pa.string()),
        ([CSV_OF["none"]], pa.string()),
    ],
)
def test_tables_agree_on_a_type(tmp_path, tables, type_):
    told = [tell(tmp_path, f"{n}.{'csv' if isinstance(t, str) else 'parquet'}", t) for n, t in enumerate(tables)]
    assert agree_on_types(told, wishes_of("x")).types.field("x").type == type_


@pytest.mark.parametrize(
    "tables", [[pa.float32(), pa.float64()], [pa.int64(), CSV_OF["float"]], [pa.float64(), CSV_OF["text"]]]
)
def test_tables_that_disagree_are_named(tmp_path, tables):
    told = [tell(tmp_path, f"{n}.{'csv' if isinstance(t, str) else 'parquet'}", t) for n, t in enumerate(tables)]
    with pytest.raises(ValueError, match=r"column 'x' is \w+ in .*0.parquet, but \w+ in .*1\.(csv|parquet)"):
        agree_on_types(told, wishes_of("x"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["width"], "'width' is a column of our own; carry it under another name: width=listed_width"),
        (["x=text"], "'text' is a column of our own"),
        (["url"], "'url' is a column of our own"),
        (["a", "a"], "'a' is named twice"),
        (["a", "b=a"], "'a' is named twice"),
        (["=b"], "a column without a name"),
    ],
)
def test_names_that_cannot_be_carried_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        parse_kept(texts)


def test_folders_that_carry_different_columns_are_named(tmp_path):
    extra = (pa.field("similarity", pa.float32()),)
    paths = [str(tmp_path / f"{name}.parquet") for name in "ab"]
    for path, schema in zip(paths, (with_carried(PAIRS, extra), BALANCED), strict=True):
        write_table(path, schema.empty_table(), schema)
    assert carried_by([[paths[0]], []]) == extra
    with pytest.raises(
        ValueError, match=r"a.parquet and .*b.parquet carry different columns: similarity \(float\), and none"
    ):
        carried_by([[paths[0]], [paths[1]]])


def test_json_has_every_value_of_a_carried_column():
    column = pa.chunked_array([pa.array([1, None], pa.timestamp("ns"))])
    assert json_column(column) == ["1970-01-01 00:00:00.000000001", None]
    assert json_column(pa.chunked_array([pa.array([0.1, float("nan")], pa.float32())])) == [0.1, None]
    assert json.dumps(json_column(pa.chunked_array([pa.array([b"\x01", None])]))) == '["01", null]'
