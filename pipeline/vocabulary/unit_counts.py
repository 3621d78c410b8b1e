"""Dump units ► their words and bigrams: what the stage build-vocab counts unit by unit.

In: units of dumps. Out: the files of `UnitPaths` of every unit, in two passes: the dump is read once, and what the
second pass needs of it is the row of numbers that the first pass wrote.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import read_table, write_table
from vocab.bigrams import BIGRAM_COUNTS, count_bigrams, number_words
from vocab.dump import Article, Redirect, Refusal, RefusalReason, StreamEnd, Unit, read_dump
from vocab.kernels.chunks import load_kernels
from vocab.normalize import Case
from vocab.page_kinds import is_disambiguation
from vocab.titles import TITLES
from vocab.wikitext.prose import Edition, clean_wikitext
from vocab.words import TOKENS, WORD_FORMS, TokenCounter

DAMAGES = pa.schema(
    [
        pa.field("dump", pa.string(), nullable=False),  # base name of the file
        pa.field("offset", pa.int64(), nullable=False),  # of the damaged stream, or of the stream of a lost page
        pa.field("reason", pa.string(), nullable=False),
    ]
)
_LEAST_UNIT_BYTES, _USUAL_UNIT_BYTES = 2 << 20, 8 << 20
_FEW_UNITS, _MOST_UNITS = 24, 1000
_Title = dict[str, str | bool | None]  # a row of TITLES
_UNREADABLE = frozenset(RefusalReason) - {RefusalReason.OTHER_NAMESPACE, RefusalReason.NOT_WIKITEXT}


class UnitPaths(NamedTuple):
    """The files of one unit; the words are written last in the first pass, the bigrams in the second."""

    titles: str  # TITLES
    damages: str  # DAMAGES
    tokens: str  # TOKENS: rows of the word forms
    words: str  # WORD_FORMS
    bigrams: str  # BIGRAM_COUNTS


@dataclass(frozen=True, kw_only=True)
class CountTask:
    """A unit and where its files go."""

    unit: Unit
    paths: UnitPaths


def plan_tasks(units: Sequence[Unit], folder: StageFolder) -> list[CountTask]:
    """Names the files of every unit after the content of its dump; a dump given twice counts once.

    Args:
        units: Of all dumps.
        folder: Where the files go.
    """
    load_kernels()  # here, so that what is made once for a machine is not made by each of its workers
    digests = {path: file_digest(path) for path in {unit.path for unit in units}}
    tasks = {}
    for unit in units:
        name = f"{digests[unit.path]}-{unit.start:012d}-{unit.end:012d}"
        paths = UnitPaths(*(folder.table(f"{name}.{kind}") for kind in UnitPaths._fields))
        tasks[name] = CountTask(unit=unit, paths=paths)
    return [tasks[name] for name in sorted(tasks)]


def choose_unit_bytes(dumps: Sequence[str]) -> int:
    """Bytes of a unit: few enough for many workers and a small memory, and not so few that files are too many.

    A small dump is cut into smaller units: of eleven, one of two workers would have to do six.
    """
    size = sum(map(files.file_size, dumps))
    usual = min(max(size // _FEW_UNITS, _LEAST_UNIT_BYTES), _USUAL_UNIT_BYTES)
    return max(usual, size // _MOST_UNITS)


def file_digest(path: str) -> str:
    """A short name for the content of a file."""
    return str(files.file_stamp(path)["digest"])[:16]


def count_unit_words(task: CountTask, output: str, *, edition: Edition, case: Case, clitics: str = "en") -> Counts:
    """First pass: writes the words, tokens, titles and damages of a unit.

    Args:
        task: The unit and its files.
        output: The file of its words, which is written last.
        edition: The wiki, and what of its articles is read.
        case: Of the normalisation.
        clitics: Of the normalisation.

    Returns:
        Pages and streams in, kept and dropped.
    """
    counter = TokenCounter(case, clitics)
    content = _read_unit(task.unit, edition, counter)
    table = counter.count()
    write_table(task.paths.titles, content.titles, TITLES)
    write_table(task.paths.damages, content.damages, DAMAGES)
    write_table(task.paths.tokens, pa.table([table.tokens], schema=TOKENS), TOKENS)
    write_table(output, table.word_forms, WORD_FORMS, content.counts)
    return content.counts


def count_unit_bigrams(task: CountTask, output: str, *, kept_words: str) -> Counts:
    """Second pass: writes the bigrams of kept words of a unit.

    Args:
        task: A counted unit.
        output: The file of its bigrams.
        kept_words: Table of the kept words.
    """
    unit_words, kept = (read_table(path, ["word"])["word"].combine_chunks() for path in (task.paths.words, kept_words))
    tokens = read_table(task.paths.tokens)["token"].to_numpy()
    write_table(output, count_bigrams(tokens, number_words(unit_words, kept)), BIGRAM_COUNTS)
    return {}


class _UnitContent(NamedTuple):
    titles: pa.Table
    damages: pa.Table
    counts: Counts


def _read_unit(unit: Unit, edition: Edition, counter: TokenCounter) -> _UnitContent:
    """Reads a unit; its prose goes into the counter."""
    titles: list[_Title] = []
    refusals: list[Refusal] = []
    num_streams = 0
    for item in read_dump(unit, files.open_for_read, names=edition.names):
        match item:
            case Article(title, text):
                titles.append(
                    {"title": title, "target": None, "is_disambiguation": is_disambiguation(text, edition.names)}
                )
                counter.add_lines(clean_wikitext(text, edition))
            case Redirect(title, target):
                titles.append({"title": title, "target": target})
            case Refusal():
                refusals.append(item)
            case StreamEnd():
                num_streams += 1
    return _UnitContent(
        titles=pa.Table.from_pylist(titles, schema=TITLES),
        damages=_damages(unit, refusals),
        counts=_unit_counts(titles, refusals, num_streams),
    )


def _damages(unit: Unit, refusals: Sequence[Refusal]) -> pa.Table:
    name = files.basename(unit.path)
    rows = [{"dump": name, "offset": r.offset, "reason": r.reason.value} for r in refusals if r.reason in _UNREADABLE]
    return pa.Table.from_pylist(rows, schema=DAMAGES)


def _unit_counts(titles: Sequence[_Title], refusals: Sequence[Refusal], num_streams: int) -> Counts:
    drops = Counter[str](DropReason(refusal.reason) for refusal in refusals)
    num_damaged = drops.pop(DropReason.DAMAGED_STREAM, 0)
    num_articles = sum(row["target"] is None for row in titles)
    drops[DropReason.REDIRECT] = len(titles) - num_articles
    pages = drop_counts("wiki_pages", num_articles, drops)
    return pages | drop_counts("streams", num_streams, {DropReason.DAMAGED_STREAM: num_damaged})
