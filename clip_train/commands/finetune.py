"""The command finetune: a whole image tower and a head, trained on labelled images.

In: an options record. Out: a folder with the classifier; figures on stdout and, where asked, as JSON; an exit code.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clip_train.commands.shared_options import (
    CHECKPOINT_HELP,
    DEVICE_HELP,
    IMAGES_HELP,
    JSON_HELP,
    TEMPLATES_HELP,
    LabelledOptions,
    load_model,
    require,
    write_figures,
)
from clip_train.config import PRECISION_HELP, Precision
from clip_train.errors import InputError
from clip_train.evaluate.class_scores import score_with_classifier
from clip_train.evaluate.classifier import (
    ImageClassifier,
    LoadedClassifier,
    add_head,
    copy_state,
    interpolate,
    save_classifier,
)
from clip_train.evaluate.finetune import FinetuneOptions, finetune
from clip_train.evaluate.labelled import ClassName, read_labelled
from clip_train.evaluate.metrics import Accuracies, class_accuracies
from clip_train.evaluate.templates import DEFAULT_TEMPLATES, find_templates
from clip_train.evaluate.zero_shot import build_classifier
from clip_train.models.clip import Clip
from clip_train.training.distributed import Ranks, choose_device, join_ranks
from pipeline.base.options import check_options, option

Head = Literal["zero-shot", "zeros"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig(LabelledOptions):
    """Trains a whole image tower and a head on labelled images; interpolates with the model it began from."""

    name: ClassVar[str] = "finetune"

    checkpoint: str = option("", CHECKPOINT_HELP)
    random_weights: bool = option(False, "Begin from random weights: what the model's training was worth.")
    train: str = option("", f"Images to train on: {IMAGES_HELP}")
    test: str = option("", "Images to test on.")
    output: str = option("", "Folder for the classifier.")
    head: Head = option("zero-shot", "What the head begins as: prompts, or zeros.")
    templates: str = option(DEFAULT_TEMPLATES, f"For the head: {TEMPLATES_HELP}")
    epochs: int = option(10, "Passes over the training images.", minimum=1)
    batch_size: int = option(128, "Images in a step, all ranks together.", minimum=1)
    learning_rate: float = option(3e-5, "Peak learning rate.", minimum=0)
    weight_decay: float = option(0.1, "Decoupled decay of matrices and filters.", minimum=0)
    min_crop_share: float = option(0.5, "Least share of a square that a random crop keeps.", minimum=0.01, maximum=1)
    flip: bool = option(True, "Mirror half of the images.")
    wise_ft: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "Shares of the trained weights, the rest from before, that are tested.",
        minimum=0,
        maximum=1,
    )
    save_share: float = option(1.0, "Share of the trained weights in the classifier saved.", minimum=0, maximum=1)
    precision: Precision = option("fp32", PRECISION_HELP)
    seed: int = option(0, "Of order, crops, mirrored images and random weights.", minimum=0)
    workers: int = option(2, "Processes that read and decode, for each rank.", minimum=0)
    json: str = option("", JSON_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def training(self) -> FinetuneOptions:
        """How to train."""
        names = [field.name for field in dataclasses.fields(FinetuneOptions)]
        return FinetuneOptions(**{name: getattr(self, name) for name in names})


def run_finetune(config: FinetuneConfig, _: Sequence[str]) -> int:
    """Trains a classifier, prints its accuracies, saves it."""
    require(config, "checkpoint", "train", "test", "classes", "output")
    classes = config.read_classes()
    images = list(read_labelled(config.train, classes, config.fields))
    with join_ranks(choose_device(config.device)) as ranks:
        if len(images) < config.batch_size or config.batch_size % ranks.world_size:
            raise InputError(
                f"batch-size {config.batch_size} does not fit {len(images)} images and {ranks.world_size} ranks"
            )
        torch.manual_seed(config.seed)
        model = load_model(config.checkpoint, config.device, random_weights=config.random_weights)
        classifier = _begin(config, model, classes)
        before = copy_state(classifier)
        side = model.config.image.image_size
        losses = finetune(classifier, images, config.training, side=side, ranks=ranks)
        after = copy_state(classifier)
        loaded = LoadedClassifier(classifier, model.config, classes)
        accuracies = {
            share: _test(config, loaded, interpolate(before, after, share), ranks) for share in config.wise_ft
        }
        classifier.load_state_dict(interpolate(before, after, config.save_share))
    if ranks.is_first:
        _report(losses, accuracies)
        save_classifier(config.output, classifier, model=model.config, classes=classes)
        figures = {str(share): found._asdict() for share, found in accuracies.items()}
        write_figures(config.json, {"losses": losses, "wise_ft": figures})
    return 0


def _begin(config: FinetuneConfig, model: Clip, classes: Sequence[ClassName]) -> ImageClassifier:
    if config.head == "zeros":
        directions = torch.zeros(len(classes), model.config.embed_dim, device=model.device)
        return add_head(model, directions)
    names, templates = [name.prompt for name in classes], find_templates(config.templates)
    return add_head(model, build_classifier(model, names, templates))


def _test(config: FinetuneConfig, loaded: LoadedClassifier, state: Mapping[str, Tensor], ranks: Ranks) -> Accuracies:
    loaded.classifier.load_state_dict(state)
    score = score_with_classifier(loaded, config.batch_size, ranks)
    return class_accuracies(*score(read_labelled(config.test, loaded.classes, config.fields)))


def _report(losses: Sequence[float], accuracies: Mapping[float, Accuracies]) -> None:
    print(f"{len(losses)} epochs, loss {losses[0]:.4f} to {losses[-1]:.4f}")
    for share, found in accuracies.items():
        print(f"{share:4.0%} of the trained weights  top-1 {found.top1:.2%}  mean per class {found.mean_per_class:.2%}")
