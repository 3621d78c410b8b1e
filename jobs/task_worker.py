"""A worker process of this machine that does tasks one after another, without a pipeline.

In: a channel, on which the process that runs steps (`jobs.side_by_side`) sends a function and then tasks. Out, on the
same channel: for each task what the function returned, or that it raised an error; before it, log records. The worker
ends when its channel does, without the rest of Python's way out.
"""

import copy
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

from jobs.worker import leave_when_orphaned, set_up_logs

# What a worker sends, each with a value.
DONE: Final = "done"  # what the function returned
FAILED: Final = "failed"  # the error in one line, and where it was raised
LOGGED: Final = "logged"  # a record


def main() -> NoReturn:
    """Does tasks in a process of its own that was given the channel's descriptor."""
    set_up_logs(leave_when_orphaned())
    do_tasks(int(sys.argv[1]))


def do_tasks(descriptor: int) -> NoReturn:
    """Does the tasks that come, then ends the process.

    Args:
        descriptor: Of the channel, a stream in both directions.
    """
    code = 1
    try:
        with Connection(descriptor) as connection:
            _answer_all(_Channel(connection))
    except (EOFError, ConnectionError):
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def to_bytes(value: Any) -> bytes:
    """A function, or its argument, as it is sent."""
    from apache_beam.internal import pickler  # late: Beam logs while it is imported

    return bytes(pickler.dumps(value))


class _Channel:
    """A connection that several threads send on."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def receive(self) -> Any:
        """What was sent; raises EOFError when there is nothing more to come."""
        from apache_beam.internal import pickler

        return pickler.loads(self._connection.recv_bytes())

    def send(self, said: str, value: Any) -> None:
        """Sends something, whole."""
        with self._lock:
            self._connection.send((said, value))


class _Sender(logging.Handler):
    """Sends log records; with their arguments and tracebacks as words, for not all of these can be sent."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        words = copy.copy(record)
        words.msg, words.args = self.format(record), None
        words.exc_info = words.exc_text = words.stack_info = None
        self._channel.send(LOGGED, words)


def _answer_all(channel: _Channel) -> NoReturn:
    work: Callable[[Any], Any] = channel.receive()
    logging.getLogger().handlers = [_Sender(channel)]  # what was logged while Beam was imported is for nobody
    while True:
        task = channel.receive()
        try:
            answer = work(task)
        except Exception as error:
            channel.send(FAILED, (f"{type(error).__name__}: {error}", traceback.format_exc()))
        else:
            channel.send(DONE, answer)


if __name__ == "__main__":
    main()
