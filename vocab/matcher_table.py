"""The table of a matcher: every query, and every beginning of one, found by a hash.

In: normalised queries. Out: two arrays, which processes map from files and share.

A token hashes to the value of the polynomial of its bytes and a closing space; a run of tokens to that of its tokens'
hashes, with another multiplier. So prefix sums give the hash of any run in a few operations (numpy), and so does going
along it once (the compiled kernel).

A key is a run of tokens that is a query or begins one. Its slot in the table is named by the leading bits of its hash,
or is the first free one after that; the slot holds the other bits and the key's value: (query id + 1) * 2, or 0 if it
is no query, plus 1 if a longer query begins with it. All keys are told apart by construction; a run that is no key
passes for one with a chance of (number of keys) / 2^64. In front of the table a bitmap, small enough for a
processor's cache, says of most runs of two or more tokens that they are no key.

Source: Karp and Rabin, "Efficient randomized pattern-matching algorithms", IBM J. Res. Dev. 31(2), 1987; Cleary,
"Compact hash tables using bidirectional linear probing", IEEE Trans. Computers C-33(9), 1984; Bloom, CACM 13(7), 1970.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.hashing import BYTE_VALUES, TOKEN_MULTIPLIER, Bytes, Hashes, Ints
from vocab.normalize import join_rows

_SPACE = ord(" ")
_BITS_PER_LONGER_KEY = 16  # of the bitmap: six in a hundred runs that are no key pass it
_NO_QUERY = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False, kw_only=True)
class PrefixTable:
    """Queries and their beginnings by hash; made by `build_table`.

    Attributes:
        multiplier: Of the polynomial over a token's bytes; odd.
        value_bits: Low bits of a slot that hold a value; the bits above are those of a hash.
        slots: 0, or what is there of a hash shifted left by `value_bits`, and a value, [slots].
        longer: A bit for each number that the leading bits of a hash can make: whether a key of several tokens has
            them, [power of two].
    """

    multiplier: int
    value_bits: int
    slots: Hashes
    longer: Bytes

    @property
    def home_shift(self) -> int:
        """By how much a hash is shifted right to give its slot."""
        return 65 - (self.slots.size - 1).bit_length()

    @property
    def longer_shift(self) -> int:
        """By how much a hash is shifted right to give its bit in `longer`."""
        return 62 - self.longer.size.bit_length()

    def look_up(self, hashes: Hashes) -> Ints:
        """The value of every hash, 0 where it is no key."""
        shift = np.uint64(self.value_bits)
        slots = (hashes >> np.uint64(self.home_shift)).astype(np.int64)
        values = np.zeros(hashes.size, np.int64)
        rest = np.arange(hashes.size)
        while rest.size:
            found = self.slots[slots[rest]]
            differing = found ^ (hashes[rest] << shift)
            is_key = (differing >> shift) == 0
            values[rest[is_key]] = differing[is_key]
            rest = rest[~is_key & (found != 0)]
            slots[rest] += 1
        return values

    def may_be_longer(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether the bitmap has the leading bits of each hash of several tokens; it has those of every key."""
        places = hashes >> np.uint64(self.longer_shift)
        held: npt.NDArray[np.bool_] = (self.longer[places >> np.uint64(3)] >> (places & np.uint64(7))) & 1 != 0
        return held


class Matches(NamedTuple):
    """The queries of many texts: row r holds query_ids[offsets[r] : offsets[r + 1]], sorted and distinct."""

    offsets: Ints  # [rows + 1]
    query_ids: npt.NDArray[np.int32]


class Tokens(NamedTuple):
    """The tokens of several texts."""

    hashes: Hashes  # [tokens]
    rows: Ints  # [tokens + 1] the text of each token, then -1
    spaces: Ints  # [tokens + 1] token t lies between spaces t and t + 1 of the buffer
    buffer: Bytes  # the texts, a space before, between and after them


class RunHashes(NamedTuple):
    """Prefix sums that give the hash of any run of some numbers: the polynomial whose coefficients they are."""

    sums: Hashes  # [numbers + 1]
    powers: Hashes

    def of_runs(self, firsts: Ints, ends: Ints) -> Hashes:
        """The hash of each run from one of `firsts` up to one of `ends`, the same wherever the run lies."""
        hashes: Hashes = (self.sums[ends] - self.sums[firsts]) * self.powers[ends]
        return hashes


def text_buffers(texts: pa.Array) -> tuple[Ints, Bytes]:
    """The memory of a string or large_string column: where each text begins and the last ends, and their bytes.

    Raises:
        ValueError: When a text would lie outside of the bytes.
    """
    if not len(texts):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offsets, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    places = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    text_bytes = np.frombuffer(data or b"", np.uint8)
    if places[0] < 0 or places[-1] > text_bytes.size or (places[1:] < places[:-1]).any():
        raise ValueError("a column of texts has offsets outside of its data")
    return places, text_bytes


def hash_tokens(texts: pa.Array, multiplier: int) -> Tokens:
    """Cuts normalised texts without nulls at their spaces."""
    buffer = np.frombuffer(join_rows(texts, " "), np.uint8)
    spaces = np.flatnonzero(buffer == _SPACE)
    row_starts = offsets_of(pc.binary_length(texts).to_numpy() + 1)[:-1]
    tokens_per_row = np.diff(np.searchsorted(spaces, row_starts), append=spaces.size - 1)
    after_spaces = spaces + 1
    return Tokens(
        hashes=hash_runs(BYTE_VALUES[buffer], multiplier).of_runs(after_spaces[:-1], after_spaces[1:]),
        rows=np.append(np.repeat(np.arange(len(texts)), tokens_per_row), -1),
        spaces=spaces,
        buffer=buffer,
    )


