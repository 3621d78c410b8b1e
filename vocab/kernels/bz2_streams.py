"""bz2 files as rows of blocks, entered at any of them, and read past those that are damaged.

In: a window on a bz2 file, an offset. Out: `Piece`s, a block each.

A bz2 file is a row of streams, a stream a row of blocks, and a block can be decompressed alone: it begins with 48 bits
that mark it, at any bit of a byte, and the sum that follows them vouches for its content. So any file can be entered
anywhere, one stream or many, and a damaged block costs its own content and nothing else. The sum of a whole stream
says nothing more, and is not looked at.

Source: the bzip2 file format as its library 1.0.8 writes it.
"""

import bz2
import functools
import re
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from vocab.kernels.pieces import Piece, scan, skip_padding
from vocab.kernels.windows import Window

_BLOCK_MARK, _END_MARK = 0x314159265359, 0x177245385090
_MARK_BITS, _SUM_BITS = 48, 32
_HEADER = re.compile(rb"BZh[1-9]")
_HEADER_BYTES = 4
_BLOCK_BITS = 8 * 1_200_000  # no block is longer


class _Place(NamedTuple):
    """Where a block begins, or a stream that has none."""

    offset: int  # of a stream's first block, that of the stream
    position: int  # of its mark, in bits


class _Block(NamedTuple):
    content: bytes
    stop: int  # position behind it, in bits


_ReadBlock = Callable[[int], _Block | None]


def read_bz2(window: Window, start: int) -> Iterator[Piece]:
    """Reads on from an offset to the end of the file.

    Every block and every empty stream has an offset; how a stream ends, and whatever is damaged, has that of the last
    block that was found before. So readers that begin at different offsets tell the same of the same places.
    """
    read_block = _block_reader(window)
    place = _find_place(window, start)
    if start == 0 and (place is None or place.offset):
        yield Piece(0, b"", ended=True, damaged=True)
    while place is not None:
        place = yield from _read_stream(window, read_block, place)


def _read_stream(window: Window, read_block: _ReadBlock, place: _Place) -> Generator[Piece, None, _Place | None]:
    """Reads the blocks from a place to the end of the stream; returns where the next stream or sound part begins."""
    offset, position = place
    while (mark := _read_bits(window, position, _MARK_BITS)) == _BLOCK_MARK:
        offset = place.offset if position == place.position else position >> 3
        block = read_block(position)
        if block is None:
            break
        yield Piece(offset, block.content)
        position = block.stop
    stop = position + _MARK_BITS + _SUM_BITS + 7 >> 3
    if mark == _END_MARK and window.read(stop - 1, 1):
        yield Piece(offset, b"", ended=True)
        behind = skip_padding(window, stop)
        if behind is None:
            return None
        if _HEADER.match(window.read(behind, _HEADER_BYTES)) and _is_mark(window, 8 * (behind + _HEADER_BYTES)):
            return _Place(behind, 8 * (behind + _HEADER_BYTES))
    yield Piece(offset, b"", ended=True, damaged=True)
    return _find_place(window, position >> 3, after=position)


def _find_place(window: Window, start: int, after: int = -1) -> _Place | None:
    """The first place at or after an offset whose mark is after a position."""
    for position in _find_marks(window, start):
        offset = position >> 3
        header = offset - _HEADER_BYTES
        if not position & 7 and header >= 0 and _HEADER.match(window.read(header, _HEADER_BYTES)):
            offset = header
        elif _read_bits(window, position, _MARK_BITS) == _END_MARK:
            continue  # of a stream whose blocks are before
        if position > after and offset >= start:
            return _Place(offset, position)
    return None


def _find_marks(window: Window, start: int) -> Iterator[int]:
    """The positions of all marks from an offset, in order; chance makes one in 10^14 bits."""
    pattern, bits_before = _mark_pattern()
    for offset, found in scan(window, start, pattern):
        position = 8 * offset - bits_before[found]
        if position >= 0 and _is_mark(window, position):
            yield position


@functools.cache
def _mark_pattern() -> tuple[re.Pattern[bytes], dict[bytes, int]]:
    """What finds the whole bytes of a mark that begins at any bit, and how many bits of it are before them."""
    shifts = {
        (mark >> 8 - before & 0xFFFFFFFFFF).to_bytes(5): before
        for mark in (_BLOCK_MARK, _END_MARK)
        for before in range(8)
    }
    return re.compile(b"|".join(map(re.escape, shifts))), shifts


def _is_mark(window: Window, position: int) -> bool:
    return _read_bits(window, position, _MARK_BITS) in (_BLOCK_MARK, _END_MARK)


def _read_bits(window: Window, position: int, num_bits: int) -> int | None:
    """Bits from a position; None when the file ends before."""
    stop = position + num_bits
    data = window.read(position >> 3, (stop + 7 >> 3) - (position >> 3))
    if 8 * ((position >> 3) + len(data)) < stop:
        return None
    return int.from_bytes(data) >> -stop % 8 & (1 << num_bits) - 1


def _block_reader(window: Window) -> _ReadBlock:
    """What decompresses the block at a position, or gives None when it is damaged."""
    from vocab.kernels.compiled import find_obstacle  # late, because it loads numba

    if find_obstacle():
        return functools.partial(_read_by_library, window)
    from vocab.kernels.bz2_blocks import BlockReader

    reader = BlockReader(window)

    def read_block(position: int) -> _Block | None:
        found = reader.read_block(position)
        return found and _Block(*found)

    return read_block


def _read_by_library(window: Window, position: int) -> _Block | None:
    """Does what `bz2_blocks` does, but needs the mark behind the block: where that is lost, so is the block."""
    marks = (mark for mark in _find_marks(window, position >> 3) if mark > position)
    stop = next(marks, None)
    if stop is None or stop - position > _BLOCK_BITS:
        return None
    bits = _read_bits(window, position, stop - position) or 0
    checksum = _read_bits(window, position + _MARK_BITS, _SUM_BITS) or 0
    stream = (bits << _MARK_BITS | _END_MARK) << _SUM_BITS | checksum  # of one block: its sum is that of the stream
    num_bits = stop - position + _MARK_BITS + _SUM_BITS
    try:
        content = bz2.decompress(b"BZh9" + (stream << -num_bits % 8).to_bytes(num_bits + 7 >> 3))
    except (OSError, ValueError):
        return None
    return _Block(content, stop)
