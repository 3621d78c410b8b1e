"""Checkpoints: everything a run needs to go on, and everything a user needs to load the model.

In: model, optimiser, step. Out: ``OUTPUT/checkpoints/step-00001000/`` with ``model.safetensors``, ``config.json``
(model, training options, step, digest of the data), the tokenizer's file and ``training.pt`` (optimiser and what else
the next step needs). A folder appears whole or not at all; only the newest few are kept. What happens to it later is
noticed: ``config.json`` names the size and the digest of each file beside it, and of its own text. A damaged
checkpoint is told, and the one before it is taken. An imported model is such a folder without ``training.pt``: it is
loaded and trained from, but not resumed.
"""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from clip_train.config import ModelConfig, model_from_dict, model_to_dict
from clip_train.errors import InputError
from clip_train.files import check_format, publish, write_json, written_anew
from clip_train.models.clip import Clip
from clip_train.tokenizers.folder import TOKENIZER_NAMES, TextTokenizer, find_tokenizer, save_tokenizer

CHECKPOINTS_NAME = "checkpoints"
CONFIG_NAME = "config.json"
MODEL_NAME = "model.safetensors"
TRAINING_NAME = "training.pt"

_FORMAT = 1
_PREFIX, _ASIDE = "step-", ".tmp"
_FILES_KEY, _DIGEST_KEY = "files", "digest"
_CHANGED = "other content than was written"
_NO_CONFIGURATION = "not a checkpoint's configuration; other formats come in by python -m clip_train import"


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
    weights: Mapping[str, Tensor],
    training: Mapping[str, Any],
    keep: int,
) -> str:
    """Writes a checkpoint of a run, then deletes all but the newest `keep`.

    Args:
        output: The run's folder.
        info: What the checkpoint says about itself.
        model: What the weights are for.
        weights: The weights that are used later.
        training: All else that the run needs to go on.
        keep: Checkpoints left, this one included.

    Returns:
        The checkpoint's folder.

    Raises:
        InputError: When it cannot be written; the checkpoints before it stay.
    """
    folder = os.path.join(output, CHECKPOINTS_NAME)
    path = os.path.join(folder, f"{_PREFIX}{info.step:08d}")
    if not os.path.exists(path):
        aside = os.path.join(folder, f".{os.path.basename(path)}{_ASIDE}")
        try:
            _remove_leftovers(folder)
            os.makedirs(aside)
            torch.save(dict(training), os.path.join(aside, TRAINING_NAME))
            _write_model(aside, info, model, weights)
            publish(aside, path)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch has one of its own for a full disk
            shutil.rmtree(aside, ignore_errors=True)
            raise InputError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    for old in list_checkpoints(output)[:-keep]:
        _remove_at_once(old)
    return path


def save_model(path: str, model: Clip) -> None:
    """Writes a model that has no run behind it as a checkpoint to load or to start from.

    Raises:
        InputError: When there is something at `path` already, or it cannot be written.
    """
    with written_anew(path, folder=True) as aside:
        _write_model(aside, CheckpointInfo(0, model.config, {}, ""), model, model.state_dict())


def list_checkpoints(output: str) -> list[str]:
    """The checkpoints of a run, oldest first."""
    folder = os.path.join(output, CHECKPOINTS_NAME)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.startswith(_PREFIX)]


def find_checkpoint(path: str) -> str:
    """The checkpoint that a path means: itself, or the newest whole one of a run's folder.

    Of one that is named the configuration may have been changed by hand.

    Raises:
        InputError: When there is none, or the one that is named is damaged.
    """
    if os.path.isfile(config := os.path.join(path, CONFIG_NAME)):
        if damage := _find_file_damage(path, _read_values(config), all_files=False):
            raise InputError(f"{path} is damaged: {damage}")
        return path
    if not list_checkpoints(path):
        raise InputError(f"{path}: no checkpoint, and no run with checkpoints")
    return newest_whole(path, all_files=False).path


class Newest(NamedTuple):
    """The newest whole checkpoint of a run, and the damaged ones after it."""

    path: str
    damaged: list[str]


