"""Counts, page views and WordNet ► the rows that each source gives to the query list, and a survey of each.

In: the counts of all dumps together, the sums of page views, WordNet. Out: `SourceTables`, best rows first, and for
the report a `SourceSurvey` a source. Bigrams are looked at range by range: only those that pass stay in memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.plots import rank_curve
from pipeline.base.tables import read_counts, read_table
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions
from pipeline.vocabulary.plan import VocabPlan
from pipeline.vocabulary.report.survey import (
    SourceSurvey,
    WordSurvey,
    add_bins,
    count_bins,
    count_log_bins,
    find_near,
    merge_near,
)
from pipeline.vocabulary.title_views import sum_views
from vocab.bigrams import BIGRAM_COUNTS, score_bigrams, select_bigrams, unpack_bigrams
from vocab.queries import QuerySource, SourceTables
from vocab.synsets import LEMMAS, cut_names, name_synsets, read_lemmas
from vocab.titles import select_titles
from vocab.words import have_letters

PMI_BIN_BITS = 0.5
VIEWS_BINS_PER_DECADE = 5


class SelectedSources(NamedTuple):
    """What the sources give."""

    tables: SourceTables
    surveys: dict[QuerySource, SourceSurvey]
    num_tokens: int


def select_sources(options: VocabOptions, plan: VocabPlan, bigrams: Sequence[str]) -> SelectedSources:
    """The rows of every source under a stage's options.

    Args:
        options: Of the stage.
        plan: Its files.
        bigrams: Tables of the frequent bigrams, `BIGRAM_COUNTS`.
    """
    kept = read_table(plan.kept_words)
    counts = read_counts(plan.kept_words) or {}
    words, of_words = _select_words(options, kept, WordSurvey.from_json(files.read_bytes(plan.word_survey)))
    pairs, of_bigrams = _select_bigrams(options, kept, bigrams, num_tokens=counts["tokens"])
    titles, of_titles = _select_titles(options, plan)
    synsets, of_synsets = _select_synsets(options, plan)
    of_words.found = counts["distinct_tokens"]
    return SelectedSources(
        SourceTables(words, pairs, titles, synsets),
        dict(zip(QuerySource, (of_words, of_bigrams, of_titles, of_synsets), strict=True)),
        counts["tokens"],
    )


def select_words(options: VocabOptions, kept: pa.Table) -> pa.Table:
    """Those of the kept words that their rule lets pass, the most frequent first; more than their share may be."""
    numbers = pa.array([str(number) for number in range(options.numbers_below)], pa.string())
    enough = pc.and_(pc.greater_equal(kept["count"], options.min_word_count), have_letters(kept["word"]))
    enough = pc.or_(enough, pc.is_in(kept["word"], numbers))
    return kept.filter(enough).sort_by([("count", "descending"), ("word", "ascending")])


def _select_words(options: VocabOptions, kept: pa.Table, every: WordSurvey) -> tuple[pa.Table, SourceSurvey]:
    words = select_words(options, kept)
    selected = words.slice(0, options.max_words)
    survey = SourceSurvey(
        passed=words.num_rows,
        selected=selected.num_rows,
        curve=every.rank_curve(),
        near=every.near,
    )
    return selected, survey


def _select_bigrams(
    options: VocabOptions, words: pa.Table, tables: Sequence[str], *, num_tokens: int
) -> tuple[pa.Table, SourceSurvey]:
    found, histograms, near, passed = 0, [], [], [_score_bigrams(BIGRAM_COUNTS.empty_table(), words, num_tokens=1)]
    for path in tables:
        scored = _score_bigrams(read_table(path), words, num_tokens=num_tokens)
        scored = scored.filter(_both_at_least(scored, options.least_bigram_word_count))
        found += scored.num_rows
        near.append(find_near(scored, figure="pmi", threshold=options.min_pmi))
        histograms.append(count_bins(scored["pmi"].to_numpy(), threshold=options.min_pmi, width=PMI_BIN_BITS))
        passed.append(scored.filter(pc.greater_equal(scored["pmi"], options.min_pmi)))
    every = pa.concat_tables(passed)
    limit = every.num_rows if options.max_bigrams is None else options.max_bigrams
    best = select_bigrams(every, rank_by=options.rank_bigrams, min_pmi=options.min_pmi, max_bigrams=limit)
    survey = SourceSurvey(
        found=found,
        passed=every.num_rows,
        selected=best.num_rows,
        curve=rank_curve(every["count"].to_numpy()),
        histogram=add_bins(histograms),
        near=merge_near(near, options.min_pmi),
    )
    return best.append_column("display", _spell_bigrams(best["bigram"], words)), survey


def _score_bigrams(counts: pa.Table, words: pa.Table, *, num_tokens: int) -> pa.Table:
    """SCORED_BIGRAMS with the counts of both words."""
    bigrams, alone = unpack_bigrams(counts), words["count"].to_numpy()
    scored = score_bigrams(counts, words, num_tokens=num_tokens)
    scored = scored.append_column("first_count", pa.array(alone[bigrams.first]))
    return scored.append_column("second_count", pa.array(alone[bigrams.second]))


def _both_at_least(scored: pa.Table, min_count: int) -> pa.ChunkedArray:
    return pc.greater_equal(pc.min_element_wise(scored["first_count"], scored["second_count"]), min_count)


def _spell_bigrams(bigrams: pa.ChunkedArray, words: pa.Table) -> pa.Array:
    """Both words of a bigram as they are written most often."""
    split = pc.split_pattern(bigrams.combine_chunks(), " ").flatten()
    display = words["display"].combine_chunks().take(pc.index_in(split, value_set=words["word"]))
    return pc.binary_join_element_wise(display[::2], display[1::2], " ")


def _select_titles(options: VocabOptions, plan: VocabPlan) -> tuple[pa.Table, SourceSurvey]:
    views = sum_views(options, plan)
    every = select_titles(
        views,
        min_views=1,
        qualifiers=options.qualifiers,
        normalization=plan.normalization,
        numbers=options.number_titles == "keep",
        max_chars=options.max_title_chars,
    )
    passed = every.filter(pc.greater_equal(every["views"], options.min_views))
    selected = passed.slice(0, options.max_titles)
    numbers = every["views"].to_numpy()
    survey = SourceSurvey(
        found=every.num_rows,
        passed=passed.num_rows,
        selected=selected.num_rows,
        curve=rank_curve(numbers),
        histogram=count_log_bins(numbers, threshold=options.min_views, per_decade=VIEWS_BINS_PER_DECADE),
        near=find_near(every, figure="views", threshold=options.min_views),
    )
    return selected, survey


def _select_synsets(options: VocabOptions, plan: VocabPlan) -> tuple[pa.Table, SourceSurvey]:
    if options.wordnet == NO_WORDNET:
        lemmas = LEMMAS.empty_table()
    else:
        lemmas = read_lemmas(options.wordnet, all_lemmas=options.all_lemmas)
    if options.style == "metaclip" and not options.all_lemmas:
        lemmas = cut_names(lemmas)
    names = lemmas["lemma"].combine_chunks()
    if options.style == "metaclip":
        names = pc.utf8_lower(names)
    named = _commonest_first(name_synsets(lemmas, plan.normalization.normalize_queries(names)))
    return named, SourceSurvey(found=lemmas.num_rows, passed=named.num_rows, selected=named.num_rows)


def _commonest_first(named: pa.Table) -> pa.Table:
    """NAMED_SYNSETS by what tells common names from rare ones without a text: many meanings, then few letters."""
    measured = named.append_column("meanings", pc.list_value_length(named["synsets"]))
    measured = measured.append_column("length", pc.utf8_length(named["synset"]))
    order = [("meanings", "descending"), ("length", "ascending"), ("synset", "ascending")]
    return measured.sort_by(order).select(named.column_names)
