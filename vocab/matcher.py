"""Finds every query in every text of a column at once.

In: a list of queries, compiled once into a hash table; then columns of texts. Out: for each text the sorted ids of the
queries it contains, whole tokens only: `" query " in " text "` on the normalised strings (`vocab.normalize`).

The texts of a block are joined into one buffer. A rolling polynomial hash with prefix sums gives the hash of any run of
tokens in a few operations, so all tokens of the block are looked up together; then all pairs of tokens whose first
begins a longer query, then triples, and so on. The table holds every query and every proper prefix of a query that ends
with a token. Its keys are 64-bit hashes, distinct by construction; a run of tokens that is no query passes for
one with a chance of (number of queries) / 2^64.

The table lies in two .npy files that processes map into memory and share.

Source: Karp and Rabin, "Efficient randomized pattern-matching algorithms", IBM J. Res. Dev. 31(2), 1987; Amble and
Knuth, "Ordered hash tables", Computer Journal 17(2), 1974.
"""

import functools
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.normalize import Normalization, join_rows

META_NAME, KEYS_NAME, VALUES_NAME = "matcher.json", "keys.npy", "values.npy"

_FORMAT = 1
_BLOCK_BYTES = 1 << 18  # of texts worked on together: their hashes, 8 bytes a character, should stay in the cache
_NO_KEY = np.uint64(2**64 - 1)
_SPACE = ord(" ")

_Hashes = npt.NDArray[np.uint64]
_Ints = npt.NDArray[np.int64]


class Matches(NamedTuple):
    """The queries of many texts: row r holds query_ids[offsets[r] : offsets[r + 1]], sorted and distinct."""

    offsets: _Ints  # [rows + 1]
    query_ids: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Matcher:
    """A compiled list of queries; made by `compile_matcher` or `Matcher.load`.

    Attributes:
        normalization: What queries and texts go through before they are compared.
        num_queries: How many queries were compiled; ids are positions in their list.
        digest: Identifies the queries and the normalisation.
        multiplier: Of the rolling hash.
        keys: Hashes in ascending order, each in or after the slot that its leading bits name, [slots].
        values: For each key (query id + 1) * 2, or 0 if it is no query; plus 1 if a longer query begins with it.
    """

    normalization: Normalization
    num_queries: int
    digest: str
    multiplier: int
    keys: _Hashes
    values: npt.NDArray[np.int32]

    def match_column(self, texts: pa.Array) -> Matches:
        """Finds the queries of every text; null counts as empty.

        Of several queries that are the same when normalised the first is found; a query without a token never is.
        """
        blocks = [self._match_block(block) for block in _blocks(texts)]
        lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
        return Matches(_offsets(lengths), np.concatenate([block.query_ids for block in blocks]))

    def match_text(self, text: str) -> list[int]:
        """Finds the queries of one text."""
        ids: list[int] = self.match_column(pa.array([text], pa.large_string())).query_ids.tolist()
        return ids

    def save(self, folder: str, write_bytes: Callable[[str, bytes], None]) -> None:
        """Writes the files of the matcher into a folder; `write_bytes(path, data)` writes one."""
        for name, array in ((KEYS_NAME, self.keys), (VALUES_NAME, self.values)):
            buffer = io.BytesIO()
            np.save(buffer, array)
            write_bytes(f"{folder}/{name}", buffer.getvalue())
        meta = {
            "format": _FORMAT,
            "digest": self.digest,
            "normalization": asdict(self.normalization),
            "num_queries": self.num_queries,
            "multiplier": self.multiplier,
        }
        write_bytes(f"{folder}/{META_NAME}", (json.dumps(meta, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str, local_path: Callable[[str], str] = str) -> Self:
        """Maps a saved matcher into memory.

        Args:
            folder: Where it was saved.
            local_path: Gives the path on this machine of a file in the folder.

        Raises:
            ValueError: When the files were written in another format.
        """
        with open(local_path(f"{folder}/{META_NAME}"), "rb") as file:
            meta = json.load(file)
        if meta["format"] != _FORMAT:
            raise ValueError(f"{folder}: matcher format {meta['format']}, not {_FORMAT}; compile the queries anew")
        keys, values = (np.load(local_path(f"{folder}/{name}"), mmap_mode="r") for name in (KEYS_NAME, VALUES_NAME))
        return cls(
            normalization=Normalization(**meta["normalization"]),
            num_queries=meta["num_queries"],
            digest=meta["digest"],
            multiplier=meta["multiplier"],
            keys=np.asarray(keys),
            values=np.asarray(values),
        )

    def _match_block(self, texts: pa.Array) -> Matches:
        tokens = _hash_tokens(self.normalization.normalize_texts(texts), self.multiplier)
        firsts = np.arange(tokens.num_tokens)  # of the runs of `width` tokens that may still be queries
        hit_rows: list[_Ints] = []
        hit_ids: list[_Ints] = []
        for width in itertools.count(1):
            values = self._look_up(tokens.hash_runs(firsts, firsts + width))
            hits = np.flatnonzero(values > 1)
            hit_rows.append(tokens.rows[firsts[hits]])
            hit_ids.append((values[hits] >> 1) - 1)
            firsts = firsts[values & 1 != 0]
            firsts = firsts[tokens.rows[firsts + width] == tokens.rows[firsts]]
            if not firsts.size:
                break
        return _distinct_per_row(np.concatenate(hit_rows), np.concatenate(hit_ids), len(texts))

    def _look_up(self, hashes: _Hashes) -> _Ints:
        """The value of every hash, 0 where it is no key."""
        slots = _home_slots(hashes, self.keys.size)
        keys = self.keys[slots]
        behind = np.flatnonzero(keys < hashes)
        while behind.size:
            slots[behind] += 1
            keys[behind] = self.keys[slots[behind]]
            behind = behind[keys[behind] < hashes[behind]]
        values = np.zeros(hashes.size, np.int64)
        found = np.flatnonzero(keys == hashes)
        values[found] = self.values[slots[found]]
        return values


def compile_matcher(queries: Sequence[str] | pa.Array, *, normalization: Normalization | None = None) -> Matcher:
    """Compiles a list of queries.

    >>> matcher = compile_matcher(["new york", "york", "new", "o"])
    >>> matcher.match_text("New York, New York")
    [0, 1, 2]
    """
    normalization = normalization or Normalization()
    normalized = normalization.normalize_queries(pa.array(queries, pa.large_string()))
    lengths = pc.binary_length(normalized).to_numpy()
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(normalization)]).encode())
    digest.update(lengths.tobytes() + join_rows(normalized, "\n"))
    ids = np.flatnonzero(lengths)
    rows = normalized.take(pa.array(ids))
    multiplier, (hashes, values) = next(
        (multiplier, table)
        for multiplier in _multipliers()
        if (table := _hash_prefixes(rows, ids, multiplier)) is not None
    )
    keys, slot_values = _lay_out(hashes, values)
    return Matcher(
        normalization=normalization,
        num_queries=len(normalized),
        digest=digest.hexdigest(),
        multiplier=multiplier,
        keys=keys,
        values=slot_values,
    )


