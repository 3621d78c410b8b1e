"""Heads over a model's image features: a linear layer, or several with a non-linearity between them.

In: a safetensors file with the weights of an `nn.Sequential`, whose layers are told by shape and put in order by the
numbers in their names (``layers.0.weight``, ``layers.2.weight`` …; dropout has no weights). What weights do not tell,
the non-linearity, whether features are normalised, what is done with the output, is set by the user or by the file's
metadata under the same names. Out: a number for each image.

Source: LAION's aesthetic, NSFW and watermark predictors over CLIP features have this form.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import linear

from clip_train.errors import InputError
from clip_train.exchange.weights import read_weights
from clip_train.files import file_digest
from clip_train.models.clip import Clip
from clip_train.use.flags.settings import Settings
from clip_train.use.shard_features import IMAGES, Kind, ShardFeatures

HEAD_KEYS: Final = ("activation", "input", "output", "class")
_SUFFIX: Final = ".safetensors"
_UNIT, _RAW = "unit", "raw"  # features: of length 1, or as the tower gives them
_NONE, _SIGMOID, _SOFTMAX = "none", "sigmoid", "softmax"  # of the output
_ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    _NONE: nn.Identity(),
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "leaky_relu": nn.LeakyReLU(),
}
_EPSILON: Final = 1e-5  # of nn.BatchNorm1d
_BIAS, _MEAN, _VARIANCE = "bias", "running_mean", "running_var"
_COUNTER: Final = "num_batches_tracked"


class Layer(NamedTuple):
    """A linear layer."""

    name: str
    weight: Tensor  # [out, in]
    bias: Tensor  # [out]


class Head(NamedTuple):
    """A head and how it is used."""

    path: str
    layers: Sequence[Layer]
    activation: str  # before every layer but the first
    input: str
    output: str
    place: int  # of the output that is the flag
    identity: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The features it is told by."""
        return (IMAGES,)

    def bind(self, model: Clip) -> Callable[[ShardFeatures], Tensor]:
        """What makes its numbers of features: [samples] float32.

        Raises:
            InputError: When the head is for features of another width.
        """
        first, width = self.layers[0], model.config.embed_dim
        if first.weight.shape[1] != width:
            raise InputError(
                f"{self.path}: {first.name} {list(first.weight.shape)} is for features {first.weight.shape[1]} wide, "
                f"those of the model are {width} wide"
            )
        layers = [Layer(name, weight.to(model.device), bias.to(model.device)) for name, weight, bias in self.layers]

        def score(encoded: ShardFeatures) -> Tensor:
            features = encoded.features[IMAGES].to(model.device)
            if self.input == _RAW:
                features = features * encoded.image_norms.to(model.device)[:, None]
            return self._output(run_layers(layers, features, activation=self.activation)).cpu()

        return score

    def _output(self, values: Tensor) -> Tensor:
        if self.output == _SIGMOID:
            values = values.sigmoid()
        elif self.output == _SOFTMAX:
            values = values.softmax(dim=1)
        return values[:, self.place]


def run_layers(layers: Sequence[Layer], features: Tensor, *, activation: str) -> Tensor:
    """What a head makes of features, ``[samples, outputs]``.

    Args:
        layers: Of the head.
        features: ``[samples, dim]`` float32.
        activation: What stands before every layer but the first.
    """
    values = features
    for place, layer in enumerate(layers):
        values = linear(_ACTIVATIONS[activation](values) if place else values, layer.weight, layer.bias)
    return values


