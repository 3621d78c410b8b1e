"""What happens in a run, told to programs: one JSON object a line on standard error, and counters in a file.

Every object has ``time`` (ISO 8601, UTC) and ``event``:

    run_start    command
    stage_start  stage, output, state, identity (a digest), options
    step_start   stage, step, units, done
    progress     stage, step, units, done, units_per_s
    step_end     stage, step, units, seconds, counts; made: whether it had to run
    stage_end    stage, output, state, seconds, counts, drops
    message      text: a line that would have been printed there
    error        text, exit_code
    run_end      exit_code, seconds

Units are counted by their receipts, so all of this is the same on any engine. The counters are written whole, when a
run begins, every minute and at its end: as JSON, or as Prometheus reads them where the name ends with ``.prom``.
"""

import hashlib
import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from pipeline.base import files
from pipeline.base.drops import Counts, add_counts
from pipeline.base.options import options_of
from pipeline.base.receipts import Receipt, StepReceipts
from pipeline.base.stage_folder import State
from pipeline.steps import Stage, Step

LogFormat = Literal["text", "json"]
LOG_FORMATS: Final = ("text", "json")
PROGRESS_S: Final = 10.0
_COUNTERS_S: Final = 60.0
_PROMETHEUS: Final = ".prom"


@dataclass
class StepCounters:
    """Of a step: its units, and those that are done."""

    units: int
    done: int = 0
    seconds: float = 0.0


@dataclass
class StageCounters:
    """Of a stage, what is known by now; its counts are those of the steps that are done."""

    output: str
    state: str = "running"
    counts: Counts = field(default_factory=dict)
    steps: dict[str, StepCounters] = field(default_factory=dict)


class RunLog:
    """Where events and counters of a run go; with neither asked for, it does nothing.

    Args:
        command: What runs.
        log_format: Of standard error.
        counters: File of the counters; empty: none.
        progress_s: Seconds between two events of progress.
    """

    def __init__(
        self,
        command: str = "",
        *,
        log_format: LogFormat = "text",
        counters: str = "",
        progress_s: float = PROGRESS_S,
    ) -> None:
        self._command, self._counters, self._progress_s = command, counters, progress_s
        self._stream: TextIO | None = sys.stderr if log_format == "json" else None
        self._stages: dict[str, StageCounters] = {}
        self._stage, self._exit_code, self._started = "", -1, time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()

    @property
    def is_watching(self) -> bool:
        """Whether anything is to be told."""
        return self._stream is not None or bool(self._counters)

    @contextmanager
    def open(self) -> Iterator["RunLog"]:
        """Makes this the log of all that runs in the block; lines printed to standard error become events."""
        token = _current.set(self)
        original = sys.stderr
        try:
            if self._stream is not None:
                _send_stderr(_Lines(self._stream, self.tell), original)
            yield self
        finally:
            self._ended.set()
            if self._stream is not None:
                _send_stderr(original, sys.stderr)
            _current.reset(token)

    def begin(self) -> None:
        """The run begins; raises OSError when the counters cannot be written."""
        self.tell("run_start", command=self._command)
        if self._counters:
            self._write_counters()
            threading.Thread(target=self._keep_counters, name="counters", daemon=True).start()

    def end(self, exit_code: int) -> None:
        """The run has ended."""
        self._exit_code = exit_code
        self._ended.set()
        if self._counters:
            try:
                self._write_counters()
            except OSError as error:
                print(f"{self._command}: {error}", file=sys.stderr)
        self.tell("run_end", exit_code=exit_code, seconds=round(time.monotonic() - self._started, 1))

    def error(self, text: str, exit_code: int) -> None:
        """What ended the run: an event, or a line."""
        if self._stream is None:
            print(text, file=sys.stderr)
        self.tell("error", text=text, exit_code=exit_code)

    def tell(self, event: str, **values: Any) -> None:
        """Writes an event."""
        if self._stream is None:
            return
        time_now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time_now, "event": event, **values}, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def stage_started(self, stage: Stage, identity: Mapping[str, Any], state: State) -> None:
        """A stage begins, continues, or is found done."""
        if not self.is_watching:
            return
        self._stage = stage.name
        self._stages[stage.name] = StageCounters(stage.output)
        if self._stream is not None:
            options = {option.key: getattr(stage, option.name) for option in options_of(type(stage))}
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
            self.tell(
                "stage_start",
                stage=stage.name,
                output=stage.output,
                state=state.value,
                identity=digest,
                options=options,
            )

    def stage_ended(self, stage: Stage, counts: Counts, state: State, seconds: float) -> None:
        """A stage is done."""
        if not self.is_watching:
            return
        self._stages[stage.name].counts, self._stages[stage.name].state = dict(counts), "done"
        drops = {name: number for name, number in counts.items() if "/drop/" in name}
        self.tell(
            "stage_end",
            stage=stage.name,
            output=stage.output,
            state="already done" if state is State.DONE else "done",
            seconds=round(seconds, 1),
            counts=counts,
            drops=drops,
        )

    def step_found(self, label: str, receipts: Sequence[Receipt]) -> None:
        """A step was done by an earlier run."""
        self._step_ended(label, StepCounters(len(receipts), len(receipts)), receipts, made=False)

    @contextmanager
    def step(self, label: str, steps: Sequence[tuple[Step, StepReceipts]]) -> Iterator[list[Receipt]]:
        """Tells of a job that makes one step or several; the block puts the receipts of it into the list."""
        receipts: list[Receipt] = []
        if not self.is_watching:
            yield receipts
            return
        counters = StepCounters(sum(len(step.transform.outputs) for step, _ in steps), _count_done(steps))
        self._stages[self._stage].steps[label] = counters
        self.tell("step_start", stage=self._stage, step=label, units=counters.units, done=counters.done)
        started, ended = time.monotonic(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(label, counters, steps, ended), daemon=True)
        watcher.start()
        try:
            yield receipts
            counters.done = len(receipts)
        finally:
            ended.set()
            watcher.join()
            counters.seconds = round(time.monotonic() - started, 3)
        self._step_ended(label, counters, receipts, made=True)

    def _step_ended(self, label: str, counters: StepCounters, receipts: Sequence[Receipt], *, made: bool) -> None:
        if not self.is_watching:
            return
        counts = add_counts(*(receipt.counts for receipt in receipts))
        stage = self._stages[self._stage]
        stage.steps[label], stage.counts = counters, add_counts(stage.counts, counts)
        self.tell(
            "step_end",
            stage=self._stage,
            step=label,
            units=counters.units,
            seconds=counters.seconds,
            counts=counts,
            made=made,
        )

    def _watch(
        self,
        label: str,
        counters: StepCounters,
        steps: Sequence[tuple[Step, StepReceipts]],
        ended: threading.Event,
    ) -> None:
        before, started = counters.done, time.monotonic()
        while not ended.wait(self._progress_s):
            try:
                counters.done = _count_done(steps)
            except OSError:  # the store does not answer; there is a next time
                continue
            rate = (counters.done - before) / (time.monotonic() - started)
            self.tell(
                "progress",
                stage=self._stage,
                step=label,
                units=counters.units,
                done=counters.done,
                units_per_s=round(rate, 3),
            )

    def _keep_counters(self) -> None:
        while not self._ended.wait(_COUNTERS_S):
            try:
                self._write_counters()
            except OSError as error:
                print(f"{self._command}: {error}", file=sys.stderr)

    def _write_counters(self) -> None:
        stages = {name: asdict(stage) for name, stage in list(self._stages.items())}
        content = {
            "command": self._command,
            "state": "running" if self._exit_code < 0 else "failed" if self._exit_code else "done",
            "exit_code": None if self._exit_code < 0 else self._exit_code,
            "seconds": round(time.monotonic() - self._started, 1),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "stages": stages,
        }
        if self._counters.endswith(_PROMETHEUS):
            files.write_bytes_whole(self._counters, prometheus_text(content).encode())
        else:
            files.write_json(self._counters, content)


