"""The command export: a model in another program's format.

In: an options record. Out: a folder or a file; a line on stdout; an exit code.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.api import load
from clip_train.commands.shared_options import CHECKPOINT_HELP, require
from clip_train.exchange.formats import ModelFormat, write_model
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Writes a model in the format of Hugging Face, open_clip or OpenAI."""

    name: ClassVar[str] = "export"

    checkpoint: str = option("", CHECKPOINT_HELP)
    format: ModelFormat = option(
        "hf", "hf: folder of CLIPModel and CLIPProcessor; open-clip: folder; openai: state dict."
    )
    output: str = option("", "Folder or file to write; it must not exist.")

    def __post_init__(self) -> None:
        check_options(self)


def run_export(config: ExportConfig, _: Sequence[str]) -> int:
    """Writes a model in another format."""
    require(config, "checkpoint", "output")
    model, _preprocess = load(config.checkpoint, "cpu")
    write_model(model, config.output, format=config.format)
    print(f"{config.output}: {model.config.image.kind} and {model.config.text.kind} in the format {config.format}")
    return 0
