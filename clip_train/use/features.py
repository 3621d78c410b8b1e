"""Images and texts to unit features, batch by batch: what evaluation and use start from.

In: a model, images or texts. Out: features ``[items, embed_dim]``, float32, unit norm, on the model's device.
Several ranks take images in turn, and each gets the features of all.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.data.decode import Preprocess, normalize_pixels, read_image
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.models.precision import inference_products
from clip_train.models.text import trim_padding
from clip_train.tokenizers.texts import list_texts
from clip_train.training.distributed import Ranks, gather_turns, take_turns

S = TypeVar("S")
T = TypeVar("T")
ReadableImage = str | os.PathLike[str] | bytes | Image.Image
ImageSource = ReadableImage | Callable[[], ReadableImage]


class ImageEncoder(Protocol):
    """What `encode_images` and `pool_images` have in common."""

    def __call__(
        self, model: Clip, images: Iterable[ImageSource], *, batch_size: int = 256, ranks: Ranks | None = None
    ) -> Tensor:
        """One row an image."""


@torch.inference_mode()
def encode_texts(model: Clip, texts: str | Sequence[str], *, batch_size: int = 256, truncate: bool = False) -> Tensor:
    """Features of texts.

    Raises:
        InputError: When a text is too long and `truncate` is false.
    """
    model.eval()
    texts = list_texts(texts)
    features = [model.logit_scale.new_empty(0, model.config.embed_dim)]
    for start in range(0, len(texts), batch_size):
        ids = trim_padding(
            model.tokenize(texts[start : start + batch_size], truncate=truncate), model.config.text.pad_id
        )
        features.append(normalize(model.encode_text(ids).float(), dim=-1))
    return torch.cat(features)


def encode_images(
    model: Clip, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 256, ranks: Ranks | None = None
) -> Tensor:
    """Features of images given as paths, encoded bytes or Pillow images, or as functions that return one of these.

    Raises:
        InputError: When one cannot be read.
    """

    def encode(pixels: Tensor) -> Tensor:
        return normalize(model.encode_image(pixels).float(), dim=-1)

    images = list_images(images)
    return _encode(model, encode, model.config.embed_dim, images, batch_size=batch_size, ranks=ranks or Ranks())


def pool_images(
    model: Clip, images: Iterable[ImageSource], *, batch_size: int = 256, ranks: Ranks | None = None
) -> Tensor:
    """What the image tower knows before it is mapped to the shared space, ``[images, pooled_width]``, not normalised.

    Raises:
        InputError: When an image cannot be read.
    """

    def pool(pixels: Tensor) -> Tensor:
        return model.visual.pooled(pixels).float()

    return _encode(model, pool, model.visual.pooled_width, images, batch_size=batch_size, ranks=ranks or Ranks())


def list_images(images: ImageSource | Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Several images as they are, one as a list of itself.

    Raises:
        InputError: When it is neither.
    """
    if isinstance(images, str | bytes | os.PathLike | Image.Image) or callable(images):
        return [images]
    if not isinstance(images, Iterable):
        raise InputError(f"images must be an image or several, not {type(images).__name__} {images!r:.40}")
    return images


def read_pixels(images: Iterable[ImageSource], side: int) -> Iterator[Tensor]:
    """What a model sees of images, uint8 ``[3, side, side]`` each, decoded ahead on all cores."""
    preprocess = Preprocess(side)

    def decode(image: ReadableImage) -> Tensor:
        return preprocess.pixels(read_image(os.fspath(image) if isinstance(image, os.PathLike) else image))

    return map_ahead(decode, (image() if callable(image) else image for image in images))


@torch.inference_mode()
def _encode(
    model: Clip,
    encode: Callable[[Tensor], Tensor],
    width: int,
    images: Iterable[ImageSource],
    *,
    batch_size: int,
    ranks: Ranks,
) -> Tensor:
    model.eval()
    batches = batched(read_pixels(take_turns(images, ranks), model.config.image.image_size), batch_size)
    with inference_products(model.device, model.precision):
        features = [encode(normalize_pixels(torch.stack(batch).to(model.device))) for batch in batches]
    return gather_turns(torch.cat([model.logit_scale.new_empty(0, width), *features]), ranks)


def map_ahead(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """What a function makes of items, in their order; all cores are at work on those that come next."""
    threads = os.cpu_count() or 1
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 16 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of a size; the last may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
