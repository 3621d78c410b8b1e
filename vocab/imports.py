"""Own lists as they are written ► the queries that they become: folded, each once, best first; and what was refused.

In: rows of own lists (`vocab.own_lists`) and how queries are searched for. Out: `IMPORTED`, and for every row what
became of it. Which list is read first makes no difference.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vocab.normalize import Normalization
from vocab.own_lists import OWN_LIST
from vocab.queries import IMPORTED

# What became of a row of an own list.
FATES: Final = pa.schema(
    [
        OWN_LIST.field("source"),
        OWN_LIST.field("text"),
        pa.field("query", pa.string(), nullable=False),  # what it became; empty where nothing is left
        pa.field("fate", pa.string(), nullable=False),  # `Fate`
    ]
)


class Fate(StrEnum):
    """What becomes of a row of an own list."""

    KEPT = "kept"
    SAME_QUERY = "same_query"  # a better row is the same query
    NO_TOKEN = "no_token"  # nothing is left that could be found
    TOO_LONG = "query_too_long"
    OVER_BUDGET = "over_budget"  # better queries fill the list


class FoldedLists(NamedTuple):
    """What own lists give.

    Attributes:
        queries: `IMPORTED`.
        fates: `FATES`, the best rows first.
    """

    queries: pa.Table
    fates: pa.Table


def fold_lists(rows: pa.Table, normalization: Normalization, *, max_chars: int) -> FoldedLists:
    """Folds the rows of own lists.

    The best come first: those that are counted most, then the first of each list. Rows that are the same query are
    one, which is written as the best of them and counts for all.

    Args:
        rows: `OWN_LIST`, of all lists.
        normalization: How queries are searched for.
        max_chars: Of a query.
    """
    order = [("count", "descending"), ("place", "ascending"), ("text", "ascending"), ("source", "ascending")]
    rows = rows.sort_by(order).combine_chunks()
    queries = normalization.normalize_queries(rows["text"].combine_chunks())
    no_token = pc.equal(pc.utf8_trim_whitespace(queries), "")
    queries = pc.if_else(no_token, "", queries)
    too_long = pc.greater(pc.utf8_length(queries), max_chars)
    usable = pc.invert(pc.or_(no_token, too_long))
    shown = pc.utf8_trim_whitespace(pc.replace_substring_regex(rows["text"], r"\s+", " "))
    good = pa.table([queries, shown, rows["count"]], schema=IMPORTED).filter(usable)
    sums = good.group_by("query", use_threads=False).aggregate([("display", "first"), ("count", "sum")])
    merged = sums.select(["query", "display_first", "count_sum"]).rename_columns(IMPORTED.names).cast(IMPORTED)
    places = pc.index_in(queries, value_set=queries)  # of the first row that is the same
    is_first = pc.equal(places, pa.array(range(len(queries)), places.type))
    fate = pc.if_else(is_first, Fate.KEPT.value, Fate.SAME_QUERY.value)
    fate = pc.if_else(too_long, Fate.TOO_LONG.value, fate)
    fate = pc.if_else(no_token, Fate.NO_TOKEN.value, fate)
    return FoldedLists(merged, pa.table([rows["source"], rows["text"], queries, fate], schema=FATES))


def mark_left_out(fates: pa.Table, queries: pa.Array) -> pa.Table:
    """`FATES` with those rows over the budget that are queries, but none of the list.

    Args:
        fates: Of all rows.
        queries: The list.
    """
    left_out = pc.and_(pc.equal(fates["fate"], Fate.KEPT.value), pc.invert(pc.is_in(fates["query"], value_set=queries)))
    fate = pc.if_else(left_out, Fate.OVER_BUDGET.value, fates["fate"])
    return fates.set_column(fates.schema.get_field_index("fate"), FATES.field("fate"), fate)
