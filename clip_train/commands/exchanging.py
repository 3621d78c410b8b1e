"""The commands export and import.

In: an options record. Out: a model in another program's format, or a checkpoint of ours made from one.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.api import load
from clip_train.checkpoint import save_model
from clip_train.commands.shared import CHECKPOINT_HELP, require
from clip_train.config import ACTIVATIONS
from clip_train.exchange.formats import AUTO, FORMATS, read_model, write_model
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Writes a model in the format of Hugging Face, open_clip or OpenAI."""

    name: ClassVar[str] = "export"

    checkpoint: str = option("", CHECKPOINT_HELP)
    format: str = option(
        "hf", "hf: folder of CLIPModel and CLIPProcessor; open-clip: folder; openai: state dict.", choices=FORMATS
    )
    output: str = option("", "Folder or file to write; it must not exist.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Makes a checkpoint of a model in the format of Hugging Face, open_clip or OpenAI."""

    name: ClassVar[str] = "import"

    weights: str = option("", "Folder of CLIPModel or of open_clip, or a file of weights.")
    format: str = option(AUTO, "Format of the weights; auto asks the files.", choices=(AUTO, *FORMATS))
    output: str = option("", "Folder for the checkpoint; it must not exist.")
    tokenizer: str = option("", "Merges file, for weights that come without (OpenAI's, for OpenAI's weights).")
    config: str = option("", "open_clip's JSON configuration of a bare file of weights; their shapes tell without.")
    activation: str = option(
        AUTO,
        "Non-linearity of a bare file of weights; auto: quick_gelu for openai, gelu for open-clip.",
        choices=(AUTO, *ACTIVATIONS),
    )

    def __post_init__(self) -> None:
        check_options(self)


def run_export(config: ExportConfig, _: Sequence[str]) -> int:
    """Writes a model in another format."""
    require(config, "checkpoint", "output")
    model, _preprocess = load(config.checkpoint, "cpu")
    write_model(model, config.output, format=config.format)
    print(f"{config.output}: {model.config.image.kind} and {model.config.text.kind} in the format {config.format}")
    return 0


def run_import(config: ImportConfig, _: Sequence[str]) -> int:
    """Makes a checkpoint of a model in another format."""
    require(config, "weights", "output")
    model = read_model(
        config.weights,
        format=config.format,
        config=config.config,
        activation=config.activation,
        tokenizer=config.tokenizer,
    )
    save_model(config.output, model)
    size = sum(parameter.numel() for parameter in model.parameters())
    tokens = "" if model.tokenizer else ", without a tokenizer: give one with --tokenizer to use texts"
    print(f"{config.output}: {model.config.image.kind} and {model.config.text.kind}, {size:,} parameters{tokens}")
    return 0
