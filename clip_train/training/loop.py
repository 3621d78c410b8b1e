"""The training loop: batches to optimizer steps, one visible loop.

In: a `TrainConfig`. Out: checkpoints and ``metrics.jsonl`` in its output folder.
Started by plain Python or by torchrun (data parallel; gloo on the CPU, NCCL on GPUs). SIGTERM and SIGINT save
a checkpoint and stop, SIGUSR1 saves one; with `resume` the run goes on and gives the losses an uninterrupted run would
have given, bit for bit on as many ranks as before, and on another number up to the order in which sums are taken.

Source: Radford et al. 2021, section 2.5.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clip_train.config import TrainConfig
from clip_train.data.decode import normalize_pixels
from clip_train.models.clip import Clip
from clip_train.models.packing import PackedTexts
from clip_train.models.precision import float32_products, half_products, repeatable_kernels
from clip_train.training.distributed import (
    Ranks,
    choose_device,
    decide_first,
    join_ranks,
    maxima_over_ranks,
    mean_over_ranks,
)
from clip_train.training.loader import Batch, load_batches
from clip_train.training.loss import contrastive_loss
from clip_train.training.optimizer import set_learning_rate
from clip_train.training.parts import Finish, PartedLoss, pack_batch
from clip_train.training.progress import RunProgress
from clip_train.training.run import Run, set_up
from clip_train.training.run_folder import held_folder
from clip_train.training.schedule import schedule_of
from clip_train.training.signals import StopSignals


class TrainSummary(NamedTuple):
    """How a run ended."""

    step: int
    total_steps: int
    loss: float | None  # of the last step; None when there was none left to do
    checkpoint: str
    signal: int  # number of the signal that ended it early, or 0


class PairLoss(nn.Module):
    """A model with its loss as one module, so that data parallelism wraps both towers at once."""

    def __init__(self, model: Clip, ranks: Ranks) -> None:
        super().__init__()
        self.model = model
        self._ranks = ranks

    def forward(self, images: Tensor, ids: Tensor | PackedTexts, readable: Tensor | None = None) -> Tensor:
        """The loss of a batch of normalised images and token ids, of which only some pairs may take part."""
        image_features, text_features = self.model.encode_image(images), self.model.encode_text(ids)
        return contrastive_loss(image_features, text_features, self.model.logit_scale.exp(), self._ranks, readable)


def train(config: TrainConfig) -> TrainSummary:
    """Trains a model, or goes on training it.

    Raises:
        InputError: When the options, the shards or the checkpoint to resume do not fit, or another run is at work.
        DataError: When too large a share of the samples cannot be read, or a far shard cannot be fetched.
        DivergedError: When too many steps in a row had a loss or gradients that are not finite.
    """
    device = choose_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with (
        StopSignals() as stop,
        float32_products(config.precision),
        repeatable_kernels(config.deterministic),
        join_ranks(device) as ranks,
        ExitStack() as held,
    ):
        decide_first(lambda: held.enter_context(held_folder(config.output)), ranks)
        return run_steps(set_up(config, device, ranks), stop)


def run_steps(run: Run, stop: StopSignals) -> TrainSummary:
    """The loop: one optimizer step for each batch, until the last step or a signal."""
    config, model, ranks = run.config, run.model, run.ranks
    compute_loss = choose_loss(run)
    steps = range(run.first_step, run.total_steps)
    rate_at = schedule_of(config, run.total_steps)
    workers = 0 if run.dataset.keeps_decoded else config.workers
    batches = load_batches(run.dataset, steps, workers=workers, device=run.device)
    step, received, shown_loss, checkpoint = run.first_step, 0, None, run.resumed or ""
    saves = SaveTimes(config)
    with RunProgress(config.output, steps=steps, pairs_per_step=config.batch_size, enabled=ranks.is_first) as progress:
        for batch in progress.timed(batches):
            learning_rate = rate_at(step)
            set_learning_rate(run.optimizer, learning_rate)
            seed_step(config.seed, step, ranks)
            readable = run.unreadable.add(batch.readable, batch.problem)
            loss, finish = compute_loss(batch, readable)
            gradient_norm = run.updates.apply(loss, finish)
            model.clamp_logit_scale()

            step += 1
            if run.average is not None:
                run.average.update(step)
            received, is_save_due = maxima_over_ranks((stop.received or 0, saves.is_due(step, stop)), ranks)
            ending = bool(received) or step == run.total_steps
            saving = ending or bool(is_save_due)
            if saving or step % config.log_every == 0:
                run.updates.settle()
                shown_loss = mean_over_ranks(loss, ranks).item()
                progress.log(
                    step,
                    epoch=step * config.batch_size / run.dataset.num_samples,
                    loss=shown_loss,
                    learning_rate=learning_rate,
                    logit_scale=model.logit_scale.exp().item(),
                    gradient_norm=gradient_norm.item(),
                    skipped=run.updates.skipped,
                    unreadable=run.unreadable.take_new(),
                )
            if saving:
                checkpoint = run.save(step)
            if ending:
                break
    return TrainSummary(step, run.total_steps, shown_loss, checkpoint, 0 if step == run.total_steps else received)


def choose_loss(run: Run) -> Callable[[Batch, Tensor | None], tuple[Tensor, Finish | None]]:
    """How the loss of a batch is computed: at once, or in parts where it is larger than these may be.

    Returns:
        A function of a batch, and of which pairs of all ranks take part, that gives the loss and, for parts, what is to
        be done after its `backward`.
    """
    config, model, ranks, device = run.config, run.model, run.ranks, run.device
    products = partial(half_products, device, config.precision)
    if 0 < config.part_size < config.batch_size // ranks.world_size:
        parted = PartedLoss(model, ranks, part_size=config.part_size, few_shapes=config.compile, products=products)
        return lambda batch, readable: parted(batch.images.to(device, non_blocking=True), batch.ids, readable)
    pair_loss: nn.Module = PairLoss(model, ranks)
    if ranks.world_size > 1:
        pair_loss = DistributedDataParallel(pair_loss)

    def compute(batch: Batch, readable: Tensor | None) -> tuple[Tensor, None]:
        images = normalize_pixels(batch.images.to(device, non_blocking=True))
        ids = pack_batch(model, batch.ids, few_shapes=config.compile).to(device)
        with products():
            return pair_loss(images, ids, readable), None

    return compute


class SaveTimes:
    """When a checkpoint is due: by steps, by minutes, when a signal asks for one."""

    def __init__(self, config: TrainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = config.save_every
        self._seconds = math.inf if config.save_minutes is None else 60 * config.save_minutes
        self._clock = clock
        self._last = clock()

    def is_due(self, step: int, stop: StopSignals) -> bool:
        """Whether a checkpoint is due after a step."""
        is_late = self._clock() - self._last >= self._seconds
        is_due = stop.take_save_wanted() or is_late or step % self._every == 0
        if is_due:
            self._last = self._clock()
        return is_due


def seed_step(seed: int, step: int, ranks: Ranks) -> None:
    """Makes what a model draws in a step a function of the step, so that no random state has to be kept."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, ranks.rank)).generate_state(1, np.uint64)[0] >> 1))
