"""Full fine-tuning: labelled images ► a classifier, all of its image tower trained.

In: a classifier, labelled images, `FinetuneOptions`. Out: the classifier, trained; the loss of every epoch.
What a step sees depends on the seed alone, not on the number of loader workers.

Source: Radford et al. 2021, section 3.2; Wortsman et al. 2022 (AdamW, cosine decay, a small learning rate).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from clip_train.config import Precision
from clip_train.data.decode import normalize_pixels, read_image
from clip_train.evaluate.classifier import ImageClassifier
from clip_train.evaluate.labelled import LabelledImage
from clip_train.models.precision import float32_products, half_products
from clip_train.training.distributed import Ranks, mean_over_ranks
from clip_train.training.optimizer import decay_groups, set_learning_rate
from clip_train.training.schedule import learning_rate_at
from clip_train.training.updates import Updates

_CLIP_NORM, _MAX_SKIPPED = 1.0, 10


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How to fine-tune.

    Attributes:
        epochs: Passes over the images; the last incomplete batch of each is left out.
        batch_size: Images in a step, all ranks together.
        learning_rate: Peak, after a tenth of the steps.
        weight_decay: Decoupled, on matrices and filters.
        min_crop_share: Least share of the central square's area that a random square crop keeps.
        flip: Whether images are mirrored half of the time.
        precision: Of matrix products and convolutions.
        workers: Loader processes of a rank.
        seed: Of order, crops and flips.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    min_crop_share: float
    flip: bool
    precision: Precision
    workers: int
    seed: int


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Labelled images as pixels, cropped and mirrored by chance; an item is named by (epoch, row)."""

    def __init__(self, images: Sequence[LabelledImage], side: int, options: FinetuneOptions) -> None:
        self._images = images
        self._side = side
        self._options = options

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        """Pixels, uint8 ``[3, side, side]``, and the class."""
        epoch, row = item
        rng = np.random.default_rng((self._options.seed, epoch, row))
        image = read_image(self._images[row].load())
        cropped = random_crop(image, self._side, rng=rng, min_share=self._options.min_crop_share)
        pixels = np.asarray(cropped)
        if self._options.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1), self._images[row].class_index


def random_crop(image: Image.Image, side: int, *, rng: np.random.Generator, min_share: float) -> Image.Image:
    """A square part of an image, of a random size and place, scaled to `side`."""
    length = math.sqrt(rng.uniform(min_share, 1)) * min(image.size)
    left, top = (rng.uniform(0, spare - length) for spare in image.size)
    box = (left, top, left + length, top + length)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def finetune(
    classifier: ImageClassifier,
    images: Sequence[LabelledImage],
    options: FinetuneOptions,
    *,
    side: int,
    ranks: Ranks | None = None,
) -> list[float]:
    """Trains a classifier in place; returns the mean loss of each epoch.

    Raises:
        DivergedError: When ten steps in a row had a loss or gradients that are not finite.
    """
    ranks = ranks or Ranks()
    device = classifier.weight.device
    groups = decay_groups(classifier, options.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
    updates = Updates(
        classifier, optimizer, clip_norm=_CLIP_NORM, precision=options.precision, max_skipped=_MAX_SKIPPED
    )
    trained: nn.Module = DistributedDataParallel(classifier) if ranks.world_size > 1 else classifier
    steps_per_epoch = len(images) // options.batch_size
    total_steps = options.epochs * steps_per_epoch
    losses: list[float] = []
    classifier.train()
    for epoch in range(options.epochs):
        epoch_loss = torch.zeros((), device=device)
        batches = _load_batches(AugmentedImages(images, side, options), len(images), epoch, options, ranks)
        for number, (pixels, labels) in enumerate(batches):
            rate = learning_rate_at(
                epoch * steps_per_epoch + number,
                peak=options.learning_rate,
                warmup_steps=total_steps // 10,
                total_steps=total_steps,
            )
            set_learning_rate(optimizer, rate)
            with float32_products(options.precision):
                with half_products(device, options.precision):
                    loss = cross_entropy(trained(normalize_pixels(pixels.to(device))).float(), labels.to(device))
                updates.apply(loss)
            epoch_loss += loss.detach().nan_to_num(0, 0, 0)  # a step left out has none
        updates.settle()
        losses.append(float(mean_over_ranks(epoch_loss, ranks)) / steps_per_epoch)
    classifier.eval()
    return losses


def _load_batches(
    dataset: AugmentedImages, num_images: int, epoch: int, options: FinetuneOptions, ranks: Ranks
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's part of every whole batch of an epoch."""
    order = np.random.default_rng((options.seed, epoch)).permutation(num_images)
    share = options.batch_size // ranks.world_size
    starts = range(0, num_images - options.batch_size + 1, options.batch_size)
    parts = [order[start + ranks.rank * share :][:share] for start in starts]
    items = [[(epoch, int(row)) for row in part] for part in parts]
    return iter(DataLoader(dataset, batch_sampler=items, num_workers=options.workers))
