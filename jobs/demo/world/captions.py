"""Captions: a `Scene` in English, as different people would write it.

In: a scene and a random generator. Out: one line of text that is true of the scene. A complete caption names every
attribute; a partial one leaves some out, as most alt texts do.
"""

from random import Random

from jobs.demo.world.scenes import SHAPES, Scene, Thing

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
OPPOSITES = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
OPENINGS = ("", "", "", "", "picture of ", "drawing of ", "a picture of ", "a photo of ", "an image showing ")
PLURALS = {shape: f"{shape}es" if shape == "cross" else f"{shape}s" for shape in SHAPES}
PLACES = {
    "top left": ("in the top left corner", "at the top left"),
    "top": ("at the top", "near the top edge"),
    "top right": ("in the top right corner", "at the top right"),
    "left": ("on the left side", "at the left"),
    "centre": ("in the centre", "in the middle"),
    "right": ("on the right side", "at the right"),
    "bottom left": ("in the bottom left corner", "at the bottom left"),
    "bottom": ("at the bottom", "near the bottom edge"),
    "bottom right": ("in the bottom right corner", "at the bottom right"),
}
RELATION_WORDS = {
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
}


def caption_scene(scene: Scene, rng: Random, *, complete: bool = False) -> str:
    """Writes one caption.

    Args:
        scene: What to describe.
        rng: Source of the wording.
        complete: Name every attribute; otherwise each may be left out.

    Returns:
        Words that are true of the scene, such as "two pink stars on a striped background".
    """
    subject = _describe_things(scene, rng, complete)
    place = ""
    if scene.layout == "single" and (complete or rng.random() < 0.4):
        place = " " + rng.choice(PLACES[scene.position])
    background = ""
    if complete or rng.random() < 0.45:
        background = " " + _describe_background(scene.background, rng)
    text = rng.choice(OPENINGS) + subject + place + background
    return text[0].upper() + text[1:] + rng.choice(("", ".")) if rng.random() < 0.3 else text


def name_thing(thing: Thing) -> str:
    """Returns the short name of a combination, which is also its class name.

    >>> name_thing(Thing("red", "circle"))
    'red circle'
    """
    return f"{thing.colour} {thing.shape}"


def _describe_things(scene: Scene, rng: Random, complete: bool) -> str:
    if scene.layout == "single":
        return _with_article(scene.things[0], scene.size if complete or rng.random() < 0.6 else "", rng, complete)
    if scene.layout == "group":
        return _describe_group(scene, rng)
    return _describe_pair(scene, rng, complete)


def _describe_group(scene: Scene, rng: Random) -> str:
    thing = scene.things[0]
    plural = f"{thing.colour} {PLURALS[thing.shape]}"
    number = NUMBER_WORDS[scene.number] if rng.random() < 0.8 else str(scene.number)
    return rng.choice((f"{number} {plural}", f"{number} {plural}", f"a group of {number} {plural}"))


def _describe_pair(scene: Scene, rng: Random, complete: bool) -> str:
    first, second, relation = *scene.things, scene.position
    if rng.random() < 0.5:
        first, second, relation = second, first, OPPOSITES[relation]
    words = rng.choice(RELATION_WORDS[relation])
    if not complete and rng.random() < 0.25:
        words = rng.choice(("and", "next to", "beside", "with"))
    return f"{_with_article(first, '', rng, complete)} {words} {_with_article(second, '', rng, complete)}"


def _with_article(thing: Thing, size: str, rng: Random, complete: bool) -> str:
    colour = thing.colour if complete or rng.random() < 0.93 else ""
    words = " ".join(word for word in (size, colour, thing.shape) if word)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _describe_background(background: str, rng: Random) -> str:
    article = "a plain" if background in ("white", "grey", "beige") and rng.random() < 0.3 else "a"
    return f"{rng.choice(('on', 'on', 'against', 'with'))} {article} {background} background"
