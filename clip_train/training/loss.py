"""The contrastive loss: which text of the batch belongs to which image, and the other way round.

In: features of N pairs and the scale of the logits. Out: one scalar, float32 (float64 for float64 features).
With several ranks each keeps its own rows of the N x N logits against everybody's features ("local loss"); the
gather is differentiable, so the mean over ranks of loss and gradients equals that of one process.
The matrix is never there whole where it would be large (`clip_train.training.tiles`).
Pairs that could not be read take no part: they are nobody's negative and have no loss of their own.

Source: Radford et al. 2021, figure 3.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from clip_train.training.distributed import Ranks, gather_rows
from clip_train.training.tiles import TILE_ROWS, tiled_cross_entropy

_LEFT_OUT = -100  # label of a row without a loss


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, scale: Tensor, ranks: Ranks, readable: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy over the scaled cosines of all pairs.

    Args:
        image_features: ``[pairs of this rank, dim]``, need not be normalised.
        text_features: The same for the texts, row by row.
        scale: What cosines are multiplied by.
        ranks: This process among those that share the batch; all hold the same number of pairs.
        readable: ``[pairs of all ranks]`` bool, which of them take part; None for all.

    Returns:
        This rank's part of the loss; its mean over the ranks is the loss of the whole batch: the mean over the pairs
        that take part, or zero where there is none.
    """
    with torch.autocast(image_features.device.type, enabled=False):  # bf16 logits cost digits at scale 100
        images, texts = _unit_rows(image_features), _unit_rows(text_features)
        labels = torch.arange(len(images), device=images.device)
        if ranks.world_size == 1 and len(images) <= TILE_ROWS:
            logits = scale * images @ texts.T
            return (_row_loss(logits, labels, ranks, readable) + _row_loss(logits.T, labels, ranks, readable)) / 2
        labels = labels + ranks.rank * len(images)
        all_texts, all_images = (texts, images) if ranks.world_size == 1 else (gather_rows(texts), gather_rows(images))
        image_loss = _loss_among(images, all_texts, scale, labels, ranks, readable)
        text_loss = _loss_among(texts, all_images, scale, labels, ranks, readable)
        return (image_loss + text_loss) / 2


def _loss_among(
    queries: Tensor, keys: Tensor, scale: Tensor, labels: Tensor, ranks: Ranks, readable: Tensor | None
) -> Tensor:
    """As `_row_loss`, of the features themselves: by tiles where the matrix of their logits would be large."""
    if len(queries) <= TILE_ROWS and len(keys) <= TILE_ROWS:
        return _row_loss(scale * queries @ keys.T, labels, ranks, readable)
    if readable is None:
        return tiled_cross_entropy(queries, keys, scale, labels).mean()
    readable = readable.to(queries.device)
    losses = tiled_cross_entropy(queries, keys, scale, labels, readable)
    return losses.where(readable[labels], 0.0).sum() * ranks.world_size / readable.sum().clamp(min=1)


def _row_loss(logits: Tensor, labels: Tensor, ranks: Ranks, readable: Tensor | None) -> Tensor:
    """The mean cross-entropy of the rows of this rank that take part, weighted as its share of those of all ranks."""
    if readable is None:
        return cross_entropy(logits, labels)
    readable = readable.to(logits.device)
    hidden = logits.masked_fill(~readable, -torch.inf)
    wanted = labels.where(readable[labels], _LEFT_OUT)
    total = cross_entropy(hidden, wanted, ignore_index=_LEFT_OUT, reduction="sum")
    return total * ranks.world_size / readable.sum().clamp(min=1)


def _unit_rows(features: Tensor) -> Tensor:
    wide = features if features.dtype == torch.float64 else features.float()
    return normalize(wide, dim=-1)
