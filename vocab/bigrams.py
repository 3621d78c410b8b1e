"""Bigrams: two kept words side by side, and how much more often they meet than chance would have it.

In: the tokens of each unit of a dump (`vocab.words.TokenTable`) and the kept words. Out: for every pair of adjacent
kept words its count, its pointwise mutual information in bits, PMI = log2(c12 N / (c1 c2)), and PMI normalised to
[-1, 1], NPMI = PMI / -log2(c12 / N). N counts all tokens, also those that are no kept words, as NLTK does, and not the
places where a bigram could be: these are fewer where phrases end, by the same share for every bigram, so all would lose
the same bits. A bigram lies within one phrase (`vocab.phrases`); a word that was not kept lies between its neighbours.
Of its two words one at least has a letter.

A bigram is one 64-bit number (row of the first word, row of the second), and tables of counts are sorted by it, so
counts of any size are added up range by range.

Source: Radford et al. 2021, section 2.2 ("bigrams with high pointwise mutual information"); Church and Hanks 1990;
Bouma 2009 for NPMI.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.words import have_letters

BIGRAM_COUNTS = pa.schema(
    [pa.field("bigram", pa.uint64(), nullable=False), pa.field("count", pa.int64(), nullable=False)]
)
SCORED_BIGRAMS = pa.schema(
    [
        pa.field("bigram", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("pmi", pa.float64(), nullable=False),  # bits
        pa.field("npmi", pa.float64(), nullable=False),
    ]
)

NOT_KEPT = -1
_WORD_BITS = np.uint64(32)
_MERGE_ROWS = 1_000_000  # counts held before they are added up
_DECIMALS = 6  # the last digits of a logarithm differ between processors


class Bigrams(NamedTuple):
    """Bigrams of kept words, by the words' numbers."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def number_words(unit_words: pa.Array, kept_words: pa.Array) -> npt.NDArray[np.int32]:
    """The row of each word of a unit in the kept words, or NOT_KEPT."""
    rows = pc.fill_null(pc.index_in(unit_words, value_set=kept_words), NOT_KEPT)
    return np.asarray(rows.to_numpy(zero_copy_only=False), np.int32)


def count_bigrams(tokens: npt.NDArray[np.int32], word_numbers: npt.NDArray[np.int32]) -> pa.Table:
    """Counts the bigrams of kept words in a unit.

    Args:
        tokens: [num_tokens] rows of the unit's words, or PHRASE_END.
        word_numbers: [num_words] the number of each of the unit's words, or NOT_KEPT.

    Returns:
        BIGRAM_COUNTS, sorted by bigram.
    """
    of_tokens = np.append(word_numbers, np.int32(NOT_KEPT))[tokens]  # PHRASE_END is the last row
    both_kept = (of_tokens[:-1] != NOT_KEPT) & (of_tokens[1:] != NOT_KEPT)
    first, second = of_tokens[:-1][both_kept].astype(np.uint64), of_tokens[1:][both_kept].astype(np.uint64)
    packed, counts = np.unique((first << _WORD_BITS) | second, return_counts=True)
    return _bigram_counts(packed, counts.astype(np.int64))


