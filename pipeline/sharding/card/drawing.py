"""Counts of numbers ► their spread in words, and the bars of a histogram."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints
from pipeline.base.plots import draw_histogram
from pipeline.sharding.card.counting import NUMBER_STEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARS: Final = 36
_ENDS: Final = (0.002, 0.998)  # shares of samples between which bars begin and end
_LOG_RATIO: Final = 30  # numbers from 1 on whose ends are so far apart are drawn over a logarithmic axis
_SHARES: Final = (0.0, 0.05, 0.5, 0.95, 1.0)


class Spread(NamedTuple):
    """Where the numbers of samples lie.

    Attributes:
        samples: How many have a number.
        quantiles: The least; what 5 %, half and 95 % of samples have at most; the largest.
    """

    samples: int
    quantiles: tuple[float, ...]


class Bars(NamedTuple):
    """A histogram.

    Attributes:
        layers: Of each part of the samples its bars: (from, to, samples) each.
        scale: Of its axis, linear or log.
        beyond: Samples below the first bar and above the last.
    """

    layers: list[list[tuple[float, float, int]]]
    scale: str
    beyond: int


def measure_spread(counts: pa.Table) -> Spread:
    """Where numbers lie.

    Args:
        counts: Of `VALUE_COUNTS`, of one name, one row at least.
    """
    numbers, samples = _sorted(counts)
    return Spread(int(samples.sum()), tuple(_at_share(numbers, samples, share) for share in _SHARES))


def cut_bars(counts: pa.Table, parts: Sequence[str] = ("samples",)) -> Bars:
    """A histogram of numbers: a bar for each whole number where there are few, else bars of equal width or ratio.

    Args:
        counts: Of `VALUE_COUNTS`, of one name, one row at least; or others with `parts`.
        parts: Columns that count: the first decides where bars begin and end, each has a height of its own.
    """
    numbers, samples = _sorted(counts, parts[0])
    low, high = (_at_share(numbers, samples, share) for share in _ENDS)
    whole = bool(np.all(numbers == np.round(numbers)))
    if low >= 1 and high > _LOG_RATIO * low:
        scale, edges = "log", np.geomspace(low, high * (1 + NUMBER_STEP), _BARS + 1)
        edges = np.unique(np.ceil(edges)) if whole else edges
    else:
        scale, edges = "linear", _equal_edges(low, high, step=_step_of(max(abs(low), abs(high)), whole=whole))
    places = np.searchsorted(edges, numbers, "right") - 1
    inside = (places >= 0) & (places < len(edges) - 1)
    # Bars of one whole number each stand over it, not beside it.
    shown = edges - 0.5 if scale == "linear" and whole and edges[1] - edges[0] == 1 else edges
    layers = []
    for part in parts:
        heights = np.bincount(places[inside], _sorted(counts, part)[1][inside], len(edges) - 1).astype(np.int64)
        bars = zip(shown[:-1].tolist(), shown[1:].tolist(), heights.tolist(), strict=True)
        layers.append([bar for bar in bars if bar[2]])
    return Bars(layers, scale, int(samples[~inside].sum()))


def is_worth_drawing(counts: pa.Table) -> bool:
    """Whether a histogram tells more than a sentence: of numbers that are not all the same."""
    return counts.num_rows > 1


def drawing_of(counts: pa.Table, *, unit: str) -> Callable[["Figure"], None]:
    """Draws the histogram of numbers of a name."""
    [bars], scale, _ = cut_bars(counts)
    return partial(draw_histogram, bars=bars, kind="total", unit=unit, things="samples", scales=(scale, "linear"))


def drawing_of_scores(counts: pa.Table) -> Callable[["Figure"], None]:
    """Draws the histogram of a score: of all samples that have it, and before them those in the shards.

    Args:
        counts: Of `SCORE_COUNTS`, of one name, one row at least.
    """
    (scored, kept), scale, _ = cut_bars(counts, ("scored", "kept"))
    name = counts["name"][0].as_py()
    return partial(
        draw_histogram, bars=kept, behind=scored, kind="total", unit=name, things="samples", scales=(scale, "linear")
    )


def _sorted(counts: pa.Table, part: str = "samples") -> tuple[np.ndarray, Ints]:
    table = counts.filter(pc.is_valid(counts["number"])).sort_by("number")
    return table["number"].to_numpy().astype(np.float64), table[part].to_numpy()


def _at_share(numbers: np.ndarray, samples: Ints, share: float) -> float:
    """The number that at least such a share of samples has at most."""
    ends = np.cumsum(samples)
    place = min(int(np.searchsorted(ends, share * ends[-1])), len(numbers) - 1)
    return round(float(numbers[place]), 6)


def _equal_edges(low: float, high: float, *, step: float) -> np.ndarray:
    """Edges of bars of equal width, some steps each, so that no bar has more steps than the next."""
    first, last = math.floor(low / step), math.floor(high / step)
    steps = max(1, -(-(last - first + 1) // _BARS))
    return np.arange(first, last + steps + 1, steps) * step


def _step_of(largest: float, *, whole: bool) -> float:
    """The steps in which numbers are counted, those next to the largest."""
    step = 2.0 ** math.floor(math.log2(largest)) * NUMBER_STEP if largest else 1.0
    return max(1.0, step) if whole else step
