"""The command flag: numbers of each sample by name, in one pass over the images and with one encoding.

In: an options record, shards. Out: a folder of tables, ``key`` and a float32 column for each flag, by which ``wit400m
write-shards --scores DIR --where`` selects; with ``--faces`` also ``boxes`` and their number, ``faces``, for
``--blur-faces``; an exit code. Started by torchrun, the ranks share the shards.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import ClassVar

import pyarrow as pa

from clip_train.commands.shard_folder import ShardFolderOptions, encode_shards
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.use.flags.faces import FACES_KEYS, load_detector
from clip_train.use.flags.specs import parse_flags
from clip_train.use.output_folder import write_filled
from clip_train.use.shard_features import ShardFeatures
from pipeline.base.options import option
from pipeline.base.shard_format import BOXES, SAMPLE_JSON_KEYS, SCORE_COLUMNS, SCORES_NAME

_FACES = "faces"
_KEY = SCORE_COLUMNS[0]
_BOXES_TYPE = pa.list_(pa.list_(pa.float32()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagConfig(ShardFolderOptions):
    """Writes numbers of each sample to select by, and boxes of faces; goes on where it was cut short."""

    name: ClassVar[str] = "flag"

    flag: tuple[str, ...] = option((), "NAME=SPEC; may be given several times. The kinds are listed below.")
    faces: str = option(
        "", f"A face detector, FILE.onnx[,KEY=VALUE…] ({', '.join(FACES_KEYS)}): boxes for write-shards --blur-faces."
    )


def run_flag(config: FlagConfig, paths: Sequence[str]) -> int:
    """Writes the flags of shards."""
    if not config.flag and not config.faces:
        raise InputError("--flag or --faces must be given")
    flags = parse_flags(config.flag, taken=[*SAMPLE_JSON_KEYS, BOXES, *([_FACES] if config.faces else [])])
    detector = load_detector(config.faces) if config.faces else None
    fields = [(_KEY, pa.string()), *((name, pa.float32()) for name in flags.names)]
    fields += [(_FACES, pa.float32()), (BOXES, _BOXES_TYPE)] if detector else []

    def path_of(name: str) -> str:
        return os.path.join(config.output, f"{name}.parquet")

    def writer(model: Clip | None) -> Callable[[str, ShardFeatures], None]:
        columns_of = flags.bind(model)

        def write(name: str, encoded: ShardFeatures) -> None:
            columns = [pa.array(encoded.keys, pa.string()), *columns_of(encoded)]
            if detector:
                boxes = [found.tolist() for found in encoded.measured[-1]]
                columns += [pa.array([len(found) for found in boxes], pa.float32()), pa.array(boxes, _BOXES_TYPE)]
            write_filled(path_of(name), pa.table(columns, schema=pa.schema(fields)), encoded.drops)

        return write

    encode_shards(
        config,
        paths,
        closing_name=SCORES_NAME,
        table_path=path_of,
        writer=writer,
        kinds=flags.kinds,
        measures=[*flags.measures, *([detector.measure] if detector else [])],
        identity=lambda model: {"flags": flags.identity, **({_FACES: detector.identity} if detector else {})},
    )
    return 0
