"""The engine a step runs on: processes of this machine, or any runner that the user's Beam flags choose.

Here map steps, and shuffle steps of few rows, are done without a pipeline by the functions that a pipeline would call:
those by worker processes, these by this one. Other shuffle steps, and with ``--runner=FnApiRunner`` all steps, are
pipelines on Beam's local engine: map steps in worker processes, shuffle steps in one. Never bare ``DirectRunner`` (it
may download another engine and run on that) and never ``multi_threading`` (it loses data); see docs/engines.md.
"""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    _BeamArgumentParser,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.transforms.environments import Environment, SubprocessSDKEnvironment

from jobs.dataflow import dataflow_flags
from jobs.fork_server import SERVER
from jobs.pulse import Pulse, start_beating
from jobs.side_by_side import WorkerDied, do_side_by_side
from jobs.stopping import end_children
from pipeline.base.files import FileTrouble
from pipeline.base.receipts import StepReceipts
from pipeline.steps import Shape, Step

_LOCAL_RUNNER: Final = "FnApiRunner"
_CLOUD_RUNNERS: Final = ("DataflowRunner", "TestDataflowRunner")
_PORTABLE_RUNNER: Final = "PortableRunner"
_EMBEDDED_SERVICE: Final = "embed"
_POLL_S: Final = 0.2
_GRACE_S: Final = 2.0  # for a pipeline to end after a worker did; it is the order in which they end when all is well
_CANCEL_S: Final = 5.0
_CONNECT_S: Final = 5.0
_DEATH_ADVICE: Final = "was it killed for memory? Run the same command again to continue"


class BadFlags(ValueError):
    """Beam flags that do not exist or that this program refuses."""


class UnknownFlags(BadFlags):
    """Flags that neither this program nor Beam has.

    Attributes:
        flags: These.
    """

    def __init__(self, flags: Sequence[str]) -> None:
        super().__init__("unknown flag: " + ", ".join(flags))
        self.flags = list(flags)


