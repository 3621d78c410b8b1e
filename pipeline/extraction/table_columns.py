"""Which columns of tables are carried along, and which rows are read: known before any work starts.

In: what a user asks for, and the tables that are read. Out: `TableColumns`, the same for all tables of a run: the type
of every column that is carried or that the condition names. Parquet says its types; in texts they are told from the
first rows: whole numbers, numbers, true and false, else text. A later value that is none becomes null, and is counted.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base.carried_columns import REFUSED_NAMES, Carried
from pipeline.base.row_conditions import BadCondition, RowCondition, missing_column, parse_condition

_LARGEST: Final = (1 << 64) - 1
_TRUTHS: Final = {"true": True, "false": False}


class KeptColumn(NamedTuple):
    """A column that is carried.

    Attributes:
        name: In the tables.
        called: How pairs carry it.
    """

    name: str
    called: str


class ColumnWishes(NamedTuple):
    """What is asked of tables besides URLs and texts.

    Attributes:
        kept: Columns to carry.
        condition: Which rows are read; None: all.
    """

    kept: tuple[KeptColumn, ...] = ()
    condition: RowCondition | None = None

    @property
    def names(self) -> list[str]:
        """The columns that must be there, each once."""
        return list(dict.fromkeys([*(column.name for column in self.kept), *self._in_condition]))

    @property
    def _in_condition(self) -> tuple[str, ...]:
        return self.condition.columns if self.condition else ()


class TableColumns(NamedTuple):
    """What is read of every table of a run besides URLs and texts.

    Attributes:
        kept: Columns to carry.
        types: Of these and of those that the condition names, by their names in the tables.
        where: The condition; empty: there is none.
    """

    kept: tuple[KeptColumn, ...] = ()
    types: pa.Schema = pa.schema([])
    where: str = ""

    @property
    def carried(self) -> Carried:
        """The carried columns as pairs have them."""
        return tuple(pa.field(column.called, self.types.field(column.name).type) for column in self.kept)

    def read(self, rows: Sequence[Sequence[Any]]) -> tuple[pa.Table, int]:
        """Values of a text as a table of `types`, and how many of them are not of their column's type.

        Args:
            rows: The values of each row, in the order of `types`.
        """
        given = [[row[place] for row in rows] for place in range(len(self.types))]
        columns = [typed_values(values, field.type) for values, field in zip(given, self.types, strict=True)]
        return pa.table(columns, self.types), sum(map(count_unfit, given, columns))

    def pick(self, values: pa.Table | None) -> pa.Table | None:
        """The carried columns among all that were read; None where none are carried."""
        if values is None or not self.kept:
            return None
        return pa.table([values[column.name] for column in self.kept], pa.schema(self.carried))


NO_COLUMNS: Final = TableColumns()


class Told(NamedTuple):
    """What a table says of its columns.

    Attributes:
        path: Of the table.
        schema: The columns asked for; in the order they were.
        is_certain: Whether the table states its types, or they were told from its first rows.
    """

    path: str
    schema: pa.Schema
    is_certain: bool


def parse_kept(texts: Sequence[str]) -> tuple[KeptColumn, ...]:
    """Parses columns to keep: ``NAME``, or ``NAME=OTHER`` to carry it under another name.

    Raises:
        ValueError: For a name that is ours, or comes twice.

    >>> parse_kept(["similarity", "width=listed_width"])
    (KeptColumn(name='similarity', called='similarity'), KeptColumn(name='width', called='listed_width'))
    """
    kept = []
    for text in texts:
        name, _, called = text.partition("=")
        kept.append(KeptColumn(name, called or name))
    for column in kept:
        if not column.name or not column.called:
            raise ValueError("a column without a name")
        if column.called in REFUSED_NAMES:
            raise ValueError(
                f"{column.called!r} is a column of our own; carry it under another name: {column.name}=listed_"
                f"{column.called}"
            )
        if sum(other.called == column.called for other in kept) > 1:
            raise ValueError(f"{column.called!r} is named twice")
    return tuple(kept)


def parse_where(text: str) -> RowCondition | None:
    """Parses the condition on rows; None where it is empty. Raises BadCondition."""
    return parse_condition(text) if text else None


def agree_on_types(told: Sequence[Told], wishes: ColumnWishes) -> TableColumns:
    """The types that all tables have in common.

    Args:
        told: What each table says, of one table at least.
        wishes: What is asked.

    Raises:
        ValueError: When tables disagree, or the condition does not fit; it names the tables, the column and its types.
    """
    fields = [pa.field(name, _common_type(name, told)) for name in wishes.names]
    types = pa.schema(fields)
    if wishes.condition is None:
        return TableColumns(wishes.kept, types)
    try:
        expression = wishes.condition.bind(types)
        types.empty_table().filter(expression)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadCondition(f"{wishes.condition.text!r}: {error}") from None
    return TableColumns(wishes.kept, types, wishes.condition.text)


def check_names(path: str, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Checks that a table has some columns.

    Raises:
        ValueError: Naming the table and the column.
    """
    for name in wanted:
        if (number := list(names).count(name)) != 1:
            said = f"{number} columns {name!r}" if number else missing_column(name, names)
            raise ValueError(f"{path}: {said}")


