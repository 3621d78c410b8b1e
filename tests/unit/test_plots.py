"""Plots: bars, curves and dots where the numbers say."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.base.plots import Layer, draw_histogram, draw_overlaps, draw_ranks, draw_stacks
from pipeline.base.rendering import COLORS

LOG_VIEWS = {"kind": "title", "unit": "views", "things": "titles", "scales": ("log", "log")}


def draw(plot, *args, figsize=None, **options):
    figure = Figure(layout="constrained", figsize=figsize)
    plot(figure, *args, **options)
    figure.draw_without_rendering()
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def kinds(artists):
    names = {color: name for name, color in COLORS.items()}
    return [names[to_hex(artist.get_facecolor())] for artist in artists]


def ticks(axis):
    low, high = axis.get_view_interval()
    return [
        label.get_text()
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    ]


def test_bars_are_as_high_as_their_numbers_and_grey_below_the_threshold():
    bars = [(0, 1, 10), (1, 2, 4000), (2, 3, 20)]
    [axes] = draw(draw_histogram, bars, kind="title", unit="views", things="titles", threshold=1).axes
    assert [patch.get_height() for patch in axes.patches] == [10, 4000, 20]
    assert kinds(axes.patches) == ["below", "title", "title"]
    [line] = axes.lines
    low, high, _ = axes.patches
    assert low.get_x() + low.get_width() == line.get_xdata()[0] == high.get_x()
    assert texts(axes) == ["threshold: 1"]
    assert ticks(axes.yaxis) == ["0", "1,000", "2,000", "3,000", "4,000"]
    assert ticks(axes.xaxis) == ["0", "1", "2", "3"]


def test_without_a_threshold_no_bar_is_grey_and_no_line_is_drawn():
    bars = [(0.2, 0.25, 10), (0.25, 0.3, 4000)]
    [axes] = draw(draw_histogram, bars, kind="total", unit="cosine", things="samples").axes
    assert kinds(axes.patches) == ["total", "total"]
    assert (len(axes.lines), texts(axes), axes.get_ylabel()) == (0, [], "samples")
    assert {"0.2", "0.3"} <= set(ticks(axes.xaxis))


def test_bars_behind_others_are_grey():
    bars, behind = [(0, 1, 10)], [(0, 1, 30), (1, 2, 20)]
    [axes] = draw(draw_histogram, bars, behind=behind, kind="total", unit="cosine", things="samples").axes
    assert kinds(axes.patches) == ["below", "below", "total"]
    assert [patch.get_height() for patch in axes.patches] == [30, 20, 10]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(1, 40, ["1", "2", "5", "10", "20"], id="short"),
        pytest.param(1, 2e6, ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"], id="long"),
    ],
)
def test_ticks_of_logarithmic_axes_are_round_numbers(low, high, expected):
    [axes] = draw(draw_histogram, [(low, high, 1)], threshold=low, **LOG_VIEWS).axes
    assert ticks(axes.xaxis)[: len(expected)] == expected
    assert ticks(axes.yaxis)[0] == "1"


def test_a_histogram_of_one_bar_on_logarithmic_axes_is_drawn():
    [axes] = draw(draw_histogram, [(70, 111, 1)], threshold=70, **LOG_VIEWS).axes
    assert len(axes.patches) == 1
    assert all(text.isdecimal() for text in ticks(axes.xaxis))


def test_curves_have_logarithmic_axes_and_those_without_points_are_left_out():
    curves = {"words": ("word", [(1, 1000), (10, 100)]), "bigrams": ("bigram", [])}
    [axes] = draw(draw_ranks, curves, unit="occurrences", marks={"threshold": 100}).axes
    words, mark = axes.lines
    assert words.get_xydata().tolist() == [[1, 1000], [10, 100]]
    assert mark.get_ydata()[0] == 100
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rank", "occurrences")


def test_stacked_bars_show_sums_or_shares():
    layers = [Layer("kept", [3000, 1], ["word", "title"]), Layer("cut", [1000, 0], ["below", "below"])]
    [sums], [shares] = (draw(draw_stacks, ["a", "b"], layers, shares=shares).axes for shares in (False, True))
    assert texts(sums) == texts(shares) == ["4,000", "1"]
    assert [patch.get_width() for patch in sums.patches] == [3000, 1, 1000, 0]
    assert [patch.get_width() for patch in shares.patches] == [0.75, 1, 0.25, 0]
    assert [patch.get_x() for patch in shares.patches] == [0, 0, 0.75, 1]
    assert kinds(shares.patches) == ["word", "title", "below", "below"]


def test_overlaps_have_a_column_each_and_a_dot_for_every_set_in_it():
    sets, overlaps = ["word", "bigram", "title"], {("word",): 5000, ("word", "title"): 5}
    bars, dots = draw(draw_overlaps, sets, overlaps).axes
    assert [patch.get_height() for patch in bars.patches] == [5000, 5]
    assert texts(bars) == ["5,000", "5"]
    columns = [points for points in dots.collections if len(points.get_facecolor())]
    names = {color: name for name, color in COLORS.items()}
    painted = [[names[to_hex(color)] for color in points.get_facecolor()] for points in columns]
    assert painted == [["word", "line", "line"], ["word", "line", "title"]]


NUMBERS = [1_234_567, 89_012, 3_456, 7]
FATES = ("in the list, from this source alone", "in the list, from others too", "over the source's share", "over it")
PICTURES = {
    "ranks": (
        draw_ranks,
        {
            "curves": {"all words": ("below", [(1, 900_000), (30_000, 1)]), "bigrams": ("bigram", [(1, 8)])},
            "unit": "occurrences",
            "marks": {"threshold of words: 20": 20},
        },
    ),
    "histogram": (
        draw_histogram,
        {"bars": [(1, 10, 5), (10, 2e6, 40_000)], "threshold": 10} | LOG_VIEWS,
    ),
    "shares": (
        draw_stacks,
        {
            "labels": ["words", "bigrams", "titles", "synset names"],
            "layers": [Layer(text, NUMBERS, ["word"] * 4) for text in FATES],
            "shares": True,
        },
    ),
    "overlaps": (
        draw_overlaps,
        {
            "sets": (kinds_of := ("word", "bigram", "title", "synset", "imported")),
            "overlaps": {kinds_of[: n % 5 + 1]: 987_654 // (n + 1) for n in range(5)}
            | {(kinds_of[n], kinds_of[m]): 9 for n in range(5) for m in range(n + 2, 5)},
        },
    ),
}


@pytest.mark.parametrize("inches", [(10, 4.4), (5, 4)], ids=["screen", "phone"])
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_of_a_picture_is_cut_or_lies_on_another(name, inches):
    plot, options = PICTURES[name]
    figure = draw(plot, figsize=inches, **options)
    hidden = set(_hidden_labels(figure))
    labels = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]
    boxes = [text.get_window_extent() for text in labels]
    for text, box in zip(labels, boxes, strict=True):
        assert box.x0 > -1 and box.x1 < figure.bbox.x1 + 1, text
        assert box.y0 > -1 and box.y1 < figure.bbox.y1 + 1, text
    for number, box in enumerate(boxes):
        assert box.count_overlaps(boxes[number + 1 :]) == 0, labels[number]


def _hidden_labels(figure):
    """Labels of ticks beyond the ends of their axes, which are not drawn."""
    axes = [axis for plot in figure.axes for axis in (plot.xaxis, plot.yaxis)]
    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        drawn = axis.get_major_ticks()
        for tick in [*axis.majorTicks, *axis.minorTicks]:
            if tick not in drawn or not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)
