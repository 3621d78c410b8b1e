"""The command evaluate retrieval: images found by their captions, captions by their images.

In: an options record. Out: figures on stdout and, where asked, as JSON; an exit code. Started by torchrun, the ranks
share the images, and the first one speaks.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from clip_train.commands.shared_options import ModelOptions, require, write_figures
from clip_train.evaluate.captioned import read_captioned
from clip_train.evaluate.retrieval import RECALL_AT, evaluate_retrieval
from clip_train.training.distributed import choose_device, join_ranks
from pipeline.base.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalConfig(ModelOptions):
    """Searches images by their captions and captions by their images, and reports recall at 1, 5 and 10."""

    name: ClassVar[str] = "evaluate retrieval"

    data: str = option("", "Shards, or a .csv, .tsv or .parquet table of image paths (relative to it) and captions.")
    image_column: str = option("image", "Column of a table that holds the path of the image.")
    caption_column: str = option("caption", "Column of a table that holds the caption, or a list of captions.")


def run_retrieval(config: RetrievalConfig, _: Sequence[str]) -> int:
    """Prints recalls in both directions."""
    require(config, "checkpoint", "data")
    captioned = read_captioned(config.data, config.image_column, config.caption_column)
    with join_ranks(choose_device(config.device)) as ranks:
        found = evaluate_retrieval(config.load_model(), captioned, batch_size=config.batch_size, ranks=ranks)
    if ranks.is_first:
        print(f"{found.num_images} images, {found.num_texts} texts")
        for direction, recalls in (("image to text", found.image_to_text), ("text to image", found.text_to_image)):
            figures = (f"recall@{k} {recall:.2%}" for k, recall in zip(RECALL_AT, recalls, strict=True))
            print(direction, *figures, sep="  ")
        write_figures(config.json, found._asdict())
    return 0
