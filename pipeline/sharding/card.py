"""The data card beside the shards: the funnel, and for every query how many pairs it had, was given and got.

Out: ``query_counts.parquet`` (`CARD_QUERIES`), ``funnel.json`` (counts of every stage, in order) and ``README.md``,
filled in from ``card.md.j2``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.funnel import funnel_lines
from pipeline.base.rendering import render_template
from pipeline.base.tables import write_table

CARD_QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("found", pa.int64(), nullable=False),  # pairs whose text holds the query
        pa.field("balanced", pa.int64(), nullable=False),  # of these selected under the cap
        pa.field("samples", pa.int64(), nullable=False),  # of these in the shards
    ]
)
_COUNTS_NAME = "query_counts.parquet"


def query_table(cuts: pa.Table, samples: Ints) -> pa.Table:
    """The counts of every query, the most frequent first.

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


def card_text(queries: pa.Table, history: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown."""
    return render_template(
        "pipeline.sharding",
        "card.md.j2",
        funnel=funnel_lines(history),
        queries=queries,
        with_samples=queries.filter(pc.greater(queries["samples"], 0)).num_rows,
        counts_name=_COUNTS_NAME,
        most=20,
    )


def write_card(folder: str, *, samples: Ints, cuts: pa.Table, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes the card of a finished set of shards.

    Args:
        folder: Where to write.
        samples: [num_queries], samples in the shards that each query keeps.
        cuts: `CUTS`, a row for every query.
        history: What the stages before counted, in order.
    """
    queries = query_table(cuts, samples)
    write_table(files.join(folder, _COUNTS_NAME), queries, CARD_QUERIES)
    files.write_json(files.join(folder, "funnel.json"), list(history))
    files.write_bytes_whole(files.join(folder, "README.md"), card_text(queries, history).encode())
