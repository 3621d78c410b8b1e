"""Zero-shot classification: images against prompts that name the classes.

In: a model, labelled images, class names, templates such as ``a photo of a {}``. Out: `ZeroShotMetrics`.

Source: Radford et al. 2021, section 3.1.4 (prompt ensembles are means of unit features).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.config import InputError
from clip_train.evaluate.sources import LabelledImage
from clip_train.features import encode_images, encode_texts
from clip_train.models.clip import Clip

DEFAULT_TEMPLATES = ("a photo of a {}.",)


class ZeroShotMetrics(NamedTuple):
    """Accuracies between 0 and 1."""

    num_images: int
    num_classes: int
    top1: float
    top5: float
    mean_per_class: float  # of top1, over the classes that have images
    chance: float


def fill_template(template: str, name: str) -> str:
    """The prompt of one class.

    >>> fill_template("a photo of a {}.", "cat")
    'a photo of a cat.'
    """
    return template.replace("{}", name)


def check_templates(templates: Sequence[str]) -> None:
    """Raises InputError when there is no template, or one has no place for the class."""
    if not templates:
        raise InputError("no templates")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"template {template!r} has no {{}} for the class name")


def build_classifier(model: Clip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """One unit feature per class, the direction of the mean over its prompts, ``[classes, embed_dim]``.

    Raises:
        InputError: For a template without ``{}``, or a prompt that is too long.
    """
    check_templates(templates)
    prompts = [fill_template(template, name) for name in names for template in templates]
    features = encode_texts(model, prompts)
    return normalize(features.view(len(names), len(templates), -1).mean(dim=1), dim=-1)


def zero_shot_metrics(scores: Tensor, labels: Tensor) -> ZeroShotMetrics:
    """Accuracies of scores ``[images, classes]``; a class that scores as high as the right one counts as above it."""
    own = scores.gather(1, labels[:, None])
    ranks = (scores >= own).sum(dim=1) - 1  # [images], 0 is best
    hits = (ranks == 0).double()
    num_classes = scores.shape[1]
    per_class = torch.zeros(num_classes, dtype=torch.float64, device=hits.device).index_add(0, labels, hits)
    counts = torch.bincount(labels, minlength=num_classes)
    return ZeroShotMetrics(
        num_images=len(labels),
        num_classes=num_classes,
        top1=float(hits.mean()),
        top5=float((ranks < 5).double().mean()),
        mean_per_class=float((per_class / counts)[counts > 0].mean()),
        chance=1 / num_classes,
    )


def evaluate_zero_shot(
    model: Clip, images: Iterable[LabelledImage], *, names: Sequence[str], templates: Sequence[str], batch_size: int
) -> ZeroShotMetrics:
    """Classifies images among named classes.

    Raises:
        InputError: For unreadable images or prompts that do not fit.
    """
    classifier = build_classifier(model, names, templates)
    labels: list[int] = []
    features = encode_images(model, _noting_labels(images, labels), batch_size=batch_size)
    return zero_shot_metrics(features @ classifier.T, torch.tensor(labels, device=features.device))


def _noting_labels(images: Iterable[LabelledImage], labels: list[int]) -> Iterable[str | bytes]:
    for image, label in images:
        labels.append(label)
        yield image
