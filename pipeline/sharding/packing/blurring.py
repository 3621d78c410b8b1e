"""Faces made unrecognisable: an image and the boxes of its faces ► the image with these blurred.

Each box is made larger, for hair and chin tell who somebody is; what lies in it is replaced by the mean colours of a
few cells, at most `_CELLS` by `_CELLS`, and these are blurred into each other. Nothing else of what was there is left:
it cannot be computed back. The image keeps its format; only images with faces are encoded again.
"""

import io
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFilter

from pipeline.base.drops import DropReason
from pipeline.pixels.colour import to_srgb
from pipeline.pixels.decoding import FORMATS, decode, read_parts
from pipeline.pixels.image_headers import Size, read_header
from pipeline.pixels.images import ImageRules, encode, turn
from pipeline.pixels.resizing import Pixels

_MARGIN: Final = 0.25  # of a box's longer side, on each side of it
_CELLS: Final = 6  # along the longer side
_CELL_PX: Final = 4  # at least, so that small faces have fewer
_BLUR: Final = 0.5  # standard deviation, of a cell
_FETCHED_FORMATS: Final = {"image/jpeg": "jpg", "image/webp": "webp", "image/png": "png"}

Box = Sequence[float]  # left, top, right, bottom as shares of width and height; what follows does not matter


def blur_image(source: bytes, boxes: Sequence[Box], *, quality: int) -> bytes:
    """An image file with its faces blurred, in the same format and size: of several frames the first, upright, sRGB.

    Args:
        source: The file.
        boxes: Of its faces, as the file has it: not turned by its orientation.
        quality: 1 to 100.

    Raises:
        ValueError, OSError and others of `DECODER_ERRORS`: When it cannot be decoded.
    """
    header = read_header(source)
    if isinstance(header, DropReason):
        raise ValueError(header)
    parts = read_parts(source, header.mime, raw=False)
    if parts is None:
        raise ValueError(DropReason.BROKEN_IMAGE)
    size = Size(max(header.width, parts.extent[0]), max(header.height, parts.extent[1]))
    decoded = decode(header.mime, size, parts, wanted=size)
    picture = blur_boxes(to_srgb(decoded.pixels, decoded.icc), boxes)
    return _encode(turn(picture, decoded.orientation), header.mime, quality)


def blur_boxes(picture: Pixels, boxes: Sequence[Box]) -> Pixels:
    """A picture with what lies in some boxes, and around them, made unrecognisable.

    Args:
        picture: uint8 [height, width, 3].
        boxes: As shares of width and height.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    for box in boxes:
        left, top, right, bottom = area = enlarge_box(box, image.size)
        width, height = right - left, bottom - top
        if width < 1 or height < 1:
            continue
        num_cells = min(_CELLS, max(1, max(width, height) // _CELL_PX))
        cell = max(width, height) / num_cells
        cells = image.crop(area).resize(
            (max(1, round(width / cell)), max(1, round(height / cell))), Image.Resampling.BOX
        )
        blocks = cells.resize((width, height), Image.Resampling.NEAREST)
        image.paste(blocks.filter(ImageFilter.GaussianBlur(_BLUR * cell)), area)
    return np.asarray(image)


def enlarge_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What is blurred for a box: whole pixels, with a margin, within the picture.

    Args:
        box: As shares of width and height.
        size: Width and height, pixels.

    >>> enlarge_box([0.5, 0.5, 0.6, 0.7, 0.9], (200, 100))
    (95, 45, 125, 75)
    """
    width, height = size
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    margin = _MARGIN * max(right - left, bottom - top)
    return (
        max(0, math.floor(left - margin)),
        max(0, math.floor(top - margin)),
        min(width, math.ceil(right + margin)),
        min(height, math.ceil(bottom + margin)),
    )


def _encode(picture: Pixels, mime: str, quality: int) -> bytes:
    if mime in _FETCHED_FORMATS:
        rules: dict[str, Any] = {"image_format": _FETCHED_FORMATS[mime], "encode_quality": quality}
        return encode(picture, ImageRules(**rules))
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, FORMATS[mime], quality=quality)
    return buffer.getvalue()
