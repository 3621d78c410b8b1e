"""Runs a stage: flags to options, skip or resume, its steps on an engine, the sum of its counts, one line at the end.

Exit codes: 0 done (or nothing to do), 1 failed, 2 bad flags, configuration or input, 130 interrupted, 143 told to end.
"""

import argparse
import difflib
import os
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from jobs.engines import BadFlags, Engine, StepFailed, UnknownFlags, run_step
from jobs.json_logs import LOG_FORMATS, PROGRESS_S, RunLog, current_log
from jobs.memory import parse_bytes, usable_memory
from jobs.metrics import DEFAULT_HOST, Endpoint
from jobs.probe import check_shared, refuse_local_paths
from jobs.progress import step_progress
from jobs.room import check_room
from jobs.stopping import exit_code
from jobs.watching import FetchWatch, begin_watch
from pipeline.base import files
from pipeline.base.drops import Counts, LostRows, add_counts, check_counts
from pipeline.base.flow import STAGES
from pipeline.base.folders import StageFolder
from pipeline.base.funnel import summary_line
from pipeline.base.holding import Hold, LeaseLost, hold_folder
from pipeline.base.lineage import StageMismatch, read_stage
from pipeline.base.options import add_flags, options_from
from pipeline.base.receipts import MissingOutput, Receipt, StepReceipts
from pipeline.base.stage_folder import (
    State,
    commit_stage,
    discard_stage,
    find_state,
    open_stage,
    reopen_stage,
    stage_identity,
)
from pipeline.slicing import num_slices, slice_step
from pipeline.steps import Chain, CheckUnits, Made, Stage, Step

OK, FAILED, BAD_USE, POOR_RESULT = 0, 1, 2, 4
DEFAULT_DATA = "data"
ENGINE_TIMEOUT_S = 120.0


def load_stage(name: str) -> type[Stage]:
    """The class of a stage."""
    module, _, class_name = STAGES[name].stage.partition(":")
    return getattr(import_module(module), class_name)


class PoorResult(RuntimeError):
    """A stage is done, and what it made is not what anybody wants."""


def run_job(stage_class: type[Stage], argv: Sequence[str] | None = None) -> int:
    """The main function of a stage's job; returns the exit code."""
    parser = job_parser(f"wit400m {stage_class.name}", stage_class.__doc__ or "")
    add_flags(parser.add_argument_group("stage"), stage_class)
    for flag, question in stage_class.questions.items():
        parser.add_argument(f"--{flag}", metavar=question.metavar, help=question.help, default=argparse.SUPPRESS)
    arguments, beam_flags = parser.parse_known_args(argv)
    if stage_class.operand:
        operands, beam_flags = split_operands(beam_flags)
        setattr(arguments, stage_class.operand, [*getattr(arguments, stage_class.operand, ()), *operands])
    values = {name: value for name, value in vars(arguments).items() if name not in _RUN_FLAGS}
    asked = {flag: values.pop(flag) for flag in stage_class.questions if flag in values}

    def run() -> None:
        stage = options_from(stage_class, values, data=arguments.data or DEFAULT_DATA)
        for flag, value in asked.items():
            print("\n".join(stage.questions[flag].answer(stage, value)))
        if asked:
            return
        workers = arguments.workers or os.cpu_count() or 1
        if arguments.dry_run:
            from jobs.dry_run import describe_run  # late: it knows all stages, which takes long to import

            engine = Engine(workers=workers, beam_flags=tuple(beam_flags), memory=arguments.memory or usable_memory())
            print("\n".join(describe_run([stage], engine, overwrite=arguments.overwrite)))
            return
        run_stage(
            stage,
            workers=workers,
            overwrite=arguments.overwrite,
            quiet=arguments.quiet,
            beam_flags=beam_flags,
            memory=arguments.memory,
            engine_timeout_s=arguments.engine_timeout_s,
        )

    def run_or_hint() -> None:
        try:
            run()
        except UnknownFlags as error:
            raise BadFlags(f"{error}{hint_flags(error.flags, parser)}") from error

    return guard(run_or_hint, prog=parser.prog, verbose=arguments.verbose, log=run_log(parser.prog, arguments))


