"""Text cut at spaces into chunks, and the chunks numbered: the loop over every byte of a dump's prose, compiled.

In: text in UTF-8. Out: the number of every chunk in it, in order; a line break is a chunk of its own, number 0. Equal
chunks have equal numbers, in the order in which they are first met.

Where nothing can be compiled (`vocab.kernels.standalone`), Arrow and numpy do the same, slower.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.standalone import Array, standalone

_SPACE, _NEWLINE = 0x20, 0x0A
_FIRST_SLOTS = 1 << 16
_HASH_SEED, _HASH_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
_HALF, _LOWER_HALF, _ONE = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(1)

_BYTES, _INT32S, _INT64S, _UINT64S = (Array(np.dtype(kind), 1) for kind in (np.uint8, np.int32, np.int64, np.uint64))

_Bytes = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[np.int32]
_Offsets = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]


class ChunkTable:
    r"""Numbers chunks; memory goes with the distinct ones.

    >>> table = ChunkTable()
    >>> table.number_chunks("a b,\na".encode()).tolist(), table.number_chunks(b"c  b,").tolist()
    ([1, 2, 0, 1], [3, 2])
    >>> table.chunks().to_pylist()
    ['\n', 'a', 'b,', 'c']
    """

    def __init__(self) -> None:
        self._table = _empty_table(_FIRST_SLOTS)
        self._num_chunks = 0
        self._by_arrow = pa.array(["\n"], pa.large_string()) if _number_chunks.find_obstacle() else None
        if self._by_arrow is None:
            self.number_chunks(b"\n")

    def number_chunks(self, text: bytes) -> _Numbers:
        """The numbers of the chunks of a text; new ones are added."""
        if self._by_arrow is not None:
            self._by_arrow, numbers = _number_by_arrow(text, self._by_arrow)
            return numbers
        data = np.frombuffer(text, np.uint8)
        numbers = np.empty(len(data), np.int32)
        state = np.array([0, 0, self._num_chunks])
        while True:
            _number_chunks(data, numbers, *self._table, state)
            position, num_numbers, self._num_chunks = state.tolist()
            if position == len(data):
                return numbers[:num_numbers].copy()
            self._table = _double_table(self._table, self._num_chunks, room=len(data) - position)

    def chunks(self) -> pa.Array:
        """All chunks, large_string; the number of one is its row."""
        if self._by_arrow is not None:
            return self._by_arrow
        ends = self._table.ends[: self._num_chunks + 1].copy()
        spelled = self._table.spelled[: ends[-1]].copy()
        return pa.LargeStringArray.from_buffers(self._num_chunks, pa.py_buffer(ends), pa.py_buffer(spelled))


def look_up(numbers: _Numbers, values: _Numbers, starts: _Offsets) -> _Numbers:
    """The values of each chunk of a row, one behind another.

    Args:
        numbers: The chunks.
        values: Those of chunk 0, then those of chunk 1, and so on.
        starts: [num_chunks + 1] into `values`.

    >>> numbers, values = np.array([2, 0, 2], np.int32), np.array([5, 7, 8], np.int32)
    >>> look_up(numbers, values, np.array([0, 1, 1, 3])).tolist()
    [7, 8, 5, 7, 8]
    """
    sizes = np.diff(starts)[numbers]
    found = np.empty(sizes.sum(), np.int32)
    if _look_up.find_obstacle():
        before = np.cumsum(sizes) - sizes
        found[:] = values[np.arange(len(found)) + np.repeat(starts[numbers] - before, sizes)]
    else:
        _look_up(numbers, values, starts, found)
    return found


def load_kernels() -> None:
    """Loads the machine code, for this process and those that are forked from it; makes it where there is none."""
    for kernel in (_number_chunks, _fill_slots, _look_up):
        kernel.find_obstacle()


class _Table(NamedTuple):
    slots: _Hashes  # a power of two of them: upper half of a chunk's hash, number of the chunk + 1; 0 for none
    ends: _Offsets  # [slots / 2 + 1] into spelled: chunk n lies from ends[n] to ends[n + 1]
    spelled: _Bytes


def _empty_table(num_slots: int, num_bytes: int = 1 << 20) -> _Table:
    return _Table(np.zeros(num_slots, np.uint64), np.zeros(num_slots // 2 + 1, np.int64), np.zeros(num_bytes, np.uint8))


def _double_table(table: _Table, num_chunks: int, *, room: int) -> _Table:
    """A table of twice the size, with space for a text of so many bytes to be spelled out."""
    num_bytes = int(table.ends[num_chunks])
    larger = _empty_table(2 * len(table.slots), max(2 * num_bytes, num_bytes + room))
    larger.ends[: num_chunks + 1] = table.ends[: num_chunks + 1]
    larger.spelled[:num_bytes] = table.spelled[:num_bytes]
    _fill_slots(*larger, num_chunks)
    return larger


@standalone(_BYTES, _INT32S, _UINT64S, _INT64S, _BYTES, _INT64S)
def _number_chunks(text: Any, numbers: Any, slots: Any, ends: Any, spelled: Any, state: Any) -> None:
    """Goes on from a position to the end of the text, or to the chunk for which the table has no room.

    Args:
        text: uint8.
        numbers: int32, as many as there are bytes at most.
        slots: Of the table, as the next ones.
        ends: As above.
        spelled: As above.
        state: int64 [3], the position, how many numbers there are, how many chunks the table has.
    """
    position, num_numbers, num_chunks = state
    mask = np.uint64(slots.size - 1)
    while position < text.size:
        if text[position] == _SPACE:
            position += 1
            continue
        stop, hash_ = position, _HASH_SEED
        while stop < text.size and text[stop] != _SPACE and text[stop] != _NEWLINE:
            hash_ = (hash_ ^ np.uint64(text[stop])) * _HASH_FACTOR
            stop += 1
        if stop == position:
            stop += 1  # a line break
        size = stop - position
        home = (hash_ ^ hash_ >> _HALF) & mask
        while slots[home]:
            if slots[home] >> _HALF == hash_ >> _HALF:
                start = ends[(slots[home] & _LOWER_HALF) - _ONE]
                same = 0
                if ends[slots[home] & _LOWER_HALF] - start == size:
                    while same < size and spelled[start + same] == text[position + same]:
                        same += 1
                if same == size:
                    break
            home = (home + _ONE) & mask
        if not slots[home]:
            start = ends[num_chunks]
            if num_chunks == ends.size - 1 or start + size > spelled.size:
                break
            for place in range(size):
                spelled[start + place] = text[position + place]
            num_chunks += 1
            ends[num_chunks] = start + size
            slots[home] = hash_ >> _HALF << _HALF | np.uint64(num_chunks)
        numbers[num_numbers] = np.int64(slots[home] & _LOWER_HALF) - 1
        num_numbers += 1
        position = stop
    state[0], state[1], state[2] = position, num_numbers, num_chunks


@standalone(_UINT64S, _INT64S, _BYTES, int)
def _fill_slots(slots: Any, ends: Any, spelled: Any, num_chunks: Any) -> None:
    """Puts every chunk that is spelled out into an empty table."""
    mask = np.uint64(slots.size - 1)
    for number in range(num_chunks):
        hash_ = _HASH_SEED
        for index in range(ends[number], ends[number + 1]):
            if spelled[index] != _NEWLINE:
                hash_ = (hash_ ^ np.uint64(spelled[index])) * _HASH_FACTOR
        home = (hash_ ^ hash_ >> _HALF) & mask
        while slots[home]:
            home = (home + _ONE) & mask
        slots[home] = hash_ >> _HALF << _HALF | np.uint64(number + 1)


@standalone(_INT32S, _INT32S, _INT64S, _INT32S)
def _look_up(numbers: Any, values: Any, starts: Any, found: Any) -> None:
    size = 0
    for place in range(numbers.size):
        for index in range(starts[numbers[place]], starts[numbers[place] + 1]):
            found[size] = values[index]
            size += 1


def _number_by_arrow(text: bytes, known: pa.Array) -> tuple[pa.Array, _Numbers]:
    """The chunks known now, and the numbers of those in a text."""
    spaced = pa.array([text.replace(b"\n", b" \n ").decode()], known.type)
    chunks = pc.split_pattern(spaced, " ").flatten()
    chunks = chunks.filter(pc.not_equal(chunks, ""))
    known = pa.concat_arrays([known, chunks]).unique()
    return known, pc.index_in(chunks, value_set=known).to_numpy().astype(np.int32, copy=False)
