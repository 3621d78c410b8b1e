"""The kinds of steps: outputs are made once, counted always, and small rows meet whatever unit they are from."""

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from jobs.engines import Engine, StepFailed, run_step
from jobs.runner import make_step, make_steps
from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import add_counts
from pipeline.base.files import join
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import BUCKET_BYTES, num_buckets, split_by_bucket, split_by_unit, straight_to
from pipeline.base.receipts import MissingOutput
from pipeline.base.tables import read_table, write_table
from pipeline.steps import CrewUnits, GroupPacked, MapUnits, Shape, Step, SumUnits

NUMBERS = pa.schema([("number", pa.int64())])
RECORD = np.dtype([("number", "<u8"), ("unit", "<u4"), ("row", "<u4")])


class Unit(NamedTuple):
    name: str
    numbers: tuple[int, ...]


UNITS = [Unit("a", (3, 1, 4)), Unit("b", (1, 5)), Unit("c", ()), Unit("d", (9, 3, 1))]


def output_of(folder, unit):
    return join(folder, f"{unit.name}.parquet")


def write_numbers(unit: Unit, output: str, *, factor: OnWorker[int]) -> dict[str, int]:
    assert isinstance(unit, Unit)
    numbers = [factor.get() * number for number in unit.numbers]
    write_table(output, pa.table([numbers], schema=NUMBERS), NUMBERS, {"numbers": len(numbers)})
    return {"numbers": len(numbers)}


def map_numbers(folder):
    return MapUnits(
        units=UNITS, output_of=partial(output_of, str(folder)), work=partial(write_numbers, factor=OnWorker(int, "2"))
    )


ENGINES = {"here": (), "Beam's": ("--runner=FnApiRunner",)}
on_both = pytest.mark.parametrize("flags", ENGINES.values(), ids=ENGINES)


def run(transform, memory=1 << 30, flags=()):
    folder = os.path.commonpath([os.path.dirname(output) for output in transform.outputs])
    made = make_step(Step("Step", transform), Engine(workers=1, memory=memory, beam_flags=flags), folder)
    return add_counts(*(receipt.counts for receipt in made.values()))


@on_both
def test_each_unit_is_made_and_counted_and_keeps_its_type(tmp_path, flags):
    transform = map_numbers(tmp_path)
    assert run(transform, flags=flags) == {"numbers": 8}
    assert [read_table(path)["number"].to_pylist() for path in transform.outputs] == [
        [6, 2, 8],
        [2, 10],
        [],
        [18, 6, 2],
    ]


def change(path, how):
    content = path.read_bytes()
    path.unlink() if how is None else path.write_bytes(how(content))


CHANGES = {
    "gone": None,
    "cut off": lambda content: content[:-20],
    "other bytes, as many": lambda content: content[:4] + bytes([content[4] ^ 1]) + content[5:],
    "empty": lambda content: b"",
}


def test_what_is_there_and_whole_is_left_alone_and_counted_again(tmp_path):
    transform = map_numbers(tmp_path)
    assert run(transform) == {"numbers": 8}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    (tmp_path / "_steps" / "Step" / "c.parquet.json").unlink()
    (tmp_path / "c.parquet").unlink()
    assert run(transform) == {"numbers": 8}
    again = {path: path.stat().st_mtime_ns for path in written}
    assert [path.name for path in written if written[path] != again[path]] == ["c.parquet"]


@pytest.mark.parametrize("cut_short", [True, False], ids=["in the step", "after the step"])
@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
def test_an_output_that_is_not_as_it_was_written_is_made_anew(tmp_path, how, cut_short):
    transform = map_numbers(tmp_path)
    run(transform)
    bytes_of = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    if cut_short:
        (tmp_path / "_steps" / "Step" / "d.parquet.json").unlink()
    change(tmp_path / "b.parquet", how)
    assert run(transform) == {"numbers": 8}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")} == bytes_of


def write_side_by_side(unit: Unit, output: str) -> dict[str, int]:
    write_array(output.replace(".parquet", ".npy"), np.array(unit.numbers))
    write_table(output, NUMBERS.empty_table(), NUMBERS)
    return {}


