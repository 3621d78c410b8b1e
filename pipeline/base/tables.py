"""Parquet in and out: declared schemas, whole files, and the counts of the unit that wrote a file inside it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.base.drops import Counts, add_counts
from pipeline.base.files import each, exists, is_local, local_path, open_for_read, read_range, write_whole
from pipeline.base.schemas import DISTINCT

_COUNTS_KEY: Final = b"wit400m.counts"
_ROW_GROUP_ROWS: Final = 65_536
_WHOLE_BYTES: Final = 16 << 20  # what a far table may have to be read in one request


class TableWriter:
    """Appends batches to one Parquet file; `counts` may still change until the file is closed.

    Use `open_table_writer`.
    """

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self.counts: Counts = {}
        self.num_rows = 0

    def write(self, rows: pa.Table | pa.RecordBatch, *, as_one_group: bool = False) -> None:
        """Appends rows; columns are put in the order of the schema and cast to it.

        Args:
            rows: None is no row group; others begin one, and one more every 65,536 rows.
            as_one_group: Whether they are one row group, however many they are.
        """
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        schema = self._writer.schema
        if table.num_rows:
            size = table.num_rows if as_one_group else _ROW_GROUP_ROWS
            self._writer.write_table(table.select(schema.names).cast(schema), row_group_size=size)
            self.num_rows += table.num_rows


@contextmanager
def open_table_writer(path: str, schema: pa.Schema) -> Iterator[TableWriter]:
    """Opens a `TableWriter` on a file that appears whole, with its counts, or not at all."""
    repeating = [_leaf_path(field) for field in schema if field.name not in DISTINCT]
    with (
        write_whole(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeating) as parquet,
    ):
        writer = TableWriter(parquet)
        yield writer
        parquet.add_key_value_metadata({_COUNTS_KEY: json.dumps(writer.counts, sort_keys=True).encode()})


def write_table(
    path: str,
    rows: pa.Table | Iterable[pa.RecordBatch],
    schema: pa.Schema,
    counts: Mapping[str, int] | None = None,
) -> None:
    """Writes a table, or batches one after another, as one Parquet file."""
    with open_table_writer(path, schema) as writer:
        for part in [rows] if isinstance(rows, pa.Table) else rows:
            writer.write(part)
        writer.counts = dict(counts or {})


def read_table(path: str, columns: Sequence[str] | None = None, *, where: pc.Expression | None = None) -> pa.Table:
    """Reads a Parquet file whole, or the rows for which an expression holds."""
    names = list(columns) if columns is not None else None
    with _open_table(path) as file:
        if where is not None:
            return pq.read_table(file, columns=names, filters=where)
        with pq.ParquetFile(file, pre_buffer=not is_local(path)) as parquet:  # needs no data sets of Arrow
            return parquet.read(names)


def read_some_groups(path: str, groups: Sequence[int]) -> pa.Table:
    """Reads some row groups of a Parquet file."""
    with _open_table(path) as file, pq.ParquetFile(file, pre_buffer=not is_local(path)) as parquet:
        return parquet.read_row_groups(list(groups), use_threads=False)


def read_column(path: str, name: str) -> pa.Array:
    """Reads a column of a Parquet file, in one piece."""
    return read_table(path, [name])[name].combine_chunks()


def read_batches(
    path: str,
    columns: Sequence[str] | None = None,
    batch_size: int = 65_536,
    *,
    dictionaries: Sequence[str] = (),
    groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Reads a Parquet file batch by batch, in order, and in one thread: other files keep the other cores busy.

    Args:
        path: Of the file.
        columns: Names; all without them.
        batch_size: Rows of a batch.
        dictionaries: Names of text columns that come as dictionary arrays.
        groups: Row groups, by number; None: all.
    """
    names = list(columns) if columns is not None else None
    with (
        _open_table(path) as file,
        pq.ParquetFile(file, pre_buffer=not is_local(path), read_dictionary=list(dictionaries)) as parquet,
    ):
        # Buffered row group by row group, the columns of a far table come in few requests and little memory.
        wanted = range(parquet.num_row_groups) if groups is None else groups
        for part in [groups] if is_local(path) else [[group] for group in wanted]:
            yield from parquet.iter_batches(batch_size, row_groups=part, columns=names, use_threads=False)


def read_row_groups(path: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Reads a Parquet file row group by row group, in order."""
    names = list(columns) if columns is not None else None
    with _open_table(path) as file, pq.ParquetFile(file, pre_buffer=not is_local(path)) as parquet:
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=names, use_threads=False)


def read_where(path: str, where: pc.Expression) -> Iterator[pa.RecordBatch]:
    """Reads the rows of a Parquet file for which an expression holds, batch by batch, in order."""
    import pyarrow.dataset as ds  # late, because it loads much

    with _open_table(path) as file:
        fragment = ds.ParquetFileFormat().make_fragment(file)
        yield from fragment.to_batches(filter=where, batch_readahead=1, use_threads=False)


def count_rows(path: str) -> int:
    """Rows of a Parquet file, read from its footer."""
    with _open_table(path) as file:
        return int(pq.read_metadata(file).num_rows)


def count_row_groups(path: str) -> int:
    """Row groups of a Parquet file, read from its footer."""
    with _open_table(path) as file:
        return int(pq.read_metadata(file).num_row_groups)


def count_rows_each(paths: Iterable[str]) -> list[int]:
    """Rows of several Parquet files."""
    return each(count_rows, paths)


def read_counts(path: str) -> Counts | None:
    """The counts in a file that is there, none in one that is no table; None where there is no such file."""
    if not path.endswith(".parquet"):
        return {} if exists(path) else None
    try:
        return dict(json.loads(read_metadata(path).get(_COUNTS_KEY, b"{}")))
    except FileNotFoundError:
        return None


def read_metadata(path: str) -> dict[bytes, bytes]:
    """The keys and values in the footer of a Parquet file."""
    with _open_table(path) as file:
        return dict(pq.read_metadata(file).metadata or {})


def read_schema(path: str) -> pa.Schema:
    """The columns of a Parquet file and their types, read from its footer."""
    with _open_table(path) as file:
        return pq.read_schema(file)


def sum_counts(paths: Iterable[str]) -> Counts:
    """The counts of several files that are there, added up."""
    return add_counts(*(counts or {} for counts in each(read_counts, paths)))


def _leaf_path(field: pa.Field) -> str:
    """What Parquet calls the column of a field: of a list, the column of its elements."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def _open_table(path: str) -> pa.NativeFile:
    """A file for Arrow's own threads; a local one needs no Python, which may be gone when they let go of it."""
    if is_local(path):
        return pa.OSFile(local_path(path))
    start = read_range(path, 0, _WHOLE_BYTES + 1)
    return pa.BufferReader(start) if len(start) <= _WHOLE_BYTES else pa.PythonFile(open_for_read(path), "r")
