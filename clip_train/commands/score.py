"""The command score: how well the image and the text of each sample fit together.

In: an options record, shards. Out: a folder of tables (`pipeline.base.shard_format`) by which ``wit400m write-shards
--scores`` filters; an exit code. Started by torchrun, the ranks share the shards.

Source: Schuhmann et al. 2021, "LAION-400M" (pairs below a cosine are dropped); Gadre et al. 2023, "DataComp"
(a share of the best is kept).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from clip_train.commands.shard_folder import ShardFolderOptions, encode_shards
from clip_train.use.output_folder import write_filled
from clip_train.use.shard_features import IMAGES, TEXTS, ShardFeatures
from pipeline.base.shard_format import SCORE_COLUMNS, SCORES_NAME

SCORES = pa.schema(zip(SCORE_COLUMNS, (pa.string(), pa.float32()), strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig(ShardFolderOptions):
    """Writes the cosine of image and text for each sample of shards; goes on where it was cut short."""

    name: ClassVar[str] = "score"


def run_score(config: ScoreConfig, paths: Sequence[str]) -> int:
    """Writes the scores of shards."""

    def path_of(name: str) -> str:
        return os.path.join(config.output, f"{name}.parquet")

    def write(name: str, encoded: ShardFeatures) -> None:
        cosines = (encoded.features[IMAGES] * encoded.features[TEXTS]).sum(dim=1)
        write_filled(path_of(name), pa.table([encoded.keys, cosines.numpy()], schema=SCORES), encoded.drops)

    encode_shards(config, paths, closing_name=SCORES_NAME, table_path=path_of, writer=lambda model: write)
    return 0
