"""Pairs ► pairs with the queries that their text holds: the stage match-pairs.

In: tables of pairs (extract-pairs) and a vocabulary (build-vocab). Out, in one folder: for each table of pairs, under
its name, the queries of its pairs, row for row (`pipeline.base.matched_tables`); and ``counts.npy``, [num_queries]
int64, in how many pairs each query was found. Of the pairs only the texts are read.

What "holds" means is fixed when a vocabulary is compiled (`vocab.normalize`). Asked for another meaning, this stage
compiles the queries anew for itself.

Source: Radford et al. 2021, section 2.2; Xu et al. 2023 (MetaCLIP), section 3.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import CountQueries, list_column, read_lists
from pipeline.base.drops import Counts, CountUnits, DropReason, UnitReport, drop_counts, report_unit
from pipeline.base.matched_tables import matched_schema
from pipeline.base.options import option
from pipeline.base.schemas import MATCHED
from pipeline.base.stage_folder import Shape, Stage, Step, input_tables
from pipeline.base.tables import open_table_writer, read_batches, read_counts, read_table
from vocab.matcher import KERNELS, Kernel, Matcher, compile_matcher
from vocab.normalize import METACLIP, Case, Normalization

COUNTS_NAME = "counts.npy"
MATCHER_NAME = "matcher"


@dataclass(kw_only=True)
class MatchPairs(Stage):
    """Finds the queries that each pair's text holds; --explain TEXT shows those of a text."""

    name: ClassVar[str] = "match-pairs"

    pairs: str = option("", "Folder of pairs (extract-pairs).", under_data="pairs")
    vocab: str = option("", "Folder of the vocabulary (build-vocab).", under_data="vocab")
    output: str = option("", "Folder to write.", under_data="matched")
    case: str | None = option(
        None, "Whether case makes no difference (fold) [as the vocabulary says].", choices=("fold", "sensitive")
    )
    preset: str | None = option(None, "Match as MetaCLIP does, bit for bit.", choices=("metaclip",))
    kernel: str = option(
        "auto",
        "What searches the texts, with the same result: code compiled by numba, or the slower numpy where that fails.",
        choices=KERNELS,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if self.preset and self.case == "fold":
            raise ValueError("match-pairs: preset metaclip is case-sensitive; case must not be 'fold'")

    def inputs(self) -> list[str]:
        """The folders of the pairs and of the vocabulary."""
        return [self.pairs, self.vocab]

    def steps(self) -> Iterator[Step]:
        """Match table by table, then count."""
        tables = input_tables(self.pairs)
        outputs = tuple(files.join(self.output, files.basename(table)) for table in tables)
        matcher, folder = self.load_matcher(), files.join(self.vocab, MATCHER_NAME)
        matcher.prepare()
        if self.normalization is not None:
            folder = files.join(self.output, "_matcher")
            matcher.save(folder, files.write_bytes_whole)
        match = MatchQueries(
            stage_name=self.name,
            tables=tables,
            matcher=folder,
            digest=matcher.digest,
            output=self.output,
            kernel=matcher.kernel,
        )
        yield Step("MatchQueries", match, Shape.MAP, outputs)
        counts = files.join(self.output, COUNTS_NAME)
        count = CountQueries(
            stage_name=self.name,
            tables=outputs,
            read=partial(read_lists, column="query_ids"),
            num_queries=matcher.num_queries,
            output=counts,
        )
        yield Step("CountQueries", count, Shape.MAP, (counts,))

    @property
    def normalization(self) -> Normalization | None:
        """The normalisation that the options ask for; None: the one that the vocabulary was compiled with."""
        if self.preset:
            return METACLIP
        return Normalization(case=cast(Case, self.case)) if self.case else None

    @property
    def queries(self) -> str:
        """The table of the vocabulary's queries."""
        return files.join(self.vocab, "queries.parquet")

    def load_matcher(self) -> Matcher:
        """The matcher that the options ask for."""
        if self.normalization is None:
            return Matcher.load(
                files.join(self.vocab, MATCHER_NAME), files.local_path, kernel=cast(Kernel, self.kernel)
            )
        queries = read_table(self.queries, ["query"])["query"].combine_chunks()
        return compile_matcher(queries, normalization=self.normalization, kernel=cast(Kernel, self.kernel))


@dataclass(kw_only=True, eq=False)
class MatchQueries(beam.PTransform):
    """Writes the queries of the pairs of every table.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Tables of pairs.
        matcher: Folder of the compiled queries; workers map its files into memory.
        digest: What the matcher there must be.
        output: Folder for the tables.
        kernel: How texts are searched.
    """

    stage_name: str
    tables: Sequence[str]
    matcher: str
    digest: str
    output: str
    kernel: Kernel = "auto"

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        match_tables = beam.ParDo(_MatchTable(self.matcher, self.digest, self.output, self.kernel))
        return (
            root
            | "Tables" >> beam.Create(list(self.tables)).with_output_types(str)
            | "MatchTable" >> match_tables.with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def match_table(source: str, target: str, matcher: Matcher) -> Counts:
    """Writes the queries of the pairs of one table.

    Returns:
        Pairs in, those with a query kept, the others dropped; and how many queries were found in them.
    """
    num_pairs = num_kept = num_matches = 0
    with open_table_writer(target, matched_schema(source)) as writer:
        for batch in read_batches(source, ["text"]):
            matches = matcher.match_column(batch["text"])
            lengths = np.diff(matches.offsets)
            writer.write(pa.RecordBatch.from_arrays([list_column(lengths, matches.query_ids)], MATCHED.names))
            num_pairs += batch.num_rows
            num_kept += int(np.count_nonzero(lengths))
            num_matches += len(matches.query_ids)
        counts = drop_counts("pairs", num_kept, {DropReason.NO_QUERY.value: num_pairs - num_kept})
        writer.counts = counts | {"matches": num_matches}
        return writer.counts


class _MatchTable(beam.DoFn):
    def __init__(self, folder: str, digest: str, output: str, kernel: Kernel) -> None:
        self._folder = folder
        self._digest = digest
        self._output = output
        self._kernel = kernel

    def setup(self) -> None:
        self._matcher = Matcher.load(self._folder, files.local_path, kernel=self._kernel)
        if self._matcher.digest != self._digest:
            raise ValueError(f"{self._folder}: holds another matcher than when this stage began")

    def process(self, source: str) -> Iterator[UnitReport]:
        name = files.basename(source)
        target = files.join(self._output, name)
        counts = read_counts(target)
        yield report_unit(name, match_table(source, target, self._matcher) if counts is None else counts)
