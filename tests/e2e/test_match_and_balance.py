"""match-pairs and balance-pairs as commands: the same bytes every time, an exact cap, resume, errors."""

import random
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import pipeline.balancing.lots
from jobs.__main__ import main
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES

WORDS = ["cat", "dog", "tree", "house", "river", "New York", "photo", "red", "blue", "green"]
CAP = 40


def write_stage(folder: Path, stage: str):
    """Declares a folder finished."""
    close_folder(str(folder), identity={"stage": stage}, counts={}, outputs=[], made_from=[])


def write_vocab(data: Path, queries):
    rows = [{"query_id": i, "query": query, "display": query, "sources": ["word"]} for i, query in enumerate(queries)]
    write_table(str(data / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    compile_matcher(queries).save(str(data / "vocab" / "matcher"), files.write_bytes_whole)
    write_stage(data / "vocab", "build-vocab")


def write_pairs(data: Path, texts, names=("p0", "p1", "p2")):
    """Deals texts out to tables; a text's URL, and so its pair id, is the same wherever it goes."""
    for place, name in enumerate(names):
        own = texts[place :: len(names)]
        urls = [f"http://host.example/{number}" for number, _ in own]
        columns = {
            "pair_id": [pair_id(url, text) for url, (_, text) in zip(urls, own, strict=True)],
            "image_url": urls,
            "text": [text for _, text in own],
        }
        constant = {"text_source": "alt", "page_url": None, "language": None, "source_file": "crawl"}
        columns |= {column: [value] * len(own) for column, value in constant.items()}
        write_table(str(data / "pairs" / f"{name}.parquet"), pa.Table.from_pydict(columns, PAIRS), PAIRS)
    write_stage(data / "pairs", "extract-pairs")


@pytest.fixture(scope="module")
def texts():
    """900 numbered texts in which the words are rarer and rarer."""
    rng = random.Random(5)
    shares = [0.7 / rank**1.5 for rank in range(1, len(WORDS) + 1)]
    made = [
        " ".join(word for word, share in zip(WORDS, shares, strict=True) if rng.random() < share) for _ in range(900)
    ]
    return list(enumerate(made))


def run_both(data, *flags, cap=CAP):
    assert main(["match-pairs", "--data", str(data), "--quiet", *flags]) == 0
    assert main(["balance-pairs", "--data", str(data), "--quiet", "--cap", str(cap), *flags]) == 0


def output_bytes(data):
    """The bytes of all outputs; `_stage.json` without the versions."""
    found = {}
    for stage in ("matched", "balanced"):
        for path in sorted((data / stage).iterdir()):
            found[f"{stage}/{path.name}"] = path.read_bytes()
        content = read_stage(str(data / stage))
        found[f"{stage}/{STAGE_NAME}"] = {name: content[name] for name in ("identity", "counts", "outputs")}
    return found


def kept_pairs(data):
    tables = [path for path in sorted((data / "balanced").glob("*.parquet")) if path.name != "cuts.parquet"]
    rows = [row for path in tables for row in read_table(str(path), ["pair_id", "kept_for"]).to_pylist()]
    return {row["pair_id"]: row["kept_for"] for row in rows}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, texts):
    data = tmp_path_factory.mktemp("reference")
    write_vocab(data, WORDS)
    write_pairs(data, texts)
    run_both(data, "--workers", "1")
    return data


def test_every_query_selects_exactly_as_many_pairs_as_the_cap_allows(reference, texts):
    contained = Counter(word for _, text in texts for word in WORDS if f" {word} " in f" {text} ")
    assert np.load(reference / "matched" / "counts.npy").tolist() == [contained[word] for word in WORDS]
    selected = Counter(WORDS[id] for kept_for in kept_pairs(reference).values() for id in kept_for)
    assert selected == {word: min(CAP, count) for word, count in contained.items()}
    cuts = read_table(str(reference / "balanced" / "cuts.parquet")).to_pylist()
    assert [row["kept"] for row in cuts] == [min(CAP, contained[word]) for word in WORDS]
    assert [row["cut"] is None for row in cuts] == [contained[word] <= CAP for word in WORDS]
    assert 0 < sum(row["cut"] is None for row in cuts) < len(WORDS)


def test_counts_add_up_from_stage_to_stage(reference, texts):
    matched, balanced = (read_stage(str(reference / stage))["counts"] for stage in ("matched", "balanced"))
    assert matched["pairs/in"] == len(texts) == matched["pairs/kept"] + matched["pairs/drop/no_query"]
    assert balanced["pairs/in"] == matched["pairs/kept"] == balanced["pairs/kept"] + balanced["pairs/drop/over_cap"]
    assert balanced["pairs/kept"] == len(kept_pairs(reference))


def test_two_workers_write_the_same_bytes(reference, tmp_path, texts):
    write_vocab(tmp_path, WORDS)
    write_pairs(tmp_path, texts)
    run_both(tmp_path, "--workers", "2")
    assert output_bytes(tmp_path) == output_bytes(reference)


def test_order_of_files_and_rows_does_not_matter(reference, tmp_path, texts):
    write_vocab(tmp_path, WORDS)
    write_pairs(tmp_path, texts[::-1], names=("one", "two"))
    run_both(tmp_path, "--workers", "1")
    assert kept_pairs(tmp_path) == kept_pairs(reference)
    cuts = [(data / "balanced" / "cuts.parquet").read_bytes() for data in (tmp_path, reference)]
    assert cuts[0] == cuts[1]


def test_a_second_run_does_nothing_and_a_run_cut_short_ends_the_same(tmp_path, reference, texts):
    write_vocab(tmp_path, WORDS)
    write_pairs(tmp_path, texts)
    run_both(tmp_path, "--workers", "1")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run_both(tmp_path, "--workers", "1")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    for stage, lost in (("matched", ["p1.parquet", "counts.npy"]), ("balanced", ["p2.parquet"])):
        for name in (STAGE_NAME, *lost):
            (tmp_path / stage / name).unlink()
    run_both(tmp_path, "--workers", "1")
    assert output_bytes(tmp_path) == output_bytes(reference)
    (tmp_path / "balanced" / STAGE_NAME).unlink()
    (tmp_path / "balanced" / "cuts.parquet").unlink()
    run_both(tmp_path, "--workers", "1")
    assert output_bytes(tmp_path) == output_bytes(reference)


def test_bounds_that_are_too_low_are_raised_until_every_cut_is_found(tmp_path, reference, texts, monkeypatch):
    monkeypatch.setattr(pipeline.balancing.lots, "_MARGIN_SIGMAS", -6.0)
    write_vocab(tmp_path, WORDS)
    write_pairs(tmp_path, texts)
    run_both(tmp_path, "--workers", "1")
    assert output_bytes(tmp_path) == output_bytes(reference)


def test_smaller_cap_keeps_a_subset_and_another_seed_other_pairs(tmp_path, reference):
    for name, flags in (("small", ["--cap", "15"]), ("seed", ["--cap", str(CAP), "--seed", "1"])):
        output = ["--output", str(tmp_path / name / "balanced"), "--workers", "1"]
        assert main(["balance-pairs", "--data", str(reference), "--quiet", *output, *flags]) == 0
    all_kept, few = kept_pairs(reference), kept_pairs(tmp_path / "small")
    assert few.keys() < all_kept.keys()
    assert all(set(few[pair]) <= set(all_kept[pair]) for pair in few)
    assert kept_pairs(tmp_path / "seed").keys() != all_kept.keys()


@pytest.mark.parametrize(
    ("change", "cap", "message"),
    [
        pytest.param(lambda counts: counts + 10_000, 5000, "fewer pairs", id="more than there are"),
        pytest.param(lambda counts: counts // 30, 40, "selected other numbers", id="less than there are"),
        pytest.param(lambda counts: np.append(counts, 0), 40, "11 queries", id="of another vocabulary"),
    ],
)
def test_counts_that_the_tables_contradict_are_an_error(reference, tmp_path, capsys, change, cap, message):
    matched = tmp_path / "matched"
    shutil.copytree(reference / "matched", matched)
    np.save(matched / "counts.npy", change(np.load(matched / "counts.npy")))
    flags = ["--data", str(reference), "--matched", str(matched), "--output", str(tmp_path / "balanced")]
    assert main(["balance-pairs", *flags, "--cap", str(cap), "--workers", "1", "--quiet"]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "balanced" / STAGE_NAME).exists()


def test_pairs_that_changed_since_they_were_matched_are_an_error(reference, tmp_path, texts, capsys):
    write_pairs(tmp_path, [(number, f"{text} more") for number, text in texts])
    flags = ["--data", str(reference), "--pairs", str(tmp_path / "pairs"), "--output", str(tmp_path / "balanced")]
    assert main(["balance-pairs", *flags, "--workers", "1", "--quiet"]) == 1
    assert re.search(r"pairs/p\d.parquet is not the table that \S*matched/p\d.parquet", capsys.readouterr().err)
    (tmp_path / "pairs" / "p1.parquet").unlink()
    assert main(["balance-pairs", *flags, "--workers", "1", "--quiet", "--overwrite"]) == 2
    assert "not its table of pairs" in capsys.readouterr().err
    assert not (tmp_path / "balanced" / STAGE_NAME).exists()


def test_the_same_pairs_in_another_folder_do(reference, tmp_path, texts):
    write_pairs(tmp_path, texts)
    flags = ["--data", str(reference), "--pairs", str(tmp_path / "pairs"), "--output", str(tmp_path / "balanced")]
    assert main(["balance-pairs", *flags, "--cap", str(CAP), "--workers", "1", "--quiet"]) == 0
    assert kept_pairs(tmp_path) == kept_pairs(reference)


@pytest.mark.parametrize(
    ("flags", "matched"),
    [
        pytest.param([], [[0], [1, 2], [0], []], id="as compiled"),
        pytest.param(["--case", "sensitive"], [[], [1, 2], [0], []], id="case"),
        pytest.param(["--preset", "metaclip"], [[], [2], [], []], id="metaclip"),
    ],
)
def test_queries_match_as_asked(tmp_path, flags, matched):
    write_vocab(tmp_path, ["st. louis", "New York", "York"])
    write_pairs(tmp_path, list(enumerate(["ST. LOUIS", "New  York", "st louis", "nothing"])), names=("p",))
    assert main(["match-pairs", "--data", str(tmp_path), "--quiet", "--workers", "1", *flags]) == 0
    found = read_table(str(tmp_path / "matched" / "p.parquet"))["query_ids"].to_pylist()
    assert found == matched


def test_explain_prints_the_queries_of_a_text(reference, capsys):
    flags = ["--data", str(reference), "--explain", "A RED cat in New  York!"]
    assert main(["match-pairs", *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a red cat in new york",
        "0\tcat\tword",
        "5\tNew York\tword",
        "7\tred\tword",
    ]


def test_bad_options_are_one_line(tmp_path, capsys):
    assert main(["balance-pairs", "--data", str(tmp_path), "--cap", "0"]) == 2
    assert "balance-pairs: cap must be at least 1, not 0" in capsys.readouterr().err
    assert main(["match-pairs", "--data", str(tmp_path), "--preset", "metaclip", "--case", "fold"]) == 2
    assert "case-sensitive" in capsys.readouterr().err
    assert main(["match-pairs", "--data", str(tmp_path)]) == 2
    assert "no finished stage in" in capsys.readouterr().err
