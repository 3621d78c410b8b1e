"""Models by name, each with the training options that suit it.

In: a preset's name in any spelling, or a JSON file with a model configuration. Out: a `Preset`.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
tables 18-20. The tiny models are this project's own, for tests and for training on a CPU.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from clip_train.config import (
    InputError,
    ModelConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
    model_from_dict,
)


class Preset(NamedTuple):
    """A model and the training options that suit it."""

    model: ModelConfig
    recipe: Mapping[str, Any]


def _paper_preset(embed_dim: int, image_size: int, patch_size: int, **recipe: Any) -> Preset:
    large = patch_size == 14
    image = VisionTransformerConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=1024 if large else 768,
        layers=24 if large else 12,
        heads=16 if large else 12,
        activation="quick_gelu",
    )
    text = TextTransformerConfig(width=768 if large else 512, heads=12 if large else 8, activation="quick_gelu")
    return Preset(ModelConfig(embed_dim=embed_dim, image=image, text=text), recipe)


def _tiny_preset(image_size: int, patch_size: int, width: int, layers: int, **recipe: Any) -> Preset:
    heads = width // 32
    image = VisionTransformerConfig(
        image_size=image_size, patch_size=patch_size, width=width, layers=layers, heads=heads
    )
    text = TextTransformerConfig(context_length=32, vocab_size=2_048, width=width, layers=layers, heads=heads)
    return Preset(ModelConfig(embed_dim=width, image=image, text=text), recipe)


_TINY_RECIPE: Mapping[str, Any] = {
    "vocab_size": 2_048,
    "epochs": 10,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "warmup_steps": 20,
    "precision": "fp32",
    "save_every": 200,
}

PRESETS: Mapping[str, Preset] = {
    "ViT-B/32": _paper_preset(512, 224, 32),
    "ViT-B/16": _paper_preset(512, 224, 16),
    "ViT-L/14": _paper_preset(768, 224, 14, learning_rate=4e-4),
    "ViT-L/14@336": _paper_preset(768, 336, 14, learning_rate=2e-5, epochs=1),
    "tiny-32": _tiny_preset(32, 8, 64, 2, **_TINY_RECIPE),
    "tiny-64": _tiny_preset(64, 16, 128, 4, **_TINY_RECIPE),
}


def preset_name(name: str) -> str | None:
    """The preset that a name in either case, with ``/`` or ``-``, means.

    >>> preset_name("vit-b-32"), preset_name("ViT-L/14@336px"), preset_name("nothing")
    ('ViT-B/32', 'ViT-L/14@336', None)
    """
    return {_plain_name(known): known for known in PRESETS}.get(_plain_name(name))


def find_preset(name: str) -> Preset:
    """A preset by name, or the model in a JSON file with the training options of ViT-B/32.

    Raises:
        InputError: For an unknown name or a file that holds no model configuration.
    """
    known = preset_name(name)
    if known is not None:
        return PRESETS[known]
    if not name.endswith(".json"):
        raise InputError(f"unknown model {name!r}; known: {', '.join(PRESETS)}, or a .json file")
    try:
        with open(name, encoding="utf-8") as file:
            return Preset(model_from_dict(json.load(file)), {})
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: no model configuration ({error})") from error


def _plain_name(name: str) -> str:
    return name.lower().replace("/", "-").removesuffix("px")
