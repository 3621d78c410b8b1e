"""The plots of the report: rank curves, histograms, stacked bars and the overlaps of sets.

In: an empty figure, numbers and labels. Out: the figure, drawn on.

Source: Lex et al. 2014, "UpSet: Visualization of Intersecting Sets", for the plot of overlaps.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.rendering import COLORS, note

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """A named line; `kind` is the name of its colour, here as below."""

    label: str
    kind: str
    points: Sequence[tuple[float, float]]


class Bar(NamedTuple):
    """A bar of a histogram, from `low` to `high` on the axis."""

    low: float
    high: float
    number: int
    kind: str


class Layer(NamedTuple):
    """One part of every stacked bar."""

    label: str
    numbers: Sequence[int]
    kinds: Sequence[str]
    opacity: float = 1.0


class Mark(NamedTuple):
    """A line across a plot, at a value of the axis."""

    value: float
    label: str


def draw_ranks(figure: "Figure", curves: Sequence[Curve], *, labels: tuple[str, str], mark: Mark) -> None:
    """Curves over two logarithmic axes, with a line across at a value of the second one."""
    axes = figure.subplots()
    for curve in (curve for curve in curves if curve.points):
        axes.loglog(*zip(*curve.points, strict=True), label=curve.label, color=COLORS[curve.kind])
    axes.axhline(mark.value, color=COLORS["mark"], linewidth=1.4, linestyle="dashed", label=mark.label)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend()
    _tick(axes.xaxis)
    _tick(axes.yaxis)


def draw_histogram(
    figure: "Figure", bars: Sequence[Bar], *, labels: tuple[str, str], mark: Mark, scale: str = "linear"
) -> None:
    """Bars over an axis, with a line at a value of it; both axes have the scale, linear or log."""
    axes = figure.subplots()
    lows, highs, numbers, kinds = zip(*bars, strict=True)
    widths = [high - low for low, high in zip(lows, highs, strict=True)]
    colors, paper = [COLORS[kind] for kind in kinds], COLORS["paper"]
    drawn = axes.bar(lows, numbers, widths, align="edge", color=colors, edgecolor=paper, linewidth=0.8)
    for bar, patch in zip(bars, drawn, strict=True):
        patch.set_gid(note(f"{bar.low:,.6g} to {bar.high:,.6g}: {bar.number:,}"))
    axes.axvline(mark.value, color=COLORS["mark"], linewidth=1.4, linestyle="dashed")
    place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    axes.text(mark.value, 1.02, mark.label, color=COLORS["mark"], **place)
    axes.set(xscale=scale, yscale=scale, xlabel=labels[0], ylabel=labels[1])
    axes.set_ylim(bottom=0.7 if scale == "log" else 0)
    _tick(axes.xaxis)
    _tick(axes.yaxis)


def draw_stacks(figure: "Figure", labels: Sequence[str], layers: Sequence[Layer], *, shares: bool = False) -> None:
    """One horizontal bar a label, layer by layer, with their sum behind it; as shares, all are equally long."""
    figure.set_figheight(0.44 * max(1, len(labels)) + 0.3 * (len(layers) // 2) + 0.1)
    axes = figure.subplots()
    sums = [sum(column) for column in zip(*(layer.numbers for layer in layers), strict=True)]
    units = [max(1, total) if shares else 1 for total in sums]
    ends = [0.0] * len(labels)
    for label, numbers, kinds, opacity in layers:
        widths = [number / unit for number, unit in zip(numbers, units, strict=True)]
        colors = [COLORS[kind] for kind in kinds]
        drawn = axes.barh(labels, widths, left=ends, height=0.64, color=colors, alpha=opacity, label=label)
        for patch, number in zip(drawn, numbers, strict=True):
            patch.set_gid(note(f"{label}: {number:,}"))
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, (end, total) in enumerate(zip(ends, sums, strict=True)):
        axes.annotate(f"{total:,}", (end, row), (8, 0), textcoords="offset points", va="center_baseline")
    axes.set(xlim=(0, max([*ends, 1])), ylim=(len(labels) - 0.5, -0.5), xticks=[])
    axes.tick_params(left=False, labelcolor=COLORS["ink"])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    if len(layers) > 1:
        figure.legend(loc="outside lower left", ncols=2, handlelength=1, handleheight=1)


def draw_overlaps(figure: "Figure", sets: Sequence[str], overlaps: Mapping[tuple[str, ...], int]) -> None:
    """How many queries lie in exactly which of some sets: a column a combination, the largest first.

    Args:
        figure: To draw on.
        sets: Their names, which are the kinds of their dots, too.
        overlaps: The names of some sets to the number of queries in these and in no other.
    """
    bars, dots = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    drawn = bars.bar(range(len(overlaps)), list(overlaps.values()), width=0.6, color=COLORS["total"])
    bars.bar_label(drawn, fmt="{:,.0f}", padding=3)
    for column, names in enumerate(overlaps):
        inside = [row for row, name in enumerate(sets) if name in names]
        dots.vlines(column, inside[0], inside[-1], color=COLORS["quiet"], linewidth=1.2, zorder=1)
        colors = [COLORS[name if name in names else "line"] for name in sets]
        dots.scatter([column] * len(sets), range(len(sets)), s=110, color=colors, zorder=2)
    dots.set(yticks=range(len(sets)), yticklabels=sets, ylim=(len(sets) - 0.5, -0.5))
    for axes in (bars, dots):
        axes.tick_params(left=False, bottom=False, labelbottom=False, labelcolor=COLORS["ink"])
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
    bars.set(yticks=[], ylabel="queries")


def _tick(axis: "Axis") -> None:
    """Ticks at whole numbers, thousands apart; on a logarithmic axis at powers of ten, on a short one more often."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10), integer=True))
    axis.set_major_formatter("{x:,.0f}")