def newest_whole(output: str, *, all_files: bool) -> Newest:
    """The newest checkpoint of a run that is as it was written; each damaged one after it is told on stderr.

    Args:
        output: The run's folder; it holds checkpoints.
        all_files: Whether what only training needs must be whole too.

    Raises:
        InputError: When all are damaged.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(output)):
        damage = find_damage(path, all_files=all_files)
        if not damage:
            return Newest(path, damaged)
        print(f"{path} is damaged ({damage}); taking the one before it", file=sys.stderr)
        damaged.append(path)
    raise InputError(f"{output}: every checkpoint is damaged ({', '.join(map(os.path.basename, damaged))})")


def find_damage(checkpoint: str, *, all_files: bool) -> str | None:
    """What of a checkpoint is not as it was written, or None.

    Of checkpoints that were written before they named their files' digests only the configuration is read.
    """
    try:
        values = _read_values(os.path.join(checkpoint, CONFIG_NAME))
    except InputError as error:
        return str(error).removeprefix(f"{checkpoint}/")
    if not _is_as_written(values):
        return f"{CONFIG_NAME}: {_CHANGED}"
    return _find_file_damage(checkpoint, values, all_files=all_files)


def _find_file_damage(checkpoint: str, values: Mapping[str, Any], *, all_files: bool) -> str | None:
    for name, (size, digest) in values.get(_FILES_KEY, {}).items():
        path = os.path.join(checkpoint, name)
        if name == TRAINING_NAME and not all_files:
            continue
        if not os.path.isfile(path):
            return f"{name} is missing"
        if os.path.getsize(path) != size:
            return f"{name} has {os.path.getsize(path)} bytes, not {size}"
        if _file_digest(path) != digest:
            return f"{name} has {_CHANGED}"
    return None


def set_aside(checkpoint: str) -> str:
    """Gives a damaged checkpoint a name that no run takes for one, and returns it."""
    folder, name = os.path.split(checkpoint)
    aside = os.path.join(folder, f"damaged-{name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(checkpoint, aside)
    return aside


def read_info(checkpoint: str) -> CheckpointInfo:
    """What a checkpoint says about itself.

    Raises:
        InputError: When its configuration is missing or cannot be read.
    """
    path = os.path.join(checkpoint, CONFIG_NAME)
    values = _read_values(path)
    try:
        model = model_from_dict(values["model"])
        return CheckpointInfo(values["step"], model, values["train"], values["data_digest"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: {_NO_CONFIGURATION}") from error


def read_newest(checkpoints: Sequence[str]) -> CheckpointInfo:
    """What the last of some checkpoints says whose configuration is as it was written.

    Raises:
        InputError: When there is none such.
    """
    for checkpoint in reversed(checkpoints):
        with contextlib.suppress(InputError):
            if _is_as_written(_read_values(os.path.join(checkpoint, CONFIG_NAME))):
                return read_info(checkpoint)
    raise InputError(f"{checkpoints[-1]}: {_CHANGED}, and no checkpoint before it is whole")


def load_weights(checkpoint: str, model: Clip) -> None:
    """Reads a checkpoint's weights into a model; that its configuration was changed since is told on stderr.

    Raises:
        InputError: When they are missing, broken or those of another model.
    """
    fill_weights(model, load_state(checkpoint, model.device), where=os.path.join(checkpoint, MODEL_NAME))
    if not _is_as_written(_read_values(config := os.path.join(checkpoint, CONFIG_NAME))):
        print(f"{config}: {_CHANGED}", file=sys.stderr)


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
            digest.update(bytes.fromhex(_file_digest(path)))
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


def load_training(checkpoint: str) -> dict[str, Any]:
    """What `save_checkpoint` was given for the run to go on.

    Raises:
        InputError: When it is missing or cannot be read.
    """
    path = os.path.join(checkpoint, TRAINING_NAME)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; only a checkpoint of a run can be resumed") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not what a run needs to go on ({str(error).splitlines()[0]:.100})") from error
    return state


def load_tokenizer(checkpoint: str) -> TextTokenizer | None:
    """The tokenizer that a checkpoint's model was trained with; None for an imported model that came without."""
    return find_tokenizer(checkpoint)


def _write_model(folder: str, info: CheckpointInfo, model: Clip, weights: Mapping[str, Tensor]) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(contiguous, os.path.join(folder, MODEL_NAME))
    if model.tokenizer is not None:
        save_tokenizer(model.tokenizer, folder)
    _write_info(folder, info)


def _first_few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _write_info(folder: str, info: CheckpointInfo) -> None:
    paths = {name: os.path.join(folder, name) for name in sorted(os.listdir(folder))}
    values = {
        "format": _FORMAT,
        **info._asdict(),
        "model": model_to_dict(info.model),
        "train": dict(info.train),
        _FILES_KEY: {name: (os.path.getsize(path), _file_digest(path)) for name, path in paths.items()},
    }
    write_json(os.path.join(folder, CONFIG_NAME), {**values, _DIGEST_KEY: _values_digest(values)})


def _read_values(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values: dict[str, Any] = json.load(file)
        check_format(values, _FORMAT, where=path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {_NO_CONFIGURATION}") from error
    return values


def _is_as_written(values: Mapping[str, Any]) -> bool:
    """Whether a configuration has the digest of its text; one from before there were digests has none to differ."""
    others = {name: value for name, value in values.items() if name != _DIGEST_KEY}
    if _DIGEST_KEY not in values and _FILES_KEY not in values:
        return True
    return values.get(_DIGEST_KEY) == _values_digest(others)


def _values_digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _file_digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_leftovers(folder: str) -> None:
    """Deletes what a killed process had not finished writing, or deleting."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.startswith(f".{_PREFIX}") and name.endswith(_ASIDE):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _remove_at_once(checkpoint: str) -> None:
    """Deletes a checkpoint such that no part of it is ever taken for one."""
    folder, name = os.path.split(checkpoint)
    aside = os.path.join(folder, f".{name}{_ASIDE}")
    os.rename(checkpoint, aside)
    shutil.rmtree(aside, ignore_errors=True)
