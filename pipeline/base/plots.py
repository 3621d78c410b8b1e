"""The plots of pages: rank curves, histograms, stacked bars and the overlaps of sets.

In: an empty figure, numbers, and kinds: names of colours. Out: the figure, drawn on.

Source: Lex et al. 2014, "UpSet: Visualization of Intersecting Sets", for the plot of overlaps.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.base.rendering import COLORS, is_narrow, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK: dict[str, Any] = {"color": COLORS["mark"], "linewidth": 1.4, "linestyle": "dashed"}
_TICKS = 7  # of an axis, at most
_PHONE_TICKS = 5
_CURVE_POINTS = 160


class Layer(NamedTuple):
    """One part of every stacked bar."""

    label: str
    numbers: Sequence[int]
    kinds: Sequence[str]
    opacity: float = 1.0


class RankPoint(NamedTuple):
    """How large the figure of a rank is."""

    rank: int  # from 1
    figure: int


def rank_curve(figures: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64] | None = None) -> list[RankPoint]:
    """The figures at some ranks, evenly spread over a logarithmic scale, first and last among them.

    Args:
        figures: In any order.
        numbers: How many have each figure; None: one.

    >>> rank_curve(np.array([3, 90, 7]))
    [RankPoint(rank=1, figure=90), RankPoint(rank=2, figure=7), RankPoint(rank=3, figure=3)]
    >>> rank_curve(np.array([3, 90]), np.array([2, 1]))
    [RankPoint(rank=1, figure=90), RankPoint(rank=2, figure=3), RankPoint(rank=3, figure=3)]
    """
    if not len(figures):
        return []
    order = np.argsort(figures)[::-1]
    last_ranks = np.cumsum(np.ones_like(figures) if numbers is None else numbers[order])
    ranks = np.unique(np.geomspace(1, last_ranks[-1], _CURVE_POINTS).round().astype(np.int64))
    at_ranks = figures[order[np.searchsorted(last_ranks, ranks)]]
    return [RankPoint(*point) for point in zip(ranks.tolist(), at_ranks.tolist(), strict=True)]


def draw_ranks(
    figure: "Figure",
    curves: Mapping[str, tuple[str, Sequence[tuple[int, int]]]],
    *,
    unit: str,
    marks: Mapping[str, float],
) -> None:
    """Curves of figures by rank, each with its kind, and lines at some figures."""
    axes = figure.subplots()
    for label, (kind, points) in curves.items():
        if points:
            axes.loglog(*zip(*points, strict=True), label=label, color=COLORS[kind])
    for label, number in marks.items():
        axes.axhline(number, label=label, **_MARK)
    axes.set(xlabel="rank", ylabel=unit)
    if is_narrow(figure):
        figure.legend(loc="outside lower left")
    else:
        axes.legend()
    _set_ticks(axes, is_phone=is_narrow(figure))


def draw_histogram(
    figure: "Figure",
    bars: Sequence[tuple[float, float, int]],
    *,
    kind: str,
    unit: str,
    things: str,
    threshold: float | None = None,
    behind: Sequence[tuple[float, float, int]] = (),
    scales: tuple[str, str] = ("linear", "linear"),
) -> None:
    """Bars, (from, to, number), over one of the edges as a threshold, if there is one: what is below it is grey.

    Args:
        figure: To draw on.
        bars: What it shows.
        kind: The colour of bars.
        unit: What the edges are.
        things: What is counted.
        threshold: One of the edges.
        behind: Bars, in grey, that the others are parts of.
        scales: Of the axes, linear or log.
    """
    axes = figure.subplots()
    axes.set(xscale=scales[0], yscale=scales[1], xlabel=unit, ylabel=things)
    for low, high, number in behind:
        axes.bar(low, number, high - low, align="edge", color=COLORS["below"], edgecolor=COLORS["paper"], linewidth=0.8)
    for low, high, number in bars:
        color = COLORS["below" if threshold is not None and low < threshold else kind]
        [bar] = axes.bar(low, number, high - low, align="edge", color=color, edgecolor=COLORS["paper"], linewidth=0.8)
        bar.set_gid(note(f"{_name_bar(low, high)}: {number:,}"))
    if threshold is not None:
        axes.axvline(threshold, **_MARK)
        place = axes.get_xaxis_transform()
        axes.text(threshold, 1.02, f"threshold: {threshold:,}", color=COLORS["mark"], ha="center", transform=place)
    axes.set_ylim(bottom=0.7 if scales[1] == "log" else 0)
    _set_ticks(
        axes, is_phone=is_narrow(figure), whole=all(2 * edge == round(2 * edge) for edge, *_ in [*bars, *behind])
    )


def draw_stacks(figure: "Figure", labels: Sequence[str], layers: Sequence[Layer], *, shares: bool = False) -> None:
    """One horizontal bar a label, layer by layer, with their sum behind it; as shares, all are equally long."""
    num_columns = 1 if is_narrow(figure) else 2
    lines = 0 if len(layers) == 1 else -(-len(layers) // num_columns)
    figure.set_figheight(0.44 * len(labels) + 0.3 * lines + 0.1)
    axes = figure.subplots()
    sums = np.sum([layer.numbers for layer in layers], axis=0)
    ends = np.zeros(len(labels))
    for label, numbers, kinds, opacity in layers:
        widths = np.array(numbers) / (np.maximum(sums, 1) if shares else 1)
        colors = [COLORS[kind] for kind in kinds]
        bars = axes.barh(labels, widths, left=ends, height=0.64, color=colors, alpha=opacity, label=label)
        for bar, number in zip(bars, numbers, strict=True):
            bar.set_gid(note(f"{label}: {number:,}"))
        ends += widths
    axes.bar_label(bars, [f"{total:,}" for total in sums], padding=8)
    axes.set(xlim=(0, max(ends.max(), 1)), ylim=(len(labels) - 0.5, -0.5), xticks=[])
    _hide_frame(axes)
    if len(layers) > 1:
        figure.legend(loc="outside lower left", ncols=num_columns, handlelength=1, handleheight=1)


def draw_overlaps(figure: "Figure", sets: Sequence[str], overlaps: Mapping[tuple[str, ...], int]) -> None:
    """How many queries lie in exactly which of some sets, whose names are kinds: a column a combination."""
    bars, dots = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    drawn = bars.bar(range(len(overlaps)), list(overlaps.values()), width=0.6, color=COLORS["total"])
    bars.bar_label(drawn, fmt="{:,.0f}", padding=3, rotation=90 if is_narrow(figure) else 0)
    for column, names in enumerate(overlaps):
        inside = [row for row, name in enumerate(sets) if name in names]
        dots.vlines(column, inside[0], inside[-1], color=COLORS["quiet"], linewidth=1.2, zorder=1)
        colors = [COLORS.get(name, COLORS["total"]) if name in names else COLORS["line"] for name in sets]
        dots.scatter([column] * len(sets), range(len(sets)), s=40 if is_narrow(figure) else 110, color=colors, zorder=2)
    bars.set(yticks=[], ylabel="queries")
    dots.set(xticks=[], yticks=range(len(sets)), yticklabels=sets, ylim=(len(sets) - 0.5, -0.5))
    _hide_frame(bars, dots)


def _name_bar(low: float, high: float) -> str:
    """What a bar stands for.

    >>> _name_bar(1000, 2000), _name_bar(6.5, 7.5)
    ('1,000 to 2,000', '7')
    """
    middle = (low + high) / 2
    return f"{middle:,.0f}" if high - low == 1 and middle == round(middle) else f"{low:,.6g} to {high:,.6g}"


def _hide_frame(*plots: "Axes") -> None:
    for axes in plots:
        axes.tick_params(length=0, pad=8, labelcolor=COLORS["ink"])
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)


def _set_ticks(axes: "Axes", *, is_phone: bool, whole: bool = True) -> None:
    """Round ticks, thousands apart; on a logarithmic axis at powers of ten, on a short one more often.

    Args:
        axes: Of a plot.
        is_phone: Whether there is little room.
        whole: Whether numbers along the first axis are whole.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        is_first = axis is axes.xaxis
        powers = LogLocator(
            subs=(1, 2, 5) if high < 200 * low else (1,), numticks=_PHONE_TICKS if is_phone and is_first else None
        )
        steps = MaxNLocator(
            _PHONE_TICKS if is_phone and is_first else _TICKS, steps=(1, 2, 5, 10), integer=whole or not is_first
        )
        axis.set_major_locator(powers if axis.get_scale() == "log" else steps)
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(_show_tick)


def _show_tick(number: float, _: float = 0) -> str:
    """The number at a tick.

    >>> _show_tick(20_000.0), _show_tick(0.25)
    ('20,000', '0.25')
    """
    return f"{number:,.0f}" if number == round(number) else f"{number:g}"
