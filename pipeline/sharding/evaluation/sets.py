"""The images of evaluation sets ► what they hash to and look like; tables of that ► an index to compare samples with.

In: `pipeline.sharding.evaluation.readers`. Images go through the code that made the stored ones, with the sizes and
the framing of those, so that like is compared with like; what a stored image would have been refused for (small,
narrow, an opt-out) does not matter here. Out: tables of `EVALUATED`, one a unit, and of all of them arrays that
workers map into memory.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.on_worker import OnWorker
from pipeline.base.tables import open_table_writer
from pipeline.pixels.images import CheckedImage, ImageRules, make_uniform
from pipeline.pixels.looks import LOOKS_BYTES, describe_looks
from pipeline.sharding.evaluation.readers import Found, read_unit
from pipeline.sharding.evaluation.sources import EvaluationSet, Source, SourceUnit

THING: Final = "evaluation"  # in counts: the images of all sets
_WHOLE: Final[Mapping[str, Any]] = {"resize_mode": "short_side"}  # for a copy that was too small to be cut or framed
# Shares of its sides by which an image is cut around its middle: a copy that was cut there, up to the largest, is alike
# to one of these, for a cut of one per cent changes looks by some six quarters of a level.
_CUTS: Final = (0.025, 0.05, 0.075, 0.1)
_ROWS_AT_ONCE: Final = 4096  # in memory
_FRAMING: Final = ("image_size", "resize_mode", "enlarge")
_CUTS_OR_FRAMES: Final = ("center_crop", "border")
_REFUSES_LITTLE: Final[Mapping[str, Any]] = {
    "min_side_px": 1,
    "max_aspect_ratio": 1e9,
    "max_pixels": 89_478_485,
    "max_decode_bytes": 2_000_000_000,
}

# What is known of the images of a unit; an image has several rows where it has several looks.
EVALUATED = pa.schema(
    [
        pa.field("set", pa.int32(), nullable=False),  # number, in the order of names
        pa.field("image", pa.int32(), nullable=False),  # number in the unit
        pa.field("name", pa.string(), nullable=False),  # in the set
        pa.field("sha256", pa.binary(32)),  # of the file
        pa.field("phash", pa.int64()),  # only of what was given by its hash
        pa.field("looks", pa.binary(LOOKS_BYTES)),
    ]
)


def counts_key(name: str, what: str) -> str:
    """Under what name something is counted of a set.

    >>> counts_key("flickr", "images")
    'evaluation set flickr/images'
    """
    return f"{THING} set {name}/{what}"


def framings(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How the images of a set were cut or framed when they were fetched: options of `ImageRules`.

    Pictures smaller than they are to be are not cut, so the whole picture is always among them.

    Args:
        history: What the stages before counted, with their options; defaults count where none tells.
    """
    defaults = {name: getattr(ImageRules(), name) for name in _FRAMING}
    found = []
    fetched = [run.get("options", {}) for run in history if run["stage"] == "fetch-images"]
    for options in fetched or [{}]:
        own = {name: options.get(name, defaults[name]) for name in _FRAMING}
        found += [own, {**own, **_WHOLE}] if own["resize_mode"] in _CUTS_OR_FRAMES else [own]
    unique = {tuple(one.items()): one for one in found}
    return [unique[key] for key in sorted(unique)]


def describe_unit(
    unit: SourceUnit,
    output: str,
    *,
    sources: OnWorker[list[Source]],
    sets: Sequence[EvaluationSet],
    framed: Sequence[Mapping[str, Any]],
) -> Counts:
    """Writes what the images of a unit hash to and look like (`EVALUATED`).

    Args:
        unit: The unit.
        output: Where to.
        sources: Files of all sets.
        sets: The sets.
        framed: Of `framings`.

    Returns:
        Counts of images, and of each set what was read.
    """
    rules = [ImageRules(**_REFUSES_LITTLE, **framing) for framing in framed]
    rows: list[dict[str, Any]] = []
    kept, drops, by_set = 0, Counter[str](), Counter[str]()
    with open_table_writer(output, EVALUATED) as table:
        for number, (source, found) in enumerate(read_unit(unit, sources.get())):
            described, what = _describe(found, rules)
            base = {"set": source.number, "image": number, "name": found.name}
            rows += [base | dict(one) for one in described]
            if len(rows) >= _ROWS_AT_ONCE:
                table.write(pa.Table.from_pylist(rows, EVALUATED))
                rows = []
            drops.update([what] if isinstance(what, DropReason) else [])
            kept += what == "images"
            by_set[counts_key(sets[source.number].name, "unreadable" if isinstance(what, DropReason) else what)] += 1
        table.write(pa.Table.from_pylist(rows, EVALUATED))
        table.counts = drop_counts(THING, kept, drops) | dict(sorted(by_set.items()))
    return table.counts


def _describe(found: Found, rules: Sequence[ImageRules]) -> tuple[Sequence[Mapping[str, Any]], str]:
    """What is known of something that was found, row by row; and as what it is counted."""
    if found.image is None:
        return ([found.hashes], "hashes") if found.hashes else ([], "other_files")
    described, refusal = describe_evaluated(found.image, rules)
    return described, refusal or "images"


def describe_evaluated(data: bytes, rules: Sequence[ImageRules]) -> tuple[list[dict[str, Any]], DropReason | None]:
    """What is known of an image, a row for each of its looks, and why it could not be read.

    What is unreadable here may have been readable elsewhere, so its digest is known all the same.
    """
    digest = hashlib.sha256(data).digest()
    images = [make_uniform(data, one) for one in rules]
    refusals = [image for image in images if isinstance(image, DropReason)]
    looks = dict.fromkeys(one for image in images if not isinstance(image, DropReason) for one in _looks_of(image))
    return [{"sha256": digest}, *({"looks": one} for one in looks)], refusals[0] if refusals else None


def _looks_of(image: CheckedImage) -> Iterator[bytes]:
    """What an image looks like, whole and cut."""
    yield image.looks
    pixels = np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB"))
    for share in _CUTS:
        rows, columns = (round(length * share / 2) for length in pixels.shape[:2])
        yield describe_looks(pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns])
