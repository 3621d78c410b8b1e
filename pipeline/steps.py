"""What a stage is made of: steps, each a Beam pipeline over units of work. The only shared module that knows Beam.

A *unit* is what one worker does at a time and a resumed run skips: it writes one file, its *output*, and where that
lies the unit is done. There are four kinds of steps, and no stage needs another:

    MapUnits      each unit ► its output                         many files apart: worker processes
    CrewUnits     many units at once ► their outputs             as well; for work that mostly waits
    SumUnits      an array of each unit ► their sum, one output  as well
    GroupPacked   records of all sources ► buckets ► outputs     small rows together: one process, in memory

What a unit does is a function of a module (`work`), without Beam: it takes the unit and the path of its output, writes
it whole (`pipeline.base.files`), and returns what it counted. What was written and counted is in the unit's receipt
(`pipeline.base.receipts`), and nowhere else: what an engine counts is for watching.
"""

import contextlib
import copy
import heapq
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.metrics import Metrics

from pipeline.base import files
from pipeline.base.arrays import Ints, count_elements, write_array
from pipeline.base.drops import Counts, LostRows
from pipeline.base.lineage import Kinship, Stamp
from pipeline.base.options import check_options, option
from pipeline.base.packed import BUCKET_BYTES, unit_straight
from pipeline.base.receipts import StepReceipts

NAMESPACE: Final = "wit400m"  # of the metrics that show counts while a step runs
_MOST_INLINE: Final = 1000  # elements that are part of a pipeline's graph; more are read from a file
_ELEMENTS_AT_ONCE: Final = 100  # read from that file
_CREW_UNITS: Final = 32  # where nobody knows how many workers there are
_LEAST_CREWS: Final = 64

U = TypeVar("U")
S = TypeVar("S")
Packed = Iterable[tuple[int, bytes]]  # records by the number of a bucket, or of a unit


class Shape(Enum):
    """How a step uses a machine: many files apart, or small rows together."""

    MAP = "map"  # worker processes
    SHUFFLE = "shuffle"  # one process, in memory (notes on local engines: docs/engines.md)


class LocalTasks(NamedTuple):
    """What a step is where nothing has to be distributed: tasks for processes of one machine, without a pipeline.

    Attributes:
        tasks: Each for one process, in any order.
        work: Does one, of a function that can be sent to that process; what it returns is sent back.
        finish: Does the rest, when all are done, with what was returned, in the order of the tasks.
    """

    tasks: Sequence[Any]
    work: Callable[[Any], Any]
    finish: Callable[[Sequence[Any]], object]


class UnitsTransform(beam.PTransform, ABC):
    """A transform from the pipeline's root to the outputs of units, PCollection[str]; each leaves a receipt.

    Attributes:
        receipts: Where the receipts go; `bind` sets it.
        after: What must be done before; `bind` sets it.
        workers: How many workers there are, if that is known; `bind` sets it.
    """

    shape: ClassVar[Shape]
    receipts: StepReceipts = StepReceipts("", "")
    after: beam.PCollection | None = None
    workers: int | None = None

    def bind(
        self, receipts: StepReceipts, *, after: beam.PCollection | None = None, workers: int | None = None
    ) -> Self:
        """The transform with a place for its receipts.

        Args:
            receipts: The place.
            after: The outputs of a transform that must be done before this one begins.
            workers: How many workers there are; None: as many as the engine likes.
        """
        bound = copy.copy(self)
        bound.receipts, bound.after, bound.workers = receipts, after, workers
        return bound

    def _elements(
        self, root: beam.Pipeline, label: str, elements: Iterable[Any], element_type: Any = Any
    ) -> beam.PCollection:
        """What the transform begins with, when what must be before is done."""
        created = _elements(root, label, elements, self.receipts, element_type)
        if self.after is None:
            return created
        done = self.after | f"{label}Before" >> beam.combiners.Count.Globally()
        return created | f"{label}After" >> beam.Map(_first, beam.pvalue.AsSingleton(done)).with_output_types(
            element_type
        )

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """The files that are there when it is done."""

    @property
    @abstractmethod
    def num_tasks(self) -> int:
        """How many workers it can keep busy."""

    def local_tasks(self, workers: int) -> LocalTasks | None:
        """What it is for so many processes of one machine; None where only a pipeline does it."""
        return None


