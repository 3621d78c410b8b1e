"""Adding up tables whose rows are a key, of one column or several, and a number: words, page views."""

from collections.abc import Iterable

import pyarrow as pa

_PENDING_ROWS = 8_000_000


def add_up(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Adds up the numbers of equal keys; memory goes with the number of distinct keys.

    Args:
        tables: Tables of the schema.
        schema: The columns of the key, then an int64 column.

    Returns:
        One row a key, sorted by it.

    >>> schema = pa.schema([("word", pa.string()), ("count", pa.int64())])
    >>> parts = [pa.table([["b", "a"], [1, 2]], schema=schema), pa.table([["b"], [3]], schema=schema)]
    >>> add_up(parts, schema).to_pydict()
    {'word': ['a', 'b'], 'count': [2, 4]}
    """
    return add_up_in_any_order(tables, schema).sort_by([(name, "ascending") for name in schema.names[:-1]])


def add_up_in_any_order(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Does the same as `add_up`, but leaves the rows unsorted."""
    pending = [schema.empty_table()]
    num_pending = 0
    for table in tables:
        pending.append(table)
        num_pending += table.num_rows
        if num_pending > max(_PENDING_ROWS, pending[0].num_rows):
            pending, num_pending = [_add_up_once(pending, schema)], 0
    return _add_up_once(pending, schema)


def _add_up_once(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    *keys, value = schema.names
    sums = pa.concat_tables(tables).group_by(keys).aggregate([(value, "sum")])
    return pa.table([*(sums[key] for key in keys), sums[f"{value}_sum"]], schema=schema)
