"""The contrastive loss: which text of the batch belongs to which image, and the other way round.

In: features of N pairs and the scale of the logits. Out: one scalar, float32 (float64 for float64 features).
With several ranks each keeps its own rows of the N x N logits against everybody's features ("local loss"); the
gather is differentiable, so the mean over ranks of loss and gradients equals that of one process.

Source: Radford et al. 2021, figure 3.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from clip_train.training.distributed import Ranks, gather_rows


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor, ranks: Ranks) -> Tensor:
    """Symmetric cross-entropy over the scaled cosines of all pairs.

    Args:
        image_features: ``[pairs of this rank, dim]``, need not be normalised.
        text_features: The same for the texts, row by row.
        scale: What cosines are multiplied by.
        ranks: This process among those that share the batch; all hold the same number of pairs.

    Returns:
        This rank's part of the loss; its mean over the ranks is the loss of the whole batch.
    """
    with torch.autocast(image_features.device.type, enabled=False):  # bf16 logits cost digits at scale 100
        images, texts = _unit_rows(image_features), _unit_rows(text_features)
        labels = torch.arange(len(images), device=images.device)
        if ranks.world_size == 1:
            logits = scale * images @ texts.T
            return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
        labels = labels + ranks.rank * len(images)
        image_loss = cross_entropy(scale * images @ gather_rows(texts).T, labels)
        text_loss = cross_entropy(scale * texts @ gather_rows(images).T, labels)
        return (image_loss + text_loss) / 2


def _unit_rows(features: Tensor) -> Tensor:
    wide = features if features.dtype == torch.float64 else features.float()
    return normalize(wide, dim=-1)
