"""Dump units ► the words and bigrams of a whole dump: the transforms of the stage build-vocab that count.

In: units of dumps. Out, per unit, the files of `UnitPaths`; then the kept words with their counts in the whole dump,
and its frequent bigrams, range by range.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import files
from pipeline.drops import Counts, CountUnits, DropReason, UnitReport, drop_counts, report_unit
from pipeline.tables import count_rows, read_counts, read_table, write_table
from vocab.bigrams import BIGRAM_COUNTS, add_bigram_counts, count_bigrams, first_word_ranges, number_words
from vocab.dump import Article, Redirect, Refusal, RefusalReason, StreamEnd, Unit, read_dump
from vocab.normalize import Case
from vocab.sums import add_up
from vocab.titles import TITLES, VIEWS, count_views
from vocab.wikitext import clean_wikitext
from vocab.words import TOKENS, WORD_COUNTS, count_tokens, select_words

DAMAGES = pa.schema(
    [
        pa.field("dump", pa.string(), nullable=False),  # base name of the file
        pa.field("offset", pa.int64(), nullable=False),  # of the damaged stream, or of the stream of a lost page
        pa.field("reason", pa.string(), nullable=False),
    ]
)
_RANGE_ROWS = 16_000_000  # bigram counts that are added up at a time
_UNREADABLE = frozenset(RefusalReason) - {RefusalReason.OTHER_NAMESPACE, RefusalReason.NOT_WIKITEXT}


class UnitPaths(NamedTuple):
    """The files of one unit; the words are written last in the first pass, the bigrams in the second."""

    titles: str  # TITLES
    damages: str  # DAMAGES
    tokens: str  # TOKENS: rows of the words
    words: str  # WORD_COUNTS
    bigrams: str  # BIGRAM_COUNTS


@dataclass(frozen=True, kw_only=True)
class CountTask:
    """A unit and where its files go."""

    unit: Unit
    paths: UnitPaths


@dataclass(frozen=True, kw_only=True)
class ViewsTask:
    """A page-view file and where its sums go."""

    source: str
    path: str


@dataclass(frozen=True, kw_only=True)
class RangeTask:
    """A range of packed bigrams, [low, high), and where its sums go."""

    low: int
    high: int
    path: str


def plan_tasks(units: Sequence[Unit], folder: str) -> list[CountTask]:
    """Names the files of every unit after the content of its dump; a dump given twice counts once.

    Args:
        units: Of all dumps.
        folder: Where the files go.
    """
    digests = {path: file_digest(path) for path in {unit.path for unit in units}}
    tasks = {}
    for unit in units:
        name = f"{digests[unit.path]}-{unit.start:012d}-{unit.end:012d}"
        paths = UnitPaths(*(files.join(folder, f"{name}.{kind}.parquet") for kind in UnitPaths._fields))
        tasks[name] = CountTask(unit=unit, paths=paths)
    return [tasks[name] for name in sorted(tasks)]


def plan_ranges(tasks: Sequence[CountTask], kept_words: str, folder: str) -> list[RangeTask]:
    """Cuts the bigrams of all units into ranges that fit into memory."""
    num_rows = sum(count_rows(task.paths.bigrams) for task in tasks)
    num_words = count_rows(kept_words)
    num_ranges = max(1, min(num_words, -(-num_rows // _RANGE_ROWS)))
    ranges = first_word_ranges(num_words, num_ranges)
    return [
        RangeTask(low=low, high=high, path=files.join(folder, f"bigrams-{low:019d}-{high:019d}.parquet"))
        for low, high in ranges
    ]


def file_digest(path: str) -> str:
    """A short name for the content of a file."""
    return str(files.file_stamp(path)["digest"])[:16]


@dataclass(kw_only=True, eq=False)
class CountWords(beam.PTransform):
    """First pass: writes the words, tokens, titles and damages of every unit.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The units.
        hidden_namespaces: Names of the namespaces whose links show no text.
        case: Of the normalisation.
    """

    stage_name: str
    tasks: Sequence[CountTask]
    hidden_namespaces: tuple[str, ...]
    case: Case

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Units" >> beam.Create(list(self.tasks))
            | "CountUnitWords"
            >> beam.Map(_count_words, self.hidden_namespaces, self.case).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class CountViews(beam.PTransform):
    """Writes the views of every title in each page-view file.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The files.
        project: The wiki whose rows count.
    """

    stage_name: str
    tasks: Sequence[ViewsTask]
    project: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "ViewFiles" >> beam.Create(list(self.tasks))
            | "CountFileViews" >> beam.Map(_count_views, self.project).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class MergeWords(beam.PTransform):
    """Adds up the words of all units and writes the frequent ones; the file's counts hold the number of all tokens.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The counted units.
        output: The table to write, `WORD_COUNTS`.
        min_count: Least occurrences of a word.
        numbers_below: The numbers that count as words.
    """

    stage_name: str
    tasks: Sequence[CountTask]
    output: str
    min_count: int
    numbers_below: int

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        paths = [task.paths.words for task in self.tasks]
        return (
            root
            | "Output" >> beam.Create([self.output])
            | "MergeUnitWords"
            >> beam.Map(_merge_words, paths, self.min_count, self.numbers_below).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class CountBigrams(beam.PTransform):
    """Second pass: writes the bigrams of kept words of every unit.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The counted units.
        kept_words: Table of the kept words.
    """

    stage_name: str
    tasks: Sequence[CountTask]
    kept_words: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Units" >> beam.Create([task.paths for task in self.tasks])
            | "CountUnitBigrams" >> beam.Map(_count_bigrams, self.kept_words).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
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


def _write_once(path: str, write: Callable[[], Counts]) -> UnitReport:
    """Reports the counts of a unit whose last file is there; makes it otherwise."""
    counts = read_counts(path)
    return report_unit(files.basename(path), write() if counts is None else counts)


def _count_words(task: CountTask, hidden_namespaces: tuple[str, ...], case: Case) -> UnitReport:
    def write() -> Counts:
        content = _read_unit(task.unit, hidden_namespaces)
        table = count_tokens(pa.array(content.lines, pa.large_string()), case=case)
        write_table(task.paths.titles, content.titles, TITLES)
        write_table(task.paths.damages, content.damages, DAMAGES)
        write_table(task.paths.tokens, pa.table([table.tokens], schema=TOKENS), TOKENS)
        write_table(task.paths.words, table.word_counts, WORD_COUNTS, content.counts)
        return content.counts

    return _write_once(task.paths.words, write)


class _UnitContent(NamedTuple):
    lines: list[str]
    titles: pa.Table
    damages: pa.Table
    counts: Counts


def _read_unit(unit: Unit, hidden_namespaces: tuple[str, ...]) -> _UnitContent:
    lines: list[str] = []
    titles: list[dict[str, str | None]] = []
    refusals: list[Refusal] = []
    num_streams = 0
    for item in read_dump(unit, files.open_for_read):
        match item:
            case Article(title, text):
                titles.append({"title": title, "target": None})
                lines += clean_wikitext(text, hidden_namespaces).split("\n")
            case Redirect(title, target):
                titles.append({"title": title, "target": target})
            case Refusal():
                refusals.append(item)
            case StreamEnd():
                num_streams += 1
    return _UnitContent(
        lines=lines,
        titles=pa.Table.from_pylist(titles, schema=TITLES),
        damages=_damages(unit, refusals),
        counts=_unit_counts(titles, refusals, num_streams),
    )


def _damages(unit: Unit, refusals: Sequence[Refusal]) -> pa.Table:
    name = files.basename(unit.path)
    rows = [{"dump": name, "offset": r.offset, "reason": r.reason.value} for r in refusals if r.reason in _UNREADABLE]
    return pa.Table.from_pylist(rows, schema=DAMAGES)


def _unit_counts(titles: Sequence[dict[str, str | None]], refusals: Sequence[Refusal], num_streams: int) -> Counts:
    drops = Counter[str](DropReason(refusal.reason) for refusal in refusals)
    num_damaged = drops.pop(DropReason.DAMAGED_STREAM, 0)
    num_articles = sum(row["target"] is None for row in titles)
    drops[DropReason.REDIRECT] = len(titles) - num_articles
    pages = drop_counts("wiki_pages", num_articles, drops)
    return pages | drop_counts("streams", num_streams, {DropReason.DAMAGED_STREAM: num_damaged})


def _count_views(task: ViewsTask, project: str) -> UnitReport:
    def write() -> Counts:
        with files.open_for_read(task.source) as file:
            found = count_views(file, project=project)
        counts = drop_counts("view_rows", found.num_rows - found.num_bad_rows, {DropReason.BAD_ROW: found.num_bad_rows})
        write_table(task.path, found.views, VIEWS, counts)
        return counts

    return _write_once(task.path, write)


def _merge_words(output: str, paths: Sequence[str], min_count: int, numbers_below: int) -> UnitReport:
    def write() -> Counts:
        sums = add_up((read_table(path) for path in paths), WORD_COUNTS)
        kept = select_words(sums, min_count=min_count, numbers_below=numbers_below)
        num_tokens = pc.sum(sums["count"]).as_py() or 0
        counts = {"tokens": num_tokens, "distinct_tokens": sums.num_rows, "frequent_words": kept.num_rows}
        write_table(output, kept, WORD_COUNTS, counts)
        return counts

    return _write_once(output, write)


def _count_bigrams(paths: UnitPaths, kept_words: str) -> UnitReport:
    def write() -> Counts:
        unit_words, kept = (read_table(path, ["word"])["word"].combine_chunks() for path in (paths.words, kept_words))
        tokens = read_table(paths.tokens)["token"].to_numpy()
        write_table(paths.bigrams, count_bigrams(tokens, number_words(unit_words, kept)), BIGRAM_COUNTS)
        return {}

    return _write_once(paths.bigrams, write)


def _merge_bigrams(task: RangeTask, paths: Sequence[str], min_count: int) -> UnitReport:
    def write() -> Counts:
        bigram = pc.field("bigram")
        where = (bigram >= pa.scalar(task.low, pa.uint64())) & (bigram < pa.scalar(task.high, pa.uint64()))
        sums = add_bigram_counts((read_table(path, where=where) for path in paths), min_count=min_count)
        counts = {"frequent_bigrams": sums.num_rows}
        write_table(task.path, sums, BIGRAM_COUNTS, counts)
        return counts

    return _write_once(task.path, write)
