"""Facts on imported lists ► the page that shows them: ``imported.html.j2``, filled in.

In: the queries before and after, and what became of the rows of the lists. Out: the text of ``report.html``. Equal
inputs and options give equal bytes.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import Counts
from pipeline.base.files import basename
from pipeline.base.rendering import draw_svg, render_template
from pipeline.vocabulary.report.page import draw_sources, longest_queries, option_rows, query_pictures
from vocab.imports import Fate
from vocab.queries import SOURCE_LABELS, QueryTable

_MOST_SHOWN: Final = 50  # rows of a kind that were left out
_WORDS: Final = {
    Fate.KEPT: "are in the list",
    Fate.SAME_QUERY: "are the same as another row",
    Fate.NO_TOKEN: "have no letter or number left",
    Fate.TOO_LONG: "are too long",
    Fate.OVER_BUDGET: "are over the budget",
}


class Lists(Protocol):
    """The lists that were read."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Where they lie."""

    @property
    def num_rows(self) -> tuple[int, ...]:
        """How many rows each has."""


class ImportFacts(NamedTuple):
    """What the report is made of.

    Attributes:
        options: Of the stage.
        stage: Its class.
        before: The queries that were there.
        queries: All queries.
        fates: What became of the rows (`FATES`).
        lists: What was read.
        counts: What was counted.
        identity: Options and inputs that decide the output.
    """

    options: Any
    stage: type
    before: QueryTable
    queries: QueryTable
    fates: pa.Table
    lists: Lists
    counts: Counts
    identity: Mapping[str, Any]


def render_imports(facts: ImportFacts) -> str:
    """The page."""
    sources = {label: number for label in SOURCE_LABELS if (number := facts.queries.count_label(label))}
    overlaps = facts.queries.count_overlaps()
    drawn = [("overlaps", draw_sources(facts.queries, list(sources))), *query_pictures(facts.queries)]
    return render_template(
        __package__,
        "imported.html.j2",
        num_before=len(facts.before),
        num_queries=len(facts.queries),
        num_rows=facts.fates.num_rows,
        lists=[[basename(path), number] for path, number in zip(facts.lists.paths, facts.lists.num_rows, strict=True)],
        fates=[[words, pc.sum(pc.equal(facts.fates["fate"], fate)).as_py() or 0] for fate, words in _WORDS.items()],
        left_out={words: _rows_of(facts.fates, fate) for fate, words in _WORDS.items() if fate != Fate.KEPT},
        most=_MOST_SHOWN,
        sources=[[label, number, overlaps.get((label,), 0)] for label, number in sources.items()],
        longest=longest_queries(facts.queries),
        configured=option_rows(facts.stage, facts.identity["options"]),
        inputs=[[stamp["name"], stamp.get("bytes", ""), stamp["digest"]] for stamp in facts.identity["inputs"]],
        pictures={name: draw_svg(name, draw) for name, draw in drawn},
    )


def _rows_of(fates: pa.Table, fate: Fate) -> list[list[str]]:
    rows = fates.filter(pc.equal(fates["fate"], fate.value)).slice(0, _MOST_SHOWN)
    return [[row["text"], row["query"], row["source"]] for row in rows.to_pylist()]
