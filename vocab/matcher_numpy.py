"""Matching with numpy alone, for where the compiled kernel cannot be used; a few times slower.

In: a column of normalised texts and a table (`vocab.matcher_table`). Out: for each text the queries it holds.

All tokens of a block of texts are looked up together; then all pairs of tokens whose first begins a longer query, then
triples, and so on.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.hashing import Ints
from vocab.matcher_table import Matches, PrefixTable, hash_runs, hash_tokens, offsets_of

_BLOCK_BYTES = 1 << 18  # of texts worked on together: their hashes, 8 bytes a character, should stay in the cache


def match_column(texts: pa.Array, table: PrefixTable, normalize: Callable[[pa.Array], pa.Array]) -> Matches:
    """Finds the queries of every text, block by block."""
    blocks = [match_block(normalize(block), table) for block in cut_blocks(texts, _BLOCK_BYTES)]
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
    return Matches(offsets_of(lengths), np.concatenate([block.query_ids for block in blocks]))


def match_block(texts: pa.Array, table: PrefixTable) -> Matches:
    """Finds the queries of normalised texts."""
    tokens = hash_tokens(texts, table.multiplier)
    runs = hash_runs(tokens.hashes)
    hit_rows: list[Ints] = []
    hit_ids: list[Ints] = []
    firsts, hashes = np.arange(tokens.hashes.size), tokens.hashes  # of the runs of `width` tokens that may be keys
    for width in itertools.count(1):
        values = table.look_up(hashes)
        hits = np.flatnonzero(values > 1)
        hit_rows.append(tokens.rows[firsts[hits]])
        hit_ids.append((values[hits] >> 1) - 1)
        firsts = firsts[values & 1 != 0]
        firsts = firsts[tokens.rows[firsts + width] == tokens.rows[firsts]]
        hashes = runs.of_runs(firsts, firsts + width + 1)
        passed = table.may_be_longer(hashes)
        firsts, hashes = firsts[passed], hashes[passed]
        if not firsts.size:
            break
    return _distinct_per_row(np.concatenate(hit_rows), np.concatenate(hit_ids), len(texts))


def cut_blocks(texts: pa.Array, num_bytes: int) -> Iterator[pa.Array]:
    """Cuts a column into blocks of about `num_bytes`; at least one, even of no text."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy())
    cuts = np.flatnonzero(np.diff(ends // num_bytes)) + 1
    for first, end in itertools.pairwise([0, *cuts.tolist(), len(texts)]):
        yield texts[first:end]


def _distinct_per_row(rows: Ints, ids: Ints, num_rows: int) -> Matches:
    found = np.sort((rows << 32) | ids)
    distinct = np.concatenate([found[:1], found[1:][found[1:] != found[:-1]]])
    lengths = np.bincount(distinct >> 32, minlength=num_rows)
    return Matches(offsets_of(lengths), (distinct & 0xFFFFFFFF).astype(np.int32))
