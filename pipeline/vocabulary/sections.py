"""The sections of the vocabulary report on the sources: what became of their strings, and what each threshold keeps.

In: the merged queries and what the sources gave before the merge. Out: the content of one section each.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base.drops import Counts
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.page import Html, columns, figure, paragraph, table
from pipeline.vocabulary.plots import (
    Bar,
    Curve,
    Mark,
    Segment,
    draw_histogram,
    draw_overlaps,
    draw_ranks,
    draw_stacks,
)
from pipeline.vocabulary.selected_sources import PMI_BIN_BITS, VIEWS_BINS_PER_DECADE, SelectedSources
from pipeline.vocabulary.survey import Near
from vocab.queries import QuerySource, QueryTable

TOP_ROWS = 12
_PLURALS = {
    QuerySource.WORD: "words",
    QuerySource.BIGRAM: "bigrams",
    QuerySource.TITLE: "titles",
    QuerySource.SYNSET: "synset names",
}


class ReportFacts(NamedTuple):
    """What the report is made of.

    Attributes:
        options: Of the stage.
        selection: What each source gave.
        queries: The merged list.
        damages: Places in the dumps that could not be read (`DAMAGES`).
        wiki: Host of the wiki; "" when the dump does not say.
        counts: What was read and dropped.
        identity: Options and inputs that decide the output.
    """

    options: VocabOptions
    selection: SelectedSources
    queries: QueryTable
    damages: pa.Table
    wiki: str
    counts: Counts
    identity: Mapping[str, Any]


def _rules(options: VocabOptions) -> dict[QuerySource, str]:
    numbers = f", and the numbers below {options.numbers_below}" if options.numbers_below else ""
    lemmas = "every lemma" if options.all_lemmas else "the first lemma of each synset"
    return {
        QuerySource.WORD: f"{options.min_word_count:,} occurrences or more{numbers}",
        QuerySource.BIGRAM: f"{options.min_bigram_count:,} occurrences and PMI {options.min_pmi:g} bits or more, "
        f"of words with {options.least_bigram_word_count:,} occurrences or more",
        QuerySource.TITLE: f"{options.min_views:,} views or more",
        QuerySource.SYNSET: lemmas,
    }


def show_sources(facts: ReportFacts) -> list[Html]:
    """Which source gave what, and where they agree."""
    overlaps, rules = facts.queries.count_overlaps(), _rules(facts.options)
    rows, stacks = [], {}
    for source, survey in facts.selection.surveys.items():
        listed, own = facts.queries.count_source(source), overlaps.get((source.label,), 0)
        parts = (own, listed - own, survey.passed - survey.selected, survey.selected - listed)
        rows.append([_PLURALS[source], rules[source], survey.found, survey.passed, survey.selected, listed, own])
        stacks[_PLURALS[source]] = [
            Segment(text, f"{source.label} {kind}" if kind in _LISTED else kind, number)
            for (kind, text), number in zip(_FATES.items(), parts, strict=True)
        ]
    head = ("source", "rule", "found", "pass the rule", "in their share", "in the list", "only from here")
    return [
        table(head, rows),
        figure(
            draw_stacks(
                "fates", "Strings of each source that pass its rule, by what became of them", stacks, shares=True
            ),
            "What became of the strings that pass their source's rule, as shares. The budget takes words first, then "
            "bigrams, synset names and titles; in each source the best come first.",
            tuple(_FATES.items()),
        ),
        figure(
            draw_overlaps(
                "overlaps", "Queries by the sources that give them", [s.label for s in QuerySource], overlaps
            ),
            "How many queries come from exactly which sources.",
        ),
    ]


_LISTED = ("own", "shared")
_FATES = {
    "own": "in the list, from this source alone",
    "shared": "in the list, from others too",
    "share": "over the source's share",
    "budget": "over the budget",
}


def show_words(facts: ReportFacts) -> list[Html]:
    """Words by rank, and those nearest to the threshold."""
    surveys, options = facts.selection.surveys, facts.options
    every, bigrams = surveys[QuerySource.WORD].curve, surveys[QuerySource.BIGRAM].curve
    if not every:
        return [paragraph("No word was counted.")]
    curves = [
        Curve("all words", "below", every),
        Curve("words that pass", "word", [point for point in every if point.figure >= options.min_word_count]),
        Curve("bigrams that pass", "bigram", bigrams),
    ]
    mark = Mark(options.min_word_count, f"words: {options.min_word_count:,} occurrences")
    plot = draw_ranks(
        "ranks", "Occurrences of words and bigrams by rank", curves, labels=("rank", "occurrences"), mark=mark
    )
    words = facts.selection.tables.words
    top = table(("most frequent", "occurrences"), _rows(words, "word", "count"))
    return [
        figure(
            plot,
            "Occurrences of words and bigrams, the most frequent first; both axes are logarithmic, so that Zipf's law "
            "would be a straight line.",
        ),
        columns([top, *_near_tables(surveys[QuerySource.WORD].near, "occurrences")]),
    ]


def show_bigrams(facts: ReportFacts) -> list[Html]:
    """Bigrams by PMI, those nearest to the threshold, and the first ones."""
    survey, options = facts.selection.surveys[QuerySource.BIGRAM], facts.options
    if not survey.histogram:
        return [paragraph(f"No bigram occurs {options.min_bigram_count:,} times.")]
    bars = [
        Bar(low, low + PMI_BIN_BITS, number, QuerySource.BIGRAM.label if place >= 0 else "below")
        for place, number in survey.histogram.items()
        for low in [options.min_pmi + place * PMI_BIN_BITS]
    ]
    plot = draw_histogram(
        "pmi",
        "Bigrams by pointwise mutual information",
        bars,
        labels=("PMI, bits", "bigrams"),
        mark=Mark(options.min_pmi, f"threshold: {options.min_pmi:g} bits"),
        log=(False, False),
    )
    tokens, least = facts.selection.num_tokens, max(options.min_bigram_count, options.least_bigram_word_count)
    heads = ("first in rank", "occurrences", "of the first word", "of the second", "PMI", "NPMI")
    best = _rows(facts.selection.tables.bigrams, "bigram", "count", "first_count", "second_count", "pmi", "npmi")
    return [
        paragraph(
            f"The most bits are had by two words that only ever occur together, and as seldom as the rule allows: "
            f"log2({tokens:,} / {least:,}) = {np.log2(tokens / least):.1f} bits for a count of {least:,}."
        ),
        figure(plot, "Bigrams that are frequent enough; what is left of the line, in grey, is not taken."),
        columns(_near_tables(survey.near, "PMI")),
        *([table(heads, best)] if best else []),
    ]


def show_titles(facts: ReportFacts) -> list[Html]:
    """Titles by views, and those nearest to the threshold."""
    survey, options = facts.selection.surveys[QuerySource.TITLE], facts.options
    if not survey.histogram:
        return [paragraph("No page views were given, or none of an article.")]

    def edge(place: int) -> float:
        return max(1.0, options.min_views * 10.0 ** (place / VIEWS_BINS_PER_DECADE))

    bars = [
        Bar(edge(place), edge(place + 1), number, QuerySource.TITLE.label if place >= 0 else "below")
        for place, number in survey.histogram.items()
    ]
    plot = draw_histogram(
        "views",
        "Titles by page views",
        bars,
        labels=("views", "titles"),
        mark=Mark(options.min_views, f"threshold: {options.min_views:,} views"),
        log=(True, True),
    )
    top = table(("most viewed", "views"), _rows(facts.selection.tables.titles, "display", "views"))
    return [
        figure(plot, "Titles by their views, those of redirects included; both axes are logarithmic."),
        columns([top, *_near_tables(survey.near, "views")]),
    ]


def _near_tables(near: Near, unit: str) -> list[Html]:
    sides = (("just above", near.above), ("just below", near.below))
    return [table((heading, unit), side) for heading, side in sides if side]


def _rows(rows: pa.Table, *names: str) -> list[list[Any]]:
    return [list(row.values()) for row in rows.select(names).slice(0, TOP_ROWS).to_pylist()]