class StepFailed(RuntimeError):
    """A step's pipeline failed on its engine."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where steps run.

    Attributes:
        workers: Worker processes of a local map step.
        beam_flags: Flags handed to Beam as they are, e.g. ``--runner=DataflowRunner --project=p``.
        memory: Bytes that a local shuffle step may take.
        stage: Name of the stage whose steps they are, for engines that show it.
        timeout_s: Seconds in which a worker of another engine must have started.
    """

    workers: int
    memory: int = 1 << 34
    timeout_s: float = 120.0
    beam_flags: tuple[str, ...] = ()
    stage: str = "steps"

    def __post_init__(self) -> None:
        """Spells Beam flags as Beam does; refuses unknown ones, which Beam itself would only warn of."""
        object.__setattr__(self, "beam_flags", _spell_beam_flags(self.beam_flags))
        _check_beam_flags(self.beam_flags)

    @property
    def is_local(self) -> bool:
        """Whether steps run on this machine."""
        return self._runner in (None, _LOCAL_RUNNER)

    @property
    def is_beams(self) -> bool:
        """Whether all steps are pipelines of Beam's."""
        return self._runner is not None

    @property
    def is_cloud(self) -> bool:
        """Whether workers are machines that share no disk with this one."""
        return self._runner in _CLOUD_RUNNERS

    @property
    def _runner(self) -> str | None:
        return PipelineOptions(list(self.beam_flags)).view_as(StandardOptions).runner

    @property
    def _portable(self) -> PortableOptions:
        return PipelineOptions(list(self.beam_flags)).view_as(PortableOptions)

    def prepare(self) -> None:
        """Forks what will fork workers, while this process is still as small as it can be."""
        if self.is_local and self.workers > 1:
            SERVER.begin_early()

    def pipeline(self, step: Step) -> beam.Pipeline:
        """An empty pipeline on the engine that suits a step."""
        if not self.is_local:
            unique = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            named = dataflow_flags(self.beam_flags, stage=self.stage, step=step.label, unique=unique)
            return self._other_pipeline(named)
        transform = step.transform
        workers = min(self.workers, max(1, transform.num_tasks)) if transform.shape is Shape.MAP else 1
        if step.prepare and workers == 1:
            step.prepare()
        runner = FnApiRunner(default_environment=_worker_processes(step.prepare) if workers > 1 else None)
        options = PipelineOptions([*self.beam_flags, f"--direct_num_workers={workers}"])
        return _without_folder(beam.Pipeline(runner, options))

    def call_on_worker(self, function: Callable[[], None]) -> None:
        """Calls a function in a worker of another engine.

        Raises:
            StepFailed: When it raises, or no worker has called it within `timeout_s`.
        """
        self._check_reachable()
        pipeline = self._other_pipeline()
        _ = pipeline | beam.Impulse() | beam.Map(_call, function)
        _run("first contact", pipeline, self, timeout_s=self.timeout_s)

    def new_pulse(self, folder: str) -> Pulse | None:
        """What tells that a worker died, for the one engine that does not: Beam's job service in Python."""
        if self._runner != _PORTABLE_RUNNER:
            return None
        portable = self._portable
        if portable.job_endpoint == _EMBEDDED_SERVICE:
            return Pulse(folder) if portable.environment_type != "LOOPBACK" else None
        return Pulse(folder) if _is_python_service(portable.job_endpoint) else None

    def _other_pipeline(self, more_flags: Sequence[str] = ()) -> beam.Pipeline:
        options = PipelineOptions([*self.beam_flags, *more_flags, "--no_save_main_session"])
        return _without_folder(beam.Pipeline(options=options))

    def _check_reachable(self) -> None:
        portable = self._portable
        endpoint = portable.job_endpoint
        if endpoint == _EMBEDDED_SERVICE:
            if portable.environment_type == "EXTERNAL":  # else it is the service that must reach the pool
                _connect("environment_config", _plain_address(portable.environment_config))
        elif endpoint:
            _connect("job_endpoint", endpoint)


def _without_folder(pipeline: beam.Pipeline) -> beam.Pipeline:
    """A pipeline without its temporary folder, which other languages' steps need, and which outlives who is killed."""
    with suppress(OSError):
        os.rmdir(pipeline.local_tempdir)
    return pipeline


def _worker_processes(prepare: Callable[[], None] | None) -> Environment:
    return SubprocessSDKEnvironment.from_command_string(SERVER.worker_command(prepare))


def run_step(step: Step, engine: Engine, receipts: StepReceipts) -> None:
    """Runs one step to its end; what it made is in its receipts.

    Raises:
        StepFailed: When the pipeline fails, or a worker dies; its cause is the engine's error.
        KeyboardInterrupt: As it came; the job is cancelled, workers of this machine are ended.
    """
    if not engine.is_beams:
        here = _Here(step, receipts, engine.workers)
        if here.tasks is not None:
            _run(step.label, here, engine)
            return
    pipeline = engine.pipeline(step)
    pulse = None if engine.is_local else engine.new_pulse(receipts.folder)
    if pulse:  # the first branch, so that it is done before work begins
        _ = pipeline | "Pulse" >> beam.Impulse() | "Beat" >> beam.Map(_start_beating, pulse.path)
    _ = pipeline | step.label >> step.bind(receipts, workers=engine.workers if engine.is_local else None)
    try:
        state = _run(step.label, pipeline, engine, pulse=pulse)
    finally:
        if pulse:
            pulse.end()
    if state is None:
        raise StepFailed(f"{step.label}: built and translated, but the engine did not run it (a dry run?)")
    if state != PipelineState.DONE:
        raise StepFailed(f"{step.label}: ended as {state}")


