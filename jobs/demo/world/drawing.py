"""Painting: a `Scene` becomes a small picture.

In: a scene. Out: a Pillow image, or the bytes of a file. Every choice comes from the scene's own seed.
"""

import io
import math
from collections.abc import Iterator
from random import Random

from PIL import Image, ImageDraw

from jobs.demo.world.scenes import POSITIONS, Scene

Rgb = tuple[int, int, int]

PAINTS: dict[str, Rgb] = {
    "red": (208, 32, 38),
    "green": (38, 150, 60),
    "blue": (36, 84, 204),
    "yellow": (240, 208, 32),
    "purple": (124, 48, 160),
    "orange": (240, 128, 24),
    "pink": (244, 140, 184),
    "black": (24, 24, 28),
}
PAPERS: dict[str, Rgb] = {"white": (248, 248, 248), "grey": (172, 174, 178), "beige": (228, 214, 186)}
OVERSAMPLING = 4  # masks are drawn this much larger and averaged down: smooth edges
RADII = {"small": (0.15, 0.18), "": (0.20, 0.26), "large": (0.33, 0.40)}  # of the short side
GROUP_RADII = (0.12, 0.15)
PAIR_RADII = (0.15, 0.20)


def draw_scene(scene: Scene) -> Image.Image:
    """Paints a scene: background, things, grain."""
    rng = Random(scene.seed)
    image = _draw_background(scene, rng)
    for index, (x, y, radius) in enumerate(_place_things(scene, rng)):
        thing = scene.things[index % len(scene.things)]
        mask = _draw_mask(thing.shape, radius)
        corner = (round(x - mask.width / 2), round(y - mask.height / 2))
        image.paste(_shade(PAINTS[thing.colour], rng, 14), corner, mask)
    return _add_grain(image, rng)


def encode_image(image: Image.Image, image_format: str) -> bytes:
    """Returns the bytes of an image file ("JPEG", "PNG" or "WEBP")."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **({} if image_format == "PNG" else {"quality": 88}))
    return buffer.getvalue()


def _place_things(scene: Scene, rng: Random) -> Iterator[tuple[float, float, float]]:
    """Yields centre and radius, in pixels, of every thing of a scene."""
    side = min(scene.width, scene.height)
    jitter = side * 0.03
    if scene.layout == "single":
        cells, radius = [POSITIONS.index(scene.position)], side * rng.uniform(*RADII[scene.size])
    elif scene.layout == "group":
        cells, radius = rng.sample(range(9), scene.number), side * rng.uniform(*GROUP_RADII)
    else:
        cells, radius = _cells_of_relation(scene.position, rng), side * rng.uniform(*PAIR_RADII)
    # The grid keeps the whole thing inside the square that a trainer's centre crop leaves.
    reach = max(0.0, min(side * 0.31, side * 0.48 - radius - jitter))
    for cell in cells:
        x = scene.width / 2 + (cell % 3 - 1) * reach + rng.uniform(-jitter, jitter)
        y = scene.height / 2 + (cell // 3 - 1) * reach + rng.uniform(-jitter, jitter)
        yield x, y, radius


def _cells_of_relation(relation: str, rng: Random) -> list[int]:
    """Returns the grid cells (0 is top left, 8 bottom right) of the first and the second thing."""
    lane = rng.randrange(3)
    if relation in ("above", "below"):
        first, second = lane, lane + 6
    else:
        first, second = lane * 3, lane * 3 + 2
    return [first, second] if relation in ("above", "left of") else [second, first]


def _draw_mask(shape: str, radius: float) -> Image.Image:
    """Draws a shape of the given radius (pixels) as a mask with soft edges."""
    box_px = 2 * math.ceil(radius) + 2
    r = radius * OVERSAMPLING
    centre = box_px * OVERSAMPLING / 2
    mask = Image.new("L", (box_px * OVERSAMPLING, box_px * OVERSAMPLING))
    draw = ImageDraw.Draw(mask)

    def disc(x: float, y: float, size: float, fill: int) -> None:
        draw.ellipse((centre + (x - size) * r, centre + (y - size) * r,
                      centre + (x + size) * r, centre + (y + size) * r), fill=fill)  # fmt: skip

    def polygon(points: list[tuple[float, float]]) -> None:
        draw.polygon([(centre + x * r, centre + y * r) for x, y in points], fill=255)

    match shape:
        case "circle":
            disc(0, 0, 1, 255)
        case "ring":
            disc(0, 0, 1, 255)
            disc(0, 0, 0.55, 0)
        case "crescent":
            disc(0, 0, 1, 255)
            disc(0.45, -0.1, 0.8, 0)
        case "heart":
            disc(-0.48, -0.35, 0.52, 255)
            disc(0.48, -0.35, 0.52, 255)
            polygon([(-0.93, -0.1), (0.93, -0.1), (0, 0.98)])
        case "square":
            polygon([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
        case "triangle":
            polygon([(0, -0.95), (0.98, 0.8), (-0.98, 0.8)])
        case "cross":
            polygon([(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)])
            polygon([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)])
        case "star":
            polygon([_on_circle(corner / 10, 1.0 if corner % 2 == 0 else 0.42) for corner in range(10)])
        case _:
            raise ValueError(f"no shape is called {shape!r}")
    return mask.reduce(OVERSAMPLING)


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    """Returns the point reached after a part of a full turn, clockwise from the top."""
    return radius * math.sin(turn * math.tau), -radius * math.cos(turn * math.tau)


def _draw_background(scene: Scene, rng: Random) -> Image.Image:
    """Paints the paper: plain, patterned in two pale tones, or shaded from top to bottom."""
    size = (scene.width, scene.height)
    if scene.background in PAPERS:
        return Image.new("RGB", size, _shade(PAPERS[scene.background], rng, 5))
    light, dark = _shade((240, 238, 232), rng, 8), _shade((196, 200, 206), rng, 12)
    if scene.background == "shaded":
        return Image.composite(Image.new("RGB", size, dark), Image.new("RGB", size, light),
                               Image.linear_gradient("L").resize(size))  # fmt: skip
    image = Image.new("RGB", size, light)
    draw = ImageDraw.Draw(image)
    pitch = rng.choice((8, 10, 12))
    for row, y in enumerate(range(0, scene.height, pitch)):
        if scene.background == "striped":
            draw.rectangle((0, y, scene.width, y + pitch // 2 - 1), fill=dark)
            continue
        for column, x in enumerate(range(0, scene.width, pitch)):
            if scene.background == "dotted":
                draw.ellipse((x + 2, y + 2, x + pitch // 2 + 1, y + pitch // 2 + 1), fill=dark)
            elif (row + column) % 2:
                draw.rectangle((x, y, x + pitch - 1, y + pitch - 1), fill=dark)
    return image


def _shade(paint: Rgb, rng: Random, spread: int) -> Rgb:
    """Returns the colour moved a little, each channel by at most `spread`."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-spread, spread))) for channel in paint)
    return red, green, blue


def _add_grain(image: Image.Image, rng: Random) -> Image.Image:
    """Mixes noise into an image: two pictures of one scene never have the same bytes."""
    noise = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height)).convert("RGB")
    return Image.blend(image, noise, rng.uniform(0.02, 0.08))
