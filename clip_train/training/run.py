"""One training run before its first step: its data, its model, and where it goes on.

In: a `TrainConfig`. Out: a `Run`, all that the loop works on, new or from the newest checkpoint.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import torch

from clip_train.config import ModelConfig, TrainConfig
from clip_train.data.cache import GB, ShardCache
from clip_train.data.order import EpochOrder, MixedOrder, Order
from clip_train.data.shards import Shard, ShardReader, list_sets, shards_digest
from clip_train.errors import DivergedError, InputError
from clip_train.models.clip import Clip
from clip_train.models.packing import MOST_SHAPES
from clip_train.models.vision import VisionTransformer
from clip_train.presets import find_preset
from clip_train.tokenizers.bpe import ClipTokenizer, train_tokenizer
from clip_train.tokenizers.encoder import EncoderTokenizer
from clip_train.tokenizers.folder import TextTokenizer
from clip_train.training.average import WeightAverage
from clip_train.training.blocks import freeze_parts, recompute_blocks
from clip_train.training.checkpoint import (
    MODEL_NAME,
    CheckpointInfo,
    fill_weights,
    find_checkpoint,
    list_checkpoints,
    load_state,
    load_tokenizer,
    load_training,
    newest_whole,
    read_info,
    save_checkpoint,
    set_aside,
)
from clip_train.training.distributed import Ranks, decide_first
from clip_train.training.initialization import start_weights, sync_batch_norm
from clip_train.training.loader import BatchDataset, fits_in_memory
from clip_train.training.optimizer import build_optimizer
from clip_train.training.unreadable import UnreadableCount
from clip_train.training.updates import Updates, first_not_finite
from pipeline.base.options import identity_of


@dataclasses.dataclass(kw_only=True, eq=False)
class Run:
    """Everything the loop needs, made by `set_up`."""

    config: TrainConfig
    ranks: Ranks
    device: torch.device
    dataset: BatchDataset
    data_digest: str
    model: Clip
    optimizer: torch.optim.Optimizer
    updates: Updates
    average: WeightAverage | None
    unreadable: UnreadableCount
    resumed: str | None  # the checkpoint it goes on from
    first_step: int
    total_steps: int

    def save(self, step: int) -> str:
        """Writes a checkpoint on the first rank and returns its folder.

        Raises:
            DivergedError: On every rank, when a weight is not finite: such a checkpoint would help nobody.
            InputError: When it cannot be written.
        """
        self.updates.settle()
        trained = self.model.state_dict()
        weights = trained if self.average is None else self.average.state_dict()
        if (name := first_not_finite(weights)) is not None:
            raise DivergedError(f"{name} is not finite at step {step}; try a lower learning rate")
        if not self.ranks.is_first:
            return ""
        training = {
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates.state_dict(),
            "unreadable": self.unreadable.state_dict(),
        }
        if self.average is not None:
            training["weights"] = trained
        return save_checkpoint(
            self.config.output,
            CheckpointInfo(step, self.model.config, dataclasses.asdict(self.config), self.data_digest),
            model=self.model,
            weights=weights,
            training=training,
            keep=self.config.keep_checkpoints,
        )

    def go_on(self, checkpoint: str) -> None:
        """Takes up weights, optimiser and counts where a checkpoint left them."""
        state, weights = load_training(checkpoint), load_state(checkpoint, self.device)
        fill_weights(self.model, state.get("weights", weights), where=os.path.join(checkpoint, MODEL_NAME))
        if self.average is not None:
            self.average.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        if "updates" in state:  # not in checkpoints from before steps could be left out
            self.updates.load_state_dict(state["updates"])
        if "unreadable" in state:  # nor in those from before they were counted
            self.unreadable.load_state_dict(state["unreadable"])


def set_up(config: TrainConfig, device: torch.device, ranks: Ranks) -> Run:
    """Opens the shards and makes, or reads from the newest checkpoint, what the loop works on."""
    cache = ShardCache(config.shard_cache, max_bytes=config.shard_cache_gb * GB)
    sets = list_sets(config.shards, cache=cache, lenient=True)
    shards = [shard for group in sets for shard in group]
    order = make_order(config, sets)
    data_digest = shards_digest(shards)
    resumed = decide_first(lambda: find_resumable(config, data_digest), ranks)
    first_step = read_info(resumed).step if resumed else 0
    total_steps = count_steps(config, order.num_samples, ranks, first_step=first_step)
    reader = ShardReader(shards, max_open=2 * config.shuffle_shards * len(sets), cache=cache, lenient=True)
    tokenizer = _choose_tokenizer(config, reader, resumed, ranks)
    model_config = choose_model(config, tokenizer)
    torch.manual_seed(config.seed)
    model = Clip(model_config, tokenizer).to(device)
    if not resumed:
        start_weights(model, config)
    if config.sync_batch_norm:
        model = sync_batch_norm(model, device)
    prepare_model(model, config)
    optimizer = build_optimizer(model, config)
    updates = Updates(
        model, optimizer, clip_norm=config.clip_norm, precision=config.precision, max_skipped=config.max_skipped
    )
    run = Run(
        config=config,
        ranks=ranks,
        device=device,
        dataset=_make_dataset(config, reader, order, model=model_config, tokenizer=tokenizer, ranks=ranks),
        data_digest=data_digest,
        model=model,
        optimizer=optimizer,
        updates=updates,
        average=None if config.ema is None else WeightAverage(model, config.ema),
        unreadable=UnreadableCount(config.max_unreadable_share, ranks),
        resumed=resumed,
        first_step=first_step,
        total_steps=total_steps,
    )
    if resumed:
        run.go_on(resumed)
    return run


def prepare_model(model: Clip, config: TrainConfig) -> None:
    """Freezes, drops, recomputes and compiles what a run's options say.

    Raises:
        InputError: When the model has no such part.
    """
    freeze_parts(model, config.freeze)
    if config.patch_dropout:
        if not isinstance(model.visual, VisionTransformer):
            raise InputError(f"patch-dropout {config.patch_dropout}: a {model.config.image.kind} has no patches")
        model.visual.patch_dropout = config.patch_dropout
    if config.gradient_checkpointing:
        recompute_blocks(model)
    if config.compile:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * MOST_SHAPES)
        for tower in (model.visual, model.text):
            tower.compile(dynamic=False)


def make_order(config: TrainConfig, sets: Sequence[Sequence[Shard]]) -> Order:
    """The order of the samples: all sets as one, or mixed by weights.

    Raises:
        InputError: When the weights do not fit the sets.
    """
    sizes = [[shard.num_samples for shard in group] for group in sets]
    if not config.weights:
        return EpochOrder(
            [size for group in sizes for size in group], seed=config.seed, shuffle_shards=config.shuffle_shards
        )
    try:
        return MixedOrder(sizes, config.weights, seed=config.seed, shuffle_shards=config.shuffle_shards)
    except ValueError as error:
        raise InputError(f"weights: {error}") from error


def count_steps(config: TrainConfig, num_samples: int, ranks: Ranks, *, first_step: int = 0) -> int:
    """The steps of a run; the last one borrows what it lacks from the next epoch.

    Raises:
        InputError: When batch size, data, warm-up, cool-down and the steps that are done do not fit each other.
    """
    if config.batch_size > num_samples:
        raise InputError(f"batch-size {config.batch_size} is more than the {num_samples} samples of the shards")
    if config.batch_size % ranks.world_size:
        raise InputError(f"batch-size {config.batch_size} cannot be shared by {ranks.world_size} ranks")
    total_steps = config.steps or math.ceil(config.epochs * num_samples / config.batch_size)
    if config.warmup_steps + config.cooldown_steps >= total_steps:
        also = f" and cooldown-steps {config.cooldown_steps} together" if config.cooldown_steps else ""
        raise InputError(
            f"warmup-steps {config.warmup_steps}{also} must be fewer than the {total_steps} steps of the run"
        )
    if first_step > total_steps:
        raise InputError(f"{config.output} has done {first_step} steps, more than the {total_steps} asked for")
    return total_steps


def choose_model(config: TrainConfig, tokenizer: TextTokenizer) -> ModelConfig:
    """The preset's model, with the vocabulary of the tokenizer and the context length asked for."""
    model = find_preset(config.model).model
    return model.with_text(
        vocab_size=tokenizer.vocab_size, context_length=config.context_length or model.text.context_length
    )


