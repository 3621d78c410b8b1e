"""How many pairs every query had, was given and got: the card's table of queries, and what it shows of it."""

import zlib
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints

CARD_QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("found", pa.int64(), nullable=False),  # pairs whose text holds the query
        pa.field("balanced", pa.int64(), nullable=False),  # of these selected under the cap
        pa.field("samples", pa.int64(), nullable=False),  # of these in the shards
    ]
)
_SHOWN = ("query", "found", "balanced", "samples")


class QueryTotals(NamedTuple):
    """How many queries there are, and of these those that some pair, some selected pair and some sample is of."""

    queries: int
    found: int
    balanced: int
    samples: int


def query_table(cuts: pa.Table, samples: Ints) -> pa.Table:
    """The counts of every query (`CARD_QUERIES`), the most frequent first.

    Args:
        cuts: `CUTS`, a row for every query.
        samples: [num_queries], samples in the shards that each query keeps.
    """
    table = pa.table(
        {
            "query_id": cuts["query_id"],
            "query": cuts["query"],
            "found": cuts["count"],
            "balanced": cuts["kept"],
            "samples": samples[cuts["query_id"].to_numpy()],
        },
        CARD_QUERIES,
    )
    return table.sort_by([("found", "descending"), ("query_id", "ascending")])


def with_fewer(queries: pa.Table, fewer: Ints) -> pa.Table:
    """The counts after samples were taken out.

    Args:
        queries: `CARD_QUERIES`.
        fewer: [num_queries], by how many samples each query has fewer.
    """
    left = queries["samples"].to_numpy() - fewer[queries["query_id"].to_numpy()]
    return queries.set_column(queries.schema.get_field_index("samples"), CARD_QUERIES.field("samples"), pa.array(left))


def count_totals(queries: pa.Table) -> QueryTotals:
    """How many queries have something."""
    some = (pc.sum(pc.greater(queries[name], 0)).as_py() or 0 for name in _SHOWN[1:])
    return QueryTotals(queries.num_rows, *some)


def head_rows(queries: pa.Table, most: int) -> list[list[Any]]:
    """The most frequent queries, with their counts."""
    return [list(row.values()) for row in queries.select(_SHOWN).slice(0, most).to_pylist()]


def tail_rows(queries: pa.Table, most: int) -> list[list[Any]]:
    """Queries with the fewest samples, one at least; ties, of which there are many, are broken by a checksum."""
    some = queries.filter(pc.greater(queries["samples"], 0))
    fewest = pc.array_sort_indices(some["samples"])
    if len(fewest) > most:
        bound = some["samples"][fewest[most - 1].as_py()].as_py()
        some = some.filter(pc.less_equal(some["samples"], bound))
    rows = [list(row.values()) for row in some.select(_SHOWN).to_pylist()]
    return sorted(rows, key=lambda row: (row[3], zlib.crc32(row[0].encode()), row[0]))[:most]
