"""Matching compiled by numba: one walk over the bytes of a whole column, to the numbers of the queries in each text.

In: texts as they lie in memory, and the keys of all queries as arrays. Out: for each text the ids of the queries it
holds, as one flat array and offsets.

Block by block, texts are cut into the hashes of their tokens; then all tokens are looked up; then all pairs whose first
begins a longer query, as far as the bitmap lets them pass; and then, text by text, the few longer runs. Looking up many
at once, the processor waits for several places of the table at a time. Choices that it cannot foresee are avoided:
what may not count is written all the same, and written over by what comes next.

Compiled as `vocab.kernels.compiled` says; import this module only where that works. Numbers are unsigned wherever they
meet a hash: mixed with signed ones they become floats.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vocab.kernels.compiled import compile_kernel
from vocab.kernels.hashing import BYTE_VALUES, TOKEN_MULTIPLIER, Bytes, Hashes, Ints

_Ids = npt.NDArray[np.int32]

_IDS_PER_TEXT = 8  # room made at first
# Bytes that belong to no token: what they are, instead of a value.
SEPARATOR, QUOTE, SIGN, SIGN_RUN, MOST_KIND = (np.uint64(kind) for kind in (0, 1, 2, 3, 3))

_CLOSE, _APOSTROPHE = BYTE_VALUES[ord(" ")], BYTE_VALUES[ord("'")]
_TOKEN_MULTIPLIER = np.uint64(TOKEN_MULTIPLIER)
_ONE = np.uint64(1)
_BLOCK_TOKENS = 1024  # worked on together: their hashes and values should stay in the nearest caches
_FEW_IDS = 64  # of a text, sorted without a choice that the processor would have to foresee
_CLITIC_BYTES = 8  # at most
_LOWER = np.uint8(0x20)  # the bit that makes a letter of ASCII small and leaves a digit as it is
_FIRST_LETTER, _LAST_LETTER, _LAST_DIGIT = ord("a"), ord("z"), ord("9")


class TextBytes(NamedTuple):
    """A column of UTF-8 as it lies in memory, and how to read it."""

    offsets: Ints  # [rows + 1]
    data: Bytes
    values: Hashes  # [256] what each byte adds to its token's hash; up to MOST_KIND: it ends a token, or its kind
    tokens: Hashes  # [256] the hash of a byte that is a token by itself or, as a sign, stands for one; 0: it does not
    clitics: Hashes  # parts of a word that a quote cuts off: a `pack_clitics`
    empty_tokens: bool  # whether there is a token between two bytes that end one, and at either end of the text


class KeyTable(NamedTuple):
    """The keys to look up: fields of `vocab.matcher_table.PrefixTable`."""

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


def pack_clitics(before: Sequence[bytes], behind: Sequence[bytes], *, any_behind: bool) -> Hashes:
    """Clitics of at most eight bytes, in lower case, as numbers: how many there are in front, whether all are behind.

    Args:
        before: Parts of a word in front of a quote that it cuts off.
        behind: Parts behind it.
        any_behind: It cuts off all, but behind a single letter.
    """
    return np.array([len(before), any_behind, *(int.from_bytes(part) for part in (*before, *behind))], np.uint64)


@compile_kernel
def match_rows(
    texts: TextBytes, normalized: TextBytes, by_bytes: npt.NDArray[np.bool_], table: KeyTable
) -> tuple[Ints, _Ids]:
    """Finds the queries of every text.

    Args:
        texts: All of them.
        normalized: Those that are not read byte by byte, normalised, in the same order.
        by_bytes: [rows] which ones are read byte by byte.
        table: The keys.

    Returns:
        Offsets [rows + 1] into the ids, and the ids, sorted within a row.
    """
    num_rows = by_bytes.size
    id_offsets = np.zeros(num_rows + 1, np.int64)
    ids = np.empty(1024 + _IDS_PER_TEXT * num_rows, np.int32)
    room = np.empty(_FEW_IDS, np.int32)
    row_ends = np.empty(_BLOCK_TOKENS, np.int64)
    block = _make_block(2 * _BLOCK_TOKENS)
    row = num_normalized = num_ids = 0
    while row < num_rows:
        first_row = row
        num_tokens = 0
        while row < num_rows and num_tokens < _BLOCK_TOKENS and row - first_row < _BLOCK_TOKENS:
            if by_bytes[row]:
                first, end = texts.offsets[row], texts.offsets[row + 1]
            else:
                first, end = normalized.offsets[num_normalized], normalized.offsets[num_normalized + 1]
            most = num_tokens + 2 * (end - first) + 2
            if most > block.hashes.size:
                if num_tokens:
                    break
                block = _make_block(most)
            if by_bytes[row]:
                end_token = _cut_text(texts, first, end, table.multiplier, block.hashes, num_tokens)
                if end_token < 0:
                    end_token = _cut_closely(texts, first, end, table.multiplier, block.hashes, num_tokens)
            else:
                end_token = _cut_text(normalized, first, end, table.multiplier, block.hashes, num_tokens)
                num_normalized += 1
            num_tokens = end_token
            row_ends[row - first_row] = num_tokens
            row += 1
        _look_up_tokens(block, num_tokens, table)
        _look_up_pairs(block, row_ends[: row - first_row], table)
        first_token = 0
        for place in range(row - first_row):
            end_id = _collect_row(block, first_token, row_ends[place], table, ids, num_ids)
            while end_id < 0:
                ids = _grow(ids)
                end_id = _collect_row(block, first_token, row_ends[place], table, ids, num_ids)
            first_token = row_ends[place]
            if end_id - num_ids > _FEW_IDS:
                num_ids = _sort_distinct(ids, num_ids, end_id)
            else:
                num_ids = _sort_few_distinct(ids, num_ids, end_id, room)
            id_offsets[first_row + place + 1] = num_ids
    return id_offsets, ids[:num_ids].copy()


@compile_kernel
def _cut_text(texts: TextBytes, first: int, end: int, multiplier: np.uint64, hashes: Hashes, num_tokens: int) -> int:
    """Appends the hashes of a text's tokens; gives how many there are now, or -1 where a byte is no mere separator."""
    values, data = texts.values, texts.data[first:end]
    token, start = np.uint64(0), 0
    for place in range(data.size):
        byte = data[place]
        value = values[byte]
        if value > MOST_KIND:
            token = token * multiplier + value
            continue
        if value != SEPARATOR:
            return -1
        hashes[num_tokens] = token * multiplier + _CLOSE
        num_tokens += int((place > start) | texts.empty_tokens)
        hashes[num_tokens] = texts.tokens[byte]
        num_tokens += int(texts.tokens[byte] != 0)
        token, start = np.uint64(0), place + 1
    hashes[num_tokens] = token * multiplier + _CLOSE
    return num_tokens + int((data.size > start) | texts.empty_tokens)


