"""`wit400m status DIR`: what the stages in a data folder are at, told from their folders alone, without taking a lock.

In: a data folder, or the folder of one stage, on a disk or an object store. Out, for each stage: done, cut short or at
work; when; the options that are not the defaults; what came in, was kept and dropped; of a stage that is not done, how
many units each step has made, how fast, and how long the rest will take; of a fetch that is going on, how far its
workers are. One listing a folder is looked at, and the small files that say what it is; the files of units are not.
"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from jobs.memory import show_seconds
from jobs.runner import guard, load_stage
from jobs.watching import fetch_facts, fetch_line, look_once
from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.flow import STAGES
from pipeline.base.funnel import summary_line
from pipeline.base.holding import find_holder
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.options import options_of
from pipeline.base.receipts import Begun, list_begun
from pipeline.base.sizes import show_bytes
from pipeline.base.stage_folder import STARTED_NAME
from pipeline.fetching.work_files import WATCH, FetchProgress

_TOP_DROPS: Final = 4


@dataclass(frozen=True, kw_only=True)
class StepStatus:
    """How far a step of a stage that is not done has come.

    Attributes:
        step: Its label.
        done: Units that are done.
        units: All units; None: not known.
        units_per_s: Since its last run began, while it works or until its last unit; None: not known.
        left_s: Seconds that the other units take at this rate; None: not known.
    """

    step: str
    done: int
    units: int | None
    units_per_s: float | None
    left_s: float | None


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """What the folder of a stage says.

    Attributes:
        folder: Its path.
        stage: The stage that made it.
        state: done, cut short, working, or older version.
        holder: Who works there.
        when: When it was done, or begun, in seconds since 1970; None: the file system does not tell.
        options: Those that decide the output and are not the defaults.
        counts: What was counted.
        num_files: Of the output.
        bytes: Of the output.
        steps: Of a stage that is not done, those that have begun.
        fetch: Of a fetch that is going on, how far its workers are; None: there is none.
    """

    folder: str
    stage: str
    state: str
    holder: str | None = None
    when: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)
    num_files: int = 0
    bytes: int = 0
    steps: tuple[StepStatus, ...] = ()
    fetch: FetchProgress | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, or 2 when there is no stage."""
    parser = argparse.ArgumentParser(
        prog="wit400m status",
        description="Says what the stages in a folder are at: done, cut short or at work; counts, rates, what is left.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="A data folder, or the folder of one stage; a path or a URL")
    parser.add_argument("--json", action="store_true", help="Print a JSON list, an object a stage")
    parser.add_argument("--verbose", action="store_true", help="Print full tracebacks")
    arguments = parser.parse_args(argv)

    def run() -> None:
        found = read_statuses(arguments.folder, now=time.time())
        if arguments.json:
            print(json.dumps([status_facts(status) for status in found], indent=1))
        else:
            print("\n".join(line for status in found for line in status_lines(status)))

    return guard(run, prog=parser.prog, verbose=arguments.verbose)


def read_statuses(folder: str, *, now: float) -> list[StageStatus]:
    """What the stages in a folder are at, in the order of the flow.

    Args:
        folder: A data folder, or the folder of one stage.
        now: Seconds since 1970.

    Raises:
        FileNotFoundError: When it holds no stage.
    """
    entries = files.list_entries(folder)
    listings = {folder: entries}
    if not _is_stage(entries):
        below = [files.join(folder, name) for name, e in entries.items() if e.is_folder and name[0] not in "._"]
        listings = dict(zip(below, files.each(files.list_entries, below), strict=True))
    stages = {path: there for path, there in listings.items() if _is_stage(there)}
    if not stages:
        raise FileNotFoundError(f"no stage has begun in {folder}")
    found = files.each(lambda path: read_status(path, stages[path], now=now), stages)
    order = list(STAGES)
    return sorted(found, key=lambda s: (order.index(s.stage) if s.stage in order else len(order), s.folder))


def read_status(folder: str, entries: Mapping[str, files.Entry], *, now: float) -> StageStatus:
    """What a stage's folder says.

    Args:
        folder: Its path.
        entries: What is directly in it.
        now: Seconds since 1970.
    """
    holder = find_holder(folder)
    if STAGE_NAME not in entries:
        content = files.read_json(files.join(folder, STARTED_NAME))
        name = content["identity"]["stage"]
        return StageStatus(
            folder=folder,
            stage=name,
            state="working" if holder else "cut short",
            holder=holder,
            when=entries[STARTED_NAME].modified,
            options=changed_options(content["identity"]),
            steps=tuple(step_status(step, working=bool(holder), now=now) for step in list_begun(folder)),
            fetch=look_once(folder, now=now) if holder and f"_{WATCH}" in entries else None,
        )
    content = files.read_json(files.join(folder, STAGE_NAME))
    return StageStatus(
        folder=folder,
        stage=content["identity"]["stage"],
        state="working" if holder else "older version" if _is_old(content) else "done",
        holder=holder,
        when=entries[STAGE_NAME].modified,
        options=changed_options(content["identity"]),
        counts=content["counts"],
        num_files=len(content["outputs"]),
        bytes=sum(output["bytes"] for output in content["outputs"]),
    )


def status_facts(status: StageStatus) -> dict[str, Any]:
    """A status for programs."""
    return asdict(status) | {"fetch": None if status.fetch is None else fetch_facts(status.fetch)}


def changed_options(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an identity that are not the stage's defaults."""
    if identity["stage"] not in STAGES:
        return dict(identity.get("options", {}))
    defaults = {option.name: option.default for option in options_of(load_stage(identity["stage"]))}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in identity.get("options", {}).items()}
    return {name.rstrip("_"): value for name, value in values.items() if value != defaults.get(name)}


def step_status(step: Begun, *, working: bool, now: float) -> StepStatus:
    """How far a step is, and how fast.

    >>> step_status(Begun("Match", 30, 90, 1000.0, 10, 1090.0), working=True, now=1100.0)
    StepStatus(step='Match', done=30, units=90, units_per_s=0.2, left_s=300.0)
    """
    until = now if working and step.done != step.units else step.latest
    made, rate = step.done - step.done_before, None
    if made > 0 and step.started is not None and until is not None and until > step.started:
        rate = made / (until - step.started)
    left = None if step.units is None else max(step.units - step.done, 0)
    left_s = 0.0 if left == 0 else left / rate if left is not None and rate else None
    return StepStatus(step=step.label, done=step.done, units=step.units, units_per_s=rate, left_s=left_s)


def status_lines(status: StageStatus) -> Iterable[str]:
    """A status for people."""
    when = "" if status.when is None else f", {datetime.fromtimestamp(status.when, UTC):%Y-%m-%d %H:%M} UTC"
    size = f", {status.num_files:,} files, {show_bytes(status.bytes)}" if status.num_files else ""
    holder = f" ({status.holder})" if status.holder else ""
    yield f"{status.stage:<14}{status.state}{holder}{when}{size}, {status.folder}"
    if status.options:
        yield "    with " + ", ".join(f"{name.replace('_', '-')} {value!r}" for name, value in status.options.items())
    if counted := summary_line(status.stage, top_drops(status.counts)).partition(": ")[2]:
        yield f"    {counted}"
    for step in status.steps:
        units = "?" if step.units is None else f"{step.units:,}"
        rate = "" if step.units_per_s is None else f", {step.units_per_s:.3g} a second"
        left = "" if not step.left_s else f", {show_seconds(step.left_s)} left"
        yield f"    {step.step:<24}{step.done:,} of {units} units{rate}{left}"
    if status.fetch is not None:
        yield f"    {fetch_line(status.fetch)}"


def top_drops(counts: Counts) -> Counts:
    """Counts with the largest drops of each thing only.

    >>> top_drops({"a/in": 9, "a/drop/v": 1, "a/drop/w": 2, "a/drop/x": 1, "a/drop/y": 3, "a/drop/z": 2})
    {'a/in': 9, 'a/drop/w': 2, 'a/drop/y': 3, 'a/drop/z': 2, 'a/drop/others': 2}
    """
    by_thing: dict[str, list[str]] = {}
    for name in counts:
        if "/drop/" in name:
            by_thing.setdefault(name.partition("/drop/")[0], []).append(name)
    small = {
        name: thing
        for thing, names in by_thing.items()
        if len(names) > _TOP_DROPS
        for name in sorted(names, key=lambda name: -counts[name])[_TOP_DROPS - 1 :]
    }
    shown = {name: number for name, number in counts.items() if name not in small}
    for name, thing in small.items():
        others = f"{thing}/drop/others"
        shown[others] = shown.get(others, 0) + counts[name]
    return shown


def _is_stage(entries: Mapping[str, files.Entry]) -> bool:
    return STAGE_NAME in entries or STARTED_NAME in entries


def _is_old(content: Mapping[str, Any]) -> bool:
    name = content["identity"]["stage"]
    if name not in STAGES:
        return False
    current = load_stage(name).format
    return "ancestors" not in content or content["identity"].get("format", current) < current
