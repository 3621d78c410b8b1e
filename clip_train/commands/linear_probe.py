"""The command evaluate linear-probe: a linear classifier on frozen image features.

In: an options record. Out: figures on stdout and, where asked, as JSON; an exit code. Started by torchrun, the ranks
share the images, and the first one speaks.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

from clip_train.commands.shared_options import (
    IMAGES_HELP,
    LabelledOptions,
    ModelOptions,
    print_accuracies,
    require,
    write_figures,
)
from clip_train.errors import InputError
from clip_train.evaluate.labelled import read_labelled
from clip_train.evaluate.linear_probe import fit_probe, search_l2
from clip_train.evaluate.metrics import class_accuracies
from clip_train.evaluate.zero_shot import encode_labelled
from clip_train.training.distributed import choose_device, join_ranks
from clip_train.use.features import encode_images, pool_images
from pipeline.base.options import option

ProbedFeatures = Literal["pooled", "shared"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeConfig(LabelledOptions, ModelOptions):
    """Fits a linear classifier on frozen image features, and reports how often it is right on test images."""

    name: ClassVar[str] = "evaluate linear-probe"

    train: str = option("", f"Images to fit on: {IMAGES_HELP}")
    test: str = option("", "Images to test on.")
    features: ProbedFeatures = option("pooled", "What is read: before the shared space, or in it.")
    l2: float | None = option(None, "L2 strength, 1 / C [searched on a fifth of the training images].", minimum=1e-12)
    seed: int = option(0, "Of the images held out in the search.", minimum=0)


def run_linear_probe(config: LinearProbeConfig, _: Sequence[str]) -> int:
    """Prints the accuracies of a linear probe."""
    require(config, "checkpoint", "train", "test", "classes")
    classes = config.read_classes()
    if len(classes) < 2:
        raise InputError(f"{config.classes}: a linear probe needs two classes")
    encode = pool_images if config.features == "pooled" else encode_images
    with join_ranks(choose_device(config.device)) as ranks:
        model = config.load_model()
        train, test = (
            encode_labelled(
                model,
                read_labelled(path, classes, config.fields),
                batch_size=config.batch_size,
                ranks=ranks,
                encode=encode,
            )
            for path in (config.train, config.test)
        )
    if ranks.is_first:  # the others have no part in fitting
        l2 = config.l2 or search_l2(*train, num_classes=len(classes), seed=config.seed).l2
        probe = fit_probe(*train, num_classes=len(classes), l2=l2)
        found = class_accuracies(probe.scores(test.features), test.labels)
        print(f"fitted on {len(train.labels)} images, L2 strength {l2:.3g} (C = {1 / l2:.3g})")
        print_accuracies(found)
        write_figures(config.json, {**found._asdict(), "l2": l2, "num_training_images": len(train.labels)})
    return 0
