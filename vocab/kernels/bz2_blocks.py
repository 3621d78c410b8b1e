"""Blocks of bz2 files decompressed one by one, compiled: half as fast again as the C library on a dump's streams.

In: a window on a file and the position of a block's mark in it. Out: the block's content, checked by its sum, and
where the block ends. No bytes, whatever they are, lead it out of its arrays.

Most of the time goes into walking through a permutation that does not fit into the nearest cache, so what can be done
beside that walk matters little; what can be is decoding symbols by table and moving them to the front in a register.

Source: the bzip2 file format as its library 1.0.8 reads it (blocks are "randomised" by version 0.9.0 alone: those
count as damaged); Burrows and Wheeler 1994 for the permutation.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocab.kernels.compiled import compile_kernel
from vocab.kernels.windows import SPARE_BYTES, Window

_MARK_BITS, _SUM_BITS = 48, 32
_MOST_BYTES = 900_000  # that a block holds in a stream of level 9, its runs still short
_MOST_RUN = 52  # a run of 259 bytes takes five
_BLOCK_READ_BYTES = 1_200_000  # no block is longer
_GROUP_SYMBOLS = 50
_LOOKUP_BITS = 10
_MOST_CODE_BITS = 20
_MOST_SYMBOLS = 258
_FRONT = 8  # symbols kept in one register

_Bytes = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Number = Any  # int, or one of numpy's


class _Work(NamedTuple):
    """Arrays that every block is worked on in."""

    column: _Bytes  # last column of the sorted rotations
    links: npt.NDArray[np.uint32]  # for each row the row that follows it, above a byte of the column
    rotated: _Bytes  # the block with its runs still short
    content: _Bytes
    sums: npt.NDArray[np.uint32]  # [8, 256]


class _Codes(NamedTuple):
    """Huffman codes of a block, [6, ...] one row a table."""

    lookup: npt.NDArray[np.uint16]  # [6 << _LOOKUP_BITS] symbol << 5 | bits of a short code by its first bits
    limits: _Ints  # [6, 22] codes of so many bits are below
    bases: _Ints  # [6, 22] what leads from a code to its place in the order of codes
    ordered: npt.NDArray[np.uint16]  # [6, 258] symbols in the order of their codes


class _Head(NamedTuple):
    position: int  # in bits; -1: damaged
    num_symbols: int
    num_choices: int


class Block(NamedTuple):
    """A sound block."""

    content: bytes
    stop: int  # position behind it, in bits


class BlockReader:
    """Decompresses blocks of a bz2 file, each by itself."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._work = _Work(
            np.empty(_MOST_BYTES, np.uint8),
            np.zeros(_MOST_BYTES, np.uint32),
            np.empty(_MOST_BYTES, np.uint8),
            np.empty(_MOST_RUN * _MOST_BYTES, np.uint8),
            _sum_tables(),
        )

    def read_block(self, position: int) -> Block | None:
        """Decompresses the block whose mark is at a position.

        Args:
            position: In bits from the start of the file.

        Returns:
            None when it is damaged or cut short.
        """
        data = self._window.view(position >> 3, _BLOCK_READ_BYTES)
        bit, end = position & 7, 8 * (len(data) - SPARE_BYTES)
        behind_sum = bit + _MARK_BITS + _SUM_BITS
        if behind_sum > end:
            return None
        used, size, found = _decode_block(data, behind_sum, end, _MOST_BYTES, self._work)
        if used < 0 or found != _take(data, bit + _MARK_BITS, _SUM_BITS):
            return None
        return Block(self._work.content[:size].tobytes(), position - bit + used)


def _sum_tables() -> npt.NDArray[np.uint32]:
    """The checksum of each byte with 0 to 7 zero bytes behind it: CRC-32, highest bit first."""
    sums = np.zeros((8, 256), np.uint32)
    sums[0] = np.arange(256, dtype=np.uint32) << np.uint32(24)
    for _ in range(8):
        sums[0] = (sums[0] << np.uint32(1)) ^ np.where(sums[0] >> np.uint32(31), np.uint32(0x04C11DB7), np.uint32(0))
    for row in range(1, 8):
        sums[row] = (sums[row - 1] << np.uint32(8)) ^ sums[0][sums[row - 1] >> np.uint32(24)]
    return sums


@compile_kernel
def _take(data: _Bytes, position: int, num_bits: int) -> int:
    """Up to 32 bits from a position in bits."""
    start = position >> 3
    word: _Number = 0
    for index in range(5):
        word = word << 8 | np.int64(data[start + index])
    return word >> (40 - (position & 7) - num_bits) & ((1 << num_bits) - 1)


