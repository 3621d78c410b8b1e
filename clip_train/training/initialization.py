"""What a model is before its first step, when it does not start from random weights.

In: a model; a checkpoint, at another resolution if need be; a folder of a Hugging Face encoder. Out: the model with
those weights, or with batch statistics that are taken over all ranks.

Source: Radford et al. 2021, section 2.5 (L/14@336 is L/14 trained one more epoch at a higher resolution);
Dosovitskiy et al. 2020, section 3.2 (positions are interpolated).
"""

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from clip_train.config import TrainConfig
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.models.hugging_face import load_encoder_weights
from clip_train.training.checkpoint import MODEL_NAME, fill_weights, find_checkpoint, load_state

_GRIDS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


def start_weights(model: Clip, config: TrainConfig) -> None:
    """Gives a model the weights that a run's options say it starts from; without any it stays random.

    Raises:
        InputError: When they are missing, broken or those of another model.
    """
    if config.init:
        checkpoint = find_checkpoint(config.init)
        state = _fit_positions(load_state(checkpoint), model)
        fill_weights(model, state, where=os.path.join(checkpoint, MODEL_NAME))
    if config.image_init:
        checkpoint = find_checkpoint(config.image_init)
        state = {name: tensor for name, tensor in load_state(checkpoint).items() if name.startswith("visual.")}
        state = {name.removeprefix("visual."): tensor for name, tensor in _fit_positions(state, model).items()}
        fill_weights(model.visual, state, where=f"the image tower of {os.path.join(checkpoint, MODEL_NAME)}")
    if config.text_init:
        load_encoder_weights(model.text, config.text_init)


def _fit_positions(state: Mapping[str, Tensor], model: Clip) -> dict[str, Tensor]:
    wanted = model.state_dict()
    grids = [name for name in _GRIDS if name in state and name in wanted]
    return {**state, **{name: resize_positions(state[name], len(wanted[name])) for name in grids}}


def resize_positions(positions: Tensor, length: int) -> Tensor:
    """The positions of a square grid behind one other token, for a grid of another size.

    Args:
        positions: ``[1 + side * side, width]``.
        length: ``1 + new side * new side``.
    """
    if len(positions) == length:
        return positions
    first, grid = positions[:1], positions[1:]
    old_side, side = (round((count - 1) ** 0.5) for count in (len(positions), length))
    map_ = grid.T.reshape(1, -1, old_side, old_side)
    resized = interpolate(map_, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, resized.flatten(2)[0].T])


def sync_batch_norm(model: Clip, device: torch.device) -> Clip:
    """The same model whose batch norms, in training, see the batches of all ranks.

    Raises:
        InputError: On a CPU, where torch has no such layer.
    """
    if device.type == "cpu":
        raise InputError("sync-batch-norm needs GPUs")
    converted: Clip = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted
