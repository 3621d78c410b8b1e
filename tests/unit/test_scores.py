"""Scores of samples: the cut of a share is exact, and what a folder must hold."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.arrays import read_array, write_array
from pipeline.base.folders import StageFolder
from pipeline.base.tables import write_table
from pipeline.sharding.selection.scores import (
    _NO_UNIT,
    ScoreFolder,
    ScoreTables,
    find_cut,
    find_scores,
    rank_scores,
    read_score_folder,
    score_record,
    score_tables,
    write_scores,
)
from pipeline.sharding.stage import WriteShards

SCHEMA = pa.schema([("key", pa.string()), ("score", pa.float32())])


def write_score_tables(folder, *parts):
    paths = []
    for number, scores in enumerate(parts):
        table = pa.table([[f"{number:16d}{row:16d}" for row in range(len(scores))], scores], schema=SCHEMA)
        paths.append(str(folder / f"{number}.parquet"))
        write_table(paths[-1], table, SCHEMA)
    return paths


def cut_of(paths, share, folder):
    """The cut, its steps done here."""
    steps = find_cut(
        [ScoreTables(paths[:1], ("score",)), ScoreTables(paths[1:], ("score",))],
        share,
        working=StageFolder(str(folder)),
    )
    answer = None
    while True:
        try:
            step = steps.send(answer).transform
        except StopIteration as stop:
            return stop.value
        write_array(step.output, sum(step.array_of(unit) for unit in step.units))


@pytest.mark.parametrize("share", [0.001, 0.3, 0.5, 0.999, 1.0])
def test_the_cut_of_a_share_is_the_score_that_sorting_all_would_find(tmp_path, share):
    rng = np.random.default_rng(3)
    parts = [rng.normal(0.2, 0.1, size).astype(np.float32) for size in (500, 0, 333)]
    scores = np.sort(np.concatenate(parts))[::-1]
    cut = cut_of(write_score_tables(tmp_path, *parts), share, tmp_path)
    assert cut == scores[math.ceil(share * len(scores)) - 1]
    assert (scores >= cut).sum() == math.ceil(share * len(scores))


def test_scores_that_tie_with_the_cut_are_all_above_it(tmp_path):
    cut = cut_of(
        write_score_tables(tmp_path, np.array([0.5, 0.25, 0.25, 0.25, -0.5, np.nan], np.float32)), 0.4, tmp_path
    )
    assert cut == 0.25


def test_without_any_score_nothing_is_good_enough(tmp_path):
    assert cut_of(write_score_tables(tmp_path, np.array([], np.float32)), 0.5, tmp_path) == math.inf


def test_ranks_have_the_order_of_scores():
    scores = np.array([-1, -0.1, -1e-30, 0, 1e-30, 0.1, 0.10000001, 1], np.float32)
    assert (np.diff(rank_scores(scores).astype(np.int64)) > 0).all()


def close_scores(folder, rows):
    (folder / "scores.json").write_text(json.dumps({"identity": {}, "rows": rows}))


def test_the_tables_of_a_finished_folder_are_listed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished scores in .* \(no scores\.json\).*clip_train score"):
        read_score_folder(str(tmp_path))
    schema = pa.schema(
        [("key", pa.string()), ("nsfw", pa.float32()), ("boxes", pa.list_(pa.float32())), ("n", pa.int8())]
    )
    for name in ("00000", "00001"):
        write_table(str(tmp_path / f"{name}.parquet"), pa.Table.from_pylist([], schema), schema)
    close_scores(tmp_path, {"00000": 1, "00001": 2})
    folder = read_score_folder(f"{tmp_path}/")
    assert folder == ScoreFolder(str(tmp_path), ("nsfw", "n"), ("nsfw", "n"))
    assert score_tables(folder) == [
        ScoreTables((str(tmp_path / f"{name}.parquet"),), ("nsfw", "n")) for name in ("00000", "00001")
    ]


def test_the_only_score_of_a_folder_can_have_another_name(tmp_path):
    close_scores(tmp_path, {})
    assert read_score_folder(f"clip={tmp_path}") == ScoreFolder(str(tmp_path), ("score",), ("clip",))
    schema = pa.schema([("key", pa.string()), ("nsfw", pa.float32()), ("watermark", pa.float32())])
    write_table(str(tmp_path / "0.parquet"), pa.Table.from_pylist([], schema), schema)
    close_scores(tmp_path, {"0": 0})
    with pytest.raises(ValueError, match="one name for several scores, nsfw, watermark"):
        read_score_folder(f"clip={tmp_path}")


def test_a_sample_has_the_highest_of_its_scores_in_whatever_order_records_come(tmp_path):
    keys = [(0, 1), (0, 2), (1, 0), (1, 1)]
    samples = [(key, row % 2, row // 2, np.nan) for row, key in enumerate(keys)]
    scores = [((0, 1), 0.5), ((0, 1), 0.75), ((1, 1), -0.5), ((9, 9), 1.0)]
    rows = [*samples, *((key, _NO_UNIT, 0, score) for key, score in scores)]
    records = np.array([(*row[:3], (row[3], -row[3])) for row in rows], score_record(2))
    for order in (records, records[::-1], np.roll(records, 3)):
        parts = [order[:3].tobytes(), order[3:].tobytes()]
        for unit, found in find_scores(parts, number=2):
            write_scores(None, str(tmp_path / f"{unit}.npy"), [found], number=2)
        found = [read_array(str(tmp_path / f"{unit}.npy")).ravel().tolist() for unit in (0, 1)]
        assert found[0] == pytest.approx([0.75, -0.5, np.nan, np.nan], nan_ok=True)
        assert found[1] == pytest.approx([np.nan, np.nan, -0.5, 0.5], nan_ok=True)


def test_a_raw_tar_without_samples_has_no_scores(tmp_path):
    write_scores(None, str(tmp_path / "none.npy"), [], number=1)
    assert read_array(str(tmp_path / "none.npy")).shape == (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("s",)}, "either min-score or top-score-share"),
        ({"scores": ("s",), "min_score": 0.3, "top_score_share": 0.3}, "either min-score or top-score-share"),
        ({"min_score": 0.3}, "want scores"),
        ({"scores": ("s",), "top_score_share": 0.0}, "must be above 0"),
        ({"scores": ("s",), "top_score_share": 1.5}, "top-score-share"),
    ],
    ids=["no cut", "two cuts", "no scores", "share 0", "share above 1"],
)
def test_a_cut_that_makes_no_sense_is_refused_before_work_starts(options, message):
    with pytest.raises(ValueError, match=message):
        WriteShards(raw=("raw",), balanced="balanced", output="shards", **options)


@pytest.mark.parametrize(
    ("scores", "share", "cut"),
    [
        ([0.5], 1.0, 0.5),
        ([0.5], 0.01, 0.5),
        ([-0.5, -0.25], 0.5, -0.25),
        ([-0.5, -0.25], 0.51, -0.5),
        ([-0.5, 0.0, 0.5], 2 / 3, 0.0),
        ([0.50000006, 0.5, 0.49999997], 1 / 3, 0.50000006),
        ([0.50000006, 0.5, 0.49999997], 2 / 3, 0.5),
        ([0.25, 0.25, 0.125], 0.1, 0.25),
        ([0.1, 0.2, 0.3, 0.4], 0.75, 0.2),
    ],
)
def test_the_cut_is_the_score_that_the_share_rounded_up_reaches(tmp_path, scores, share, cut):
    assert cut_of(write_score_tables(tmp_path, np.array(scores, np.float32)), share, tmp_path) == np.float32(cut)
