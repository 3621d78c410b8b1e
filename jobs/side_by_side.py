"""The tasks of a step, done side by side by processes of this machine, without a pipeline.

A worker (`jobs.task_worker`) is forked by the fork server, in milliseconds; where that serves nobody, it is a process
that imports for itself. Whoever is free gets the next task. Log records of workers are handled here as if they were of
this process.
"""

import contextlib
import logging
import socket
import subprocess
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from jobs.fork_server import SERVER, deaf_command, how_ended
from jobs.interpreter import module_command
from jobs.task_worker import FAILED, LOGGED, to_bytes
from pipeline.steps import LocalTasks


class TaskFailed(RuntimeError):
    """A task raised an error; it has the words of that."""


class WorkerDied(RuntimeError):
    """A worker ended before its task was done; how, in a few words."""


def do_side_by_side(step: LocalTasks, *, workers: int, prepare: Callable[[], None] | None = None) -> list[Any]:
    """Does the tasks of a step.

    Args:
        step: The tasks; `finish` is left to the caller.
        workers: Processes that are started.
        prepare: A function of a module that is called once, before they are forked.

    Returns:
        What was returned for each task, in their order.

    Raises:
        TaskFailed: When a task fails; the other workers are stopped.
        WorkerDied: When a worker ends; so are they.
    """
    answers: list[Any] = [None] * len(step.tasks)
    tasks = iter(enumerate(step.tasks))
    work = to_bytes(step.work)
    with contextlib.ExitStack() as stack:
        crew = [stack.enter_context(_Worker(work, prepare)) for _ in range(min(workers, len(answers)))]
        busy = {worker.channel: worker for worker in crew}
        for worker, task in zip(crew, tasks, strict=False):
            worker.begin(*task)
        while busy:
            for channel in wait(list(busy)):
                assert isinstance(channel, Connection)
                worker = busy[channel]
                if not worker.hear():
                    continue
                answers[worker.number] = worker.answer
                more = next(tasks, None)
                if more is None:
                    del busy[channel]
                else:
                    worker.begin(*more)
    return answers


class _Worker:
    """A process with a channel; it is stopped at the end of a block that fails, and ends by itself after another."""

    def __init__(self, work: bytes, prepare: Callable[[], None] | None) -> None:
        self.number, self.answer = -1, None
        ours, its = socket.socketpair()
        with its:
            self._process = SERVER.fork_worker(its.fileno(), prepare) or _Started(its.fileno())
        self.channel = Connection(ours.detach())
        with self._noticing_death():
            self.channel.send_bytes(work)

    def begin(self, number: int, task: Any) -> None:
        """Gives it a task."""
        self.number = number
        with self._noticing_death():
            self.channel.send_bytes(to_bytes(task))

    def hear(self) -> bool:
        """Takes what it says; returns whether it is done, with its `answer`."""
        with self._noticing_death():
            said, value = self.channel.recv()
        if said == LOGGED:
            logger = logging.getLogger(value.name)
            if logger.isEnabledFor(value.levelno):
                logger.handle(value)
            return False
        if said == FAILED:
            line, traceback = value
            error = TaskFailed(line)
            error.add_note(traceback)
            raise error
        self.answer = value
        return True

    @contextlib.contextmanager
    def _noticing_death(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise WorkerDied(self._process.wait()) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.channel.close()
        if kind is None:
            self._process.wait()
        else:
            self._process.stop()


class _Started:
    """A worker that is a child of this process and imports for itself."""

    def __init__(self, channel: int) -> None:
        words = [*module_command("jobs.task_worker"), str(channel)]
        self._process = subprocess.Popen(["/bin/sh", "-c", deaf_command(words)], pass_fds=[channel])

    def wait(self) -> str:
        return how_ended(self._process.wait())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
