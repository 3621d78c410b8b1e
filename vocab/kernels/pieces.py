"""What readers of compressed files give: runs of plain bytes, and word of what is damaged."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from vocab.kernels.windows import Window

_SCAN_BYTES: Final = 1 << 20
_LONGEST_MATCH: Final = 16


class Piece(NamedTuple):
    """A run of decompressed bytes; an empty one says how a stream ended, or that something there is damaged."""

    offset: int  # in the file: of the bz2 block it comes from; of other formats' stream; of plain bytes, their own
    data: bytes
    ended: bool = False
    damaged: bool = False  # cut short or corrupt; what had been decompressed before came in earlier pieces


def scan(window: Window, start: int, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where a pattern of at most 16 bytes matches at or after an offset, in order, and what matched."""
    while len(data := window.read(start, _SCAN_BYTES + _LONGEST_MATCH)):
        for found in pattern.finditer(data):
            if found.start() < _SCAN_BYTES:
                yield start + found.start(), found[0]
        if len(data) <= _SCAN_BYTES:
            return
        start += _SCAN_BYTES


def skip_padding(window: Window, offset: int) -> int | None:
    """The offset of the first byte at or after an offset that is not zero; None: there is none."""
    while data := window.read(offset, _SCAN_BYTES):
        if rest := data.lstrip(b"\0"):
            return offset + len(data) - len(rest)
        offset += len(data)
    return None
