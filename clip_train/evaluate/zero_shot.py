"""Zero-shot classification: images against prompts that name the classes.

In: a model, labelled images, class names, templates such as ``a photo of a {}``. Out: a direction for each class, and
the features of the images with their classes: an image is of the class whose direction is nearest. A class more is a
name more; nothing is trained.

Source: Radford et al. 2021, section 3.1.4 (prompt ensembles are means of unit features).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.evaluate.labelled import LabelledImage
from clip_train.evaluate.templates import check_templates, fill_template
from clip_train.models.clip import Clip
from clip_train.training.distributed import Ranks
from clip_train.use.features import ImageEncoder, ImageSource, encode_images, encode_texts


class Labelled(NamedTuple):
    """Features of images and the classes of these, on the model's device."""

    features: Tensor  # [images, dim]
    labels: Tensor  # [images] int64


def build_classifier(model: Clip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """One unit feature per class, the direction of the mean over its prompts, ``[classes, embed_dim]``.

    Raises:
        InputError: For a template without ``{}``, or a prompt that is too long.
    """
    check_templates(templates)
    prompts = [fill_template(template, name) for name in names for template in templates]
    features = encode_texts(model, prompts)
    return normalize(features.view(len(names), len(templates), -1).mean(dim=1), dim=-1)


def encode_labelled(
    model: Clip,
    images: Iterable[LabelledImage],
    *,
    batch_size: int,
    ranks: Ranks | None = None,
    encode: ImageEncoder = encode_images,
) -> Labelled:
    """Encodes labelled images; `encode` is `encode_images` or `pool_images`.

    Raises:
        InputError: When an image cannot be read.
    """
    labels: list[int] = []
    features = encode(model, _noting_labels(images, labels), batch_size=batch_size, ranks=ranks)
    return Labelled(features, torch.tensor(labels, device=features.device))


def _noting_labels(images: Iterable[LabelledImage], labels: list[int]) -> Iterator[ImageSource]:
    for image in images:
        labels.append(image.class_index)
        yield image.load
