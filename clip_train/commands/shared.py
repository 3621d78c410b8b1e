"""What commands have in common: the model, checks of options, figures as JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from clip_train.api import find_model, load
from clip_train.checkpoint import model_digest
from clip_train.config import InputError
from clip_train.data.shards import ShardReader, list_shards, shards_digest
from clip_train.distributed import choose_device, join_ranks
from clip_train.models.clip import Clip
from clip_train.shard_features import IMAGES, TEXTS, EncodeOptions, ShardFeatures, encode_shard
from clip_train.shard_outputs import Filled, OutputFolder

CHECKPOINT_HELP = "A checkpoint, or the folder of a run (then its newest one)."
DEVICE_HELP = "cpu, cuda, cuda:1…; auto takes a GPU when there is one."
JSON_HELP = "File for the figures as JSON."
PRECISIONS = ("fp32", "bf16")


def require(config: Any, *names: str) -> None:
    """Raises InputError for the first of some options that is empty."""
    for name in names:
        if not getattr(config, name):
            raise InputError(f"--{name.replace('_', '-')} must be given")


def write_json(path: str, values: Any) -> None:
    """Writes figures, where a file is asked for."""
    if not path:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def report_filled(path: str, filled: Filled) -> None:
    """Prints how many samples a folder of tables holds, and how many were left out."""
    drops = "".join(f", {number} left out ({reason})" for reason, number in sorted(filled.drops.items()))
    print(f"{path}: {filled.rows} samples{drops}")


def load_model(checkpoint: str, device: str, *, random_weights: bool = False) -> Clip:
    """The model of a checkpoint, or one like it with weights that no training has changed.

    Raises:
        InputError: When there is no such checkpoint or it is broken.
    """
    model, _preprocess = load(checkpoint, device)
    if not random_weights:
        return model
    torch.manual_seed(0)
    return Clip(model.config, model.tokenizer).to(model.device).eval()


def encode_shards(
    config: Any,
    paths: Sequence[str],
    *,
    closing_name: str,
    table_path: Callable[[str], str],
    write: Callable[[str, ShardFeatures], None],
    kinds: Sequence[str] = (IMAGES, TEXTS),
    identity: Callable[[Clip], Mapping[str, Any]] = lambda model: {},
) -> None:
    """Fills a folder with what a model makes of shards; the ranks of torchrun share them.

    Args:
        config: Options with the names checkpoint, output, batch_size, precision and device.
        paths: Shards, or folders of them.
        closing_name: File that closes the folder.
        table_path: Where what is written of a shard is found, by the shard's name.
        write: Writes the features of a shard, by its name.
        kinds: What is encoded.
        identity: What else decides the files, beside the model, the shards and the precision.

    Raises:
        InputError: When something cannot be read, or the folder is of another making.
    """
    require(config, "checkpoint", "output")
    shards = list_shards(paths)
    checkpoint = find_model(config.checkpoint)
    with join_ranks(choose_device(config.device)) as ranks:
        model = load_model(checkpoint, config.device)
        whole = {
            "model": model_digest(checkpoint),
            "shards": shards_digest(shards),
            "precision": config.precision,
            **identity(model),
        }
        options = EncodeOptions(kinds, config.batch_size, config.precision)
        reader = ShardReader(shards, max_open=1)

        def make(place: int, name: str) -> None:
            write(name, encode_shard(model, reader, place, options))

        folder = OutputFolder(config.output, closing_name, whole)
        filled = folder.fill(shards, ranks, table_path=table_path, make=make)
    if ranks.is_first:
        report_filled(config.output, filled)
