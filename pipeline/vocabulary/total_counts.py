"""Counts of units ► the words and bigrams of a whole dump: what the stage build-vocab adds up.

In: the tables of all units. Out: the kept words with their counts in the whole dump, a survey of all words, and the
frequent bigrams.

No process adds up all words or all bigrams: they are cut into ranges of their order, and a range is added up from the
rows of every unit that lie in it. The tables of units are sorted, so that Parquet reads little besides.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts, add_counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import count_rows, count_rows_each, read_batches, read_table, read_where, write_table
from pipeline.vocabulary.report.survey import WordSurvey, survey_words
from pipeline.vocabulary.unit_counts import CountTask
from vocab.bigrams import BIGRAM_COUNTS, add_bigram_counts, first_word_ranges, select_lettered
from vocab.kernels.sums import add_up_in_any_order
from vocab.words import WORD_COUNTS, WORD_FORMS, WORD_SUMS, have_letters, select_words, sum_forms

_SAMPLE_ROWS = 100_000
_RANGE_ROWS = 32_000_000  # of all units, that are added up as one range at most
_EASY_WORD_ROWS, _EASY_BIGRAM_ROWS = 1_000_000, 4_000_000  # and where that makes few ranges: a small memory
_FEW_RANGES = 16  # each looks into the tables of all units


class WordRange(NamedTuple):
    """A range of words, and where its sums go."""

    low: str  # the first
    high: str | None  # the first that is beyond it; None: it goes to the last
    sums: str  # WORD_SUMS of all words
    kept: str  # WORD_COUNTS of the frequent ones


def plan_word_ranges(tasks: Sequence[CountTask], folder: StageFolder) -> list[WordRange]:
    """Cuts the words of all units into ranges that fit into memory, where those of the largest unit are cut evenly.

    Args:
        tasks: The counted units.
        folder: Where the sums go.
    """
    paths = [task.paths.words for task in tasks]
    sizes = dict(zip(paths, count_rows_each(paths), strict=True))
    num_ranges = _num_ranges(sum(sizes.values()), _EASY_WORD_ROWS)
    lows = [""]
    if num_ranges > 1:
        words = _sample_words(max(sizes, key=lambda path: (sizes[path], path)))
        cuts = [words[len(words) * index // num_ranges] for index in range(1, num_ranges)]
        lows += sorted(set(cuts) - {""})
    return [
        WordRange(low, high, *(folder.table(f"{stem}.{kind}") for kind in ("sums", "kept")))
        for low, high in zip(lows, [*lows[1:], None], strict=True)
        for stem in [f"words-{_short_name(low)}-{_short_name(high)}"]
    ]


def plan_bigram_ranges(tasks: Sequence[CountTask], kept_words: str) -> list[tuple[int, int]]:
    """Cuts the packed bigrams of all units into ranges [low, high) that fit into memory."""
    num_rows = sum(count_rows_each(task.paths.bigrams for task in tasks))
    num_words = count_rows(kept_words)
    num_ranges = max(1, min(num_words, _num_ranges(num_rows, _EASY_BIGRAM_ROWS)))
    return first_word_ranges(num_words, num_ranges)


def merge_words(
    words: WordRange, output: str, *, tables: Sequence[str], min_count: int, numbers_below: int, all_numbers: bool
) -> Counts:
    """Adds up the words of all units in a range and writes the frequent ones.

    Args:
        words: The range.
        output: The table to write, `WORD_COUNTS`; the sums of all words are written before it.
        tables: The words of all units, `WORD_FORMS`.
        min_count: Least occurrences of a word.
        numbers_below: The numbers that count as words.
        all_numbers: Whether frequent numbers are written as well, for bigrams.
    """
    word = pc.field("word")
    where = word >= words.low if words.high is None else (word >= words.low) & (word < words.high)
    forms = add_up_in_any_order(_read_each(tables, where, WORD_FORMS), WORD_FORMS)
    numbers = [str(number) for number in range(numbers_below)]
    inside = [number for number in numbers if words.low <= number and (words.high is None or number < words.high)]
    write_table(words.sums, sum_forms(forms), WORD_SUMS)
    kept = select_words(forms, min_count=min_count, numbers=inside, all_numbers=all_numbers)
    write_table(output, kept, WORD_COUNTS)
    return {}


def join_words(ranges: Sequence[WordRange], output: str, *, survey: str, threshold: int) -> Counts:
    """Writes the frequent words of all ranges as one table, in order.

    Args:
        ranges: The merged ranges of words.
        output: The table to write, `WORD_COUNTS`.
        survey: The survey to write before it, `WordSurvey`.
        threshold: Occurrences that make a word a query, for the survey.

    Returns:
        Words in the dumps, the distinct ones, and the frequent ones, those without a letter apart.
    """
    surveys, counts = [], {"tokens": 0, "distinct_tokens": 0}
    for words in ranges:
        sums = read_table(words.sums)
        surveys.append(survey_words(sums, threshold=threshold))
        counts = add_counts(counts, {"tokens": pc.sum(sums["count"]).as_py() or 0, "distinct_tokens": sums.num_rows})
    files.write_bytes_whole(survey, WordSurvey.merge(surveys, threshold=threshold).to_json())
    kept = pa.concat_tables([read_table(words.kept) for words in ranges])
    counts["frequent_words"] = pc.sum(have_letters(kept["word"])).as_py() or 0
    counts["frequent_numbers"] = kept.num_rows - counts["frequent_words"]
    write_table(output, kept, WORD_COUNTS, counts)
    return counts


def merge_bigrams(
    bounds: tuple[int, int], output: str, *, tables: Sequence[str], kept_words: str, min_count: int, least_lettered: int
) -> Counts:
    """Adds up the bigrams of all units in a range and writes the frequent ones.

    Args:
        bounds: The range of packed bigrams, [low, high).
        output: The table to write, `BIGRAM_COUNTS`.
        tables: The bigrams of all units, `BIGRAM_COUNTS`.
        kept_words: Table of the kept words.
        min_count: Least occurrences of a bigram.
        least_lettered: Of its two words, how many must have a letter.

    Returns:
        The number of frequent bigrams.
    """
    bigram, (low, high) = pc.field("bigram"), (pa.scalar(bound, pa.uint64()) for bound in bounds)
    where = (bigram >= low) & (bigram < high)
    sums = add_bigram_counts(_read_each(tables, where, BIGRAM_COUNTS), min_count=min_count)
    sums = select_lettered(sums, read_table(kept_words, ["word"])["word"].combine_chunks(), least=least_lettered)
    counts = {"frequent_bigrams": sums.num_rows}
    write_table(output, sums, BIGRAM_COUNTS, counts)
    return counts


def _read_each(paths: Sequence[str], where: pc.Expression, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of several tables for which an expression holds, in parts."""
    return (pa.Table.from_batches([batch]).cast(schema) for path in paths for batch in read_where(path, where))


def _num_ranges(num_rows: int, easy_rows: int) -> int:
    """How many ranges some rows are cut into.

    >>> [_num_ranges(rows, 1_000_000) for rows in (0, 999_999, 3_000_001, 90_000_000, 640_000_000)]
    [1, 1, 4, 16, 20]
    """
    return max(1, -(-num_rows // _RANGE_ROWS), min(_FEW_RANGES, -(-num_rows // easy_rows)))


def _sample_words(path: str) -> list[str]:
    """Words of a unit, evenly from all its pieces, sorted: enough to cut them into ranges of about one size."""
    step = max(1, count_rows(path) // _SAMPLE_ROWS)
    samples = (batch["word"][::step].to_pylist() for batch in read_batches(path, ["word"]))
    return sorted(chain.from_iterable(samples))


def _short_name(word: str | None) -> str:
    return "end" if word is None else hashlib.sha256(word.encode()).hexdigest()[:16]
