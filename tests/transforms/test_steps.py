"""The three kinds of steps: outputs are made once, counted always, and small rows meet whatever unit they are from."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from jobs.engines import Engine, run_step
from pipeline.base.arrays import read_array, write_array
from pipeline.base.files import join
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import num_buckets, split_by_bucket, split_by_unit, straight_to
from pipeline.base.tables import read_table, write_table
from pipeline.steps import GroupPacked, MapUnits, Shape, Step, SumUnits, finished_counts

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


def run(transform):
    return run_step(Step("Step", transform), Engine(workers=1))


def test_each_unit_is_made_and_counted_and_keeps_its_type(tmp_path):
    transform = map_numbers(tmp_path)
    assert run(transform) == {"numbers": 8}
    assert [read_table(path)["number"].to_pylist() for path in transform.outputs] == [
        [6, 2, 8],
        [2, 10],
        [],
        [18, 6, 2],
    ]


def test_what_is_there_is_left_alone_and_counted_again(tmp_path):
    transform = map_numbers(tmp_path)
    write_table(transform.outputs[1], NUMBERS.empty_table(), NUMBERS, {"numbers": 100})
    assert run(transform) == {"numbers": 106}
    assert read_table(transform.outputs[1]).num_rows == 0


def test_a_step_is_finished_when_all_its_outputs_are_there(tmp_path):
    step = Step("Step", map_numbers(tmp_path))
    assert finished_counts(step) is None
    run(step.transform)
    assert finished_counts(step) == {"numbers": 8}
    (tmp_path / "c.parquet").unlink()
    assert finished_counts(step) is None


def array_of(unit: Unit) -> np.ndarray:
    return np.bincount(np.array(unit.numbers, np.int64), minlength=10)


@pytest.mark.parametrize("units", [UNITS, []], ids=["some", "none"])
def test_arrays_of_units_are_added_up(tmp_path, units):
    output = str(tmp_path / "sum.npy")
    assert run(SumUnits(units=units, array_of=array_of, size=10, output=output)) == {}
    numbers = [number for unit in units for number in unit.numbers]
    assert read_array(output).tolist() == np.bincount(np.array(numbers, np.int64), minlength=10).tolist()


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


def test_rows_meet_by_bucket_and_every_unit_is_made_also_one_that_nothing_was_found_for(tmp_path):
    group = GroupPacked(
        sources=list(enumerate(UNITS)),
        pack=pack,
        find=find_repeated,
        units=UNITS,
        output_of=lambda unit: str(tmp_path / f"{unit.name}.npy"),
        work=write_rows,
    )
    assert run(group) == {"of_a": 0, "of_b": 2, "of_c": 0, "of_d": 2}
    assert [read_array(path).tolist() for path in group.outputs] == [[], [0, 77], [], [1, 2]]


def test_without_a_comparison_records_go_to_units_by_number(tmp_path):
    group = GroupPacked(
        sources=[0, 1, 2],
        pack=pack_evenly,
        units=["even", "odd"],
        output_of=lambda unit: str(tmp_path / f"{unit}.npy"),
        work=write_sorted,
    )
    assert run(group) == {}
    assert [read_array(path).tolist() for path in group.outputs] == [[0, 2], [1]]


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
