"""The command import: a checkpoint of ours made of a model in another program's format.

In: an options record. Out: a checkpoint; a line on stdout; an exit code.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

from clip_train.commands.shared_options import require
from clip_train.config import Activation
from clip_train.exchange.formats import AUTO, ModelFormat, read_model
from clip_train.training.checkpoint import save_model
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Makes a checkpoint of a model in the format of Hugging Face, open_clip or OpenAI."""

    name: ClassVar[str] = "import"

    weights: str = option("", "Folder of CLIPModel or of open_clip, or a file of weights.")
    format: Literal["auto", ModelFormat] = option(AUTO, "Format of the weights; auto asks the files.")
    output: str = option("", "Folder for the checkpoint; it must not exist.")
    tokenizer: str = option("", "Merges file, for weights that come without (OpenAI's, for OpenAI's weights).")
    config: str = option("", "open_clip's JSON configuration of a bare file of weights; their shapes tell without.")
    activation: Literal["auto", Activation] = option(
        AUTO,
        "Non-linearity of a bare file; auto: quick_gelu for openai; for open-clip by the names, else gelu, and told.",
    )

    def __post_init__(self) -> None:
        check_options(self)


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
