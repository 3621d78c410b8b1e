"""What a command takes: seconds, CPU, memory and the children it leaves behind, of its whole process tree.

    python benchmarks/fetch/measuring.py REPORT.json LIMIT_S GRACE_S COMMAND...

The command runs under this process, which adopts its orphans (`PR_SET_CHILD_SUBREAPER`) and waits for every descendant.
So CPU is exact: the kernel adds up user and system time of all that were waited for, by whomever. Memory is sampled:
the sum of the proportional set sizes (`smaps_rollup`) of all descendants, in which shared pages count once.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

SAMPLE_S = 0.25
GRACE_S = 5.0  # for what outlives the command
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
STATE, PARENT, USER, SYSTEM = 0, 1, 11, 12  # fields of /proc/PID/stat after the name; proc(5)


class Usage(NamedTuple):
    """What a command took.

    Attributes:
        wall_s: Until the command itself ended.
        cpu_s: User and system seconds of all its processes.
        peak_mib: Largest sum of proportional set sizes seen.
        num_left: Descendants that had to be ended some seconds after the command.
        exit_code: Of the command; negative when a signal ended it.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    num_left: int
    exit_code: int


def measure(
    command: Sequence[str],
    *,
    folder: str,
    env: Mapping[str, str] | None = None,
    limit_s: float,
    grace_s: float = GRACE_S,
) -> Usage:
    """Runs a command to its end, or for `limit_s`; what it prints goes to ``FOLDER/log``."""
    report = os.path.join(folder, "usage.json")
    with open(os.path.join(folder, "log"), "w") as log:
        subprocess.run(
            [sys.executable, os.path.abspath(__file__), report, str(limit_s), str(grace_s), *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    with open(report) as file:
        return Usage(**json.load(file))


def watch(command: Sequence[str], *, limit_s: float, grace_s: float) -> Usage:
    """Runs a command under this process, which must have no other children."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    process = subprocess.Popen(command)
    sampler = Sampler()
    sampler.start()
    try:
        exit_code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        exit_code = process.wait()
    except BaseException:  # told to end: the command must not go on alone
        end_orphans(0)
        raise
    wall_s = time.monotonic() - started
    num_left = end_orphans(grace_s)
    sampler.stop()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(wall_s, used.ru_utime + used.ru_stime, sampler.peak_kib / 1024, num_left, exit_code)


class Sampler(threading.Thread):
    """Looks at the memory of this process's descendants, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kib = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.look()

    def look(self) -> None:
        self.peak_kib = max(self.peak_kib, sum(map(proportional_kib, descendants(os.getpid()))))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def end_orphans(grace_s: float) -> int:
    """Waits for the processes that outlived the command, then ends them; returns how many had to be ended."""
    deadline, ended = time.monotonic() + grace_s, set()
    while True:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(ended)
        if found:
            continue
        if time.monotonic() > deadline:
            for process in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                ended.add(process)
        time.sleep(0.05)


def descendants(root: int) -> list[int]:
    """The processes that stem from one, by /proc."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := read_stat(int(name))):
            parents[int(name)] = int(fields[PARENT])
    return stemming_from(root, parents)


def stemming_from(root: int, parents: Mapping[int, int]) -> list[int]:
    """Those of a table of parents that stem from `root`, which is not one of them."""
    found, new = [], {root}
    while new := {process for process, parent in parents.items() if parent in new}:
        found += sorted(new)
    return found


def proportional_kib(process: int) -> int:
    """Its proportional set size; 0 when it has ended."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:
            return parse_pss(file)
    except OSError:
        return 0


def parse_pss(lines: Iterable[str]) -> int:
    """KiB of the Pss line of an ``smaps_rollup``."""
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_seconds(process: int) -> float:
    """What a running process has used so far, without its children."""
    fields = read_stat(process)
    return (int(fields[USER]) + int(fields[SYSTEM])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def read_stat(process: int) -> list[str]:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:  # it has ended
        return []


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with open(sys.argv[1], "w") as to:
        json.dump(watch(sys.argv[4:], limit_s=float(sys.argv[2]), grace_s=float(sys.argv[3]))._asdict(), to)
