"""One training run before its first step: its data, its model, and where it goes on.

In: a `TrainConfig`. Out: a `Run`, all that the loop works on, new or from the newest checkpoint.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import torch

from clip_train.config import ModelConfig, TrainConfig
from clip_train.data.cache import GB, ShardCache
from clip_train.data.order import EpochOrder, MixedOrder, Order
from clip_train.data.shards import Shard, ShardReader, list_sets, shards_digest
from clip_train.errors import InputError
from clip_train.files import make_folder
from clip_train.models.clip import Clip
from clip_train.presets import find_preset
from clip_train.tokenizers.bpe import ClipTokenizer, train_tokenizer
from clip_train.tokenizers.encoder import EncoderTokenizer
from clip_train.tokenizers.folder import TextTokenizer
from clip_train.training.checkpoint import (
    CheckpointInfo,
    find_checkpoint,
    list_checkpoints,
    load_tokenizer,
    load_training,
    load_weights,
    read_info,
    save_checkpoint,
)
from clip_train.training.distributed import Ranks, broadcast
from clip_train.training.initialization import start_weights, sync_batch_norm
from clip_train.training.loader import BatchDataset, fits_in_memory
from clip_train.training.optimizer import build_optimizer
from clip_train.training.unreadable import UnreadableCount
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
    unreadable: UnreadableCount
    resumed: str | None  # the checkpoint it goes on from
    first_step: int
    total_steps: int

    def save(self, step: int) -> str:
        """Writes a checkpoint on the first rank and returns its folder."""
        if not self.ranks.is_first:
            return ""
        info = CheckpointInfo(step, self.model.config, dataclasses.asdict(self.config), self.data_digest)
        return save_checkpoint(
            self.config.output,
            info,
            model=self.model,
            optimizer=self.optimizer,
            unreadable=self.unreadable.state_dict(),
            keep=self.config.keep_checkpoints,
        )


def set_up(config: TrainConfig, device: torch.device, ranks: Ranks) -> Run:
    """Opens the shards and makes, or reads from the newest checkpoint, what the loop works on."""
    cache = ShardCache(config.shard_cache, max_bytes=config.shard_cache_gb * GB)
    sets = list_sets(config.shards, cache=cache, lenient=True)
    shards = [shard for group in sets for shard in group]
    order = make_order(config, sets)
    total_steps = count_steps(config, order.num_samples, ranks)
    data_digest = shards_digest(shards)
    resumed = find_resumable(config, data_digest)
    make_folder(config.output)
    reader = ShardReader(shards, max_open=2 * config.shuffle_shards * len(sets), cache=cache, lenient=True)
    tokenizer = _choose_tokenizer(config, reader, resumed, ranks)
    model_config = choose_model(config, tokenizer)
    torch.manual_seed(config.seed)
    model = Clip(model_config, tokenizer).to(device)
    if not resumed:
        start_weights(model, config)
    if config.sync_batch_norm:
        model = sync_batch_norm(model, device)
    optimizer = build_optimizer(model, config)
    unreadable = UnreadableCount(config.max_unreadable_share, ranks)
    if resumed:
        load_weights(resumed, model)
        state = load_training(resumed, optimizer)
        if "unreadable" in state:  # not in checkpoints from before they were counted
            unreadable.load_state_dict(state["unreadable"])
    return Run(
        config=config,
        ranks=ranks,
        device=device,
        dataset=_make_dataset(config, reader, order, model=model_config, tokenizer=tokenizer, ranks=ranks),
        data_digest=data_digest,
        model=model,
        optimizer=optimizer,
        unreadable=unreadable,
        resumed=resumed,
        first_step=read_info(resumed).step if resumed else 0,
        total_steps=total_steps,
    )


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


def count_steps(config: TrainConfig, num_samples: int, ranks: Ranks) -> int:
    """The steps of a run; the last one borrows what it lacks from the next epoch.

    Raises:
        InputError: When batch size, data and warm-up do not fit each other.
    """
    if config.batch_size > num_samples:
        raise InputError(f"batch-size {config.batch_size} is more than the {num_samples} samples of the shards")
    if config.batch_size % ranks.world_size:
        raise InputError(f"batch-size {config.batch_size} cannot be shared by {ranks.world_size} ranks")
    total_steps = config.steps or math.ceil(config.epochs * num_samples / config.batch_size)
    if config.warmup_steps >= total_steps:
        raise InputError(f"warmup-steps {config.warmup_steps} must be fewer than the {total_steps} steps of the run")
    return total_steps


def choose_model(config: TrainConfig, tokenizer: TextTokenizer) -> ModelConfig:
    """The preset's model, with the vocabulary of the tokenizer and the context length asked for."""
    model = find_preset(config.model).model
    return model.with_text(
        vocab_size=tokenizer.vocab_size, context_length=config.context_length or model.text.context_length
    )


def find_resumable(config: TrainConfig, data_digest: str) -> str | None:
    """The checkpoint from which a run goes on; None for a fresh start.

    Raises:
        InputError: When there are checkpoints but `resume` is not asked for, or when the run is not the same.
    """
    found = list_checkpoints(config.output)
    if not found:
        return None
    if not config.resume:
        raise InputError(f"{config.output} holds a run already: give --resume, or another --output")
    info = read_info(found[-1])
    if info.data_digest != data_digest:
        raise InputError(f"{found[-1]} was trained on other shards; a run is resumed on the same data")
    for name, value in identity_of(config).items():
        if _as_saved(info.train.get(name, getattr(TrainConfig, name))) != _as_saved(value):
            flag = name.replace("_", "-")
            raise InputError(f"{found[-1]} was trained with {flag} {info.train.get(name)}, not {value}")
    return found[-1]


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
    return broadcast(_make_tokenizer(config, reader, ranks), ranks)


def _make_tokenizer(config: TrainConfig, reader: ShardReader, ranks: Ranks) -> TextTokenizer | None:
    if not ranks.is_first:
        return None
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