class _Tokens(NamedTuple):
    """The tokens of several texts and what hashes runs of them; entry T of an array stands for the end."""

    buffer: npt.NDArray[np.uint8]  # the texts, a space before, between and after them
    spaces: _Ints  # [T + 1] positions of all spaces; token t lies between spaces t and t + 1
    rows: _Ints  # [T + 1] the text of each token, then -1
    sums: _Hashes  # [T + 1] sum over the bytes up to a space, each weighted by a power of the multiplier
    unshift: _Hashes  # [T + 1] what takes the power at a space out of such a sum

    @property
    def num_tokens(self) -> int:
        return self.spaces.size - 1

    def hash_runs(self, firsts: _Ints, ends: _Ints) -> _Hashes:
        """The hash of each run of tokens from one of `firsts` up to one of `ends`, the same wherever the run lies."""
        hashes: _Hashes = (self.sums[ends] - self.sums[firsts]) * self.unshift[firsts]
        return hashes


def _hash_tokens(texts: pa.Array, multiplier: int) -> _Tokens:
    buffer = np.frombuffer(join_rows(texts, " "), np.uint8)
    spaces = np.flatnonzero(buffer == _SPACE)
    row_starts = _offsets(pc.binary_length(texts).to_numpy() + 1)[:-1]
    tokens_per_row = np.diff(np.searchsorted(spaces, row_starts), append=spaces.size - 1)
    powers, inverse_powers = _powers(multiplier, 1 << buffer.size.bit_length())
    sums = np.cumsum(_BYTE_VALUES[buffer] * powers[: buffer.size])
    return _Tokens(
        buffer=buffer,
        spaces=spaces,
        rows=np.append(np.repeat(np.arange(len(texts)), tokens_per_row), -1),
        sums=sums[spaces],
        unshift=inverse_powers[spaces],
    )


_BYTE_VALUES = np.frombuffer(hashlib.shake_256(b"values of the 256 bytes").digest(256 * 8), "<u8")


def _multipliers() -> Iterator[int]:
    for attempt in itertools.count():
        yield int.from_bytes(hashlib.blake2b(b"multiplier %d" % attempt, digest_size=8).digest()) | 1


