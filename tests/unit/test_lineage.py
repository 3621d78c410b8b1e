"""A stage takes folders of the right stages and of one data set only, whatever their paths and order."""

from dataclasses import dataclass

import pytest

from pipeline.balancing.final import BalanceFinal
from pipeline.balancing.stage import BalancePairs
from pipeline.balancing.top_up import TopUpPairs
from pipeline.base import files
from pipeline.base.folders import raw_units
from pipeline.base.lineage import StageMismatch, read_stage
from pipeline.base.options import options_of
from pipeline.base.stage_folder import close_folder, stage_identity
from pipeline.fetching.stage import FetchImages
from pipeline.matching.stage import MatchPairs
from pipeline.sharding.stage import WriteShards


@dataclass
class World:
    """Finished folders, made up; two data sets, a and b, and the rounds of the first."""

    root: str

    def path(self, name):
        return f"{self.root}/{name}"

    def finish(self, name, stage, *before):
        made_from = [self.path(one) for one in before]
        outputs = [{"name": name, "bytes": 1, "sha256": "0"}]
        close_folder(self.path(name), identity={"stage": stage}, counts={}, outputs=outputs, made_from=made_from)


@pytest.fixture
def world(tmp_path):
    made = World(str(tmp_path))
    for s in "ab":
        made.finish(f"vocab-{s}", "build-vocab")
        made.finish(f"pairs-{s}", "extract-pairs")
        made.finish(f"matched-{s}", "match-pairs", f"pairs-{s}", f"vocab-{s}")
        made.finish(f"balanced-{s}", "balance-pairs", f"matched-{s}", f"pairs-{s}", f"vocab-{s}")
        made.finish(f"raw-{s}", "fetch-images", f"balanced-{s}", f"vocab-{s}")
        made.finish(f"final-{s}", "balance-final", f"balanced-{s}", f"raw-{s}")
    made.finish("top-up-a", "top-up-pairs", "matched-a", "pairs-a", "final-a")
    made.finish("raw-a2", "fetch-images", "top-up-a", "vocab-a")
    made.finish("final-a2", "balance-final", "top-up-a", "raw-a", "raw-a2")
    made.finish("pairs-c", "extract-pairs")
    made.finish("matched-c", "match-pairs", "pairs-c", "vocab-a")
    return made


GOOD = [
    (MatchPairs, {"pairs": "pairs-a", "vocab": "vocab-b"}),
    (BalancePairs, {"matched": "matched-a", "pairs": "pairs-a", "vocab": "vocab-a"}),
    (BalancePairs, {"matched": "matched-c", "pairs": "pairs-c", "vocab": "vocab-a", "previous": "balanced-a"}),
    (FetchImages, {"balanced": "balanced-a", "vocab": "vocab-a"}),
    (FetchImages, {"balanced": "top-up-a", "vocab": "vocab-a"}),
    (BalanceFinal, {"balanced": "balanced-a", "raw": ["raw-a"]}),
    (BalanceFinal, {"balanced": "top-up-a", "raw": ["raw-a", "raw-a2"]}),
    (TopUpPairs, {"matched": "matched-a", "pairs": "pairs-a", "final": "final-a"}),
    (WriteShards, {"raw": ["raw-a"], "balanced": "balanced-a"}),
    (WriteShards, {"raw": ["raw-a2", "raw-a"], "balanced": "balanced-a"}),
    (WriteShards, {"raw": ["raw-a", "raw-a2"], "final": "final-a2", "balanced": "nothing"}),
]
BAD = [
    (MatchPairs, {"pairs": "vocab-a", "vocab": "vocab-a"}, "pairs: .*vocab-a was made by build-vocab, not by extract-"),
    (MatchPairs, {"pairs": "pairs-a", "vocab": "pairs-a"}, "vocab: .*pairs-a was made by extract-pairs"),
    (BalancePairs, {"matched": "matched-a", "pairs": "pairs-b", "vocab": "vocab-a"}, "matched-a and .*pairs-b are of"),
    (BalancePairs, {"matched": "matched-a", "pairs": "pairs-a", "vocab": "vocab-b"}, "matched-a and .*vocab-b are of"),
    (
        BalancePairs,
        {"matched": "matched-c", "pairs": "pairs-c", "vocab": "vocab-a", "previous": "balanced-b"},
        "balanced-b and .*vocab-a are of",
    ),
    (
        BalancePairs,
        {"matched": "matched-c", "pairs": "pairs-c", "vocab": "vocab-a", "previous": "matched-a"},
        "previous: .*matched-a was made by match-pairs, not by balance-pairs",
    ),
    (FetchImages, {"balanced": "balanced-a", "vocab": "vocab-b"}, "balanced-a and .*vocab-b are of"),
    (FetchImages, {"balanced": "matched-a", "vocab": "vocab-a"}, "balanced: .*matched-a was made by match-pairs"),
    (BalanceFinal, {"balanced": "balanced-a", "raw": ["raw-a", "raw-b"]}, "raw-b and .*balanced-a are of"),
    (BalanceFinal, {"balanced": "balanced-a", "raw": ["pairs-a"]}, "raw: .*pairs-a was made by extract-pairs"),
    (TopUpPairs, {"matched": "matched-b", "pairs": "pairs-b", "final": "final-a"}, "final-a and .*matched-b are of"),
    (
        TopUpPairs,
        {"matched": "matched-a", "pairs": "pairs-a", "final": "balanced-a"},
        "final: .*balanced-a was made by",
    ),
    (WriteShards, {"raw": ["raw-a"], "balanced": "balanced-b"}, "raw-a and .*balanced-b are of"),
    (WriteShards, {"raw": ["raw-a", "raw-b"], "balanced": "balanced-a"}, "raw-b and .*balanced-a are of"),
    (WriteShards, {"raw": ["raw-b"], "final": "final-a"}, "raw-b and .*final-a are of"),
    (WriteShards, {"raw": ["pairs-a"], "balanced": "balanced-a"}, "raw: .*pairs-a was made by extract-pairs"),
    (WriteShards, {"raw": ["raw-a"], "final": "balanced-a"}, "final: .*balanced-a was made by balance-pairs"),
]


