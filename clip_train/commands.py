"""What each command does with its options; `__main__` only parses.

In: an options record. Out: lines on stdout, files where asked, an exit code.
"""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from clip_train.api import classify, load
from clip_train.config import InputError, TrainConfig
from clip_train.data.shards import ShardReader, list_shards
from clip_train.evaluate.retrieval import RECALL_AT, evaluate_retrieval
from clip_train.evaluate.sources import holds_shards, parse_classes, read_captioned, read_labelled
from clip_train.evaluate.zero_shot import (
    DEFAULT_TEMPLATES,
    check_templates,
    evaluate_zero_shot,
    fill_template,
)
from clip_train.tokenizer import read_texts, train_tokenizer
from clip_train.train import train
from pipeline.options import check_options, option

_CHECKPOINT_HELP = "A checkpoint, or the folder of a run (then its newest one)."
_DEVICE_HELP = "cpu, cuda, cuda:1…; auto takes a GPU when there is one."


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Classifies images by prompts that name the classes, and reports how often that is right."""

    name: ClassVar[str] = "evaluate zero-shot"

    checkpoint: str = option("", _CHECKPOINT_HELP)
    images: str = option("", "Folder of class folders, or shards whose JSON holds the class.")
    classes: str = option("", "Text file, one class a line: NAME, or LABEL<tab>NAME FOR PROMPTS.")
    templates: str = option(
        "", f"Text file, one prompt a line with {{}} for the class; {DEFAULT_TEMPLATES[0]!r} without."
    )
    class_field: str = option("class", "Key of the class in the JSON of a shard's sample.")
    batch_size: int = option(256, "Images encoded at once.", minimum=1)
    json: str = option("", "File for the figures as JSON.")
    device: str = option("auto", _DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Searches images by their captions and captions by their images, and reports recall at 1, 5 and 10."""

    name: ClassVar[str] = "evaluate retrieval"

    checkpoint: str = option("", _CHECKPOINT_HELP)
    data: str = option("", "Shards, or a .csv, .tsv or .parquet table of image paths (relative to it) and captions.")
    image_column: str = option("image", "Column of a table that holds the path of the image.")
    caption_column: str = option("caption", "Column of a table that holds the caption, or a list of captions.")
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    json: str = option("", "File for the figures as JSON.")
    device: str = option("auto", _DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Trains a tokenizer on the texts of shards or of text files."""

    name: ClassVar[str] = "tokenizer"

    train: tuple[str, ...] = option((), "Shards, or UTF-8 text files with one text a line.")
    output: str = option("", "File for the merges.")
    vocab_size: int = option(49_408, "Most token ids: bytes, merges, start and end.", minimum=515)
    max_texts: int = option(1_000_000, "Texts read from each path, first to last.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Prints how well each label fits each image."""

    name: ClassVar[str] = "classify"

    checkpoint: str = option("", _CHECKPOINT_HELP)
    labels: tuple[str, ...] = option((), "Labels, separated by commas.")
    template: str = option("{}", "Prompt with {} for the label.")
    device: str = option("auto", _DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def run_train(config: TrainConfig, _: Sequence[str]) -> int:
    """Trains; 128 + the signal's number when one ended the run early, as a shell would report it."""
    _require(config, "shards", "output")
    summary = train(config)
    loss = "nothing left to do" if math.isnan(summary.loss) else f"loss {summary.loss:.4f}"
    if summary.checkpoint:  # only the first rank has one to speak of
        print(f"step {summary.step} of {summary.total_steps}, {loss}, checkpoint {summary.checkpoint}")
    if not summary.signal:
        return 0
    print("stopped by a signal; go on with --resume", file=sys.stderr)
    return 128 + summary.signal


def run_zero_shot(config: ZeroShotConfig, _: Sequence[str]) -> int:
    """Prints zero-shot accuracies."""
    _require(config, "checkpoint", "images", "classes")
    classes = parse_classes(read_texts(config.classes))
    templates = read_texts(config.templates) if config.templates else list(DEFAULT_TEMPLATES)
    model, _preprocess = load(config.checkpoint, config.device)
    found = evaluate_zero_shot(
        model,
        read_labelled(config.images, classes, config.class_field),
        names=[name.prompt for name in classes],
        templates=templates,
        batch_size=config.batch_size,
    )
    print(f"{found.num_images} images, {found.num_classes} classes, chance {found.chance:.2%}")
    print(f"top-1 {found.top1:.2%}  top-5 {found.top5:.2%}  mean per class {found.mean_per_class:.2%}")
    _write_json(config.json, found._asdict())
    return 0


def run_retrieval(config: RetrievalConfig, _: Sequence[str]) -> int:
    """Prints recalls in both directions."""
    _require(config, "checkpoint", "data")
    model, _preprocess = load(config.checkpoint, config.device)
    captioned = read_captioned(config.data, config.image_column, config.caption_column)
    found = evaluate_retrieval(model, captioned, batch_size=config.batch_size)
    print(f"{found.num_images} images, {found.num_texts} texts")
    for direction, recalls in (("image to text", found.image_to_text), ("text to image", found.text_to_image)):
        print(direction, *(f"recall@{k} {recall:.2%}" for k, recall in zip(RECALL_AT, recalls, strict=True)), sep="  ")
    _write_json(config.json, found._asdict())
    return 0


def run_tokenizer(config: TokenizerConfig, _: Sequence[str]) -> int:
    """Trains a tokenizer and writes its merges."""
    _require(config, "train", "output")
    texts = (text for path in config.train for text in _texts_of(path, config.max_texts))
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size)
    os.makedirs(os.path.dirname(config.output) or ".", exist_ok=True)
    tokenizer.save(config.output)
    print(f"{len(tokenizer.merges)} merges, {tokenizer.vocab_size} ids, {config.output}")
    return 0


def run_classify(config: ClassifyConfig, images: Sequence[str]) -> int:
    """Prints, for each image, the labels from the likeliest to the least likely."""
    _require(config, "checkpoint")
    labels = [label.strip() for joined in config.labels for label in joined.split(",") if label.strip()]
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


def _texts_of(path: str, limit: int) -> list[str]:
    if holds_shards(path):
        return list(ShardReader(list_shards([path]), max_open=1).texts(limit))
    return read_texts(path)[:limit]


def _require(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name):
            raise InputError(f"--{name.replace('_', '-')} must be given")


def _write_json(path: str, values: dict[str, Any]) -> None:
    if not path:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