@compile_kernel
def _decode_block(data: _Bytes, position: int, end: int, most: int, work: _Work) -> tuple[int, int, int]:
    """Decodes a block from behind its checksum into `work.content`.

    Returns:
        Position behind it in bits, or -1 if it is damaged; bytes of content; their checksum.
    """
    origin = _take(data, position + 1, 24)
    is_randomised = _take(data, position, 1)
    used = np.zeros(256, np.uint8)
    choices = np.zeros(1 << 15, np.uint8)
    codes = _Codes(
        np.zeros(6 << _LOOKUP_BITS, np.uint16),
        np.zeros((6, 22), np.int64),
        np.zeros((6, 22), np.int64),
        np.zeros((6, _MOST_SYMBOLS), np.uint16),
    )
    head = _read_head(data, position + 25, end, used, choices, codes)
    if head.position < 0 or is_randomised:
        return -1, 0, 0
    counts = np.zeros(256, np.int64)
    position, size = _read_symbols(data, head, end, most, used, choices, codes, work.column, counts)
    if position < 0 or origin >= size:
        return -1, 0, 0
    _walk(work, size, origin, counts)
    size = _lengthen_runs(work.rotated, size, work.content)
    return position, size, _checksum(work.content, size, work.sums)


@compile_kernel
def _read_head(data: _Bytes, position: int, end: int, used: _Bytes, choices: _Bytes, codes: _Codes) -> _Head:
    """Reads which bytes are used, which table codes each group of symbols, and the tables."""
    damaged = _Head(-1, 0, 0)
    rows, num_used = _take(data, position, 16), 0
    position += 16
    for row in range(16):
        if rows >> (15 - row) & 1:
            columns = _take(data, position, 16)
            position += 16
            for column in range(16):
                if columns >> (15 - column) & 1:
                    used[num_used] = 16 * row + column
                    num_used += 1
    num_tables, num_choices = _take(data, position, 3), _take(data, position + 3, 15)
    position += 18
    if num_used == 0 or num_tables < 2 or num_tables > 6 or num_choices < 1:
        return damaged
    recent = np.arange(6)
    for index in range(num_choices):
        place = 0
        while _take(data, position, 1):
            position += 1
            place += 1
            if place == num_tables:
                return damaged
        position += 1
        if position >= end:
            return damaged
        choice = recent[place]
        recent[1 : place + 1] = recent[:place].copy()
        recent[0] = choice
        choices[index] = choice
    lengths = np.zeros(_MOST_SYMBOLS, np.int64)
    for table in range(num_tables):
        length = _take(data, position, 5)
        position += 5
        for symbol in range(num_used + 2):
            while _take(data, position, 1):
                length += 1 - 2 * _take(data, position + 1, 1)
                position += 2
                if length < 1 or length > _MOST_CODE_BITS or position >= end:
                    return damaged
            position += 1
            lengths[symbol] = length
            if length < 1 or length > _MOST_CODE_BITS or position >= end:
                return damaged
        _assign_codes(lengths[: num_used + 2], table, codes)
    return _Head(position, num_used + 2, num_choices)


@compile_kernel
def _assign_codes(lengths: _Ints, table: int, codes: _Codes) -> None:
    """Gives each symbol its canonical code: shorter ones first, then by symbol."""
    code, place = 0, 0
    for length in range(1, _MOST_CODE_BITS + 1):
        codes.bases[table, length] = place - code
        for symbol in range(len(lengths)):
            if lengths[symbol] == length:
                codes.ordered[table, place] = symbol
                if length <= _LOOKUP_BITS:
                    spare = _LOOKUP_BITS - length
                    stop = min((code + 1) << spare, 1 << _LOOKUP_BITS)
                    for first_bits in range(code << spare, stop):
                        codes.lookup[(table << _LOOKUP_BITS) + first_bits] = symbol << 5 | length
                place += 1
                code += 1
        codes.limits[table, length] = code
        code <<= 1


