import itertools
import random

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.extraction.dedup import _RECORD, EXTRACTED, FindDuplicates, find_losers, read_losers
from pipeline.extraction.filters import FilterOptions
from pipeline.extraction.pages import PageRules
from pipeline.extraction.stage import ExtractCandidates, InputUnit, WriteDistinctPairs
from pipeline.extraction.unit import ExtractionRules
from pipeline.extraction.url_lists import ListColumns
from pipeline.ids import pair_id
from pipeline.schemas import PAIRS
from pipeline.tables import read_counts, read_table, write_table


def write_extracted(path, rows):
    """Rows are (text, preference)."""
    columns = {
        "pair_id": pa.array([pair_id("u", text) for text, _ in rows], pa.binary(16)),
        "image_url": ["u"] * len(rows),
        "text": [text for text, _ in rows],
        "text_source": ["alt"] * len(rows),
        "page_url": pa.array([None] * len(rows), pa.string()),
        "language": pa.array([None] * len(rows), pa.string()),
        "source_file": [path.name] * len(rows),
        "preference": pa.array([preference for _, preference in rows], pa.uint64()),
    }
    write_table(str(path), pa.table(columns, EXTRACTED), EXTRACTED)
    return str(path)


@pytest.fixture
def tables(tmp_path):
    return [
        write_extracted(tmp_path / "a.parquet", [("x", 5), ("y", 5), ("x", 3), ("z", 1)]),
        write_extracted(tmp_path / "b.parquet", [("y", 4), ("x", 3), ("w", 9)]),
        write_extracted(tmp_path / "c.parquet", []),
        write_extracted(tmp_path / "d.parquet", [("v", 9)]),
    ]


def run(transform):
    """Runs a transform; returns the sums of the stage's counts."""
    pipeline = beam.Pipeline(FnApiRunner())
    _ = pipeline | transform
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("extract-pairs"))["counters"]
    return {counter.key.metric.name: counter.result for counter in counters}


def test_duplicates_lose_by_preference_then_table_then_row(tables, tmp_path):
    run(FindDuplicates(tables=tables, output=str(tmp_path / "losers")))
    losers = {name: read_losers(str(tmp_path / "losers"), name).tolist() for name in "abcd"}
    assert losers == {"a": [0, 1], "b": [1], "c": [], "d": []}


def test_the_order_of_arrival_decides_nothing():
    rng = random.Random(0)
    places = itertools.product(range(5), range(40))
    rows = [((rng.randrange(4), rng.randrange(2)), rng.randrange(3), table, row) for table, row in places]
    expected = None
    for _ in range(5):
        rng.shuffle(rows)
        losers = find_losers(np.array(rows, _RECORD))
        found = sorted((int(record["table"]), int(record["row"])) for record in losers)
        expected = expected or found
        assert found == expected
    assert len(expected) == len(rows) - len({row[0] for row in rows})


def test_what_is_distinct_is_written_once_and_the_rest_is_counted(tables, tmp_path):
    run(FindDuplicates(tables=tables, output=str(tmp_path / "losers")))
    output = tmp_path / "pairs"

    def write():
        losers = str(tmp_path / "losers")
        return WriteDistinctPairs(stage_name="extract-pairs", tables=tables, duplicates=losers, output=str(output))

    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}
    texts = {path.stem: read_table(str(path))["text"].to_pylist() for path in output.iterdir()}
    assert texts == {"a": ["x", "z"], "b": ["y", "w"], "c": [], "d": ["v"]}
    assert read_table(str(output / "c.parquet")).schema.names == PAIRS.names
    (output / "a.parquet").rename(output / "kept.parquet")
    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}, "files that are there count as before"
    assert (output / "a.parquet").read_bytes() == (output / "kept.parquet").read_bytes()


def test_every_input_gives_a_table_with_its_counts_inside(tmp_path):
    source = tmp_path / "list.csv"
    source.write_text("url,text\nhttp://a.example/1.jpg,a cat\nhttp://a.example/2.jpg,\n")
    rules = ExtractionRules(PageRules(), ListColumns(), FilterOptions(), {})
    units = [InputUnit(str(source), "list.csv-1", "table")]

    def extract():
        output = str(tmp_path / "out")
        return ExtractCandidates(stage_name="extract-pairs", units=units, rules=rules, output=output)

    counts = {"pairs/in": 2, "pairs/drop/no_text": 1}
    assert run(extract()) == counts
    assert read_counts(str(tmp_path / "out" / "list.csv-1.parquet")) == counts
    source.unlink()
    assert run(extract()) == counts, "a table that is there is not made again"