def stated_types(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The types of some columns of a Parquet table, as they are carried: dictionaries as what is in them."""
    return pa.schema([pa.field(name, _plain_type(schema.field(name).type)) for name in names])


def guess_types(values: Mapping[str, Sequence[Any]]) -> pa.Schema:
    """The types of some columns of a text, told from some of their values (strings, or what JSON has)."""
    return pa.schema([pa.field(name, _guess_type(column)) for name, column in values.items()])


def typed_values(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Values of a text as a column; null where one is not of its type.

    >>> typed_values(["7", "", "x", None], pa.int64()).to_pylist()
    [7, None, None, None]
    >>> typed_values([0.5, "much", [1]], pa.string()).to_pylist()
    ['0.5', 'much', '[1]']
    """
    read = [_read_value(value, type_) for value in values]
    try:
        return pa.array(read, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        return pa.concat_arrays([_one_or_null(value, type_) for value in read])


def count_unfit(values: Sequence[Any], column: pa.Array) -> int:
    """How many values of a text are not of the type of the column that they became."""
    given = sum(value is not None and value != "" for value in values)
    return given - (len(column) - column.null_count)


def decoded_column(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """A column of a Parquet table in the type it is carried in; bytes that are no UTF-8 become U+FFFD."""
    column = column.cast(type_)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            raw = column.cast(pa.large_binary()).to_pylist()
            texts = [value if value is None else value.decode("utf-8", "replace") for value in raw]
            return pa.chunked_array([pa.array(texts, type_)])
    return column


def select_rows(rows: pa.Table, columns: TableColumns) -> pa.Array:
    """Which rows of a table the condition holds for: their places, in order (Arrow's threads need not keep it)."""
    numbered = rows.append_column(_PLACE, pa.array(range(rows.num_rows), pa.int64()))
    kept = numbered.filter(parse_condition(columns.where).bind(columns.types))[_PLACE]
    return pa.array(np.sort(kept.to_numpy()))


_PLACE: Final = "place of the row"


def _common_type(name: str, told: Sequence[Told]) -> pa.DataType:
    certain = [one for one in told if one.is_certain and not pa.types.is_null(one.schema.field(name).type)]
    guessed = [one for one in told if not one.is_certain and not pa.types.is_null(one.schema.field(name).type)]
    for one in certain:
        if one.schema.field(name).type != certain[0].schema.field(name).type:
            raise ValueError(_differ(name, certain[0], one))
    if not guessed:
        return certain[0].schema.field(name).type if certain else pa.string()
    types = {one.schema.field(name).type for one in guessed}
    text_type = _wider(types)
    if not certain:
        return text_type
    type_ = certain[0].schema.field(name).type
    for one in guessed:
        if not _takes(type_, one.schema.field(name).type):
            raise ValueError(_differ(name, certain[0], one))
    return type_


def _differ(name: str, one: Told, other: Told) -> str:
    return (
        f"column {name!r} is {one.schema.field(name).type} in {one.path}, but {other.schema.field(name).type} in "
        f"{other.path}"
    )


def _wider(types: set[pa.DataType]) -> pa.DataType:
    """Of the types that texts were told to have the one that holds all."""
    if len(types) == 1:
        return next(iter(types))
    return pa.float64() if types <= {pa.int64(), pa.uint64(), pa.float64()} else pa.string()


def _takes(type_: pa.DataType, guessed: pa.DataType) -> bool:
    """Whether values told to be of a type may be of another one that a Parquet table states."""
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return guessed in (pa.int64(), pa.uint64(), pa.float64())
    if pa.types.is_integer(type_):
        return guessed in (pa.int64(), pa.uint64())
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    return is_text or type_ == guessed  # any value is a text


def _plain_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _guess_type(values: Sequence[Any]) -> pa.DataType:
    known = [value for value in values if value is not None and value != ""]
    if not known:
        return pa.null()
    if all(isinstance(value, str) for value in known):
        for type_ in (pa.int64(), pa.uint64(), pa.float64(), pa.bool_()):
            if typed_values(known, type_).null_count == 0 and all(_keeps_form(value, type_) for value in known):
                return type_
        return pa.string()
    try:
        type_ = pa.array(known).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
        return pa.float64() if numbers else pa.string()
    return pa.string() if pa.types.is_null(type_) else type_


def _keeps_form(value: str, type_: pa.DataType) -> bool:
    """Whether a number is written as numbers are: 007 is a name, and so are digits that no number has room for."""
    whole = value.strip().removeprefix("+")
    if pa.types.is_boolean(type_) or not whole.removeprefix("-").isdigit():
        return True
    return str(int(whole)) == whole and abs(int(whole)) <= _LARGEST


def _read_value(value: Any, type_: pa.DataType) -> Any:
    """A value of a text, or None where it is not of a type."""
    if value is None or (isinstance(value, str) and not value):
        return None
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_boolean(type_) and isinstance(value, str):
        return _TRUTHS.get(value.strip().lower())
    if isinstance(value, str) and "_" in value:
        return None  # Python would read 1_000 as a number
    try:
        if pa.types.is_integer(type_):
            return None if isinstance(value, bool) or (isinstance(value, float) and value % 1) else int(value)
        if pa.types.is_floating(type_):
            return None if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return value


def _one_or_null(value: Any, type_: pa.DataType) -> pa.Array:
    try:
        return pa.array([value], type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        return pa.nulls(1, type_)
