import itertools
import os
import random
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from jobs.engines import Engine
from jobs.runner import make_step
from pipeline.base.drops import DropReason, add_counts
from pipeline.base.files import basename
from pipeline.base.ids import pair_id
from pipeline.base.schemas import PAIRS
from pipeline.base.tables import read_counts, read_table, write_table
from pipeline.extraction.dedup import _RECORD, Duplicates, find_losers
from pipeline.extraction.filters import FilterOptions
from pipeline.extraction.inputs import InputUnit
from pipeline.extraction.losers import EXTRACTED, Losers, array_beside
from pipeline.extraction.near_duplicates import NearDuplicates, band_values, sign_texts
from pipeline.extraction.pages import PageRules
from pipeline.extraction.repeats import RepeatedTexts
from pipeline.extraction.stage import extract_unit, find_step, write_distinct
from pipeline.extraction.unit import ExtractionRules, text_key
from pipeline.extraction.url_lists import ListColumns
from pipeline.steps import MapUnits, Step


def write_extracted(path, rows):
    """Rows are (text, preference) or (text, preference, url)."""
    rows = [(*row, "u")[:3] for row in rows]
    ids = pa.array([pair_id(url, text) for text, _, url in rows], pa.binary(16))
    columns = {
        "pair_id": ids,
        "image_url": [url for _, _, url in rows],
        "text": [text for text, _, _ in rows],
        "text_source": ["alt"] * len(rows),
        "page_url": pa.array([None] * len(rows), pa.string()),
        "language": pa.array([None] * len(rows), pa.string()),
        "source_file": [path.name] * len(rows),
        "same_id": ids,
        "text_key": pa.array([text_key(text) for text, _, _ in rows], pa.uint64()),
        "preference": pa.array([preference for _, preference, _ in rows], pa.uint64()),
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
    """Runs a transform; returns what was counted."""
    folder = os.path.commonpath([os.path.dirname(output) for output in transform.outputs])
    made = make_step(Step("Step", transform), Engine(workers=1), folder)
    return add_counts(*(receipt.counts for receipt in made.values()))


def find(tables, rule, folder):
    """Runs the step of a rule; returns its losers."""
    lost = Losers(DropReason.DUPLICATE_PAIR, str(folder))
    step = find_step(tables, rule, lost)
    assert run(step.transform) == {}
    assert step.transform.outputs == tuple(map(lost.path, tables))
    return lost


def test_duplicates_lose_by_preference_then_table_then_row(tables, tmp_path):
    lost = find(tables, Duplicates(num_tables=4), tmp_path / "losers")
    assert [lost.rows(table).tolist() for table in tables] == [[0, 1], [1], [], []]


def test_the_order_of_arrival_decides_nothing():
    rng = random.Random(0)
    places = itertools.product(range(5), range(40))
    rows = [((rng.randrange(4), rng.randrange(2)), rng.randrange(3), table, row) for table, row in places]
    expected = None
    for _ in range(5):
        rng.shuffle(rows)
        losers = find_losers(np.array(rows, _RECORD))
        found = sorted((int(record["unit"]), int(record["row"])) for record in losers)
        expected = expected or found
        assert found == expected
    assert len(expected) == len(rows) - len({row[0] for row in rows})


def test_what_is_distinct_is_written_once_and_the_rest_is_counted(tables, tmp_path):
    lost = find(tables, Duplicates(num_tables=4), tmp_path / "losers")
    output = tmp_path / "pairs"

    def write():
        work = partial(write_distinct, losers=[lost])
        return MapUnits(units=tables, output_of=lambda table: str(output / basename(table)), work=work)

    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}
    texts = {path.stem: read_table(str(path))["text"].to_pylist() for path in output.glob("*.parquet")}
    assert texts == {"a": ["x", "z"], "b": ["y", "w"], "c": [], "d": ["v"]}
    assert read_table(str(output / "c.parquet")).schema.names == PAIRS.names
    (output / "a.parquet").rename(output / "kept.parquet")
    assert run(write()) == {"pairs/kept": 5, "pairs/drop/duplicate_pair": 3}, "files that are there count as before"
    assert (output / "a.parquet").read_bytes() == (output / "kept.parquet").read_bytes()


