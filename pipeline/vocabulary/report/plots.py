"""The plots of the report: rank curves, histograms, stacked bars and the overlaps of sets.

In: an empty figure, numbers, and kinds: names of colours. Out: the figure, drawn on.

Source: Lex et al. 2014, "UpSet: Visualization of Intersecting Sets", for the plot of overlaps.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.base.rendering import COLORS, is_narrow, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK: dict[str, Any] = {"color": COLORS["mark"], "linewidth": 1.4, "linestyle": "dashed"}
_TICKS = 7  # of an axis, at most
_PHONE_TICKS = 5


class Layer(NamedTuple):
    """One part of every stacked bar."""

    label: str
    numbers: Sequence[int]
    kinds: Sequence[str]
    opacity: float = 1.0


def draw_ranks(
    figure: "Figure", curves: Mapping[str, tuple[str, Sequence[tuple[int, int]]]], *, threshold: int
) -> None:
    """Curves of occurrences by rank, each with its kind, and a line at the threshold of words."""
    axes = figure.subplots()
    for label, (kind, points) in curves.items():
        if points:
            axes.loglog(*zip(*points, strict=True), label=label, color=COLORS[kind])
    axes.axhline(threshold, label=f"threshold of words: {threshold:,}", **_MARK)
    axes.set(xlabel="rank", ylabel="occurrences")
    if is_narrow(figure):
        figure.legend(loc="outside lower left")
    else:
        axes.legend()
    _set_ticks(axes, is_phone=is_narrow(figure))


def draw_histogram(
    figure: "Figure", bars: Sequence[tuple[float, float, int]], *, kind: str, unit: str, threshold: float, log: bool
) -> None:
    """Bars, (from, to, number), over one of the edges as a threshold: what is below it is grey."""
    axes, scale = figure.subplots(), "log" if log else "linear"
    axes.set(xscale=scale, yscale=scale, xlabel=unit, ylabel=f"{kind}s")
    for low, high, number in bars:
        color = COLORS[kind if low >= threshold else "below"]
        [bar] = axes.bar(low, number, high - low, align="edge", color=color, edgecolor=COLORS["paper"], linewidth=0.8)
        bar.set_gid(note(f"{low:,.6g} to {high:,.6g}: {number:,}"))
    axes.axvline(threshold, **_MARK)
    place = axes.get_xaxis_transform()
    axes.text(threshold, 1.02, f"threshold: {threshold:,}", color=COLORS["mark"], ha="center", transform=place)
    axes.set_ylim(bottom=0.7 if log else 0)
    _set_ticks(axes, is_phone=is_narrow(figure))


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


def _hide_frame(*plots: "Axes") -> None:
    for axes in plots:
        axes.tick_params(length=0, pad=8, labelcolor=COLORS["ink"])
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)


def _set_ticks(axes: "Axes", *, is_phone: bool) -> None:
    """Ticks at whole numbers, thousands apart; on a logarithmic axis at powers of ten, on a short one more often."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        has_little_room = is_phone and axis is axes.xaxis
        powers = LogLocator(
            subs=(1, 2, 5) if high < 200 * low else (1,), numticks=_PHONE_TICKS if has_little_room else None
        )
        steps = MaxNLocator(_PHONE_TICKS if has_little_room else _TICKS, steps=(1, 2, 5, 10), integer=True)
        axis.set_major_locator(powers if axis.get_scale() == "log" else steps)
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:,.0f}")
