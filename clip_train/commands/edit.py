"""The command edit: the pixels of an image, changed until it fits a text better.

In: an options record, an image. Out: a changed image; a line on stdout; an exit code.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar

from PIL import Image

from clip_train.api import load
from clip_train.commands.shared_options import CHECKPOINT_HELP, DEVICE_HELP, require
from clip_train.data.decode import read_image
from clip_train.files import written_file
from clip_train.use.editing import EditOptions, edit_image
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditConfig:
    """Changes the pixels of an image, within a limit, so that it fits a text better; prints both cosines."""

    name: ClassVar[str] = "edit"

    checkpoint: str = option("", CHECKPOINT_HELP)
    text: str = option("", "What the image is to show.")
    output: str = option("", "Image file to write, PNG unless its name ends otherwise.")
    steps: int = option(100, "Steps of gradient ascent.", minimum=1)
    learning_rate: float = option(0.02, "Rate of Adam; pixels go from 0 to 1.", minimum=0)
    max_change: float = option(0.25, "Furthest that a pixel may get from the original, from 0 to 1.", minimum=0)
    crops: int = option(8, "Random crops in a step.", minimum=1)
    seed: int = option(0, "Of the crops.", minimum=0)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def run_edit(config: EditConfig, images: Sequence[str]) -> int:
    """Writes a changed image."""
    require(config, "checkpoint", "text", "output")
    [source] = images
    image = read_image(source)
    model, _preprocess = load(config.checkpoint, config.device)
    options = EditOptions(config.steps, config.learning_rate, config.max_change, config.crops, config.seed)
    edited = edit_image(model, image, config.text, options)
    with written_file(config.output) as aside:
        edited.image.save(aside, format=_image_format(config.output))
    print(f"{config.output}: cosine {edited.cosine_before:.4f} before, {edited.cosine_after:.4f} after")
    return 0


def _image_format(path: str) -> str:
    suffix = os.path.splitext(path)[1].lower()
    return Image.registered_extensions().get(suffix, "PNG")
