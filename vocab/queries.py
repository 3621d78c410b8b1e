"""The query table: words, bigrams, titles and synsets merged into one list of search strings.

In: the selected rows of each source, best first. Out: distinct queries with all their sources and figures, sorted; the
row of a query is its `query_id`.

When there are more queries than the budget has room for, titles give way first, then synsets, bigrams and words, and in
each source the last rows: titles are open-ended and fill the list up (as MetaCLIP's do), synsets are a closed set that
CLIP takes whole. A string that several sources give has the best of their places.

Source: Radford et al. 2021, section 2.2 (500,000 queries: frequent words, bigrams of high PMI, titles, then "all
WordNet synsets not already in the query list").
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_STRINGS = pa.list_(pa.string())

QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),  # row number
        pa.field("query", pa.string(), nullable=False),  # normalised, as it is searched for
        pa.field("display", pa.string(), nullable=False),  # as it is written most often
        pa.field("sources", _STRINGS, nullable=False),  # word, bigram, title, synset
        pa.field("count", pa.int64()),  # occurrences in the dump (word, bigram)
        pa.field("first_count", pa.int64()),  # occurrences of the first word (bigram)
        pa.field("second_count", pa.int64()),  # of the second
        pa.field("pmi", pa.float64()),  # bits (bigram)
        pa.field("npmi", pa.float64()),  # -1 to 1 (bigram)
        pa.field("views", pa.int64()),  # page views (title)
        pa.field("synsets", _STRINGS),  # of this name, as n02084071 (synset)
    ]
)


class QuerySource(IntEnum):
    """Where a query comes from, in CLIP's order."""

    WORD = 0
    BIGRAM = 1
    TITLE = 2
    SYNSET = 3

    @property
    def label(self) -> str:
        """The source as the query table spells it."""
        return self.name.lower()


class SourceTables(NamedTuple):
    """The selected rows of every source, best first; the first column is the query, and each string is there once."""

    words: pa.Table  # word, display, count
    bigrams: pa.Table  # bigram, display, count, first_count, second_count, pmi, npmi
    titles: pa.Table  # title, display, views
    synsets: pa.Table  # synset, display, synsets


_PRIORITY = (
    QuerySource.WORD,
    QuerySource.BIGRAM,
    QuerySource.SYNSET,
    QuerySource.TITLE,
)  # who stays in the list longest, first

# The sources that know a figure, best first. Whose spelling is shown: how a word is written most often, how the
# dictionary writes a lemma; a title begins with a capital, whatever it names, a bigram is put together from its words.
_KNOWN_BY = {
    "display": (QuerySource.WORD, QuerySource.SYNSET, QuerySource.TITLE, QuerySource.BIGRAM),
    "count": (QuerySource.WORD, QuerySource.BIGRAM),
    "first_count": (QuerySource.BIGRAM,),
    "second_count": (QuerySource.BIGRAM,),
    "pmi": (QuerySource.BIGRAM,),
    "npmi": (QuerySource.BIGRAM,),
    "views": (QuerySource.TITLE,),
    "synsets": (QuerySource.SYNSET,),
}


@dataclass(frozen=True)
class QueryTable:
    """Queries and where they come from.

    Attributes:
        rows: Table of the schema QUERIES, sorted by query.
    """

    rows: pa.Table

    @classmethod
    def merge(cls, sources: SourceTables, *, max_queries: int) -> Self:
        """Merges the sources; a query found in several of them keeps them all, with their figures."""
        by_place = [chunk for source in _PRIORITY for chunk in sources[source].column(0).chunks]
        queries = pc.unique(pa.chunked_array(by_place, pa.string()))[:max_queries]
        queries = queries.take(pc.sort_indices(queries))
        rows = {source: pc.index_in(queries, value_set=sources[source].column(0)) for source in QuerySource}
        in_sources = sum(pc.is_valid(rows[source]).to_numpy(zero_copy_only=False) << source for source in QuerySource)
        columns = {
            "query_id": pa.array(np.arange(len(queries), dtype=np.int32)),
            "query": queries,
            "sources": _source_lists().take(pa.array(in_sources)),
        }
        for name, known_by in _KNOWN_BY.items():
            figures = [sources[source][name].combine_chunks().take(rows[source]) for source in known_by]
            columns[name] = pc.coalesce(*figures)
        return cls(pa.table([columns[name] for name in QUERIES.names], schema=QUERIES))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def queries(self) -> list[str]:
        """The search strings; the position of one is its query_id."""
        strings: list[str] = self.rows["query"].to_pylist()
        return strings

    def count_source(self, source: QuerySource) -> int:
        """How many queries come from a source, alone or not."""
        names = pc.list_flatten(self.rows["sources"])
        return int(pc.sum(pc.equal(names, source.label)).as_py() or 0)

    def count_overlaps(self) -> dict[tuple[str, ...], int]:
        """How many queries come from exactly these sources, most queries first."""
        names = pc.binary_join(self.rows["sources"], ",").value_counts().to_pylist()
        found = {tuple(row["values"].split(",")): row["counts"] for row in names}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def write_tsv(self, file: BinaryIO) -> None:
        """Writes the table for people to read; lists are joined by commas, what is unknown is left empty."""
        columns = [
            pc.binary_join(column, ",") if pa.types.is_list(column.type) else column.cast(pa.string())
            for column in self.rows.columns
        ]
        fields = [pc.replace_substring_regex(pc.fill_null(column, ""), r"[\t\r\n]", " ") for column in columns]
        lines = pc.binary_join_element_wise(*fields, "\t")
        file.write("\t".join(QUERIES.names).encode() + b"\n")
        file.writelines(line.encode() + b"\n" for line in lines.to_pylist())


def _source_lists() -> pa.Array:
    """The lists of source names, by the sum of their bits."""
    sums = range(1 << len(QuerySource))
    return pa.array([[source.label for source in QuerySource if bits >> source & 1] for bits in sums], _STRINGS)
