"""The query table: words, bigrams, titles and synsets merged into one list of search strings.

In: the selected rows of each source, normalised, best first. Out: distinct queries with all their sources and figures,
sorted; the row of a query is its `query_id`.

Source: Radford et al. 2021, section 2.2 (500,000 queries: frequent words, bigrams of high PMI, titles, then "all
WordNet synsets not already in the query list").
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("sources", pa.list_(pa.string()), nullable=False),
        pa.field("count", pa.int64()),
        pa.field("pmi", pa.float64()),
        pa.field("views", pa.int64()),
    ]
)


class Source(IntEnum):
    """Where a query comes from, in CLIP's order."""

    WORD = 0
    BIGRAM = 1
    TITLE = 2
    SYNSET = 3


# Who gives way when there are more queries than wanted, the first one last: titles are ranked, open-ended and only
# fill up the list (as MetaCLIP's do), synsets are a closed set.
_PRIORITY = (Source.WORD, Source.BIGRAM, Source.SYNSET, Source.TITLE)

_CANDIDATES = pa.schema(
    [
        ("query", pa.string()),
        ("count", pa.int64()),
        ("pmi", pa.float64()),
        ("views", pa.int64()),
        ("source_bit", pa.int8()),
        ("place", pa.int64()),
    ]
)


class SourceTables(NamedTuple):
    """The selected rows of every source, best first, each string once."""

    words: pa.Table  # word, count
    bigrams: pa.Table  # bigram, count, pmi
    titles: pa.Table  # title, views
    synsets: pa.Table  # synset


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
        named = zip(Source, sources, strict=True)
        candidates = pa.concat_tables([_candidates(source, table) for source, table in named])
        figures = [("count", "max"), ("pmi", "max"), ("views", "max"), ("source_bit", "sum"), ("place", "min")]
        merged = candidates.group_by("query").aggregate(figures)
        kept = merged.sort_by("place_min").slice(0, max_queries).sort_by("query")
        columns = [
            pa.array(np.arange(kept.num_rows, dtype=np.int32)),
            kept["query"],
            _source_lists().take(kept["source_bit_sum"].combine_chunks().cast(pa.int8())),
            *(kept[f"{name}_max"] for name in ("count", "pmi", "views")),
        ]
        return cls(pa.table(columns, schema=QUERIES))

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """Reads ``queries.parquet``."""
        return cls(pyarrow.parquet.read_table(file).cast(QUERIES))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def queries(self) -> list[str]:
        """The search strings; the position of one is its query_id."""
        strings: list[str] = self.rows["query"].to_pylist()
        return strings

    def count_source(self, source: Source) -> int:
        """How many queries come from a source, alone or not."""
        names = pc.list_flatten(self.rows["sources"])
        return int(pc.sum(pc.equal(names, source.name.lower())).as_py() or 0)

    def write_parquet(self, file: BinaryIO) -> None:
        """Writes ``queries.parquet``."""
        pyarrow.parquet.write_table(self.rows, file, compression="zstd")

    def write_tsv(self, file: BinaryIO) -> None:
        """Writes the table for people to read; sources are joined by commas, what is unknown is left empty."""
        sources = pc.binary_join(self.rows["sources"], ",")
        flat = self.rows.set_column(self.rows.schema.get_field_index("sources"), "sources", sources)
        options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
        pyarrow.csv.write_csv(flat, file, options)


def _candidates(source: Source, table: pa.Table) -> pa.Table:
    """Rows of one source, with empty columns for what it does not know."""
    num_rows = table.num_rows
    known = {name: table[name] for name in ("count", "pmi", "views") if name in table.column_names}
    own = {
        "query": table.column(0),
        "source_bit": pa.repeat(pa.scalar(1 << source, pa.int8()), num_rows),
        "place": pa.array(np.arange(num_rows) + (_PRIORITY.index(source) << 32)),
    }
    columns = [(known | own).get(field.name, pa.nulls(num_rows, field.type)) for field in _CANDIDATES]
    return pa.table(columns, schema=_CANDIDATES)


def _source_lists() -> pa.Array:
    """The lists of source names, by the sum of their bits."""
    sums = range(1 << len(Source))
    lists = [[source.name.lower() for source in Source if bits >> source & 1] for bits in sums]
    return pa.array(lists, pa.list_(pa.string()))
