"""Samples of shards ► small pictures, as a page holds them: each from a range of bytes of its shard."""

import base64
from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import ShardsFolder
from pipeline.base.shard_format import IMAGE_SUFFIXES
from pipeline.base.tar import list_members
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.sharding.card.picking import PICKS

_SHEET_PICTURES: Final = 16
_SMALL: Final = ImageRules(
    image_size=160,
    resize_mode="long_side",
    min_side_px=1,
    max_aspect_ratio=1e9,
    max_pixels=89_478_485,
    reencode="always",
    image_format="jpg",
    encode_quality=72,
)


class Place(NamedTuple):
    """Where a sample lies.

    Attributes:
        key: Of the sample.
        shard: Name of its shard.
        offset: Of its first tar header in the shard.
        length: Bytes of all its members.
    """

    key: str
    shard: str
    offset: int
    length: int


class Sheet(NamedTuple):
    """Samples whose pictures a worker makes together.

    Attributes:
        number: Of the sheet.
        places: Where they lie.
    """

    number: int
    places: tuple[Place, ...]


def cut_sheets(picks: pa.Table) -> list[Sheet]:
    """Samples that are shown (`PICKS`), each once, as sheets."""
    names = [name for name in Place._fields if name in PICKS.names]
    places = sorted({Place(**row) for row in picks.select(names).to_pylist()})
    parts = [tuple(places[first : first + _SHEET_PICTURES]) for first in range(0, len(places), _SHEET_PICTURES)]
    return [Sheet(number, part) for number, part in enumerate(parts)]


def write_sheet(sheet: Sheet, output: str, *, folder: str) -> Counts:
    """Writes the pictures of a sheet: of each key the data URL of a JPEG.

    Args:
        sheet: The samples.
        output: Where to.
        folder: Of the shards.
    """
    files.write_json(output, draw_sheet(sheet, folder=folder))
    return {}


def draw_sheet(sheet: Sheet, *, folder: str) -> dict[str, str]:
    """The pictures of a sheet: of each key the data URL of a JPEG; of what no longer decodes an empty text."""
    shards = ShardsFolder(folder)
    return dict(
        zip(
            (place.key for place in sheet.places),
            files.each(lambda place: _draw(shards, place), sheet.places),
            strict=True,
        )
    )


def read_sheets(outputs: Sequence[str]) -> dict[str, str]:
    """The pictures of all sheets, from what was written of each."""
    return {key: url for pictures in files.each(files.read_json, outputs) for key, url in pictures.items()}


def find_image(sample: bytes) -> bytes:
    """The image among the members of a sample.

    Raises:
        ValueError: When there is none.
    """
    suffixes = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES.values())
    for member in list_members(sample):
        if member.name.endswith(suffixes):
            return sample[member.data : member.data + member.size]
    raise ValueError("a sample without an image")


def _draw(shards: ShardsFolder, place: Place) -> str:
    sample = files.read_range(shards.file(place.shard), place.offset, place.length)
    image = normalize_image(find_image(sample), _SMALL)
    if isinstance(image, DropReason):
        return ""
    return f"data:{image.mime};base64,{base64.b64encode(image.data).decode()}"