def read_head(settings: Settings) -> Head:
    """Reads a head.

    Args:
        settings: Its file, and what was set of `HEAD_KEYS`; it goes before the file's metadata.

    Raises:
        InputError: When the file is no head, or something must be set that is not.
    """
    path = settings.value
    if not path.endswith(_SUFFIX):
        raise InputError(f"{path or 'no file'}: a head is a {_SUFFIX} file")
    layers = find_layers(read_weights(path).tensors, where=path)
    told = {key: word for key, word in _read_metadata(path).items() if key in HEAD_KEYS}
    known = Settings(path, {**told, **settings.given})
    if len(layers) > 1 and "activation" not in known.given:
        raise InputError(
            f"{path}: {len(layers)} layers, and what stands between them is not in the file: set "
            f"activation={'|'.join(_ACTIVATIONS)}"
        )
    num_outputs = layers[-1].weight.shape[0]
    if num_outputs > 1 and "class" not in known.given:
        raise InputError(f"{path}: {num_outputs} outputs: set which is meant, class=0 to class={num_outputs - 1}")
    try:
        used: dict[str, Any] = {
            "activation": known.choice("activation", tuple(_ACTIVATIONS), _NONE),
            "input": known.choice("input", (_UNIT, _RAW), _UNIT),
            "output": known.choice("output", (_NONE, _SIGMOID, _SOFTMAX), _NONE),
            "place": int(known.number("class", 0, minimum=0, maximum=num_outputs - 1)),
        }
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if used["output"] == _SOFTMAX and num_outputs == 1:
        raise InputError(f"{path}: output={_SOFTMAX} of one output is always 1")
    return Head(path, layers, identity={"weights": file_digest(path), **used}, **used)


def find_layers(tensors: Mapping[str, Tensor], *, where: str) -> list[Layer]:
    """The linear layers among some weights, in order; statistics before the first (nn.BatchNorm1d) become part of it.

    Args:
        tensors: By name.
        where: What errors name.

    Raises:
        InputError: When there is something else, or the layers do not fit together.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        groups.setdefault(layer, {})[leaf] = tensor.float()
    names = sorted(groups, key=_natural)
    statistics = groups.pop(names[0]) if names and _MEAN in groups[names[0]] else None
    layers = [_linear_layer(name, groups[name], where) for name in names if name in groups]
    if not layers:
        raise InputError(f"{where}: no linear layer among {', '.join(tensors) or 'no weights'}")
    for before, after in pairwise(layers):
        if after.weight.shape[1] != before.weight.shape[0]:
            raise InputError(
                f"{where}: {after.name} {list(after.weight.shape)} does not fit behind "
                f"{before.name} {list(before.weight.shape)}"
            )
    if statistics:
        layers[0] = _normalised(layers[0], statistics, where=f"{where}: {names[0] or 'statistics'}")
    return layers


def _linear_layer(name: str, tensors: Mapping[str, Tensor], where: str) -> Layer:
    full = f"{name}.weight" if name else "weight"
    weight, others = tensors.get("weight"), sorted(tensors.keys() - {"weight", _BIAS})
    if weight is None or weight.dim() != 2 or others:
        shapes = ", ".join(f"{leaf} {list(tensor.shape)}" for leaf, tensor in tensors.items())
        raise InputError(f"{where}: {name or 'the top'} ({shapes}) is no linear layer")
    bias = tensors.get(_BIAS, weight.new_zeros(weight.shape[0]))
    if bias.shape != weight.shape[:1]:
        raise InputError(f"{where}: {full} {list(weight.shape)} has a bias {list(bias.shape)}")
    return Layer(full, weight, bias)


def _normalised(layer: Layer, statistics: Mapping[str, Tensor], *, where: str) -> Layer:
    """A linear layer that first does to features what batch normalisation with these statistics does."""
    width = layer.weight.shape[1:]
    known = {"weight", _BIAS, _MEAN, _VARIANCE, _COUNTER}
    wrong = [
        name for name, tensor in statistics.items() if name not in known or (name != _COUNTER and tensor.shape != width)
    ]
    if wrong or _VARIANCE not in statistics:
        raise InputError(f"{where}: no statistics of {width[0]} features ({', '.join(wrong or statistics)})")
    scale = statistics.get("weight", torch.ones(width)) / (statistics[_VARIANCE] + _EPSILON).sqrt()
    shift = statistics.get(_BIAS, torch.zeros(width)) - statistics[_MEAN] * scale
    return Layer(layer.name, layer.weight * scale, layer.bias + layer.weight @ shift)


def _read_metadata(path: str) -> Mapping[str, str]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: {error}") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which numbers in names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