@dataclass(kw_only=True, eq=False)
class LanedUnits(UnitsTransform, Generic[U]):
    """Makes the output of every unit, unless it is there; the units of a lane in one worker.

    Attributes:
        units: What is to be done.
        output_of: Where the output of a unit lies.
        lane_of: The lane of a unit. None: none shares a lane.
    """

    shape = Shape.MAP

    units: Sequence[U]
    output_of: Callable[[U], str]
    lane_of: Callable[[U], Hashable] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """One a unit."""
        return tuple(map(self.output_of, self.units))

    @property
    def num_tasks(self) -> int:
        """The lanes."""
        return len(self._lanes())

    def _lanes(self) -> list[list[tuple[U, str]]]:
        """Units with their outputs, lane by lane."""
        lanes: dict[Hashable, list[tuple[U, str]]] = {}
        for number, (unit, output) in enumerate(zip(self.units, self.outputs, strict=True)):
            lanes.setdefault(number if self.lane_of is None else self.lane_of(unit), []).append((unit, output))
        return list(lanes.values())


@dataclass(kw_only=True, eq=False)
class MapUnits(LanedUnits[U]):
    """Makes outputs one by one; those of a lane one after another.

    Attributes:
        work: Makes the output of a unit.
    """

    work: Callable[[U, str], Counts]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str]."""
        lanes = self._elements(root, "Units", self._lanes())
        return lanes | "Work" >> beam.ParDo(_Work(self.work, self.receipts)).with_output_types(str)

    def local_tasks(self, workers: int) -> LocalTasks:
        """The lanes."""
        return LocalTasks(self._lanes(), partial(_do_all, _Work(self.work, self.receipts)), len)


Finish = Callable[[str], Counts]  # writes what was made of a unit to the path of its output
Crew = Callable[[Sequence[U]], Generator[tuple[U, Finish], None, None]]


@dataclass(kw_only=True, eq=False)
class CrewUnits(LanedUnits[U]):
    """Makes outputs many at once, side by side in a worker.

    Attributes:
        crew: Works on units and gives each as soon as it is ready to be written, in any order.
    """

    crew: Crew[U]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str]."""
        crews = deal_lanes(self._lanes(), self.workers or max(_LEAST_CREWS, -(-len(self.units) // _CREW_UNITS)))
        elements = self._elements(root, "Units", crews)
        return elements | "Work" >> beam.ParDo(_WorkTogether(self.crew, self.receipts)).with_output_types(str)

    def local_tasks(self, workers: int) -> LocalTasks:
        """A crew for each process."""
        work = partial(_do_all, _WorkTogether(self.crew, self.receipts))
        return LocalTasks(deal_lanes(self._lanes(), workers), work, len)


def deal_lanes(lanes: Sequence[Sequence[U]], number: int) -> list[list[U]]:
    """Deals lanes to at most so many crews, the longest first, each to the crew that has least.

    >>> deal_lanes([["a"], ["b", "c", "d"], ["e"], ["f"]], 2)
    [['b', 'c', 'd'], ['a', 'e', 'f']]
    """
    crews: list[list[U]] = [[] for _ in range(min(number, len(lanes)))]
    sizes = [(0, place) for place in range(len(crews))]
    for lane in sorted(lanes, key=len, reverse=True):
        size, place = heapq.heappop(sizes)
        crews[place] += lane
        heapq.heappush(sizes, (size + len(lane), place))
    return crews


@dataclass(kw_only=True, eq=False)
class SumUnits(UnitsTransform, Generic[U]):
    """Adds up an array of every unit and writes the sum, int64.

    Attributes:
        units: What is to be added up.
        array_of: Gives the array of a unit, [size].
        size: Of all arrays.
        output: A ``.npy``.
    """

    shape = Shape.MAP

    units: Sequence[U]
    array_of: Callable[[U], Ints]
    size: int
    output: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """The sum."""
        return (self.output,)

    @property
    def num_tasks(self) -> int:
        """The units."""
        return len(self.units)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str]."""
        return (
            self._elements(root, "Units", self.units)
            | "Array" >> beam.Map(self.array_of).with_output_types(np.ndarray)
            | "Sum" >> beam.CombineGlobally(_Sum(self.size))
            | "Write" >> beam.Map(_write_sum, self.output, self.receipts).with_output_types(str)
        )

    def local_tasks(self, workers: int) -> LocalTasks:
        """A share of the units for each process."""
        shares = [self.units[first::workers] for first in range(min(workers, len(self.units)))]
        sums = _Sum(self.size)
        return LocalTasks(
            shares, partial(_add_up, self.array_of, sums), partial(_write_sums, sums, self.output, self.receipts)
        )


@dataclass(kw_only=True, eq=False)
class GroupPacked(UnitsTransform, Generic[S, U]):
    """Brings packed records of all sources together, and makes the output of every unit of what was found in them.

    Attributes:
        sources: Where records come from.
        pack: Records of a source as bytes, by bucket (`pipeline.base.packed`).
        find: What the records of a bucket mean for units: bytes by a unit's number. None: buckets are units already.
        units: What is to be made; a unit's number is its place among them.
        output_of: Where the output of a unit lies.
        work: Makes it of the unit, the path of its output, and all that was found for it, in any order.
        payload: Bytes that are packed of all sources, about: what one machine's memory must hold, or a share of it at
            a time (`slice_step`); 0: few.
    """

    shape = Shape.SHUFFLE

    sources: Sequence[S]
    pack: Callable[[S], Packed]
    find: Callable[[Iterable[bytes]], Packed] | None = None
    units: Sequence[U]
    output_of: Callable[[U], str]
    work: Callable[[U, str, Iterable[bytes]], Counts]
    payload: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """One a unit."""
        return tuple(map(self.output_of, self.units))

    @property
    def num_tasks(self) -> int:
        """The sources."""
        return len(self.sources)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str]."""
        found = self._elements(root, "Sources", self.sources) | "Pack" >> beam.FlatMap(self.pack).with_output_types(
            tuple[int, bytes]
        )
        if self.find is not None:
            buckets = found | "GroupBuckets" >> beam.GroupByKey()
            found = buckets | "Find" >> beam.FlatMap(_find, self.find).with_output_types(tuple[int, bytes])
        units = list(enumerate(zip(self.units, self.outputs, strict=True)))
        return (
            {"unit": self._elements(root, "Units", units, tuple[int, Any]), "found": found}
            | "GroupUnits" >> beam.CoGroupByKey()
            | "Work" >> beam.ParDo(_WorkOnFound(self.work, self.receipts)).with_output_types(str)
        )

    def local_tasks(self, workers: int) -> LocalTasks | None:
        """The sources, where all that is packed is no more than one bucket may be."""
        if self.payload > BUCKET_BYTES:
            return None
        return LocalTasks(self.sources, partial(_pack_all, self.pack), self._work_on_packed)

    def _work_on_packed(self, packs: Sequence[list[tuple[int, bytes]]]) -> None:
        found = _parts_by_number(packs)
        if self.find is not None:
            found = _parts_by_number(_find(bucket, self.find) for bucket in found.items())
        work = _WorkOnFound(self.work, self.receipts)
        for number, unit in enumerate(zip(self.units, self.outputs, strict=True)):
            _do_all(work, (number, {"unit": [unit], "found": found.pop(number, [])}))
        if found:
            raise LostRows(f"something was found for the unit {min(found)}, and there are {len(self.units)}")


@dataclass(kw_only=True, eq=False)
class CheckUnits(UnitsTransform):
    """Looks whether what an earlier run made is as it was written, and withdraws the receipts of what is not.

    Attributes:
        checked: The outputs of units that have receipts (those that are bound).
    """

    shape = Shape.MAP

    checked: Sequence[str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def num_tasks(self) -> int:
        """The units."""
        return len(self.checked)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[bool]."""
        return self._elements(root, "Units", self.checked) | "Check" >> beam.Map(self.receipts.check)


def count_queries(
    units: Sequence[U], read: Callable[[U], Iterable[pa.ListArray]], num_queries: int, *, output: str
) -> SumUnits[U]:
    """In how many rows of all units each query is listed: [num_queries] in a file.

    Args:
        units: What is counted.
        read: Gives the lists of query ids of a unit, part by part.
        num_queries: Queries.
        output: A ``.npy``.
    """
    array_of = partial(_count_unit, read=read, num_queries=num_queries)
    return SumUnits(units=units, array_of=array_of, size=num_queries, output=output)


class Step(NamedTuple):
    """One Beam pipeline of a stage.

    Attributes:
        label: Its name.
        transform: What it does.
        ram_gib: Memory that a worker needs, for engines that give it what it asks for; 0: what it has.
        watch: Folder where its workers write how far they are within their units; empty: they do not. It is emptied
            when the step begins.
        prepare: A function of a module that makes, or loads, what all workers of a machine need; where they are forked
            it is called once and before. A worker must do without.
    """

    label: str
    transform: UnitsTransform
    ram_gib: float = 0.0
    watch: str = ""
    prepare: Callable[[], None] | None = None

    def bind(
        self, receipts: StepReceipts, *, after: beam.PCollection | None = None, workers: int | None = None
    ) -> beam.PTransform:
        """The transform as it runs: see `UnitsTransform.bind`."""
        bound = self.transform.bind(receipts, after=after, workers=workers)
        return bound.with_resource_hints(min_ram=f"{self.ram_gib}GiB") if self.ram_gib else bound


Made = dict[str, Counts]  # what the units of a step counted, by their outputs
Part = Step | tuple[Step, ...] | Counts
Steps = Generator[Part, Any, None]


@dataclass(kw_only=True, eq=False)
class Chain(UnitsTransform):
    """Steps as one pipeline: each begins when the one before is done.

    Attributes:
        steps: The steps, and where their receipts go.
    """

    shape = Shape.MAP

    steps: Sequence[tuple[Step, StepReceipts]]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of all steps."""
        return tuple(output for step, _ in self.steps for output in step.transform.outputs)

    @property
    def num_tasks(self) -> int:
        """Those of the step with most."""
        return max(step.transform.num_tasks for step, _ in self.steps)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str], the outputs of the last step."""
        done = None
        for step, receipts in self.steps:
            done = root | step.label >> step.bind(receipts, after=done, workers=self.workers)
        return done


@dataclass(kw_only=True)
class Stage(ABC):
    """A stage: its options are its fields (`pipeline.base.options.option`), its docstring is its help."""

    name: ClassVar[str]
    format: ClassVar[int] = 4  # raised when the output changes for the same options and inputs
    questions: ClassVar[Mapping[str, "Question"]] = {}
    operand: ClassVar[str] = ""  # the option, a list, that words of a command line without a flag are values of

    output: str = option("", "Folder to write.")

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        check_options(self)

    @property
    def works_again(self) -> bool:
        """Whether a folder that is done is worked on once more."""
        return False

    def room_bytes(self) -> int:
        """Bytes that the work takes in the output folder at its fullest, about; 0: nobody has measured it."""
        return 0

    def verdict(self, counts: Counts) -> str:
        """What is wrong with a result that is complete, in a sentence; nothing, where all is well."""
        return ""

    @abstractmethod
    def inputs(self) -> list[str]:
        """The files, or output folders of other stages, whose content decides the output.

        Raises:
            FileNotFoundError: When one of them is missing.
        """

    def stamp(self, path: str) -> Stamp:
        """What an input that is a file is recognised by."""
        return files.file_stamp(path)

    def kin(self) -> Iterable[Kinship]:
        """Which inputs must be of one data set: each the ancestor of another, or the other way round."""
        return ()

    @abstractmethod
    def steps(self) -> Steps:
        """What to run, in order; a later step may look at what an earlier one wrote.

        Steps that are all known before the first of them runs are given together: where starting a job takes minutes,
        they are one. The runner sends what the units of a step counted (`Made`), of several a list of that. What is
        known without a step is given as counts.
        """


class Question(NamedTuple):
    """A flag with which a stage answers a question about its input, instead of running.

    Attributes:
        metavar: What the help calls its value.
        help: Of the flag.
        answer: The stage as configured and the flag's value ► lines to print.
    """

    metavar: str
    help: str
    answer: Callable[[Any, str], Iterable[str]]


def _count_unit(unit: U, read: Callable[[U], Iterable[pa.ListArray]], num_queries: int) -> Ints:
    return count_elements(read(unit), num_queries)


def _elements(
    root: beam.Pipeline, label: str, elements: Iterable[Any], receipts: StepReceipts, element_type: Any = Any
) -> beam.PCollection:
    """Elements, which keep their types (Beam would make other ones of named tuples); many are read from a file.

    A pipeline's graph is sent to its engine whole, and Dataflow takes 10 MB.
    """
    listed = list(elements)
    if len(listed) <= _MOST_INLINE:
        return root | label >> beam.Create(listed).with_output_types(element_type)
    path = files.join(receipts.path, f"_{label}.pickles")
    parts = [
        pickle.dumps(listed[first : first + _ELEMENTS_AT_ONCE]) for first in range(0, len(listed), _ELEMENTS_AT_ONCE)
    ]
    files.write_bytes_whole(path, b"".join(parts))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    ranges = [(path, end - len(part), len(part)) for end, part in zip(ends, parts, strict=True)]
    return (
        root
        | f"{label}File" >> beam.Create(ranges, reshuffle=False)
        | f"{label}Read" >> beam.FlatMap(_read_elements).with_output_types(element_type)
        | label >> beam.Reshuffle().with_output_types(element_type)
    )


def _first(element: Any, _: int) -> Any:
    return element


def _read_elements(place: tuple[str, int, int]) -> list[Any]:
    return list(pickle.loads(files.read_range(*place)))


class _Work(beam.DoFn):
    def __init__(self, work: Callable[[Any, str], Counts], receipts: StepReceipts) -> None:
        self._work, self._receipts = work, receipts

    def process(self, lane: list[tuple[Any, str]]) -> Iterator[str]:
        for unit, output in lane:
            yield _make(output, partial(self._work, unit, output), self._receipts)


class _WorkTogether(beam.DoFn):
    def __init__(self, crew: Crew[Any], receipts: StepReceipts) -> None:
        self._crew, self._receipts = crew, receipts

    def process(self, units: list[tuple[Any, str]]) -> Iterator[str]:
        outputs = dict(units)
        are_done = files.each(self._receipts.check, outputs.values())
        left = [unit for unit, is_done in zip(outputs, are_done, strict=True) if not is_done]
        yield from (output for output, is_done in zip(outputs.values(), are_done, strict=True) if is_done)
        if not left:
            return
        with contextlib.closing(self._crew(left)) as made:
            for unit, finish in made:
                yield _make(outputs[unit], partial(finish, outputs[unit]), self._receipts)


class _WorkOnFound(beam.DoFn):
    def __init__(self, work: Callable[[Any, str, Iterable[bytes]], Counts], receipts: StepReceipts) -> None:
        self._work, self._receipts = work, receipts

    def process(self, element: tuple[int, dict[str, Any]]) -> Iterator[str]:
        _, joined = element
        [(unit, output)] = joined["unit"]
        yield _make(output, partial(self._work, unit, output, joined["found"]), self._receipts)


def _do_all(work: "_Work | _WorkTogether | _WorkOnFound", element: Any) -> None:
    for _ in work.process(element):
        pass


def _add_up(array_of: Callable[[U], Ints], sums: "_Sum", units: Sequence[U]) -> Ints:
    total = sums.create_accumulator()
    for unit in units:
        total = sums.add_input(total, array_of(unit))
    return total


def _write_sums(sums: "_Sum", output: str, receipts: StepReceipts, totals: Sequence[Ints]) -> None:
    _write_sum(sums.merge_accumulators(totals), output, receipts)


def _pack_all(pack: Callable[[S], Packed], source: S) -> list[tuple[int, bytes]]:
    return list(pack(source))


def _parts_by_number(packs: Iterable[Packed]) -> dict[int, list[bytes]]:
    parts: dict[int, list[bytes]] = {}
    for pack in packs:
        for number, part in pack:
            parts.setdefault(number, []).append(part)
    return parts


class _Sum(beam.CombineFn):
    """Adds up arrays."""

    def __init__(self, size: int) -> None:
        self._size = size

    def create_accumulator(self) -> Ints:
        return np.zeros(self._size, np.int64)

    def add_input(self, accumulator: Ints, array: Ints) -> Ints:
        accumulator += array
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Ints]) -> Ints:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: Ints) -> Ints:
        return accumulator


def _make(output: str, work: Callable[[], Counts], receipts: StepReceipts) -> str:
    for name, number in receipts.make(output, work).items():
        Metrics.counter(NAMESPACE, name).inc(number)
    return output


def _find(bucket: tuple[int, Iterable[bytes]], find: Callable[[Iterable[bytes]], Packed]) -> Packed:
    number, parts = bucket
    unit = unit_straight(number)
    return find(parts) if unit is None else ((unit, part) for part in parts)


def _write_sum(total: npt.NDArray[np.int64], output: str, receipts: StepReceipts) -> str:
    def write() -> Counts:
        write_array(output, total)
        return {}

    return _make(output, write, receipts)
