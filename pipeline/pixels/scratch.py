"""Memory that a thread uses for one picture after another.

In: a name and a number of bytes. Out: that many bytes, of the last time or new. Fresh memory comes from the system page
by page, which for a photograph takes as long as the resize.
"""

import functools
import threading
from typing import Final

import numpy as np
import numpy.typing as npt

_KEPT_BYTES: Final = 8 << 20  # of what is used again; more is for a large picture, and given back


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.known: dict[str, npt.NDArray[np.uint8]] = {}


@functools.cache
def _buffers() -> _Buffers:
    return _Buffers()


def borrow(name: str, num_bytes: int) -> npt.NDArray[np.uint8]:
    """Bytes of no particular value, until the same thread borrows by the same name.

    Args:
        name: Of the use that is made of them.
        num_bytes: How many.
    """
    if num_bytes > _KEPT_BYTES:
        return np.empty(num_bytes, np.uint8)
    known = _buffers().known
    if name not in known or len(known[name]) < num_bytes:
        known[name] = np.empty(num_bytes, np.uint8)
    return known[name][:num_bytes]
