"""Matching compiled by numba: one walk over the bytes of a whole column.

In: a column of texts and a table (`vocab.matcher_table`). Out: for each text the queries it holds.

Most texts are normalised on the way, byte by byte (`vocab.normalize.ByteRules`); the others come normalised, in a
second column. A block of texts is first cut into the hashes of its tokens; then all tokens are looked up; then all
pairs whose first begins a longer query, as far as the bitmap lets them pass; and then, text by text, the few longer
runs. Looking up many at once, the processor waits for several places of the table at a time.

The machine code is kept beside this file, or in the user's cache where that cannot be written, and made once for a
machine: `compile_kernel`.

Source: numba's documentation, "Notes on caching".
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import types

from vocab.matcher_numpy import cut_blocks
from vocab.matcher_table import BYTE_VALUES, TOKEN_MULTIPLIER, Bytes, Hashes, Ints, Matches, PrefixTable
from vocab.normalize import ALONE, QUOTE, WORD, ByteRules, Normalization

_BLOCK_TOKENS = 2048  # worked on together: their hashes and values should stay in the nearest cache
_NORMALIZE_BYTES = 1 << 20  # of texts normalised together
_IDS_PER_TEXT = 8  # room made at first
_FEW_IDS = 64  # of a text that are sorted by counting for each the smaller ones

_Ids = npt.NDArray[np.int32]


class _Texts(NamedTuple):
    """A column of UTF-8 as it lies in memory."""

    offsets: Ints  # [rows + 1]
    data: Bytes


class _ByteHashes(NamedTuple):
    """What each byte adds to its token's hash; 0 if it is no part of one."""

    word: Hashes  # [256]
    special: Hashes  # [256] what an apostrophe adds between two bytes of a word, or punctuation to its own token


class _Table(NamedTuple):
    """The fields of `PrefixTable` that looking up needs."""

    multiplier: np.uint64
    slots: Hashes
    home_shift: np.uint64
    value_bits: np.uint64
    longer: Bytes
    longer_shift: np.uint64


class _Block(NamedTuple):
    """Room for the tokens of a block of texts."""

    hashes: Hashes
    values: Hashes  # of each token
    pair_values: Hashes  # of each token with the next
    candidates: Ints  # first tokens of pairs to look up


def match_column(texts: pa.Array, table: PrefixTable, normalization: Normalization) -> Matches:
    """Finds the queries of every text of a column; null counts as empty."""
    texts = pc.fill_null(texts, "")
    is_normalized = normalization.needs_characters(texts)
    blocks = cut_blocks(texts.filter(is_normalized), _NORMALIZE_BYTES)
    rules = normalization.byte_rules()
    offsets, query_ids = compile_kernel()(
        *_as_buffers(texts),
        *_hash_bytes(rules),
        rules.empty_tokens,
        is_normalized.to_numpy(zero_copy_only=False),
        *_as_buffers(pa.concat_arrays([normalization.normalize_texts(block) for block in blocks])),
        *_NORMALIZED_BYTES,
        np.uint64(table.multiplier),
        table.slots,
        np.uint64(table.home_shift),
        np.uint64(table.value_bits),
        table.longer,
        np.uint64(table.longer_shift),
    )
    return Matches(offsets, query_ids)


def _as_buffers(texts: pa.Array) -> _Texts:
    """The memory of a column without nulls."""
    if not len(texts):
        return _Texts(np.zeros(1, np.int64), np.zeros(0, np.uint8))
    _, offsets, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    places = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return _Texts(places.astype(np.int64), np.frombuffer(data or b"", np.uint8))


def _hash_bytes(rules: ByteRules) -> _ByteHashes:
    values = BYTE_VALUES[rules.becomes]
    no = np.uint64(0)
    special = np.select([rules.kinds == QUOTE, rules.kinds == ALONE], [BYTE_VALUES[ord("'")], values], no)
    return _ByteHashes(np.where(rules.kinds == WORD, values, no), special)


_NORMALIZED_BYTES = _ByteHashes(
    np.where(np.arange(256) == ord(" "), np.uint64(0), BYTE_VALUES), np.zeros(256, np.uint64)
)


# What follows is compiled. Numbers are unsigned wherever they meet a hash: mixed with signed ones they become floats.

_CLOSE = BYTE_VALUES[ord(" ")]
_TOKEN_MULTIPLIER = np.uint64(TOKEN_MULTIPLIER)
_ONE = np.uint64(1)
_compiled = numba.njit(nogil=True)


