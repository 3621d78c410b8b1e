"""What the demo tells the stages to do, and how it reports what they did."""

import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.demo import flow
from jobs.demo.summary import Score, describe_data, describe_scores
from pipeline.base.flow import STAGES
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.schemas import BALANCED, CUTS
from pipeline.base.tables import write_table

NOT_SHOWN = ("import-vocab", "balance-final", "top-up-pairs", "subset")  # own lists, rounds of fetching, parts


def plan(**changes: object) -> dict:
    options = {"data": "d/data", "world": "d/world", "cap": 7, "wordnet": "none", "port": 8123} | changes
    return tomllib.loads(flow.describe_stages(**options))


def test_the_demo_names_every_stage_once_and_in_order():
    assert [name for name, value in plan().items() if isinstance(value, dict)] == [
        stage for stage in STAGES if stage not in NOT_SHOWN
    ]


def test_strings_of_any_kind_survive_the_toml():
    assert plan(data='a "b" \\ é')["data"] == 'a "b" \\ é'


def test_all_options_are_known_to_their_stages():
    from jobs.run import configured_stages

    config = plan()
    stages = configured_stages(config, data=config["data"])
    assert [stage.name for stage in stages] == [stage for stage in STAGES if stage not in NOT_SHOWN]


def test_only_the_port_changes_from_run_to_run():
    first, second = plan(port=1), plan(port=2)
    first["fetch-images"].pop("connect-to")
    assert second["fetch-images"].pop("connect-to") == ["*.example=127.0.0.1:2"]
    assert first == second


def missing(folder: str = "") -> str:
    raise flow.WordNetMissing(folder)


def test_a_vocabulary_without_wordnet_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
):
    def fail(*_: str, **__: float) -> None:
        raise flow.DemoFailed("no network")

    monkeypatch.setattr(flow, "find_wordnet", missing)
    monkeypatch.setattr(flow, "call", fail)
    assert flow.choose_wordnet("data", str(tmp_path / "demo.toml")) == "none"
    assert "without WordNet" in capsys.readouterr().out


def test_wordnet_is_fetched_only_where_nltk_finds_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    calls = []
    monkeypatch.setattr(flow, "call", lambda *arguments, **_: calls.append(arguments))
    monkeypatch.setattr(flow, "find_wordnet", lambda: "/usr/share/nltk_data")
    assert flow.choose_wordnet("data", str(tmp_path / "demo.toml")) == ""
    assert not calls
    monkeypatch.setattr(flow, "find_wordnet", missing)
    assert flow.choose_wordnet("data", str(tmp_path / "demo.toml")) == "data/nltk_data"
    assert calls == [("jobs", "get-wordnet", "--output", "data/nltk_data")]


def test_a_second_run_keeps_to_the_wordnet_of_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = tmp_path / "demo.toml"
    config.write_text(flow.describe_stages(data="d", world="w", cap=1, wordnet="none", port=1))
    monkeypatch.setattr(flow, "find_wordnet", lambda: "/usr/share/nltk_data")
    assert flow.choose_wordnet("d", str(config)) == "none"


def test_a_command_that_fails_ends_the_demo():
    with pytest.raises(flow.DemoFailed, match="exit code 2"):
        flow.call("jobs", "no-such-command")


def test_a_command_that_takes_too_long_ends_the_demo():
    with pytest.raises(flow.DemoFailed, match="more than"):
        flow.call("timeit", "-n", "1", "import time; time.sleep(9)", timeout_s=0.3)


def test_scores_stand_beside_chance():
    lines = list(describe_scores([Score("zero-shot accuracy", 0.5, 0.0625)]))
    assert lines[1].split()[-3:] == ["50.0%", "6.2%", "8.0"]


def test_the_report_counts_each_head_query_before_and_after_the_cap(tmp_path: Path):
    for folder in ("balanced", "shards"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / STAGE_NAME).write_text("{}")
    (tmp_path / "shards/sizes.json").write_text('{"00000.tar": 3}')
    cuts = [{"query_id": 0, "query": "a", "count": 5, "cut": 9, "kept": 2}, {"query_id": 1, "query": "red", "count": 1,
            "cut": None, "kept": 1}]  # fmt: skip
    write_table(str(tmp_path / "balanced/cuts.parquet"), pa.Table.from_pylist(cuts, CUTS), CUTS)
    row = {
        "pair_id": bytes(16),
        "image_url": "http://a.example/",
        "text": "a",
        "text_source": "alt",
        "source_file": "w",
    }
    rows = [row | {"query_ids": ids, "kept_for": ids[:1], "keep_probability": 1.0} for ids in ([0], [0, 1], [0])]
    write_table(str(tmp_path / "balanced/00000.parquet"), pa.Table.from_pylist(rows, BALANCED), BALANCED)
    lines = [line.split() for line in describe_data(str(tmp_path))]
    assert ["a", "5", "2", "3"] in lines
    assert ["red", "1", "1", "1"] in lines
    assert any(line[:2] == ["Shards:", "1"] for line in lines)
