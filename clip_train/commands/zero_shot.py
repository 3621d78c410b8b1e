"""The command evaluate zero-shot: images classified by prompts that name the classes.

In: an options record. Out: figures on stdout and, where asked, as JSON; an exit code. Started by torchrun, the ranks
share the images, and the first one speaks.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.commands.shared_options import (
    IMAGES_HELP,
    TEMPLATES_HELP,
    LabelledOptions,
    ModelOptions,
    print_accuracies,
    require,
    write_figures,
)
from clip_train.evaluate.class_scores import score_with_prompts
from clip_train.evaluate.labelled import read_labelled
from clip_train.evaluate.metrics import class_accuracies
from clip_train.evaluate.templates import DEFAULT_TEMPLATES, find_templates
from clip_train.training.distributed import choose_device, join_ranks
from pipeline.base.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotConfig(LabelledOptions, ModelOptions):
    """Classifies images by prompts that name the classes, and reports how often that is right."""

    name: ClassVar[str] = "evaluate zero-shot"

    images: str = option("", IMAGES_HELP)
    templates: str = option(DEFAULT_TEMPLATES, TEMPLATES_HELP)


def run_zero_shot(config: ZeroShotConfig, _: Sequence[str]) -> int:
    """Prints zero-shot accuracies."""
    require(config, "checkpoint", "images", "classes")
    classes, templates = config.read_classes(), find_templates(config.templates)
    with join_ranks(choose_device(config.device)) as ranks:
        score = score_with_prompts(config.load_model(), classes, templates, config.batch_size, ranks)
        scores, labels = score(read_labelled(config.images, classes, config.fields))
        found = class_accuracies(scores, labels)
    if ranks.is_first:
        print_accuracies(found)
        write_figures(config.json, found._asdict())
    return 0
