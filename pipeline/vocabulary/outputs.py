"""The last step of build-vocab: the sources merged, and everything that the stage leaves behind.

In: the counts of all dumps together. Out: the files of a `VocabFolder`, the table of the queries as the last.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.csv

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import VocabFolder
from pipeline.base.stage_folder import stage_identity
from pipeline.base.tables import read_table, sum_counts, write_table
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions
from pipeline.vocabulary.plan import VocabPlan
from pipeline.vocabulary.report.page import ReportFacts, render_report
from pipeline.vocabulary.report.survey import Figured, SourceSurvey
from pipeline.vocabulary.selected_sources import select_sources, select_words
from pipeline.vocabulary.unit_counts import DAMAGES
from vocab.matcher import compile_matcher
from vocab.normalize import Normalization
from vocab.queries import QUERIES, QuerySource, QueryTable


class NoQuery(ValueError):
    """No source has anything that passes its thresholds; the message says which to lower, and to what."""


def is_word_query(options: VocabOptions, plan: VocabPlan) -> bool:
    """Whether some word is a query, as soon as words are added up: then there is one, whatever else is found."""
    return options.max_words != 0 and select_words(options, read_table(plan.kept_words)).num_rows > 0


def check_queries(options: VocabOptions, plan: VocabPlan, bigrams: Sequence[str] | None) -> None:
    """Checks that there will be a query, before the sources are merged.

    Args:
        options: Of the stage.
        plan: The files of the stage.
        bigrams: Tables of the frequent bigrams, `BIGRAM_COUNTS`; None: they are not counted yet, nor needed where
            other sources than words and bigrams are given, or where two words are frequent enough for one.

    Raises:
        NoQuery: When there is none.
    """
    if bigrams is None:
        has_pairs = options.max_bigrams != 0 and read_table(plan.kept_words, ["word"]).num_rows > 0
        if has_pairs or plan.views or options.wordnet != NO_WORDNET:
            return
    selection = select_sources(options, plan, bigrams or ())
    if not len(QueryTable.merge(selection.tables, max_queries=1)):
        reasons = "; ".join(_why_none(options, plan, selection.surveys))
        raise NoQuery(f"not one query in {selection.num_tokens:,} words: {reasons} (--overwrite replaces this run)")


def _why_none(options: VocabOptions, plan: VocabPlan, surveys: Mapping[QuerySource, SourceSurvey]) -> Iterator[str]:
    """Why each source that was asked for gives no query."""
    if options.max_words != 0:
        best = surveys[QuerySource.WORD].near.below[:1]
        yield f"no word occurs {options.min_word_count:,} times" + _most("--min-word-count", best)
    if options.max_bigrams != 0:
        yield (
            f"no bigram has --min-bigram-word-count {options.least_bigram_word_count:,}, "
            f"--min-bigram-count {options.min_bigram_count:,} and --min-pmi {options.min_pmi:g}"
        )
    if plan.views and options.max_titles != 0:
        best = surveys[QuerySource.TITLE].near.below[:1]
        yield f"no title has {options.min_views:,} views" + _most("--min-views", best)
    if options.wordnet != NO_WORDNET:
        yield "WordNet has no lemma"


def _most(flag: str, best: Sequence[Figured]) -> str:
    """What to lower, and to what, for the best string that a source has."""
    return "".join(f", lower {flag} to {it.figure:,} ({it.text!r}) or less" for it in best)


def write_vocab(plan: VocabPlan, output: str, *, options: VocabOptions, bigrams: Sequence[str]) -> Counts:
    """Selects from every source, merges, and writes what the stage leaves behind.

    Args:
        plan: The files of the stage.
        output: The table of queries, written last.
        options: Of the stage.
        bigrams: Tables of the frequent bigrams, `BIGRAM_COUNTS`.

    Returns:
        How many queries there are, and from each source.
    """
    selection = select_sources(options, plan, bigrams)
    table = QueryTable.merge(selection.tables, max_queries=options.max_queries)
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
        dumps={files.basename(task.unit.path) for task in plan.tasks},
        views={files.basename(path) for path in plan.views},
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
