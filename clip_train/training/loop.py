"""The training loop: batches to optimizer steps, one visible loop.

In: a `TrainConfig`. Out: checkpoints and ``metrics.jsonl`` in its output folder.
Started by plain Python or by torchrun (data parallel; gloo on the CPU, NCCL on GPUs). SIGTERM and SIGINT save
a checkpoint and stop; with `resume` the run goes on and gives the losses an uninterrupted run would have given.

Source: Radford et al. 2021, section 2.5.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clip_train.config import TrainConfig
from clip_train.data.decode import normalize_pixels
from clip_train.errors import DivergedError
from clip_train.models.clip import Clip
from clip_train.models.packing import PackedTexts
from clip_train.training.distributed import Ranks, choose_device, join_ranks, max_over_ranks, mean_over_ranks
from clip_train.training.loader import load_batches
from clip_train.training.loss import contrastive_loss
from clip_train.training.optimizer import set_learning_rate
from clip_train.training.progress import RunProgress
from clip_train.training.run import Run, set_up
from clip_train.training.schedule import learning_rate_at
from clip_train.training.signals import StopSignals


class TrainSummary(NamedTuple):
    """How a run ended."""

    step: int
    total_steps: int
    loss: float  # of the last step; nan when there was none left to do
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
        InputError: When the options, the shards or the checkpoint to resume do not fit.
        DataError: When too large a share of the samples cannot be read, or a far shard cannot be fetched.
        DivergedError: When the loss is no longer a number.
    """
    device = choose_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with join_ranks(device) as ranks, StopSignals() as stop:
        return run_steps(set_up(config, device, ranks), stop)


def run_steps(run: Run, stop: StopSignals) -> TrainSummary:
    """The loop: one optimizer step for each batch, until the last step or a signal."""
    config, model, optimizer, ranks = run.config, run.model, run.optimizer, run.ranks
    pair_loss: nn.Module = PairLoss(model, ranks)
    if ranks.world_size > 1:
        pair_loss = DistributedDataParallel(pair_loss)
    steps = range(run.first_step, run.total_steps)
    workers = 0 if run.dataset.keeps_decoded else config.workers
    batches = load_batches(run.dataset, steps, workers=workers, device=run.device)
    step, received, shown_loss, checkpoint = run.first_step, 0, math.nan, run.resumed or ""
    with RunProgress(config.output, steps=steps, pairs_per_step=config.batch_size, enabled=ranks.is_first) as progress:
        for batch in progress.timed(batches):
            learning_rate = learning_rate_at(
                step, peak=config.learning_rate, warmup_steps=config.warmup_steps, total_steps=run.total_steps
            )
            set_learning_rate(optimizer, learning_rate)
            readable = run.unreadable.add(batch.readable, batch.problem)
            images = normalize_pixels(batch.images.to(run.device, non_blocking=True))
            ids = model.pack_texts(batch.ids).to(run.device)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                loss = pair_loss(images, ids, readable)
            optimizer.zero_grad()
            loss.backward()
            gradient_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
            optimizer.step()
            model.clamp_logit_scale()

            step += 1
            received = 0 if step == run.total_steps else max_over_ranks(stop.received or 0, ranks)
            ending = bool(received) or step == run.total_steps
            saving = ending or step % config.save_every == 0
            if saving or step % config.log_every == 0:
                shown_loss = mean_over_ranks(loss, ranks).item()
                progress.log(
                    step,
                    epoch=step * config.batch_size / run.dataset.num_samples,
                    loss=shown_loss,
                    learning_rate=learning_rate,
                    logit_scale=model.logit_scale.exp().item(),
                    gradient_norm=gradient_norm.item(),
                    unreadable=run.unreadable.take_new(),
                )
                if not math.isfinite(shown_loss):
                    raise DivergedError(f"loss is {shown_loss} at step {step}; try a lower learning rate")
            if saving:
                checkpoint = run.save(step)
            if ending:
                break
    return TrainSummary(step, run.total_steps, shown_loss, checkpoint, received)
