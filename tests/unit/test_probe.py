"""What a worker of another engine is asked before a stage starts, without an engine."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from jobs.probe import NotShared, Question, check_shared, refuse_local_paths
from pipeline.base.options import option


@dataclass(kw_only=True)
class Toy:
    """A stage, as far as the probe goes."""

    name: ClassVar[str] = "toy"
    format: ClassVar[int] = 1
    pairs: str = option("", "Pairs.", under_data="pairs")
    input: tuple[str, ...] = option((), "Files.")
    sets: tuple[str, ...] = option((), "Named files.")
    block: tuple[str, ...] = option((), "Lists.", read_here=True)
    removals: str = option("", "Folder.", under_data="removals", read_here=True)
    output: str = option("", "Folder.", under_data="toy")

    def inputs(self):
        return [self.pairs, *self.input, *(text.partition("=")[2] for text in (*self.sets, *self.block))]


class OtherEngine:
    """Calls in this process, through `spoil`, which may stand for another disk."""

    is_local = False

    def __init__(self, spoil=None, is_cloud=False):
        self.is_cloud, self.spoil, self.calls = is_cloud, spoil, 0

    def call_on_worker(self, function):
        self.calls += 1
        try:
            if self.spoil is None:
                function()
            else:
                self.spoil(function)
        except NotShared as error:
            raise RuntimeError(f"Step: jobs.probe.NotShared: {error} [while running 'Map(_call)']") from error


def stage_in(folder, **options):
    (folder / "pairs").mkdir()
    return Toy(pairs=str(folder / "pairs"), output=str(folder / "toy"), **options)


def test_a_worker_that_sees_everything_is_asked_and_nothing_is_left(tmp_path):
    engine = OtherEngine()
    check_shared(stage_in(tmp_path), engine)
    assert engine.calls == 1
    assert list((tmp_path / "toy").iterdir()) == []


def test_an_input_that_the_worker_lacks_is_named(tmp_path):
    stage = stage_in(tmp_path, input=(str(tmp_path / "crawl.warc"),))
    with pytest.raises(NotShared, match=r"does not share \S*/crawl.warc; give a path on a disk or in a store"):
        check_shared(stage, OtherEngine())
    assert list((tmp_path / "toy").iterdir()) == []


def test_an_output_that_is_another_folder_to_the_worker_is_named(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()

    def elsewhere(function):
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path / "there")
            function()

    (tmp_path / "pairs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotShared, match=r"does not share toy; give a whole path, from /, on a disk that both see$"):
        check_shared(Toy(pairs=str(tmp_path / "pairs"), output="toy"), OtherEngine(elsewhere))


def test_an_answer_that_never_arrives_is_an_error(tmp_path):
    with pytest.raises(NotShared, match="what it writes there is not seen here"):
        check_shared(stage_in(tmp_path), OtherEngine(lambda function: None))


def test_a_token_of_another_run_is_no_token(tmp_path):
    question = Question(str(tmp_path), "1234", ())
    (tmp_path / "_probe").mkdir()
    (tmp_path / "_probe" / "1234-question").write_text("4321")
    with pytest.raises(NotShared):
        question.answer()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"output": "data/toy"}, "toy: --output data/toy lies on this machine", id="output"),
        pytest.param({"pairs": "/data/pairs"}, "toy: --pairs /data/pairs lies", id="input under data"),
        pytest.param({"input": ("gs://b/1", "/crawl/2")}, "toy: --input /crawl/2 lies", id="one of a list"),
        pytest.param({"input": ("file:///crawl/2",)}, "toy: --input file:///crawl/2 lies", id="file URL"),
        pytest.param({"sets": ("name=/images",)}, "toy: --sets /images lies", id="behind its name"),
        pytest.param({"output": "memory://toy"}, "toy: --output memory://toy lies", id="this process's memory"),
    ],
)
def test_a_cloud_takes_no_path_of_this_machine(options, said):
    stage = Toy(**({"pairs": "gs://b/pairs", "output": "gs://b/toy"} | options))
    with pytest.raises(ValueError, match=said):
        refuse_local_paths(stage, OtherEngine(is_cloud=True))
    refuse_local_paths(stage, OtherEngine())


def test_a_cloud_is_not_asked():
    engine = OtherEngine(is_cloud=True)
    stage = Toy(pairs="gs://b/pairs", output="gs://b/toy", input=("gs://b/1",))
    stage.block, stage.removals = ("urls=lists/urls.txt",), "data/removals"  # read by the command alone
    refuse_local_paths(stage, engine)
    check_shared(stage, engine)
    assert engine.calls == 0
