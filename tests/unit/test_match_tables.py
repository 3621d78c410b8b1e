"""The queries of a table of pairs: row for row, counted, whatever the matcher's kernel and the options."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base import files
from pipeline.base.drops import check_counts
from pipeline.base.folders import VocabFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import MATCHED, PAIRS
from pipeline.base.tables import read_counts, read_table, write_table
from pipeline.matching.stage import MatchPairs, match_table
from vocab.matcher import compile_matcher
from vocab.normalize import METACLIP, Normalization
from vocab.queries import QUERIES


def write_pairs(path, texts):
    rows = [
        {"pair_id": b"%016d" % row, "image_url": f"http://a.example/{row}", "text": text}
        | {"text_source": "alt", "source_file": "crawl"}
        for row, text in enumerate(texts)
    ]
    write_table(str(path), pa.Table.from_pylist(rows, PAIRS), PAIRS)
    return str(path)


def test_every_row_gets_its_queries_and_every_pair_is_counted_once(tmp_path):
    source, target = (
        write_pairs(tmp_path / "p.parquet", ["a cat and a dog", "", "dogs", "Cat"]),
        str(tmp_path / "m.parquet"),
    )
    counts = match_table(source, target, matcher=OnWorker(compile_matcher, ["dog", "cat", "a dog"]))
    assert counts == {"pairs/in": 4, "pairs/kept": 2, "pairs/drop/no_query": 2, "matches": 4}
    check_counts(counts)
    assert read_counts(target) == counts
    table = read_table(target)
    assert table.schema.equals(MATCHED)
    assert table["query_ids"].to_pylist() == [[0, 1, 2], [], [], [1]]


def test_a_table_without_pairs_has_a_matched_table_without_rows(tmp_path):
    source, target = write_pairs(tmp_path / "p.parquet", []), str(tmp_path / "m.parquet")
    assert match_table(source, target, matcher=OnWorker(compile_matcher, ["a"])) == {
        "pairs/in": 0,
        "pairs/kept": 0,
        "matches": 0,
    }
    assert read_table(target).num_rows == 0


@pytest.mark.parametrize(
    ("options", "normalization"),
    [
        ({}, None),
        ({"case": "sensitive"}, Normalization(case="sensitive")),
        ({"case": "fold"}, Normalization(case="fold")),
        ({"case": "sensitive", "clitics": "none"}, Normalization(case="sensitive", clitics="none")),
        ({"clitics": "tr"}, Normalization(clitics="tr")),
        ({"preset": "metaclip"}, METACLIP),
        ({"preset": "metaclip", "case": "sensitive"}, METACLIP),
    ],
    ids=str,
)
def test_what_holds_means_is_as_the_options_say_else_as_compiled(tmp_path, options, normalization):
    vocab = tmp_path / "vocab"
    rows = [{"query_id": 0, "query": "Cat", "display": "Cat", "sources": ["word"]}]
    write_table(VocabFolder(str(vocab)).queries, pa.Table.from_pylist(rows, QUERIES), QUERIES)
    compiled = compile_matcher(["Cat"])
    compiled.save(str(vocab / "matcher"), files.write_bytes_whole)
    stage = MatchPairs(pairs="pairs", vocab=str(vocab), output="matched", **options)
    assert stage.normalization == normalization
    matcher = stage.load_matcher()
    assert matcher.normalization == (normalization or compiled.normalization)
    assert matcher.match_text("Cat") == [0]
    assert matcher.match_text("cat") == ([0] if matcher.normalization.case == "fold" else [])


def test_another_case_keeps_the_clitics_of_the_vocabulary(tmp_path):
    stage = MatchPairs(pairs="pairs", vocab=str(tmp_path), output="matched", case="sensitive")
    for compiled, clitics in ((Normalization(clitics="fr"), "fr"), (METACLIP, "none")):
        compile_matcher(["Cat"], normalization=compiled).save(
            VocabFolder(str(tmp_path)).matcher, files.write_bytes_whole
        )
        assert stage.normalization == Normalization(case="sensitive", clitics=clitics)


def test_a_preset_that_is_case_sensitive_cannot_fold_case():
    with pytest.raises(ValueError, match="preset metaclip is case-sensitive"):
        MatchPairs(pairs="pairs", vocab="vocab", output="matched", preset="metaclip", case="fold")


def test_clitics_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"match-pairs: clitics must be one of none, .*, not 'xx'"):
        MatchPairs(pairs="pairs", vocab="vocab", output="matched", clitics="xx")
    with pytest.raises(ValueError, match="match-pairs: MetaCLIP's search knows no clitics"):
        MatchPairs(pairs="pairs", vocab="vocab", output="matched", clitics="en", preset="metaclip")


def test_queries_of_a_large_table_are_those_of_its_parts(tmp_path):
    """More rows than a batch holds."""
    rng = random.Random(3)
    texts = [" ".join(rng.choices("abcdefgh", k=3)) for _ in range(70_000)]
    matcher = compile_matcher(["a", "b c", "h", "zz"])
    counts = match_table(
        write_pairs(tmp_path / "p.parquet", texts), str(tmp_path / "m.parquet"), matcher=OnWorker(lambda: matcher)
    )
    found = read_table(str(tmp_path / "m.parquet"))["query_ids"].combine_chunks()
    offsets, ids = matcher.match_column(pa.array(texts))
    assert found.value_lengths().to_pylist() == np.diff(offsets).tolist()
    assert found.flatten().to_pylist() == ids.tolist()
    held = sum(start < end for start, end in itertools.pairwise(offsets.tolist()))
    assert counts == {"pairs/in": 70_000, "pairs/kept": held, "pairs/drop/no_query": 70_000 - held, "matches": len(ids)}
