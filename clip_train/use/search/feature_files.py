"""Features of shards as files, one set a shard, and how they are read back block by block.

In: `ShardFeatures`. Out: in the format ``parquet``, ``NAME.parquet`` with the columns key, url, caption,
image_features and text_features (lists of fixed size). In the format ``npy`` the layout of clip-retrieval, which
autofaiss reads too: ``img_emb/img_emb_NAME.npy``, ``text_emb/text_emb_NAME.npy`` and
``metadata/metadata_NAME.parquet`` with key, url and caption. NAME is the shard's. ``features.json`` closes the folder.

Source: https://github.com/rom1504/clip-retrieval (names of folders and files).
"""

import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clip_train.errors import InputError
from clip_train.files import written_file
from clip_train.use.output_folder import read_folder_file, write_filled
from clip_train.use.shard_features import IMAGES, TEXTS, Kind, ShardFeatures

FEATURES_NAME = "features.json"
FeatureFormat = Literal["parquet", "npy"]
FeatureDtype = Literal["float16", "float32"]
PARQUET: Final = "parquet"
BLOCK_ROWS = 16_384

_COLUMNS = {IMAGES: "image_features", TEXTS: "text_features"}
_NPY_NAMES = {IMAGES: "img_emb", TEXTS: "text_emb"}
_DESCRIBING = pa.schema([("key", pa.string()), ("url", pa.string()), ("caption", pa.string())])

Block = NDArray[np.floating[Any]]  # [rows, dim]


class Described(NamedTuple):
    """What a row of features belongs to."""

    key: str
    url: str | None
    caption: str | None


def table_path(folder: str, name: str, format: FeatureFormat) -> str:
    """The Parquet file of a shard: the last one of its files that is written."""
    return os.path.join(folder, f"{name}.parquet" if format == PARQUET else f"metadata/metadata_{name}.parquet")


def write_features(
    folder: str, name: str, encoded: ShardFeatures, *, format: FeatureFormat, dtype: FeatureDtype
) -> None:
    """Writes the features of a shard."""
    described = pa.table([encoded.keys, encoded.urls, encoded.texts], schema=_DESCRIBING)
    path = table_path(folder, name, format)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    for kind, features in encoded.features.items():
        rows = features.numpy().astype(dtype)
        if format == PARQUET:
            column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
            described = described.append_column(_COLUMNS[kind], column)
        else:
            _write_npy(_npy_path(folder, name, kind), rows)
    write_filled(path, described, encoded.drops)


class FeatureTables:
    """The features of a finished folder, in the order of the shards' names.

    Attributes:
        path: The folder.
        identity: What they were made of and how.
        num_rows: Rows of all shards.

    Raises:
        InputError: When the folder is not a finished one.
    """

    def __init__(self, path: str) -> None:
        values = read_folder_file(os.path.join(path, FEATURES_NAME))
        self.path = path
        self.identity: dict[str, Any] = values["identity"]
        self._rows: dict[str, int] = values["rows"]
        self._starts = dict(zip(self._rows, accumulate(self._rows.values(), initial=0), strict=False))
        self.num_rows = sum(self._rows.values())

    def blocks(self, kind: Kind) -> Iterator[tuple[int, Block]]:
        """The features of images or texts, a block after another: the number of its first row, and the block.

        Raises:
            InputError: When the folder has none of this kind, or a file is missing or cut short.
        """
        if kind not in self.identity["features"]:
            raise InputError(f"{self.path} holds no features of {kind}")
        read = _read_parquet if self.identity["format"] == PARQUET else _read_npy
        for name, num_rows in self._rows.items():
            position = self._starts[name]
            for block in read(self.path, name, kind):
                yield position, block
                position += len(block)
            if position != self._starts[name] + num_rows:
                raise InputError(f"{self.path}: {name} has not the {num_rows} rows that {FEATURES_NAME} says")

    def describe(self, rows: Sequence[int]) -> list[Described]:
        """What some rows belong to."""
        names, starts = list(self._rows), list(self._starts.values())
        places = np.searchsorted(starts, rows, side="right") - 1
        # of shards without a row, which start where the next one does, the last is found: the one that has the row
        tables = {
            place: pq.read_table(table_path(self.path, names[place], self.identity["format"]), schema=_DESCRIBING)
            for place in set(places.tolist())
        }
        found = (tables[place].slice(row - starts[place], 1) for row, place in zip(rows, places.tolist(), strict=True))
        return [Described(**row.to_pylist()[0]) for row in found]


def _npy_path(folder: str, name: str, kind: Kind) -> str:
    return os.path.join(folder, _NPY_NAMES[kind], f"{_NPY_NAMES[kind]}_{name}.npy")


def _write_npy(path: str, rows: Block) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with written_file(path) as aside, open(aside, "wb") as file:
        np.save(file, rows)


def _read_npy(folder: str, name: str, kind: Kind) -> Iterator[Block]:
    path = _npy_path(folder, name, kind)
    try:
        rows = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error})") from error
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def _read_parquet(folder: str, name: str, kind: Kind) -> Iterator[Block]:
    path = table_path(folder, name, PARQUET)
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(BLOCK_ROWS, columns=[_COLUMNS[kind]]):
                column = batch.column(0)
                yield column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not readable ({error})") from error
