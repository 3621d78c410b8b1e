"""`wit400m COMMAND` = `python -m jobs COMMAND`: a stage by its name, or one of the other commands."""

import difflib
import gc
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

from jobs.fork_server import SERVER, importing_in_one_thread
from jobs.interpreter import put_home_first
from jobs.stopping import end_children, exit_code, stop_when_told
from jobs.worker import LOGGED_PACKAGES
from pipeline.base.flow import STAGES
from pipeline.base.leaving import leave

_MODULES: Final[Mapping[str, tuple[str, str]]] = {  # of the commands that are no stage; what each does
    "run": ("jobs.run", "all of these, in order, from one TOML file"),
    "status": ("jobs.status", "what the stages in a folder are at: done, counts, rates, what is left"),
    "remove": ("jobs.remove", "take samples out of finished shards, by lists, and keep them out"),
    "export-urls": ("jobs.export_urls", "a table of a finished set without its images, to fetch it again by"),
    "trace": ("jobs.trace", "where samples come from that lists name: image, page and crawl"),
    "push": ("jobs.push", "send a finished set to a bucket, a hub of data sets or another disk, and check it there"),
    "verify": ("jobs.verify", "whether a finished folder is what its stage left, to the last byte"),
    "get-dump": ("jobs.get_dump", "download a wiki's dump and page views for build-vocab"),
    "get-wordnet": ("jobs.get_wordnet", "put WordNet where build-vocab finds it"),
    "demo": ("jobs.demo.__main__", "a small made-up world, through every stage, to a trained model"),
}
_CONNECTORS: Final = ("bson", "boto3", "google.cloud")  # Beam loads its own connectors to them; a run here uses none
_IMPORTED_OBJECTS: Final = 1_000_000
COMMANDS: Final[Mapping[str, str]] = {name: entry.help for name, entry in STAGES.items()} | {
    name: help for name, (_, help) in _MODULES.items()
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (0 done, 1 failed, 2 bad use, 130 interrupted, 143 told to end)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"wit400m: no command {command!r}.{hint} `wit400m --help` lists them.", file=sys.stderr)
        return 2
    set_up_logs(verbose="--verbose" in rest)  # before the import: Beam logs while it is imported
    is_local = not any(word.startswith("--runner") for word in rest)
    with importing_in_one_thread(), few_collections(), leaving_out(_CONNECTORS if is_local else ()):
        if command in _MODULES:
            run_command = importlib.import_module(_MODULES[command][0]).main
        else:
            from jobs.runner import load_stage, run_job

            run_command = partial(run_job, load_stage(command))
    return int(run_command(rest))


@contextmanager
def few_collections() -> Iterator[None]:
    """Looks rarely for garbage: what is imported stays, and looking at it again and again takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(_IMPORTED_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def leaving_out(packages: Sequence[str]) -> Iterator[None]:
    """Has what is imported in the block do without some packages, unless they are loaded already."""
    modules: MutableMapping[str, Any] = sys.modules
    absent = [name for name in packages if name not in modules]
    modules.update(dict.fromkeys(absent))  # None: it cannot be imported
    try:
        yield
    finally:
        for name in absent:
            del modules[name]


def set_up_logs(*, verbose: bool) -> None:
    """Sends log records to standard error: warnings of our own packages; all of Beam's too if `verbose`."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    level = logging.INFO if verbose else logging.CRITICAL
    logging.getLogger().setLevel(level)
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # records of worker processes pass by the logger's level
    for package in LOGGED_PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(logging.WARNING)
        if logging.lastResort and logging.lastResort not in logger.handlers:
            logger.addHandler(logging.lastResort)  # writes to whatever is standard error then


def _overview() -> str:
    lines = ["usage: wit400m COMMAND [options]", "", "From a Wikipedia dump and a web crawl to image-text shards.", ""]
    lines += [f"  {name:<15}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [*lines, "", "`wit400m COMMAND --help` lists a command's options; train with `python -m clip_train`."]
    )


def run() -> NoReturn:
    """The program: `main`, then the end of the process."""
    put_home_first()
    leave_with(main)


def leave_with(main: Callable[[], int]) -> NoReturn:
    """Calls a main function, then ends the process at once, and those it started.

    Python's own way out could abort (`pipeline.base.leaving`), or wait for a thread that waits for a worker that is
    gone; and a script could not trust the exit code.
    """
    stop_when_told()
    SERVER.own_process()
    try:
        code = main()
    except KeyboardInterrupt as stop:
        print("wit400m: interrupted; run it again to continue", file=sys.stderr)
        code = exit_code(stop)
    end_children()
    leave(code)


if __name__ == "__main__":
    run()