class _Here:
    """A step's tasks in place of a pipeline, and their own result; the thread that would run a pipeline does them."""

    def __init__(self, step: Step, receipts: StepReceipts, workers: int) -> None:
        self._prepare = step.prepare
        self._workers = workers if step.transform.shape is Shape.MAP else 1
        self.tasks = step.transform.bind(receipts, workers=workers).local_tasks(self._workers)

    def run(self) -> "_Here":
        """Does them, one after another where there is one process."""
        tasks = self.tasks
        assert tasks is not None
        if min(self._workers, len(tasks.tasks)) > 1:
            tasks.finish(do_side_by_side(tasks, workers=self._workers, prepare=self._prepare))
            return self
        if self._prepare:
            self._prepare()
        try:
            tasks.finish([tasks.work(task) for task in tasks.tasks])
        except Exception as error:
            raise StepFailed(f"{type(error).__name__}: {error}") from error
        return self

    def wait_until_finish(self) -> str:
        """What became of them."""
        return PipelineState.DONE

    def cancel(self) -> None:
        """Does nothing: they go on until this process ends."""


@dataclass(kw_only=True)
class _Run:
    """A pipeline that runs in a thread, so that the main thread can hear signals and watch workers."""

    pipeline: beam.Pipeline | _Here
    ended: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    state: str | None = None
    error: Exception | None = None

    def work(self) -> None:
        """Runs it to its end."""
        try:
            self.result = self.pipeline.run()
            self.state = self.result.wait_until_finish()
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Asks the engine to stop it, if it has taken it."""
        if self.result is not None:
            with suppress(Exception):  # what the engine makes of it changes nothing here
                self.result.cancel()


def _run(
    label: str,
    pipeline: beam.Pipeline | _Here,
    engine: Engine,
    *,
    timeout_s: float | None = None,
    pulse: Pulse | None = None,
) -> str | None:
    """Runs a pipeline and returns its state.

    Raises:
        StepFailed: When it fails, when a worker dies, or when it has not ended within `timeout_s`.
    """
    run = _Run(pipeline=pipeline)
    with _worker_deaths() as deaths:
        threading.Thread(target=run.work, name="pipeline", daemon=True).start()
        try:
            _wait(label, run, deaths, timeout_s=timeout_s, pulse=pulse)
        except BaseException as error:
            deaths.append(error)  # from now on the threads of workers end noisily
            _stop(run, engine)
            raise
    pa.default_memory_pool().release_unused()  # what a step took here the next ones' workers may need
    if isinstance(run.error, WorkerDied):
        raise StepFailed(f"{label}: a worker process died ({run.error}); {_DEATH_ADVICE}") from run.error
    if run.error is not None:
        raise StepFailed(_tell(label, _last_line(run.error))) from run.error
    return run.state


def _wait(label: str, run: _Run, deaths: Sequence[object], *, timeout_s: float | None, pulse: Pulse | None) -> None:
    started = time.monotonic()
    while not run.ended.wait(_POLL_S):
        if deaths and not run.ended.wait(_GRACE_S):
            raise StepFailed(f"{label}: a worker process died ({deaths[0]}); {_DEATH_ADVICE}")
        if pulse and pulse.is_lost():
            raise StepFailed(f"{label}: a worker process gives no sign of life any more; {_DEATH_ADVICE}")
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise StepFailed(f"{label}: no worker of the engine has started within {timeout_s:g} s")


def _stop(run: _Run, engine: Engine) -> None:
    if engine.is_local:
        end_children()
        return
    cancelling = threading.Thread(target=run.cancel, daemon=True)
    cancelling.start()
    cancelling.join(_CANCEL_S)


@contextmanager
def _worker_deaths() -> Iterator[list[object]]:
    """Gives a list that what is known of a worker's death is put into; Beam would wait for the worker for ever.

    Beam's local engine notices a death only as an exception in the thread that started the worker or, of a worker that
    another process started, in the thread that reads from it.
    """
    previous = threading.excepthook
    deaths: list[object] = []

    def note(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        lost_channel = issubclass(args.exc_type, grpc.RpcError)
        if name == "run_worker":
            deaths.append(args.exc_value)
        elif name == "beam_control_read" and lost_channel:
            deaths.append("its connection is closed")
        elif not lost_channel:  # a channel may lose its worker a moment earlier than it is noticed
            previous(args)

    threading.excepthook = note
    try:
        yield deaths
    finally:
        if not deaths:  # else threads of dead workers are still ending
            threading.excepthook = previous


def _call(element: bytes, function: Callable[[], None]) -> None:
    function()


def _start_beating(element: bytes, path: str) -> None:
    start_beating(path)


def _is_python_service(endpoint: str) -> bool:
    """Whether a job service is Beam's own in Python: it describes no options, those of Flink and Spark many."""
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            request = beam_job_api_pb2.DescribePipelineOptionsRequest()
            return not service.DescribePipelineOptions(request, timeout=_CONNECT_S).options
        except grpc.RpcError:
            return False


