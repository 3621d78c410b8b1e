"""The vocabulary report: where the queries come from and what each threshold keeps, as one HTML page with pictures.

In: the merged queries, what the sources gave before the merge, and what was read. Out: the text of ``report.html``.
Equal inputs and options give equal bytes.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from pipeline.base.options import options_of
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.page import Html, Section, figure, folded, paragraph, render_page, table
from pipeline.vocabulary.plots import Segment, draw_stacks
from pipeline.vocabulary.sections import (
    TOP_ROWS,
    ReportFacts,
    show_bigrams,
    show_sources,
    show_titles,
    show_words,
)
from pipeline.vocabulary.survey import script_of
from vocab.queries import QueryTable

_MOST_DAMAGES = 50


def render_report(facts: ReportFacts) -> str:
    """The page."""
    wiki = f" of {facts.wiki}" if facts.wiki else ""
    tiles = [
        (f"{len(facts.queries):,}", f"queries (at most {facts.options.max_queries:,})"),
        (f"{facts.selection.num_tokens:,}", "words of running text"),
        (f"{facts.counts.get('wiki_pages/kept', 0):,}", "articles"),
        (f"{facts.counts.get('view_rows/kept', 0):,}", "rows of page views"),
    ]
    lead = (
        "Frequent words, bigrams whose words belong together, titles of articles that are looked at, and WordNet: "
        "the strings that image descriptions are searched for."
    )
    return render_page(
        f"Query vocabulary{wiki}",
        lead,
        tiles,
        [
            Section("sources", "Sources", show_sources(facts)),
            Section("words", "Words", show_words(facts)),
            Section("bigrams", "Bigrams", show_bigrams(facts)),
            Section("titles", "Titles", show_titles(facts)),
            Section("queries", "Queries", _show_queries(facts.queries)),
            Section("reading", "What was read", _show_reading(facts)),
            Section("configuration", "Configuration", _show_configuration(facts)),
        ],
    )


def _show_queries(queries: QueryTable) -> list[Html]:
    names = queries.rows["query"]
    lengths = Counter(pc.add(pc.count_substring(names, " "), 1).to_pylist())
    scripts = Counter(map(script_of, names.to_pylist()))
    by_length = {_plural(number, "word"): [Segment("queries", "total", lengths[number])] for number in sorted(lengths)}
    by_script = {script: [Segment("queries", "total", number)] for script, number in scripts.most_common(10)}
    measured = queries.rows.append_column("characters", pc.utf8_length(names))
    longest = measured.sort_by([("characters", "descending"), ("query", "ascending")]).slice(0, TOP_ROWS).to_pylist()
    rows = [[row["display"], row["characters"], ", ".join(row["sources"])] for row in longest]
    return [
        figure(draw_stacks("lengths", "Queries by their number of words", by_length), "Queries by number of words."),
        figure(draw_stacks("scripts", "Queries by the script of their letters", by_script), "Queries by script."),
        table(("longest", "characters", "sources"), rows),
    ]


def _show_reading(facts: ReportFacts) -> list[Html]:
    rows, stacks = [], {}
    for thing, label in _READ.items():
        if entered := facts.counts.get(f"{thing}/in"):
            kept, prefix = facts.counts[f"{thing}/kept"], f"{thing}/drop/"
            drops = {name.removeprefix(prefix): n for name, n in facts.counts.items() if name.startswith(prefix)}
            reasons = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in drops.items()) or "none"
            rows.append([label, entered, kept, reasons])
            stacks[label] = [Segment("kept", "total", kept), Segment("dropped", "below", entered - kept)]
    picture = draw_stacks("reading-shares", "What was kept of what was read", stacks, shares=True)
    legend = (("total", "kept"), ("below", "dropped"))
    return [
        figure(picture, "What was kept of the dumps and of the rows of page-view files, as shares.", legend),
        table(("", "read", "kept", "dropped, by reason"), rows),
        *_show_damages(facts.damages.to_pylist()),
    ]


_READ = {"streams": "streams", "wiki_pages": "pages", "view_rows": "view rows"}


def _show_damages(damages: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not damages:
        return [paragraph("Nothing was damaged.")]
    shown = damages[:_MOST_DAMAGES]
    rows = table(("dump", "offset", "damage"), [list(row.values()) for row in shown])
    return [
        paragraph(f"{_plural(len(damages), 'damaged place')}, all of them in damages.tsv."),
        folded(f"The first {len(shown)}", rows),
    ]


def _show_configuration(facts: ReportFacts) -> list[Html]:
    defaults = {option.name: option.default for option in options_of(VocabOptions)}
    options = [
        [name.replace("_", "-"), _shown(value), "" if value == defaults[name] else _shown(defaults[name])]
        for name, value in facts.identity["options"].items()
    ]
    inputs = [[stamp["name"], stamp["bytes"], stamp["digest"]] for stamp in facts.identity["inputs"]]
    return [
        table(("option", "value", "default, where it is another"), options),
        table(("input", "bytes", "digest"), inputs, heading="Inputs"),
        paragraph("A digest is the SHA-256 of a file's size and of its first and last mebibyte."),
    ]


def _shown(value: object) -> str:
    """A value as flags and TOML spell it."""
    return json.dumps(value).strip('"') if value not in (None, "") else "-"


def _plural(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
