"""Encoded images to the model's input: decode, resize, crop, normalise.

In: bytes or Pillow images. Out: uint8 pixels ``[side, side, 3]``, or float tensors ``[3, side, side]``.
What is used, and for training, goes two ways. `Preprocess` is CLIP's preprocessing, pixel for pixel, by Pillow.
`decode_pixels` and `resize_pixels` are what training takes, two to three times as fast: JPEG by simplejpeg where that
is installed (the pixels are those of Pillow, to the bit), and large ones reduced by the decoder itself; resized by
torch's bicubic filter for bytes, which is Pillow's within two levels of 255.
Memory is bounded before anything is decoded: a header that claims more than `MAX_PIXELS` is refused, and of a picture
much longer than wide no more is resized than the square that is wanted.

Source: Radford et al. 2021, section 2.3 (a random square crop of the resized image is the only augmentation);
CLIP's preprocessing for everything else, pixel for pixel.
"""

import io
import struct
import zlib
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from clip_train.data.remote import fetch_image, is_url
from clip_train.errors import InputError
from clip_train.extras import find_module

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

MAX_PIXELS: Final = 2**26  # of an image, as its header claims them: with all copies 0.7 GB at the most
ELONGATED: Final = 16  # long side over short side, above which no more than the wanted square is resized

Pixels = NDArray[np.uint8]

_DECODER_ERRORS: Final = (  # all that Pillow and its plugins are known to raise for broken files
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AttributeError,
    RuntimeError, MemoryError, ZeroDivisionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_JPEG_START: Final = b"\xff\xd8\xff"
_DCT_SCALES: Final = (8, 4, 2)
_HEAD_ROOM: Final = 2  # a decoder reduces to no less than twice what the filter then makes


def decode_image(encoded: bytes) -> Image.Image:
    """Decodes an image to RGB.

    Raises:
        InputError: When it cannot be decoded, or has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            _check_pixels(*image.size)
            return image.convert("RGB")
    except _DECODER_ERRORS as error:
        raise InputError(f"not a readable image ({error})") from error


def decode_pixels(encoded: bytes, side: int) -> Pixels:
    """Decodes an image for a square crop.

    Args:
        encoded: The image; of several frames the first.
        side: Of the square that will be cut out of it. A JPEG whose short side is at least four times as long comes
            reduced by 2, 4 or 8.

    Returns:
        RGB, ``[height, width, 3]``.

    Raises:
        InputError: When it cannot be decoded, or has more than `MAX_PIXELS`.
    """
    try:
        turbo = find_module("simplejpeg") if encoded.startswith(_JPEG_START) else None
        if turbo is not None:
            height, width, _, _ = turbo.decode_jpeg_header(encoded)
            _check_pixels(width, height)
            scale = _dct_scale(width, height, side)
            pixels: Pixels = turbo.decode_jpeg(
                encoded, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
            )
            return pixels
    except ValueError:  # damaged, or of a kind that only Pillow knows: that decides
        pass
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            _check_pixels(width, height)
            scale = _dct_scale(width, height, side)
            if scale > 1:
                image.draft("RGB", (width // scale, height // scale))
            return np.array(image.convert("RGB"))
    except _DECODER_ERRORS as error:
        raise InputError(f"not a readable image ({error})") from error


def resize_pixels(pixels: Pixels, side: int) -> Pixels:
    """Scales an image so that its shorter side has the given length (bicubic, antialiased).

    Args:
        pixels: ``[height, width, 3]``, at most `ELONGATED` times as long as wide.
        side: Length of the shorter side.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short == side:
        return pixels
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # and the result has its channels last, too
    size = side * height // short, side * width // short
    resized = interpolate(image, size, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def is_elongated(pixels: Pixels) -> bool:
    """Whether an image is so long that the square is to be cut out of it first and resized then."""
    return max(pixels.shape[:2]) > ELONGATED * min(pixels.shape[:2])


def cut_and_resize(pixels: Pixels, side: int, rng: np.random.Generator | None = None) -> Pixels:
    """A square of an image, resized: a random one, or the central one without `rng`.

    An elongated image is cut first and resized then: what the filter would have seen beyond the square's edges is
    missing, and a random square begins at a whole pixel of the original.
    """
    if is_elongated(pixels):
        square = np.ascontiguousarray(crop_square(pixels, min(pixels.shape[:2]), rng))
        return resize_pixels(square, side)
    return crop_square(resize_pixels(pixels, side), side, rng)


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
        resized = np.asarray(resize_short_side(_cut_elongated(image).convert("RGB"), self.side))
        return torch.from_numpy(crop_square(resized, self.side).copy()).permute(2, 0, 1)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels, at most {MAX_PIXELS:,} are decoded")


def _dct_scale(width: int, height: int, side: int) -> int:
    """By how much a JPEG decoder may reduce an image.

    >>> _dct_scale(4000, 3000, 224), _dct_scale(1200, 900, 224), _dct_scale(341, 256, 224)
    (4, 2, 1)
    """
    return next((scale for scale in _DCT_SCALES if min(width, height) >= _HEAD_ROOM * scale * side), 1)


def _cut_elongated(image: Image.Image) -> Image.Image:
    """The central square of an image that is much longer than wide; any other image as it is."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) <= ELONGATED * short:
        return image
    left, top = (round((length - short) / 2) for length in (width, height))
    return image.crop((left, top, left + short, top + short))


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
