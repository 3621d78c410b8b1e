"""A folder with what a model makes of each shard: what embed, score and flag have in common.

In: an options record, shards. Out: a folder of tables; a line on stdout. The ranks of torchrun share the shards.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clip_train.api import find_model
from clip_train.commands.shared_options import CHECKPOINT_HELP, DEVICE_HELP, PRECISION_HELP, load_model, require
from clip_train.config import InferencePrecision
from clip_train.data.shards import ShardReader, list_shards, shards_digest
from clip_train.models.clip import Clip
from clip_train.models.precision import choose_precision
from clip_train.training.checkpoint import model_digest
from clip_train.training.distributed import choose_device, join_ranks
from clip_train.use.output_folder import OutputFolder
from clip_train.use.shard_features import (
    IMAGES,
    TEXTS,
    EncodeOptions,
    ImageMeasure,
    Kind,
    ShardFeatures,
    TextMeasure,
    encode_shard,
)
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardFolderOptions:
    """What embed, score and flag ask for."""

    checkpoint: str = option("", CHECKPOINT_HELP)
    output: str = option("", "Folder for what is written.")
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    precision: InferencePrecision = option("auto", PRECISION_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def encode_shards(
    config: ShardFolderOptions,
    paths: Sequence[str],
    *,
    closing_name: str,
    table_path: Callable[[str], str],
    writer: Callable[[Clip | None], Callable[[str, ShardFeatures], None]],
    kinds: Sequence[Kind] = (IMAGES, TEXTS),
    measures: Sequence[ImageMeasure | TextMeasure] = (),
    identity: Callable[[Clip | None], Mapping[str, Any]] = lambda model: {},
) -> None:
    """Fills a folder with what a model makes of shards; the ranks of torchrun share them.

    Args:
        config: Where the model and the folder are, and how to encode.
        paths: Shards, or folders of them.
        closing_name: File that closes the folder.
        table_path: Where what is written of a shard is found, by the shard's name.
        writer: Makes, given the model, what writes the features of a shard by its name.
        kinds: What is encoded; nothing: then there is no model.
        measures: What else is measured of each sample.
        identity: What else decides the files, beside the model, the shards and the precision.

    Raises:
        InputError: When something cannot be read, or the folder is of another making.
    """
    require(config, *(["checkpoint"] if kinds else []), "output")
    shards = list_shards(paths)
    checkpoint = find_model(config.checkpoint) if kinds else None
    with join_ranks(choose_device(config.device)) as ranks:
        model = load_model(checkpoint, config.device, precision=config.precision) if checkpoint else None
        whole = {
            "shards": shards_digest(shards),
            **identity(model),
        }
        if checkpoint and model:
            whole |= {
                "model": model_digest(checkpoint),
                "precision": choose_precision(config.precision, model.device),
            }
        options = EncodeOptions(kinds, config.batch_size, measures)
        reader = ShardReader(shards, max_open=1)
        write = writer(model)

        def make(place: int, name: str) -> None:
            write(name, encode_shard(model, reader, place, options))

        folder = OutputFolder(config.output, closing_name, whole)
        filled = folder.fill(shards, ranks, table_path=table_path, make=make)
    if ranks.is_first:
        drops = "".join(f", {number} left out ({reason})" for reason, number in sorted(filled.drops.items()))
        print(f"{config.output}: {filled.rows} samples{drops}")
