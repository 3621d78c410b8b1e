"""What a report shows of a source: counts, a rank curve, a histogram, and the strings nearest to its threshold.

In: the rows of a source, below its threshold as well. Out: a few numbers and strings each, small whatever the size of
the source, and the same whatever the order of the rows.
"""

import functools
import json
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.plots import RankPoint, rank_curve

_NEAREST = 12


class Figured(NamedTuple):
    """A string and the figure that a threshold is compared with."""

    text: str
    figure: float


class Near(NamedTuple):
    """The strings nearest to a threshold, the nearest first."""

    above: list[Figured]  # at it, too
    below: list[Figured]


@dataclass(kw_only=True)
class SourceSurvey:
    """What is known of a source before the merge.

    Attributes:
        found: Strings that the source has, where that is known.
        passed: Those that its thresholds let pass.
        selected: Those of them in its share.
        curve: Its figures by rank.
        histogram: Strings by bin of the figure; bin 0 begins at the threshold.
        near: The strings nearest to its threshold.
    """

    found: int = 0
    passed: int = 0
    selected: int = 0
    curve: list[RankPoint] = field(default_factory=list)
    histogram: dict[int, int] = field(default_factory=dict)
    near: Near = field(default_factory=lambda: Near([], []))


class WordSurvey(NamedTuple):
    """What is known of all words of the dumps, or of a range of them, those below the threshold as well."""

    spectrum: dict[int, int]  # occurrences to number of words
    near: Near

    def to_json(self) -> bytes:
        """The survey as a file keeps it."""
        return json.dumps([sorted(self.spectrum.items()), self.near]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Reads what `to_json` wrote."""
        spectrum, near = json.loads(text)
        return cls(dict(spectrum), Near(*([Figured(*row) for row in side] for side in near)))

    @classmethod
    def merge(cls, surveys: Sequence[Self], *, threshold: int) -> Self:
        """The survey of several ranges together."""
        return cls(add_bins(it.spectrum for it in surveys), merge_near((it.near for it in surveys), threshold))

    def rank_curve(self) -> list[RankPoint]:
        """The occurrences at some ranks."""
        counts = np.fromiter(self.spectrum, np.int64)
        return rank_curve(counts, np.fromiter(self.spectrum.values(), np.int64))


def survey_words(word_counts: pa.Table, *, threshold: int) -> WordSurvey:
    """Surveys words; what has no letter is none, as in `select_words`.

    Args:
        word_counts: Columns word and count, each word once.
        threshold: Occurrences that make a word a query.

    >>> survey_words(pa.table({"word": ["a", "b", "1990"], "count": [9, 4, 99]}), threshold=5).near
    Near(above=[Figured(text='a', figure=9)], below=[Figured(text='b', figure=4)])
    """
    words = word_counts.filter(pc.match_substring_regex(word_counts["word"], r"\p{L}"))
    near = find_near(words, figure="count", threshold=threshold)
    return WordSurvey(_count_equal(words["count"].to_numpy()), near)


def count_bins(figures: npt.NDArray[np.float64], *, threshold: float, width: float) -> dict[int, int]:
    """How many figures lie in every bin; bin 0 begins at the threshold, and empty bins are left out.

    >>> count_bins(np.array([4.9, 5.0, 5.2, 5.7]), threshold=5, width=0.5)
    {-1: 1, 0: 2, 1: 1}
    """
    return _count_equal(np.floor((figures - threshold) / width).astype(np.int64))


def count_log_bins(figures: npt.NDArray[np.int64], *, threshold: int, per_decade: int) -> dict[int, int]:
    """The same with bins of equal ratio, for whole numbers: bin k begins at threshold * 10**(k / per_decade).

    >>> count_log_bins(np.array([6, 7, 69, 70, 800]), threshold=70, per_decade=1)
    {-2: 1, -1: 2, 0: 1, 1: 1}
    """
    first, last = (round(per_decade * np.log10(extreme / threshold)) for extreme in (1, np.iinfo(np.int64).max // 16))
    edges = threshold * 10.0 ** (np.arange(first - 1, last) / per_decade)
    return _count_equal(np.searchsorted(np.ceil(edges.round(6)), figures, side="right") + (first - 2))


def add_bins(histograms: Iterable[dict[int, int]]) -> dict[int, int]:
    """The sum of histograms, by bin.

    >>> add_bins([{2: 1}, {0: 1, 2: 3}])
    {0: 1, 2: 4}
    """
    total: Counter[int] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(sorted(total.items()))


def script_of(text: str) -> str:
    """The script of a text's letters, as Unicode names them.

    >>> [script_of(text) for text in ("café 7", "москва", "北 京", "42", "α particle")]
    ['Latin', 'Cyrillic', 'CJK', 'no letters', 'several']
    """
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else "no letters"
    scripts = {_script_of_letter(letter) for letter in text if letter.isalpha()}
    return next(iter(scripts), "no letters") if len(scripts) < 2 else "several"


def find_near(table: pa.Table, *, figure: str, threshold: float) -> Near:
    """The strings of a table's first column that are nearest to a threshold; equally near ones in no special order."""
    above = pc.greater_equal(table[figure], threshold)
    return Near(
        *(_nearest(table.filter(side), figure, threshold) for side in (above, pc.invert(above))),
    )


def merge_near(parts: Iterable[Near], threshold: float) -> Near:
    """The nearest strings of all parts together."""
    every = list(parts)
    above = [figured for near in every for figured in near.above]
    below = [figured for near in every for figured in near.below]
    return Near(_first(above, threshold), _first(below, threshold))


@functools.cache
def _script_of_letter(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0]
    return name if name == "CJK" else name.title()


def _count_equal(numbers: npt.NDArray[np.int64]) -> dict[int, int]:
    distinct, counts = np.unique(numbers, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def _nearest(table: pa.Table, figure: str, threshold: float) -> list[Figured]:
    distances = np.abs(table[figure].to_numpy() - threshold)
    if len(distances) > _NEAREST:
        farthest = np.partition(distances, _NEAREST - 1)[_NEAREST - 1]
        table = table.filter(pa.array(distances <= farthest))
    rows = zip(table.column(0).to_pylist(), table[figure].to_pylist(), strict=True)
    return _first([Figured(*row) for row in rows], threshold)


def _first(figured: list[Figured], threshold: float) -> list[Figured]:
    """Ties, of which there are thousands at a count of 100, are broken by a checksum, so that not all begin with a."""
    return sorted(figured, key=lambda it: (abs(it.figure - threshold), zlib.crc32(it.text.encode()), it.text))[
        :_NEAREST
    ]
