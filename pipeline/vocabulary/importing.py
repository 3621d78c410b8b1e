"""Own lists of queries, and a vocabulary that is there if they are added to one ► a vocabulary: the stage import-vocab.

In: lists (`vocab.own_lists`), the folder of a vocabulary to merge with. Out, in one folder (`VocabFolder`): what
build-vocab leaves, for the stages that read it, and ``imports.parquet``, what became of every row of the lists.

Lists are short, so they are read before anything is written: what is wrong with one is told at once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import VOCAB_MAKERS, VocabFolder
from pipeline.base.lineage import Stamp, check_maker
from pipeline.base.options import option
from pipeline.base.stage_folder import stage_identity
from pipeline.base.tables import count_rows, read_table, write_table
from pipeline.base.whole_stamps import whole_stamp
from pipeline.steps import MapUnits, Stage, Step, Steps
from pipeline.vocabulary.outputs import write_beside
from pipeline.vocabulary.report.imported_page import ImportFacts, render_imports
from vocab.clitics import check_clitics
from vocab.imports import FATES, Fate, fold_lists, mark_left_out
from vocab.matcher import Matcher
from vocab.normalize import METACLIP, Case, Normalization, Style
from vocab.own_lists import OwnColumns, read_own_list
from vocab.queries import QUERIES, QueryTable


@dataclass(kw_only=True)
class ImportVocab(Stage):
    """Makes a vocabulary of own lists of queries: import-vocab FILE….

    A list is MetaCLIP's metadata.json or another JSON list of strings, class names by number or WordNet id (JSON), a
    text with a query a line, or a TSV or CSV with counts.
    """

    name: ClassVar[str] = "import-vocab"
    format: ClassVar[int] = Stage.format + 1
    operand: ClassVar[str] = "input"

    input: tuple[str, ...] = option((), "Lists of queries: files, folders or globs.", identity=False)
    merge: str = option(
        "",
        "Folder of a vocabulary whose queries come first; the lists are added.",
        identity=False,
        made_by=VOCAB_MAKERS,
    )
    output: str = option("", "Folder to write.", under_data="own-vocab")
    query_column: str = option("", "Column of queries in TSV and CSV: a name, or a number from 0 without a header.")
    count_column: str = option("", "Column of counts in TSV and CSV.")
    case: Case | None = option(None, "Whether case makes no difference [fold; that of --merge].")
    style: Style | None = option(
        None, "How queries are searched for: word by word, or as MetaCLIP does [words; that of --merge]."
    )
    clitics: str = option(
        "", "Language whose clitics are words of their own (en: dog's is dog, s), or none [en; that of --merge]."
    )
    max_query_chars: int = option(256, "Characters of a query at most (MetaCLIP 2: 256, of titles).", minimum=1)
    max_queries: int | None = option(
        None, "Queries at most; own ones that are counted least, or come last in their list, give way.", minimum=1
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if not self.input:
            raise ValueError(f"{self.name}: input must name at least one list of queries")
        if self.style == "metaclip" and self.case == "fold":
            raise ValueError(f"{self.name}: style metaclip is case-sensitive; case must not be 'fold'")
        check_clitics(self.clitics, stage=self.name, metaclip=self.style == "metaclip")

    def stamp(self, path: str) -> Stamp:
        """Lists are read whole, so all their bytes count."""
        return whole_stamp(path)

    def inputs(self) -> list[str]:
        """The lists, and the folder to merge with; reads all, so that what is wrong is told at once."""
        lists = [path for path, _ in self._lists]
        return [*lists, *([self.merge] if self.merge else [])]

    def steps(self) -> Steps:
        """Fold the lists and write, all at once."""
        write = MapUnits(
            units=[OwnLists(*zip(*self._lists, strict=True))],
            output_of=lambda _: VocabFolder(self.output).queries,
            work=partial(
                write_imports,
                options=replace(self),
                normalization=self._normalization,
                identity=stage_identity(self),
            ),
        )
        yield Step("ImportQueries", write)

    @cached_property
    def _lists(self) -> list[tuple[str, int]]:
        """The lists, and how many rows each has."""
        paths = files.expand_inputs(self.input)
        tables = files.each(self.read_list, paths)
        folded = fold_lists(pa.concat_tables(tables), self._normalization, max_chars=self.max_query_chars)
        if not folded.queries.num_rows and not self.merge:
            raise ValueError(f"{self.name}: not one query is left of {', '.join(paths)}")
        return [(path, table.num_rows) for path, table in zip(paths, tables, strict=True)]

    @cached_property
    def _normalization(self) -> Normalization:
        """How queries are searched for: as in the vocabulary to merge with, or else as the options say.

        Raises:
            ValueError: When the options say otherwise, allow fewer queries than that vocabulary has, or name another
                folder.
            FileNotFoundError: When there is no vocabulary in its folder.
        """
        if not self.merge:
            rule = Normalization(case=self.case or "fold", clitics=self.clitics or "en")
            return METACLIP if self.style == "metaclip" else rule
        check_maker(self, "merge")
        if self.max_queries is not None and self.max_queries < (before := count_rows(VocabFolder(self.merge).queries)):
            raise ValueError(
                f"{self.name}: max-queries must be at least {before}, the queries of {self.merge}, "
                f"not {self.max_queries}"
            )
        found = Matcher.load(VocabFolder(self.merge).matcher, files.local_path).normalization
        for name, own, its in (
            ("case", self.case, found.case),
            ("style", self.style, found.style),
            ("clitics", self.clitics, found.clitics),
        ):
            if (own or its) != its:
                raise ValueError(f"{self.name}: {name} must be {its!r} as in {self.merge}, not {own!r}")
        return found

    def read_list(self, path: str) -> pa.Table:
        """The rows of a list (`vocab.own_lists.OWN_LIST`); raises BadList when it is none."""
        columns = OwnColumns(self.query_column, self.count_column)
        return read_own_list(files.basename(path), files.read_bytes(path), columns)


class OwnLists(NamedTuple):
    """The lists of a run: a unit of work.

    Attributes:
        paths: Where they lie.
        num_rows: How many rows each has.
    """

    paths: tuple[str, ...]
    num_rows: tuple[int, ...]


def open_queries(folder: str) -> QueryTable:
    """The queries of a vocabulary; none where no folder is named."""
    return QueryTable(read_table(VocabFolder(folder).queries)) if folder else QueryTable.empty()


def write_imports(
    lists: OwnLists,
    output: str,
    *,
    options: ImportVocab,
    normalization: Normalization,
    identity: Mapping[str, Any],
) -> Counts:
    """Folds the lists, adds them to what is there, and writes what the stage leaves behind.

    Args:
        lists: What is read.
        output: The table of queries, written last.
        options: Of the stage.
        normalization: How queries are searched for.
        identity: Of the stage.

    Returns:
        What became of the rows of the lists; how many queries there are, and how many of them are in own lists.
    """
    rows = pa.concat_tables(options.read_list(path) for path in lists.paths)
    folded = fold_lists(rows, normalization, max_chars=options.max_query_chars)
    before = open_queries(options.merge)
    table = before.with_imports(folded.queries, max_queries=options.max_queries)
    fates = mark_left_out(folded.fates, table.rows["query"].combine_chunks())
    vocab = VocabFolder(options.output)
    write_beside(table, vocab, normalization)
    write_table(vocab.imports, pa.concat_tables([*_imports_before(options.merge), fates]), FATES)
    counts = count_fates(fates) | _count_merged(before, table, folded.queries["query"])
    facts = ImportFacts(options, type(options), before, table, fates, lists, counts, identity)
    files.write_bytes_whole(vocab.report, render_imports(facts).encode())
    write_table(output, table.rows, QUERIES, counts)
    return counts


def count_fates(fates: pa.Table) -> Counts:
    """What became of rows of own lists, in = kept + drops."""
    found = Counter(fates["fate"].to_pylist())
    drops = {DropReason(fate).value: number for fate, number in found.items() if fate != Fate.KEPT}
    return drop_counts("imports", found[Fate.KEPT], drops)


def _count_merged(before: QueryTable, table: QueryTable, own: pa.ChunkedArray) -> Counts:
    in_both = int(pc.sum(pc.is_in(own, value_set=before.rows["query"])).as_py() or 0)
    merged = {"queries_before": len(before), "imports_known_before": in_both} if len(before) else {}
    return merged | {"queries": len(table)}


def _imports_before(folder: str) -> Sequence[pa.Table]:
    """What became of rows of lists that were imported into a vocabulary before."""
    path = VocabFolder(folder).imports if folder else ""
    return [read_table(path)] if path and files.exists(path) else []