@_compiled
def _cut_words(data: Bytes, first: int, end: int, rules: _ByteHashes, multiplier: np.uint64, hashes: Hashes, num_tokens: int) -> int:
    """Appends the hashes of a text's tokens; whatever separates them is no token."""
    place = first
    while place < end:
        token = rules.word[data[place]]
        place += 1
        if token == 0:
            continue
        while place < end:
            value = rules.word[data[place]]
            if value == 0:
                value = rules.special[data[place]]
                if value == 0 or place + 1 == end or rules.word[data[place + 1]] == 0:
                    break
            token = token * multiplier + value
            place += 1
        hashes[num_tokens] = token * multiplier + _CLOSE
        num_tokens += 1
    return num_tokens


@_compiled
def _cut_at_spaces(data: Bytes, first: int, end: int, rules: _ByteHashes, multiplier: np.uint64, hashes: Hashes, num_tokens: int) -> int:
    """Appends the hashes of a text's tokens, which may be empty; every separator ends one."""
    token = np.uint64(0)
    for place in range(first, end):
        value = rules.word[data[place]]
        if value != 0:
            token = token * multiplier + value
            continue
        hashes[num_tokens] = token * multiplier + _CLOSE
        num_tokens += 1
        token = np.uint64(0)
        if rules.special[data[place]] != 0:
            hashes[num_tokens] = rules.special[data[place]] * multiplier + _CLOSE
            num_tokens += 1
    hashes[num_tokens] = token * multiplier + _CLOSE
    return num_tokens + 1


@_compiled
def _look_up(run: np.uint64, table: _Table) -> np.uint64:
    """The value of a hash, 0 where it is no key."""
    key = run << table.value_bits
    slot = run >> table.home_shift
    found = table.slots[slot]
    while found != 0:
        if (found ^ key) >> table.value_bits == 0:
            return found ^ key
        slot += _ONE
        found = table.slots[slot]
    return np.uint64(0)


@_compiled
def _may_be_longer(run: np.uint64, table: _Table) -> np.uint64:
    """1 if the bitmap has the leading bits of the hash of several tokens, else 0."""
    bit = run >> table.longer_shift
    return np.uint64(table.longer[bit >> np.uint64(3)] >> (bit & np.uint64(7))) & _ONE


@_compiled
def _look_up_block(block: _Block, row_ends: Ints, table: _Table) -> None:
    """Looks up every token and every pair that may be a key."""
    hashes, values, num_tokens = block.hashes, block.values, row_ends[-1]
    for token in range(num_tokens):
        values[token] = _look_up(hashes[token], table)
        block.pair_values[token] = 0
    for end in row_ends:
        if end:
            values[end - 1] &= ~_ONE  # a text's last token begins no longer run
    num_pairs = 0
    for token in range(num_tokens - 1):
        pair = hashes[token] * _TOKEN_MULTIPLIER + hashes[token + 1]
        block.candidates[num_pairs] = token
        num_pairs += np.int64(values[token] & _may_be_longer(pair, table))
    for token in block.candidates[:num_pairs]:
        pair = hashes[token] * _TOKEN_MULTIPLIER + hashes[token + 1]
        block.pair_values[token] = _look_up(pair, table)


@_compiled
def _collect_row(block: _Block, first: int, end: int, table: _Table, ids: _Ids, num_ids: int) -> int:
    """Appends the ids of the queries among a text's tokens; gives -1 where there is no room for them."""
    for token in range(first, end):
        if num_ids + 2 > ids.size:
            return -1
        value = block.values[token]
        ids[num_ids] = np.int64(value >> _ONE) - 1
        num_ids += value > _ONE
        value = block.pair_values[token]
        ids[num_ids] = np.int64(value >> _ONE) - 1
        num_ids += value > _ONE
        if value & _ONE == 0:
            continue
        run = block.hashes[token] * _TOKEN_MULTIPLIER + block.hashes[token + 1]
        for last in range(token + 2, end):
            run = run * _TOKEN_MULTIPLIER + block.hashes[last]
            if _may_be_longer(run, table) == 0:
                break
            value = _look_up(run, table)
            if num_ids == ids.size:
                return -1
            ids[num_ids] = np.int64(value >> _ONE) - 1
            num_ids += value > _ONE
            if value & _ONE == 0:
                break
    return num_ids


@_compiled
def _sort_distinct(ids: _Ids, first: int, end: int, ranks: _Ids, ranked: _Ids) -> int:
    """Sorts ids[first:end], of which there are few, and drops what is there twice; returns the new end."""
    num_ids = end - first
    for place in range(num_ids):
        ranks[place] = 0
        ranked[place] = -1
    for other in range(1, num_ids):
        one = ids[first + other]
        larger = np.int32(0)
        for place in range(other):
            larger += np.int32(ids[first + place] < one)
            ranks[place] += np.int32(one < ids[first + place])
        ranks[other] = larger
    for place in range(num_ids):
        ranked[ranks[place]] = ids[first + place]
    for place in range(num_ids):
        ids[first] = ranked[place]
        first += ranked[place] >= 0
    return first


