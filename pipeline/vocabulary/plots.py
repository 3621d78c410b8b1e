"""Plots as SVG text: rank curves, histograms, stacked bars and the overlaps of sets.

In: numbers and labels. Out: one ``<svg>`` element each, to be put into an HTML page whose style sheet gives the classes
their colours (`pipeline.vocabulary.page`). Coordinates are rounded, so that equal numbers give equal bytes.

Source: Lex et al. 2014, "UpSet: Visualization of Intersecting Sets", for the plot of overlaps.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

_WIDTH = 760.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 20.0, 16.0, 46.0
_HEIGHT = 320.0
_ROW = 34.0
_LABELS = 110.0
_SHORT = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Curve(NamedTuple):
    """A named line; `kind` is the class that gives it its colour."""

    label: str
    kind: str
    points: Sequence[tuple[float, float]]


class Bar(NamedTuple):
    """A bar of a histogram, from `low` to `high` on the axis."""

    low: float
    high: float
    number: int
    kind: str


class Segment(NamedTuple):
    """A part of a stacked bar."""

    label: str
    kind: str
    number: int


class Mark(NamedTuple):
    """A line across a plot, at a value of the axis."""

    value: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Maps the values of an axis to pixels.

    Attributes:
        low: Smallest value.
        high: Largest value.
        start: Pixel of the smallest.
        end: Pixel of the largest.
        log: Whether equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value; what lies outside is put on the edge."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        share = min(1.0, (at - low) / (high - low)) if high > low else 0.0
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values on the axis: powers of ten (on a short axis their double and half, too), or equal steps."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.floor(math.log10(self.high))
            factors = (1, 2, 5) if self.high < 200 * self.low else (1,)
            every = range(first, last + 1, 1 + (last - first) // 10)
            return [v for power in every for f in factors if self.low <= (v := f * 10.0**power) <= self.high]
        step = round_step((self.high - self.low) / 7)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def round_step(least: float) -> float:
    """The next larger of 1, 2, 5, 10, 20 … or their tenths.

    >>> [round_step(v) for v in (0.3, 1, 3, 70)]
    [0.5, 1.0, 5.0, 100.0]
    """
    power = 10.0 ** math.floor(math.log10(least)) if least > 0 else 1.0
    return next((power * factor for factor in (1, 2, 5) if power * factor >= least), power * 10)


def short_number(value: float) -> str:
    """A number as an axis shows it.

    >>> [short_number(v) for v in (0.5, 700, 25_000, 3_000_000)]
    ['0.5', '700', '25k', '3M']
    """
    size, suffix = next(((size, suffix) for size, suffix in _SHORT if abs(value) >= size), (1.0, ""))
    return f"{value / size:g}{suffix}"


def draw_ranks(name: str, title: str, curves: Sequence[Curve], *, labels: tuple[str, str], mark: Mark) -> str:
    """Curves over two logarithmic axes, with a line across at a value of the second one.

    Args:
        name: Of the plot in its page.
        title: What the plot shows, for those who do not see it.
        curves: Their points are positive.
        labels: Of the axes.
        mark: The line across.
    """
    points = [point for curve in curves for point in curve.points]
    x = Scale(1, max([10.0, *(p[0] for p in points)]), _LEFT, _WIDTH - _RIGHT, log=True)
    lowest = min([mark.value, *(p[1] for p in points)])
    y = Scale(max(1, lowest), max([10.0, *(p[1] for p in points)]) * 1.3, _HEIGHT - _BOTTOM, _TOP, log=True)
    parts = [*_axes(x, y, labels)]
    at = y.place(mark.value)
    parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "mark"))
    parts.append(_text(_LEFT + 8, at - 6, mark.label, "start", "note"))
    for row, curve in enumerate(curves):
        places = " ".join(f"{_px(x.place(a))},{_px(y.place(b))}" for a, b in curve.points)
        parts.append(f'<polyline class="curve {curve.kind}" points="{places}"/>')
        height = _TOP + 14 + 22 * row
        parts.append(_line(_WIDTH - 170, height - 4, _WIDTH - 146, height - 4, f"curve {curve.kind}"))
        parts.append(_text(_WIDTH - 138, height, curve.label, "start", "label"))
    return _figure(name, title, _HEIGHT, parts)


def draw_histogram(
    name: str, title: str, bars: Sequence[Bar], *, labels: tuple[str, str], mark: Mark, log: tuple[bool, bool]
) -> str:
    """Bars over an axis, with a line at a value of it.

    Args:
        name: Of the plot in its page.
        title: What the plot shows, for those who do not see it.
        bars: At least one.
        labels: Of the axes.
        mark: The line.
        log: Whether each axis is logarithmic.
    """
    x = Scale(
        min([mark.value, *(bar.low for bar in bars)]),
        max([mark.value, *(bar.high for bar in bars)]),
        _LEFT,
        _WIDTH - _RIGHT,
        log[0],
    )
    least = 0.5 if log[1] else 0.0
    y = Scale(least, max(bar.number for bar in bars) * (2.0 if log[1] else 1.12), _HEIGHT - _BOTTOM, _TOP, log[1])
    parts = [*_axes(x, y, labels)]
    for bar in bars:
        left, right, top = x.place(bar.low), x.place(bar.high), y.place(bar.number)
        note = f"{short_number(round(bar.low, 2))} to {short_number(round(bar.high, 2))}: {bar.number:,}"
        parts.append(_rect(left + 0.5, top, right - left - 1, y.start - top, bar.kind, note))
    at = x.place(mark.value)
    near_end = at > _WIDTH * 0.7
    parts.append(_line(at, _TOP, at, y.start, "mark"))
    parts.append(_text(at + (-8 if near_end else 8), _TOP + 10, mark.label, "end" if near_end else "start", "note"))
    return _figure(name, title, _HEIGHT, parts)


def draw_stacks(name: str, title: str, stacks: Mapping[str, Sequence[Segment]], *, shares: bool = False) -> str:
    """One horizontal bar a label, made of segments, with their sum behind it.

    Args:
        name: Of the plot in its page.
        title: What the plot shows, for those who do not see it.
        stacks: Label to segments; all have the same segments in the same order.
        shares: Draw every bar equally long, so that its segments show their shares.
    """
    sums = {label: sum(part.number for part in parts) for label, parts in stacks.items()}
    parts = []
    for row, (label, segments) in enumerate(stacks.items()):
        top, total = row * _ROW + 6.0, 0
        x = Scale(0, max(1, sums[label] if shares else max(sums.values())), _LABELS, _WIDTH - 90)
        parts.append(_text(_LABELS - 12, top + 16, label, "end", "label"))
        for part in segments:
            left, right = x.place(total), x.place(total + part.number)
            total += part.number
            if part.number:
                note = f"{part.label}: {part.number:,}"
                parts.append(_rect(left, top, max(1.0, right - left - 1), _ROW - 12, part.kind, note))
        parts.append(_text(x.place(total) + 8, top + 16, f"{total:,}", "start", "value"))
    return _figure(name, title, len(stacks) * _ROW + 8.0, parts)


def draw_overlaps(name: str, title: str, sets: Sequence[str], overlaps: Mapping[tuple[str, ...], int]) -> str:
    """How many things lie in exactly which of some sets: a column a combination, the largest first.

    Args:
        name: Of the plot in its page.
        title: What the plot shows, for those who do not see it.
        sets: Their names, which are the classes of their dots, too.
        overlaps: The names of some sets to the number of things in these and in no other.
    """
    left, bars_high, row = _LABELS, 170.0, 26.0
    step = min(86.0, (_WIDTH - left - _RIGHT) / max(1, len(overlaps)))
    y = Scale(0, max([1, *overlaps.values()]), bars_high, 26)
    parts = []
    for index, label in enumerate(sets):
        middle = bars_high + 24 + index * row
        if index % 2 == 0:
            parts.append(_rect(0, middle - row / 2, left + step * len(overlaps) + 6, row, "stripe"))
        parts.append(_text(left - 12, middle + 5, label, "end", "label"))
    for column, (names, count) in enumerate(overlaps.items()):
        middle = left + step * (column + 0.5)
        parts.append(_rect(middle - step * 0.3, y.place(count), step * 0.6, bars_high - y.place(count), "total"))
        parts.append(_text(middle, y.place(count) - 7, f"{count:,}", "middle", "value"))
        heights = {label: bars_high + 24 + index * row for index, label in enumerate(sets)}
        inside = [heights[label] for label in names]
        parts.append(_line(middle, inside[0], middle, inside[-1], "join"))
        for label, height in heights.items():
            kind = label if label in names else "outside"
            parts.append(f'<circle class="{kind}" cx="{_px(middle)}" cy="{_px(height)}" r="6.5"/>')
    return _figure(name, title, bars_high + 24 + len(sets) * row, parts)


def _axes(x: Scale, y: Scale, labels: tuple[str, str]) -> Iterator[str]:
    for value in y.ticks():
        at = y.place(value)
        yield _line(x.start, at, x.end, at, "grid")
        yield _text(x.start - 8, at + 4, short_number(value), "end", "tick")
    for value in x.ticks():
        at = x.place(value)
        yield _line(at, y.start, at, y.start + 5, "axis")
        yield _text(at, y.start + 19, short_number(value), "middle", "tick")
    yield _line(x.start, y.start, x.end, y.start, "axis")
    yield _text((x.start + x.end) / 2, y.start + 40, labels[0], "middle", "axis-label")
    middle = (y.start + y.end) / 2
    yield (
        f'<text class="axis-label" text-anchor="middle" transform="translate(14 {_px(middle)}) rotate(-90)">'
        f"{escape(labels[1])}</text>"
    )


def _figure(name: str, title: str, height: float, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {_px(_WIDTH)} {_px(height)}" role="img" aria-labelledby="{name}-title">'
        f'<title id="{name}-title">{escape(title)}</title>\n{inner}\n</svg>'
    )


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str, note: str = "") -> str:
    sizes = f'x="{_px(x)}" y="{_px(y)}" width="{_px(max(width, 0.5))}" height="{_px(max(height, 0))}"'
    if note:
        return f'<rect class="{kind}" {sizes}><title>{escape(note)}</title></rect>'
    return f'<rect class="{kind}" {sizes}/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}">{escape(text)}</text>'
