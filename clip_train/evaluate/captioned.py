"""Captioned images, for retrieval: from shards and from tables.

In: a path. Out: `CaptionedImage`, one for each caption.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from clip_train.data.shards import ShardReader, list_shards
from clip_train.evaluate.table_rows import TABLE_SUFFIXES, read_rows


class CaptionedImage(NamedTuple):
    """An image and one of its captions."""

    image_key: str  # the same for every caption of an image
    load: Callable[[], str | bytes]
    caption: str


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
    for row in read_rows(path, (image_column, caption_column)):
        image = os.path.join(folder, row[image_column])
        captions = row[caption_column]
        for caption in captions if isinstance(captions, list) else [captions]:
            yield CaptionedImage(image, partial(str, image), caption)


def _captioned_samples(path: str) -> Iterator[CaptionedImage]:
    reader = ShardReader(list_shards([path]), max_open=2)
    for shard, sample in reader.samples():
        key = hashlib.blake2b(reader.image(shard, sample), digest_size=16).hexdigest()
        yield CaptionedImage(key, partial(reader.image, shard, sample), reader.text(shard, sample))
