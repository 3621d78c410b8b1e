"""Encoded images to the model's input: decode, resize, crop, normalise.

In: bytes or Pillow images. Out: uint8 pixels ``[side, side, 3]``, or float tensors ``[3, side, side]``.

Source: Radford et al. 2021, section 2.3 (a random square crop of the resized image is the only augmentation);
CLIP's preprocessing for everything else, pixel for pixel.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clip_train.data.remote import fetch_image, is_url
from clip_train.errors import InputError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Pixels = NDArray[np.uint8]


def decode_image(encoded: bytes) -> Image.Image:
    """Decodes an image to RGB.

    Raises:
        InputError: When it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable image ({error})") from error


def read_image(source: str | bytes | Image.Image) -> Image.Image:
    """An RGB image from a file's path, an http(s) URL, encoded bytes, or an image.

    Raises:
        InputError: When what is named cannot be read or holds no image.
    """
    if isinstance(source, Image.Image):
        return source.convert("RGB")
    if isinstance(source, bytes):
        return decode_image(source)
    if not isinstance(source, str):
        raise InputError(f"an image must be a path, a URL, bytes or a Pillow image, not {type(source).__name__}")
    encoded = fetch_image(source) if is_url(source) else _read_file(source)
    try:
        return decode_image(encoded)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def resize_short_side(image: Image.Image, side: int) -> Image.Image:
    """Scales an image so that its shorter side has the given length (bicubic, antialiased)."""
    short = min(image.size)
    if short == side:
        return image
    width, height = (side * length // short for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def crop_square(pixels: Pixels, side: int, rng: np.random.Generator | None = None) -> Pixels:
    """Cuts a square: a random one, or the central one without `rng`."""
    spare = pixels.shape[0] - side, pixels.shape[1] - side
    if rng is None:
        top, left = (round(length / 2) for length in spare)
    else:
        top, left = (int(rng.integers(length + 1)) for length in spare)
    return pixels[top : top + side, left : left + side]


def normalize_pixels(images: Tensor) -> Tensor:
    """Maps uint8 images ``[..., 3, side, side]`` to what the model was trained on, on their own device."""
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    std = torch.tensor(STD, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


class Preprocess:
    """Turns a Pillow image into the model's input: resize, central crop, normalise."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Image.Image) -> Tensor:
        """The input for one image, ``[3, side, side]``."""
        return normalize_pixels(self.pixels(image))

    def pixels(self, image: Image.Image) -> Tensor:
        """The same before normalisation, uint8."""
        resized = np.asarray(resize_short_side(image.convert("RGB"), self.side))
        return torch.from_numpy(crop_square(resized, self.side).copy()).permute(2, 0, 1)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
