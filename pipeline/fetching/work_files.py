"""How far the workers of a fetch are, for those who watch it: a small file a worker, and the sum of them.

In: what a worker has done by now. Out: ``HOST-PID-….json`` in a working folder of the stage, written every few seconds
and when the worker ends; and what all of them say together. Whoever watches needs nothing but the folder, so that it
does not matter on which engine, or machine, the workers are. What is counted here is for watching: a unit that is done
again is counted again. What a unit has come to is in its receipt.
"""

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from pipeline.base import files
from pipeline.base.schemas import OK_STATUS

WATCH: Final = "watch"  # the working folder of a stage where its workers' files are

_LOG: Final = logging.getLogger(__name__)
_EVERY_S: Final = 5.0
_STORE_EVERY_S: Final = 30.0  # a file on an object store is a request that is paid for
_SOON: Final = 16  # the first file comes after this part of the time between two, for runs that are short
_PATIENCE: Final = 4.0  # times that a file may be late before its worker counts as gone
_LEAST_PATIENCE_S: Final = 20.0


class Work(NamedTuple):
    """What a worker has done by now, and is at.

    Attributes:
        statuses: URLs by what came of them.
        requests: Requests whose answer, or failure, is there.
        received_bytes: Of bodies.
        under_way: Requests without an answer yet.
        hosts_waiting: Hosts of which something is wanted and nothing is under way.
    """

    statuses: Mapping[str, int]
    requests: int = 0
    received_bytes: int = 0
    under_way: int = 0
    hosts_waiting: int = 0

    @property
    def images(self) -> int:
        """URLs that came to an image."""
        return self.statuses.get(OK_STATUS, 0)


class WorkFile(NamedTuple):
    """What the file of a worker says.

    Attributes:
        statuses: As of `Work`, like the next four.
        requests: See there.
        received_bytes: See there.
        under_way: See there.
        hosts_waiting: See there.
        images_per_s: Since the file before.
        bytes_per_s: As well.
        written: When, in seconds since 1970 by the worker's clock.
        next_s: Seconds until the next is due; 0: there is none, the worker has ended.
    """

    statuses: Mapping[str, int]
    requests: int
    received_bytes: int
    under_way: int
    hosts_waiting: int
    images_per_s: float
    bytes_per_s: float
    written: float
    next_s: float

    def is_alive(self, age_s: float) -> bool:
        """Whether its worker is still at work, as far as one can tell from the file's age."""
        return self.next_s > 0 and age_s <= max(_LEAST_PATIENCE_S, _PATIENCE * self.next_s)


class FetchProgress(NamedTuple):
    """How far all workers of a run are.

    Attributes:
        work: What they have done, those that have ended as well; what they are at, those at work.
        images_per_s: Of those at work.
        bytes_per_s: As well.
        workers: Those at work.
    """

    work: Work
    images_per_s: float
    bytes_per_s: float
    workers: int

    @property
    def urls(self) -> int:
        """URLs that have a status."""
        return sum(self.work.statuses.values())

    @property
    def success_share(self) -> float:
        """Images of these URLs; 0 where there are none."""
        return self.work.images / self.urls if self.urls else 0.0

    def failures(self, most: int) -> dict[str, int]:
        """The most frequent failures, the most frequent first, names in order where they are equal."""
        failed = [(name, number) for name, number in self.work.statuses.items() if name != OK_STATUS and number]
        return dict(sorted(failed, key=lambda item: (-item[1], item[0]))[:most])


def compare_work(work: Work, before: Work, *, seconds: float, written: float, next_s: float) -> WorkFile:
    """What the file of a worker is to say.

    Args:
        work: Now.
        before: When its last file was written.
        seconds: Between the two.
        written: Now, in seconds since 1970.
        next_s: Seconds until the next file; 0: there is none.

    >>> compare_work(Work({"ok": 9}, 12), Work({"ok": 4}), seconds=2.0, written=1e9, next_s=5.0).images_per_s
    2.5
    """
    images, received = work.images - before.images, work.received_bytes - before.received_bytes
    rates = (images / seconds, received / seconds) if seconds > 0 else (0.0, 0.0)
    return WorkFile(*work, *rates, written, next_s)


def add_work_files(found: Iterable[tuple[WorkFile, float]]) -> FetchProgress:
    """The sum of what workers say.

    Args:
        found: Their files, each with its age in seconds.
    """
    listed = list(found)
    alive = [file for file, age_s in listed if file.is_alive(age_s)]
    statuses: Counter[str] = Counter()
    for file, _ in listed:
        statuses.update(file.statuses)
    work = Work(
        dict(sorted(statuses.items())),
        requests=sum(file.requests for file, _ in listed),
        received_bytes=sum(file.received_bytes for file, _ in listed),
        under_way=sum(file.under_way for file in alive),
        hosts_waiting=sum(file.hosts_waiting for file in alive),
    )
    rates = sum(file.images_per_s for file in alive), sum(file.bytes_per_s for file in alive)
    return FetchProgress(work, *rates, len(alive))


def read_work_file(path: str) -> WorkFile | None:
    """What the file of a worker says; None where it is gone, cannot be read now, or is of another version."""
    try:
        content: dict[str, Any] = files.read_json(path)
        return WorkFile(**{name: content[name] for name in WorkFile._fields})
    except (OSError, ValueError, LookupError, TypeError):
        return None


@asynccontextmanager
async def tell_work(folder: str, look: Callable[[], Work]) -> AsyncIterator[None]:
    """Writes down what a worker has done while the block runs, and when it ends. A disk that is full is no failure.

    Args:
        folder: Where its file goes.
        look: What it has done by now; called in the event loop.
    """
    teller = _Teller(folder, look)
    task = asyncio.create_task(teller.keep_telling())
    try:
        yield
    finally:
        task.cancel()
        teller.end()


class _Teller:
    """The file of a worker, which is in no list of files that were written."""

    def __init__(self, folder: str, look: Callable[[], Work]) -> None:
        self._path = files.join(folder, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json")
        self._every_s = _EVERY_S if files.is_local(folder) else _STORE_EVERY_S
        self._look = look
        self._before, self._at = Work({}), time.monotonic()
        self._lock, self._has_ended, self._has_failed = threading.Lock(), False, False

    async def keep_telling(self) -> None:
        """Writes the file again and again, at first after a short while."""
        wait_s = self._every_s / _SOON
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._every_s)
            await asyncio.to_thread(self._write, self._next(wait_s))

    def end(self) -> None:
        """Writes the last file."""
        last = self._next(0.0)
        with self._lock:
            self._has_ended = True
            self._put(last)

    def _next(self, next_s: float) -> WorkFile:
        work, now = self._look(), time.monotonic()
        said = compare_work(work, self._before, seconds=now - self._at, written=time.time(), next_s=next_s)
        self._before, self._at = work, now
        return said

    def _write(self, said: WorkFile) -> None:
        with self._lock:
            if not self._has_ended:
                self._put(said)

    def _put(self, said: WorkFile) -> None:
        try:
            with files.record_writes():  # in a list of its own
                files.write_json(self._path, said._asdict())
        except OSError as error:
            _LOG.log(logging.DEBUG if self._has_failed else logging.WARNING, "cannot tell how far it is: %s", error)
            self._has_failed = True
