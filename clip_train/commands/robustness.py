"""The command evaluate robustness: accuracies on several test sets, each beside that on the first.

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
    require,
    write_figures,
)
from clip_train.errors import InputError
from clip_train.evaluate.class_scores import Scorer, score_with_classifier, score_with_prompts
from clip_train.evaluate.classifier import holds_classifier, load_classifier
from clip_train.evaluate.labelled import ClassName, read_labelled
from clip_train.evaluate.metrics import among_present, class_accuracies
from clip_train.evaluate.robustness import compare_test_sets, read_baselines
from clip_train.evaluate.templates import DEFAULT_TEMPLATES, find_templates
from clip_train.training.distributed import Ranks, choose_device, join_ranks
from pipeline.base.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessConfig(LabelledOptions, ModelOptions):
    """Compares accuracies on several test sets with that on the first: zero-shot, or of a fine-tuned classifier."""

    name: ClassVar[str] = "evaluate robustness"

    images: tuple[str, ...] = option((), f"NAME=PATH, the reference first, repeated. PATH: {IMAGES_HELP}")
    templates: str = option(DEFAULT_TEMPLATES, TEMPLATES_HELP)
    present_only: bool = option(False, "Choose among the classes a set has images of, not among all.")
    baselines: str = option("", "Table of other models, a column of accuracies a NAME: for effective robustness.")


def run_robustness(config: RobustnessConfig, _: Sequence[str]) -> int:
    """Prints accuracies on several test sets, each beside that on the first."""
    require(config, "checkpoint", "images")
    paths = parse_test_sets(config.images)
    baselines = read_baselines(config.baselines, list(paths)) if config.baselines else None
    with join_ranks(choose_device(config.device)) as ranks:
        classes, score = _choose_scorer(config, ranks)
        results = {}
        for name, path in paths.items():
            scores, labels = score(read_labelled(path, classes, config.fields))
            if config.present_only:
                scores, labels = among_present(scores, labels)
            results[name] = class_accuracies(scores, labels)
    rows = compare_test_sets(results, baselines)
    if ranks.is_first:
        width = max(len(name) for name in paths)
        for row in rows:
            beyond = "" if row.effective_robustness is None else f"  effective {row.effective_robustness:+.2%}"
            found = row.accuracies
            print(
                f"{row.name:{width}}  {found.num_images} images  top-1 {found.top1:.2%}  "
                f"mean per class {found.mean_per_class:.2%}  drop {row.drop:+.2%}{beyond}"
            )
        write_figures(config.json, [{**row._asdict(), "accuracies": row.accuracies._asdict()} for row in rows])
    return 0


def parse_test_sets(values: Sequence[str]) -> dict[str, str]:
    """Reads NAME=PATH.

    >>> parse_test_sets(["plain=images", "sketches=drawn"])
    {'plain': 'images', 'sketches': 'drawn'}

    Raises:
        InputError: For a value of another form, or a name that comes twice.
    """
    paths: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path) or name in paths:
            raise InputError(f"images {value!r} must be NAME=PATH, each NAME once")
        paths[name] = path
    return paths


def _choose_scorer(config: RobustnessConfig, ranks: Ranks) -> tuple[list[ClassName], Scorer]:
    if holds_classifier(config.checkpoint):
        loaded = load_classifier(config.checkpoint, config.device)
        return loaded.classes, score_with_classifier(loaded, config.batch_size, ranks)
    require(config, "classes")
    classes, templates = config.read_classes(), find_templates(config.templates)
    return classes, score_with_prompts(config.load_model(), classes, templates, config.batch_size, ranks)