@compile_kernel
def _cut_closely(texts: TextBytes, first: int, end: int, multiplier: np.uint64, hashes: Hashes, num_tokens: int) -> int:
    """The same for a text with quotes or signs; in a loop of its own, because the shorter one is faster."""
    values, data = texts.values, texts.data[first:end]
    token, start = np.uint64(0), 0
    for place in range(data.size):
        byte = data[place]
        value = values[byte]
        if value > MOST_KIND:
            token = token * multiplier + value
            continue
        num_alone = int(value == SEPARATOR and texts.tokens[byte] != 0)
        if value != SEPARATOR and place > start:
            num_alone = _look_closer(values, texts.clitics, data, place)
            if num_alone < 0:
                token = token * multiplier + _APOSTROPHE
                continue
        hashes[num_tokens] = token * multiplier + _CLOSE
        num_tokens += int((place > start) | texts.empty_tokens)
        for _ in range(num_alone):
            hashes[num_tokens] = texts.tokens[byte]
            num_tokens += 1
        token, start = np.uint64(0), place + 1
    hashes[num_tokens] = token * multiplier + _CLOSE
    return num_tokens + int((data.size > start) | texts.empty_tokens)


@compile_kernel
def _look_closer(values: Hashes, clitics: Hashes, data: Bytes, place: int) -> int:
    """How many tokens a quote or a sign behind a word stands for; -1: the quote belongs to the word."""
    if values[data[place]] == QUOTE:
        return -int(_belongs(values, clitics, data, place))
    return _count_signs(values, data, place)


@compile_kernel
def _belongs(values: Hashes, clitics: Hashes, data: Bytes, place: int) -> bool:
    """Whether a quote behind a byte of a word belongs to the word: another byte follows, and no clitic is there."""
    part, size = np.uint64(0), 0
    while place + 1 + size < data.size and values[data[place + 1 + size]] > MOST_KIND and size <= _CLITIC_BYTES:
        part = part << np.uint64(8) | np.uint64(data[place + 1 + size] | _LOWER)
        size += 1
    num_before = np.int64(clitics[0])
    if size == 0 or (size <= _CLITIC_BYTES and _is_among(part, clitics[2 + num_before :])):
        return False
    part, size = np.uint64(0), 0
    while size < place and values[data[place - 1 - size]] > MOST_KIND and size <= _CLITIC_BYTES:
        part |= np.uint64(data[place - 1 - size] | _LOWER) << np.uint64(8 * size)
        size += 1
    if clitics[1]:
        return size == 1 and bool(_FIRST_LETTER <= part <= _LAST_LETTER)
    return size > _CLITIC_BYTES or not _is_among(part, clitics[2 : 2 + num_before])


@compile_kernel
def _is_among(part: np.uint64, clitics: Hashes) -> bool:
    found = 0
    for clitic in clitics:
        found += int(part == clitic)
    return found > 0