def made(world, stage, folders):
    paths = {
        name: tuple(map(world.path, value)) if isinstance(value, list) else world.path(value)
        for name, value in folders.items()
    }
    others = {"contact": "me@lab.example"} if stage is FetchImages else {}
    return stage(output=world.path("out"), **paths, **others)


@pytest.mark.parametrize(("stage", "folders"), GOOD)
def test_inputs_of_one_data_set_are_taken(world, stage, folders, monkeypatch):
    monkeypatch.setattr("pipeline.base.files.file_stamp", lambda path: {"name": path, "digest": ""})
    assert stage_identity(made(world, stage, folders))["stage"] == stage.name


@pytest.mark.parametrize(("stage", "folders", "message"), BAD)
def test_inputs_that_do_not_belong_together_are_refused_by_name(world, stage, folders, message):
    with pytest.raises(StageMismatch, match=message):
        stage_identity(made(world, stage, folders))


def test_every_folder_of_a_stage_says_who_makes_it():
    for stage in (MatchPairs, BalancePairs, FetchImages, BalanceFinal, TopUpPairs, WriteShards):
        for opt in options_of(stage):
            is_folder = opt.spec.help.startswith(("Folder of", "Folders of", "Balanced folder"))
            assert bool(opt.spec.made_by) == (is_folder and opt.name not in ("scores", "blur_faces", "removals")), (
                stage,
                opt.name,
            )


def test_a_folder_that_an_older_version_made_is_refused(world):
    content = read_stage(world.path("pairs-a"))
    del content["ancestors"]
    files.write_json(files.join(world.path("pairs-a"), "_stage.json"), content)
    with pytest.raises(StageMismatch, match=r"pairs: .*pairs-a was made by an older version of extract-pairs"):
        stage_identity(made(world, MatchPairs, {"pairs": "pairs-a", "vocab": "vocab-a"}))


def test_raw_tars_have_names_that_follow_from_content_and_not_from_order_or_place(world, tmp_path):
    folders = [world.path("raw-a"), world.path("raw-b")]
    for folder in folders:
        for name in ("raw-00000", "raw-00001"):
            open(f"{folder}/{name}.index.parquet", "w").close()
    units = raw_units(folders)
    assert units == raw_units(folders[::-1])
    assert len({unit.name for unit in units}) == 4
    moved = tmp_path / "elsewhere"
    (tmp_path / "raw-a").rename(moved)
    assert [unit.name for unit in raw_units([str(moved), folders[1]])] == [unit.name for unit in units]
    with pytest.raises(ValueError, match="the same raw tars are given twice"):
        raw_units([folders[1], folders[1]])
