"""A worker process of a local map step: Beam's SDK harness, silent unless something fails.

Its log records go to the process that started it, which prints what it wants; when that process is gone the worker
leaves without a word, for finished files are whole and nobody waits for the rest. It looks for itself, for Beam's
harness would try for minutes to reach who is gone.
"""

import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PARENT: Final = "WIT400M_PARENT"  # environment variable: the process that gives work, which may be gone already

NEEDED: Final = (  # by any worker
    "jobs.task_worker",
    "pipeline.steps",
    "numpy.random",  # these are imported late by those above
    "fsspec.implementations.local",
    "encodings.idna",
    "encodings.punycode",
)
HARNESS: Final = (  # by one that runs Beam's harness
    "apache_beam.runners.worker.sdk_worker_main",
    "grpc._interceptor",
)
LOGGED_PACKAGES: Final = ("pipeline", "vocab")  # whose warnings a process that runs steps shows
_LOOK_S: Final = 0.5


def main() -> int:
    """Runs the harness in a process of its own until the parent has no more work."""
    return run_harness(leave_when_orphaned())


def leave_when_orphaned() -> Callable[[], bool]:
    """Has this process end when the one that gives work is gone; returns whether it is."""
    parent = int(os.environ.get(PARENT) or os.getppid())
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    return lambda: os.getppid() != parent


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def set_up_logs(is_orphan: Callable[[], bool]) -> None:
    """Lets log records of this process be seen where it is about to die; those of a process it was forked from, too.

    Args:
        is_orphan: Whether the process that gives work is gone.
    """
    handler = logging.StreamHandler()
    handler.setLevel(logging.CRITICAL)
    handler.addFilter(lambda record: not is_orphan())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in LOGGED_PACKAGES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Writes warnings of our own packages to standard error; for what is done before there is a harness."""
    assert logging.lastResort is not None
    for name in LOGGED_PACKAGES:
        logging.getLogger(name).addHandler(logging.lastResort)
    try:
        yield
    finally:
        for name in LOGGED_PACKAGES:
            logging.getLogger(name).removeHandler(logging.lastResort)


def run_harness(is_orphan: Callable[[], bool]) -> int:
    """Runs the harness until there is no more work; returns the exit code.

    Args:
        is_orphan: Whether the process that gives work is gone.
    """
    set_up_logs(is_orphan)  # before the import: Beam logs while it is imported
    for module in (*HARNESS, *NEEDED):
        importlib.import_module(module)
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    sdk_worker.__dict__["print"] = lambda *_, **__: None  # every error, which goes to whoever gives work as well
    default_hook = threading.excepthook
    threading.excepthook = lambda args: None if is_orphan() else default_hook(args)
    try:
        sdk_worker_main.main(sys.argv)
    except Exception:
        if not is_orphan():
            raise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