@functools.lru_cache(maxsize=2)
def _powers(multiplier: int, size: int) -> tuple[_Hashes, _Hashes]:
    """The powers of an odd number and of its inverse, modulo 2^64."""
    powers = np.full(size, np.uint64(multiplier))
    inverse_powers = np.full(size, np.uint64(pow(multiplier, -1, 2**64)))
    powers[0] = inverse_powers[0] = 1
    return np.cumprod(powers), np.cumprod(inverse_powers)


def _hash_prefixes(rows: pa.Array, ids: _Ints, multiplier: int) -> tuple[_Hashes, _Ints] | None:
    """Hashes every query and every proper prefix of one.

    Args:
        rows: Normalised queries, none empty.
        ids: Their query ids, ascending.
        multiplier: Of the rolling hash.

    Returns:
        The distinct hashes, ascending, and their values, or None if two different strings have the same hash.
    """
    tokens = _hash_tokens(rows, multiplier)
    row_of_token = tokens.rows[:-1]
    firsts = np.flatnonzero(np.diff(row_of_token, prepend=-1))[row_of_token]
    ends = np.arange(tokens.num_tokens) + 1
    hashes = tokens.hash_runs(firsts, ends)
    order = np.argsort(hashes)
    hashes = hashes[order]
    is_new = np.diff(hashes, prepend=~hashes[:1]) != 0
    again = np.flatnonzero(~is_new)
    if not _are_same_strings(tokens, firsts[order], ends[order], again) or _NO_KEY in hashes[-1:]:
        return None
    groups = np.flatnonzero(is_new)
    is_query = tokens.rows[ends] != row_of_token
    doubled_ids = np.where(is_query, 2 * (ids[row_of_token] + 1), np.iinfo(np.int64).max)[order]
    smallest = np.minimum.reduceat(doubled_ids, groups)
    begins_longer = np.logical_or.reduceat(~is_query[order], groups)
    return hashes[groups], np.where(smallest == np.iinfo(np.int64).max, 0, smallest) + begins_longer


def _are_same_strings(tokens: _Tokens, firsts: _Ints, ends: _Ints, again: _Ints) -> bool:
    """Whether each run of tokens listed in `again` spells the same as the run before it."""
    starts = tokens.spaces[firsts]
    lengths = tokens.spaces[ends] - starts
    if (lengths[again] != lengths[again - 1]).any():
        return False
    within = np.arange(lengths[again].sum()) - np.repeat(_offsets(lengths[again])[:-1], lengths[again])
    one, other = (tokens.buffer[np.repeat(starts[which], lengths[again]) + within] for which in (again, again - 1))
    return bool((one == other).all())


def _lay_out(hashes: _Hashes, values: _Ints) -> tuple[_Hashes, npt.NDArray[np.int32]]:
    """Places ascending hashes in a table at most half full: each in its home slot or the first free one after it."""
    num_homes = 1 << max(1, (2 * hashes.size).bit_length())
    order = np.arange(hashes.size)
    slots = order + np.maximum.accumulate(_home_slots(hashes, num_homes + 1) - order)
    num_slots = max(num_homes, slots.max(initial=0) + 1) + 1  # the last stays free and ends every search
    keys = np.full(num_slots, _NO_KEY)
    keys[slots] = hashes
    slot_values = np.zeros(num_slots, np.int32)
    slot_values[slots] = values
    return keys, slot_values


def _home_slots(hashes: _Hashes, num_slots: int) -> _Ints:
    """The leading bits of the hashes, as many as address the largest power of two below `num_slots`."""
    bits = (num_slots - 1).bit_length() - 1
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def _blocks(texts: pa.Array) -> Iterator[pa.Array]:
    """Cuts a column into blocks of about `_BLOCK_BYTES`; at least one, even of no text."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy())
    cuts = np.flatnonzero(np.diff(ends // _BLOCK_BYTES)) + 1
    for first, end in itertools.pairwise([0, *cuts.tolist(), len(texts)]):
        yield texts[first:end]


def _distinct_per_row(rows: _Ints, ids: _Ints, num_rows: int) -> Matches:
    found = np.sort((rows << 32) | ids)
    distinct = np.concatenate([found[:1], found[1:][found[1:] != found[:-1]]])
    lengths = np.bincount(distinct >> 32, minlength=num_rows)
    return Matches(_offsets(lengths), (distinct & 0xFFFFFFFF).astype(np.int32))


def _offsets(lengths: _Ints) -> _Ints:
    """Where parts of these lengths begin when they lie one after another, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
