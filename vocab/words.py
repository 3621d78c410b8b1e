"""Words of a text collection: tokens as numbers, counts as arrays, and which words are frequent enough.

In: a column of lines of prose. Out: its tokens as numbers with their counts (`TokenTable`, one per unit of a dump),
and, of summed counts, the words at or above a threshold. A line is what a bigram may not leave.

Source: Radford et al. 2021, section 2.2 ("all words occurring at least 100 times in the English version of Wikipedia").
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.normalize import Case, normalize_column
from vocab.sums import add_up

WORD_COUNTS = pa.schema([pa.field("word", pa.string(), nullable=False), pa.field("count", pa.int64(), nullable=False)])
TOKENS = pa.schema([pa.field("token", pa.int32(), nullable=False)])  # row of a word-count table, or LINE_END

LINE_END = -1


class TokenTable(NamedTuple):
    """The tokens of some lines, in order, and how often each occurs."""

    word_counts: pa.Table  # WORD_COUNTS, sorted by word
    tokens: npt.NDArray[np.int32]  # rows of word_counts; LINE_END after every line


def count_tokens(lines: pa.Array, *, case: Case = "fold") -> TokenTable:
    """Tokenises lines and counts their tokens.

    >>> table = count_tokens(pa.array(["A cat, a dog", "cat"]))
    >>> table.word_counts.to_pydict()
    {'word': ['a', 'cat', 'dog'], 'count': [2, 2, 1]}
    >>> table.tokens.tolist()
    [0, 1, 0, 2, -1, 1, -1]
    """
    normalized = normalize_column(lines, case=case)
    normalized = normalized.filter(pc.not_equal(normalized, ""))
    split = pc.split_pattern(normalized, " ")
    encoded = split.flatten().dictionary_encode()
    words = encoded.dictionary.cast(pa.string())
    order = pc.sort_indices(words).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ids = rank[encoded.indices.to_numpy()]
    counts = np.bincount(ids, minlength=len(words)).astype(np.int64)
    line_ends = split.offsets.to_numpy()[1:]
    return TokenTable(
        pa.table([words.take(pa.array(order)), pa.array(counts)], schema=WORD_COUNTS),
        np.insert(ids, line_ends, np.int32(LINE_END)),
    )


def select_words(word_counts: pa.Table, *, min_count: int, numbers_below: int = 0) -> pa.Table:
    """The words that are frequent enough; what has no letter is no word.

    Args:
        word_counts: Sums over the whole collection.
        min_count: Least occurrences.
        numbers_below: The numbers from 0 to this one are taken besides, however rare (MetaCLIP: 100).

    Returns:
        Rows of `word_counts`, sorted by word.
    """
    has_letter = pc.match_substring_regex(word_counts["word"], r"\p{L}")
    frequent = word_counts.filter(pc.and_(has_letter, pc.greater_equal(word_counts["count"], min_count)))
    numbers = pa.array([str(number) for number in range(numbers_below)], pa.string())
    with_numbers = [frequent, word_counts.filter(pc.is_in(word_counts["word"], numbers)), _never_counted(numbers)]
    return add_up(with_numbers, WORD_COUNTS)


def _never_counted(words: pa.Array) -> pa.Table:
    return pa.table([words, pa.array(np.zeros(len(words), np.int64))], schema=WORD_COUNTS)
