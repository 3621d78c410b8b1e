"""The evaluation sets: scenes of combinations that the crawl never shows or names.

In: a random generator and sizes. Out: a folder of image folders named like classes for zero-shot classification, with
`classes.txt` and `templates.txt`, and `captions.tsv` (image, caption) for retrieval, every caption another one.
"""

from collections.abc import Iterator
from random import Random

from jobs.demo.world.captions import caption_scene, name_thing
from jobs.demo.world.drawing import draw_scene, encode_image
from jobs.demo.world.scenes import HELD_OUT, Scene, sample_scene

TEMPLATES = ("{}", "a {}", "a picture of a {}", "a drawing of a {}", "a photo of a {}", "a {} in the centre")


def make_holdout(rng: Random, *, num_per_class: int, num_captions: int) -> Iterator[tuple[str, bytes]]:
    """Yields path and content of every file of the evaluation sets."""
    for thing in HELD_OUT:
        for number in range(num_per_class):
            scene = sample_scene(rng, [thing], layout="single")
            yield f"classes/{name_thing(thing)}/{number:03d}.png", encode_image(draw_scene(scene), "PNG")
    yield "classes.txt", "".join(f"{name_thing(thing)}\n" for thing in HELD_OUT).encode()
    yield "templates.txt", "".join(f"{template}\n" for template in TEMPLATES).encode()
    rows = []
    for number, (scene, caption) in enumerate(_caption_scenes(rng, num_captions)):
        rows.append(f"captioned/{number:03d}.png\t{caption}\n")
        yield f"captioned/{number:03d}.png", encode_image(draw_scene(scene), "PNG")
    yield "captions.tsv", "".join(["image\tcaption\n", *rows]).encode()


def _caption_scenes(rng: Random, number: int) -> Iterator[tuple[Scene, str]]:
    """Yields scenes that differ in what they show, with complete captions."""
    seen: set[tuple[object, ...]] = set()
    while len(seen) < number:
        scene = sample_scene(rng, HELD_OUT)
        content = (scene.things, scene.number, scene.position, scene.size, scene.background)
        if content not in seen:
            seen.add(content)
            yield scene, caption_scene(scene, rng, complete=True)
