"""Runs a stage's command and watches it: seconds, CPU seconds and memory of all its processes."""

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

_PR_SET_CHILD_SUBREAPER: Final = 36  # of prctl(2): orphans below this process become its children


class Took(NamedTuple):
    """What a command took.

    Attributes:
        seconds: By the clock.
        cpu_s: CPU seconds of all its processes.
        peak_bytes: Most memory of all its processes at a time.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_s:.1f} CPU s, peak {self.peak_bytes / 2**30:.2f} GiB"


def run_stage(name: str, arguments: Sequence[str]) -> Took:
    """Runs `wit400m NAME`; ends this program if it fails."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "jobs", name, *arguments])
    with watch_tree(process.pid) as peak:
        code = process.wait()
    if code:
        raise SystemExit(f"{name} ended with exit code {code}")
    seconds = time.monotonic() - started
    wait_for_orphans()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(seconds, cpu_s, peak[0])


def wait_for_orphans() -> None:
    """Waits for processes that outlive the command by a moment: what they took is counted only then."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


@contextmanager
def watch_tree(pid: int) -> Iterator[list[int]]:
    """Gives a list of one number: the most memory of a process and all below it while the block runs."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            peak[0] = max(peak[0], tree_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def tree_bytes(pid: int) -> int:
    """Memory of a process and all below it, shared pages split among those that share them."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total = next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                total += sum(tree_bytes(int(child)) for child in file.read().split())
    except (OSError, StopIteration):
        pass  # it ended meanwhile
    return total
