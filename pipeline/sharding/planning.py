"""Survivors ► the plan of every pack unit: its samples, in key order.

Only rows of tables are shuffled: of each table of survivors and each pack unit one compressed Arrow message. Rows of a
bin in which two units meet go to both, and each keeps those with ranks of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.base.drops import Counts, LostRows
from pipeline.base.on_worker import OnWorker
from pipeline.base.row_messages import pack_rows, read_messages
from pipeline.base.tables import read_table, write_table
from pipeline.sharding.layout import Layout, PackUnit, key_bins, slices_of_units
from pipeline.sharding.selecting import SURVIVORS
from pipeline.sharding.stored_samples import key_words

SHARD_PLAN: Final = SURVIVORS  # the rows of one pack unit; shards take `max_samples` each, one after another


def route_rows(path: str, *, layout: OnWorker[Layout], schema: pa.Schema = SURVIVORS) -> Iterator[tuple[int, bytes]]:
    """The rows of a table of survivors, by pack unit.

    Args:
        path: Of the table.
        layout: Where samples go.
        schema: `SURVIVORS`, with the columns that are carried.
    """
    table = read_table(path, schema.names).combine_chunks()
    bins = key_bins(key_words(table["key"]))
    for unit, first, last in slices_of_units(layout.get(), bins):
        yield unit, pack_rows(table.slice(first, last - first))


def plan_unit(unit: PackUnit, rows: pa.Table) -> pa.Table:
    """The samples of a pack unit, in key order.

    Args:
        unit: The unit.
        rows: Of `SURVIVORS`, in any order: all of its bins.

    Raises:
        LostRows: When they are too few.
        ValueError: When two of the samples have one key, which readers of shards could not tell apart.
    """
    words = key_words(rows["key"])
    order = np.lexsort((rows["offset"].to_numpy(), rows["raw"].to_numpy(), words[:, 1], words[:, 0]))
    own = order[unit.skip : unit.skip + unit.last - unit.first]
    if len(own) < unit.last - unit.first:
        raise LostRows(f"pack unit {unit.number}: {unit.last - unit.first} samples were counted, {len(own)} came")
    repeats = np.flatnonzero((words[own][1:] == words[own][:-1]).all(axis=1))
    if len(repeats):
        raise ValueError(f"raw: sample {rows['key'][own[repeats[0]]]} was fetched twice, with two different images")
    return rows.take(own)


def write_plan(unit: PackUnit, output: str, parts: Iterable[bytes], *, schema: pa.Schema = SHARD_PLAN) -> Counts:
    """Writes the plan of a pack unit (`SHARD_PLAN`) from the rows that were routed to it.

    Args:
        unit: The unit.
        output: Where to.
        parts: The rows.
        schema: `SHARD_PLAN`, with the columns that are carried.
    """
    write_table(output, plan_unit(unit, read_messages(parts, schema)), schema)
    return {}
