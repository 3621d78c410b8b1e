"""Pairs of one image that become one row of a fetch plan; companions of selected pairs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.balancing.companions import Companions
from pipeline.balancing.keeping import Selection
from pipeline.balancing.lots import LARGEST, Drawing, same_lots
from pipeline.balancing.pool import PoolTable, even_groups, write_list
from pipeline.base.carried_columns import carried_fields
from pipeline.base.ids import pair_id
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import BALANCED, PLAN, TEXTS
from pipeline.base.table_groups import read_rows
from pipeline.base.tables import write_table
from pipeline.fetching.planning import merge_images


def plan_of(rows, extra=()):
    """Rows of (URL, text, query_ids, kept_for, probability)."""
    found = [
        {"pair_id": pair_id(url, text), "image_url": url, "text": text, "text_source": "alt", "page_url": None,
         "language": None, "source_file": "crawl.warc.gz",
         "query_ids": ids, "kept_for": kept, "keep_probability": chance, "selected": text}
        for url, text, ids, kept, chance in rows
    ]  # fmt: skip
    return pa.Table.from_pylist(found, pa.schema([*PLAN, *extra]))


ROWS = [
    ("http://a/1", "a dog", [1], [], 0.5),
    ("http://a/1", "a cat on a tree", [0, 2], [2], 0.5),
    ("http://a/1", "a cat", [0], [0], 0.25),
    ("http://a/2", "a tree", [2], [2], 1.0),
]


def test_an_image_has_the_best_text_first_and_the_queries_of_all():
    merged = merge_images(plan_of(ROWS, [pa.field("selected", pa.string())]))
    assert merged["pair_id"].to_pylist() == sorted(merged["pair_id"].to_pylist())
    rows = {row["image_url"]: row for row in merged.to_pylist()}
    one = rows["http://a/1"]
    assert (one["text"], one["pair_id"]) == ("a cat on a tree", pair_id("http://a/1", "a cat on a tree"))
    assert one["texts"] == ["a cat on a tree", "a cat", "a dog"]
    assert (one["query_ids"], one["kept_for"]) == ([0, 1, 2], [0, 2])
    assert one["keep_probability"] == pytest.approx(1 - 0.5 * 0.5 * 0.75)
    assert one["selected"] == one["text"]
    assert rows["http://a/2"] == plan_of(ROWS[3:]).to_pylist()[0] | {"texts": ["a tree"], "selected": "a tree"}
    assert merged.drop_columns(["selected"]).schema.equals(PLAN.append(TEXTS))
    assert carried_fields(merged.schema)[-1].name == "texts"


def test_no_rows_are_no_images():
    assert merge_images(plan_of([])).schema.equals(PLAN.append(TEXTS))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 2)), unique_by=lambda t: t[:2]),
    st.randoms(),
)
def test_neither_texts_nor_queries_are_lost_and_order_makes_no_difference(cells, random):
    rows = [
        (f"http://a/{url}", f"text {text}", list(range(text % 3)), list(range(min(kept, text % 3))), 0.5)
        for url, text, kept in cells
    ]
    merged = merge_images(plan_of(rows)).to_pylist()
    assert sorted((row["image_url"], text) for row in merged for text in row["texts"]) == sorted(
        row[:2] for row in rows
    )
    for row in merged:
        own = [other for other in rows if other[0] == row["image_url"]]
        assert row["query_ids"] == sorted({q for other in own for q in other[2]})
        assert row["kept_for"] == sorted({q for other in own for q in other[3]})
        assert row["text"] == row["texts"][0]
    random.shuffle(rows)
    assert merge_images(plan_of(rows)).to_pylist() == merged


def open_half():
    """Of query 0 all pairs are selected, of query 1 none."""
    return Selection(
        drawing=Drawing(seed=0, query_hashes=same_lots(2)),
        cuts=np.array([LARGEST, 0], np.uint64),
        shares=np.ones(2),
        coordinated=True,
    )


def test_companions_are_the_other_matched_pairs_of_images_that_a_query_selected(tmp_path):
    urls = [["x", "x", "y", "z"], ["z", "x", "y", "x"]]
    queries = [[[0], [1], [1], [0]], [[1], [], [1], [1]]]
    tables = []
    for number, (of_url, of_query) in enumerate(zip(urls, queries, strict=True)):
        rows = [
            {"pair_id": pair_id(url, f"{number} {row}"), "image_url": url, "text": f"{row}", "text_source": "alt",
             "source_file": "f", "query_ids": ids, "kept_for": [], "keep_probability": 1.0}
            for row, (url, ids) in enumerate(zip(of_url, of_query, strict=True))
        ]  # fmt: skip
        path = str(tmp_path / f"part-{number}.parquet")
        write_table(path, pa.Table.from_pylist(rows, BALANCED), BALANCED)
        tables.append(PoolTable(path, f"part-{number}.parquet"))
    companions = Companions(selection=OnWorker(open_half), payload=0)
    groups = even_groups(tables, 7)
    buckets = {}
    for group in groups:
        for bucket, part in companions.pack(group):
            buckets.setdefault(bucket, []).append(part)
    found = {}
    for parts in buckets.values():
        for number, part in companions.find(parts):
            found.setdefault(number, []).append(part)
    listed = []
    for group in groups:
        output = str(tmp_path / f"{group.name}.rows")
        write_list(group, output, found.get(group.number, []))
        listed += [read_rows(output, place).tolist() for place in range(len(group.tables))]
    assert listed == [[1], [0, 3]]