def test_every_input_gives_a_table_with_its_counts_inside(tmp_path):
    source = tmp_path / "list.csv"
    source.write_text("url,text\nhttp://a.example/1.jpg,a cat\nhttp://a.example/2.jpg,\n")
    rules = ExtractionRules(PageRules(), ListColumns(), FilterOptions(), {})
    output = tmp_path / "out" / "list.csv-1.parquet"

    def extract():
        work = partial(extract_unit, rules=rules, tries=1, drop_unreadable=False)
        units = [InputUnit(str(source), "list.csv-1", "table")]
        return MapUnits(units=units, output_of=lambda _: str(output), work=work)

    counts = {"pairs/in": 2, "pairs/drop/no_text": 1}
    assert run(extract()) == counts
    assert read_counts(str(output)) == counts
    source.unlink()
    assert run(extract()) == counts, "a table that is there is not made again"


def texts_left(tables, lost):
    return Counter(
        text
        for table in tables
        for row, text in enumerate(read_table(table)["text"].to_pylist())
        if row not in lost.rows(table)
    )


def test_a_text_keeps_as_many_pairs_as_the_cap_wherever_they_are(tmp_path):
    rows = [(text, 0, f"http://a.example/{i}.jpg") for i, text in enumerate(["logo"] * 30 + ["cat"] * 3 + ["dog"])]
    kept = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        folder = tmp_path / str(seed)
        tables = [write_extracted(folder / f"{i}.parquet", rows[i::3]) for i in range(3)]
        none = find(tables, Duplicates(num_tables=3), folder / "none")
        over = find(tables, RepeatedTexts(max_repeats=3, num_tables=3, losers=(none,)), folder / "over")
        assert texts_left(tables, over) == {"logo": 3, "cat": 3, "dog": 1}
        kept.append({
            url
            for table in tables
            for row, url in enumerate(read_table(table)["image_url"].to_pylist())
            if row not in over.rows(table)
        })  # fmt: skip
    assert kept[0] == kept[1] == kept[2], "which pairs stay depends on the pairs alone"


LONG = "a photograph of the old harbour of the town at dusk with fishing boats, number"


def test_of_texts_that_are_nearly_the_same_one_stays_with_all_its_pairs(tmp_path):
    texts = [f"{LONG} {i}" for i in range(6)] * 2 + ["a red cat", "a blue dog", "logo", "x", "x"]
    rows = [(text, 0, f"http://a.example/{i}.jpg") for i, text in enumerate(texts)]
    left = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        tables = [write_extracted(folder / f"{i}.parquet", rows[i::parts]) for i in range(parts)]
        none = find(tables, Duplicates(num_tables=parts), folder / "none")
        signed = str(folder / "signed")
        sign = partial(sign_texts, threshold=0.8, losers=[none])
        run(MapUnits(units=tables, output_of=partial(array_beside, folder=signed), work=sign))
        rule = NearDuplicates(signatures=signed, num_tables=parts, losers=(none,))
        left.append(texts_left(tables, find(tables, rule, folder / "near")))
    assert left[0] == left[1], "how rows lie in tables decides nothing"
    assert {text: left[0][text] for text in texts[12:]} == {"a red cat": 1, "a blue dog": 1, "logo": 1, "x": 2}
    assert [number for text, number in left[0].items() if text.startswith(LONG)] == [2]


def test_bands_agree_for_texts_that_are_alike_and_not_for_others():
    values = band_values([LONG, f"{LONG} 7", "an entirely other sentence about mountains and snow", ""], 0.8)
    assert values.shape == (4, 9)
    shared = [(values[0] == values[other]).sum() for other in (1, 2, 3)]
    assert shared[0] > 0 and shared[1:] == [0, 0]
    assert np.array_equal(
        values, band_values([LONG, f"{LONG} 7", "an entirely other sentence about mountains and snow", ""], 0.8)
    )
