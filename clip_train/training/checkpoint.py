"""Checkpoints: everything a run needs to go on, and everything a user needs to load the model.

In: model, optimiser, step. Out: ``OUTPUT/checkpoints/step-00001000/`` with ``model.safetensors``, ``config.json``
(model, training options, step, digest of the data), the tokenizer's file and ``training.pt`` (optimiser and random
state). A folder appears whole or not at all; only the newest few are kept. An imported model is such a folder
without ``training.pt``: it is loaded and trained from, but not resumed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from clip_train.config import ModelConfig, model_from_dict, model_to_dict
from clip_train.errors import InputError
from clip_train.files import check_format, publish, written_anew
from clip_train.models.clip import Clip
from clip_train.tokenizers.folder import TOKENIZER_NAMES, TextTokenizer, find_tokenizer, save_tokenizer

CHECKPOINTS_NAME = "checkpoints"
CONFIG_NAME = "config.json"
MODEL_NAME = "model.safetensors"
TRAINING_NAME = "training.pt"

_FORMAT = 1


class CheckpointInfo(NamedTuple):
    """What a checkpoint says about itself; the position in the data is its step."""

    step: int
    model: ModelConfig
    train: Mapping[str, Any]
    data_digest: str


def save_checkpoint(
    output: str,
    info: CheckpointInfo,
    *,
    model: Clip,
    optimizer: torch.optim.Optimizer,
    unreadable: Mapping[str, int],
    keep: int,
) -> str:
    """Writes a checkpoint of a run, then deletes all but the newest `keep`.

    Returns:
        The checkpoint's folder.
    """
    folder = os.path.join(output, CHECKPOINTS_NAME)
    path = os.path.join(folder, f"step-{info.step:08d}")
    if not os.path.exists(path):
        aside = os.path.join(folder, f".{os.path.basename(path)}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside)
        training = {
            "optimizer": optimizer.state_dict(),
            "random": _random_state(),
            "unreadable": dict(unreadable),
        }
        torch.save(training, os.path.join(aside, TRAINING_NAME))
        _write_model(aside, info, model)
        publish(aside, path)
    for old in list_checkpoints(output)[:-keep]:
        shutil.rmtree(old)
    return path


def save_model(path: str, model: Clip) -> None:
    """Writes a model that has no run behind it as a checkpoint to load or to start from.

    Raises:
        InputError: When there is something at `path` already, or it cannot be written.
    """
    with written_anew(path, folder=True) as aside:
        _write_model(aside, CheckpointInfo(0, model.config, {}, ""), model)


def list_checkpoints(output: str) -> list[str]:
    """The checkpoints of a run, oldest first."""
    folder = os.path.join(output, CHECKPOINTS_NAME)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.startswith("step-")]


def find_checkpoint(path: str) -> str:
    """The checkpoint that a path means: itself, or the newest one of a run's folder.

    Raises:
        InputError: When there is none.
    """
    if os.path.isfile(os.path.join(path, CONFIG_NAME)):
        return path
    found = list_checkpoints(path)
    if not found:
        raise InputError(f"{path}: no checkpoint, and no run with checkpoints")
    return found[-1]


def read_info(checkpoint: str) -> CheckpointInfo:
    """What a checkpoint says about itself.

    Raises:
        InputError: When its configuration is missing or cannot be read.
    """
    path = os.path.join(checkpoint, CONFIG_NAME)
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        check_format(values, _FORMAT, where=path)
        model = model_from_dict(values["model"])
        return CheckpointInfo(values["step"], model, values["train"], values["data_digest"])
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a checkpoint's configuration; other formats come in by python -m clip_train import"
        ) from error


def load_weights(checkpoint: str, model: Clip) -> None:
    """Reads a checkpoint's weights into a model.

    Raises:
        InputError: When they are missing, broken or those of another model.
    """
    fill_weights(model, load_state(checkpoint, model.device), where=os.path.join(checkpoint, MODEL_NAME))


def load_state(checkpoint: str, device: torch.device | None = None) -> dict[str, Tensor]:
    """A checkpoint's weights by name, on the CPU or another device.

    Raises:
        InputError: When they are missing or broken.
    """
    path = os.path.join(checkpoint, MODEL_NAME)
    try:
        return safetensors.torch.load_file(path, device=str(device or "cpu"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: {error}") from error


def model_digest(checkpoint: str) -> str:
    """A digest of all that decides a model's features: configuration, weights, tokenizer."""
    model = json.dumps(model_to_dict(read_info(checkpoint).model), sort_keys=True)
    digest = hashlib.blake2b(model.encode(), digest_size=16)
    for name in (MODEL_NAME, *TOKENIZER_NAMES):
        path = os.path.join(checkpoint, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def fill_weights(model: torch.nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Gives a model weights by name.

    Args:
        model: What is filled.
        state: A tensor for every parameter and buffer of the model.
        where: What the message calls the weights.

    Raises:
        InputError: When names or shapes do not fit; the message names the first of them.
    """
    wanted = model.state_dict()
    differences = {
        "lacks": [name for name in wanted if name not in state],
        "has more:": [name for name in state if name not in wanted],
        "other shapes:": [
            f"{name} {list(state[name].shape)} for {list(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    found = [f"{kind} {_first_few(names)}" for kind, names in differences.items() if names]
    if found:
        raise InputError(f"{where}: weights do not fit the model ({'; '.join(found)})")
    model.load_state_dict(dict(state))


def load_training(checkpoint: str, optimizer: torch.optim.Optimizer) -> Mapping[str, Any]:
    """Reads optimiser and random state, so that a run goes on where it stopped; returns all that was kept."""
    state: Mapping[str, Any] = torch.load(
        os.path.join(checkpoint, TRAINING_NAME), map_location="cpu", weights_only=True
    )
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if torch.cuda.is_available() and state["random"]["cuda"]:
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    return state


def load_tokenizer(checkpoint: str) -> TextTokenizer | None:
    """The tokenizer that a checkpoint's model was trained with; None for an imported model that came without."""
    return find_tokenizer(checkpoint)


def _write_model(folder: str, info: CheckpointInfo, model: Clip) -> None:
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, os.path.join(folder, MODEL_NAME))
    if model.tokenizer is not None:
        save_tokenizer(model.tokenizer, folder)
    _write_info(os.path.join(folder, CONFIG_NAME), info)


def _first_few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _write_info(path: str, info: CheckpointInfo) -> None:
    values = {"format": _FORMAT, **info._asdict(), "model": model_to_dict(info.model), "train": dict(info.train)}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
