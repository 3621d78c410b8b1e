"""An image tower with a linear head: what fine-tuning trains, as files.

In: a CLIP model and its classes. Out: `ImageClassifier`; a folder with ``classifier.json`` (model, classes) and
``classifier.safetensors``.

Source: Radford et al. 2021, section 3.2 (fine-tuning); Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"
(the head that starts as the zero-shot classifier, and the interpolation of weights).
"""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import normalize

from clip_train.config import ModelConfig, model_from_dict, model_to_dict
from clip_train.errors import InputError
from clip_train.evaluate.labelled import ClassName
from clip_train.files import check_format, make_folder, written_file
from clip_train.models.clip import Clip
from clip_train.training.distributed import choose_device

CONFIG_NAME, WEIGHTS_NAME = "classifier.json", "classifier.safetensors"
_FORMAT = 1


class LoadedClassifier(NamedTuple):
    """A classifier and what its outputs mean."""

    classifier: "ImageClassifier"
    model: ModelConfig
    classes: list[ClassName]


class ImageClassifier(nn.Module):
    """Unit image features times one direction a class, as scaled as the model's own logits, plus a bias."""

    scale: Tensor

    def __init__(self, visual: nn.Module, directions: Tensor, *, scale: float = 100.0) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("scale", torch.tensor(scale))
        self.weight = nn.Parameter(directions.detach().clone().float())  # [classes, embed_dim]
        self.bias = nn.Parameter(self.weight.new_zeros(len(directions)))  # [classes]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images, ``[batch, classes]`` float32."""
        features = normalize(self.visual(images).float(), dim=-1)
        return self.scale * features @ self.weight.T + self.bias


def add_head(model: Clip, directions: Tensor) -> ImageClassifier:
    """A model's image tower with a head; from the unit directions of prompts it is the zero-shot classifier."""
    return ImageClassifier(model.visual, directions, scale=float(model.logit_scale.detach().exp())).to(model.device)


def interpolate(before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Weights on the line between two states: 0 is the first, 1 the second (WiSE-FT); counters are the second's."""
    return {
        name: torch.lerp(before[name], value, alpha) if value.is_floating_point() else value
        for name, value in after.items()
    }


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights as they are now."""
    return copy.deepcopy(module.state_dict())


def save_classifier(
    folder: str, classifier: ImageClassifier, *, model: ModelConfig, classes: Sequence[ClassName]
) -> None:
    """Writes a classifier; its configuration comes last, so that a folder with one is whole."""
    make_folder(folder)
    values = {"format": _FORMAT, "model": model_to_dict(model), "classes": [list(name) for name in classes]}
    with written_file(os.path.join(folder, WEIGHTS_NAME)) as aside:
        safetensors.torch.save_file(classifier.state_dict(), aside)
    with written_file(os.path.join(folder, CONFIG_NAME)) as aside, open(aside, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)


def holds_classifier(path: str) -> bool:
    """Whether a folder is one that `save_classifier` wrote."""
    return os.path.isfile(os.path.join(path, CONFIG_NAME))


def load_classifier(folder: str, device: str = "auto") -> LoadedClassifier:
    """Reads a classifier.

    Raises:
        InputError: When the folder holds none, or a broken one.
    """
    path = os.path.join(folder, CONFIG_NAME)
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        check_format(values, _FORMAT, where=path)
        model = model_from_dict(values["model"])
        classes = [ClassName(*name) for name in values["classes"]]
        weights = safetensors.torch.load_file(os.path.join(folder, WEIGHTS_NAME))
        visual = Clip(model).visual
        classifier = ImageClassifier(visual, torch.zeros(len(classes), model.embed_dim))
        classifier.load_state_dict(weights)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a whole classifier ({str(error).splitlines()[0]})") from error
    return LoadedClassifier(classifier.to(choose_device(device)).eval(), model, classes)
