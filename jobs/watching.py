"""How far the workers of a fetch are, as the driver of a run shows it: asked from time to time, in words and in facts.

In: the folder of `pipeline.fetching.work_files`, on whatever engine the workers are. Out: a line for people, facts for
programs. One listing and the files that have changed are read, and on an object store not more often than every 30 s.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pipeline.base import files
from pipeline.base.folders import StageFolder
from pipeline.fetching.work_files import WATCH, FetchProgress, WorkFile, add_work_files, read_work_file

_EVERY_S: Final = 5.0
_STORE_EVERY_S: Final = 30.0
_FAILURES: Final = 3  # that are named


class _Seen(NamedTuple):
    entry: files.Entry
    file: WorkFile
    since: float  # by the clock: when it was first seen like that


class FetchWatch:
    """Looks at the files of the workers; those who share it, share its looks.

    Args:
        folder: Where the files are.
        every_s: Seconds between two looks at them, 5 at most; on an object store 30.
        clock: Gives seconds since any moment.
    """

    def __init__(self, folder: str, *, every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._every_s = min(every_s, _EVERY_S) if files.is_local(folder) else _STORE_EVERY_S
        self._seen: dict[str, _Seen] = {}
        self._looked_at = -float("inf")
        self._progress: FetchProgress | None = None
        self._lock = threading.Lock()

    def look(self, *, last: bool = False) -> FetchProgress | None:
        """How far the workers are; None: none has said anything.

        Args:
            last: Look, however short ago that was done.
        """
        with self._lock:
            if last or self._clock() - self._looked_at >= self._every_s:
                with contextlib.suppress(OSError):  # the store does not answer; there is a next time
                    self._read(last=last)
                self._looked_at = self._clock()
            return self._progress

    def _read(self, *, last: bool) -> None:
        entries = _worker_files(self._folder)
        changed = [name for name, entry in entries.items() if not self._is_known(name, entry, last=last)]
        found = files.each(lambda name: read_work_file(files.join(self._folder, name)), changed)
        now = self._clock()
        for name, file in zip(changed, found, strict=True):
            before = self._seen.get(name)
            if file is not None and (before is None or before.file != file):
                self._seen[name] = _Seen(entries[name], file, now)
        if self._seen:
            self._progress = add_work_files((seen.file, now - seen.since) for seen in self._seen.values())

    def _is_known(self, name: str, entry: files.Entry, *, last: bool) -> bool:
        """Whether a file holds nothing new. Stores tell times in seconds, which is too coarse for the last look."""
        seen = self._seen.get(name)
        if seen is None or entry.modified is None or seen.entry != entry:
            return False
        return not last or not seen.file.next_s


def begin_watch(folder: str, *, every_s: float) -> FetchWatch | None:
    """A watch of workers that are about to begin; what an earlier run's have left is removed. None without a folder."""
    if not folder:
        return None
    files.remove_tree(folder)
    return FetchWatch(folder, every_s=every_s)


def look_once(stage_folder: str, *, now: float) -> FetchProgress | None:
    """How far the workers of a stage are, told by their files alone; None where there is none.

    Args:
        stage_folder: Of the stage.
        now: Seconds since 1970.
    """
    folder = StageFolder(stage_folder).working(WATCH)
    found = files.each(lambda name: read_work_file(files.join(folder, name)), _worker_files(folder))
    said = [(file, now - file.written) for file in found if file is not None]
    return add_work_files(said) if said else None


def _worker_files(folder: str) -> dict[str, files.Entry]:
    return {name: entry for name, entry in files.list_entries(folder).items() if name[0] not in "._"}


def fetch_facts(progress: FetchProgress) -> dict[str, Any]:
    """What programs are told."""
    work = progress.work
    return {
        "images": work.images,
        "urls": progress.urls,
        "success_share": round(progress.success_share, 4),
        "images_per_s": round(progress.images_per_s, 3),
        "mb_per_s": round(progress.bytes_per_s / 1e6, 6),
        "failures": progress.failures(_FAILURES),
        "requests": work.requests,
        "received_bytes": work.received_bytes,
        "under_way": work.under_way,
        "hosts_waiting": work.hosts_waiting,
        "workers": progress.workers,
    }


def fetch_line(progress: FetchProgress) -> str:
    """What people are told.

    >>> from pipeline.fetching.work_files import Work
    >>> work = Work({"ok": 1500, "not_found": 500}, 2100, 165_000_000, under_way=48, hosts_waiting=7)
    >>> fetch_line(FetchProgress(work, 120.5, 13_300_000.0, workers=2))
    '120 images/s, 13.3 MB/s, 1,500 images, 75.0 % of URLs (not_found 500), 48 under way, 7 hosts waiting'
    """
    work = progress.work
    failures = ", ".join(f"{name} {number:,}" for name, number in progress.failures(_FAILURES).items())
    said = [
        f"{progress.images_per_s:.3g} images/s",
        f"{progress.bytes_per_s / 1e6:.3g} MB/s",
        f"{work.images:,} images",
    ]
    said += [f"{progress.success_share:.1%}".replace("%", " %") + f" of URLs{f' ({failures})' if failures else ''}"]
    return ", ".join([*said, f"{work.under_way:,} under way", f"{work.hosts_waiting:,} hosts waiting"])
