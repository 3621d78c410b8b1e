"""Adding up tables of (string, number): word counts and page views of many files."""

from collections.abc import Iterable

import pyarrow as pa

_PENDING_ROWS = 8_000_000


def add_up(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Adds up the numbers of equal strings; memory goes with the number of distinct strings.

    Args:
        tables: Tables of the schema.
        schema: A string column, then an int64 column.

    Returns:
        One row a string, sorted by it.

    >>> schema = pa.schema([("word", pa.string()), ("count", pa.int64())])
    >>> parts = [pa.table([["b", "a"], [1, 2]], schema=schema), pa.table([["b"], [3]], schema=schema)]
    >>> add_up(parts, schema).to_pydict()
    {'word': ['a', 'b'], 'count': [2, 4]}
    """
    pending = [schema.empty_table()]
    num_pending = 0
    for table in tables:
        pending.append(table)
        num_pending += table.num_rows
        if num_pending > max(_PENDING_ROWS, pending[0].num_rows):
            pending, num_pending = [_add_up_once(pending, schema)], 0
    return _add_up_once(pending, schema).sort_by(schema.names[0])


def _add_up_once(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    key, value = schema.names
    sums = pa.concat_tables(tables).group_by(key).aggregate([(value, "sum")])
    return pa.table([sums[key], sums[f"{value}_sum"]], schema=schema)
