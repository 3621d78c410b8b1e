"""Facts on a vocabulary ► the page that shows them: ``page.html.j2``, its tables and its pictures filled in.

In: the merged queries, what the sources gave before the merge, and what was read. Out: the text of ``report.html``.
Equal inputs and options give equal bytes.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import Counts
from pipeline.base.dump_names import find_date
from pipeline.base.options import options_of
from pipeline.base.plots import Layer, draw_histogram, draw_overlaps, draw_ranks, draw_stacks
from pipeline.base.rendering import draw_svg, render_template
from pipeline.base.sizes import show_bytes
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions
from pipeline.vocabulary.report.survey import script_of
from pipeline.vocabulary.selected_sources import PMI_BIN_BITS, VIEWS_BINS_PER_DECADE, SelectedSources
from vocab.queries import QuerySource, QueryTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLURALS = {
    QuerySource.WORD: "words",
    QuerySource.BIGRAM: "bigrams",
    QuerySource.TITLE: "titles",
    QuerySource.SYNSET: "synset names",
}
_KINDS = {
    QuerySource.WORD: "Frequent words",
    QuerySource.BIGRAM: "bigrams whose words belong together",
    QuerySource.TITLE: "titles of articles that are looked at",
    QuerySource.SYNSET: "the names that WordNet gives",
}
_FATES = {  # of what passes the rule of its source, and how it is painted: its colour (none: its source's), its opacity
    "in the list, from this source alone": ("", 1.0),
    "in the list, from others too": ("", 0.5),
    "over the source's share": ("below", 1.0),
    "over the budget": ("below", 0.4),
}
_LONGEST = ("display", "characters", "sources")
_READ = {"streams": "streams", "wiki_pages": "pages", "view_rows": "view rows"}


class ReportFacts(NamedTuple):
    """What the report is made of.

    Attributes:
        options: Of the stage.
        selection: What each source gave.
        queries: The merged list.
        damages: Places in the dumps that could not be read (`DAMAGES`).
        wiki: Host of the wiki; "" when the dump does not say.
        dumps: Names of the dump's files.
        views: Names of page-view files.
        counts: What was read and dropped.
        identity: Options and inputs that decide the output.
    """

    options: VocabOptions
    selection: SelectedSources
    queries: QueryTable
    damages: pa.Table
    wiki: str
    dumps: Collection[str]
    views: Collection[str]
    counts: Counts
    identity: Mapping[str, Any]


def render_report(facts: ReportFacts) -> str:
    """The page."""
    return render_template(
        __package__,
        "page.html.j2",
        **facts._asdict(),
        num_view_files=len(facts.views),
        made_from=_made_from(facts),
        kinds=[words for source, words in _KINDS.items() if not _why_absent(facts, source)],
        surveys={source.label: survey for source, survey in facts.selection.surveys.items()},
        first_rows=_first_rows,
        sources=[_tell_source(facts, source, row) for source, row in _source_rows(facts).items()],
        longest=longest_queries(facts.queries),
        read=_read_rows(facts.counts),
        configured=option_rows(VocabOptions, facts.identity["options"]),
        inputs=[
            [stamp["name"], _kind_of(facts, stamp["name"]), find_date(stamp["name"]), stamp["bytes"], stamp["digest"]]
            for stamp in facts.identity["inputs"]
        ],
        log2=math.log2,
        pictures={name: draw_svg(name, draw) for name, draw in _pictures(facts)},
    )


def _pictures(facts: ReportFacts) -> Iterator[tuple[str, Callable[["Figure"], None]]]:
    """Name and drawing of every picture that there is something to show in."""
    options, surveys = facts.options, facts.selection.surveys
    sources = {source: row for source, row in _source_rows(facts).items() if not _why_absent(facts, source)}
    fates = [
        (own, listed - own, passed - chosen, chosen - listed) for *_, passed, chosen, listed, own in sources.values()
    ]
    layers = [
        Layer(text, numbers, [kind or source.label for source in sources], opacity)
        for (text, (kind, opacity)), numbers in zip(_FATES.items(), zip(*fates, strict=True), strict=True)
    ]
    yield "fates", partial(draw_stacks, labels=[row[0] for row in sources.values()], layers=layers, shares=True)
    yield "overlaps", draw_sources(facts.queries, [source.label for source in sources])
    if every := surveys[QuerySource.WORD].curve:
        passed = [point for point in every if point.figure >= options.min_word_count]
        curves = {"all words": ("below", every), "words that pass": ("word", passed)}
        curves["bigrams that pass"] = ("bigram", surveys[QuerySource.BIGRAM].curve)
        marks = {f"threshold of words: {options.min_word_count:,}": options.min_word_count}
        yield "ranks", partial(draw_ranks, curves=curves, unit="occurrences", marks=marks)
    if bins := surveys[QuerySource.BIGRAM].histogram:
        bars = _bars(bins, lambda place: options.min_pmi + place * PMI_BIN_BITS)
        draw = partial(draw_histogram, kind="bigram", unit="PMI, bits", things="bigrams", threshold=options.min_pmi)
        yield "pmi", partial(draw, bars=bars)
    if bins := surveys[QuerySource.TITLE].histogram:
        bars = _bars(bins, lambda place: max(1, options.min_views * 10 ** (place / VIEWS_BINS_PER_DECADE)))
        draw = partial(draw_histogram, kind="title", unit="views", things="titles", threshold=options.min_views)
        yield "views", partial(draw, bars=bars, scales=("log", "log"))
    yield from query_pictures(facts.queries)
    if read := _read_rows(facts.counts):
        labels, entered, kept, _ = zip(*read, strict=True)
        dropped = [number - left for number, left in zip(entered, kept, strict=True)]
        layers = [Layer("kept", kept, ["total"] * len(read)), Layer("dropped", dropped, ["below"] * len(read))]
        yield "reading-shares", partial(draw_stacks, labels=labels, layers=layers, shares=True)


def draw_sources(queries: QueryTable, labels: Sequence[str]) -> Callable[["Figure"], None]:
    """Draws how many queries come from exactly which of some sources."""
    return partial(draw_overlaps, sets=labels, overlaps=queries.count_overlaps())


def query_pictures(queries: QueryTable) -> Iterator[tuple[str, Callable[["Figure"], None]]]:
    """Name and drawing of what is to be seen of any queries, wherever they are from."""
    names = queries.rows["query"]
    lengths = sorted(Counter(pc.add(pc.count_substring(names, " "), 1).to_pylist()).items())
    yield "lengths", _draw_totals((f"{number:,} word{'s'[: number > 1]}", count) for number, count in lengths)
    yield "scripts", _draw_totals(Counter(map(script_of, names.to_pylist())).most_common(10))


def _bars(bins: Mapping[int, int], edge: Callable[[int], float]) -> list[tuple[float, float, int]]:
    return [(edge(place), edge(place + 1), number) for place, number in bins.items()]


def _draw_totals(totals: Iterable[tuple[str, int]]) -> Callable[["Figure"], None]:
    labels, numbers = zip(*totals, strict=True)
    return partial(draw_stacks, labels=labels, layers=[Layer("queries", numbers, ["total"] * len(numbers))])


def _made_from(facts: ReportFacts) -> list[list[str]]:
    """What the dump and the page views are: name or number of files, of when, how large."""
    rows = []
    for kind, names in (("dump", facts.dumps), ("page views", facts.views)):
        sizes = {stamp["name"]: stamp["bytes"] for stamp in facts.identity["inputs"] if stamp["name"] in names}
        if sizes:
            dates = sorted({date for name in sizes if (date := find_date(name))})
            name = next(iter(sizes)) if len(sizes) == 1 else f"{len(sizes):,} files"
            rows.append(
                [kind, name, " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])), show_bytes(sum(sizes.values()))]
            )
    return rows


def _kind_of(facts: ReportFacts, name: str) -> str:
    return "dump" if name in facts.dumps else "page views" if name in facts.views else "WordNet"


def _tell_source(facts: ReportFacts, source: QuerySource, row: Sequence[Any]) -> list[Any]:
    """A row of `_source_rows`; of a source that was not asked, why, in place of its rule and numbers."""
    absent = _why_absent(facts, source)
    return [row[0], absent, *[""] * (len(row) - 2)] if absent else list(row)


def _why_absent(facts: ReportFacts, source: QuerySource) -> str:
    if source is QuerySource.TITLE and not facts.views:
        return "no page views were given"
    return "WordNet was left out" if source is QuerySource.SYNSET and facts.options.wordnet == NO_WORDNET else ""


def _source_rows(facts: ReportFacts) -> dict[QuerySource, list[Any]]:
    """Each source's name, rule, and strings: found, pass, in the share, in the list, in it from here only."""
    options, queries, overlaps = facts.options, facts.queries, facts.queries.count_overlaps()
    numbers = f", and the numbers below {options.numbers_below}" if options.numbers_below else ""
    rules = (
        f"{options.min_word_count:,} occurrences or more{numbers}",
        f"{options.min_bigram_count:,} occurrences and PMI {options.min_pmi:g} bits or more, "
        f"of words with {options.least_bigram_word_count:,} occurrences or more",
        f"{options.min_views:,} views or more",
        "every lemma" if options.all_lemmas else "the first lemma of each synset",
    )
    rows = {}
    for (source, survey), rule in zip(facts.selection.surveys.items(), rules, strict=True):
        listed, own = queries.count_source(source), overlaps.get((source.label,), 0)
        rows[source] = [_PLURALS[source], rule, survey.found, survey.passed, survey.selected, listed, own]
    return rows


