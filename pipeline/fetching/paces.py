"""When each host, site or address may be asked again: one table for all processes of a machine.

In: the name of somebody who is asked, and when that was. Out: from when on the next request may leave. The table is a
file that processes map into memory, so a pace holds over all workers, and over a run that was killed and begun anew.
Names share slots by chance, one in thousands, and then also a pace: that is slower than need be, and never faster.
Times are seconds of the monotonic clock, which all processes of a machine share until it is started again.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import threading
from typing import Final

from pipeline.base import files

_SLOTS: Final = 1 << 20
_SLOT: Final = struct.Struct("<d")
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_LONGEST_S: Final = 30 * 86_400.0  # what lies further ahead was written by another clock


class Paces:
    """Times from when on somebody may be asked again.

    Args:
        path: Of the table; it is made if it is not there. None: a table of this process alone.
    """

    def __init__(self, path: str | None = None) -> None:
        self._lock = threading.Lock()
        self._file: int | None = None
        size = _SLOTS * _SLOT.size
        if path is None:
            self._table = mmap.mmap(-1, size)
            return
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)  # sparse: pages that nobody writes take no room
        self._table = mmap.mmap(self._file, size)

    def due(self, slot: int, now: float) -> float:
        """From when on the owner of a slot may be asked."""
        (due,) = _SLOT.unpack_from(self._table, slot * _SLOT.size)
        return due if due - now < _LONGEST_S else now

    def take(self, slot: int, now: float, pause_s: float) -> bool:
        """Takes the turn that is due, after which there is none for a pause; whether there was one."""
        with self._lock, _Region(self._file, slot):
            if self.due(slot, now) > now:
                return False
            _SLOT.pack_into(self._table, slot * _SLOT.size, now + pause_s)
            return True

    def put_off(self, slot: int, until: float) -> None:
        """Lets nobody ask before a time; an earlier one changes nothing."""
        with self._lock, _Region(self._file, slot):
            if self.due(slot, until) < until:
                _SLOT.pack_into(self._table, slot * _SLOT.size, until)

    def close(self) -> None:
        """Lets go of the table."""
        self._table.close()
        if self._file is not None:
            os.close(self._file)


class _Region:
    """A lock of one slot against other processes."""

    def __init__(self, file: int | None, slot: int) -> None:
        self._file, self._start = file, slot * _SLOT.size

    def __enter__(self) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT.size, self._start)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT.size, self._start)


def slot_of(kind: str, name: str) -> int:
    """The slot of a host, site or address.

    Args:
        kind: Which of them it is.
        name: Its name.

    >>> slot_of("host", "a.example") == slot_of("site", "a.example")
    False
    """
    return int.from_bytes(hashlib.blake2b(f"{kind} {name}".encode(), digest_size=8).digest()) % _SLOTS


def paces_path(folder: str) -> str:
    """Where the processes of this machine that fetch into a folder keep their table, until the machine starts anew."""
    boot = ""
    if os.path.exists(_BOOT_ID):
        with open(_BOOT_ID) as file:
            boot = file.read()
    place = os.path.abspath(files.local_path(folder)) if files.is_local(folder) else folder
    run = hashlib.blake2b(f"{boot} {os.getuid()} {place}".encode(), digest_size=12).hexdigest()
    return os.path.join(tempfile.gettempdir(), f"wit400m-paces-{run}")


def remove_paces(folder: str) -> None:
    """Removes the table of a folder's processes, if it is on this machine."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(paces_path(folder))
