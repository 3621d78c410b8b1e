"""The command classify: how well each label fits each image.

In: an options record, images. Out: lines on stdout; an exit code.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.api import classify, load
from clip_train.commands.shared_options import CHECKPOINT_HELP, DEVICE_HELP, require
from clip_train.errors import InputError
from clip_train.evaluate.templates import check_templates, fill_template
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Prints how well each label fits each image, given as a file or an http(s) URL."""

    name: ClassVar[str] = "classify"

    checkpoint: str = option("", CHECKPOINT_HELP)
    labels: tuple[str, ...] = option((), "Two labels or more; one text alone is split at its commas.")
    template: str = option("{}", "Prompt with {} for the label.")
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def run_classify(config: ClassifyConfig, images: Sequence[str]) -> int:
    """Prints, for each image, the labels from the likeliest to the least likely."""
    require(config, "checkpoint")
    labels = split_labels(config.labels)
    if not labels:
        raise InputError("--labels must name at least one label")
    check_templates([config.template])
    model, _preprocess = load(config.checkpoint, config.device)
    rows = classify(model, images, [fill_template(config.template, label) for label in labels])
    for image, row in zip(images, rows.tolist(), strict=True):
        print(image)
        for probability, label in sorted(zip(row, labels, strict=True), reverse=True):
            print(f"  {probability:7.2%}  {label}")
    return 0


def split_labels(labels: Sequence[str]) -> list[str]:
    """The labels meant: those given or, where it is one, its parts between commas: alone it would always fit best.

    >>> split_labels(["a cat, asleep", "a dog"]), split_labels(["a cat,a dog"])
    (['a cat, asleep', 'a dog'], ['a cat', 'a dog'])
    """
    parts = labels[0].split(",") if len(labels) == 1 else labels
    return [part.strip() for part in parts if part.strip()]
