"""Batches of a training run: batch number to tensors.

In: shards, their order, a tokenizer. Out: `Batch` (uint8 images, token ids, which of them could be read) for each step
of this rank. A batch is a pure function of its number, so workers share nothing and a resumed run starts at any number.
Workers make pieces of batches, of at most `PIECE_PAIRS` pairs, which are put together in order: what a worker holds
does not grow with the batch. A sample that has no readable image or no text, or lies in the lost part of a damaged
tar, keeps its place in the batch as an empty one, is marked and is counted; the loss leaves it out.
"""

import itertools
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clip_train.config import ModelConfig
from clip_train.data.decode import Pixels, crop_square, cut_and_resize, decode_pixels, is_elongated, resize_pixels
from clip_train.data.order import Drawn, Order
from clip_train.data.shards import ShardReader
from clip_train.errors import InputError
from clip_train.models.text import trim_padding
from clip_train.tokenizers.folder import TextTokenizer
from clip_train.training.distributed import Ranks
from clip_train.training.signals import NOTED_SIGNALS

PIECE_PAIRS: Final = 256  # made by a worker at once: 38 MB at 224 pixels

_ASPECT_ALLOWANCE: Final = 1.5  # resized images are kept whole for random crops: wider than square


class Batch(NamedTuple):
    """What one rank computes in one step, or a piece of it."""

    images: Tensor  # [pairs, 3, side, side] uint8, channels last in memory; zeros where nothing could be read
    ids: Tensor  # [pairs, length of the longest text] int32; an empty text where nothing could be read
    readable: Tensor  # [pairs] bool
    problem: str  # what is wrong with the first that is not; empty when nothing is


class Sample(NamedTuple):
    """A readable sample, before the crop."""

    where: str  # it lies, for messages
    encoded: bytes  # empty where the pixels are kept
    pixels: Pixels | None  # [height, width, 3], the shorter side is the model's
    texts: list[str]  # those that may be drawn
    ids: Tensor | None  # [context] int32, where there is one text and decoded samples are kept


class Piece(NamedTuple):
    """Some pairs of this rank's batch."""

    step: int
    start: int
    stop: int