def test_all_files_that_a_unit_wrote_belong_to_its_receipt(tmp_path):
    transform = MapUnits(units=UNITS, output_of=partial(output_of, str(tmp_path)), work=write_side_by_side)
    run(transform)
    (tmp_path / "b.npy").write_bytes(b"other")
    run(transform)
    assert read_array(str(tmp_path / "b.npy")).tolist() == [1, 5]


def write_nothing(unit: Unit, output: str) -> dict[str, int]:
    return {}


def count_wrongly(unit: Unit, output: str) -> dict[str, int]:
    write_table(output, NUMBERS.empty_table(), NUMBERS, {"numbers": 1})
    return {"numbers": 2}


@pytest.mark.parametrize(
    ("work", "message"),
    [(write_nothing, "ended without writing it"), (count_wrongly, "the file says {'numbers': 1}")],
    ids=["no output", "another count than in the file"],
)
@on_both
def test_a_unit_that_does_not_write_what_it_says_fails(tmp_path, work, message, flags):
    with pytest.raises(StepFailed, match=message):
        run(MapUnits(units=UNITS, output_of=partial(output_of, str(tmp_path)), work=work), flags=flags)
    assert not list(tmp_path.glob("_steps/*/[!_]*"))


def test_a_step_whose_outputs_are_elsewhere_fails_whatever_the_engine_counted(tmp_path, monkeypatch):
    transform = map_numbers(tmp_path)

    def run_elsewhere(step, engine, receipts):
        run_step(step, engine, receipts)
        for path in [*tmp_path.glob("*.parquet"), *tmp_path.glob("_steps/*/*")]:
            path.rename(tmp_path / f"elsewhere-{path.name}")

    monkeypatch.setattr("jobs.runner.run_step", run_elsewhere)
    with pytest.raises(MissingOutput, match=r"Step: the engine says that it is done, but 4 of 4 outputs are not there"):
        run(transform)


class Note(NamedTuple):
    name: str
    lane: int


def note_time(unit: Note, output: str) -> dict[str, int]:
    started = time.monotonic()
    time.sleep(0.05)
    write_array(output, np.array([started, time.monotonic()]))
    return {"by": os.getpid()}


@on_both
def test_units_of_a_lane_are_done_one_after_another_by_one_worker(tmp_path, flags):
    units = [Note(f"{number}", number % 3) for number in range(9)]
    transform = MapUnits(
        units=units,
        output_of=lambda unit: str(tmp_path / f"{unit.name}.npy"),
        work=note_time,
        lane_of=lambda unit: unit.lane,
    )
    assert transform.num_tasks == 3
    made = make_step(Step("Step", transform), Engine(workers=2, beam_flags=flags), str(tmp_path))
    for lane in range(3):
        its = [str(tmp_path / f"{number}.npy") for number in range(lane, 9, 3)]
        assert len({made[output].counts["by"] for output in its}) == 1
        times = np.concatenate([read_array(output) for output in its])
        assert (np.diff(times) >= 0).all()


