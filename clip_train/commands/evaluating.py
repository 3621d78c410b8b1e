"""The commands evaluate zero-shot, retrieval, linear-probe and robustness.

In: an options record. Out: figures on stdout and, where asked, as JSON; an exit code. Started by torchrun, the ranks
share the images, and the first one speaks.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.commands.shared import CHECKPOINT_HELP, DEVICE_HELP, JSON_HELP, load_model, require, write_json
from clip_train.config import InputError
from clip_train.distributed import Ranks, choose_device, join_ranks
from clip_train.evaluate.captioned import read_captioned
from clip_train.evaluate.classifier import holds_classifier, load_classifier
from clip_train.evaluate.labelled import ClassName, LabelFields, parse_classes, read_labelled
from clip_train.evaluate.linear_probe import fit_probe, search_l2
from clip_train.evaluate.metrics import Accuracies, among_present, class_accuracies
from clip_train.evaluate.retrieval import RECALL_AT, evaluate_retrieval
from clip_train.evaluate.robustness import compare_test_sets, read_baselines
from clip_train.evaluate.scoring import Scorer, score_with_classifier, score_with_prompts
from clip_train.evaluate.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS, find_templates
from clip_train.evaluate.zero_shot import encode_labelled
from clip_train.features import encode_images, pool_images
from clip_train.models.clip import Clip
from clip_train.tokenizer import read_texts
from pipeline.base.options import check_options, option

IMAGES_HELP = "FOLDER/CLASS/images, tars (class in the JSON, a .cls member or the folder), or a table."
CLASSES_HELP = "Text file, one class a line: NAME, or LABEL<tab>NAME FOR PROMPTS."
TEMPLATES_HELP = f"Set of prompts ({', '.join(TEMPLATE_SETS)}), or a text file, one a line with {{}} for the class."


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ModelOptions:
    """What every evaluation asks for."""

    checkpoint: str = option("", CHECKPOINT_HELP)
    random_weights: bool = option(False, "Give the model fresh random weights: what its training was worth.")
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    json: str = option("", JSON_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """Where classes stand in the data."""

    classes: str = option("", CLASSES_HELP)
    class_field: str = option("class", "Key of the class in the JSON of a shard's sample, or column of a table.")
    image_column: str = option("image", "Column of a table with the path, or the bytes, of the image.")

    def read_classes(self) -> list[ClassName]:
        """The classes of the file."""
        return parse_classes(read_texts(self.classes))

    @property
    def fields(self) -> LabelFields:
        """Where the label stands."""
        return LabelFields(self.class_field, self.image_column, self.class_field)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotConfig(LabelledOptions, _ModelOptions):
    """Classifies images by prompts that name the classes, and reports how often that is right."""

    name: ClassVar[str] = "evaluate zero-shot"

    images: str = option("", IMAGES_HELP)
    templates: str = option(DEFAULT_TEMPLATES, TEMPLATES_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalConfig(_ModelOptions):
    """Searches images by their captions and captions by their images, and reports recall at 1, 5 and 10."""

    name: ClassVar[str] = "evaluate retrieval"

    data: str = option("", "Shards, or a .csv, .tsv or .parquet table of image paths (relative to it) and captions.")
    image_column: str = option("image", "Column of a table that holds the path of the image.")
    caption_column: str = option("caption", "Column of a table that holds the caption, or a list of captions.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeConfig(LabelledOptions, _ModelOptions):
    """Fits a linear classifier on frozen image features, and reports how often it is right on test images."""

    name: ClassVar[str] = "evaluate linear-probe"

    train: str = option("", f"Images to fit on: {IMAGES_HELP}")
    test: str = option("", "Images to test on.")
    features: str = option("pooled", "What is read: before the shared space, or in it.", choices=("pooled", "shared"))
    l2: float | None = option(None, "L2 strength, 1 / C [searched on a fifth of the training images].", minimum=1e-12)
    seed: int = option(0, "Of the images held out in the search.", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessConfig(LabelledOptions, _ModelOptions):
    """Compares accuracies on several test sets with that on the first: zero-shot, or of a fine-tuned classifier."""

    name: ClassVar[str] = "evaluate robustness"

    images: tuple[str, ...] = option((), f"NAME=PATH, the reference first, repeated. PATH: {IMAGES_HELP}")
    templates: str = option(DEFAULT_TEMPLATES, TEMPLATES_HELP)
    present_only: bool = option(False, "Choose among the classes a set has images of, not among all.")
    baselines: str = option("", "Table of other models, a column of accuracies a NAME: for effective robustness.")


def run_zero_shot(config: ZeroShotConfig, _: Sequence[str]) -> int:
    """Prints zero-shot accuracies."""
    require(config, "checkpoint", "images", "classes")
    classes, templates = config.read_classes(), find_templates(config.templates)
    with join_ranks(choose_device(config.device)) as ranks:
        score = score_with_prompts(_load_model(config), classes, templates, config.batch_size, ranks)
        scores, labels = score(read_labelled(config.images, classes, config.fields))
        found = class_accuracies(scores, labels)
    if ranks.is_first:
        print_accuracies(found)
        write_json(config.json, found._asdict())
    return 0


def run_retrieval(config: RetrievalConfig, _: Sequence[str]) -> int:
    """Prints recalls in both directions."""
    require(config, "checkpoint", "data")
    captioned = read_captioned(config.data, config.image_column, config.caption_column)
    with join_ranks(choose_device(config.device)) as ranks:
        found = evaluate_retrieval(_load_model(config), captioned, batch_size=config.batch_size, ranks=ranks)
    if ranks.is_first:
        print(f"{found.num_images} images, {found.num_texts} texts")
        for direction, recalls in (("image to text", found.image_to_text), ("text to image", found.text_to_image)):
            figures = (f"recall@{k} {recall:.2%}" for k, recall in zip(RECALL_AT, recalls, strict=True))
            print(direction, *figures, sep="  ")
        write_json(config.json, found._asdict())
    return 0


def run_linear_probe(config: LinearProbeConfig, _: Sequence[str]) -> int:
    """Prints the accuracies of a linear probe."""
    require(config, "checkpoint", "train", "test", "classes")
    classes = config.read_classes()
    if len(classes) < 2:
        raise InputError(f"{config.classes}: a linear probe needs two classes")
    encode = pool_images if config.features == "pooled" else encode_images
    with join_ranks(choose_device(config.device)) as ranks:
        model = _load_model(config)
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
        write_json(config.json, {**found._asdict(), "l2": l2, "num_training_images": len(train.labels)})
    return 0


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
        write_json(config.json, [{**row._asdict(), "accuracies": row.accuracies._asdict()} for row in rows])
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


def print_accuracies(found: Accuracies) -> None:
    """Prints two lines."""
    print(f"{found.num_images} images, {found.num_classes} classes, chance {found.chance:.2%}")
    print(f"top-1 {found.top1:.2%}  top-5 {found.top5:.2%}  mean per class {found.mean_per_class:.2%}")


def _load_model(config: _ModelOptions) -> Clip:
    return load_model(config.checkpoint, config.device, random_weights=config.random_weights)


def _choose_scorer(config: RobustnessConfig, ranks: Ranks) -> tuple[list[ClassName], Scorer]:
    if holds_classifier(config.checkpoint):
        loaded = load_classifier(config.checkpoint, config.device)
        return loaded.classes, score_with_classifier(loaded, config.batch_size, ranks)
    require(config, "classes")
    classes, templates = config.read_classes(), find_templates(config.templates)
    return classes, score_with_prompts(_load_model(config), classes, templates, config.batch_size, ranks)
