"""What commands have in common: the model, checks of options, figures as JSON."""

import json
from typing import Any

import torch

from clip_train.api import load
from clip_train.config import InputError
from clip_train.models.clip import Clip
from clip_train.shard_outputs import Filled

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