def test_many_units_travel_in_a_file_and_keep_their_types(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.steps._MOST_INLINE", 2)
    monkeypatch.setattr("pipeline.steps._ELEMENTS_AT_ONCE", 3)
    assert run(map_numbers(tmp_path), flags=ENGINES["Beam's"]) == {"numbers": 8}
    total = SumUnits(units=UNITS, array_of=array_of, size=10, output=str(tmp_path / "sum.npy"))
    assert run(total, flags=ENGINES["Beam's"]) == {}
    assert read_array(total.output).sum() == 8


def array_of(unit: Unit) -> np.ndarray:
    return np.bincount(np.array(unit.numbers, np.int64), minlength=10)


@pytest.mark.parametrize("units", [UNITS, []], ids=["some", "none"])
@on_both
def test_arrays_of_units_are_added_up(tmp_path, units, flags):
    output = str(tmp_path / "sum.npy")
    assert run(SumUnits(units=units, array_of=array_of, size=10, output=output), flags=flags) == {}
    numbers = [number for unit in units for number in unit.numbers]
    assert read_array(output).tolist() == np.bincount(np.array(numbers, np.int64), minlength=10).tolist()


def fetch_nothing(units: list[str]) -> Iterable[tuple[str, Callable[[str], dict[str, int]]]]:
    for unit in units:
        yield unit, partial(write_sorted, unit, packed=[])


LANES = {"one task": lambda _: 0, "more tasks than workers": None}
STEPS = {
    "map": lambda path, lane_of: MapUnits(
        units=["a", "b", "c"],
        output_of=lambda unit: path + unit,
        work=partial(write_sorted, packed=[]),
        lane_of=lane_of,
    ),
    "crew": lambda path, lane_of: CrewUnits(
        units=["a", "b", "c"], output_of=lambda unit: path + unit, crew=fetch_nothing, lane_of=lane_of
    ),
    "sum": lambda path, lane_of: SumUnits(units=UNITS[: 1 if lane_of else 3], array_of=array_of, size=10, output=path),
}


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("lane_of", LANES.values(), ids=LANES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_step_needs_no_pipeline_here(tmp_path, monkeypatch, make, lane_of, workers):
    monkeypatch.setattr(Engine, "pipeline", lambda self, step: pytest.fail("a pipeline"))
    transform = make(str(tmp_path / "output"), lane_of)
    assert list(make_step(Step("Step", transform), Engine(workers=workers), str(tmp_path))) == list(transform.outputs)
    assert all(map(os.path.exists, transform.outputs))


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("workers", [1, 2])
def test_one_process_prepares_itself_before_a_step(tmp_path, make, workers):
    prepared = []
    step = Step("Step", make(str(tmp_path / "output"), LANES["one task"]), prepare=lambda: prepared.append(1))
    make_step(step, Engine(workers=workers), str(tmp_path))
    assert prepared == [1]


def test_an_error_without_a_pipeline_is_told_like_one_with(tmp_path):
    def fail(unit, output):
        raise RuntimeError("no way")

    step = Step("Step", MapUnits(units=["a"], output_of=lambda _: str(tmp_path / "a"), work=fail))
    with pytest.raises(StepFailed, match=r"^Step: RuntimeError: no way$"):
        make_step(step, Engine(workers=1), str(tmp_path))


def pack(source: tuple[int, Unit]) -> Iterable[tuple[int, bytes]]:
    index, unit = source
    records = np.zeros(len(unit.numbers), RECORD)
    records["number"], records["unit"], records["row"] = unit.numbers, index, np.arange(len(unit.numbers))
    if unit.name == "b":
        yield straight_to(index), np.array([77], np.uint32).tobytes()
    yield from split_by_bucket(records, records["number"], num_buckets(len(UNITS)))


def find_repeated(packed: Iterable[bytes]) -> Iterable[tuple[int, bytes]]:
    """The rows whose number an earlier unit has."""
    records = np.sort(np.frombuffer(b"".join(packed), RECORD))
    repeated = records[1:][records["number"][1:] == records["number"][:-1]]
    yield from split_by_unit(repeated, repeated["row"])


def write_rows(unit: Unit, output: str, packed: Iterable[bytes]) -> dict[str, int]:
    rows = np.sort(np.frombuffer(b"".join(packed), np.uint32))
    write_array(output, rows)
    return {f"of_{unit.name}": len(rows)}


@pytest.mark.parametrize("memory", [1 << 30, 1000, 300], ids=["whole", "in two slices", "in many slices"])
@on_both
def test_rows_meet_by_bucket_and_every_unit_is_made_also_one_that_nothing_was_found_for(tmp_path, memory, flags):
    group = GroupPacked(
        sources=list(enumerate(UNITS)),
        pack=pack,
        find=find_repeated,
        units=UNITS,
        output_of=lambda unit: str(tmp_path / f"{unit.name}.npy"),
        work=write_rows,
        payload=500,
    )
    assert run(group, memory, flags) == {"of_a": 0, "of_b": 2, "of_c": 0, "of_d": 2}
    assert [read_array(path).tolist() for path in group.outputs] == [[], [0, 77], [], [1, 2]]


@pytest.mark.parametrize("memory", [1 << 30, 1000, 300], ids=["whole", "in two slices", "in many slices"])
@on_both
def test_without_a_comparison_records_go_to_units_by_number(tmp_path, memory, flags):
    group = group_evenly(tmp_path)
    assert run(group, memory, flags) == {}
    assert [read_array(path).tolist() for path in group.outputs] == [[0, 2], [1]]


def group_evenly(folder, sources=(0, 1, 2), payload=500):
    return GroupPacked(
        sources=sources,
        pack=pack_evenly,
        units=["even", "odd"],
        output_of=lambda unit: str(folder / f"{unit}.npy"),
        work=write_sorted,
        payload=payload,
    )


@pytest.mark.parametrize(
    ("payload", "pipelines"), [(BUCKET_BYTES, 0), (BUCKET_BYTES + 1, 1)], ids=["a bucket's worth", "more than that"]
)
def test_few_rows_meet_in_this_process_and_many_in_a_pipeline(tmp_path, monkeypatch, payload, pipelines):
    made, pipeline = [], Engine.pipeline
    monkeypatch.setattr(Engine, "pipeline", lambda self, step: made.append(step) or pipeline(self, step))
    group = group_evenly(tmp_path, payload=payload)
    assert run(group) == {}
    assert len(made) == pipelines
    assert [read_array(path).tolist() for path in group.outputs] == [[0, 2], [1]]


@on_both
def test_what_is_found_for_a_unit_that_is_not_there_is_an_error(tmp_path, flags):
    group = group_evenly(tmp_path, sources=[0])
    group.pack = partial(pack_to, 7)
    with pytest.raises(StepFailed, match="Step: "):
        run(group, flags=flags)


def pack_to(unit: int, number: int) -> Iterable[tuple[int, bytes]]:
    yield unit, b""


def pack_evenly(number: int) -> Iterable[tuple[int, bytes]]:
    yield number % 2, np.array([number], np.uint32).tobytes()


def write_sorted(unit: str, output: str, packed: Iterable[bytes]) -> dict[str, int]:
    write_array(output, np.sort(np.frombuffer(b"".join(packed), np.uint32)))
    return {}


def test_workers_go_by_units_where_files_are_apart_and_not_by_outputs(tmp_path):
    total = SumUnits(units=UNITS, array_of=array_of, size=10, output=str(tmp_path / "sum.npy"))
    assert (total.shape, total.num_tasks, len(total.outputs)) == (Shape.MAP, 4, 1)
    runner = Engine(workers=3).pipeline(Step("Sum", total))
    assert runner.options.get_all_options()["direct_num_workers"] == 3
    runner = Engine(workers=9).pipeline(Step("Map", map_numbers(tmp_path)))
    assert runner.options.get_all_options()["direct_num_workers"] == 4


def sum_of_file(path: str) -> np.ndarray:
    return np.array([read_table(path)["number"].to_numpy().sum()], np.int64)


@pytest.mark.parametrize("runner", ["portable", "local"])
def test_steps_given_together_are_done_in_order_and_where_jobs_are_dear_in_one(tmp_path, monkeypatch, runner):
    make = map_numbers(tmp_path)
    total = SumUnits(units=make.outputs, array_of=sum_of_file, size=1, output=str(tmp_path / "sum.npy"))
    again = SumUnits(units=[total.output], array_of=read_array, size=1, output=str(tmp_path / "again.npy"))
    steps = [Step("Make", make), Step("Sum", total), Step("Again", again)]
    flags = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")
    jobs = []

    def noted(step, engine, receipts):
        jobs.append(step.label)
        run_step(step, engine, receipts)

    monkeypatch.setattr("jobs.runner.run_step", noted)
    engine = Engine(workers=1, beam_flags=flags if runner == "portable" else ())
    made = make_steps(steps, engine, str(tmp_path))
    assert [add_counts(*(receipt.counts for receipt in one.values())) for one in made] == [{"numbers": 8}, {}, {}]
    assert read_array(again.output).tolist() == [2 * 27]
    assert jobs == (["Make-Sum-Again"] if runner == "portable" else ["Make", "Sum", "Again"])
    content = (tmp_path / "again.npy").read_bytes()
    (tmp_path / "again.npy").write_bytes(content[:-1] + b"x")
    jobs.clear()
    make_steps(steps, engine, str(tmp_path))
    assert jobs == (["CheckMake", "CheckSum", "CheckAgain", "Again"] if runner == "portable" else ["Again"])
    assert (tmp_path / "again.npy").read_bytes() == content
