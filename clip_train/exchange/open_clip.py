"""open_clip's folders and checkpoints: OpenAI's names of weights, and a configuration of their own.

In: a folder with ``open_clip_config.json`` (or a configuration and a file of weights), or a model. Out: a model, or
a folder that open_clip loads as ``local-dir:FOLDER``, with the tokenizer as Hugging Face files.

Source: open_clip 3.3.0, factory.py (load_checkpoint, the ``local-dir`` schema), model.py (CLIPVisionCfg, CLIPTextCfg).
"""

import os
from collections.abc import Mapping
from typing import Any

import safetensors.torch

from clip_train.config import (
    Activation,
    ImageTowerConfig,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from clip_train.data.decode import MEAN, STD
from clip_train.errors import InputError
from clip_train.exchange.clip_tokenizer import write_tokenizer_files
from clip_train.exchange.openai import HEAD_WIDTH, flat_state
from clip_train.files import read_json, read_section, write_json, written_anew
from clip_train.models.clip import Clip
from clip_train.models.resnet import STRIDE
from clip_train.tokenizers.bpe import ClipTokenizer

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")

# what may stand in a configuration, and the only values that mean what our towers do (None: any value)
_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "model_cfg": {
        **dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale")),
        "init_logit_bias": (None,),
    },
    "vision_cfg": {
        **dict.fromkeys(("image_size", "layers", "width", "head_width", "patch_size", "patch_dropout")),
        "mlp_ratio": (4, 4.0),
        "pool_type": ("tok",),
    },
    "text_cfg": {
        **dict.fromkeys(("context_length", "vocab_size", "width", "heads", "layers")),
        **dict.fromkeys(("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode")),
        "mlp_ratio": (4, 4.0),
        "pool_type": ("argmax",),
        "pad_id": (0,),
    },
}


def write_open_clip(model: Clip, output: str) -> None:
    """Writes a folder.

    Raises:
        InputError: When open_clip has no such towers.
    """
    config = config_to_open_clip(model.config)
    if isinstance(model.tokenizer, ClipTokenizer):
        config["text_cfg"]["hf_tokenizer_name"] = "."  # any name: a local folder is its own tokenizer
    preprocess = {
        "size": [model.config.image.image_size] * 2,
        "mode": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    with written_anew(output, folder=True) as folder:
        write_json(os.path.join(folder, CONFIG_NAME), {"model_cfg": config, "preprocess_cfg": preprocess})
        safetensors.torch.save_file(flat_state(model), os.path.join(folder, WEIGHTS_NAMES[0]))
        if isinstance(model.tokenizer, ClipTokenizer):
            write_tokenizer_files(model.tokenizer, folder, context_length=model.config.text.context_length)


def config_to_open_clip(config: ModelConfig) -> dict[str, Any]:
    """A model's configuration in open_clip's words.

    Raises:
        InputError: When it has none for it.
    """
    image, text = config.image, config.text
    if not isinstance(text, TextTransformerConfig):
        raise InputError(f"the open-clip format is written with a text-transformer, not with {text.kind}")
    vision: dict[str, Any] = {"image_size": image.image_size}
    if isinstance(image, VisionTransformerConfig):
        if image.activation != text.activation:
            raise InputError(
                f"open_clip has one non-linearity for both towers, not {image.activation} and {text.activation}"
            )
        vision |= {"layers": image.layers, "width": image.width, "patch_size": image.patch_size}
        vision["head_width"] = image.width // image.heads
    elif isinstance(image, ResNetConfig):
        vision |= {"layers": list(image.blocks), "width": image.width, "patch_size": None}
        vision["head_width"] = image.width * STRIDE // image.heads
    else:
        raise InputError(f"the open-clip format is written with a vision-transformer or a resnet, not {image.kind}")
    names = ("context_length", "vocab_size", "width", "heads", "layers")
    return {
        "embed_dim": config.embed_dim,
        "quick_gelu": text.activation == "quick_gelu",
        "vision_cfg": vision,
        "text_cfg": {name: getattr(text, name) for name in names},
    }


def read_open_clip_config(path: str) -> ModelConfig:
    """A model's configuration from open_clip's.

    Args:
        path: ``open_clip_config.json``, or one of the configurations that come with open_clip.

    Raises:
        InputError: When it says what our towers do not do; the message names the option.
    """
    values = read_json(path)
    _check_preprocessing(read_section(values, "preprocess_cfg", where=path), path)
    values = read_section(values, "model_cfg", where=path) if "model_cfg" in values else values
    _check_section("model_cfg", values, path)
    for section in ("vision_cfg", "text_cfg"):
        _check_section(section, read_section(values, section, where=path), path)
    try:
        return _config_from_open_clip(values)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path}: no configuration of a CLIP model ({error})") from error


def _config_from_open_clip(values: Mapping[str, Any]) -> ModelConfig:
    vision, text = values["vision_cfg"], values["text_cfg"]
    activation: Activation = "quick_gelu" if values.get("quick_gelu") else "gelu"
    head_width = vision.get("head_width", HEAD_WIDTH)
    image: ImageTowerConfig
    if isinstance(vision["layers"], int):
        image = VisionTransformerConfig(
            image_size=vision.get("image_size", 224),
            patch_size=vision.get("patch_size", 16),
            width=vision.get("width", 768),
            layers=vision["layers"],
            heads=vision.get("width", 768) // head_width,
            activation=activation,
        )
    else:
        image = ResNetConfig(
            image_size=vision.get("image_size", 224),
            blocks=tuple(vision["layers"]),
            width=vision.get("width", 64),
            heads=vision.get("width", 64) * STRIDE // head_width,
        )
    names = ("context_length", "vocab_size", "width", "heads", "layers")
    given = {name: text[name] for name in names if name in text}
    return ModelConfig(
        embed_dim=values["embed_dim"], image=image, text=TextTransformerConfig(**given, activation=activation)
    )


def _check_section(section: str, values: Mapping[str, Any], path: str) -> None:
    known = _KNOWN[section]
    for name, value in values.items():
        allowed = known.get(name, (None, False))  # what we do not know may still be switched off
        if allowed is not None and value not in allowed:
            raise InputError(f"{path}: {section} has {name} {value!r}, which the towers here do not do")


def _check_preprocessing(values: Mapping[str, Any], path: str) -> None:
    expected = {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic", "resize_mode": "shortest"}
    for name, value in expected.items():
        found = values.get(name, value)
        if (list(found) if isinstance(found, list | tuple) else found) != value:
            raise InputError(f"{path}: images are prepared with {name} {found}; here it is {value}")
