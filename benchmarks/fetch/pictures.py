"""The pictures that the benchmark's server gives: JPEGs of 500 x 375 pixels and 110 kB, by default of photographs.

ImageNet's photographs are like that. Without a folder of photographs they are drawn: noise of many sizes, as strong
in each octave as in photographs.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 500, 375
NUM_BYTES = 110_000
NUM_DRAWN = 64
QUALITIES = range(30, 100)
Box = tuple[float, float, float, float]


def make_pictures(
    photographs: str | None, size: tuple[int, int] = (WIDTH, HEIGHT), num_bytes: int = NUM_BYTES
) -> list[bytes]:
    """JPEGs of nearly as many bytes each; of every photograph two, the second mirrored.

    Args:
        photographs: A folder of JPEG files, or None for pictures that are drawn.
        size: Pixels, width and height.
        num_bytes: Of a file, at most.
    """
    drawn = (draw(seed, size) for seed in range(NUM_DRAWN))
    return [encode_near(picture, num_bytes) for picture in (read(photographs, size) if photographs else drawn)]


def read(folder: str, size: tuple[int, int]) -> Iterator[Image.Image]:
    paths = sorted(Path(folder).glob("*.jpg"))
    if not paths:
        raise ValueError(f"no photograph (*.jpg) in {folder!r}")
    for path in paths:
        with Image.open(path) as photograph:
            picture = ImageOps.fit(photograph.convert("RGB"), size, Image.Resampling.LANCZOS)
        yield picture
        yield ImageOps.mirror(picture)


def draw(seed: int, size: tuple[int, int]) -> Image.Image:
    """Noise whose octaves are equally strong."""
    rng = np.random.default_rng(seed)
    total = np.full((size[1], size[0], 3), 128.0)
    for octave in range(1, 9):
        coarse = rng.integers(0, 256, (3 * 2**octave // 4 + 1, 2**octave, 3), np.uint8)
        layer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float64) - 128) / 4
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def encode_near(picture: Image.Image, num_bytes: int) -> bytes:
    """The JPEG of the highest quality that is not larger."""
    low, high = QUALITIES.start, QUALITIES.stop
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(encode(picture, middle)) <= num_bytes else (low, middle)
    return encode(picture, low)


def encode(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
