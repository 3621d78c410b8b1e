"""How many pairs every query had and was given: of a selection, or of several lists by which images were fetched."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.schemas import CUTS
from pipeline.base.tables import read_table


def num_queries(queries: pa.Table) -> int:
    """How long an array by query ids must be: where a list does not know all queries, more than the table's rows.

    >>> num_queries(pa.table({"query_id": [2, 0]})), num_queries(pa.table({"query_id": pa.array([], pa.int32())}))
    (3, 0)
    """
    return max(queries["query_id"].to_pylist(), default=-1) + 1


def add_cuts(tables: Sequence[str]) -> pa.Table:
    """The queries of several lists (`CUTS`), in the order of their ids.

    Args:
        tables: Of each list its own.

    Raises:
        ValueError: When they give one id to two queries: they are of two vocabularies.
    """
    rows = pa.concat_tables([read_table(path) for path in tables])
    total = rows.group_by(["query_id", "query"]).aggregate([("count", "sum"), ("kept", "sum")]).sort_by("query_id")
    ids = total["query_id"].to_numpy()
    if len(twice := np.flatnonzero(ids[1:] == ids[:-1])):
        one, other = (total["query"][int(twice[0]) + place].as_py() for place in (0, 1))
        raise ValueError(f"raw: lists of two vocabularies: query {ids[twice[0]]} is {one!r} and {other!r}")
    cut = pa.nulls(total.num_rows, pa.uint64())
    columns = [total["query_id"], total["query"], total["count_sum"], cut, pc.cast(total["kept_sum"], pa.int64())]
    return pa.table(columns, CUTS)
