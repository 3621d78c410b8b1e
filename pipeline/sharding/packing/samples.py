"""The samples of a pack unit, as they come from raw tars ► as they lie in a shard.

Most are the same bytes. Where a set is of another form, or samples are to say anew what they were selected for, members
are renamed or left out and JSON is written anew. Texts stay what they are, and images but for those with faces to blur.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import Counts
from pipeline.base.shard_format import (
    BOXES,
    FACES_BLURRED,
    IMAGE_SUFFIXES,
    JSON_SUFFIX,
    describe_probability,
    member_name,
)
from pipeline.base.tar import encode_header, encode_json, encode_member, list_members
from pipeline.pixels.decoding import DECODER_ERRORS
from pipeline.sharding.forms import Form
from pipeline.sharding.packing.blurring import Box, blur_image

FACES_BLURRED_FIELD: Final = pa.field(FACES_BLURRED, pa.int32(), nullable=False)  # of indexes, as a carried column

_IMAGES: Final = frozenset(IMAGE_SUFFIXES.values())


class Change(NamedTuple):
    """What changes in a sample.

    Attributes:
        key: What it is called in the shard.
        told: What its JSON says anew.
        boxes: Of its faces, if these are blurred.
    """

    key: str
    told: Mapping[str, Any]
    boxes: Sequence[Box]


class Rewriting(NamedTuple):
    """How samples change on their way.

    Attributes:
        form: Of the set.
        queries: Strings of all queries, if samples are to say anew which of them keep it in the end and how likely;
            None: samples say so already.
        blur_quality: 1 to 100, of images that are encoded again because faces in them are blurred; None: none are.
    """

    form: Form
    queries: pa.Array | None = None
    blur_quality: int | None = None

    @property
    def is_needed(self) -> bool:
        """Whether they change at all."""
        is_told = self.queries is not None or self.blur_quality is not None
        return is_told or self.form.is_numbered or not self.form.has_json

    def changes(self, rows: pa.Table, keys: Sequence[str]) -> Iterator[Change]:
        """What changes in samples.

        Args:
            rows: Of `SHARD_PLAN`, with boxes of faces if these are blurred.
            keys: What the samples are called in the shard.
        """
        found: list[dict[str, Any]] = [{} for _ in keys]
        if self.queries is not None:
            for change, selection in zip(found, describe_selection(rows, self.queries), strict=True):
                change.update(selection)
        if self.form.is_numbered:
            for change, key, pair in zip(found, keys, rows["key"].to_pylist(), strict=True):
                change.update(key=key, pair_id=pair, status="success", error_message=None)
        boxes = rows[BOXES].to_pylist() if self.blur_quality is not None else repeat(None)
        for key, told, of_faces in zip(keys, found, boxes, strict=False):
            if self.blur_quality is not None:
                told[FACES_BLURRED] = len(of_faces or ())
            yield Change(key, told, of_faces or ())

    def rewrite(self, sample: memoryview, change: Change) -> bytes:
        """A sample as it lies in the shard.

        Args:
            sample: Its members.
            change: What changes in it.

        Raises:
            ValueError: When its image has faces to blur, and cannot be decoded.
        """
        pieces: list[bytes | memoryview] = []
        for member in list_members(sample):
            suffix = member.name.partition(".")[2]
            name, content = member_name(change.key, suffix), sample[member.data : member.data + member.size]
            if suffix == JSON_SUFFIX:
                told = json.loads(bytes(content)) | dict(change.told)
                pieces += [encode_member(name, encode_json(told))] if self.form.has_json else []
            elif self.blur_quality is not None and change.boxes and suffix in _IMAGES:
                pieces.append(encode_member(name, self._blur(member.name, bytes(content), change.boxes)))
            else:
                pieces += [encode_header(name, member.size), sample[member.data : member.end]]
        return b"".join(pieces)

    def _blur(self, name: str, image: bytes, boxes: Sequence[Box]) -> bytes:
        try:
            return blur_image(image, boxes, quality=self.blur_quality or 0)
        except DECODER_ERRORS as error:
            raise ValueError(f"{name} has faces to blur, but cannot be decoded ({error})") from error


def size_of_image(sample: bytes) -> int:
    """Bytes of the image among the members of a sample."""
    return next(member.size for member in list_members(sample) if member.name.partition(".")[2] in _IMAGES)


def with_blurred(rows: pa.Table, image_bytes: Sequence[int]) -> pa.Table:
    """Rows of `SHARD_PLAN` with boxes, as their samples are after blurring: with their numbers, `FACES_BLURRED`.

    Args:
        rows: The rows.
        image_bytes: Of the images as they are stored.
    """
    stored = pa.array(image_bytes, pa.int32())
    rows = rows.set_column(rows.schema.get_field_index("bytes"), rows.schema.field("bytes"), stored)
    numbers = pc.list_value_length(rows[BOXES]).fill_null(0)
    return rows.append_column(FACES_BLURRED_FIELD, numbers)


def count_blurred(plan: pa.Table) -> Counts:
    """How many faces there are in the boxes of a plan, and in how many samples."""
    numbers = pc.list_value_length(plan[BOXES]).fill_null(0).to_numpy()
    return {FACES_BLURRED: int(numbers.sum()), "samples_with_faces_blurred": int((numbers > 0).sum())}


def describe_selection(rows: pa.Table, queries: pa.Array) -> Iterator[dict[str, Any]]:
    """What the JSON of samples says of their selection (`shard_format`): the queries that keep it, and how likely.

    Args:
        rows: Of `SHARD_PLAN`.
        queries: Strings of all queries.
    """
    kept_for = rows["kept_for"].combine_chunks()
    offsets = pc.subtract(kept_for.offsets, kept_for.offsets[0])
    named = pa.ListArray.from_arrays(offsets, queries.take(kept_for.flatten()))
    for names, probability in zip(named.to_pylist(), rows["keep_probability"].to_pylist(), strict=True):
        yield {"kept_for": names, "keep_probability": describe_probability(probability)}
