"""The command score: how well the image and the text of each sample fit together.

In: an options record, shards. Out: a folder of tables (`pipeline.shard_format`) that ``wit400m write-shards --scores``
filters by; an exit code. Started by torchrun, the ranks share the shards.

Source: Schuhmann et al. 2021, "LAION-400M" (pairs below a cosine are dropped); Gadre et al. 2023, "DataComp"
(a share of the best is kept).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from clip_train.api import find_model
from clip_train.checkpoint import model_digest
from clip_train.commands.shared import (
    CHECKPOINT_HELP,
    DEVICE_HELP,
    PRECISIONS,
    load_model,
    report_filled,
    require,
)
from clip_train.data.shards import ShardReader, list_shards, shards_digest
from clip_train.distributed import choose_device, join_ranks
from clip_train.shard_features import IMAGES, TEXTS, EncodeOptions, encode_shard
from clip_train.shard_outputs import OutputFolder, write_filled
from pipeline.options import check_options, option
from pipeline.shard_format import SCORE_COLUMNS, SCORES_NAME

SCORES = pa.schema(zip(SCORE_COLUMNS, (pa.string(), pa.float32()), strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Writes the cosine of image and text for each sample of shards; goes on where it was cut short."""

    name: ClassVar[str] = "score"

    checkpoint: str = option("", CHECKPOINT_HELP)
    output: str = option("", "Folder for the scores.")
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    precision: str = option("fp32", "bf16: matrix products in bfloat16.", choices=PRECISIONS)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def run_score(config: ScoreConfig, paths: Sequence[str]) -> int:
    """Writes the scores of shards."""
    require(config, "checkpoint", "output")
    shards = list_shards(paths)
    checkpoint = find_model(config.checkpoint)
    with join_ranks(choose_device(config.device)) as ranks:
        model = load_model(checkpoint, config.device)
        identity = {
            "model": model_digest(checkpoint),
            "shards": shards_digest(shards),
            "precision": config.precision,
        }
        options = EncodeOptions(batch_size=config.batch_size, precision=config.precision)
        reader = ShardReader(shards, max_open=1)

        def path_of(name: str) -> str:
            return os.path.join(config.output, f"{name}.parquet")

        def make(place: int, name: str) -> None:
            encoded = encode_shard(model, reader, place, options)
            cosines = (encoded.features[IMAGES] * encoded.features[TEXTS]).sum(dim=1)
            table = pa.table([encoded.keys, cosines.numpy()], schema=SCORES)
            write_filled(path_of(name), table, encoded.drops)

        filled = OutputFolder(config.output, SCORES_NAME, identity).fill(shards, ranks, table_path=path_of, make=make)
    if ranks.is_first:
        report_filled(config.output, filled)
    return 0
