"""What goes into a model from outside, checked before a tower meets it.

In: a tensor of images or of token ids. Out: nothing, or an error of one line that says what was given and what fits.
"""

from typing import Any

import torch
from torch import Tensor

from clip_train.errors import InputError

_ID_TYPES = (torch.int32, torch.int64)


def check_images(images: Any, *, side: int, device: torch.device) -> None:
    """Raises InputError unless images are floats ``[batch, 3, side, side]`` on a device."""
    wanted = f"normalised floats [batch, 3, {side}, {side}]"
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise InputError(f"images must be {wanted}, not {_describe(images)}; preprocess makes them of an image")
    if images.ndim != 4 or images.shape[1:] != (3, side, side):
        raise InputError(f"images must be {wanted} for this model, not {list(images.shape)}")
    _check_device("images", images, device)


def check_ids(ids: Any, *, context_length: int, vocab_size: int, device: torch.device) -> None:
    """Raises InputError unless token ids are integers ``[batch, at most context_length]`` of a vocabulary.

    Whether they are of the vocabulary is looked at on the CPU only: a GPU would have to be waited for.
    """
    wanted = f"token ids [batch, at most {context_length}]"
    if not isinstance(ids, Tensor) or ids.dtype not in _ID_TYPES:
        raise InputError(f"texts must be {wanted}, int32 or int64, not {_describe(ids)}; tokenize makes them of texts")
    if ids.ndim != 2 or not 1 <= ids.shape[1] <= context_length:
        raise InputError(f"texts must be {wanted} for this model, not {list(ids.shape)}")
    _check_device("texts", ids, device)
    if device.type == "cpu" and ids.numel():
        lowest, highest = (int(value) for value in ids.aminmax())
        if lowest < 0 or highest >= vocab_size:
            raise InputError(
                f"token ids from {lowest} to {highest} are not of this model's vocabulary of {vocab_size}; they are "
                "another tokenizer's"
            )


def _check_device(name: str, tensor: Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise InputError(f"{name} are on {tensor.device}, the model is on {device}; give {name}.to(model.device)")


def _describe(given: Any) -> str:
    return f"a tensor of {given.dtype}" if isinstance(given, Tensor) else f"{type(given).__name__} {given!r:.40}"
