"""Facts on a set of shards ► its data card as a page: ``card.html.j2``, its tables, plots and samples filled in.

The page stands alone: style, plots and small pictures are in it, and nothing is loaded from elsewhere. Equal facts give
equal bytes, with equal versions of matplotlib and Pillow.
Source: Gebru et al. 2021, "Datasheets for Datasets", for what readers ask of a set.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import DropReason
from pipeline.base.funnel import drops_of, things_of
from pipeline.base.plots import Layer, draw_ranks, draw_stacks, rank_curve
from pipeline.base.rendering import Share, draw_svg, render_template
from pipeline.base.sizes import show_bytes
from pipeline.sharding.card import counting
from pipeline.sharding.card.counting import names_of
from pipeline.sharding.card.drawing import (
    cut_bars,
    drawing_of,
    drawing_of_scores,
    is_worth_drawing,
    measure_spread,
)
from pipeline.sharding.card.facts import CardFacts
from pipeline.sharding.card.manners import honoured, switched_off
from pipeline.sharding.card.picking import OF_ALL
from pipeline.sharding.card.queries import count_totals, head_rows, tail_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_DRAWN: Final = 100  # samples; plots of fewer say nothing that their tables do not
_MOST_VALUES: Final = 20  # rows of a table of values
_MOST_QUERIES: Final = 20
_UNITS: Final = {
    counting.SHORT_SIDE: ("shorter side of images as fetched", "pixels"),
    counting.ASPECT: ("longer over shorter side", ""),
    counting.BYTES: ("size of image files as stored", "bytes"),
    counting.CHARACTERS: ("length of texts", "characters"),
    counting.WORDS: ("length of texts", "words"),
}
_DUPLICATES: Final = {
    DropReason.DUPLICATE_PAIR: "the same address and text",
    DropReason.REPEATED_TEXT: "one text too often",
    DropReason.NEAR_DUPLICATE: "nearly the same",
    DropReason.KNOWN_PAIR: "known from an earlier crawl",
    DropReason.DUPLICATE_SAMPLE: "the same image and text",
    DropReason.DUPLICATE_IMAGE: "the same image",
}
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")


class Shown(NamedTuple):
    """A sample on the page.

    Attributes:
        key: Of the sample.
        url: Of its image.
        caption: Its text.
        picture: A data URL; empty: there is none.
    """

    key: str
    url: str
    caption: str
    picture: str


class Histogram(NamedTuple):
    """A histogram on the page.

    Attributes:
        picture: Its name.
        name: Of the numbers.
        what: They are of.
        unit: Of the numbers; empty: they have none.
        beyond: Samples that no bar of it stands for.
    """

    picture: str
    name: str
    what: str
    unit: str
    beyond: int


def render_page(facts: CardFacts) -> str:
    """The page."""
    pictures = {name: draw_svg(name, draw) for name, draw in _pictures(facts)}
    values, totals = facts.survey.values, count_totals(facts.queries)
    return render_template(
        __package__,
        "card.html.j2",
        facts=facts,
        manifest=facts.manifest,
        size=show_bytes(facts.manifest["bytes"]),
        said=facts.said,
        contact_link=_link(facts.said.contact),
        totals=totals,
        num_hosts=_num_values(values, counting.IMAGE_HOST),
        sheets=_sheets(facts),
        funnel=_funnel_rows(facts.history),
        head=head_rows(facts.queries, _MOST_QUERIES),
        tail=tail_rows(facts.queries, _MOST_QUERIES) if totals.samples > _MOST_QUERIES else [],
        values={name: _value_rows(values, name) for name in counting.TEXTS},
        num_values={name: _num_values(values, name) for name in counting.TEXTS},
        licenses={name: _value_rows(values, name) for name in _license_names(values)},
        spreads=_spread_rows(values),
        histograms=_histograms(facts),
        scores=_score_rows(facts.scores),
        score_pictures={
            f"score-{number}": name
            for number, name in enumerate(names_of(facts.scores))
            if f"score-{number}" in pictures
        },
        honoured=[list(row) for row in honoured(facts.history)],
        switched_off=switched_off(facts.history),
        duplicates=_duplicate_rows(facts.history),
        decontamination=_decontamination_rows(facts.decontamination),
        removals=_count_removals(facts.history),
        configured=_configured(facts.history),
        versions=_version_rows(facts.versions),
        pictures=pictures,
        rows_of=lambda samples: [[sample.key, sample.url] for sample in samples],
    )


def _pictures(facts: CardFacts) -> Iterator[tuple[str, Callable[["Figure"], None]]]:
    """Name and drawing of every picture that there is something to show in."""
    if facts.manifest["samples"] < _LEAST_DRAWN:
        return
    if rows := _sum_funnel(facts.history):
        layers = [
            Layer("kept", [kept for _, kept, _ in rows], ["total"] * len(rows)),
            Layer("dropped", [dropped for *_, dropped in rows], ["below"] * len(rows)),
        ]
        yield "funnel", partial(draw_stacks, labels=[label for label, *_ in rows], layers=layers, shares=True)
    columns = {"found": ("found in texts", "total"), "samples": ("in the shards", "word")}
    figures = {name: facts.queries[name].to_numpy() for name in columns}
    curves = {text: (kind, rank_curve(figures[name][figures[name] > 0])) for name, (text, kind) in columns.items()}
    if len(curves["found in texts"][1]) > 1:
        yield "ranks", partial(draw_ranks, curves=curves, unit="pairs", marks=_caps(facts.history))
    for one in _histograms(facts):
        yield one.picture, drawing_of(_counts_of(facts.survey.values, one.name), unit=one.unit or one.what)

    for number, name in enumerate(names_of(facts.scores)):
        counts = _counts_of(facts.scores, name)
        if is_worth_drawing(counts):
            yield f"score-{number}", drawing_of_scores(counts)


def _score_rows(scores: pa.Table) -> list[list[Any]]:
    """Of every score how many samples have it, how many of these are in the shards, and where theirs lie."""
    rows = []
    for name in names_of(scores):
        own = _counts_of(scores, name)
        kept = own.filter(pc.greater(own["kept"], 0)).select(["number", "kept"]).rename_columns(["number", "samples"])
        spread = measure_spread(kept) if kept.num_rows else None
        quantiles = map(_plain, spread.quantiles) if spread else ["-"] * 5
        rows.append([name, pc.sum(own["scored"]).as_py(), spread.samples if spread else 0, *quantiles])
    return rows


def _histograms(facts: CardFacts) -> list[Histogram]:
    if facts.manifest["samples"] < _LEAST_DRAWN:
        return []
    tables = []
    for number, name in enumerate(_number_names(facts.survey.values)):
        counts = _counts_of(facts.survey.values, name)
        if is_worth_drawing(counts):
            what, unit = _UNITS.get(name, (name, ""))
            tables.append(Histogram(f"numbers-{number}", name, what, unit, cut_bars(counts).beyond))
    return tables


def _number_names(values: pa.Table) -> list[str]:
    """Of what is counted what is a number: ours first, then columns that are carried."""
    found = set(pc.unique(values.filter(pc.is_valid(values["number"]))["name"]).to_pylist())
    return [*(name for name in counting.NUMBERS if name in found), *sorted(found - set(counting.NUMBERS))]


def _license_names(values: pa.Table) -> list[str]:
    names = set(pc.unique(values["name"]).to_pylist())
    return sorted(name for name in names if name.lower() in counting.LICENSE_NAMES)


def _counts_of(values: pa.Table, name: str) -> pa.Table:
    return values.filter(pc.equal(values["name"], name))


def _num_values(values: pa.Table, name: str) -> int:
    """How many different texts there are of a name, the empty one aside."""
    own = _counts_of(values, name)
    known = own.filter(pc.fill_null(pc.not_equal(own["text"], ""), True))
    return pc.sum(known["values"]).as_py() or 0


def _value_rows(values: pa.Table, name: str) -> list[list[Any]]:
    """The most frequent texts of a name with their samples and share, and what is left of them."""
    own = _counts_of(values, name)
    total = max(1, pc.sum(own["samples"]).as_py() or 0)
    told = own.filter(pc.is_valid(own["text"]))
    rows = [[row["text"] or "(not known)", row["samples"]] for row in told.slice(0, _MOST_VALUES).to_pylist()]
    rest = pa.concat_tables([told.slice(_MOST_VALUES), own.filter(pc.is_null(own["text"]))])
    if rest.num_rows:
        others, samples = (pc.sum(rest[column]).as_py() for column in ("values", "samples"))
        rows.append([f"{others:,} others", samples])
    return [[*row, Share(row[1] / total)] for row in rows]


def _spread_rows(values: pa.Table) -> list[list[Any]]:
    """Where each column of numbers lies."""
    rows = []
    for name in _number_names(values):
        spread = measure_spread(_counts_of(values, name))
        heading = ", ".join(filter(None, _UNITS.get(name, (name,))))
        rows.append([heading, spread.samples, *map(_plain, spread.quantiles)])
    return rows


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _sheets(facts: CardFacts) -> list[tuple[str, list[Shown]]]:
    """The samples to show: of the whole set, under an empty name, and of queries, the most frequent first."""
    picks, names = facts.survey.picks, facts.queries.select(["query_id", "query"])
    shown = dict[int, list[Shown]]()
    for row in picks.to_pylist():
        sample = Shown(row["key"], row["url"], row["caption"], facts.pictures.get(row["key"], ""))
        shown.setdefault(row["query_id"], []).append(sample)
    told = names.filter(pc.is_in(names["query_id"], pa.array(list(shown), pa.int32())))
    sheets = [("", shown[OF_ALL])] if OF_ALL in shown else []
    return [*sheets, *((row["query"], shown[row["query_id"]]) for row in told.to_pylist())]


def _funnel_rows(history: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Of every run what came in, what was kept, and what was dropped why."""
    rows = []
    for run in history:
        for thing in things_of(run["counts"]):
            entered, kept = run["counts"][f"{thing}/in"], run["counts"].get(f"{thing}/kept", 0)
            drops = ", ".join(
                f"{reason.replace('_', ' ')} {number:,}" for reason, number in drops_of(run["counts"], thing)
            )
            rows.append([run["stage"], thing.replace("_", " "), entered, kept, Share(kept / entered), drops or "-"])
    return rows


