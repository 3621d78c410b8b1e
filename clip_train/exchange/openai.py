"""OpenAI's state dicts: flat names, and a configuration that follows from the shapes.

In: a state dict (or the state of a published TorchScript archive), or a model. Out: a model, or a state dict that
``clip.load`` reads. Names are ours without ``text.``; open_clip's are the same.
The shapes do not say how many heads a tower has nor its non-linearity: heads are 64 wide and QuickGELU is used.

Source: CLIP's model.py and clip.py (build_model, load).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clip_train.config import (
    Activation,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
    model_to_dict,
)
from clip_train.errors import InputError
from clip_train.files import written_anew
from clip_train.models.clip import Clip
from clip_train.models.resnet import STRIDE
from clip_train.tokenizers.bpe import ClipTokenizer
from clip_train.training.checkpoint import fill_weights

HEAD_WIDTH = 64
ARCHIVE_FACTS = ("input_resolution", "context_length", "vocab_size")  # numbers that the archives hold as tensors

_NOT_WEIGHTS = (*ARCHIVE_FACTS, "attn_mask")


def read_flat(
    state: Mapping[str, Tensor], config: ModelConfig, *, where: str, tokenizer: ClipTokenizer | None = None
) -> Clip:
    """A model with the weights of a state dict in OpenAI's names.

    Raises:
        InputError: When they do not fit; the message names the first that do not.
    """
    model = Clip(config, tokenizer)
    weights = {_our_name(name): tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    if "logit_scale" in weights:
        weights["logit_scale"] = weights["logit_scale"].reshape(())  # open_clip also has it with one element
    fill_weights(model, weights, where=where)
    return model


def flat_state(model: Clip) -> dict[str, Tensor]:
    """A model's weights in OpenAI's names."""
    return {name.removeprefix("text."): tensor.contiguous() for name, tensor in model.state_dict().items()}


def write_openai(model: Clip, output: str) -> None:
    """Writes a state dict.

    Raises:
        InputError: When the format cannot say what the model is.
    """
    state = flat_state(model)
    try:
        understood = infer_config(state, activation="quick_gelu", where="the model")
    except InputError as error:
        raise InputError(
            f"the openai format knows CLIP's ResNets and ViTs with a text transformer ({error})"
        ) from error
    wrong = _differences(model_to_dict(model.config), model_to_dict(understood))
    if wrong:
        raise InputError(f"the openai format cannot hold this model: its readers would take {'; '.join(wrong)}")
    with written_anew(output, folder=False) as path:
        torch.save(state, path)


def infer_config(state: Mapping[str, Tensor], *, activation: Activation, where: str) -> ModelConfig:
    """What the shapes of a state dict say about the model.

    Raises:
        InputError: When a tensor that tells is missing.
    """
    try:
        text_width = state["ln_final.weight"].shape[0]
        text = TextTransformerConfig(
            context_length=state["positional_embedding"].shape[0],
            vocab_size=state["token_embedding.weight"].shape[0],
            width=text_width,
            layers=_count(state, r"transformer\.resblocks\.(\d+)\."),
            heads=max(1, text_width // HEAD_WIDTH),
            activation=activation,
        )
        image = _infer_vit(state, activation) if "visual.proj" in state else _infer_resnet(state)
        return ModelConfig(embed_dim=state["text_projection"].shape[1], image=image, text=text)
    except KeyError as error:
        raise InputError(f"{where}: not the weights of a CLIP model, which have {error}") from error
    except ValueError as error:
        raise InputError(f"{where}: the shapes are not those of a CLIP model ({error})") from error


def _infer_vit(state: Mapping[str, Tensor], activation: Activation) -> VisionTransformerConfig:
    width, _, patch_size, _ = state["visual.conv1.weight"].shape
    side = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
    return VisionTransformerConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        layers=_count(state, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=max(1, width // HEAD_WIDTH),
        activation=activation,
    )


def _infer_resnet(state: Mapping[str, Tensor]) -> ResNetConfig:
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    side = math.isqrt(state["visual.attnpool.positional_embedding"].shape[0] - 1)
    return ResNetConfig(
        image_size=side * STRIDE,
        blocks=tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
        width=width,
        heads=max(1, width * STRIDE // HEAD_WIDTH),
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _our_name(name: str) -> str:
    return name if name == "logit_scale" or name.startswith(("visual.", "text.")) else f"text.{name}"


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{tower} {name} {found[tower].get(name)} for {value}"
        for tower in ("image", "text")
        for name, value in wanted[tower].items()
        if found[tower].get(name) != value
    ]
