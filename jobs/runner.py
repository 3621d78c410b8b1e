"""Runs a stage: flags to options, skip or resume, its steps on an engine, the sum of its counts, one line at the end.

Exit codes: 0 done (or nothing to do), 1 failed, 2 bad flags, configuration or input, 130 interrupted.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from jobs.engines import BadFlags, Engine, StepFailed, run_step
from jobs.progress import step_progress
from pipeline.base.drops import Counts, LostRows, add_counts, check_counts
from pipeline.base.files import hold_folder
from pipeline.base.flow import STAGES
from pipeline.base.funnel import summary_line
from pipeline.base.options import add_flags, options_from
from pipeline.base.stage_folder import (
    StageMismatch,
    State,
    commit_stage,
    discard_stage,
    open_stage,
    read_stage,
    stage_identity,
)
from pipeline.steps import Stage, Step, finished_counts

OK, FAILED, BAD_USE, INTERRUPTED = 0, 1, 2, 130
DEFAULT_DATA = "data"


def load_stage(name: str) -> type[Stage]:
    """The class of a stage."""
    module, _, class_name = STAGES[name].stage.partition(":")
    return getattr(import_module(module), class_name)


def run_job(stage_class: type[Stage], argv: Sequence[str] | None = None) -> int:
    """The main function of a stage's job; returns the exit code."""
    parser = job_parser(f"wit400m {stage_class.name}", stage_class.__doc__ or "")
    add_flags(parser.add_argument_group("stage"), stage_class)
    for flag, question in stage_class.questions.items():
        parser.add_argument(f"--{flag}", metavar=question.metavar, help=question.help, default=argparse.SUPPRESS)
    arguments, beam_flags = parser.parse_known_args(argv)
    values = {name: value for name, value in vars(arguments).items() if name not in _RUN_FLAGS}
    asked = {flag: values.pop(flag) for flag in stage_class.questions if flag in values}

    def run() -> None:
        stage = options_from(stage_class, values, data=arguments.data or DEFAULT_DATA)
        for flag, value in asked.items():
            print("\n".join(stage.questions[flag].answer(stage, value)))
        if asked:
            return
        run_stage(
            stage,
            workers=arguments.workers or os.cpu_count() or 1,
            overwrite=arguments.overwrite,
            quiet=arguments.quiet,
            beam_flags=beam_flags,
        )

    return guard(run, prog=parser.prog, verbose=arguments.verbose)


def run_stage(
    stage: Stage,
    *,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
    beam_flags: Sequence[str] = (),
) -> Counts:
    """Runs a stage, or continues or skips it as its output folder says.

    Returns:
        The stage's counts.

    Raises:
        ValueError: For bad options or flags, an output folder of another making, or one that another run works in.
        FileNotFoundError: For missing input.
        StepFailed: When a step fails on its engine.
        LostRows: When the counts do not add up.
    """
    engine = Engine(workers=workers, beam_flags=tuple(beam_flags))
    started = time.monotonic()
    identity = stage_identity(stage)
    if overwrite:
        with hold_folder(stage.output):
            discard_stage(stage)
    with hold_folder(stage.output):
        state = open_stage(stage, identity)
        if state is State.DONE:
            counts = dict(read_stage(stage.output)["counts"])
        else:
            counts = add_counts(*(_run_part(part, engine, quiet=quiet) for part in stage.steps()))
            check_counts(counts)
            commit_stage(stage, identity, counts)
    if not quiet:
        took = "already done" if state is State.DONE else f"{time.monotonic() - started:.1f} s"
        print(f"{summary_line(stage.name, counts)} [{took}] -> {stage.output}", flush=True)
    return counts


def job_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags that every job has."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Any flag of Apache Beam may follow, e.g. --runner=DataflowRunner --project=… --temp_location=gs://…",
    )
    group = parser.add_argument_group("running")
    group.add_argument("--data", metavar="DIR", help=f"Folder of all stages' folders [{DEFAULT_DATA}]")
    group.add_argument("--workers", type=_positive, metavar="N", help="Worker processes [as many as cores]")
    group.add_argument("--overwrite", action="store_true", help="Make the output anew where it does not match")
    group.add_argument("--quiet", action="store_true", help="Print errors only")
    group.add_argument("--verbose", action="store_true", help="Print Beam's messages and full tracebacks")
    return parser


def guard(run: Callable[[], None], *, prog: str, verbose: bool) -> int:
    """Calls `run`; turns what it raises into one line and an exit code."""
    try:
        run()
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; run it again to continue", file=sys.stderr)
        return INTERRUPTED
    except (BadFlags, StageMismatch, ValueError, FileNotFoundError) as error:
        return _complain(prog, error, BAD_USE, verbose=verbose)
    except (StepFailed, LostRows, OSError) as error:
        return _complain(prog, error, FAILED, verbose=verbose)
    return OK


_RUN_FLAGS = ("data", "workers", "overwrite", "quiet", "verbose")


def _run_part(part: Step | Counts, engine: Engine, *, quiet: bool) -> Counts:
    """What a part of a stage counts; a step whose outputs are all there is not run."""
    if isinstance(part, dict):
        return part
    finished = finished_counts(part)
    if finished is not None:
        return finished
    with step_progress(part, quiet=quiet):
        return run_step(part, engine)


def _complain(prog: str, error: BaseException, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    print(f"{prog}: error: {error}", file=sys.stderr)
    return code


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value
