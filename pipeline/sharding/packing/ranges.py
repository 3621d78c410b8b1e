"""Places of samples in raw tars ► their bytes: each byte is read once, in order, in few requests and bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np

from pipeline.base import files
from pipeline.base.arrays import Ints

_PIECE_BYTES: Final = 4 << 20  # of one request, about
_MOST_GAP: Final = 1 << 20  # unwanted bytes that are read rather than asking once more
_AT_ONCE: Final = 16  # requests in flight, so that their latency does not add up
_MOST_HELD: Final = 64 << 20  # bytes in flight


class Piece(NamedTuple):
    """Bytes of a raw tar that are read in one request.

    Attributes:
        raw: Number of the raw tar.
        start: Its first byte.
        end: The byte behind its last.
        first: The first of its samples, a row.
        last: The row behind the last of its samples.
    """

    raw: int
    start: int
    end: int
    first: int
    last: int


def cut_pieces(raws: Ints, offsets: Ints, lengths: Ints) -> Iterator[Piece]:
    """The pieces that hold all samples of some rows, one range a raw tar unless it is long or holds a long gap.

    Args:
        raws: [rows], number of the raw tar.
        offsets: [rows], where a sample begins in it; rows are in order of raw tar and offset.
        lengths: [rows], bytes of a sample.
    """
    if not len(raws):
        return
    ends = offsets + lengths
    begins = np.ones(len(raws), bool)
    begins[1:] = (raws[1:] != raws[:-1]) | (offsets[1:] - ends[:-1] > _MOST_GAP)
    range_starts = offsets[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    places = (offsets - range_starts) // _PIECE_BYTES
    begins[1:] |= places[1:] != places[:-1]
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(raws))
    columns = (raws[firsts], offsets[firsts], np.maximum.reduceat(ends, firsts), firsts, lasts)
    yield from map(Piece._make, zip(*(column.tolist() for column in columns), strict=True))


def read_pieces(pieces: Iterable[Piece], tars: list[str]) -> Iterator[tuple[Piece, bytes]]:
    """The bytes of pieces, in their order, the next ones being read meanwhile.

    Args:
        pieces: What to read.
        tars: Paths of the raw tars, by number.

    Raises:
        OSError: When a raw tar ends before a piece does.
    """
    waiting: deque[tuple[Piece, Future[bytes]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for piece in pieces:
            while waiting and (len(waiting) == _AT_ONCE or held + piece.end - piece.start > _MOST_HELD):
                ready, data = waiting.popleft()
                held -= ready.end - ready.start
                yield ready, data.result()
            waiting.append((piece, pool.submit(_read_piece, piece, tars[piece.raw])))
            held += piece.end - piece.start
        while waiting:
            ready, data = waiting.popleft()
            yield ready, data.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_piece(piece: Piece, tar: str) -> bytes:
    data = files.read_range(tar, piece.start, piece.end - piece.start)
    if len(data) < piece.end - piece.start:
        raise OSError(f"{tar} ends before byte {piece.end}; its index says more")
    return data
