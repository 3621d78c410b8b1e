"""Where evaluation finds its images: folders, shards and tables.

In: paths. Out: `LabelledImage` (for classification) and `CaptionedImage` (for retrieval), one after another.
"""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from clip_train.config import InputError
from clip_train.data.shards import IMAGE_MEMBER_SUFFIXES, ShardReader, list_shards

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


class ClassName(NamedTuple):
    """A class as the data calls it and as prompts call it."""

    label: str
    prompt: str


class LabelledImage(NamedTuple):
    """An image of a known class."""

    image: str | bytes  # a path, or encoded bytes
    class_index: int


class CaptionedImage(NamedTuple):
    """An image and one of its captions."""

    image_key: str  # the same for every caption of an image
    load: Callable[[], str | bytes]
    caption: str


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


def read_labelled(path: str, classes: Sequence[ClassName], class_field: str) -> Iterator[LabelledImage]:
    """Labelled images from a folder of class folders, or from shards whose JSON holds the class.

    Args:
        path: ``FOLDER/LABEL/*.jpg``, or a shard or folder of shards.
        classes: The classes; in shards a label or its number in this list.
        class_field: Key of the label in a sample's JSON.

    Raises:
        InputError: When there are no images, or one has a class that is not listed.
    """
    index_of = {name.label: index for index, name in enumerate(classes)}
    if holds_shards(path):
        yield from _labelled_samples(path, index_of, class_field)
        return
    found = False
    for label in _list_folders(path):
        images = _list_images(os.path.join(path, label))
        if images and label not in index_of:
            raise InputError(f"{os.path.join(path, label)}: {label!r} is not among the classes")
        for image in images:
            found = True
            yield LabelledImage(image, index_of[label])
    if not found:
        raise InputError(f"{path}: no class folders with images, and no shards")


def read_captioned(path: str, image_column: str, caption_column: str) -> Iterator[CaptionedImage]:
    """Captioned images from shards or from a table of image paths and captions.

    Several captions of an image are several rows with the same path, several samples with the same image bytes,
    or one row of a Parquet table with a list of captions.

    Raises:
        InputError: When the path or a column cannot be found.
    """
    if not path.endswith(TABLE_SUFFIXES):
        yield from _captioned_samples(path)
        return
    folder = os.path.dirname(path)
    for row in _read_rows(path, (image_column, caption_column)):
        image = os.path.join(folder, row[image_column])
        captions = row[caption_column]
        for caption in captions if isinstance(captions, list) else [captions]:
            yield CaptionedImage(image, partial(str, image), caption)


def holds_shards(path: str) -> bool:
    """Whether a path is a tar, or a folder with tars."""
    return path.endswith(".tar") or (os.path.isdir(path) and any(n.endswith(".tar") for n in os.listdir(path)))


def _labelled_samples(path: str, index_of: dict[str, int], class_field: str) -> Iterator[LabelledImage]:
    reader = ShardReader(list_shards([path]), max_open=1)
    for shard, sample in reader.samples():
        spans = reader.spans(shard, sample)
        where = f"{reader.shards[shard].path}: sample {spans.key}"
        try:
            label = json.loads(reader.read(shard, spans.json))[class_field] if spans.json else None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where} has no {class_field!r} in its JSON") from error
        index = label if isinstance(label, int) else index_of.get(str(label))
        if index is None or not 0 <= index < len(index_of):
            raise InputError(f"{where} is of class {label!r}, which is not among the classes")
        yield LabelledImage(reader.image(shard, sample), index)


def _captioned_samples(path: str) -> Iterator[CaptionedImage]:
    reader = ShardReader(list_shards([path]), max_open=2)
    for shard, sample in reader.samples():
        key = hashlib.blake2b(reader.image(shard, sample), digest_size=16).hexdigest()
        yield CaptionedImage(key, partial(reader.image, shard, sample), reader.text(shard, sample))


def _read_rows(path: str, columns: tuple[str, str]) -> Iterator[dict[str, Any]]:
    try:
        rows = _read_parquet(path, columns) if path.endswith(".parquet") else _read_delimited(path, columns)
        yield from rows
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error


def _read_delimited(path: str, columns: tuple[str, str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ",")
        _check_columns(path, columns, reader.fieldnames or ())
        for row in reader:
            if any(row[column] is None for column in columns):
                raise InputError(f"{path}: line {reader.line_num} is cut short")
            yield row


def _read_parquet(path: str, columns: tuple[str, str]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # here, so that a machine that only trains need not have it

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(columns=list(columns)):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file") from error


def _check_columns(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            raise InputError(f"{path}: no column {column!r}; it has {', '.join(found) or 'none'}")


def _list_folders(path: str) -> list[str]:
    if not os.path.isdir(path):
        raise InputError(f"{path}: no such folder")
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())


def _list_images(folder: str) -> list[str]:
    names = sorted(os.listdir(folder))
    return [os.path.join(folder, n) for n in names if n.rpartition(".")[2].lower() in IMAGE_MEMBER_SUFFIXES]
