"""Matching and counting on an engine: what is kept, what is dropped, what is counted."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from jobs.__main__ import main
from jobs.engines import Engine, StepFailed
from jobs.runner import make_step
from pipeline.base.arrays import read_array, read_lists
from pipeline.base.drops import add_counts
from pipeline.base.files import basename, write_bytes_whole
from pipeline.base.folders import VocabFolder
from pipeline.base.ids import pair_id
from pipeline.base.lineage import read_stage
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import MATCHED, PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_counts, read_table, write_table
from pipeline.matching.stage import load_same_matcher, match_table
from pipeline.steps import MapUnits, Step, count_queries
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES as QUERY_TABLE

QUERIES = ["cat", "red cat", "dog", "photo of"]
TEXTS = {
    "a.parquet": ["A red cat.", "nothing here", "Photo of a DOG and a dog", "", "cats"],
    "b.parquet": ["cat"],
    "c.parquet": [],
}


def write_pairs(folder):
    for name, texts in TEXTS.items():
        urls = [f"http://host.example/{name}/{number}" for number in range(len(texts))]
        columns = {
            "pair_id": [pair_id(url, text) for url, text in zip(urls, texts, strict=True)],
            "image_url": urls,
            "text": texts,
            "text_source": ["alt"] * len(texts),
            "page_url": [None] * len(texts),
            "language": ["en"] * len(texts),
            "source_file": [name] * len(texts),
        }
        write_table(str(folder / "pairs" / name), pa.Table.from_pydict(columns, PAIRS), PAIRS)
    return [str(folder / "pairs" / name) for name in TEXTS]


@pytest.fixture
def run_match(tmp_path):
    """Matches the pairs and returns its metrics."""
    matcher = compile_matcher(QUERIES)
    matcher.save(str(tmp_path / "matcher"), write_bytes_whole)
    tables = write_pairs(tmp_path)

    def run(digest=matcher.digest):
        shared = OnWorker(load_same_matcher, str(tmp_path / "matcher"), digest, kernel="auto")
        match = MapUnits(
            units=tables,
            output_of=lambda path: str(tmp_path / "matched" / basename(path)),
            work=partial(match_table, matcher=shared),
        )
        made = make_step(Step("MatchQueries", match), Engine(workers=1), str(tmp_path))
        return add_counts(*(receipt.counts for receipt in made.values()))

    return run


EXPECTED = {"pairs/in": 6, "pairs/kept": 3, "pairs/drop/no_query": 3, "matches": 5}


def test_queries_of_each_pair_lie_in_its_row_and_pairs_without_one_are_counted(run_match, tmp_path):
    assert run_match() == EXPECTED
    matched = read_table(str(tmp_path / "matched" / "a.parquet"))
    assert matched.schema.equals(MATCHED)
    assert matched["query_ids"].to_pylist() == [[0, 1], [], [2, 3], [], []]
    assert read_table(str(tmp_path / "matched" / "c.parquet")).num_rows == 0
    assert read_counts(str(tmp_path / "matched" / "b.parquet")) == {"matches": 1, "pairs/in": 1, "pairs/kept": 1}


def test_a_finished_table_is_left_alone_and_counted_again(run_match, tmp_path):
    run_match()
    path = tmp_path / "matched" / "a.parquet"
    written = path.stat().st_mtime_ns
    assert run_match() == EXPECTED
    assert path.stat().st_mtime_ns == written


def test_another_matcher_than_expected_is_refused(run_match):
    with pytest.raises(StepFailed, match="holds another matcher"):
        run_match(digest="0" * 64)


def test_counts_are_the_rows_that_list_a_query(run_match, tmp_path):
    run_match()
    for name, tables, expected in (("all", TEXTS, [2, 1, 1, 1]), ("one", ["c.parquet"], [0] * 4), ("no", [], [0] * 4)):
        count = count_queries(
            [str(tmp_path / "matched" / table) for table in tables],
            partial(read_lists, column="query_ids"),
            len(QUERIES),
            output=str(tmp_path / f"{name}.npy"),
        )
        [made] = make_step(Step("CountQueries", count), Engine(workers=1), str(tmp_path)).values()
        assert made.counts == {}
        counts = read_array(str(tmp_path / f"{name}.npy"))
        assert counts.dtype == np.int64
        assert counts.tolist() == expected


@pytest.mark.parametrize(
    ("flags", "counts"),
    [([], [2, 1, 1, 1]), (["--case", "sensitive"], [2, 1, 1, 0])],
    ids=["as the vocabulary was compiled", "compiled anew"],
)
def test_the_command_matches_every_table_and_counts_every_query(tmp_path, flags, counts):
    write_pairs(tmp_path)
    rows = [{"query_id": n, "query": query, "display": query, "sources": ["word"]} for n, query in enumerate(QUERIES)]
    write_table(VocabFolder(str(tmp_path / "vocab")).queries, pa.Table.from_pylist(rows, QUERY_TABLE), QUERY_TABLE)
    compile_matcher(QUERIES).save(str(tmp_path / "vocab" / "matcher"), write_bytes_whole)
    for folder, stage in (("pairs", "extract-pairs"), ("vocab", "build-vocab")):
        close_folder(str(tmp_path / folder), identity={"stage": stage}, counts={}, outputs=[], made_from=[])
    assert main(["match-pairs", "--data", str(tmp_path), "--workers", "1", "--quiet", *flags]) == 0
    assert read_array(str(tmp_path / "matched" / "counts.npy")).tolist() == counts
    assert read_stage(str(tmp_path / "matched"))["counts"]["matches"] == sum(counts)
