"""Whether a worker process lives, told by a file that it writes anew every few seconds.

For engines that do not notice a worker's death themselves (Beam's own job service waits for it for ever).
"""

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from pipeline.base import files

INTERVAL_S: Final = 4.0
LOST_AFTER_S: Final = 16.0  # without a beat; code that holds the interpreter for that long there is none


def start_beating(path: str, interval_s: float = INTERVAL_S) -> threading.Thread:
    """Writes a file every `interval_s` seconds as long as this process lives and nobody removes the file."""
    files.write_bytes_whole(path, b"0")
    thread = threading.Thread(target=_beat, args=(path, interval_s), name="pulse", daemon=True)
    thread.start()
    return thread


class Pulse:
    """The driver's side: whether beats still come.

    Args:
        folder: Where the worker writes, seen here too.
        clock: Gives seconds.
    """

    def __init__(self, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = files.join(folder, "_pulse", secrets.token_hex(6))
        self._clock = clock
        self._last = b""
        self._changed_at = clock()
        self._looked_at = clock()

    def is_lost(self) -> bool:
        """Whether beats have come, and have not for `LOST_AFTER_S`; looks at the file once an interval."""
        now = self._clock()
        if now - self._looked_at >= INTERVAL_S:
            self._looked_at = now
            beat = _read(self.path)
            if beat != self._last:
                self._last, self._changed_at = beat, now
        return bool(self._last) and now - self._changed_at >= LOST_AFTER_S

    def end(self) -> None:
        """Tells the worker to stop."""
        files.remove_tree(self.path)


def _beat(path: str, interval_s: float) -> None:
    beats = 0
    while True:
        time.sleep(interval_s)
        if not _read(path):
            return
        beats += 1
        files.write_bytes_whole(path, b"%d" % beats)


def _read(path: str) -> bytes:
    try:
        return files.read_bytes(path)
    except FileNotFoundError:
        return b""
