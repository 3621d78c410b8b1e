"""Dump units ► their words and bigrams: what the stage build-vocab counts unit by unit.

In: units of dumps. Out: the files of `UnitPaths` of every unit, in two passes: the dump is read once, and what the
second pass needs of it is the row of numbers that the first pass wrote.

A unit may be a whole dump, where that can only be read from its beginning. So it is counted in pieces, and memory goes
with a piece: the tables of a unit are those of its pieces, one behind another, each sorted by itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import TableWriter, open_table_writer, read_column, read_row_groups
from pipeline.base.whole_stamps import whole_stamp
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
        pa.field("offset", pa.int64(), nullable=False),  # of the damaged stream or bz2 block, or a lost page's
        pa.field("reason", pa.string(), nullable=False),
    ]
)
_LEAST_UNIT_BYTES, _USUAL_UNIT_BYTES = 2 << 20, 8 << 20
_FEW_UNITS, _MOST_UNITS = 24, 1000
_Title = dict[str, str | bool | None]  # a row of TITLES
_PIECE_CHARACTERS = 32 << 20  # of prose that are counted together: about 70 MB of XML
_PIECE_ROWS = 100_000  # of titles and damages
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
    return str(whole_stamp(path)["digest"])[:16]


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
    with _open_unit_writer(task, output, partial(TokenCounter, case, clitics)) as writer:
        for item in read_dump(task.unit, files.open_for_read, names=edition.names):
            match item:
                case Article(title, text):
                    writer.add_article(
                        title,
                        is_disambiguation=is_disambiguation(text, edition.names),
                        prose=clean_wikitext(text, edition),
                    )
                case Redirect():
                    writer.add_redirect(item)
                case Refusal():
                    writer.add_refusal(item)
                case StreamEnd():
                    writer.num_streams += 1
    return writer.counts


def count_unit_bigrams(task: CountTask, output: str, *, kept_words: str) -> Counts:
    """Second pass: writes the bigrams of kept words of a unit.

    Args:
        task: A counted unit.
        output: The file of its bigrams.
        kept_words: Table of the kept words.
    """
    kept = read_column(kept_words, "word")
    words = read_row_groups(task.paths.words, ["word"])
    with open_table_writer(output, BIGRAM_COUNTS) as writer:
        for piece in read_row_groups(task.paths.tokens):
            tokens = piece["token"].to_numpy()
            piece_words = _take_rows(words, int(tokens.max(initial=-1)) + 1)
            writer.write(count_bigrams(tokens, number_words(piece_words["word"].combine_chunks(), kept)))
    return {}


def _take_rows(groups: Iterator[pa.Table], num_rows: int) -> pa.Table:
    """The next row groups of a table that together have so many rows."""
    taken = [pa.schema([WORD_FORMS.field("word")]).empty_table()]
    while sum(group.num_rows for group in taken) < num_rows:
        taken.append(next(groups))
    return pa.concat_tables(taken)


class _UnitWriter:
    """Writes what is found in a unit, piece by piece; use `_open_unit_writer`."""

    def __init__(self, task: CountTask, tables: Sequence[TableWriter], new_counter: Callable[[], TokenCounter]) -> None:
        self._dump = files.basename(task.unit.path)
        self._words, self._tokens, self._titles, self._damages = tables
        self._new_counter = new_counter
        self._counter = new_counter()
        self._num_characters = 0
        self._title_rows: list[_Title] = []
        self._damage_rows: list[dict[str, str | int]] = []
        self._drops = Counter[str]()
        self._num_articles = 0
        self.num_streams = 0

    def add_article(self, title: str, *, is_disambiguation: bool, prose: str) -> None:
        self._title_rows.append({"title": title, "target": None, "is_disambiguation": is_disambiguation})
        self._num_articles += 1
        self._counter.add_lines(prose)
        self._num_characters += len(prose)
        self._write_full()

    def add_redirect(self, redirect: Redirect) -> None:
        self._title_rows.append({"title": redirect.title, "target": redirect.target})
        self._drops[DropReason.REDIRECT] += 1
        self._write_full()

    def add_refusal(self, refusal: Refusal) -> None:
        self._drops[DropReason(refusal.reason)] += 1
        if refusal.reason in _UNREADABLE:
            self._damage_rows.append({"dump": self._dump, "offset": refusal.offset, "reason": refusal.reason.value})
            self._write_full()

    @property
    def counts(self) -> Counts:
        """Pages and streams in, kept and dropped."""
        pages = Counter(self._drops)
        num_damaged = pages.pop(DropReason.DAMAGED_STREAM, 0)
        streams = drop_counts("streams", self.num_streams, {DropReason.DAMAGED_STREAM: num_damaged})
        return drop_counts("wiki_pages", self._num_articles, pages) | streams

    def _write_full(self) -> None:
        if self._num_characters >= _PIECE_CHARACTERS or len(self._title_rows) + len(self._damage_rows) >= _PIECE_ROWS:
            self.write_piece()

    def write_piece(self) -> None:
        """Writes what was added since the last piece; its tokens are one row group, and number its words only."""
        table = self._counter.count()
        self._words.write(table.word_forms)
        self._tokens.write(pa.table([table.tokens], schema=TOKENS), as_one_group=True)
        self._titles.write(pa.Table.from_pylist(self._title_rows, schema=TITLES))
        self._damages.write(pa.Table.from_pylist(self._damage_rows, schema=DAMAGES))
        self._counter, self._num_characters = self._new_counter(), 0
        self._title_rows, self._damage_rows = [], []


@contextmanager
def _open_unit_writer(task: CountTask, output: str, new_counter: Callable[[], TokenCounter]) -> Iterator[_UnitWriter]:
    """Opens the files of a unit; its words are the last that appears."""
    paths = task.paths
    tables = ((output, WORD_FORMS), (paths.tokens, TOKENS), (paths.titles, TITLES), (paths.damages, DAMAGES))
    with ExitStack() as stack:
        words, *others = (stack.enter_context(open_table_writer(path, schema)) for path, schema in tables)
        writer = _UnitWriter(task, [words, *others], new_counter)
        yield writer
        writer.write_piece()
        words.counts = writer.counts