def hint_flags(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Which flags of a parser may have been meant by unknown ones, as the end of a sentence.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--wiki")
    >>> hint_flags(["--wikki=x", "en"], parser), hint_flags(["en"], parser)
    ('; did you mean --wiki?', '')
    """
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    close = [match for flag in flags for match in difflib.get_close_matches(flag, parser._option_string_actions, n=1)]
    return f"; did you mean {' '.join(dict.fromkeys(close))}?" if close else ""


def split_operands(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What a stage is given without a flag, and the flags of an engine, with the values that follow them.

    >>> split_operands(["a.txt", "--runner", "FlinkRunner", "b.txt", "--job_name=j", "c.txt"])
    (['a.txt', 'b.txt', 'c.txt'], ['--runner', 'FlinkRunner', '--job_name=j'])
    """
    operands, flags = list[str](), list[str]()
    for word, before in zip(words, ["", *words], strict=False):
        is_value = before.startswith("-") and "=" not in before
        (flags if word.startswith("-") or is_value else operands).append(word)
    return operands, flags


def run_stage(
    stage: Stage,
    *,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
    beam_flags: Sequence[str] = (),
    memory: int | None = None,
    engine_timeout_s: float = ENGINE_TIMEOUT_S,
) -> Counts:
    """Runs a stage, or continues or skips it as its output folder says.

    Returns:
        The stage's counts.

    Raises:
        ValueError: For bad options or flags, an output folder of another making, or one that another run works in.
        FileNotFoundError: For missing input.
        FileTrouble: When the disk has no room for what the stage writes.
        StepFailed: When a step fails on its engine.
        MissingOutput: When a step ends well, and what it should have written is not there.
        LostRows: When the counts do not add up.
        PoorResult: When all went well, and the result still is none to go on with; the stage says why.
    """
    engine = Engine(
        workers=workers,
        beam_flags=tuple(beam_flags),
        memory=memory or usable_memory(),
        timeout_s=engine_timeout_s,
        stage=stage.name,
    )
    started = time.monotonic()
    files.check_folder(stage.output)
    refuse_local_paths(stage, engine)
    engine.prepare()
    identity = stage_identity(stage)
    if overwrite:
        with hold_folder(stage.output):
            check_shared(stage, engine)
            check_room(stage)
            discard_stage(stage)
    with hold_folder(stage.output) as hold:
        if not overwrite and find_state(stage, identity) is not State.DONE:
            check_shared(stage, engine)
            check_room(stage)
        state = open_stage(stage, identity)
        if state is State.DONE and stage.works_again:
            reopen_stage(stage, identity)
            state = State.CUT_SHORT
        current_log().stage_started(stage, identity, state)
        if state is State.DONE:
            counts = dict(read_stage(stage.output)["counts"])
        else:
            counts, written = run_steps(stage, engine, hold, quiet=quiet)
            check_counts(counts)
            hold.check()
            commit_stage(stage, identity, counts, written)
    current_log().stage_ended(stage, counts, state, time.monotonic() - started)
    if not quiet:
        took = "already done" if state is State.DONE else f"{time.monotonic() - started:.1f} s"
        print(f"{summary_line(stage.name, counts)} [{took}] -> {stage.output}", flush=True)
    if verdict := stage.verdict(counts):
        raise PoorResult(verdict)
    return counts


def run_steps(stage: Stage, engine: Engine, hold: Hold, *, quiet: bool) -> tuple[Counts, list[files.Written]]:
    """Runs the steps of a stage, those that are not done.

    Returns:
        What was counted, and what was written.
    """
    counts: Counts = {}
    of_units: list[files.Written] = []
    with files.record_writes() as written:
        steps = stage.steps()
        answer: Made | list[Made] | None = None
        while True:
            try:
                part = steps.send(answer)
            except StopIteration:
                break
            hold.check()
            if isinstance(part, dict):
                counts, answer = add_counts(counts, part), None
                continue
            made = make_steps([part] if isinstance(part, Step) else part, engine, stage.output, quiet=quiet)
            receipts = [receipt for receipts in made for receipt in receipts.values()]
            counts = add_counts(counts, *(receipt.counts for receipt in receipts))
            answers = [{output: receipt.counts for output, receipt in one.items()} for one in made]
            answer = answers[0] if isinstance(part, Step) else answers
            of_units += [
                files.Written(files.join(stage.output, name), size, digest)
                for receipt in receipts
                for name, (size, digest) in receipt.files.items()
            ]
    return counts, [*of_units, *written]


def make_steps(steps: Sequence[Step], engine: Engine, folder: str, *, quiet: bool = True) -> list[dict[str, Receipt]]:
    """Runs steps unless all they make is there; where starting a job takes long, those that are left are one.

    Args, Returns and Raises: as `make_step`, for each step.
    """
    if len(steps) > 1 and not engine.is_local:
        found = {step.label: _made_before(step, engine, folder) for step in steps}
        left = [(step, StepReceipts(folder, step.label)) for step in steps if found[step.label] is None]
        if left:
            label = "-".join(step.label for step, _ in left)
            for step, unmade in left:
                unmade.begin(len(step.transform.outputs), now=time.time())
            watch = _begin_watch([step for step, _ in left])
            with current_log().step(label, left, watch) as made:
                run_step(Step(label, Chain(steps=left)), engine, StepReceipts(folder, label))
                found |= {step.label: _found(step, folder) for step, _ in left}
                made += [receipt for step, _ in left for receipt in (found[step.label] or {}).values()]
        return [found[step.label] or {} for step in steps]
    return [make_step(step, engine, folder, quiet=quiet) for step in steps]


def make_step(step: Step, engine: Engine, folder: str, *, quiet: bool = True) -> dict[str, Receipt]:
    """Runs a step unless all it makes is there.

    Args:
        step: The step.
        engine: Where it runs.
        folder: Of its stage.
        quiet: Show no progress.

    Returns:
        The receipts of its units, by their outputs.

    Raises:
        StepFailed: When the engine fails.
        MissingOutput: When the engine ends well, and what the step should have written is not there.
    """
    outputs = step.transform.outputs
    found = _made_before(step, engine, folder)
    if found is not None:
        current_log().step_found(step.label, list(found.values()))
        return found
    number = num_slices(step, engine.memory) if engine.is_local else 1
    made: dict[str, Receipt] = {}
    for part in slice_step(step, number, StageFolder(folder)):
        made |= make_step(part, engine, folder, quiet=quiet) if part is not step else _run(step, engine, folder, quiet)
    return {output: made[output] for output in outputs}


def _made_before(step: Step, engine: Engine, folder: str) -> dict[str, Receipt] | None:
    """What an earlier run made, when that is all that a step makes, and whole: sizes and digests are as they were."""
    outputs, receipts = step.transform.outputs, StepReceipts(folder, step.label)
    if not outputs:
        return {}
    found = receipts.read_all(outputs)
    if found is None:
        return None
    if engine.is_local:
        found = found if all(files.each(receipts.check, outputs)) else None
    else:
        run_step(Step(f"Check{step.label}", CheckUnits(checked=outputs)), engine, receipts)
        found = receipts.read_all(outputs)
    return None if found is None else dict(zip(outputs, found, strict=True))


def _run(step: Step, engine: Engine, folder: str, quiet: bool) -> dict[str, Receipt]:
    receipts, log = StepReceipts(folder, step.label), current_log()
    receipts.begin(len(step.transform.outputs), now=time.time())
    watch = _begin_watch([step])
    with (
        log.step(step.label, [(step, receipts)], watch) as made,
        step_progress(step, receipts, quiet=quiet, watch=watch),
    ):
        run_step(step, engine, receipts)
        found = _found(step, folder)
        made += found.values()
    return found


def _begin_watch(steps: Sequence[Step]) -> FetchWatch | None:
    folder = next((step.watch for step in steps if step.watch), "")
    return begin_watch(folder, every_s=current_log().progress_s)


def _found(step: Step, folder: str) -> dict[str, Receipt]:
    outputs, receipts = step.transform.outputs, StepReceipts(folder, step.label)
    found = receipts.read_all(outputs)
    if found is None:
        raise MissingOutput(
            f"{step.label}: the engine says that it is done, but {receipts.missing(outputs)}; do its workers write to "
            f"the {folder} that is seen here?"
        )
    return dict(zip(outputs, found, strict=True))


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
    group.add_argument(
        "--memory",
        type=_bytes,
        metavar="SIZE",
        help="What a step that brings rows together may take here, e.g. 8GiB; beyond, it is done in slices "
        "[three quarters of the machine's]",
    )
    group.add_argument(
        "--engine-timeout-s",
        type=_seconds,
        default=ENGINE_TIMEOUT_S,
        metavar="X",
        help="Seconds in which a worker of another engine must have started [%(default)g]",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="Check all that is checked before work starts, print the plan and what it will cost, and write nothing. "
        "(Beam's own --dry_run=True, of Dataflow, builds and translates a job instead of running it.)",
    )
    group.add_argument("--overwrite", action="store_true", help="Make the output anew where it does not match")
    group.add_argument("--quiet", action="store_true", help="Print errors only")
    group.add_argument("--verbose", action="store_true", help="Print Beam's messages and full tracebacks")
    group.add_argument(
        "--log-format", choices=LOG_FORMATS, default="text", help="Of standard error: lines of text, or of JSON [text]"
    )
    group.add_argument(
        "--log-every",
        type=_seconds,
        metavar="S",
        default=PROGRESS_S,
        help=f"Seconds between lines of progress, with --log-format json [{PROGRESS_S:g}]",
    )
    group.add_argument(
        "--counters",
        metavar="FILE",
        default="",
        help="Write counters there every minute: JSON; for Prometheus if it ends with .prom",
    )
    group.add_argument(
        "--metrics-port",
        type=_port,
        metavar="N",
        default=0,
        help="While it runs, let Prometheus read the counters at http://HOST:N/metrics; 0: do not [0]",
    )
    group.add_argument(
        "--metrics-host",
        metavar="HOST",
        default=DEFAULT_HOST,
        help=f"Address that --metrics-port listens at [{DEFAULT_HOST}]",
    )
    return parser


def run_log(prog: str, arguments: argparse.Namespace) -> RunLog:
    """The log that the flags of `job_parser` ask for."""
    return RunLog(
        prog,
        log_format=arguments.log_format,
        counters=arguments.counters,
        progress_s=arguments.log_every,
        metrics=Endpoint(arguments.metrics_host, arguments.metrics_port) if arguments.metrics_port else None,
    )


def guard(run: Callable[[], None], *, prog: str, verbose: bool, log: RunLog | None = None) -> int:
    """Calls `run`; turns what it raises into one line, or event of a log, and an exit code."""
    with (log or RunLog()).open() as opened:
        code = _run_to_code(run, opened, prog=prog, verbose=verbose)
        opened.end(code)
    return code


def _run_to_code(run: Callable[[], None], log: RunLog, *, prog: str, verbose: bool) -> int:
    try:
        log.begin()
        run()
    except KeyboardInterrupt as stop:
        code = exit_code(stop)
        log.error(f"{prog}: interrupted; run it again to continue", code)
        return code
    except (BadFlags, StageMismatch, ValueError, FileNotFoundError) as error:
        return _complain(prog, error, BAD_USE, verbose=verbose)
    except (StepFailed, MissingOutput, LeaseLost, LostRows, OSError) as error:
        return _complain(prog, error, FAILED, verbose=verbose)
    except PoorResult as error:
        return _complain(prog, error, POOR_RESULT, verbose=verbose)
    return OK


_RUN_FLAGS = (
    "data",
    "workers",
    "memory",
    "engine_timeout_s",
    "dry_run",
    "overwrite",
    "quiet",
    "verbose",
    "log_format",
    "log_every",
    "counters",
    "metrics_port",
    "metrics_host",
)


def _complain(prog: str, error: BaseException, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    current_log().error(f"{prog}: error: {_tell(error)}", code)
    return code


def _tell(error: BaseException) -> str:
    """An error in words; of the system's own about a file, the file and what is wrong with it.

    >>> _tell(PermissionError(13, "Permission denied", "dump.xml"))
    'dump.xml: Permission denied'
    """
    if isinstance(error, OSError) and error.strerror and error.filename and str(error).startswith("[Errno"):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value
