"""Labelled images ► a score for every class: by prompts, or by a fine-tuned classifier.

In: images of known classes. Out: scores ``[images, classes]`` and the right classes ``[images]``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clip_train.data.decode import normalize_pixels
from clip_train.evaluate.classifier import LoadedClassifier
from clip_train.evaluate.labelled import ClassName, LabelledImage
from clip_train.evaluate.zero_shot import build_classifier, encode_labelled
from clip_train.models.clip import Clip
from clip_train.models.precision import inference_products
from clip_train.training.distributed import Ranks, gather_turns, take_turns
from clip_train.use.features import batched, read_pixels


class Scores(NamedTuple):
    """Scores of images."""

    scores: Tensor  # [images, classes]
    labels: Tensor  # [images] int64


Scorer = Callable[[Iterable[LabelledImage]], Scores]


def score_with_prompts(
    model: Clip, classes: Sequence[ClassName], templates: Sequence[str], batch_size: int, ranks: Ranks
) -> Scorer:
    """Scores by the cosine of an image and the prompts of a class."""
    directions = build_classifier(model, [name.prompt for name in classes], templates)

    def score(images: Iterable[LabelledImage]) -> Scores:
        features, labels = encode_labelled(model, images, batch_size=batch_size, ranks=ranks)
        return Scores(features @ directions.T, labels)

    return score


def score_with_classifier(loaded: LoadedClassifier, batch_size: int, ranks: Ranks) -> Scorer:
    """Scores by the logits of a classifier."""
    classifier, side = loaded.classifier, loaded.model.image.image_size
    device = classifier.weight.device

    @torch.inference_mode()
    def score(images: Iterable[LabelledImage]) -> Scores:
        labels: list[int] = []

        def note_labels() -> Iterable[Callable[[], str | bytes]]:
            for image in images:
                labels.append(image.class_index)
                yield image.load

        pixels = batched(read_pixels(take_turns(note_labels(), ranks), side), batch_size)
        with inference_products(device, "auto"):
            rows = [classifier(normalize_pixels(torch.stack(batch).to(device))) for batch in pixels]
        scores = gather_turns(torch.cat([classifier.weight.new_empty(0, len(loaded.classes)), *rows]), ranks)
        return Scores(scores, torch.tensor(labels, device=device))

    return score
