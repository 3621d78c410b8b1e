"""Merging the sources: order, budget, what a query knows, and its files."""

import io

import pyarrow as pa
import pytest

from vocab.queries import QUERIES, QuerySource, QueryTable, SourceTables


def make_sources(words=(), bigrams=(), titles=(), synsets=()):
    """Tables as the stage selects them; a display form is the query with capitals."""
    return SourceTables(
        words=rows_of({"word": str, "display": str, "count": int}, [(w, w.title(), n) for w, n in words]),
        bigrams=rows_of(
            {"bigram": str, "display": str, "count": int, "first_count": int, "second_count": int}
            | {"pmi": float, "npmi": float},
            [(text, text.title(), n, 7 * n, 9 * n, pmi, 0.5) for text, n, pmi in bigrams],
        ),
        titles=rows_of({"title": str, "display": str, "views": int}, [(t, t.capitalize(), n) for t, n in titles]),
        synsets=rows_of(
            {"synset": str, "display": str, "synsets": list}, [(name, name, [f"n-{name}"]) for name in synsets]
        ),
    )


def rows_of(columns, rows):
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.string())}
    arrays = [pa.array([row[k] for row in rows], types[kind]) for k, kind in enumerate(columns.values())]
    return pa.table(arrays, names=list(columns))


SOURCES = make_sources(
    words=[("the", 900), ("york", 300), ("dog", 200)],
    bigrams=[("new york", 120, 9.5), ("of the", 400, 1.5)],
    titles=[("new york", 5000), ("dog", 400), ("taylor swift", 300), ("zebra", 70)],
    synsets=["cat", "dog", "entity"],
)
UNKNOWN = dict.fromkeys(("count", "first_count", "second_count", "pmi", "npmi", "views", "synsets"))


def test_queries_are_sorted_distinct_and_keep_all_their_sources_and_figures():
    table = QueryTable.merge(SOURCES, max_queries=100)
    assert table.queries == sorted(set(table.queries))
    assert table.rows["query_id"].to_pylist() == list(range(len(table)))
    rows = {row.pop("query"): row for row in table.rows.drop_columns("query_id").to_pylist()}
    scores = {"count": 120, "first_count": 840, "second_count": 1080, "pmi": 9.5, "npmi": 0.5}
    new_york = {"display": "New york", "sources": ["bigram", "title"], "views": 5000}
    assert rows["new york"] == UNKNOWN | scores | new_york
    dog = {"display": "Dog", "sources": ["word", "title", "synset"], "count": 200, "views": 400, "synsets": ["n-dog"]}
    assert rows["dog"] == UNKNOWN | dog
    assert rows["entity"] == UNKNOWN | {"display": "entity", "sources": ["synset"], "synsets": ["n-entity"]}
    assert [table.count_source(source) for source in QuerySource] == [3, 2, 4, 3]


def test_overlaps_are_counted_by_the_exact_sources_the_most_first():
    overlaps = QueryTable.merge(SOURCES, max_queries=100).count_overlaps()
    assert list(overlaps.items())[:3] == [(("synset",), 2), (("title",), 2), (("word",), 2)]
    assert overlaps[("word", "title", "synset")] == overlaps[("bigram", "title")] == 1
    assert sum(overlaps.values()) == 9


@pytest.mark.parametrize(
    ("sources", "shown"),
    [
        pytest.param(("word", "synset", "title", "bigram"), "as a word", id="word"),
        pytest.param(("synset", "title", "bigram"), "as a synset", id="synset"),
        pytest.param(("title", "bigram"), "as a title", id="title"),
        pytest.param(("bigram",), "as a bigram", id="bigram"),
    ],
)
def test_the_display_form_is_that_of_the_best_speller(sources, shown):
    tables = make_sources(words=[("x", 1)], bigrams=[("x", 1, 1.0)], titles=[("x", 1)], synsets=["x"])
    tables = SourceTables(
        *(
            table.set_column(1, "display", pa.array([f"as a {source.label}"])).slice(0, int(source.label in sources))
            for source, table in zip(QuerySource, tables, strict=True)
        )
    )
    assert QueryTable.merge(tables, max_queries=5).rows["display"].to_pylist() == [shown]


def test_titles_give_way_first_then_synsets_bigrams_words():
    kept = {size: set(QueryTable.merge(SOURCES, max_queries=size).queries) for size in range(1, 10)}
    expected = ["the", "york", "dog", "new york", "of the", "cat", "entity", "taylor swift", "zebra"]
    assert [kept[1], *(kept[size] - kept[size - 1] for size in range(2, 10))] == [{query} for query in expected]


def test_the_tsv_is_readable():
    file = io.BytesIO()
    quoted = make_sources(words=[("the", 900)], titles=[('12" single\ta', 80)])
    QueryTable.merge(quoted, max_queries=100).write_tsv(file)
    QueryTable.merge(SOURCES, max_queries=100).write_tsv(file)
    lines = file.getvalue().decode().splitlines()
    assert lines[0].split("\t") == QUERIES.names
    assert '0\t12" single a\t12" single a\ttitle\t\t\t\t\t\t80\t' in lines
    assert "3\tnew york\tNew york\tbigram,title\t120\t840\t1080\t9.5\t0.5\t5000\t" in lines
    assert "2\tentity\tentity\tsynset\t\t\t\t\t\t\tn-entity" in lines


def test_no_sources_give_an_empty_table():
    assert len(QueryTable.merge(make_sources(), max_queries=10)) == 0
