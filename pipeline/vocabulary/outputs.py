"""The last step of build-vocab: the sources merged, and everything that the stage leaves behind.

In: the counts of all dumps together. Out: the files of a `VocabFolder`, the table of the queries as the last.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import VocabFolder
from pipeline.base.stage_folder import stage_identity
from pipeline.base.tables import read_table, sum_counts, write_table
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.plan import VocabPlan
from pipeline.vocabulary.report.page import ReportFacts, render_report
from pipeline.vocabulary.selected_sources import select_sources
from pipeline.vocabulary.unit_counts import DAMAGES
from vocab.matcher import compile_matcher
from vocab.normalize import Normalization
from vocab.queries import QUERIES, QuerySource, QueryTable


class NoQuery(ValueError):
    """No source has anything that passes its thresholds."""


def write_vocab(plan: VocabPlan, output: str, *, options: VocabOptions, bigrams: Sequence[str]) -> Counts:
    """Selects from every source, merges, and writes what the stage leaves behind.

    Args:
        plan: The files of the stage.
        output: The table of queries, written last.
        options: Of the stage.
        bigrams: Tables of the frequent bigrams, `BIGRAM_COUNTS`.

    Returns:
        How many queries there are, and from each source.

    Raises:
        NoQuery: When there is none.
    """
    selection = select_sources(options, plan, bigrams)
    table = QueryTable.merge(selection.tables, max_queries=options.max_queries)
    if not len(table):
        raise NoQuery(
            f"not one query: of {selection.num_tokens:,} words in the dump, none occurs {options.min_word_count} "
            "times (min-word-count), and page views and WordNet give none"
        )
    vocab = VocabFolder(options.output)
    write_beside(table, vocab, plan.normalization)
    damages = _read_damages(plan)
    _write_damages(damages, vocab.damages)
    facts = ReportFacts(
        options=options,
        selection=selection,
        queries=table,
        damages=damages,
        wiki=plan.site.host,
        counts=sum_counts([*(task.paths.words for task in plan.tasks), *plan.views.values()]),  # what was read
        identity=stage_identity(options),
    )
    files.write_bytes_whole(vocab.report, render_report(facts).encode())
    counts = _count_queries(table)
    write_table(output, table.rows, QUERIES, counts)
    return counts


def write_beside(table: QueryTable, vocab: VocabFolder, normalization: Normalization) -> None:
    """Writes what goes with a table of queries: their matcher, and the table to look at."""
    matcher = compile_matcher(table.rows["query"].combine_chunks(), normalization=normalization)
    matcher.save(vocab.matcher, files.write_bytes_whole)
    with files.write_whole(vocab.queries_tsv) as file:
        table.write_tsv(file)


def _count_queries(table: QueryTable) -> Counts:
    return {f"from_{source.label}s": table.count_source(source) for source in QuerySource} | {"queries": len(table)}


def _read_damages(plan: VocabPlan) -> pa.Table:
    damages = pa.concat_tables([DAMAGES.empty_table(), *(read_table(task.paths.damages) for task in plan.tasks)])
    return damages.sort_by([(name, "ascending") for name in DAMAGES.names])


def _write_damages(damages: pa.Table, path: str) -> None:
    options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    with files.write_whole(path) as file:
        pyarrow.csv.write_csv(damages, file, options)
