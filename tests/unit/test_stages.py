"""A stage's folder says whether it is new, cut short, done, or made otherwise."""

import hashlib
import json
from dataclasses import dataclass

import pytest

from pipeline.base import files
from pipeline.base.folders import PairsFolder
from pipeline.base.lineage import STAGE_NAME, StageMismatch, stage_stamp
from pipeline.base.options import identity_of, option
from pipeline.base.stage_folder import (
    State,
    commit_stage,
    discard_stage,
    history_of,
    open_stage,
    reopen_stage,
    stage_identity,
)
from pipeline.steps import Stage


@dataclass(kw_only=True)
class Match(Stage):
    """Toy."""

    name = "match-pairs"
    cap: int = option(1, "Cap.")
    workers: int = option(1, "Processes.", identity=False)
    sources: tuple[str, ...] = ()
    rate: float = option(20.0, "Requests a second; 0: no limit.", identity=False, off=0)
    before: tuple[str, ...] = option((), "Folders.", identity=False, made_by=("extract-pairs", "match-pairs"))

    def inputs(self):
        return [*self.sources, *self.before]

    def steps(self):
        yield from ()


@dataclass(kw_only=True)
class Extract(Match):
    """Another toy."""

    name = "extract-pairs"


def finish(stage, counts=None):
    identity = stage_identity(stage)
    open_stage(stage, identity)
    commit_stage(stage, identity, counts or {})


def state_of(stage):
    return open_stage(stage, stage_identity(stage))


def test_a_folder_goes_from_fresh_to_cut_short_to_done(tmp_path):
    stage = Match(output=str(tmp_path / "out"))
    assert state_of(stage) is State.FRESH
    assert state_of(stage) is State.CUT_SHORT
    commit_stage(stage, stage_identity(stage), {})
    assert state_of(stage) is State.DONE


def test_other_options_are_refused_by_name(tmp_path):
    output = str(tmp_path / "out")
    finish(Match(output=output))
    with pytest.raises(StageMismatch, match="cap 1, not 2"):
        state_of(Match(output=output, cap=2))
    assert state_of(Match(output=output, workers=9)) is State.DONE


def test_other_inputs_are_refused(tmp_path):
    source = tmp_path / "a.warc"
    source.write_bytes(b"one")
    stage = Match(output=str(tmp_path / "out"), sources=(str(source),))
    finish(stage)
    source.write_bytes(b"two")
    with pytest.raises(StageMismatch, match=r"other inputs \(a.warc\)"):
        state_of(stage)


def test_what_another_version_made_is_refused_by_its_format_and_stages_have_formats_of_their_own(tmp_path, monkeypatch):
    stage, other = Match(output=str(tmp_path / "out")), Extract(output=str(tmp_path / "other"))
    finish(stage)
    finish(other)
    number = Match.format
    monkeypatch.setattr(Match, "format", number + 1)
    monkeypatch.setattr(Extract, "format", number)
    formats = rf"\(format {number}, here it is {number + 1}\)"
    with pytest.raises(StageMismatch, match=f"an older version of match-pairs {formats}"):
        state_of(stage)
    assert state_of(other) is State.DONE
    monkeypatch.setattr(Match, "format", number - 1)
    with pytest.raises(StageMismatch, match="a newer version"):
        state_of(stage)


