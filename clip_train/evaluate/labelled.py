"""Labelled images, for classification: from folders, tars and tables.

In: a path and the classes. Out: `LabelledImage`, one after another.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from clip_train.data.shards import ShardReader, list_shards
from clip_train.data.tars import IMAGE_MEMBER_SUFFIXES, SampleSpans
from clip_train.errors import InputError
from clip_train.evaluate.table_rows import TABLE_SUFFIXES, read_rows


class ClassName(NamedTuple):
    """A class as the data calls it and as prompts call it."""

    label: str
    prompt: str


class LabelledImage(NamedTuple):
    """An image of a known class."""

    load: Callable[[], str | bytes]  # its path, or its encoded bytes
    class_index: int


class LabelFields(NamedTuple):
    """Where the label stands."""

    json_key: str = "class"  # in a shard: the JSON of a sample
    image_column: str = "image"  # in a table
    class_column: str = "class"


def parse_classes(lines: Sequence[str]) -> list[ClassName]:
    r"""Reads classes, one a line: a name, or the data's label, a tab and the name for prompts.

    >>> parse_classes(["cat", "n02084071\tdog"])
    [ClassName(label='cat', prompt='cat'), ClassName(label='n02084071', prompt='dog')]

    Raises:
        InputError: When there is none, or one comes twice.
    """
    classes = []
    for line in lines:
        label, _, prompt = (part.strip() for part in line.partition("\t"))
        classes.append(ClassName(label, prompt or label))
    labels = [name.label for name in classes]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if not classes or repeated:
        raise InputError(f"class {repeated[0]!r} is listed twice" if repeated else "no classes")
    return classes


def read_labelled(
    path: str, classes: Sequence[ClassName], fields: LabelFields | None = None
) -> Iterator[LabelledImage]:
    """Labelled images, in a fixed order.

    Args:
        path: ``FOLDER/LABEL/*.jpg``; a tar or a folder of tars, where the label of a sample is in its JSON, its member
            ``.cls`` or the name of its folder; or a table with a column of paths (relative to it) or of encoded images.
        classes: The classes; a whole number in the data counts from 0 in this list.
        fields: Where the label stands in JSON and tables.

    Raises:
        InputError: When there are no images, or one has a class that is not listed.
    """
    fields = fields or LabelFields()
    index_of = {name.label: index for index, name in enumerate(classes)}
    if path.endswith(TABLE_SUFFIXES):
        images = _labelled_rows(path, index_of, fields)
    elif holds_shards(path):
        images = _labelled_samples(path, index_of, fields.json_key)
    else:
        images = _labelled_files(path, index_of)
    num_images = 0
    for image in images:
        num_images += 1
        yield image
    if not num_images:
        raise InputError(f"{path}: no class folders with images, no shards, no rows")


def holds_shards(path: str) -> bool:
    """Whether a path is a tar, or a folder with tars."""
    return path.endswith(".tar") or (os.path.isdir(path) and any(n.endswith(".tar") for n in os.listdir(path)))


def _labelled_files(path: str, index_of: Mapping[str, int]) -> Iterator[LabelledImage]:
    if not os.path.isdir(path):
        raise InputError(f"{path}: no such folder")
    for label in sorted(entry.name for entry in os.scandir(path) if entry.is_dir()):
        folder = os.path.join(path, label)
        names = sorted(os.listdir(folder))
        images = [os.path.join(folder, n) for n in names if n.rpartition(".")[2].lower() in IMAGE_MEMBER_SUFFIXES]
        for image in images:
            yield LabelledImage(partial(str, image), _find_class(label, index_of, where=folder))


def _labelled_samples(path: str, index_of: Mapping[str, int], json_key: str) -> Iterator[LabelledImage]:
    reader = ShardReader(list_shards([path]), max_open=4)
    for shard, sample in reader.samples():
        spans = reader.spans(shard, sample)
        where = f"{reader.shards[shard].path}: sample {spans.key}"
        label = _sample_label(reader, shard, spans, json_key)
        if label is None:
            raise InputError(f"{where} has no {json_key!r} in its JSON, no .cls member and no folder")
        yield LabelledImage(partial(reader.image, shard, sample), _find_class(label, index_of, where=where))


def _labelled_rows(path: str, index_of: Mapping[str, int], fields: LabelFields) -> Iterator[LabelledImage]:
    folder = os.path.dirname(path)
    for number, row in enumerate(read_rows(path, (fields.image_column, fields.class_column))):
        image = row[fields.image_column]
        if isinstance(image, Mapping):  # as the datasets library keeps images
            image = image.get("bytes") or image.get("path")
        if not isinstance(image, bytes | str):
            raise InputError(f"{path}: row {number}: {fields.image_column!r} holds neither a path nor an image")
        content = image if isinstance(image, bytes) else os.path.join(folder, image)
        class_index = _find_class(row[fields.class_column], index_of, where=f"{path}: row {number}")
        yield LabelledImage(partial(_same, content), class_index)


def _sample_label(reader: ShardReader, shard: int, spans: SampleSpans, json_key: str) -> str | int | None:
    if spans.json:
        try:
            values = json.loads(reader.read(shard, spans.json))
        except ValueError:
            values = None
        if isinstance(values, dict) and isinstance(values.get(json_key), str | int):
            return values[json_key]
    if spans.label:
        return reader.read(shard, spans.label).decode(errors="replace").strip()
    return os.path.basename(os.path.dirname(spans.key)) or None


def _find_class(label: Any, index_of: Mapping[str, int], *, where: str) -> int:
    index = index_of.get(str(label))
    if index is None and str(label).isdecimal():
        index = int(label)
    if index is None or index >= len(index_of):
        raise InputError(f"{where} is of class {label!r}, which is not among the classes")
    return index


def _same(content: str | bytes) -> str | bytes:
    return content
