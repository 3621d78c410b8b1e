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

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # of data parallelism and of torch.compile
_ARCHIVE_MEMBER = "constants.pkl"  # every TorchScript archive has one


class Weights(NamedTuple):
    """A file's tensors, and what it says about where it comes from."""

    tensors: dict[str, Tensor]
    is_archive: bool


def read_weights(path: str) -> Weights:
    """Reads a file of weights without running code from it, a TorchScript archive excepted.

    Raises:
        InputError: When it cannot be read or holds no weights.
    """
    try:
        if path.endswith(".safetensors"):
            return Weights(_plain(safetensors.torch.load_file(path)), is_archive=False)
        if _is_archive(path):
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return Weights(_plain(archive.state_dict()), is_archive=True)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no file of weights ({str(error).splitlines()[0]:.100})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: no file of weights (it holds a {type(loaded).__name__})")
    return Weights(_plain(state), is_archive=False)


def _is_archive(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rsplit("/", 1)[-1] == _ARCHIVE_MEMBER for name in archive.namelist())


def _plain(state: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        for prefix in _WRAPPER_PREFIXES:
            name = name.removeprefix(prefix)
        if isinstance(value, Tensor):
            tensors[name] = value.float() if value.is_floating_point() else value
    return tensors