@compile_kernel
def _count_signs(values: Hashes, data: Bytes, place: int) -> int:
    """How many signs behind a byte of a word stand for tokens; of a run all or none, at its first."""
    sign = data[place]
    if not _FIRST_LETTER <= data[place - 1] | _LOWER <= _LAST_LETTER:
        return 0
    after = place + 1
    if values[sign] == SIGN_RUN:
        while after < data.size and data[after] == sign:
            after += 1
    elif place > 1 and values[data[place - 2]] > MOST_KIND:
        return 0
    ends_word = after == data.size or values[data[after]] <= MOST_KIND
    return after - place if ends_word or (after > place + 1 and data[after] <= _LAST_DIGIT) else 0


@compile_kernel
def _look_up(run: np.uint64, table: KeyTable) -> np.uint64:
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


@compile_kernel
def _may_be_longer(run: np.uint64, table: KeyTable) -> np.uint64:
    """1 if the bitmap has the leading bits of the hash of several tokens, else 0."""
    bit = run >> table.longer_shift
    return np.uint64(table.longer[bit >> np.uint64(3)] >> (bit & np.uint64(7))) & _ONE


@compile_kernel
def _look_up_tokens(block: _Block, num_tokens: int, table: KeyTable) -> None:
    """Looks up every token: first, all at once, where it belongs, and then the few that may lie further on."""
    hashes, values = block.hashes, block.values
    for token in range(num_tokens):
        values[token] = table.slots[hashes[token] >> table.home_shift]
    num_rest = 0
    for token in range(num_tokens):
        found = values[token]
        differing = found ^ (hashes[token] << table.value_bits)
        is_key = differing >> table.value_bits == 0
        values[token] = differing if is_key else np.uint64(0)
        block.candidates[num_rest] = token
        num_rest += int((found != 0) & (not is_key))
    for token in block.candidates[:num_rest]:
        values[token] = _look_up(hashes[token], table)


@compile_kernel
def _look_up_pairs(block: _Block, row_ends: Ints, table: KeyTable) -> None:
    """Looks up every pair that may be a key."""
    hashes, values, num_tokens = block.hashes, block.values, row_ends[-1]
    for end in row_ends:
        if end:
            values[end - 1] &= ~_ONE  # a text's last token begins no longer run
    num_pairs = 0
    for token in range(num_tokens - 1):
        pair = hashes[token] * _TOKEN_MULTIPLIER + hashes[token + 1]
        block.candidates[num_pairs] = token
        num_pairs += int(values[token] & _may_be_longer(pair, table))
    block.pair_values[:num_tokens] = 0
    for token in block.candidates[:num_pairs]:
        pair = hashes[token] * _TOKEN_MULTIPLIER + hashes[token + 1]
        block.pair_values[token] = _look_up(pair, table)


@compile_kernel
def _collect_row(block: _Block, first: int, end: int, table: KeyTable, ids: _Ids, num_ids: int) -> int:
    """Appends the ids of the queries among a text's tokens; gives -1 where there is no room for them."""
    for token in range(first, end):
        if num_ids + 2 > ids.size:
            return -1
        value = block.values[token]
        ids[num_ids] = np.int64(value >> _ONE) - 1
        num_ids += int(value > _ONE)
        value = block.pair_values[token]
        ids[num_ids] = np.int64(value >> _ONE) - 1
        num_ids += int(value > _ONE)
        if value & _ONE == 0:
            continue
        run = block.hashes[token] * _TOKEN_MULTIPLIER + block.hashes[token + 1]
        for last in range(token + 2, end):
            run = run * _TOKEN_MULTIPLIER + block.hashes[last]
            if _may_be_longer(run, table) == 0:
                break
            value = _look_up(run, table)
            if num_ids + 2 > ids.size:
                return -1
            ids[num_ids] = np.int64(value >> _ONE) - 1
            num_ids += int(value > _ONE)
            if value & _ONE == 0:
                break
    return num_ids


@compile_kernel
def _sort_few_distinct(ids: _Ids, first: int, end: int, room: _Ids) -> int:
    """Sorts ids[first:end] and drops what is there twice; returns the new end."""
    row = ids[first:end]
    for place in range(row.size):
        larger = row[place]
        for other in range(place):
            smaller = min(room[other], larger)
            larger = max(room[other], larger)
            room[other] = smaller
        room[place] = larger
    kept, last = 0, np.int32(-1)
    for place in range(row.size):
        row[kept] = room[place]
        kept += int(room[place] != last)
        last = room[place]
    return first + kept


@compile_kernel
def _sort_distinct(ids: _Ids, first: int, end: int) -> int:
    """The same for any number of ids."""
    ids[first:end].sort()
    kept = first
    for place in range(first, end):
        if kept == first or ids[place] != ids[kept - 1]:
            ids[kept] = ids[place]
            kept += 1
    return kept


@compile_kernel
def _grow(array: _Ids) -> _Ids:
    larger = np.empty(2 * array.size, array.dtype)
    larger[: array.size] = array
    return larger


@compile_kernel
def _make_block(num_tokens: int) -> _Block:
    room = np.empty((3, num_tokens), np.uint64)
    return _Block(room[0], room[1], room[2], np.empty(num_tokens, np.int64))