@compile_kernel
def _read_symbols(
    data: _Bytes,
    head: _Head,
    end: int,
    most: int,
    order: _Bytes,
    choices: _Bytes,
    codes: _Codes,
    column: _Bytes,
    counts: _Ints,
) -> tuple[int, int]:
    """Reads symbols to the end of the block, moves bytes to the front, and counts them.

    Returns:
        Position behind the block in bits, or -1 if it is damaged; bytes of the column.
    """
    byte, low_mask = np.uint64(8), np.uint64(255)
    front = np.uint64(0)  # the first eight of the order, the very first one lowest
    for index in range(_FRONT):
        front |= np.uint64(order[index]) << np.uint64(8 * index)
    place = head.position >> 3
    bits = np.uint64(_take(data, 8 * place, 32))
    num_bits = 32 - (head.position & 7)
    size, run, run_bit, group, left = 0, 0, 1, 0, 0
    table: _Number = 0
    symbol: _Number = 0
    length: _Number = 0
    code: _Number = 0
    while True:
        if left == 0:
            if group == head.num_choices:
                return -1, 0
            table, left = np.int64(choices[group]), _GROUP_SYMBOLS
            group += 1
        left -= 1
        if num_bits < 32:
            if 8 * place > end:
                return -1, 0
            for index in range(4):
                bits = bits << byte | np.uint64(data[place + 4 + index])
            place += 4
            num_bits += 32
        first_bits = np.int64(bits >> np.uint64(num_bits - _LOOKUP_BITS)) & ((1 << _LOOKUP_BITS) - 1)
        found = np.int64(codes.lookup[(table << _LOOKUP_BITS) + first_bits])
        symbol, length = found >> 5, found & 31
        if length == 0:
            length = _LOOKUP_BITS
            code = first_bits
            while length <= _LOOKUP_BITS or code >= codes.limits[table, length]:
                length += 1
                if length > _MOST_CODE_BITS:
                    return -1, 0
                code = np.int64(bits >> np.uint64(num_bits - length)) & ((1 << length) - 1)
            code += codes.bases[table, length]
            if code < 0 or code >= head.num_symbols:
                return -1, 0
            symbol = np.int64(codes.ordered[table, code])
        num_bits -= length
        if symbol <= 1:
            run += run_bit << symbol
            run_bit <<= 1
            if run > most:
                return -1, 0
            continue
        if run:
            value = np.uint8(front & low_mask)
            if size + run > most:
                return -1, 0
            column[size : size + run] = value
            counts[value] += run
            size, run, run_bit = size + run, 0, 1
        if symbol == head.num_symbols - 1:
            return 8 * (place + 4) - num_bits, size
        if size == most:
            return -1, 0
        index = symbol - 1
        if index < _FRONT:
            shift = np.uint64(8 * index)
            value = np.uint8(front >> shift & low_mask)
            before = (np.uint64(1) << shift) - np.uint64(1)
            behind = ~((np.uint64(256) << shift) - np.uint64(1))
            front = front & behind | (front & before) << byte | np.uint64(value)
        else:
            value = order[index]
            while index > _FRONT:
                order[index] = order[index - 1]
                index -= 1
            order[_FRONT] = np.uint8(front >> np.uint64(56))
            front = front << byte | np.uint64(value)
        column[size] = value
        counts[value] += 1
        size += 1


@compile_kernel
def _walk(work: _Work, size: int, origin: int, counts: _Ints) -> None:
    """Undoes the Burrows-Wheeler transform of the column."""
    column, links, rotated = work.column, work.links, work.rotated
    starts = np.cumsum(counts) - counts
    for row in range(size):
        value = column[row]
        place = starts[value]
        starts[value] = place + 1
        links[place] = row << 8
    for row in range(size):
        links[row] |= column[row]
    place = np.int64(links[origin]) >> 8
    for index in range(size):
        link = np.int64(links[place])
        rotated[index] = link & 255
        place = link >> 8


@compile_kernel
def _lengthen_runs(short: _Bytes, size: int, content: _Bytes) -> int:
    """After four equal bytes, a byte tells how many more there are."""
    position, run = 0, 0
    length: _Number = 0
    last: _Number = -1
    while position < size:
        value = np.int64(short[position])
        position += 1
        content[length] = value
        length += 1
        run = run + 1 if value == last else 1
        last = value
        if run == 4 and position < size:
            more = np.int64(short[position])
            position += 1
            content[length : length + more] = np.uint8(value)
            length += more
            run, last = 0, -1
    return length


@compile_kernel
def _checksum(content: _Bytes, size: int, sums: npt.NDArray[np.uint32]) -> int:
    total: _Number = 0xFFFFFFFF
    position = 0
    while position + 8 <= size:
        for index in range(4):
            total ^= np.int64(content[position + index]) << (24 - 8 * index)
        high = sums[7, total >> 24] ^ sums[6, total >> 16 & 255] ^ sums[5, total >> 8 & 255] ^ sums[4, total & 255]
        low = sums[3, content[position + 4]] ^ sums[2, content[position + 5]]
        total = np.int64(high ^ low ^ sums[1, content[position + 6]] ^ sums[0, content[position + 7]])
        position += 8
    while position < size:
        total = (total << 8 & 0xFFFFFFFF) ^ np.int64(sums[0, total >> 24 ^ np.int64(content[position])])
        position += 1
    return total ^ 0xFFFFFFFF
