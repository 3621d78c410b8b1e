"""The command embed: the features of whole shards.

In: an options record, shards. Out: a folder of features; an exit code. Started by torchrun, the ranks share the shards.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final, Literal

from clip_train.commands.shard_folder import ShardFolderOptions, encode_shards
from clip_train.use.search.feature_files import (
    FEATURES_NAME,
    PARQUET,
    FeatureDtype,
    FeatureFormat,
    table_path,
    write_features,
)
from clip_train.use.shard_features import IMAGES, TEXTS, Kind
from pipeline.base.options import option

BOTH: Final = "both"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedConfig(ShardFolderOptions):
    """Writes the features of shards' images and texts to files, one set a shard; goes on where it was cut short."""

    name: ClassVar[str] = "embed"

    features: Literal[Kind, "both"] = option(BOTH, "What is encoded.")
    format: FeatureFormat = option(
        PARQUET,
        "parquet: one table a shard; npy: arrays and a table, laid out as by clip-retrieval.",
    )
    dtype: FeatureDtype = option("float16", "Type of the numbers in the files.")

    @property
    def kinds(self) -> list[Kind]:
        """What is encoded."""
        return [IMAGES, TEXTS] if self.features == BOTH else [self.features]


def run_embed(config: EmbedConfig, paths: Sequence[str]) -> int:
    """Writes the features of shards."""
    write = partial(write_features, config.output, format=config.format, dtype=config.dtype)
    encode_shards(
        config,
        paths,
        closing_name=FEATURES_NAME,
        table_path=partial(table_path, config.output, format=config.format),
        writer=lambda model: write,
        kinds=config.kinds,
        identity=lambda model: {
            "features": config.kinds,
            "format": config.format,
            "dtype": config.dtype,
            **({"dim": model.config.embed_dim} if model else {}),
        },
    )
    return 0
