"""The engine a step runs on: Beam's local engine by name, or any other runner that the user's Beam flags choose.

Local map steps use worker processes, local shuffle steps one process. Never bare ``DirectRunner`` (it may download
another engine and run on that) and never ``multi_threading`` (it loses data); see docs/engines.md.
"""

import os
import secrets
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.transforms.environments import Environment, SubprocessSDKEnvironment

from jobs.dataflow import dataflow_flags
from jobs.interpreter import module_command, module_environment
from pipeline.base.receipts import StepReceipts
from pipeline.steps import Shape, Step

_LOCAL_RUNNER = "FnApiRunner"
_WORKER_DIED = 1


class BadFlags(ValueError):
    """Beam flags that do not exist or that this program refuses."""


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
    """

    workers: int
    memory: int = 1 << 34
    beam_flags: tuple[str, ...] = ()
    stage: str = "steps"

    def __post_init__(self) -> None:
        """Refuses unknown Beam flags, which Beam itself would only warn of."""
        _check_beam_flags(self.beam_flags)

    @property
    def is_local(self) -> bool:
        """Whether steps run on this machine."""
        return PipelineOptions(list(self.beam_flags)).view_as(StandardOptions).runner in (None, _LOCAL_RUNNER)

    def pipeline(self, step: Step) -> beam.Pipeline:
        """An empty pipeline on the engine that suits a step."""
        if not self.is_local:
            unique = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            named = dataflow_flags(self.beam_flags, stage=self.stage, step=step.label, unique=unique)
            return beam.Pipeline(options=PipelineOptions([*self.beam_flags, *named, "--no_save_main_session"]))
        transform = step.transform
        workers = min(self.workers, max(1, transform.num_tasks)) if transform.shape is Shape.MAP else 1
        runner = FnApiRunner(default_environment=_worker_processes() if workers > 1 else None)
        return beam.Pipeline(runner, PipelineOptions([*self.beam_flags, f"--direct_num_workers={workers}"]))


def _worker_processes() -> Environment:
    path = shlex.quote(module_environment()["PYTHONPATH"])
    command = f"PYTHONPATH={path} exec {shlex.join(module_command('jobs.worker'))}"
    return SubprocessSDKEnvironment.from_command_string(command)


def run_step(step: Step, engine: Engine, receipts: StepReceipts) -> None:
    """Runs one step to its end; what it made is in its receipts.

    Raises:
        StepFailed: When the pipeline fails; its cause is the engine's error.
    """
    pipeline = engine.pipeline(step)
    _ = pipeline | step.label >> step.bind(receipts)
    with _worker_watchdog(step.label):
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as error:
            raise StepFailed(f"{step.label}: {_last_line(error)}") from error
    if state is None:
        raise StepFailed(f"{step.label}: built and translated, but the engine did not run it (a dry run?)")
    if state != PipelineState.DONE:
        raise StepFailed(f"{step.label}: ended as {state}")


@contextmanager
def _worker_watchdog(label: str) -> Iterator[None]:
    """Ends this program when a worker process dies (out of memory, killed), which Beam would wait for for ever.

    Beam notices the death only as an exception in the thread that started the worker. Finished files are whole,
    so leaving at once is safe and a re-run continues.
    """
    previous = threading.excepthook

    def leave(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        if name != "run_worker":
            if not issubclass(args.exc_type, grpc.RpcError):  # a channel that lost its worker a moment earlier
                previous(args)
            return
        print(
            f"wit400m: {label}: a worker process died ({args.exc_value}); was it killed for memory? "
            "Run the same command again to continue, with fewer --workers if so.",
            file=sys.stderr,
            flush=True,
        )
        threading.excepthook = _say_nothing  # of the threads that lose their worker now
        _end_children()
        os._exit(_WORKER_DIED)

    threading.excepthook = leave
    try:
        yield
    finally:
        threading.excepthook = previous


def _say_nothing(args: threading.ExceptHookArgs) -> None:
    """An excepthook for threads whose end is expected."""


def _end_children() -> None:
    """Ends the worker processes this process started, each after the shell that waits for it."""
    for pid in _descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _descendants(pid: int) -> list[int]:
    """Process ids below a process, from /proc; empty where there is no /proc (workers then end with their channel)."""
    found = []
    for task in _listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _listdir(path: str) -> list[str]:
    return os.listdir(path) if os.path.isdir(path) else []


def _check_beam_flags(flags: Sequence[str]) -> None:
    previous_is_flag = False
    for word in flags:
        if not word.startswith("-") and not previous_is_flag:
            raise BadFlags(f"unexpected argument: {word}")
        previous_is_flag = word.startswith("-") and "=" not in word
    options = PipelineOptions(list(flags))
    known = PipelineOptions([]).get_all_options()
    given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    if unknown := sorted(set(given) - set(known)):
        raise BadFlags("unknown flag: " + ", ".join(f"--{name}" for name in unknown))
    runner = options.view_as(StandardOptions).runner
    if runner in ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner"):
        raise BadFlags(f"--runner={runner} may pick another engine or lose data; leave --runner out to run locally")
    if given.get("direct_running_mode") == "multi_threading":
        raise BadFlags("--direct_running_mode=multi_threading loses data; leave it out and use --workers")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
