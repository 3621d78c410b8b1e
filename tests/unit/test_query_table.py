"""Merging the sources: order, budget, what a query knows, and its files."""

import io

import pyarrow as pa

from pipeline import schemas
from vocab.queries import QUERIES, QueryTable, Source, SourceTables


def make_sources(words=(), bigrams=(), titles=(), synsets=()):
    return SourceTables(
        words=pa.table({"word": strings(row[0] for row in words), "count": ints(row[1] for row in words)}),
        bigrams=pa.table(
            {
                "bigram": strings(row[0] for row in bigrams),
                "count": ints(row[1] for row in bigrams),
                "pmi": pa.array([row[2] for row in bigrams], pa.float64()),
                "npmi": pa.array([0.5 for _ in bigrams], pa.float64()),
            }
        ),
        titles=pa.table({"title": strings(row[0] for row in titles), "views": ints(row[1] for row in titles)}),
        synsets=pa.table({"synset": strings(synsets)}),
    )


def strings(values):
    return pa.array(list(values), pa.string())


def ints(values):
    return pa.array(list(values), pa.int64())


SOURCES = make_sources(
    words=[("the", 900), ("york", 300), ("dog", 200)],
    bigrams=[("new york", 120, 9.5), ("of the", 400, 1.5)],
    titles=[("new york", 5000), ("dog", 400), ("taylor swift", 300), ("zebra", 70)],
    synsets=["cat", "dog", "entity"],
)


def test_queries_are_sorted_distinct_and_keep_all_their_sources_and_figures():
    table = QueryTable.merge(SOURCES, max_queries=100)
    assert table.queries == sorted(set(table.queries))
    assert table.rows["query_id"].to_pylist() == list(range(len(table)))
    rows = {row.pop("query"): row for row in table.rows.drop_columns("query_id").to_pylist()}
    assert rows["new york"] == {"sources": ["bigram", "title"], "count": 120, "pmi": 9.5, "views": 5000}
    assert rows["dog"] == {"sources": ["word", "title", "synset"], "count": 200, "pmi": None, "views": 400}
    assert rows["entity"] == {"sources": ["synset"], "count": None, "pmi": None, "views": None}
    assert [table.count_source(source) for source in Source] == [3, 2, 4, 3]


def test_titles_give_way_first_then_synsets_bigrams_words():
    kept = {size: set(QueryTable.merge(SOURCES, max_queries=size).queries) for size in range(1, 10)}
    expected = ["the", "york", "dog", "new york", "of the", "cat", "entity", "taylor swift", "zebra"]
    assert [kept[1], *(kept[size] - kept[size - 1] for size in range(2, 10))] == [{query} for query in expected]


def test_a_table_reads_back_as_it_was_written():
    table = QueryTable.merge(SOURCES, max_queries=100)
    file = io.BytesIO()
    table.write_parquet(file)
    assert QueryTable.read(io.BytesIO(file.getvalue())).rows.equals(table.rows)


def test_the_tsv_is_readable():
    file = io.BytesIO()
    QueryTable.merge(SOURCES, max_queries=100).write_tsv(file)
    lines = file.getvalue().decode().splitlines()
    assert lines[0] == "query_id\tquery\tsources\tcount\tpmi\tviews"
    assert "3\tnew york\tbigram,title\t120\t9.5\t5000" in lines
    assert "2\tentity\tsynset\t\t\t" in lines


def test_no_sources_give_an_empty_table():
    assert len(QueryTable.merge(make_sources(), max_queries=10)) == 0


def test_the_schema_is_that_of_the_pipeline():
    assert QUERIES == schemas.QUERIES