def find_resumable(config: TrainConfig, data_digest: str) -> str | None:
    """The checkpoint from which a run goes on; None for a fresh start. Damaged ones after it get another name.

    Raises:
        InputError: When there are checkpoints but `resume` is not asked for, all are damaged, or the run is another.
    """
    if not list_checkpoints(config.output):
        return None
    if not config.resume:
        raise InputError(f"{config.output} holds a run already: give --resume, or another --output")
    newest = newest_whole(config.output, all_files=True)
    info = read_info(newest.path)
    if info.data_digest != data_digest:
        raise InputError(f"{newest.path} was trained on other shards; a run is resumed on the same data")
    for name, value in identity_of(config).items():
        trained = info.train.get(name, getattr(TrainConfig, name))
        if _as_saved(trained) != _as_saved(value):
            raise InputError(f"{newest.path} was trained with {name.replace('_', '-')} {trained}, not {value}")
    for path in newest.damaged:
        print(f"{path} is kept as {set_aside(path)}", file=sys.stderr)
    return newest.path


def _as_saved(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def _choose_tokenizer(config: TrainConfig, reader: ShardReader, resumed: str | None, ranks: Ranks) -> TextTokenizer:
    start = resumed or (find_checkpoint(config.init) if config.init else None)
    tokenizer = load_tokenizer(start) if start else None
    if tokenizer is not None:
        if config.tokenizer and not resumed:
            raise InputError(f"{start} has a tokenizer of its own; give no --tokenizer with --init")
        return tokenizer
    if start and not config.tokenizer:
        raise InputError(f"{start} has no tokenizer: give the one that it was trained with as --tokenizer")
    return decide_first(lambda: _make_tokenizer(config, reader), ranks)


def _make_tokenizer(config: TrainConfig, reader: ShardReader) -> TextTokenizer:
    if os.path.isdir(config.tokenizer):
        return EncoderTokenizer.load(config.tokenizer)
    if config.tokenizer:
        return ClipTokenizer.load(config.tokenizer)
    tokenizer = train_tokenizer(reader.texts(config.tokenizer_texts), vocab_size=config.vocab_size)
    reader.close()
    return tokenizer


def _make_dataset(
    config: TrainConfig,
    reader: ShardReader,
    order: Order,
    *,
    model: ModelConfig,
    tokenizer: TextTokenizer,
    ranks: Ranks,
) -> BatchDataset:
    return BatchDataset(
        reader,
        order,
        tokenizer=tokenizer,
        model=model,
        batch_size=config.batch_size,
        ranks=ranks,
        crop_seed=config.seed if config.crop == "random" else None,
        text_seed=config.seed if config.texts == "random" else None,
        keep_decoded=fits_in_memory(order.num_samples, model.image.image_size, config.cache_mb),
    )
