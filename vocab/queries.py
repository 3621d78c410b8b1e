"""The query table: words, bigrams, titles and synsets merged into one list of search strings, and own lists added.

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
from typing import BinaryIO, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_STRINGS = pa.list_(pa.string())

QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),  # row number
        pa.field("query", pa.string(), nullable=False),  # normalised, as it is searched for
        pa.field("display", pa.string(), nullable=False),  # as it is written most often
        pa.field("sources", _STRINGS, nullable=False),  # word, bigram, title, synset, imported
        pa.field("count", pa.int64()),  # occurrences in the dump (word, bigram), else what an own list says (imported)
        pa.field("first_count", pa.int64()),  # occurrences of the first word (bigram)
        pa.field("second_count", pa.int64()),  # of the second
        pa.field("pmi", pa.float64()),  # bits (bigram)
        pa.field("npmi", pa.float64()),  # -1 to 1 (bigram)
        pa.field("views", pa.int64()),  # page views (title)
        pa.field("synsets", _STRINGS),  # of this name, as n02084071 (synset)
    ]
)


# Own lists, folded: best first, each query once.
IMPORTED = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("display", pa.string(), nullable=False),
        pa.field("count", pa.int64()),  # all its spellings together; null where no list says
    ]
)


class QuerySource(IntEnum):
    """What of a dump, its views or WordNet a query comes from, in CLIP's order."""

    WORD = 0
    BIGRAM = 1
    TITLE = 2
    SYNSET = 3

    @property
    def label(self) -> str:
        """The source as the query table spells it."""
        return self.name.lower()


IMPORTED_SOURCE: Final = "imported"  # of a query that is in an own list
SOURCE_LABELS: Final = (*(source.label for source in QuerySource), IMPORTED_SOURCE)  # all, in their order in `sources`


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

    @classmethod
    def empty(cls) -> Self:
        """No query."""
        return cls(QUERIES.empty_table())

    def with_imports(self, imported: pa.Table, *, max_queries: int | None = None) -> Self:
        """The queries, and behind them as many of own lists as there is room for; all sorted anew.

        A query of both has all its sources; what it is called, and how often it occurs, the built one knows first.

        Args:
            imported: `IMPORTED`.
            max_queries: Queries at most; None: any number.

        Raises:
            ValueError: When there are more queries already.
        """
        if max_queries is not None and len(self) > max_queries:
            raise ValueError(f"{len(self):,} queries are there already, more than {max_queries:,}")
        own = imported["query"].combine_chunks()
        new = own.filter(pc.invert(pc.is_in(own, value_set=self.rows["query"].combine_chunks())))
        if max_queries is not None:
            new = new[: max_queries - len(self)]
        queries = pa.concat_arrays([self.rows["query"].combine_chunks(), new])
        queries = queries.take(pc.sort_indices(queries))
        built, own_rows = pc.index_in(queries, value_set=self.rows["query"]), pc.index_in(queries, value_set=own)
        bits = np.append(_source_bits(self.rows["sources"]), 0)[pc.fill_null(built, -1).to_numpy()]
        bits |= pc.is_valid(own_rows).to_numpy(zero_copy_only=False).astype(np.int64) << SOURCE_LABELS.index(
            IMPORTED_SOURCE
        )
        columns = {name: self.rows[name].combine_chunks().take(built) for name in QUERIES.names}
        columns |= {
            "query_id": pa.array(np.arange(len(queries), dtype=np.int32)),
            "query": queries,
            "sources": _source_lists().take(pa.array(bits)),
        }
        for name in ("display", "count"):
            columns[name] = pc.coalesce(columns[name], imported[name].combine_chunks().take(own_rows))
        return type(self)(pa.table([columns[name] for name in QUERIES.names], schema=QUERIES))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def queries(self) -> list[str]:
        """The search strings; the position of one is its query_id."""
        strings: list[str] = self.rows["query"].to_pylist()
        return strings

    def count_source(self, source: QuerySource) -> int:
        """How many queries come from a source, alone or not."""
        return self.count_label(source.label)

    def count_label(self, label: str) -> int:
        """How many queries have one of `SOURCE_LABELS`, alone or not."""
        return int(pc.sum(pc.equal(pc.list_flatten(self.rows["sources"]), label)).as_py() or 0)

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


def _source_bits(sources: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The sums of `_source_lists`: [rows], the opposite of taking from these."""
    lists = sources.combine_chunks()
    labels = pa.array(SOURCE_LABELS, pa.string())
    bits = 1 << pc.index_in(lists.flatten(), value_set=labels).to_numpy().astype(np.int64)
    summed = np.bincount(pc.list_parent_indices(lists).to_numpy(), bits, minlength=len(lists))
    return np.asarray(summed.astype(np.int64))


def _source_lists() -> pa.Array:
    """The lists of source names, by the sum of their bits."""
    sums = range(1 << len(SOURCE_LABELS))
    return pa.array([[s for place, s in enumerate(SOURCE_LABELS) if bits >> place & 1] for bits in sums], _STRINGS)
