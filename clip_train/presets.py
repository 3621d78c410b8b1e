"""Models by name, each with the training options that suit it.

In: a preset's name in any spelling, or a JSON file with a model configuration. Out: a `Preset`.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
tables 18-20; Tan & Le 2019 for the EfficientNets' sizes; Gadre et al. 2023, "DataComp", for its scales.
The tiny models are this project's own, for tests and for training on a CPU.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from clip_train.config import (
    Activation,
    CbowConfig,
    EfficientNetConfig,
    ImageTowerConfig,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
    hint_at,
    model_from_dict,
)
from clip_train.errors import InputError


class Preset(NamedTuple):
    """A model and the training options that suit it."""

    model: ModelConfig
    recipe: Mapping[str, Any]


_RESNET_ADAM: Mapping[str, Any] = {"beta2": 0.999, "epsilon": 1e-8}  # table 18; a TrainConfig's are those of the ViTs


def _paper_text(width: int) -> TextTransformerConfig:
    return TextTransformerConfig(width=width, heads=width // 64, activation="quick_gelu")


def _resnet(
    embed_dim: int, *, image_size: int, blocks: tuple[int, ...], width: int, text_width: int, **recipe: Any
) -> Preset:
    image = ResNetConfig(image_size=image_size, blocks=blocks, width=width, heads=width // 2)
    model = ModelConfig(embed_dim=embed_dim, image=image, text=_paper_text(text_width))
    return Preset(model, {**_RESNET_ADAM, **recipe})


def _transformer(
    *, image_size: int = 224, patch_size: int, large: bool = False, activation: Activation = "quick_gelu", **recipe: Any
) -> Preset:
    image = VisionTransformerConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=1024 if large else 768,
        layers=24 if large else 12,
        heads=16 if large else 12,
        activation=activation,
    )
    width = 768 if large else 512
    text = TextTransformerConfig(width=width, heads=width // 64, activation=activation)
    return Preset(ModelConfig(embed_dim=width, image=image, text=text), recipe)


def _efficientnet(image_size: int, width_factor: float, depth_factor: float) -> Preset:
    image = EfficientNetConfig(image_size=image_size, width_factor=width_factor, depth_factor=depth_factor)
    return Preset(ModelConfig(embed_dim=512, image=image, text=_paper_text(512)), _RESNET_ADAM)


def _bag_of_words(preset: Preset) -> Preset:
    return preset._replace(model=dataclasses.replace(preset.model, text=CbowConfig()))


def _datacomp(preset: Preset, samples: int, batch_size: int, **recipe: Any) -> Preset:
    steps = samples // batch_size
    return preset._replace(recipe={"steps": steps, "batch_size": batch_size, "warmup_steps": 500, **recipe})


def _tiny(image: ImageTowerConfig, width: int, layers: int) -> Preset:
    text = TextTransformerConfig(context_length=32, vocab_size=2_048, width=width, layers=layers, heads=width // 32)
    return Preset(ModelConfig(embed_dim=width, image=image, text=text), _TINY_RECIPE)


def _tiny_vit(image_size: int, patch_size: int, width: int, layers: int) -> Preset:
    image = VisionTransformerConfig(
        image_size=image_size, patch_size=patch_size, width=width, layers=layers, heads=width // 32
    )
    return _tiny(image, width, layers)


_TINY_RECIPE: Mapping[str, Any] = {
    "vocab_size": 2_048,
    "epochs": 10,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "warmup_steps": 20,
    "precision": "fp32",
    "save_every": 200,
}

_RN50 = _resnet(1024, image_size=224, blocks=(3, 4, 6, 3), width=64, text_width=512)
_VIT_B32 = _transformer(patch_size=32)

PRESETS: Mapping[str, Preset] = {
    "RN50": _RN50,
    "RN101": _resnet(512, image_size=224, blocks=(3, 4, 23, 3), width=64, text_width=512),
    "RN50x4": _resnet(640, image_size=288, blocks=(4, 6, 10, 6), width=80, text_width=640),
    "RN50x16": _resnet(768, image_size=384, blocks=(6, 8, 18, 8), width=96, text_width=768, learning_rate=4e-4),
    "RN50x64": _resnet(1024, image_size=448, blocks=(3, 15, 36, 10), width=128, text_width=1024, learning_rate=3.6e-4),
    "ViT-B/32": _VIT_B32,
    "ViT-B/16": _transformer(patch_size=16),
    "ViT-L/14": _transformer(patch_size=14, large=True, learning_rate=4e-4),
    "ViT-L/14@336": _transformer(image_size=336, patch_size=14, large=True, learning_rate=2e-5, epochs=1),
    "RN50-CBOW": _bag_of_words(_RN50),
    "ViT-B/32-CBOW": _bag_of_words(_VIT_B32),
    "EfficientNet-B0": _efficientnet(224, 1.0, 1.0),
    "EfficientNet-B1": _efficientnet(240, 1.0, 1.1),
    "EfficientNet-B2": _efficientnet(260, 1.1, 1.2),
    "EfficientNet-B3": _efficientnet(300, 1.2, 1.4),
    "EfficientNet-B4": _efficientnet(380, 1.4, 1.8),
    "EfficientNet-B5": _efficientnet(456, 1.6, 2.2),
    "EfficientNet-B6": _efficientnet(528, 1.8, 2.6),
    "EfficientNet-B7": _efficientnet(600, 2.0, 3.1),
    "DataComp-small": _datacomp(_transformer(patch_size=32, activation="gelu"), 12_800_000, 4_096),
    "DataComp-medium": _datacomp(_transformer(patch_size=32, activation="gelu"), 128_000_000, 4_096),
    "DataComp-large": _datacomp(_transformer(patch_size=16, activation="gelu"), 1_280_000_000, 8_192),
    "DataComp-xlarge": _datacomp(
        _transformer(patch_size=14, large=True, activation="gelu"),
        12_800_000_000,
        90_112,
        learning_rate=1e-3,
        warmup_steps=10_000,
        beta2=0.95,
    ),
    "tiny-32": _tiny_vit(32, 8, 64, 2),
    "tiny-64": _tiny_vit(64, 16, 128, 4),
    "tiny-rn-64": _tiny(ResNetConfig(image_size=64, blocks=(1, 1, 1, 1), width=16, heads=8), 128, 4),
}


def preset_name(name: str) -> str | None:
    """The preset that a name in either case, with ``/`` or ``-``, means.

    >>> preset_name("vit-b-32"), preset_name("ViT-L/14@336px"), preset_name("nothing")
    ('ViT-B/32', 'ViT-L/14@336', None)
    """
    return {_plain_name(known): known for known in PRESETS}.get(_plain_name(name))


def find_preset(name: str) -> Preset:
    """A preset by name, or the model in a JSON file with the training options of ViT-B/32.

    The file is what a checkpoint's configuration says about its model. The configuration of a Hugging Face encoder
    may be the encoder's folder instead, relative to the file.

    Raises:
        InputError: For an unknown name or a file that holds no model configuration.
    """
    known = preset_name(name)
    if known is not None:
        return PRESETS[known]
    if not name.endswith(".json"):
        hint = hint_at(name, PRESETS)
        raise InputError(f"unknown model {name!r}{hint}; known: {', '.join(PRESETS)}, or a .json file")
    try:
        values = _read_json(name)
        text = values["text"]
        if isinstance(text.get("encoder"), str):
            folder = os.path.join(os.path.dirname(name), text["encoder"])
            text["encoder"] = _read_json(os.path.join(folder, "config.json"))
            text.setdefault("vocab_size", text["encoder"]["vocab_size"])
        return Preset(model_from_dict(values), {})
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: no model configuration ({error})") from error


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _plain_name(name: str) -> str:
    return name.lower().replace("/", "-").removesuffix("px")
