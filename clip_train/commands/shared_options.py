"""What commands share: options, the model that they name, accuracies on stdout, figures as JSON."""

import dataclasses
from typing import Any

import torch

from clip_train.api import load
from clip_train.config import InferencePrecision
from clip_train.errors import InputError
from clip_train.evaluate.labelled import ClassName, LabelFields, parse_classes
from clip_train.evaluate.metrics import Accuracies
from clip_train.evaluate.templates import TEMPLATE_SETS
from clip_train.files import read_lines, write_json
from clip_train.models.clip import Clip
from pipeline.base.options import check_options, option

CHECKPOINT_HELP = "A checkpoint, or the folder of a run (then its newest one)."
DEVICE_HELP = "cpu, cuda, cuda:1…; auto takes a GPU when there is one."
JSON_HELP = "File for the figures as JSON."
PRECISION_HELP = "Of matrix products and convolutions: auto is bf16 on GPUs and fp32 (IEEE, no TF32) on CPUs."
IMAGES_HELP = "FOLDER/CLASS/images, tars (class in the JSON, a .cls member or the folder), or a table."
CLASSES_HELP = "Text file, one class a line: NAME, or LABEL<tab>NAME FOR PROMPTS."
TEMPLATES_HELP = f"Set of prompts ({', '.join(TEMPLATE_SETS)}), or a text file, one a line with {{}} for the class."


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What every evaluation asks for."""

    checkpoint: str = option("", CHECKPOINT_HELP)
    random_weights: bool = option(False, "Give the model fresh random weights: what its training was worth.")
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    precision: InferencePrecision = option("auto", PRECISION_HELP)
    json: str = option("", JSON_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)

    def load_model(self) -> Clip:
        """The model to evaluate."""
        return load_model(self.checkpoint, self.device, random_weights=self.random_weights, precision=self.precision)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """Where classes stand in the data."""

    classes: str = option("", CLASSES_HELP)
    class_field: str = option("class", "Key of the class in the JSON of a shard's sample, or column of a table.")
    image_column: str = option("image", "Column of a table with the path, or the bytes, of the image.")

    def read_classes(self) -> list[ClassName]:
        """The classes of the file."""
        return parse_classes(read_lines(self.classes))

    @property
    def fields(self) -> LabelFields:
        """Where the label stands."""
        return LabelFields(self.class_field, self.image_column, self.class_field)


def require(config: Any, *names: str) -> None:
    """Raises InputError for the first of some options that is empty."""
    for name in names:
        if not getattr(config, name):
            raise InputError(f"--{name.replace('_', '-')} must be given")


def write_figures(path: str, values: Any) -> None:
    """Writes figures, where a file is asked for."""
    if path:
        write_json(path, values, ensure_ascii=True)


def print_accuracies(found: Accuracies) -> None:
    """Prints two lines."""
    print(f"{found.num_images} images, {found.num_classes} classes, chance {found.chance:.2%}")
    print(f"top-1 {found.top1:.2%}  top-5 {found.top5:.2%}  mean per class {found.mean_per_class:.2%}")


def load_model(
    checkpoint: str, device: str, *, random_weights: bool = False, precision: InferencePrecision = "auto"
) -> Clip:
    """The model of a checkpoint, or one like it with weights that no training has changed.

    Raises:
        InputError: When there is no such checkpoint or it is broken.
    """
    model, _preprocess = load(checkpoint, device, precision=precision)
    if not random_weights:
        return model
    torch.manual_seed(0)
    fresh = Clip(model.config, model.tokenizer).to(model.device).eval()
    fresh.precision = precision
    return fresh
