"""Folders of transformers' ``CLIPModel``, processor included.

In: a folder with ``config.json``, weights and tokenizer files, or a model. Out: a model, or such a folder, which
``CLIPModel.from_pretrained`` and ``CLIPProcessor.from_pretrained`` read. Only two transformers can be told there:
CLIPModel has no ResNet, no bag of words, no other encoder.

Source: transformers 5.23, modeling_clip.py and configuration_clip.py.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from clip_train.config import ACTIVATIONS, ModelConfig, TextTransformerConfig, VisionTransformerConfig
from clip_train.data.decode import MEAN, STD
from clip_train.errors import InputError
from clip_train.exchange.clip_tokenizer import read_tokenizer_files, write_tokenizer_files
from clip_train.exchange.weights import read_weights
from clip_train.files import read_json, read_section, write_json, written_anew
from clip_train.models.clip import Clip
from clip_train.tokenizers.bpe import ClipTokenizer
from clip_train.training.checkpoint import fill_weights

CONFIG_NAME, PREPROCESSOR_NAME = "config.json", "preprocessor_config.json"
PROCESSOR_NAME = "processor_config.json"  # where transformers 5 writes the same, beside other things
MODEL_TYPE = "clip"
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")

_EPSILON = 1e-5  # of every LayerNorm here


class Renamed(NamedTuple):
    """One of our tensors and what it is called over there."""

    ours: str
    theirs: str
    is_transposed: bool = False
    part: int | None = None  # 0, 1, 2: queries, keys, values, which are one tensor here


def write_hugging_face(model: Clip, output: str) -> None:
    """Writes a folder.

    Raises:
        InputError: When CLIPModel has no such towers.
    """
    config = config_to_hugging_face(model.config)
    ours = model.state_dict()
    theirs: dict[str, Tensor] = {}
    for entry in _renamed(*_towers(model.config)):
        tensor = ours[entry.ours]
        if entry.part is not None:
            tensor = tensor.chunk(3)[entry.part]
        theirs[entry.theirs] = (tensor.T if entry.is_transposed else tensor).contiguous().clone()
    with written_anew(output, folder=True) as folder:
        write_json(os.path.join(folder, CONFIG_NAME), config)
        write_json(os.path.join(folder, PREPROCESSOR_NAME), _preprocessor(model.config.image.image_size))
        safetensors.torch.save_file(theirs, os.path.join(folder, WEIGHTS_NAMES[0]), metadata={"format": "pt"})
        if isinstance(model.tokenizer, ClipTokenizer):
            write_tokenizer_files(model.tokenizer, folder, context_length=model.config.text.context_length)


def read_hugging_face(folder: str) -> Clip:
    """A model from a folder.

    Raises:
        InputError: When it is no CLIPModel, or one that does what the towers here do not.
    """
    config = read_config(folder)
    found = [path for name in WEIGHTS_NAMES if os.path.isfile(path := os.path.join(folder, name))]
    if not found:
        raise InputError(f"{folder}: no {' and no '.join(WEIGHTS_NAMES)}")
    theirs = read_weights(found[0]).tensors
    ours: dict[str, Tensor] = {}
    used = set()
    for entry in _renamed(*_towers(config)):
        if entry.theirs in theirs:
            used.add(entry.theirs)
            tensor = theirs[entry.theirs]
            tensor = tensor.T if entry.is_transposed else tensor
            ours[entry.ours] = torch.cat([ours[entry.ours], tensor]) if entry.part else tensor
    unknown = {name: tensor for name, tensor in theirs.items() if name not in used}
    unknown = {name: tensor for name, tensor in unknown.items() if not name.endswith("position_ids")}
    model = Clip(config, read_tokenizer_files(folder))
    fill_weights(model, {**ours, **unknown}, where=found[0])
    return model


def config_to_hugging_face(config: ModelConfig) -> dict[str, Any]:
    """A model's configuration in transformers' words.

    Raises:
        InputError: When CLIPModel has no such towers.
    """
    image, text = _towers(config)
    end_id = text.vocab_size - 1
    return {
        "architectures": ["CLIPModel"],
        "model_type": MODEL_TYPE,
        "projection_dim": config.embed_dim,
        "dtype": "float32",
        "text_config": {
            **_tower_values(text, config.embed_dim),
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            "bos_token_id": end_id - 1,
            "eos_token_id": end_id,
            "pad_token_id": text.pad_id,
        },
        "vision_config": {
            **_tower_values(image, config.embed_dim),
            "model_type": "clip_vision_model",
            "image_size": image.image_size,
            "patch_size": image.patch_size,
        },
    }


def read_config(folder: str) -> ModelConfig:
    """The configuration of a CLIPModel's folder.

    Raises:
        InputError: When it is another model, or does what the towers here do not.
    """
    path = os.path.join(folder, CONFIG_NAME)
    values = read_json(path)
    if values.get("model_type") != MODEL_TYPE:
        raise InputError(f"{path}: a model of type {values.get('model_type')!r}, not {MODEL_TYPE!r}")
    text, vision = (read_section(values, name, where=path) for name in ("text_config", "vision_config"))
    try:
        config = ModelConfig(
            embed_dim=values.get("projection_dim", 512),
            image=VisionTransformerConfig(
                image_size=vision.get("image_size", 224),
                patch_size=vision.get("patch_size", 32),
                **_read_tower(vision, width=768, heads=12),
            ),
            text=TextTransformerConfig(
                context_length=text.get("max_position_embeddings", 77),
                vocab_size=text.get("vocab_size", 49_408),
                **_read_tower(text, width=512, heads=8),
            ),
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    _check_preprocessing(folder, config.image.image_size)
    return config


def _towers(config: ModelConfig) -> tuple[VisionTransformerConfig, TextTransformerConfig]:
    image, text = config.image, config.text
    if not isinstance(image, VisionTransformerConfig) or not isinstance(text, TextTransformerConfig):
        raise InputError(
            f"CLIPModel of transformers has a vision-transformer and a text-transformer, not {image.kind} and "
            f"{text.kind}; the formats open-clip and openai also have ResNets"
        )
    return image, text


def _tower_values(tower: VisionTransformerConfig | TextTransformerConfig, embed_dim: int) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": 4 * tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": tower.activation,
        "layer_norm_eps": _EPSILON,
        "projection_dim": embed_dim,
    }


def _read_tower(values: Mapping[str, Any], *, width: int, heads: int) -> dict[str, Any]:
    width = values.get("hidden_size", width)
    activation = values.get("hidden_act", "quick_gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"hidden_act {activation!r} is not one of {', '.join(ACTIVATIONS)}")
    if values.get("intermediate_size", 4 * width) != 4 * width:
        raise ValueError(f"intermediate_size {values['intermediate_size']} is not four times the width {width}")
    if values.get("layer_norm_eps", _EPSILON) != _EPSILON:
        raise ValueError(f"layer_norm_eps {values['layer_norm_eps']} is not {_EPSILON}")
    return {
        "width": width,
        "layers": values.get("num_hidden_layers", 12),
        "heads": values.get("num_attention_heads", heads),
        "activation": activation,
    }


def _preprocessor(side: int) -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,  # Pillow's bicubic
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def _check_preprocessing(folder: str, side: int) -> None:
    paths = [os.path.join(folder, name) for name in (PREPROCESSOR_NAME, PROCESSOR_NAME)]
    found_paths = [path for path in paths if os.path.isfile(path)]
    if not found_paths:
        return
    path = found_paths[0]
    values = read_json(path)
    values = read_section(values, "image_processor", where=path) or values
    size, crop = values.get("size", side), values.get("crop_size", side)
    found = {
        "size": size.get("shortest_edge") if isinstance(size, dict) else size,
        "crop_size": crop.get("height") if isinstance(crop, dict) else crop,
        "image_mean": values.get("image_mean", list(MEAN)),
        "image_std": values.get("image_std", list(STD)),
        "resample": values.get("resample", 3),
    }
    expected = {"size": side, "crop_size": side, "image_mean": list(MEAN), "image_std": list(STD), "resample": 3}
    for name, value in expected.items():
        if found[name] != value:
            raise InputError(f"{path}: images are prepared with {name} {found[name]}; here it is {value}")


def _renamed(image: VisionTransformerConfig, text: TextTransformerConfig) -> Iterator[Renamed]:
    yield Renamed("logit_scale", "logit_scale")
    yield Renamed("visual.class_embedding", "vision_model.embeddings.class_embedding")
    yield Renamed("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight")
    yield Renamed("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight")
    yield Renamed("visual.proj", "visual_projection.weight", is_transposed=True)
    yield Renamed("text.token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    yield Renamed("text.positional_embedding", "text_model.embeddings.position_embedding.weight")
    yield Renamed("text.text_projection", "text_projection.weight", is_transposed=True)
    for ours, theirs in (
        ("visual.ln_pre", "vision_model.pre_layrnorm"),  # spelled so over there
        ("visual.ln_post", "vision_model.post_layernorm"),
        ("text.ln_final", "text_model.final_layer_norm"),
    ):
        yield from _renamed_layer(ours, theirs)
    for tower, model, layers in (("visual", "vision_model", image.layers), ("text", "text_model", text.layers)):
        for layer in range(layers):
            yield from _renamed_block(f"{tower}.transformer.resblocks.{layer}", f"{model}.encoder.layers.{layer}")


def _renamed_block(ours: str, theirs: str) -> Iterator[Renamed]:
    for our_layer, their_layer in (
        ("ln_1", "layer_norm1"),
        ("attn.out_proj", "self_attn.out_proj"),
        ("ln_2", "layer_norm2"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ):
        yield from _renamed_layer(f"{ours}.{our_layer}", f"{theirs}.{their_layer}")
    for part, letter in enumerate("qkv"):
        for kind in ("weight", "bias"):
            yield Renamed(f"{ours}.attn.in_proj_{kind}", f"{theirs}.self_attn.{letter}_proj.{kind}", part=part)


def _renamed_layer(ours: str, theirs: str) -> Iterator[Renamed]:
    for kind in ("weight", "bias"):
        yield Renamed(f"{ours}.{kind}", f"{theirs}.{kind}")
