import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extraction.url_lists import ListColumns, list_format, read_url_list

ROWS = [("http://a.example/1.jpg", 'a "quoted", cat'), ("http://a.example/2.jpg", "ä dog")]


def read(path, **columns):
    batches = list(read_url_list(str(path), ListColumns(**columns)))
    rows = [row for batch in batches for row in zip(batch.urls, batch.texts, batch.page_urls, strict=True)]
    return rows, sum(batch.num_bad_rows for batch in batches)


def csv_text(header: str = "url,caption") -> str:
    return header + '\n"http://a.example/1.jpg","a ""quoted"", cat"\r\nhttp://a.example/2.jpg,ä dog\n'


def tsv_text() -> str:
    return "".join(f"{text}\t{url}\n" for url, text in ROWS)


def json_text() -> str:
    return "".join(json.dumps({"id": 7, "TEXT": text, "URL": url}) + "\n\n" for url, text in ROWS)


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv_text()),
        ("a.csv", "\ufeff" + csv_text("URL,TEXT")),
        ("a.tsv", tsv_text()),
        ("a.jsonl", json_text()),
    ],
    ids=["csv", "csv with a byte order mark", "tsv without header, text first", "jsonl"],
)
def test_tables_are_read_without_naming_their_columns(tmp_path, name, content, compress):
    path = tmp_path / (name if compress(b"x") == b"x" else f"{name}.gz")
    path.write_bytes(compress(content.encode()))
    assert read(path) == ([(*row, None) for row in ROWS], 0)


def test_parquet_is_read_with_pages_nulls_and_other_types(tmp_path):
    path = tmp_path / "a.parquet"
    broken = pa.array([b"\xff cat", b"dog"]).view(pa.string())
    pq.write_table(
        pa.table({"image_url": ["http://h/1", None], "caption": broken, "page_url": ["p", None], "n": [1, 2]}), path
    )
    assert read(path) == ([("http://h/1", "\ufffd cat", "p"), (None, "dog", None)], 0)
    assert read(path, text="n")[0][1] == (None, "2", None)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.csv", "src,words\nhttp://h/1,cat\n", {"text": "words"}),
        ("a.csv", "7,http://h/1,cat\n", {"text": "2"}),
        ("a.jsonl", '{"where": "http://h/1", "what": "cat"}', {"url": "where", "text": "what"}),
    ],
)
def test_columns_with_unusual_names_can_be_named(tmp_path, name, content, columns):
    path = tmp_path / name
    path.write_text(content)
    assert read(path, **columns) == ([("http://h/1", "cat", None)], 0)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("a,b\n1,2\n", {}, "cannot tell which column holds the url among a, b; name it with --url-column"),
        ("url,caption\n", {"text": "words"}, "no column 'words' among url, caption; name it with --text-column"),
        ("1,http://h/1,cat\n", {}, "cannot tell which column holds the text among 0, 1, 2; name it with --text-column"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_that_says_so(tmp_path, content, columns, message):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read(path, **columns)


@pytest.mark.parametrize(
    ("name", "content", "num_bad"),
    [
        ("a.csv", "url,text\nhttp://h/1\nhttp://h/2,cat\nhttp://h/3,a,b\n", 2),
        ("a.tsv", "url\ttext\n\nhttp://h/2\tcat\nhttp://h/3\n", 1),
        ("a.jsonl", '{"url": 1\n{"url": "http://h/2", "text": "cat"}\n[1]\n{}\n', 3),
    ],
)
def test_bad_rows_are_counted(tmp_path, name, content, num_bad):
    path = tmp_path / name
    path.write_text(content)
    assert read(path) == ([("http://h/2", "cat", None)], num_bad)


def test_a_cut_gzip_file_gives_the_rows_before_the_cut(tmp_path):
    path = tmp_path / "a.csv.gz"
    lines = "".join(f"http://h/{i},text {i * 7919 % 1000}\n" for i in range(20_000))
    path.write_bytes(gzip.compress(lines.encode())[:-2000])
    rows, num_bad = read(path)
    assert 10_000 < len(rows) < 20_000
    assert 1 <= num_bad <= 2


def test_the_name_tells_the_format():
    assert list_format("s3://b/x.TSV.gz") == (".tsv", True)
    assert list_format("x.parquet.gz") is list_format("x.warc.gz") is None


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "csv.gz"])
@settings(max_examples=50)
@given(content=st.binary(max_size=200))
def test_no_table_crashes_the_reader(tmp_path_factory, suffix, content):
    path = tmp_path_factory.mktemp("tables") / f"a.{suffix}"
    head = b'{"url": "u", "text": "t"}\n' if suffix == "jsonl" else b"url\ttext\n" if suffix == "tsv" else b"url,text\n"
    path.write_bytes(gzip.compress(head + content)[:-3] if suffix.endswith("gz") else head + content)
    read(path)