def test_the_order_and_the_folder_of_inputs_do_not_matter(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            (tmp_path / folder / name).write_bytes(name.encode())
    output = str(tmp_path / "out")
    finish(Match(output=output, sources=(str(tmp_path / "one" / "a"), str(tmp_path / "one" / "b"))))
    moved = Match(output=output, sources=(str(tmp_path / "two" / "b"), str(tmp_path / "two" / "a")))
    assert state_of(moved) is State.DONE


def test_a_folder_of_somebody_else_is_refused_and_never_removed(tmp_path):
    (tmp_path / "thesis.txt").write_bytes(b"years of work")
    stage = Match(output=str(tmp_path))
    with pytest.raises(StageMismatch, match="no stage wrote"):
        state_of(stage)
    discard_stage(stage)
    assert (tmp_path / "thesis.txt").exists()


def test_overwriting_removes_what_a_stage_wrote(tmp_path):
    stage = Match(output=str(tmp_path / "out"))
    finish(stage)
    discard_stage(stage)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_stage_is_no_input(tmp_path):
    before = Extract(output=str(tmp_path / "pairs"))
    with pytest.raises(FileNotFoundError, match="pairs"):
        stage_identity(Match(output=str(tmp_path / "out"), before=(before.output,)))
    open_stage(before, stage_identity(before))
    with pytest.raises(FileNotFoundError, match="no finished stage"):
        stage_identity(Match(output=str(tmp_path / "out"), before=(before.output,)))
    with pytest.raises(FileNotFoundError, match="no finished stage"):
        _ = PairsFolder(before.output).tables


def test_counts_travel_with_the_data(tmp_path):
    before = Extract(output=str(tmp_path / "pairs"))
    finish(before, {"pairs/in": 3, "pairs/kept": 3})
    stage = Match(output=str(tmp_path / "out"), before=(before.output,))
    finish(stage, {"pairs/in": 3, "pairs/kept": 2, "pairs/drop/no_query": 1})
    after = Match(output=str(tmp_path / "after"), before=(stage.output,))
    assert [entry["stage"] for entry in history_of(after)] == ["extract-pairs", "match-pairs"]
    assert history_of(after)[1]["counts"]["pairs/kept"] == 2
    assert [entry["options"] for entry in history_of(after)] == [identity_of(before), identity_of(stage)]


@pytest.mark.parametrize("rates", [(0.0,), (0.0, 5.0), (5.0, 0.0)], ids=["once", "at first", "later"])
def test_a_rule_that_any_run_switched_off_is_told_though_it_decides_no_output(tmp_path, rates):
    output = str(tmp_path / "out")
    for rate in rates:
        stage = Extract(output=output, rate=rate)
        assert open_stage(stage, stage_identity(stage)) is not State.DONE
    commit_stage(stage, stage_identity(stage), {})
    following = Match(output=str(tmp_path / "next"), before=(output,))
    assert history_of(following)[0]["switched_off"] == ["rate"]
    kept = Extract(output=output, rate=5.0)
    assert state_of(kept) is State.DONE
    reopen_stage(kept, stage_identity(kept))
    commit_stage(kept, stage_identity(kept), {})
    assert history_of(following)[0]["switched_off"] == ["rate"], "a retry makes nothing undone"


def test_a_folder_that_differs_in_such_a_rule_alone_is_the_same_data(tmp_path):
    stamps = []
    for rate in (0.0, 5.0):
        stage = Extract(output=str(tmp_path / "out"), rate=rate)
        finish(stage)
        stamps.append(stage_stamp(stage.output))
        discard_stage(stage)
    assert stamps[0] == stamps[1]


def test_where_all_rules_were_kept_none_is_named(tmp_path):
    finish(Extract(output=str(tmp_path / "out")))
    assert "switched_off" not in history_of(Match(output=str(tmp_path / "next"), before=(str(tmp_path / "out"),)))[0]


def test_the_commit_removes_working_folders_and_names_the_outputs(tmp_path):
    stage = Match(output=str(tmp_path / "out"))
    identity = stage_identity(stage)
    open_stage(stage, identity)
    files.write_bytes_whole(files.join(stage.output, "_work", "x"), b"")
    files.write_bytes_whole(files.join(stage.output, "card", "README.md"), b"")
    files.write_bytes_whole(files.join(stage.output, "a.parquet"), b"abc")
    commit_stage(stage, identity, {})
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "_stage.json",
        "_started.json",
        "a.parquet",
        "card",
    ]
    content = json.loads((tmp_path / "out" / STAGE_NAME).read_text())
    assert content["outputs"] == [{"name": "a.parquet", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}]
