"""A file looked at in any places, read in large steps forward: a file of a store costs one request a step.

In: a seekable binary file. Out: its bytes from any offset, as bytes or as an array.
"""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt

SPARE_BYTES = 64  # that may be read behind the end of a view, whatever they are

_STEP_BYTES = 1 << 20


class Window:
    """Holds the part of a file that was looked at last: a step, or what was asked for if that is more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0
        self._size = 0
        self._data = np.zeros(SPARE_BYTES, np.uint8)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file from an offset; fewer where it ends."""
        view = self.view(offset, size)
        return view[: len(view) - SPARE_BYTES].tobytes()

    def view(self, offset: int, size: int) -> npt.NDArray[np.uint8]:
        """The same as an array, with `SPARE_BYTES` more behind them."""
        if not self._start <= offset <= self._start + self._size:
            self._start, self._size = offset, 0
        if offset + size > self._start + self._size:
            self._go_on(offset, size)
        here = offset - self._start
        return self._data[here : min(here + size, self._size) + SPARE_BYTES]

    def _go_on(self, offset: int, size: int) -> None:
        """Forgets what is before an offset and reads on."""
        kept = self._data[offset - self._start : self._size]
        self._file.seek(self._start + self._size)
        read = self._file.read(max(size - len(kept), _STEP_BYTES))
        self._data = np.concatenate([kept, np.frombuffer(read, np.uint8), np.zeros(SPARE_BYTES, np.uint8)])
        self._start, self._size = offset, len(kept) + len(read)
