"""AdamW with decay where the paper has it.

In: a model and the options of a run. Out: the optimiser, fused: one kernel for all weights, which can leave out a step.

Source: Loshchilov & Hutter 2017; Radford et al. 2021, section 2.5 and table 18; for rates by depth see `blocks`.
"""

from typing import Any

import torch
from torch import nn

from clip_train.config import TrainConfig
from clip_train.training.blocks import rate_factors

# positions and class token as our towers, transformers and timm call them
_UNDECAYED_NAMES = {
    *("positional_embedding", "class_embedding", "logit_scale"),
    *("position_embeddings", "pos_embed", "cls_token", "reg_token", "dist_token", "relative_position_bias_table"),
}


def decay_groups(model: nn.Module, weight_decay: float, *, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Parameters with and without decay: gains, biases, positions, class token and scale are not decayed.

    Args:
        model: A model; what is frozen is left out.
        weight_decay: Of the others.
        layer_decay: Learning rate of a block as a multiple of that of the block above it; below 1 there are two
            groups for each depth.
    """
    factors = rate_factors(model, layer_decay) if layer_decay != 1 else {}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_decayed = parameter.ndim >= 2 and _UNDECAYED_NAMES.isdisjoint(name.split("."))
            groups.setdefault((factors.get(name, 1.0), is_decayed), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if is_decayed else 0.0, "rate_factor": factor}
        for (factor, is_decayed), parameters in groups.items()
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a training run."""
    return torch.optim.AdamW(
        decay_groups(model, config.weight_decay, layer_decay=config.layer_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the rate of every group for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)  # older checkpoints' groups have none
