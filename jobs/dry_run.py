"""`--dry-run`: what a run would do and what it would cost, known before anything runs; nothing is written.

In: configured stages and the engine. Checked as a run checks them: options, inputs, lineage, flags, the state of the
output folder. Out: lines. Steps are asked of the stage itself; where it looks at what an earlier step would have
written, the plan ends, and only the model (`jobs.scale`) speaks of the rest. Of several stages, one that waits for
another is estimated with as many rows as that one is given: the most there can be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobs.engines import Engine
from jobs.memory import show_seconds
from jobs.probe import refuse_local_paths
from jobs.room import check_room
from jobs.scale import Prices, StageCost, StepCost, estimate_stage, read_rates, slices_of
from pipeline.base import files
from pipeline.base.drops import Counts, LostRows
from pipeline.base.holding import FolderInUse, find_holder
from pipeline.base.lineage import read_stage
from pipeline.base.options import options_of
from pipeline.base.receipts import Receipt, StepReceipts
from pipeline.base.sizes import show_bytes
from pipeline.base.stage_folder import State, find_state, stage_identity
from pipeline.base.tables import count_rows_each
from pipeline.extraction.stage import ExtractPairs
from pipeline.fetching.stage import FetchImages
from pipeline.steps import GroupPacked, Made, Shape, Stage, Step

# What a stage may raise when it looks at what a step would have written.
_UNKNOWN: Final = (OSError, ValueError, LookupError, LostRows)
_ROWS_FROM: Final[Mapping[str, str]] = {  # the option that names the folder whose kept rows come in
    "match-pairs": "pairs",
    "balance-pairs": "pairs",
    "fetch-images": "balanced",
    "write-shards": "raw",
}
_STATES: Final = {
    State.FRESH: "new",
    State.CUT_SHORT: "would continue what was cut short",
    State.DONE: "is done; nothing would run",
}


_PLAIN_LISTS: Final = (".csv", ".tsv", ".jsonl")
_LIST_ROW_BYTES: Final = 130  # of a URL of some 80 characters and a text of some 50
_WAITS: Final = "waits for a stage before it"


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """What is known of a step before it runs.

    Attributes:
        step: Its label.
        shape: How it uses a machine.
        units: Its outputs.
        done: Those that an earlier run has made.
        payload: Bytes that it shuffles, if the stage knows; else 0.
    """

    step: str
    shape: Shape
    units: int
    done: int
    payload: int

    @property
    def left(self) -> float:
        """Share that is to be done."""
        return 1 - self.done / self.units if self.units else 0.0


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What is known of a stage before it runs.

    Attributes:
        state: Of its output, in words.
        steps: Those that are known.
        is_whole: Whether these are all.
        rows: That come in, at most; None: not known.
    """

    state: str
    steps: tuple[StepPlan, ...]
    is_whole: bool
    rows: int | None


def describe_run(stages: Sequence[Stage], engine: Engine, *, overwrite: bool) -> list[str]:
    """What a run of stages would do and cost, as lines.

    Args:
        stages: In the order they run.
        engine: Where.
        overwrite: Whether what is there is made anew.

    Raises:
        ValueError: For what a run would refuse.
        FileNotFoundError: For missing input.
        FileTrouble: When a disk has no room for what a stage writes.
    """
    lines = ["dry run: nothing is written"]
    unmade: dict[str, int | None] = {}
    hours = dollars = 0.0
    for stage in stages:
        files.check_folder(stage.output)
        refuse_local_paths(stage, engine)
        plan, waits_for = _plan_stage(stage, unmade, overwrite=overwrite)
        cost = estimate(stage, plan)
        lines += ["", *plan_lines(stage, plan, cost, engine, waits_for)]
        if plan.state != _STATES[State.DONE]:
            unmade[stage.output] = plan.rows
        if cost is not None:
            hours, dollars = hours + cost.vcpu_hours, dollars + cost.dollars(Prices())
    if len(stages) > 1:
        lines += ["", f"all stages: {hours:,.2f} vCPU-hours" + (f", ${dollars:,.2f}" if _is_cloud(engine) else "")]
    return lines


def _plan_stage(stage: Stage, unmade: Mapping[str, int | None], *, overwrite: bool) -> tuple[StagePlan, list[str]]:
    waits_for = [folder for folder in input_folders(stage) if folder in unmade]
    if holder := find_holder(stage.output):
        raise FolderInUse(f"{stage.output}: another run ({holder}) is working there; wait for it")
    if waits_for:
        plan = StagePlan(state=_WAITS, steps=(), is_whole=False, rows=rows_in(stage, unmade))
        return plan, waits_for
    identity = stage_identity(stage)
    state = State.FRESH if overwrite else find_state(stage, identity)
    rows = rows_in(stage)
    if state is State.DONE:
        return StagePlan(state=_STATES[state], steps=(), is_whole=True, rows=rows), []
    check_room(stage)
    steps, is_whole = plan_steps(stage, anew=overwrite)
    words = "would be made anew" if overwrite else _STATES[state]
    return StagePlan(state=words, steps=tuple(steps), is_whole=is_whole, rows=rows), []


