"""Columns of other people's tables that pairs carry from stage to stage, beside our own columns.

What is carried follows from a table alone: all its columns that are none of ours. So our names are refused for carried
ones, and a stage that reads a table passes on what it finds. The texts of images (`schemas.TEXTS`) travel the same way.
"""

import datetime
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from pipeline.base import schemas
from pipeline.base.shard_format import BOXES, SAMPLE_JSON_KEYS, UID
from pipeline.base.tables import read_schema

_WORKING: Final = ("same_id", "text_key", "preference", "unit", "raw", BOXES)  # of tables on the way
_OTHER_JSON_KEYS: Final = ("exif", "status", "error_message")  # those of img2dataset, too
OUR_COLUMNS: Final = frozenset(
    {
        *(name for table in (schemas.BALANCED, schemas.RAW_INDEX, schemas.SHARD_INDEX) for name in table.names),
        *_WORKING,
        *SAMPLE_JSON_KEYS,
        *_OTHER_JSON_KEYS,
    }
) - {UID}

REFUSED_NAMES: Final = OUR_COLUMNS | {schemas.TEXTS.name}  # what no column of a table may be called on its way

Carried = tuple[pa.Field, ...]


def carried_fields(schema: pa.Schema) -> Carried:
    """The columns of a table that are none of ours.

    >>> carried_fields(pa.schema([("text", pa.string()), ("similarity", pa.float32())]))
    (pyarrow.Field<similarity: float>,)
    """
    return tuple(field.remove_metadata() for field in schema if field.name not in OUR_COLUMNS)


def carried_by(tables: Iterable[Sequence[str]]) -> Carried:
    """The columns that the tables of some folders carry.

    Args:
        tables: Of each folder the paths of its tables, all of which carry the same.

    Raises:
        ValueError: When two folders carry different ones; it names both.
    """
    firsts = [paths[0] for paths in tables if paths]
    found = [carried_fields(read_schema(path)) for path in firsts]
    for path, fields in zip(firsts, found, strict=True):
        if fields != found[0]:
            raise ValueError(
                f"{firsts[0]} and {path} carry different columns: {_names(found[0])}, and {_names(fields)}; "
                "extract both with the same --keep-column"
            )
    return found[0] if found else ()


def with_carried(schema: pa.Schema, carried: Carried) -> pa.Schema:
    """One of our schemas, and carried columns behind it.

    >>> with_carried(pa.schema([("text", pa.string())]), ()) == pa.schema([("text", pa.string())])
    True
    """
    return pa.schema([*schema, *carried], schema.metadata) if carried else schema


def json_column(column: pa.ChunkedArray) -> list[Any]:
    """The values of a carried column as JSON has them; a float32 with as many digits as it has.

    >>> json_column(pa.chunked_array([pa.array([0.3, None], pa.float32())]))
    [0.3, None]
    """
    if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
        column = column.cast(pa.string())
    values = [json_value(value) for value in column.to_pylist()]
    if column.type in (pa.float32(), pa.float16()):
        return [value if value is None else float(f"{value:.7g}") for value in values]
    return values


def json_value(value: Any) -> Any:
    """A value of a carried column as JSON has it.

    >>> json_value({"box": [0.5, float("nan")], "id": bytes([1, 255]), "day": datetime.date(2026, 1, 2)})
    {'box': [0.5, None], 'id': '01ff', 'day': '2026-01-02'}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, datetime.timedelta | Decimal) else value


def _names(fields: Carried) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in fields) or "none"
