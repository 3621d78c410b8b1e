"""The last step of build-vocab: the sources merged, and everything that the stage leaves behind.

In: the counts of all dumps together. Out: ``queries.parquet`` (`QUERIES`), written last; the same for people in
``queries.tsv``; the compiled ``matcher/``; ``damages.tsv``, the places in the dumps that could not be read; and
``report.html``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pyarrow.csv

from pipeline.base import files
from pipeline.base.drops import Counts, CountUnits, UnitReport, report_unit
from pipeline.base.schemas import QUERIES
from pipeline.base.stage_folder import stage_identity
from pipeline.base.tables import read_counts, read_table, sum_counts, write_table
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.plan import VocabPlan
from pipeline.vocabulary.report import render_report
from pipeline.vocabulary.sections import ReportFacts
from pipeline.vocabulary.selected_sources import select_sources
from pipeline.vocabulary.total_counts import RangeTask
from pipeline.vocabulary.unit_counts import DAMAGES
from vocab.matcher import compile_matcher
from vocab.queries import QueryTable, Source

QUERIES_NAME = "queries.parquet"
REPORT_NAME = "report.html"


class NoQuery(ValueError):
    """No source has anything that passes its thresholds."""


@dataclass(kw_only=True, eq=False)
class MergeSources(beam.PTransform):
    """Selects from every source, merges, and writes the output of the stage.

    Attributes:
        options: Of the stage.
        plan: Its files.
        ranges: Its frequent bigrams.
    """

    options: VocabOptions
    plan: VocabPlan
    ranges: tuple[RangeTask, ...]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Ranges" >> beam.Create([self.ranges])
            | "WriteVocab" >> beam.Map(_write_vocab, self.options, self.plan).with_output_types(UnitReport)
            | CountUnits(self.options.name)
        )


def _write_vocab(ranges: Sequence[RangeTask], options: VocabOptions, plan: VocabPlan) -> UnitReport:
    path = files.join(options.output, QUERIES_NAME)
    counts = read_counts(path)
    if counts is None:
        selection = select_sources(options, plan, ranges)
        table = QueryTable.merge(selection.tables, max_queries=options.max_queries)
        if not len(table):
            raise NoQuery(
                f"not one query: of {selection.num_tokens:,} words in the dump, none occurs {options.min_word_count} "
                "times (min-word-count), and page views and WordNet give none"
            )
        matcher = compile_matcher(table.rows["query"].combine_chunks(), normalization=options.normalization)
        matcher.save(files.join(options.output, "matcher"), files.write_bytes_whole)
        with files.write_whole(files.join(options.output, "queries.tsv")) as file:
            table.write_tsv(file)
        damages = _read_damages(plan)
        _write_damages(damages, files.join(options.output, "damages.tsv"))
        facts = ReportFacts(
            options=options,
            selection=selection,
            queries=table,
            damages=damages,
            wiki=plan.site.host,
            counts=_read_unit_counts(plan),
            identity=stage_identity(options),
        )
        files.write_bytes_whole(files.join(options.output, REPORT_NAME), render_report(facts).encode())
        counts = _count_queries(table)
        write_table(path, table.rows, QUERIES, counts)
    return report_unit(QUERIES_NAME, counts)


def _count_queries(table: QueryTable) -> Counts:
    return {f"from_{source.label}s": table.count_source(source) for source in Source} | {"queries": len(table)}


def _read_unit_counts(plan: VocabPlan) -> Counts:
    """What was read of the dumps and of the page views, and dropped."""
    return sum_counts([*(task.paths.words for task in plan.tasks), *(task.path for task in plan.views_tasks)])


def _read_damages(plan: VocabPlan) -> pa.Table:
    damages = pa.concat_tables([DAMAGES.empty_table(), *(read_table(task.paths.damages) for task in plan.tasks)])
    return damages.sort_by([(name, "ascending") for name in DAMAGES.names])


def _write_damages(damages: pa.Table, path: str) -> None:
    options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    with files.write_whole(path) as file:
        pyarrow.csv.write_csv(damages, file, options)