_current: ContextVar[RunLog] = ContextVar("run_log")


def current_log() -> RunLog:
    """The log of what runs here."""
    return _current.get(None) or RunLog()


def prometheus_text(content: Mapping[str, Any]) -> str:
    """Counters in the text format of Prometheus.

    >>> steps = {"Match": {"units": 9, "done": 3, "seconds": 1.5}}
    >>> stage = {"counts": {"pairs/in": 5}, "steps": steps, "state": "running", "output": "data/matched"}
    >>> print(prometheus_text({"exit_code": None, "seconds": 2.0, "stages": {"match-pairs": stage}}), end="")
    # TYPE wit400m_count gauge
    wit400m_count{stage="match-pairs",name="pairs/in"} 5
    # TYPE wit400m_step_units gauge
    wit400m_step_units{stage="match-pairs",step="Match"} 9
    # TYPE wit400m_step_done gauge
    wit400m_step_done{stage="match-pairs",step="Match"} 3
    # TYPE wit400m_step_seconds gauge
    wit400m_step_seconds{stage="match-pairs",step="Match"} 1.5
    # TYPE wit400m_stage_done gauge
    wit400m_stage_done{stage="match-pairs"} 0
    # TYPE wit400m_run_seconds gauge
    wit400m_run_seconds 2.0
    """
    stages: Mapping[str, Any] = content["stages"]
    rows: dict[str, list[tuple[dict[str, str], float]]] = {
        "count": [
            ({"stage": stage, "name": name}, number)
            for stage, found in stages.items()
            for name, number in found["counts"].items()
        ]
    }
    for kind in ("units", "done", "seconds"):
        rows[f"step_{kind}"] = [
            ({"stage": stage, "step": label}, step[kind])
            for stage, found in stages.items()
            for label, step in found["steps"].items()
        ]
    rows["stage_done"] = [({"stage": stage}, int(found["state"] == "done")) for stage, found in stages.items()]
    rows["run_seconds"] = [({}, content["seconds"])]
    if content["exit_code"] is not None:
        rows["run_exit_code"] = [({}, content["exit_code"])]
    lines = []
    for name, values in rows.items():
        lines += [f"# TYPE wit400m_{name} gauge"] if values else []
        lines += [f"wit400m_{name}{_labels(labels)} {value}" for labels, value in values]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}" if labels else ""


def _count_done(steps: Sequence[tuple[Step, StepReceipts]]) -> int:
    return sum(receipts.num_done() for _, receipts in steps)


class _Lines(io.TextIOBase):
    """A standard error whose lines become events."""

    def __init__(self, stream: TextIO, tell: Callable[..., None]) -> None:
        self._stream, self._tell, self._rest = stream, tell, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._tell("message", text=line)
        return len(text)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def _send_stderr(to: Any, instead_of: Any) -> None:
    """Puts another stream in the place of standard error, also for the handlers of logs that have it already."""
    sys.stderr = to
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is instead_of:
            handler.setStream(to)