def hash_runs(numbers: Hashes, multiplier: int = TOKEN_MULTIPLIER) -> RunHashes:
    """Prepares the hashes of all runs of some numbers.

    >>> runs = hash_runs(np.array([5, 1, 2], np.uint64), 11)
    >>> runs.of_runs(np.array([0, 1]), np.array([2, 3])).tolist()  # 5 * 11 + 1, 1 * 11 + 2
    [56, 13]
    """
    powers, inverse_powers = _powers(multiplier, 2 << numbers.size.bit_length())
    sums = np.zeros(numbers.size + 1, np.uint64)
    np.cumsum(numbers * inverse_powers[1 : numbers.size + 1], out=sums[1:])
    return RunHashes(sums, powers)


def build_table(rows: pa.Array, ids: Ints, num_queries: int) -> PrefixTable:
    """Makes the table of normalised queries.

    Args:
        rows: The queries, none empty.
        ids: Their ids, ascending; of several equal queries the first counts.
        num_queries: More than any id.
    """
    value_bits = (2 * num_queries + 1).bit_length()
    return next(table for multiplier in _multipliers() if (table := _try_multiplier(rows, ids, value_bits, multiplier)))


def offsets_of(lengths: Ints) -> Ints:
    """Where parts of these lengths begin when they lie one after another, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _multipliers() -> Iterator[int]:
    for attempt in itertools.count():
        yield int.from_bytes(hashlib.blake2b(b"multiplier %d" % attempt, digest_size=8).digest()) | 1


@functools.lru_cache(maxsize=4)
def _powers(multiplier: int, size: int) -> tuple[Hashes, Hashes]:
    """The powers of an odd number and of its inverse, modulo 2^64."""
    bases = np.array([[multiplier], [pow(multiplier, -1, 2**64)]], np.uint64)
    powers, inverse_powers = np.repeat(bases, size, axis=1)
    powers[0] = inverse_powers[0] = 1
    return np.cumprod(powers), np.cumprod(inverse_powers)


class _Keys(NamedTuple):
    hashes: Hashes  # ascending, distinct
    values: Ints
    is_longer: npt.NDArray[np.bool_]  # of several tokens


def _try_multiplier(rows: pa.Array, ids: Ints, value_bits: int, multiplier: int) -> PrefixTable | None:
    """The table, or None if with this multiplier it cannot tell two strings apart."""
    keys = _hash_prefixes(rows, ids, multiplier)
    if keys is None:
        return None
    table = PrefixTable(
        multiplier=multiplier,
        value_bits=value_bits,
        slots=_lay_out(keys.hashes, keys.values, value_bits),
        longer=_mark_leading_bits(keys.hashes[keys.is_longer]),
    )
    return table if (table.look_up(keys.hashes) == keys.values).all() else None


def _hash_prefixes(rows: pa.Array, ids: Ints, multiplier: int) -> _Keys | None:
    """Hashes every query and every proper beginning of one; None if two different strings have the same hash."""
    tokens = hash_tokens(rows, multiplier)
    row_of_token = tokens.rows[:-1]
    lasts = np.arange(row_of_token.size)
    firsts = np.flatnonzero(np.diff(row_of_token, prepend=-1))[row_of_token]
    hashes = hash_runs(tokens.hashes).of_runs(firsts, lasts + 1)
    order = np.argsort(hashes)
    hashes = hashes[order]
    is_new = np.diff(hashes, prepend=~hashes[:1]) != 0
    if not _are_same_strings(tokens, firsts[order], lasts[order] + 1, np.flatnonzero(~is_new)):
        return None
    groups = np.flatnonzero(is_new)
    is_query = tokens.rows[1:] != row_of_token
    doubled_ids = np.where(is_query, 2 * (ids[row_of_token] + 1), _NO_QUERY)[order]
    smallest = np.minimum.reduceat(doubled_ids, groups) if groups.size else doubled_ids
    begins_longer = np.logical_or.reduceat(~is_query[order], groups) if groups.size else is_query
    return _Keys(
        hashes=hashes[groups],
        values=np.where(smallest == _NO_QUERY, 0, smallest) + begins_longer,
        is_longer=(lasts > firsts)[order][groups],
    )


def _are_same_strings(tokens: Tokens, firsts: Ints, ends: Ints, again: Ints) -> bool:
    """Whether each run of tokens listed in `again` spells the same as the run before it."""
    starts = tokens.spaces[firsts]
    lengths = tokens.spaces[ends] - starts
    if (lengths[again] != lengths[again - 1]).any():
        return False
    within = np.arange(lengths[again].sum()) - np.repeat(offsets_of(lengths[again])[:-1], lengths[again])
    one, other = (tokens.buffer[np.repeat(starts[which], lengths[again]) + within] for which in (again, again - 1))
    return bool((one == other).all())


def _lay_out(hashes: Hashes, values: Ints, value_bits: int) -> Hashes:
    """Places ascending hashes in a table at most half full: each in its home slot or the first free one after it."""
    home_bits = max(1, (2 * hashes.size).bit_length())
    homes = (hashes >> np.uint64(64 - home_bits)).astype(np.int64)
    order = np.arange(hashes.size)
    places = order + np.maximum.accumulate(homes - order)
    num_slots = max(1 << home_bits, places.max(initial=0) + 1) + 1  # the last stays free and ends every search
    slots = np.zeros(num_slots, np.uint64)
    slots[places] = (hashes << np.uint64(value_bits)) | values.astype(np.uint64)
    return slots


def _mark_leading_bits(hashes: Hashes) -> Bytes:
    bits = max(3, (_BITS_PER_LONGER_KEY * hashes.size - 1).bit_length())
    marks = np.zeros(1 << bits, np.uint8)
    marks[hashes >> np.uint64(64 - bits)] = 1
    return np.packbits(marks, bitorder="little")
