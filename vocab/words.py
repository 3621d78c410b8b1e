"""Words of a text collection: tokens as numbers, counts as arrays, and which words are frequent enough.

In: lines of prose. Out: their tokens as numbers, with the count of every word in every form it is written in
(`TokenTable`, one per unit of a dump); and, of all units together, the words at or above a threshold, each with its
most frequent form. Where a phrase ends (`vocab.phrases`) is between the tokens: a bigram does not go on there.

Text is first cut at spaces into chunks, which are numbered; only the distinct ones are cut into phrases, and only the
distinct ones of those are normalised. That gives the same tokens as normalising the text, because no token spans a
space or the end of a phrase, and none depends on what lies beyond one.

Source: Radford et al. 2021, section 2.2 ("all words occurring at least 100 times in the English version of Wikipedia").
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.chunks import ChunkTable, look_up
from vocab.normalize import Case, normalize_column
from vocab.phrases import find_clitic_ends, split_phrases

WORD_FORMS = pa.schema(
    [
        pa.field("word", pa.string(), nullable=False),  # normalised: under case "fold" in lower case
        pa.field("form", pa.string(), nullable=False),  # as written: normalised but for its case
        pa.field("count", pa.int64(), nullable=False),
    ]
)
WORD_COUNTS = pa.schema(
    [
        pa.field("word", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),  # in all its forms
        pa.field("display", pa.string(), nullable=False),  # its most frequent form
    ]
)
WORD_SUMS = pa.schema([pa.field("word", pa.string(), nullable=False), pa.field("count", pa.int64(), nullable=False)])
TOKENS = pa.schema([pa.field("token", pa.int32(), nullable=False)])  # row of a table of word forms, or PHRASE_END

PHRASE_END = -1

_BATCH_CHARACTERS = 1 << 20  # of text that is cut into chunks at a time
_BETWEEN = "\0"  # in no token


class TokenTable(NamedTuple):
    """The tokens of some lines, in order, and how often each word occurs in each form."""

    word_forms: pa.Table  # WORD_FORMS, sorted by word and form
    tokens: npt.NDArray[np.int32]  # rows of word_forms; between phrases, and at the end of lines, one PHRASE_END


class TokenCounter:
    r"""Collects text and counts its tokens; holds distinct chunks and one number for each chunk of the text.

    >>> counter = TokenCounter()
    >>> counter.add_lines("A cat, a dog\nCat")
    >>> table = counter.count()
    >>> list(zip(*table.word_forms.to_pydict().values()))
    [('a', 'A', 1), ('a', 'a', 1), ('cat', 'Cat', 1), ('cat', 'cat', 1), ('dog', 'dog', 1)]
    >>> table.tokens.tolist()
    [0, 3, -1, 1, 4, -1, 2, -1]
    """

    def __init__(self, case: Case = "fold", clitics: str = "en") -> None:
        self._case, self._clitics = case, clitics
        self._chunks = ChunkTable()
        self._numbers: list[npt.NDArray[np.int32]] = []
        self._pending: list[str] = []
        self._num_pending = 0

    def add_lines(self, lines: str) -> None:
        """Adds text whose lines end at line breaks, or with the text."""
        if lines:
            self._pending.append(lines)
            self._num_pending += len(lines)
        if self._num_pending >= _BATCH_CHARACTERS:
            self._number_pending()

    def count(self) -> TokenTable:
        """The tokens of all text that was added."""
        self._number_pending()
        of_chunks = _tokenize_chunks(self._chunks.chunks(), self._case, self._clitics)
        numbers = np.concatenate([np.empty(0, np.int32), *self._numbers])
        tokens = look_up(numbers, of_chunks.tokens, of_chunks.starts)
        is_end = tokens == PHRASE_END
        counts = np.bincount(tokens[~is_end], minlength=of_chunks.word_forms.num_rows).astype(np.int64)
        is_again = is_end[1:] & is_end[:-1]
        tokens = tokens[~np.append(False, is_again)[: len(tokens)]]
        return TokenTable(of_chunks.word_forms.append_column("count", pa.array(counts)).cast(WORD_FORMS), tokens)

    def _number_pending(self) -> None:
        text = "\n".join([*self._pending, ""]).encode()
        self._numbers.append(self._chunks.number_chunks(text))
        self._pending, self._num_pending = [], 0


class _ChunkTokens(NamedTuple):
    """The tokens of every distinct chunk, one behind another, with PHRASE_END between its phrases."""

    word_forms: pa.Table  # word, form
    tokens: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]  # [num_chunks + 1] into tokens


def _tokenize_chunks(chunks: pa.Array, case: Case, clitics: str) -> _ChunkTokens:
    """Cuts chunks into phrases, which are fewer when they are distinct, and these into tokens."""
    of_chunks = split_phrases(chunks)
    numbered = of_chunks.flatten().dictionary_encode()
    words = _split_at_spaces(normalize_column(numbered.dictionary, case=case, clitics=clitics))
    forms = words
    if case != "sensitive":
        forms = _split_at_spaces(normalize_column(numbered.dictionary, case="sensitive", clitics=clitics))
        # Where folding changes the number of tokens (of some rare marks), a word is its own form.
        is_alike = pc.equal(pc.list_value_length(words), pc.list_value_length(forms))
        forms = pc.if_else(is_alike, forms, words)
    word_forms, rows = _number_forms(words.flatten(), forms.flatten())
    ends = words.offsets.to_numpy()
    beside_clitics = find_clitic_ends(numbered.dictionary, words, case=case, clitics=clitics)
    tokens = np.insert(rows, np.concatenate([beside_clitics.places, ends[1:]]), np.int32(PHRASE_END))
    starts = ends + np.searchsorted(beside_clitics.rows, np.arange(len(ends))) + np.arange(len(ends))
    numbers = numbered.indices.to_numpy()
    of_phrases = look_up(numbers, tokens, starts)
    # The last phrase of a chunk goes on in the next chunk.
    chunk_ends = np.append(0, np.cumsum(np.diff(starts)[numbers]))[of_chunks.offsets.to_numpy()]
    without_last = np.delete(of_phrases, chunk_ends[1:] - 1)
    return _ChunkTokens(word_forms, without_last, chunk_ends - np.arange(len(chunk_ends)))


def _number_forms(words: pa.Array, forms: pa.Array) -> tuple[pa.Table, npt.NDArray[np.int32]]:
    """The distinct pairs of a word and its form, sorted, and which one each pair is."""
    spelled = pc.binary_join_element_wise(words, forms, pa.scalar(_BETWEEN, words.type)).dictionary_encode()
    split = pc.split_pattern(spelled.dictionary, _BETWEEN).flatten()
    distinct = pa.table([split[::2], split[1::2]], ["word", "form"])
    order = pc.sort_indices(distinct, [("word", "ascending"), ("form", "ascending")])
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return distinct.take(order), rank[spelled.indices.to_numpy()]


def _split_at_spaces(texts: pa.Array) -> pa.ListArray:
    """The tokens of normalised texts; an empty text has none."""
    tokens = pc.split_pattern(texts, " ")
    return pc.if_else(pc.equal(texts, ""), pa.scalar([], tokens.type), tokens)


def sum_forms(word_forms: pa.Table) -> pa.Table:
    """The counts of words in all their forms: WORD_SUMS, in any order."""
    sums = word_forms.group_by("word").aggregate([("count", "sum")])
    return pa.table([sums["word"], sums["count_sum"]], schema=WORD_SUMS)


def have_letters(words: pa.Array) -> pa.Array:
    """Which words have a letter; what has none is a number, and no query by itself.

    >>> have_letters(pa.array(["747", "a4", "½", "\u4e8c"])).to_pylist()
    [False, True, False, True]
    """
    return pc.match_substring_regex(words, r"\p{L}")


def select_words(
    word_forms: pa.Table, *, min_count: int, numbers: Iterable[str] = (), all_numbers: bool = False
) -> pa.Table:
    """The words that are frequent enough, each with its most frequent form.

    Args:
        word_forms: WORD_FORMS of the whole collection, in any order.
        min_count: Least occurrences.
        numbers: Words that are taken besides, however rare.
        all_numbers: Whether frequent words without a letter are taken as well.

    Returns:
        WORD_COUNTS, sorted by word. Of forms that are equally frequent, the first in the order of the alphabet.
    """
    besides = pa.array(sorted(numbers), pa.string())
    sums = sum_forms(word_forms)
    is_frequent = pc.greater_equal(sums["count"], min_count)
    if not all_numbers:
        is_frequent = pc.and_(is_frequent, have_letters(sums["word"]))
    kept = sums.filter(pc.or_(is_frequent, pc.is_in(sums["word"], besides))).sort_by("word")
    forms = word_forms.filter(pc.is_in(word_forms["word"], kept["word"].combine_chunks()))
    forms = forms.sort_by([("word", "ascending"), ("count", "descending"), ("form", "ascending")])
    words = forms["word"].combine_chunks()
    is_best = np.ones(len(words), np.bool_)
    is_best[1:] = pc.not_equal(words[1:], words[:-1]).to_numpy(zero_copy_only=False)
    counted = pa.table([kept["word"], kept["count"], forms["form"].filter(pa.array(is_best))], schema=WORD_COUNTS)
    never = besides.filter(pc.invert(pc.is_in(besides, kept["word"].combine_chunks())))
    uncounted = pa.table([never, pa.array(np.zeros(len(never), np.int64)), never], schema=WORD_COUNTS)
    return pa.concat_tables([counted, uncounted]).sort_by("word")
