"""Files of weights as others write them.

In: a ``.safetensors`` file, a pickled state dict, a training checkpoint that holds one, or a TorchScript archive.
Out: tensors by name, float32 where they were half precision.
"""

import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from clip_train.errors import InputError

# of data parallelism, torch.compile, sharded data parallelism and activation checkpointing, at any depth
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_ARCHIVE_MEMBER = "constants.pkl"  # every TorchScript archive has one


class Weights(NamedTuple):
    """A file's tensors, and what it says about where it comes from."""

    tensors: dict[str, Tensor]
    is_archive: bool
    name: str = ""  # of the run, where a training checkpoint says it; open_clip's holds the model's


def read_weights(path: str) -> Weights:
    """Reads a file of weights without running code from it, a TorchScript archive excepted.

    Raises:
        InputError: When it cannot be read or holds no weights.
    """
    try:
        if path.endswith(".safetensors"):
            return Weights(_plain(safetensors.torch.load_file(path), path), is_archive=False)
        if _is_archive(path):
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return Weights(_plain(archive.state_dict(), path), is_archive=True)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no file of weights ({str(error).splitlines()[0]:.100})") from error
    state = _find_state(loaded)
    if state is None:
        raise InputError(f"{path}: no file of weights (it holds a {type(loaded).__name__})")
    return Weights(_plain(state, path), is_archive=False, name=str(loaded.get("name", "")))


def _is_archive(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rsplit("/", 1)[-1] == _ARCHIVE_MEMBER for name in archive.namelist())


def _find_state(loaded: Any) -> Mapping[str, Any] | None:
    """The state dict in what a file holds: all of it, or what lies under one of the usual keys."""
    if not isinstance(loaded, Mapping):
        return None
    candidates = [loaded[key] for key in _STATE_KEYS if isinstance(loaded.get(key), Mapping)]
    for state in (*candidates, loaded):
        if any(isinstance(value, Tensor) for value in state.values()):
            return dict(state)
    return None


def plain_name(name: str) -> str:
    """A tensor's name without what wrapped the modules around it, however deep and in whatever order.

    >>> plain_name("_orig_mod.module.visual._orig_mod.conv1.weight")
    'visual.conv1.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _plain(state: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for wrapped, value in state.items():
        if isinstance(value, Tensor):
            name = plain_name(wrapped)
            if name in tensors:
                raise InputError(f"{path}: {name} is there twice, once as {wrapped}")
            tensors[name] = value.float() if value.is_floating_point() else value
    return tensors
