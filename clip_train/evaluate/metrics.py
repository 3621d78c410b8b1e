"""Scores of classes ► accuracies.

In: scores ``[images, classes]`` and the right classes ``[images]``. Out: `Accuracies`.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Accuracies(NamedTuple):
    """Accuracies between 0 and 1."""

    num_images: int
    num_classes: int
    top1: float
    top5: float
    mean_per_class: float  # of top1, over the classes that have images
    chance: float


def class_accuracies(scores: Tensor, labels: Tensor) -> Accuracies:
    """Accuracies of scores; a class that scores as high as the right one counts as above it."""
    own = scores.gather(1, labels[:, None])
    ranks = (scores >= own).sum(dim=1) - 1  # [images], 0 is best
    hits = (ranks == 0).double()
    num_classes = scores.shape[1]
    per_class = torch.zeros(num_classes, dtype=torch.float64, device=hits.device).index_add(0, labels, hits)
    counts = torch.bincount(labels, minlength=num_classes)
    return Accuracies(
        num_images=len(labels),
        num_classes=num_classes,
        top1=float(hits.mean()),
        top5=float((ranks < 5).double().mean()),
        mean_per_class=float((per_class / counts)[counts > 0].mean()),
        chance=1 / num_classes,
    )


def among_present(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and labels of the classes that have images, numbered anew: for sets with a part of the classes."""
    present, renumbered = torch.unique(labels, return_inverse=True)
    return scores[:, present], renumbered
