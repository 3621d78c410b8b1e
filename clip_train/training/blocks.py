"""The depth of a tower's parameters: what reads the input, its blocks in order, what stands behind them.

In: a tower of any kind. Out: a depth for each parameter; frozen parts, recomputed blocks.
A block is what the first number in a parameter's name stands for: a residual block of a transformer or a ResNet, a
stage of an EfficientNet. So timm's towers and Hugging Face's encoders need no rules of their own.

Source: Zhai et al. 2021, "LiT" (a frozen image tower); Clark et al. 2020, "ELECTRA", table 7, and Bao et al. 2021,
"BEiT" (rates that shrink with depth); Chen et al. 2016 (recomputing activations).
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from clip_train.errors import InputError
from clip_train.models.clip import Clip

# parts before the blocks, as our towers, transformers and timm call them
_INPUT_PARTS = {
    *("conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "ln_pre", "stem", "conv_stem", "norm_pre"),
    *("class_embedding", "positional_embedding", "token_embedding", "embeddings"),
    *("patch_embed", "pos_embed", "cls_token", "reg_token"),
}
_BEHIND_PARTS = {"attnpool", "head"}  # may have positions, or numbers, of their own


class Depths(NamedTuple):
    """Where the parameters of a tower stand."""

    of: Mapping[str, int]  # 0: what reads the input; 1 to the number of blocks: these; one more: behind them
    blocks: Sequence[str]  # names of the blocks' modules, first to last


def tower_depths(tower: nn.Module) -> Depths:
    """The depth of every parameter of a tower."""
    names = [name for name, _ in tower.named_parameters()]
    places = {name: _block_of(name) for name in names}
    blocks = list(dict.fromkeys(place for place in places.values() if isinstance(place, str) and place))
    number = {block: depth for depth, block in enumerate(blocks, start=1)}
    behind = len(blocks) + 1
    of = {name: behind if place is None else number.get(place, 0) for name, place in places.items()}
    return Depths(of, blocks)


def _block_of(name: str) -> str | None:
    """The block that a parameter is in; empty for what reads the input, None for what is behind the blocks.

    >>> [_block_of(name) for name in ("transformer.resblocks.3.ln_1.bias", "stem.0.weight", "proj")]
    ['transformer.resblocks.3', '', None]
    """
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    before = parts[: numbers[0]] if numbers else parts
    if _BEHIND_PARTS.intersection(before):
        return None
    if _INPUT_PARTS.intersection(before):
        return ""
    return ".".join(parts[: numbers[0] + 1]) if numbers else None


def freeze_parts(model: Clip, parts: Sequence[str]) -> None:
    """Makes parts of a model keep their weights, and their batch statistics.

    Args:
        model: The model.
        parts: ``image`` or ``text`` for a whole tower, ``image:N`` for what reads its input and its first N blocks.

    Raises:
        InputError: When there is no such part, or nothing but the scale is left to train.
    """
    for part in parts:
        name, colon, count = part.partition(":")
        tower = {"image": model.visual, "text": model.text}.get(name)
        if tower is None or (colon and not count.isdecimal()):
            raise InputError(f"freeze {part!r} is no part of a model; give image, text, image:N or text:N")
        depths = tower_depths(tower)
        until = int(count) if colon else len(depths.blocks) + 1
        if colon and until > len(depths.blocks):
            raise InputError(f"freeze {part!r}: the tower has {len(depths.blocks)} blocks")
        for parameter_name, parameter in tower.named_parameters():
            if depths.of[parameter_name] <= until:
                parameter.requires_grad_(False)
        for module in tower.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
    if not any(parameter.requires_grad for tower in (model.visual, model.text) for parameter in tower.parameters()):
        raise InputError(f"freeze {' '.join(parts)} leaves no weights to train")


def rate_factors(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """By what each parameter's learning rate is multiplied: 1 behind the blocks, and with each block below it less."""
    factors: dict[str, float] = {}
    for tower_name in ("visual", "text"):
        tower = getattr(model, tower_name, None)
        if isinstance(tower, nn.Module):
            depths = tower_depths(tower)
            behind = len(depths.blocks) + 1
            factors |= {f"{tower_name}.{name}": layer_decay ** (behind - depth) for name, depth in depths.of.items()}
    return factors


def recompute_blocks(model: Clip) -> None:
    """Makes the blocks of both towers keep only their input, and compute the rest again for the gradients."""
    for tower in (model.visual, model.text):
        for name in tower_depths(tower).blocks:
            block = tower.get_submodule(name)
            contexts = partial(_contexts, [module for module in block.modules() if isinstance(module, _BatchNorm)])
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)


def _contexts(norms: Sequence[_BatchNorm]) -> tuple[Any, Any]:
    return contextlib.nullcontext(), _without_statistics(norms)


@contextlib.contextmanager
def _without_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """What is computed a second time is not counted a second time."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
