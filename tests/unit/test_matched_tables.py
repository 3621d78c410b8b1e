"""Matched tables: put together with their pairs row for row, and with no other pairs."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base import matched_tables
from pipeline.base.matched_tables import OtherPairs, align_batches, matched_schema, pair_tables, read_matched
from pipeline.base.schemas import MATCHED, PAIRS
from pipeline.base.tables import write_table


def pairs_table(texts):
    rows = [
        {"pair_id": b"%016d" % row, "image_url": f"http://a.example/{row}", "text": text}
        | {"text_source": "alt", "source_file": "crawl"}
        for row, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, PAIRS)


@pytest.fixture
def tables(tmp_path):
    """A matched table and its table of pairs: 500 pairs, of which every third holds no query."""
    pairs, matched = str(tmp_path / "pairs" / "a.parquet"), str(tmp_path / "matched" / "a.parquet")
    write_table(pairs, pairs_table([f"text {row}" for row in range(500)]), PAIRS)
    lists = [[row, row + 1] if row % 3 else [] for row in range(500)]
    write_table(matched, pa.Table.from_pydict({"query_ids": lists}, MATCHED), matched_schema(pairs))
    return matched, pairs


@pytest.mark.parametrize("batch_rows", [7, 500, 10_000])
def test_columns_of_both_tables_lie_side_by_side_in_the_order_asked_for(tables, batch_rows, monkeypatch):
    monkeypatch.setattr(matched_tables, "_BATCH_ROWS", batch_rows)
    batches = list(read_matched(*tables, ["text", "query_ids", "pair_id"]))
    assert batches[0].schema.names == ["text", "query_ids", "pair_id"]
    rows = pa.Table.from_batches(batches).to_pylist()
    assert [row["text"] for row in rows] == [f"text {row}" for row in range(500)]
    assert [row["query_ids"] for row in rows] == [[row, row + 1] if row % 3 else [] for row in range(500)]


def test_pairs_are_not_opened_when_only_their_queries_are_read(tables, tmp_path):
    matched, pairs = tables
    (tmp_path / "pairs" / "a.parquet").unlink()
    assert sum(batch.num_rows for batch in read_matched(matched, pairs, ["query_ids"])) == 500


def test_a_changed_or_missing_table_of_pairs_is_an_error_that_names_it(tables, tmp_path):
    matched, pairs = tables
    write_table(pairs, pairs_table([f"text {row}" for row in range(499)] + ["another"]), PAIRS)
    with pytest.raises(OtherPairs, match=r"pairs/a.parquet is not the table that .*matched/a.parquet was made from"):
        next(read_matched(matched, pairs, ["text"]))
    (tmp_path / "pairs" / "a.parquet").unlink()
    with pytest.raises(OtherPairs, match=r"but not its table of pairs, .*pairs/a.parquet"):
        next(read_matched(matched, pairs, ["text"]))
    with pytest.raises(OtherPairs, match=r"but not its table of pairs, .*pairs/a.parquet"):
        pair_tables([matched], str(tmp_path / "pairs"))


@given(st.lists(st.integers(1, 9), max_size=8), st.lists(st.integers(0, 40), max_size=8))
@settings(max_examples=100)
def test_streams_cut_anywhere_are_aligned(lengths, cuts):
    rows = pa.record_batch({"row": np.arange(sum(lengths))})
    starts = np.cumsum([0, *lengths])
    one = [rows[start : start + length] for start, length in zip(starts, lengths, strict=False)]
    edges = sorted({0, rows.num_rows, *(cut for cut in cuts if cut < rows.num_rows)})
    other = [rows[start:end] for start, end in itertools.pairwise(edges)]
    aligned = list(align_batches(one, other))
    assert all(left.equals(right) and left.num_rows for left, right in aligned)
    assert sum(left.num_rows for left, _ in aligned) == rows.num_rows