def first_word_ranges(num_words: int, num_ranges: int) -> list[tuple[int, int]]:
    """Cuts the packed bigrams into ranges [low, high) by their first word, about evenly.

    >>> [(low >> 32, high >> 32) for low, high in first_word_ranges(10, 3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    cuts = [num_words * index // num_ranges << int(_WORD_BITS) for index in range(num_ranges + 1)]
    return list(pairwise(cuts))


def add_bigram_counts(tables: Iterable[pa.Table], *, min_count: int) -> pa.Table:
    """Adds up bigram counts and keeps the frequent ones, sorted by bigram."""
    packed, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(part.num_rows for part in pending) > max(_MERGE_ROWS, len(packed)):
            packed, counts = _add_up(packed, counts, pending)
            pending = []
    packed, counts = _add_up(packed, counts, pending)
    frequent = counts >= min_count
    return _bigram_counts(packed[frequent], counts[frequent])


def select_lettered(bigram_counts: pa.Table, words: pa.Array, *, least: int) -> pa.Table:
    """The bigrams of which so many words have a letter: 2 leaves no number in, 1 no two of them.

    Args:
        bigram_counts: BIGRAM_COUNTS.
        words: The kept words; a word's row is its number.
        least: 1 or 2.
    """
    bigrams = unpack_bigrams(bigram_counts)
    lettered = have_letters(words).to_numpy(zero_copy_only=False)
    numbers = lettered[bigrams.first].astype(np.int8) + lettered[bigrams.second]
    return bigram_counts.filter(pa.array(numbers >= least))


def score_bigrams(bigram_counts: pa.Table, word_counts: pa.Table, *, num_tokens: int) -> pa.Table:
    """Spells bigrams out and computes their PMI and NPMI to a millionth.

    Args:
        bigram_counts: BIGRAM_COUNTS.
        word_counts: The kept words, WORD_COUNTS; a word's row is its number.
        num_tokens: N, of the whole collection.

    Returns:
        SCORED_BIGRAMS, in the order of `bigram_counts`.
    """
    bigrams = unpack_bigrams(bigram_counts)
    together = bigrams.counts.astype(np.float64)
    alone = word_counts["count"].to_numpy().astype(np.float64)
    pmi = np.log2(together * num_tokens) - np.log2(alone[bigrams.first] * alone[bigrams.second])
    surprise = -np.log2(together / num_tokens)
    npmi = np.divide(pmi, surprise, out=np.ones_like(pmi), where=surprise > 0)
    words = word_counts["word"].combine_chunks()
    spelled = pc.binary_join_element_wise(
        words.take(pa.array(bigrams.first)), words.take(pa.array(bigrams.second)), " "
    )
    scores = [pa.array(np.round(score, _DECIMALS)) for score in (pmi, npmi)]
    return pa.table([spelled, bigram_counts["count"], *scores], schema=SCORED_BIGRAMS)


def select_bigrams(scored: pa.Table, *, rank_by: str, min_pmi: float, max_bigrams: int) -> pa.Table:
    """The best bigrams, best first; equal ones by count, then by spelling.

    Args:
        scored: SCORED_BIGRAMS.
        rank_by: "pmi" or "npmi".
        min_pmi: Least PMI in bits, whatever ranks.
        max_bigrams: How many at most.
    """
    good = scored.filter(pc.greater_equal(scored["pmi"], min_pmi))
    order = [(rank_by, "descending"), ("count", "descending"), ("bigram", "ascending")]
    return good.sort_by(order).slice(0, max_bigrams)


def unpack_bigrams(bigram_counts: pa.Table) -> Bigrams:
    """The numbers of a bigram's words, and its count."""
    packed = bigram_counts["bigram"].to_numpy()
    low_half = np.uint64((1 << int(_WORD_BITS)) - 1)
    return Bigrams(
        (packed >> _WORD_BITS).astype(np.int64),
        (packed & low_half).astype(np.int64),
        bigram_counts["count"].to_numpy(),
    )


def _bigram_counts(packed: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> pa.Table:
    return pa.table([pa.array(packed), pa.array(counts)], schema=BIGRAM_COUNTS)


def _add_up(
    packed: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64], tables: list[pa.Table]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    all_packed = np.concatenate([packed, *(table["bigram"].to_numpy() for table in tables)])
    all_counts = np.concatenate([counts, *(table["count"].to_numpy() for table in tables)])
    order = np.argsort(all_packed, kind="stable")
    all_packed = all_packed[order]
    starts = np.flatnonzero(np.r_[True, all_packed[1:] != all_packed[:-1]])[: len(all_packed)]
    return all_packed[starts], np.add.reduceat(all_counts[order], starts) if len(starts) else all_counts
