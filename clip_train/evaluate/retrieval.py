"""Retrieval: from a text to its image and from an image to one of its texts.

In: a model and captioned images. Out: `RetrievalMetrics`, recall at 1, 5 and 10 in both directions.
An image may have several captions, and equal captions of several images are one text with several right images.
A wrong item that scores as high as the best right one counts as above it, so a collapsed model scores nothing.

Source: Radford et al. 2021, section 3.4 and appendix E.2; Karpathy & Fei-Fei 2015 for the protocol.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from clip_train.evaluate.captioned import CaptionedImage
from clip_train.models.clip import Clip
from clip_train.training.distributed import Ranks
from clip_train.use.features import ImageSource, encode_images, encode_texts

RECALL_AT = (1, 5, 10)

_ROWS_AT_ONCE = 1_024  # rows of the score matrix in memory


class RetrievalMetrics(NamedTuple):
    """Recalls between 0 and 1, one for each of `RECALL_AT`."""

    num_images: int
    num_texts: int
    image_to_text: list[float]
    text_to_image: list[float]


def recall_at(queries: Tensor, items: Tensor, pairs: Tensor, ks: Iterable[int] = RECALL_AT) -> list[float]:
    """The share of queries that have a right item among their k best.

    Args:
        queries: ``[queries, dim]``; each has at least one right item.
        items: ``[items, dim]``.
        pairs: ``[2, pairs]`` int64, rows of queries and of items that belong together.
        ks: How many items are looked at.
    """
    ranks = []
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        scores = queries[start : start + _ROWS_AT_ONCE] @ items.T
        inside = (pairs[0] >= start) & (pairs[0] < start + len(scores))
        rows, columns = pairs[0, inside] - start, pairs[1, inside]
        right = torch.zeros_like(scores, dtype=torch.bool)
        right[rows, columns] = True
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(((scores >= best) & ~right).sum(dim=1))
    rank = torch.cat(ranks)  # [queries], wrong items above the best right one
    return [float((rank < k).double().mean()) for k in ks]


def evaluate_retrieval(
    model: Clip, captioned: Iterable[CaptionedImage], *, batch_size: int, ranks: Ranks | None = None
) -> RetrievalMetrics:
    """Encodes images and captions and searches each among the other.

    Raises:
        InputError: When an image cannot be read.
    """
    image_rows: dict[str, int] = {}
    text_rows: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []

    def new_images() -> Iterator[ImageSource]:
        for image_key, load, caption in captioned:
            is_new = image_key not in image_rows
            row = image_rows.setdefault(image_key, len(image_rows))
            pairs.append((row, text_rows.setdefault(caption, len(text_rows))))
            if is_new:
                yield load

    images = encode_images(model, new_images(), batch_size=batch_size, ranks=ranks)
    texts = encode_texts(model, list(text_rows), batch_size=batch_size, truncate=True)
    image_text = torch.tensor(pairs, device=images.device).T  # [2, pairs]
    return RetrievalMetrics(
        num_images=len(images),
        num_texts=len(texts),
        image_to_text=recall_at(images, texts, image_text),
        text_to_image=recall_at(texts, images, image_text.flip(0)),
    )
