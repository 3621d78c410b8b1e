"""Rows of tables that list images: CSV, TSV and Parquet.

In: a table's path and the columns wanted. Out: one dictionary a row.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_train.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


def read_rows(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Reads some columns of a table.

    Raises:
        InputError: When the table or a column cannot be found or read.
    """
    try:
        yield from (_read_parquet if path.endswith(".parquet") else _read_delimited)(path, columns)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error


def _read_delimited(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ",")
        _check_columns(path, columns, reader.fieldnames or ())
        for row in reader:
            if any(row[column] is None for column in columns):
                raise InputError(f"{path}: line {reader.line_num} is cut short")
            yield row


def _read_parquet(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1_024, columns=list(columns)):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file") from error


def _check_columns(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            raise InputError(f"{path}: no column {column!r}; it has {', '.join(found) or 'none'}")
