"""The command match-pairs: what it explains, and that its kernels write the same."""

import pyarrow as pa
import pytest

from jobs.__main__ import main
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES

QUERY_LIST = ["cat", "New York", "中国"]
TEXTS = ["A cat in New York", "nothing", "在中国的人", "", "CAT cat’s"]


@pytest.fixture
def data(tmp_path):
    rows = [{"query_id": i, "query": query, "sources": ["word", "title"]} for i, query in enumerate(QUERY_LIST)]
    rows = [{field.name: None for field in QUERIES} | {"display": row["query"]} | row for row in rows]
    write_table(str(tmp_path / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    compile_matcher(QUERY_LIST).save(str(tmp_path / "vocab" / "matcher"), files.write_bytes_whole)
    constant = {field.name: None for field in PAIRS} | {"image_url": "http://a.example/1", "text_source": "alt"}
    pairs = [
        constant | {"pair_id": pair_id("http://a.example/1", text), "text": text, "source_file": "crawl"}
        for text in TEXTS
    ]
    write_table(str(tmp_path / "pairs" / "p.parquet"), pa.Table.from_pylist(pairs, PAIRS), PAIRS)
    for folder, stage in (("vocab", "build-vocab"), ("pairs", "extract-pairs")):
        close_folder(str(tmp_path / folder), identity={"stage": stage}, counts={}, outputs=[], made_from=[])
    return tmp_path


def run(data, *flags):
    return main(["match-pairs", "--data", str(data), "--workers", "1", *flags])


def test_explain_shows_id_query_and_sources(data, capsys):
    assert run(data, "--explain", "the CAT of New-York") == 0
    assert capsys.readouterr().out.splitlines() == [
        "the cat of new york",
        "0\tcat\tword,title",
        "1\tNew York\tword,title",
    ]


def test_explain_shows_how_clitics_and_signs_are_cut_off(data, capsys):
    assert run(data, "--explain", "The cat’s C++") == 0
    assert capsys.readouterr().out.splitlines() == ["the cat s c plus plus", "0\tcat\tword,title"]
    assert run(data, "--explain", "The cat’s C++", "--clitics", "none") == 0
    assert capsys.readouterr().out.splitlines() == ["the cat's c plus plus", "(holds no query)"]


@pytest.mark.parametrize("text", ["a dog", ""])
def test_explain_says_when_a_text_holds_no_query(data, capsys, text):
    assert run(data, "--explain", text) == 0
    assert capsys.readouterr().out.splitlines() == [text, "(holds no query)"]


def test_explain_matches_no_pairs_and_obeys_the_preset(data, capsys):
    assert run(data, "--explain=a CAT", "--preset", "metaclip") == 0
    assert capsys.readouterr().out.splitlines() == ["a CAT", "(holds no query)"]
    assert not (data / "matched").exists()


def test_help_shows_explain(capsys):
    with pytest.raises(SystemExit):
        main(["match-pairs", "--help"])
    assert "--explain TEXT" in capsys.readouterr().out


def test_every_kernel_writes_the_same_bytes_and_continues_the_others_work(data, capsys):
    written = []
    for kernel in ("numba", "numpy"):
        output = data / f"by-{kernel}"
        assert run(data, "--quiet", "--kernel", kernel, "--output", str(output)) == 0
        written.append({path.name: path.read_bytes() for path in output.iterdir() if path.name != STAGE_NAME})
    assert written[0] == written[1]
    assert run(data, "--kernel", "auto", "--output", str(data / "by-numpy")) == 0
    assert "already done" in capsys.readouterr().out


def test_unknown_kernel_is_refused(data, capsys):
    with pytest.raises(SystemExit):
        run(data, "--kernel", "cuda")
    assert "--kernel" in capsys.readouterr().err
