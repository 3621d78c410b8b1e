"""How this program stops before its time: what it raises, its exit codes, and the end of the processes below it.

Exit codes: 130 interrupted (Ctrl-C), 143 told to end (SIGTERM), as shells have them.
"""

import os
import select
import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

INTERRUPTED: Final = 130
TERMINATED: Final = 143

_LONGEST_END_S: Final = 10.0  # a killed process lives on while the kernel reads or writes for it


class Terminated(KeyboardInterrupt):
    """This program was told to end."""


def stop_when_told() -> None:
    """Makes SIGTERM end this program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _raise_terminated)


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a program that was stopped.

    >>> exit_code(KeyboardInterrupt()), exit_code(Terminated())
    (130, 143)
    """
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def end_children() -> None:
    """Kills the processes that this one started, each after the shell that waits for it, and waits until they are gone.

    What they write appears whole or not at all, so nothing is lost but the units they were at.
    """
    ends = []  # descriptors that can be read when their process has ended
    for pid in _descendants(os.getpid()):
        try:
            ends.append(os.pidfd_open(pid))
            signal.pidfd_send_signal(ends[-1], signal.SIGKILL)
        except ProcessLookupError:
            continue
    _wait_for(ends)


def _wait_for(ends: Sequence[int]) -> None:
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    waiting, deadline = len(ends), time.monotonic() + _LONGEST_END_S
    while waiting and (left := deadline - time.monotonic()) > 0:
        for end, _ in poll.poll(left * 1000):
            poll.unregister(end)
            waiting -= 1


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


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
