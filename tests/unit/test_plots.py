"""Plots: well-formed SVG, marks where the numbers say, nothing unescaped."""

import itertools
from xml.etree import ElementTree

import pytest

from pipeline.vocabulary.plots import (
    Bar,
    Curve,
    Mark,
    Scale,
    Segment,
    draw_histogram,
    draw_overlaps,
    draw_ranks,
    draw_stacks,
)

EVIL = '<script>&"'


def parse(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.find("title").text
    assert root.get("aria-labelledby") == root.find("title").get("id")
    return root


def texts(root):
    return [element.text for element in root.iter("text")]


def rects(root, kind):
    return [element for element in root.iter("rect") if element.get("class") == kind]


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        pytest.param(Scale(0, 300, 0, 1), [0, 50, 100, 150, 200, 250, 300], id="linear"),
        pytest.param(Scale(-4.6, 12.1, 0, 1), [0, 5, 10], id="across-zero"),
        pytest.param(Scale(1, 25_000, 0, 1, log=True), [1, 10, 100, 1000, 10_000], id="log"),
        pytest.param(Scale(0.5, 6, 0, 1, log=True), [0.5, 1, 2, 5], id="short-log"),
    ],
)
def test_ticks_are_round_and_inside(scale, ticks):
    assert scale.ticks() == ticks


def test_a_scale_maps_linearly_or_by_ratio_and_never_outside():
    assert [Scale(0, 10, 100, 200).place(v) for v in (0, 5, 10, 99, -3)] == [100, 150, 200, 200, 100]
    assert [Scale(1, 100, 0, 50, log=True).place(v) for v in (1, 10, 100)] == [0, 25, 50]
    assert Scale(3, 3, 7, 9).place(3) == 7


def test_bars_are_as_high_as_their_numbers_and_touch_the_threshold():
    bars = [Bar(0, 1, 10, "below"), Bar(1, 2, 40, "title"), Bar(2, 3, 20, "title")]
    svg = draw_histogram("h", "A title", bars, labels=("x", "y"), mark=Mark(1, EVIL), log=(False, False))
    root = parse(svg)
    [low], highs = rects(root, "below"), rects(root, "title")
    heights = [float(rect.get("height")) for rect in (low, *highs)]
    assert heights[1] == pytest.approx(4 * heights[0], abs=0.3)
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.3)
    [line] = [element for element in root.iter("line") if element.get("class") == "mark"]
    assert float(low.get("x")) + float(low.get("width")) <= float(line.get("x1")) <= float(highs[0].get("x"))
    assert EVIL in texts(root)


def test_a_histogram_of_one_bar_on_logarithmic_axes_is_drawn():
    svg = draw_histogram("h", "t", [Bar(70, 111, 1, "title")], labels=("x", "y"), mark=Mark(70, "m"), log=(True, True))
    assert len(rects(parse(svg), "title")) == 1


def test_curves_fall_from_left_to_right():
    curve = Curve("words", "word", [(1, 1000), (10, 100), (100, 10)])
    root = parse(draw_ranks("r", "t", [curve], labels=("rank", "count"), mark=Mark(100, "threshold")))
    [line] = root.iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # pixels count downwards
    steps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)  # equal ratios are equally long


def test_stacked_bars_show_sums_or_shares():
    stacks = {
        "a": [Segment("kept", "own", 30), Segment("cut", "below", 10)],
        EVIL: [Segment("kept", "own", 1), Segment("cut", "below", 0)],
    }
    sums, shares = (parse(draw_stacks("s", "t", stacks, shares=shares)) for shares in (False, True))
    assert {"a", EVIL, "40", "1"} <= set(texts(sums))
    assert len(rects(sums, "below")) == 1  # nothing is drawn for nothing
    wide, narrow = (float(rect.get("width")) for rect in rects(sums, "own"))
    assert wide > 20 * narrow
    part, whole = (float(rect.get("width")) for rect in rects(shares, "own"))
    assert part == pytest.approx(0.75 * whole, rel=0.01)


def test_overlaps_have_a_column_each_and_a_dot_for_every_set_in_it():
    overlaps = {("word",): 50, ("word", "title"): 5}
    root = parse(draw_overlaps("o", "t", ["word", "bigram", "title"], overlaps))
    kinds = [circle.get("class") for circle in root.iter("circle")]
    assert kinds == ["word", "outside", "outside", "word", "outside", "title"]
    assert [float(rect.get("height")) for rect in rects(root, "total")] == pytest.approx([144, 14.4])
    assert {"50", "5"} <= set(texts(root))


def test_empty_plots_are_drawn_too():
    parse(draw_overlaps("o", "t", ["word"], {}))
    parse(draw_stacks("s", "t", {}))
