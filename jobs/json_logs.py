"""What happens in a run, told to programs: one JSON object a line on standard error, and counters in a file.

Every object has ``time`` (ISO 8601, UTC) and ``event``:

    run_start    command
    stage_start  stage, output, state, identity (a digest), options
    step_start   stage, step, units, done
    progress     stage, step, units, done, units_per_s
    fetch        stage, step and how far the workers of a fetch are: `jobs.watching.fetch_facts`
    step_end     stage, step, units, seconds, counts; made: whether it had to run
    stage_end    stage, output, state, seconds, counts, drops
    message      text: a line that would have been printed there
    error        text, exit_code
    run_end      exit_code, seconds

Units are counted by their receipts, so all of this is the same on any engine. The counters are written whole, when a
run begins, every minute and at its end: as JSON, or as Prometheus reads them where the name ends with ``.prom``. What
Prometheus reads there is on a page as well, by option (`jobs.metrics`).
"""

import hashlib
import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from jobs.metrics import Endpoint, serve_metrics
from jobs.prometheus import prometheus_text
from jobs.watching import FetchWatch, fetch_facts
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
    """Of a step: its units, those that are done, and of a fetch how far its workers are."""

    units: int
    done: int = 0
    seconds: float = 0.0
    fetch: dict[str, Any] = field(default_factory=dict)


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
        metrics: Where Prometheus may read the counters; None: nowhere.
    """

    def __init__(
        self,
        command: str = "",
        *,
        log_format: LogFormat = "text",
        counters: str = "",
        progress_s: float = PROGRESS_S,
        metrics: Endpoint | None = None,
    ) -> None:
        self._command, self._counters, self.progress_s, self._metrics = command, counters, progress_s, metrics
        self._stream: TextIO | None = sys.stderr if log_format == "json" else None
        self._stages: dict[str, StageCounters] = {}
        self._stage, self._exit_code, self._started = "", -1, time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._open = ExitStack()

    @property
    def is_watching(self) -> bool:
        """Whether anything is to be told."""
        return self._stream is not None or bool(self._counters) or self._metrics is not None

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
            self._open.close()
            if self._stream is not None:
                _send_stderr(original, sys.stderr)
            _current.reset(token)

    def begin(self) -> None:
        """The run begins; raises OSError when the counters cannot be written, ValueError when metrics cannot be."""
        self.tell("run_start", command=self._command)
        if self._metrics is not None:
            self._open.enter_context(serve_metrics(self._metrics, lambda: prometheus_text(self._content())))
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
    def step(
        self, label: str, steps: Sequence[tuple[Step, StepReceipts]], watch: FetchWatch | None = None
    ) -> Iterator[list[Receipt]]:
        """Tells of a job that makes one step or several; the block puts the receipts of it into the list.

        Args:
            label: Of the job.
            steps: Its steps.
            watch: Of the workers of one that fetches.
        """
        receipts: list[Receipt] = []
        if not self.is_watching:
            yield receipts
            return
        counters = StepCounters(sum(len(step.transform.outputs) for step, _ in steps), _count_done(steps))
        self._note_step(label, counters)
        self.tell("step_start", stage=self._stage, step=label, units=counters.units, done=counters.done)
        started, ended = time.monotonic(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(label, counters, steps, watch, ended), daemon=True)
        watcher.start()
        try:
            yield receipts
            counters.done = len(receipts)
        finally:
            ended.set()
            watcher.join()
            counters.seconds = round(time.monotonic() - started, 3)
            self._tell_fetch(label, counters, watch, last=True)
        self._step_ended(label, counters, receipts, made=True)

    def _step_ended(self, label: str, counters: StepCounters, receipts: Sequence[Receipt], *, made: bool) -> None:
        if not self.is_watching:
            return
        counts = add_counts(*(receipt.counts for receipt in receipts))
        self._note_step(label, counters)
        stage = self._stages[self._stage]
        stage.counts = add_counts(stage.counts, counts)
        self.tell(
            "step_end",
            stage=self._stage,
            step=label,
            units=counters.units,
            seconds=counters.seconds,
            counts=counts,
            made=made,
        )

    def _note_step(self, label: str, counters: StepCounters) -> None:
        stage = self._stages[self._stage]
        stage.steps = stage.steps | {label: counters}  # a new one: others may be reading

    def _watch(
        self,
        label: str,
        counters: StepCounters,
        steps: Sequence[tuple[Step, StepReceipts]],
        watch: FetchWatch | None,
        ended: threading.Event,
    ) -> None:
        before, started = counters.done, time.monotonic()
        while not ended.wait(self.progress_s):
            self._tell_fetch(label, counters, watch)
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

    def _tell_fetch(self, label: str, counters: StepCounters, watch: FetchWatch | None, *, last: bool = False) -> None:
        progress = watch.look(last=last) if watch is not None else None
        if progress is not None:
            facts = fetch_facts(progress)
            counters.fetch = facts | {"statuses": dict(progress.work.statuses)}
            self.tell("fetch", stage=self._stage, step=label, **facts)

    def _keep_counters(self) -> None:
        while not self._ended.wait(_COUNTERS_S):
            try:
                self._write_counters()
            except OSError as error:
                print(f"{self._command}: {error}", file=sys.stderr)

    def _write_counters(self) -> None:
        content = self._content()
        if self._counters.endswith(_PROMETHEUS):
            files.write_bytes_whole(self._counters, prometheus_text(content).encode())
        else:
            files.write_json(self._counters, content)

    def _content(self) -> dict[str, Any]:
        stages = {name: asdict(stage) for name, stage in list(self._stages.items())}
        for stage in stages.values():
            for step in stage["steps"].values():
                if not step["fetch"]:
                    del step["fetch"]
        return {
            "command": self._command,
            "state": "running" if self._exit_code < 0 else "failed" if self._exit_code else "done",
            "exit_code": None if self._exit_code < 0 else self._exit_code,
            "seconds": round(time.monotonic() - self._started, 1),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "stages": stages,
        }


_current: ContextVar[RunLog] = ContextVar("run_log")


def current_log() -> RunLog:
    """The log of what runs here."""
    return _current.get(None) or RunLog()


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
