"""Tables: whole Parquet files that carry their counts."""

import subprocess
import sys

import pyarrow as pa
import pytest

from pipeline.base.tables import count_rows, open_table_writer, read_batches, read_counts, read_table, write_table

SCHEMA = pa.schema([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.string())])


def test_a_table_comes_back_with_its_schema_and_counts(tmp_path):
    path = str(tmp_path / "t.parquet")
    write_table(path, pa.table({"b": ["x", None], "a": [1, 2]}), SCHEMA, {"rows/in": 2})
    assert read_table(path).schema.equals(SCHEMA)
    assert read_table(path, ["a"]).to_pydict() == {"a": [1, 2]}
    assert read_counts(path) == {"rows/in": 2}
    assert count_rows(path) == 2


def test_a_table_is_read_without_data_sets_of_arrow(tmp_path):
    path = str(tmp_path / "t.parquet")
    write_table(path, pa.table({"b": ["x", None], "a": [1, 2]}), SCHEMA)
    code = "import sys; from pipeline.base.tables import read_table; read_table(sys.argv[1]); "
    subprocess.run([sys.executable, "-c", code + "sys.exit('pyarrow.dataset' in sys.modules)", path], check=True)


def test_batches_are_appended_in_order(tmp_path):
    path = str(tmp_path / "t.parquet")
    with open_table_writer(path, SCHEMA) as writer:
        for start in (0, 3):
            writer.write(pa.record_batch({"a": [start, start + 1], "b": ["u", "v"]}))
        writer.counts["rows/in"] = writer.num_rows
    assert [row for batch in read_batches(path, ["a"]) for row in batch["a"].to_pylist()] == [0, 1, 3, 4]
    assert read_counts(path) == {"rows/in": 4}


def test_a_table_that_fails_leaves_nothing(tmp_path):
    path = str(tmp_path / "t.parquet")
    with pytest.raises(KeyError), open_table_writer(path, SCHEMA) as writer:
        writer.write(pa.table({"a": [1], "b": ["x"]}))
        raise KeyError
    assert read_counts(path) is None
    assert list(tmp_path.iterdir()) == []


def test_no_rows_make_an_empty_table(tmp_path):
    path = str(tmp_path / "t.parquet")
    write_table(path, [], SCHEMA)
    assert read_table(path).num_rows == 0
    assert read_counts(path) == {}


def test_the_same_rows_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(str(tmp_path / name), pa.table({"a": [1], "b": ["x"]}), SCHEMA, {"z": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