@_compiled
def _sort_many_distinct(ids: _Ids, first: int, end: int) -> int:
    """The same for any number of ids."""
    ids[first:end].sort()
    kept = first
    for place in range(first, end):
        if kept == first or ids[place] != ids[kept - 1]:
            ids[kept] = ids[place]
            kept += 1
    return kept


@_compiled
def _grow(array: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    larger = np.empty(2 * array.size, array.dtype)
    larger[: array.size] = array
    return larger


@_compiled
def _make_block(num_tokens: int) -> _Block:
    room = np.empty((3, num_tokens), np.uint64)
    return _Block(room[0], room[1], room[2], np.empty(num_tokens, np.int64))


def _match_rows(
    offsets, data, word, special, empty_tokens,
    is_normalized, normalized_offsets, normalized_data, normalized_word, normalized_special,
    multiplier, slots, home_shift, value_bits, longer, longer_shift,
):
    """Finds the queries of every text; takes the records above field by field, for whose types are easier to keep."""
    texts, rules = _Texts(offsets, data), _ByteHashes(word, special)
    normalized = _Texts(normalized_offsets, normalized_data)
    normalized_rules = _ByteHashes(normalized_word, normalized_special)
    table = _Table(multiplier, slots, home_shift, value_bits, longer, longer_shift)
    num_rows = is_normalized.size
    id_offsets = np.zeros(num_rows + 1, np.int64)
    ids = np.empty(1024 + _IDS_PER_TEXT * num_rows, np.int32)
    ranks, ranked = np.empty(_FEW_IDS, np.int32), np.empty(_FEW_IDS, np.int32)
    row_ends = np.empty(_BLOCK_TOKENS, np.int64)
    block = _make_block(2 * _BLOCK_TOKENS)
    row = num_normalized = num_ids = 0
    while row < num_rows:
        first_row = row
        num_tokens = 0
        while row < num_rows and num_tokens < _BLOCK_TOKENS and row - first_row < _BLOCK_TOKENS:
            source, place = (normalized, num_normalized) if is_normalized[row] else (texts, row)
            first, end = source.offsets[place], source.offsets[place + 1]
            most = num_tokens + 2 * (end - first) + 1
            if most > block.hashes.size:
                if num_tokens:
                    break
                block = _make_block(most)
            if is_normalized[row]:
                num_tokens = _cut_words(source.data, first, end, normalized_rules, table.multiplier, block.hashes, num_tokens)
                num_normalized += 1
            elif empty_tokens:
                num_tokens = _cut_at_spaces(source.data, first, end, rules, table.multiplier, block.hashes, num_tokens)
            else:
                num_tokens = _cut_words(source.data, first, end, rules, table.multiplier, block.hashes, num_tokens)
            row_ends[row - first_row] = num_tokens
            row += 1
        _look_up_block(block, row_ends[: row - first_row], table)
        first_token = 0
        for place in range(row - first_row):
            end_id = _collect_row(block, first_token, row_ends[place], table, ids, num_ids)
            while end_id < 0:
                ids = _grow(ids)
                end_id = _collect_row(block, first_token, row_ends[place], table, ids, num_ids)
            first_token = row_ends[place]
            if end_id - num_ids > _FEW_IDS:
                num_ids = _sort_many_distinct(ids, num_ids, end_id)
            else:
                num_ids = _sort_distinct(ids, num_ids, end_id, ranks, ranked)
            id_offsets[first_row + place + 1] = num_ids
    return id_offsets, ids[:num_ids]


def _read_only(kind: types.Type) -> types.Type:
    return types.Array(kind, 1, "C", readonly=True)


@functools.cache
def compile_kernel() -> Callable[..., tuple[Ints, _Ids]]:
    """The compiled walk: from the machine's cache, or made (some seconds) and put there."""
    numbers, data, hashes = _read_only(types.int64), _read_only(types.uint8), _read_only(types.uint64)
    texts, rules, number = (numbers, data), (hashes, hashes), types.uint64
    result = types.Tuple((types.int64[::1], types.int32[::1]))
    signature = result(
        *texts, *rules, types.boolean, _read_only(types.boolean), *texts, *rules,
        number, hashes, number, number, data, number,
    )  # fmt: skip
    return numba.njit(signature, cache=True, nogil=True)(_match_rows)