class BatchDataset(Dataset[Batch]):
    """Batches by number.

    Args:
        reader: The shards; a lenient one, so that damage is counted.
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
        local_size: Pairs of this rank in a batch.
    """

    def __init__(
        self,
        reader: ShardReader,
        order: Order,
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
        self._rank = ranks.rank
        self._crop_seed = crop_seed
        self._text_seed = text_seed
        self._kept: dict[tuple[int, int], Sample | str] = {}  # or what is wrong with it
        self.keeps_decoded = keep_decoded
        self.num_samples = order.num_samples
        self.local_size = batch_size // ranks.world_size

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        return self.read(Piece(step, 0, self.local_size))

    def pieces(self, steps: range) -> Iterator[Piece]:
        """The batches of some steps in pieces of about the same size, in order."""
        num_pieces = -(-self.local_size // PIECE_PAIRS)
        bounds = [self.local_size * number // num_pieces for number in range(num_pieces + 1)]
        for step in steps:
            for start, stop in itertools.pairwise(bounds):
                yield Piece(step, start, stop)

    def read(self, piece: Piece) -> Batch:
        """Some pairs of a batch."""
        start = piece.step * self._batch_size + self._rank * self.local_size
        drawn = self._order.draw(start + piece.start, start + piece.stop)
        images = np.zeros((len(drawn), self._side, self._side, 3), dtype=np.uint8)
        readable = np.zeros(len(drawn), dtype=bool)
        ids: dict[int, Tensor] = {}
        texts: dict[int, str] = {}
        problem = ""
        for row, place in enumerate(drawn):
            try:
                sample = self._load(place)
                images[row] = self._crop(place, sample)
            except InputError as error:
                texts[row] = ""
                problem = problem or str(error)
                continue
            readable[row] = True
            if sample.ids is None:
                texts[row] = self._draw_text(place, sample)
            else:
                ids[row] = sample.ids
        if texts:
            ids |= dict(zip(texts, self._tokenize(list(texts.values())), strict=True))
        return Batch(
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            ids=trim_padding(torch.stack([ids[row] for row in range(len(drawn))]), self._tokenizer.pad_id),
            readable=torch.from_numpy(readable),
            problem=problem,
        )

    def _load(self, place: Drawn) -> Sample:
        """A sample, unless it has no text or, where decoded images are kept, no readable image."""
        key = place.shard, place.sample
        sample = self._kept.get(key)
        if sample is None:
            try:
                sample = self._read_sample(place)
            except InputError as error:
                sample = str(error)
            if self.keeps_decoded:
                self._kept[key] = sample
        if isinstance(sample, str):
            raise InputError(sample)
        return sample

    def _read_sample(self, place: Drawn) -> Sample:
        members = self._reader.members(place.shard, place.sample)
        first = members.first_text()
        texts = members.all_texts() if self._text_seed is not None else [first]
        where = f"{self._reader.shards[place.shard].path}: sample {members.key}"
        if not first:
            raise InputError(f"{where} has no text")
        sample = Sample(where, members.image, None, texts, None)
        if not self.keeps_decoded:
            return sample
        if len(texts) == 1:
            sample = sample._replace(ids=self._tokenize(texts)[0])
        pixels = self._decode(sample)
        if is_elongated(pixels):  # larger than the model needs: decoded anew each time
            return sample
        return sample._replace(encoded=b"", pixels=resize_pixels(pixels, self._side))

    def _draw_text(self, place: Drawn, sample: Sample) -> str:
        """The sample's text, or one that is drawn by seed, epoch and place."""
        if self._text_seed is None or len(sample.texts) == 1:
            return sample.texts[0]
        return sample.texts[np.random.default_rng([self._text_seed, *place]).integers(len(sample.texts))]

    def _tokenize(self, texts: list[str]) -> Tensor:
        return self._tokenizer.tokenize(texts, self._context_length, truncate=True)

    def _decode(self, sample: Sample) -> Pixels:
        try:
            return decode_pixels(sample.encoded, self._side)
        except InputError as error:
            raise InputError(f"{sample.where}: {error}") from error

    def _crop(self, place: Drawn, sample: Sample) -> Pixels:
        """The square that is seen in this epoch."""
        pixels = self._decode(sample) if sample.pixels is None else sample.pixels
        is_square = pixels.shape[0] == pixels.shape[1]
        rng = None if self._crop_seed is None or is_square else np.random.default_rng([self._crop_seed, *place])
        if sample.pixels is None:
            return cut_and_resize(pixels, self._side, rng)
        return crop_square(pixels, self._side, rng)


class _Pieces(Dataset[Batch]):
    """Pieces of batches, as worker processes make them."""

    def __init__(self, batches: BatchDataset) -> None:
        self._batches = batches

    def __getitem__(self, piece: Piece) -> Batch:
        return self._batches.read(piece)


class _Sequence:
    """Pieces in order, as often as they are asked for."""

    def __init__(self, batches: BatchDataset, steps: range) -> None:
        self._batches, self._steps = batches, steps

    def __iter__(self) -> Iterator[Piece]:
        return self._batches.pieces(self._steps)


def fits_in_memory(num_samples: int, side: int, cache_mb: int) -> bool:
    """Whether all decoded images of a set may be kept."""
    return num_samples * 3 * side**2 * _ASPECT_ALLOWANCE <= cache_mb * 2**20


def load_batches(dataset: BatchDataset, steps: range, *, workers: int, device: torch.device) -> Iterable[Batch]:
    """The batches of some steps, in order, prepared ahead by worker processes.

    For a GPU they are put together in pinned memory by a thread, one batch ahead of the step.
    """
    on_gpu = device.type == "cuda"
    if workers:
        pieces: Iterable[Batch] = DataLoader(
            _Pieces(dataset),
            batch_size=None,
            sampler=_Sequence(dataset, steps),
            num_workers=workers,
            worker_init_fn=_start_worker,
        )
    else:
        pieces = (dataset[step] for step in steps)
    batches = join_pieces(pieces, dataset.local_size, pinned=on_gpu)
    return run_ahead(batches) if on_gpu and workers else batches


def join_pieces(pieces: Iterable[Batch], size: int, *, pinned: bool) -> Iterator[Batch]:
    """Puts pieces together to batches of a size; each batch has memory of its own."""
    waiting: list[Batch] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(len(part.ids) for part in waiting) == size:
            yield _join(waiting, pinned=pinned)
            waiting = []


def _join(parts: list[Batch], *, pinned: bool) -> Batch:
    if len(parts) == 1 and not pinned:
        return parts[0]
    num_pairs, side = sum(len(part.ids) for part in parts), parts[0].images.shape[-1]
    images = torch.empty(num_pairs, side, side, 3, dtype=torch.uint8, pin_memory=pinned).permute(0, 3, 1, 2)
    ids = torch.zeros(num_pairs, max(part.ids.shape[1] for part in parts), dtype=torch.int32, pin_memory=pinned)
    row = 0
    for part in parts:
        stop = row + len(part.ids)
        images[row:stop] = part.images
        ids[row:stop, : part.ids.shape[1]] = part.ids
        row = stop
    problem = next((part.problem for part in parts if part.problem), "")
    return Batch(images, ids, torch.cat([part.readable for part in parts]), problem)


def run_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; the next one is made by a thread while one is in use."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.5)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _start_worker(worker: int) -> None:
    for number in NOTED_SIGNALS:  # they often reach the whole process group; the parent saves, then ends us
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the parent's thread pool does not survive the fork
