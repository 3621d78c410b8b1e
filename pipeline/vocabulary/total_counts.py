"""Counts of units ► the words and bigrams of a whole dump: the transforms of the stage build-vocab that add up.

In: the tables of all units. Out: the kept words with their counts in the whole dump, a survey of all words, and the
frequent bigrams.

No process adds up all words or all bigrams: they are cut into ranges of their order, and a range is added up from the
rows of every unit that lie in it. The tables of units are sorted, so that Parquet reads little besides.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts, CountUnits, UnitReport, report_unit
from pipeline.base.tables import count_rows, read_table, sum_counts, write_table
from pipeline.vocabulary.survey import WordSurvey, survey_words
from pipeline.vocabulary.unit_counts import CountTask, write_once
from vocab.bigrams import BIGRAM_COUNTS, add_bigram_counts, first_word_ranges
from vocab.kernels.sums import add_up_in_any_order
from vocab.words import WORD_COUNTS, WORD_FORMS, WORD_SUMS, select_words, sum_forms

_RANGE_ROWS = 32_000_000  # of all units, that are added up as one range


@dataclass(frozen=True, kw_only=True)
class WordRangeTask:
    """A range of words, from `low` up to and without `high` (None: to the last), and where its sums go."""

    low: str
    high: str | None
    sums: str  # WORD_SUMS of all words
    path: str  # WORD_COUNTS of the kept ones


@dataclass(frozen=True, kw_only=True)
class RangeTask:
    """A range of packed bigrams, [low, high), and where its sums go."""

    low: int
    high: int
    path: str


def plan_word_ranges(tasks: Sequence[CountTask], folder: str) -> list[WordRangeTask]:
    """Cuts the words of all units into ranges that fit into memory, where those of the largest unit are cut evenly."""
    sizes = {task.paths.words: count_rows(task.paths.words) for task in tasks}
    num_ranges = max(1, -(-sum(sizes.values()) // _RANGE_ROWS))
    lows = [""]
    if num_ranges > 1:
        words = read_table(max(sizes, key=lambda path: (sizes[path], path)), ["word"])["word"]
        cuts = [words[len(words) * index // num_ranges].as_py() for index in range(1, num_ranges)]
        lows += sorted(set(cuts) - {""})
    highs = [*lows[1:], None]
    stems = [f"words-{_short_name(low)}-{_short_name(high)}" for low, high in zip(lows, highs, strict=True)]
    return [
        WordRangeTask(
            low=low,
            high=high,
            sums=files.join(folder, f"{stem}.sums.parquet"),
            path=files.join(folder, f"{stem}.parquet"),
        )
        for low, high, stem in zip(lows, highs, stems, strict=True)
    ]


def plan_ranges(tasks: Sequence[CountTask], kept_words: str, folder: str) -> list[RangeTask]:
    """Cuts the bigrams of all units into ranges that fit into memory."""
    num_rows = sum(count_rows(task.paths.bigrams) for task in tasks)
    num_words = count_rows(kept_words)
    num_ranges = max(1, min(num_words, -(-num_rows // _RANGE_ROWS)))
    return [
        RangeTask(low=low, high=high, path=files.join(folder, f"bigrams-{low:019d}-{high:019d}.parquet"))
        for low, high in first_word_ranges(num_words, num_ranges)
    ]


@dataclass(kw_only=True, eq=False)
class MergeWords(beam.PTransform):
    """Adds up the words of all units in every range and writes the frequent ones.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The counted units.
        ranges: The ranges of words.
        min_count: Least occurrences of a word.
        numbers_below: The numbers that count as words.
    """

    stage_name: str
    tasks: Sequence[CountTask]
    ranges: Sequence[WordRangeTask]
    min_count: int
    numbers_below: int

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        paths = [task.paths.words for task in self.tasks]
        return (
            root
            | "WordRanges" >> beam.Create(list(self.ranges))
            | "MergeWordRange"
            >> beam.Map(_merge_words, paths, self.min_count, self.numbers_below).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class JoinWords(beam.PTransform):
    """Writes the kept words of all ranges as one table, in order; its counts are the sums of theirs.

    Attributes:
        ranges: The merged ranges of words.
        output: The table to write, `WORD_COUNTS`.
        survey: The survey to write, `WordSurvey`.
        threshold: Occurrences that make a word a query, for the survey.
    """

    ranges: Sequence[WordRangeTask]
    output: str
    survey: str
    threshold: int

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]; the ranges have reported their counts already."""
        return (
            root
            | "Output" >> beam.Create([self.output])
            | "JoinWordRanges"
            >> beam.Map(_join_words, self.ranges, self.survey, self.threshold).with_output_types(UnitReport)
        )


@dataclass(kw_only=True, eq=False)
class MergeBigrams(beam.PTransform):
    """Adds up the bigrams of all units in every range and writes the frequent ones.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The counted units.
        ranges: The ranges of bigrams.
        min_count: Least occurrences of a bigram.
    """

    stage_name: str
    tasks: Sequence[CountTask]
    ranges: Sequence[RangeTask]
    min_count: int

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        paths = [task.paths.bigrams for task in self.tasks]
        return (
            root
            | "Ranges" >> beam.Create(list(self.ranges))
            | "MergeRange" >> beam.Map(_merge_bigrams, paths, self.min_count).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def _merge_words(task: WordRangeTask, paths: Sequence[str], min_count: int, numbers_below: int) -> UnitReport:
    def write() -> Counts:
        word = pc.field("word")
        where = word >= task.low if task.high is None else (word >= task.low) & (word < task.high)
        forms = add_up_in_any_order((read_table(path, where=where) for path in paths), WORD_FORMS)
        sums = sum_forms(forms)
        numbers = [str(number) for number in range(numbers_below)]
        inside = [number for number in numbers if task.low <= number and (task.high is None or number < task.high)]
        kept = select_words(forms, min_count=min_count, numbers=inside)
        counts = {
            "tokens": pc.sum(sums["count"]).as_py() or 0,
            "distinct_tokens": sums.num_rows,
            "frequent_words": kept.num_rows,
        }
        write_table(task.sums, sums, WORD_SUMS)
        write_table(task.path, kept, WORD_COUNTS, counts)
        return counts

    return write_once(task.path, write)


def _join_words(output: str, ranges: Sequence[WordRangeTask], survey: str, threshold: int) -> UnitReport:
    if not files.exists(output):
        surveys = [survey_words(read_table(task.sums), threshold=threshold) for task in ranges]
        files.write_bytes_whole(survey, WordSurvey.merge(surveys, threshold=threshold).to_json())
        kept = [task.path for task in ranges]
        write_table(output, pa.concat_tables([read_table(path) for path in kept]), WORD_COUNTS, sum_counts(kept))
    return report_unit(files.basename(output), {})


def _merge_bigrams(task: RangeTask, paths: Sequence[str], min_count: int) -> UnitReport:
    def write() -> Counts:
        bigram = pc.field("bigram")
        where = (bigram >= pa.scalar(task.low, pa.uint64())) & (bigram < pa.scalar(task.high, pa.uint64()))
        sums = add_bigram_counts((read_table(path, where=where) for path in paths), min_count=min_count)
        counts = {"frequent_bigrams": sums.num_rows}
        write_table(task.path, sums, BIGRAM_COUNTS, counts)
        return counts

    return write_once(task.path, write)


def _short_name(word: str | None) -> str:
    return "end" if word is None else hashlib.sha256(word.encode()).hexdigest()[:16]
