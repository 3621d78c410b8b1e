"""Scenes, their pixels and their captions."""

from collections import Counter
from random import Random

import pytest

from jobs.demo.world.captions import PLACES, RELATION_WORDS, caption_scene
from jobs.demo.world.drawing import PAINTS, draw_scene, encode_image
from jobs.demo.world.scenes import (
    ALL_THINGS,
    BACKGROUNDS,
    COLOURS,
    CRAWLED,
    HELD_OUT,
    POSITIONS,
    SHAPES,
    Scene,
    Thing,
    sample_scene,
)


def make_scene(**changes: object) -> Scene:
    scene = Scene("single", (Thing("red", "square"),), 1, "centre", "large", "white", 64, 64, 7)
    return scene._replace(**changes)


def test_every_colour_and_shape_is_held_out_twice_and_crawled_six_times():
    assert len(HELD_OUT) == len(set(HELD_OUT)) == 16
    for part, times in ((HELD_OUT, 2), (CRAWLED, 6)):
        assert set(Counter(thing.colour for thing in part).values()) == {times}
        assert set(Counter(thing.shape for thing in part).values()) == {times}


def test_scenes_show_only_the_things_they_may():
    rng = Random(1)
    things = CRAWLED[:5]
    scenes = [sample_scene(rng, things) for _ in range(300)]
    assert {thing for scene in scenes for thing in scene.things} == set(things)
    assert {scene.layout for scene in scenes} == {"single", "group", "pair"}
    assert all(min(scene.width, scene.height) >= 64 and max(scene.width, scene.height) <= 96 for scene in scenes)


def test_a_scene_is_drawn_the_same_every_time():
    scene = sample_scene(Random(3), CRAWLED)
    assert encode_image(draw_scene(scene), "JPEG") == encode_image(draw_scene(scene), "JPEG")


def test_another_seed_draws_other_bytes():
    assert draw_scene(make_scene(seed=1)).tobytes() != draw_scene(make_scene(seed=2)).tobytes()


@pytest.mark.parametrize("thing", ALL_THINGS, ids="-".join)
def test_the_middle_of_a_large_thing_has_its_colour(thing: Thing):
    image = draw_scene(make_scene(things=(thing,)))
    paint = PAINTS[thing.colour]
    near = sum(max(map(abs, (a - b for a, b in zip(pixel, paint, strict=True)))) < 40 for pixel in pixels_of(image))
    assert near > 0.08 * image.width * image.height


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_differs_from_plain_white(background: str):
    drawn, white = (draw_scene(make_scene(background=name)) for name in (background, "white"))
    assert (drawn.tobytes() == white.tobytes()) == (background == "white")


@pytest.mark.parametrize("position", POSITIONS)
def test_a_thing_stands_where_the_scene_says(position: str):
    image = draw_scene(make_scene(position=position, size="small"))
    xs, ys = zip(*[(i % 64, i // 64) for i, (r, g, b) in enumerate(pixels_of(image)) if r > g + 90], strict=True)
    column, row = POSITIONS.index(position) % 3, POSITIONS.index(position) // 3
    assert abs(sum(xs) / len(xs) - 32 - (column - 1) * 18) < 5
    assert abs(sum(ys) / len(ys) - 32 - (row - 1) * 18) < 5
    assert 0 < min(*xs, *ys) <= max(*xs, *ys) < 63


@pytest.mark.parametrize("layout", ["single", "group", "pair"])
def test_a_complete_caption_names_every_attribute(layout: str):
    rng = Random(layout)
    for _ in range(200):
        scene = sample_scene(rng, CRAWLED, layout=layout)
        text = caption_scene(scene, rng, complete=True).lower()
        assert scene.background in text
        assert scene.size in text
        for thing in scene.things:
            assert f"{thing.colour} {thing.shape}" in text
        if layout == "single":
            assert any(place in text for place in PLACES[scene.position])


@pytest.mark.parametrize("relation", RELATION_WORDS)
def test_a_pair_is_described_from_either_side_truthfully(relation: str):
    rng = Random(relation)
    red, blue = Thing("red", "square"), Thing("blue", "star")
    scene = make_scene(layout="pair", things=(red, blue), number=2, position=relation, size="")
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}[relation]
    for _ in range(60):
        text = caption_scene(scene, rng, complete=True).lower()
        said = relation if text.index("red square") < text.index("blue star") else opposite
        between = text.partition("blue" if said == relation else "red")[0]
        assert any(f" {words} " in between for words in RELATION_WORDS[said])


def test_partial_captions_leave_words_out():
    rng = Random(5)
    scene = make_scene()
    lengths = {len(caption_scene(scene, rng).split()) for _ in range(100)}
    assert min(lengths) <= 3 < 7 <= max(lengths)


def pixels_of(image) -> list[tuple[int, int, int]]:
    data = image.tobytes()
    return [tuple(data[i : i + 3]) for i in range(0, len(data), 3)]


def test_all_colours_and_shapes_have_names_of_one_word():
    assert all(word.isalpha() for word in (*COLOURS, *SHAPES))
