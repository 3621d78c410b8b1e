"""AdamW with decay where the paper has it.

In: a model and the options of a run. Out: the optimiser.
Source: Loshchilov & Hutter 2017; Radford et al. 2021, section 2.5 and table 18.
"""

from typing import Any

import torch
from torch import nn

from clip_train.config import TrainConfig

# positions and class token as our towers, transformers and timm call them
_UNDECAYED_NAMES = {
    *("positional_embedding", "class_embedding", "logit_scale"),
    *("position_embeddings", "pos_embed", "cls_token"),
}


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without decay: gains, biases, positions, class token and scale are not decayed."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        keep = parameter.ndim < 2 or not _UNDECAYED_NAMES.isdisjoint(name.split("."))
        (undecayed if keep else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a training run."""
    return torch.optim.AdamW(
        decay_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the rate of every group for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
