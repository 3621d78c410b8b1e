"""Batches of a training run: batch number to tensors.

In: shards, their order, a tokenizer. Out: `Batch` (uint8 images and token ids) for each step of this rank.
A batch is a pure function of its number, so workers share nothing and a resumed run starts at any number.
An image that cannot be decoded gives its place to the next sample of its shard and is counted.
"""

import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clip_train.config import ModelConfig
from clip_train.data.decode import Pixels, crop_square, decode_image, resize_short_side
from clip_train.data.order import Drawn, EpochOrder
from clip_train.data.shards import ShardReader
from clip_train.errors import InputError
from clip_train.models.text import trim_padding
from clip_train.tokenizers.folder import TextTokenizer
from clip_train.training.distributed import Ranks
from clip_train.training.signals import NOTED_SIGNALS

_ASPECT_ALLOWANCE = 1.5  # resized images are kept whole for random crops: wider than square


class Batch(NamedTuple):
    """What one rank computes in one step."""

    images: Tensor  # [pairs, 3, side, side] uint8
    ids: Tensor  # [pairs, length of the longest text] int32
    num_unreadable: int


class Sample(NamedTuple):
    """A decoded sample, before the crop."""

    pixels: Pixels  # [height, width, 3], the shorter side is the model's
    ids: Tensor  # [context] int32
    num_unreadable: int


class BatchDataset(Dataset[Batch]):
    """Batches by number.

    Args:
        reader: The shards.
        order: The order of their samples.
        tokenizer: What makes ids of texts; too long ones are cut.
        model: Gives image side and context length.
        batch_size: Pairs of all ranks together.
        ranks: This process among the others.
        crop_seed: Seed of random crops; None crops the centre.
        text_seed: Seed by which one of a sample's texts is drawn each epoch; None takes the first.
        keep_decoded: Whether decoded samples stay in memory; the loader then needs no workers.

    Attributes:
        num_samples: Samples in an epoch.
        keeps_decoded: Whether decoded samples stay in memory.
    """

    def __init__(
        self,
        reader: ShardReader,
        order: EpochOrder,
        *,
        tokenizer: TextTokenizer,
        model: ModelConfig,
        batch_size: int,
        ranks: Ranks,
        crop_seed: int | None,
        keep_decoded: bool,
        text_seed: int | None = None,
    ) -> None:
        self._reader = reader
        self._order = order
        self._tokenizer = tokenizer
        self._side = model.image.image_size
        self._context_length = model.text.context_length
        self._batch_size = batch_size
        self._ranks = ranks
        self._crop_seed = crop_seed
        self._text_seed = text_seed
        self._kept: dict[tuple[int, int], Sample] = {}
        self.keeps_decoded = keep_decoded
        self.num_samples = order.num_samples

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        local_size = self._batch_size // self._ranks.world_size
        start = step * self._batch_size + self._ranks.rank * local_size
        drawn = self._order.draw(start, start + local_size)
        samples = [self._load(place) for place in drawn]
        crops = [self._crop(place, sample.pixels) for place, sample in zip(drawn, samples, strict=True)]
        return Batch(
            images=torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2),
            ids=trim_padding(torch.stack([*map(self._ids, drawn, samples)]), self._tokenizer.pad_id),
            num_unreadable=sum(sample.num_unreadable for sample in samples),
        )

    def _load(self, place: Drawn) -> Sample:
        key = place.shard, place.sample
        sample = self._kept.get(key) or self._decode(place)
        if self.keeps_decoded:
            self._kept[key] = sample
        return sample

    def _decode(self, place: Drawn) -> Sample:
        path, num_samples = self._reader.shards[place.shard]
        for skipped in range(num_samples):
            sample = (place.sample + skipped) % num_samples
            try:
                image = decode_image(self._reader.image(place.shard, sample))
            except InputError:
                continue
            pixels = np.asarray(resize_short_side(image, self._side))
            return Sample(pixels, self._tokenize(self._reader.text(place.shard, sample)), skipped)
        raise InputError(f"{path}: no readable image")

    def _ids(self, place: Drawn, sample: Sample) -> Tensor:
        """The ids of the sample's first text, or of one that is drawn by seed, epoch and place."""
        if self._text_seed is None:
            return sample.ids
        num_samples = self._reader.shards[place.shard].num_samples
        texts = self._reader.all_texts(place.shard, (place.sample + sample.num_unreadable) % num_samples)
        if len(texts) == 1:
            return sample.ids
        return self._tokenize(texts[np.random.default_rng([self._text_seed, *place]).integers(len(texts))])

    def _tokenize(self, text: str) -> Tensor:
        return self._tokenizer.tokenize(text, self._context_length, truncate=True)[0]

    def _crop(self, place: Drawn, pixels: Pixels) -> Pixels:
        if self._crop_seed is None or pixels.shape[0] == pixels.shape[1]:
            return crop_square(pixels, self._side)
        return crop_square(pixels, self._side, np.random.default_rng([self._crop_seed, *place]))


def fits_in_memory(num_samples: int, side: int, cache_mb: int) -> bool:
    """Whether all decoded images of a set may be kept."""
    return num_samples * 3 * side**2 * _ASPECT_ALLOWANCE <= cache_mb * 2**20


def load_batches(dataset: BatchDataset, steps: range, *, workers: int, device: torch.device) -> Iterable[Batch]:
    """The batches of some steps, in order, prepared ahead by worker processes."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker if workers else None,
    )


def _start_worker(worker: int) -> None:
    for number in NOTED_SIGNALS:  # they often reach the whole process group; the parent saves, then ends us
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the parent's thread pool does not survive the fork