def plan_steps(stage: Stage, *, anew: bool = False) -> tuple[list[StepPlan], bool]:
    """The steps of a stage as far as they are known, and whether these are all; nothing is kept of what it writes.

    Args:
        stage: The stage.
        anew: Whether what is there does not count.
    """
    plans: list[StepPlan] = []
    with files.discard_writes() as discarded:
        steps, answer = stage.steps(), None
        while True:
            try:
                part = steps.send(answer)
            except StopIteration:
                return plans, True
            except _UNKNOWN:
                if not discarded and all(plan.done == plan.units for plan in plans):
                    raise
                return plans, False
            answer = None
            if isinstance(part, dict):
                continue
            answers = []
            for step in [part] if isinstance(part, Step) else part:
                plan, made = _plan_step(step, stage.output, anew=anew)
                plans.append(plan)
                answers.append(made)
            answer = answers[0] if isinstance(part, Step) else answers


def _plan_step(step: Step, folder: str, *, anew: bool) -> tuple[StepPlan, Made]:
    outputs, receipts = step.transform.outputs, StepReceipts(folder, step.label)
    found: list[Receipt] | None = None if anew else receipts.read_all(outputs)
    made: dict[str, Counts] = {output: {} for output in outputs}
    if found is not None:
        made = {output: receipt.counts for output, receipt in zip(outputs, found, strict=True)}
    done = len(outputs) if found is not None else 0 if anew else min(receipts.num_done(), max(len(outputs) - 1, 0))
    plan = StepPlan(
        step=step.label,
        shape=step.transform.shape,
        units=len(outputs),
        done=done,
        payload=step.transform.payload if isinstance(step.transform, GroupPacked) else 0,
    )
    return plan, made


def estimate(stage: Stage, plan: StagePlan) -> StageCost | None:
    """What is left of a stage will cost; None where nobody knows how many rows come in, or what they cost."""
    rates = read_rates()
    if plan.rows is None or stage.name not in rates["stages"]:
        return None
    whole = estimate_stage(stage.name, plan.rows, rates)
    shares = {step.step: step.left for step in plan.steps}
    if plan.state == _STATES[State.DONE]:
        shares = dict.fromkeys((step.step for step in whole.steps), 0.0)
    unlike = {step.step for step in whole.steps} - set(shares) if plan.is_whole else set()
    steps = [_share(step, shares.get(step.step, 1.0)) for step in whole.steps if step.step not in unlike]
    return whole._replace(steps=tuple(steps))


def _share(step: StepCost, share: float) -> StepCost:
    return step._replace(
        elements=round(step.elements * share),
        shuffled_bytes=step.shuffled_bytes * share,
        cpu_s=step.cpu_s * share,
        puts=round(step.puts * share),
        gets=round(step.gets * share),
        read_bytes=step.read_bytes * share,
        written_bytes=step.written_bytes * share,
    )


def plan_lines(
    stage: Stage, plan: StagePlan, cost: StageCost | None, engine: Engine, waits_for: Sequence[str]
) -> Iterator[str]:
    """A plan for people."""
    yield f"{stage.name}: {plan.state}{': ' + ', '.join(waits_for) if waits_for else ''}"
    yield f"    output  {stage.output}"
    for folder in input_folders(stage):
        yield f"    input   {folder}"
    if plan.rows is not None:
        yield f"    rows in {plan.rows:,}{' at most' if waits_for else ''}"
    costs = {step.step: step for step in cost.steps} if cost else {}
    for step in plan.steps:
        yield f"    {step.step:<20}{', '.join(_step_words(step, costs.get(step.step), engine))}"
    if plan.steps and not plan.is_whole:
        yield "    …                   what follows is decided by what these steps find; expected are about:"
    if not plan.is_whole:
        known = {step.step for step in plan.steps}
        for expected in [step for step in costs.values() if step.step not in known]:
            yield f"    {expected.step:<20}{', '.join(_expected_words(expected, engine))}"
    if plan.state == _STATES[State.DONE]:
        return
    if cost is None:
        yield "    no estimate: the rows that come in, or their cost, are not known"
        return
    yield from _cost_lines(plan, cost, engine)