def _read_rows(counts: Counts) -> list[list[Any]]:
    """What was read, how many of it, how many were kept, and why the others were not."""
    rows: list[list[Any]] = []
    for thing, label in _READ.items():
        if entered := counts.get(f"{thing}/in"):
            prefix = f"{thing}/drop/"
            drops = {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}
            reasons = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in drops.items()) or "none"
            rows.append([label, entered, counts[f"{thing}/kept"], reasons])
    return rows


def longest_queries(queries: QueryTable) -> list[list[Any]]:
    """How the longest queries are written, their characters and their sources."""
    measured = queries.rows.append_column("characters", pc.utf8_length(queries.rows["query"]))
    longest = measured.sort_by([("characters", "descending"), ("query", "ascending")])
    return [[text, length, ", ".join(names)] for text, length, names in _first_rows(longest, *_LONGEST)]


def option_rows(cls: type, options: Mapping[str, Any]) -> list[list[str]]:
    """Options of a class, their values as flags and TOML spell them, and their defaults where these are others."""
    defaults = {option.name: json.loads(json.dumps(option.default)) for option in options_of(cls)}
    return [
        [name.replace("_", "-"), _spell(value), "" if value == defaults[name] else _spell(defaults[name])]
        for name, value in options.items()
    ]


def _spell(value: object) -> str:
    return json.dumps(value).strip('"') if value not in (None, "", []) else "-"


def _first_rows(rows: pa.Table, *names: str, number: int = 12) -> list[list[Any]]:
    return [list(row.values()) for row in rows.select(names).slice(0, number).to_pylist()]