def _plain_address(config: str | None) -> str:
    """The address in ``--environment_config``: HOST:PORT, or JSON with a url."""
    text = config or ""
    return str(json.loads(text).get("url", "")) if text.startswith("{") else text


def _connect(flag: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise BadFlags(f"--{flag} must be HOST:PORT, not {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise StepFailed(f"nothing answers at --{flag}={address} ({error.strerror or error})") from error


def _spell_beam_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Flags as Beam spells them: it takes those with dashes for underscores and then ignores them.

    Raises:
        UnknownFlags: For a flag that Beam has not.
    """
    known = _beam_flags()
    spelt, unknown = [], []
    for word in flags:
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            canonical = name.lstrip("-").replace("-", "_")
            unknown += [name] if canonical not in known else []
            word = known.get(canonical, name) + equals + value
        spelt.append(word)
    if unknown:
        raise UnknownFlags(unknown)
    return tuple(spelt)


def _beam_flags() -> Mapping[str, str]:
    """Beam's flags by their names with underscores."""
    parser = _BeamArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    strings = [string for action in parser._actions for string in action.option_strings]
    return {string.lstrip("-").replace("-", "_"): string for string in strings}


def _check_beam_flags(flags: Sequence[str]) -> None:
    previous_is_flag = False
    for word in flags:
        if not word.startswith("-") and not previous_is_flag:
            raise BadFlags(f"unexpected argument: {word}")
        previous_is_flag = word.startswith("-") and "=" not in word
    options = PipelineOptions(list(flags))
    given = options.get_all_options(drop_default=True)
    runner = options.view_as(StandardOptions).runner
    if runner in ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner"):
        raise BadFlags(f"--runner={runner} may pick another engine or lose data; leave --runner out to run locally")
    if runner == _PORTABLE_RUNNER and not given.get("job_endpoint"):
        raise BadFlags(f"--runner={runner} needs --job_endpoint, HOST:PORT of a job service, or {_EMBEDDED_SERVICE}")
    if given.get("direct_running_mode") == "multi_threading":
        raise BadFlags("--direct_running_mode=multi_threading loses data; leave it out and use --workers")


def _tell(label: str, line: str) -> str:
    """What went wrong in a step, in a line; the step is not named where it has nothing to do with it.

    >>> _tell("CountWords", "pipeline.base.files.FileTrouble: no space left in data [while running 'CountWords/Work']")
    'no space left in data'
    >>> _tell("CountWords", "KeyError: 'title'")
    "CountWords: KeyError: 'title'"
    """
    said = line.partition(" [while running")[0]  # Beam adds the name of a transform
    kind, _, text = said.partition(": ")
    return text if kind.rpartition(".")[2] == FileTrouble.__name__ else f"{label}: {said}"


def _last_line(error: Exception) -> str:
    text = str(error)
    if found := re.search(r'details = "(.+)"', text):  # of an error of gRPC
        return found[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