def _step_words(step: StepPlan, cost: StepCost | None, engine: Engine) -> Iterator[str]:
    yield f"{step.units:,} units" + (f", {step.done:,} of them done" if step.done else "")
    if step.shape is Shape.SHUFFLE and step.left and (step.payload or cost):
        size = step.payload or (cost.shuffled_bytes if cost else 0.0)
        yield from _shuffle_words(cost.elements if cost else 0, size, engine)


def _expected_words(cost: StepCost, engine: Engine) -> Iterator[str]:
    yield f"{cost.units:,} units"
    if cost.elements:
        yield from _shuffle_words(cost.elements, cost.shuffled_bytes, engine)


def _shuffle_words(elements: int, size: float, engine: Engine) -> Iterator[str]:
    yield f"shuffles about {f'{elements:,} elements, ' if elements else ''}{show_bytes(size)}"
    slices = slices_of(size, engine.memory) if engine.is_local else 1
    if slices > 1:
        yield f"in {slices:,} slices for {show_bytes(engine.memory)} of memory"


def _cost_lines(plan: StagePlan, cost: StageCost, engine: Engine) -> Iterator[str]:
    shuffles = {step.step for step in plan.steps if step.shape is Shape.SHUFFLE}
    if engine.is_local:
        seconds = sum(
            step.cpu_s / (1 if step.step in shuffles or step.elements else min(engine.workers, max(step.units, 1)))
            for step in cost.steps
        )
        workers = f"{engine.workers} worker{'s' if engine.workers > 1 else ''}"
        took = f"{show_seconds(seconds)} of computing with {workers}"
        yield f"    time    about {took} ({cost.vcpu_hours:,.2f} vCPU-hours)"
    else:
        yield f"    time    {cost.vcpu_hours:,.2f} vCPU-hours"
    if any(step.step == "FetchUnits" and step.cpu_s for step in cost.steps):
        yield "            and the waiting for web servers, of which the slowest host decides"
    largest = max((step.shuffled_bytes for step in cost.steps), default=0.0)
    memory = f"{show_bytes(cost.worker_bytes)} a worker"
    if engine.is_local and largest:
        memory += f"; shuffles in {show_bytes(engine.memory)}"
    yield f"    memory  about {memory}"
    written = sum(step.written_bytes for step in cost.steps)
    yield f"    storage {show_bytes(cost.stored_bytes)} of output, {show_bytes(written)} with working files"
    if _is_cloud(engine):
        prices = Prices()
        yield (
            f"    cost    about ${cost.dollars(prices):,.2f} (list prices of {prices.date}, a month of storage), "
            f"{cost.puts:,} writing and {cost.gets:,} reading requests"
        )


def input_folders(stage: Stage) -> list[str]:
    """The folders of stages before that a stage is given; those left empty are not."""
    values = [
        (getattr(stage, option.name), option.is_list) for option in options_of(type(stage)) if option.spec.made_by
    ]
    return [path for value, is_list in values for path in (value if is_list else [value]) if path]


def _row_folders(stage: Stage) -> list[str]:
    value: Any = getattr(stage, _ROWS_FROM[stage.name]) if stage.name in _ROWS_FROM else ()
    return [value] if isinstance(value, str) else list(value)


def rows_in(stage: Stage, unmade: Mapping[str, int | None] | None = None) -> int | None:
    """How many rows come into a stage, by what the stages before counted; None: that is not known.

    Args:
        stage: The stage.
        unmade: The rows that come into those stages before that have not run, by their outputs.
    """
    if isinstance(stage, ExtractPairs):
        return _rows_in_lists(files.expand_inputs(stage.input))
    if isinstance(stage, FetchImages) and stage.from_list:
        return sum(count_rows_each(files.expand_inputs(stage.from_list)))
    before = unmade or {}
    kept = [before[path] if path in before else _kept(read_stage(path)["counts"]) for path in _row_folders(stage)]
    known = [number for number in kept if number is not None]
    return sum(known) if known and len(known) == len(kept) else None


def _rows_in_lists(paths: Sequence[str]) -> int | None:
    """Rows of tables of URLs and texts, by the sizes of those that are no Parquet, about; None: there are others."""
    tables = [path for path in paths if path.endswith(".parquet")]
    others = [path for path in paths if not path.endswith(".parquet")]
    if not all(path.endswith(_PLAIN_LISTS) for path in others):
        return None
    return sum(count_rows_each(tables)) + round(sum(files.sizes(others).values()) / _LIST_ROW_BYTES)


def _kept(counts: Mapping[str, int]) -> int | None:
    """What was kept in the end: images or samples, else pairs."""
    for thing in ("images", "samples", "pairs"):
        if f"{thing}/kept" in counts:
            return counts[f"{thing}/kept"]
    return None


def _is_cloud(engine: Engine) -> bool:
    return not engine.is_local