def _sum_funnel(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Of every stage and thing how many were kept and dropped, in all of its runs."""
    sums = dict[str, tuple[int, int]]()
    for run in history:
        for thing in things_of(run["counts"]):
            label = f"{run['stage']}: {thing.replace('_', ' ')}"
            kept, dropped = sums.get(label, (0, 0))
            entered, stays = run["counts"][f"{thing}/in"], run["counts"].get(f"{thing}/kept", 0)
            sums[label] = (kept + stays, dropped + entered - stays)
    return [(label, *numbers) for label, numbers in sums.items()]


def _caps(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The caps on pairs of a query that stages kept to."""
    caps = {run["counts"]["cap"] for run in history if run["counts"].get("cap")}
    return {f"cap: {cap:,}": cap for cap in sorted(caps)}


def _duplicate_rows(history: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    found = Counter[tuple[str, str]]()
    for run in history:
        for thing in things_of(run["counts"]):
            for reason, number in drops_of(run["counts"], thing):
                if what := _DUPLICATES.get(reason):  # type: ignore[call-overload]
                    found[(f"{run['stage']}, {thing}", what)] += number
    return [[*key, number] for key, number in found.items()]


def _decontamination_rows(reports: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    columns = ("name", "images", "hashes", "unreadable", "exact", "near", "images_hit")
    return [[report.get(column, 0) for column in columns] for report in reports]


def _count_removals(history: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many samples were removed, and in how many runs."""
    runs = [run["counts"] for run in history if run["stage"] == "remove"]
    return sum(counts["samples/in"] - counts["samples/kept"] for counts in runs), len(runs)


def _configured(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[list[str]]]]:
    """The options of every run, as flags and TOML spell them."""
    return [
        (run["stage"], [[name.rstrip("_").replace("_", "-"), _spell(value)] for name, value in options.items()])
        for run in history
        if (options := run.get("options"))
    ]


def _spell(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"') if value not in (None, "", []) else "-"


def _version_rows(versions: Sequence[tuple[str, Mapping[str, str]]]) -> list[list[str]]:
    return [
        [stage, ", ".join(f"{package} {version}" for package, version in sorted(packages.items()))]
        for stage, packages in versions
    ]


def _link(contact: str) -> str:
    """What a contact links to; empty: nothing.

    >>> _link("me@lab.example"), _link("https://lab.example/ask"), _link("the lab, room 3")
    ('mailto:me@lab.example', 'https://lab.example/ask', '')
    """
    if _MAIL.fullmatch(contact):
        return f"mailto:{contact}"
    return contact if contact.startswith(("https://", "http://")) and " " not in contact else ""
