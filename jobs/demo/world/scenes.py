"""Scenes: what is on a picture, before any pixel or word.

In: a random generator and the (colour, shape) combinations it may use. Out: `Scene` records. A quarter of all
combinations is held out: the crawl never shows or names them, the evaluation shows nothing else, so a model can only
name them by putting together a colour and a shape that it learned apart.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "pink", "black")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
BACKGROUNDS = ("white", "grey", "beige", "striped", "dotted", "checkered", "shaded")
POSITIONS = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
RELATIONS = ("above", "below", "left of", "right of")
SIDES_PX = (64, 72, 80, 96)
MAX_NUMBER = 5


class Thing(NamedTuple):
    """One colour and one shape."""

    colour: str
    shape: str


class Scene(NamedTuple):
    """Everything a painter and a writer need to know about one picture."""

    layout: str  # "single", "group" (equal things) or "pair" (the first thing stands in a relation to the second)
    things: tuple[Thing, ...]  # one thing, or two for a pair
    number: int  # of things that can be seen
    position: str  # one of POSITIONS for a single thing, one of RELATIONS for a pair, "" for a group
    size: str  # "small", "large" or "" (in between, never named)
    background: str
    width: int  # pixels
    height: int  # pixels
    seed: int  # of the painter's jitter


ALL_THINGS = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)
# Two shapes of every colour and two colours of every shape: knowing only the colour (or only the shape) of a held-out
# thing leaves two classes to choose between.
HELD_OUT = tuple(
    Thing(colour, SHAPES[(row + shift) % len(SHAPES)]) for row, colour in enumerate(COLOURS) for shift in (0, 3)
)
CRAWLED = tuple(thing for thing in ALL_THINGS if thing not in HELD_OUT)


def sample_scene(rng: Random, things: Sequence[Thing], *, layout: str | None = None) -> Scene:
    """Draws one scene that shows only the given combinations.

    Args:
        rng: Source of every choice.
        things: Combinations to choose from.
        layout: "single", "group" or "pair"; chosen when None.
    """
    layout = layout or rng.choices(("single", "group", "pair"), weights=(50, 20, 30))[0]
    first = rng.choice(things)
    second = first
    number, position, size = 1, "", ""
    if layout == "single":
        size = rng.choice(("small", "", "", "large"))
        position = "centre" if size == "large" else rng.choice(POSITIONS)
    elif layout == "group":
        number = rng.randint(2, MAX_NUMBER)
    else:
        second = rng.choice([thing for thing in things if thing != first])
        number, position = 2, rng.choice(RELATIONS)
    side = rng.choice(SIDES_PX)
    other_side = side if rng.random() < 0.7 else max(SIDES_PX[0], side - 8)
    width, height = rng.sample((side, other_side), 2)
    shown = (first, second) if layout == "pair" else (first,)
    return Scene(layout, shown, number, position, size, rng.choice(BACKGROUNDS), width, height, rng.getrandbits(48))
