"""Boxes of faces, from tables ► those of each sample that goes into shards, beside the rows of its group.

In: folders of tables as ``python -m clip_train flag --faces`` writes them (`pipeline.base.shard_format`), of raw tars
or of finished shards: samples are joined by their key. Out, per group of raw tars, a column `BOXES` for its rows.

What is shuffled are records of 44 bytes: one of each sample that stays, one of each row of the tables, which says that
its image was looked at, and one of each box.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.shard_format import BOXES, SCORE_COLUMNS, SCORES_NAME
from pipeline.base.tables import read_schema, read_table, write_table
from pipeline.sharding.selection.scores import ScoreTables, list_tables
from pipeline.sharding.selection.verdicts import read_candidates
from pipeline.sharding.stored_samples import RawGroup, cut_groups, key_words

BOXES_FIELD: Final = pa.field(BOXES, pa.list_(pa.list_(pa.float32())))  # null: nobody looked for faces
UNSCANNED: Final = "samples_not_scanned"  # of counts: how many stay of which no table tells

_KEY: Final = SCORE_COLUMNS[0]
_RECORD: Final = np.dtype([("key", ">u8", 2), ("unit", "i4"), ("row", "i4"), ("box", "f4", 5)])
_NO_UNIT: Final = -1  # of what tables say


def read_face_folder(path: str) -> str:
    """The file that closes a finished folder of boxes.

    Raises:
        FileNotFoundError: When it is not finished.
        ValueError: When its tables hold no boxes.
    """
    closing_file = files.join(path.rstrip("/"), SCORES_NAME)
    if not files.exists(closing_file):
        raise FileNotFoundError(
            f"no finished boxes in {path} (no {SCORES_NAME}); python -m clip_train flag --faces writes them"
        )
    tables = list_tables(path)
    schema = read_schema(tables[0]) if tables else pa.schema([BOXES_FIELD])
    if BOXES not in schema.names or not pa.types.is_list(schema.field(BOXES).type):
        raise ValueError(
            f"blur-faces: {path!r}: its tables hold no {BOXES}; python -m clip_train flag --faces writes them"
        )
    return closing_file


def box_tables(path: str) -> list[ScoreTables]:
    """The tables of a folder of boxes, some together."""
    return [ScoreTables(paths, (BOXES,)) for paths in cut_groups(list_tables(path))]


def pack_boxes(source: RawGroup | ScoreTables, *, verdicts: StageFolder, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The samples of a group that stay, or what tables say, as records by bucket of their keys.

    Args:
        source: One or the other.
        verdicts: Of all rules.
        buckets: How many there are.
    """
    if isinstance(source, RawGroup):
        table, rows = read_candidates(source, [], verdicts=verdicts)
        records = _records(id_words(table["pair_id"]), unit=source.number, rows=rows)
    else:
        records = np.concatenate([_table_records(path) for path in source.paths], dtype=_RECORD)
    yield from split_by_bucket(records, records["key"][:, 0], buckets)


def find_boxes(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Of all records in a bucket, what tables say of samples, by group: a record with nans, and one of each box."""
    records = np.frombuffer(b"".join(parts), _RECORD)
    is_told = records["unit"] == _NO_UNIT
    samples, told = records[~is_told], records[is_told]
    told = told[np.lexsort((told["key"][:, 1], told["key"][:, 0]))]
    wanted, known = (np.ascontiguousarray(some["key"]).view("S16").ravel() for some in (samples, told))
    firsts, lasts = np.searchsorted(known, wanted, "left"), np.searchsorted(known, wanted, "right")
    numbers = lasts - firsts
    found = np.repeat(samples, numbers)
    within = np.arange(len(found)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    found["box"] = told["box"][np.repeat(firsts, numbers) + within]
    return split_by_unit(found, found)


def write_boxes(group: RawGroup, output: str, parts: Iterable[bytes], *, verdicts: StageFolder) -> Counts:
    """Writes the boxes of the samples of a group that stay, in the order of its rows: null where no table tells.

    Args:
        group: Of raw tars.
        output: Where to.
        parts: What tables say of them.
        verdicts: Of all rules.
    """
    records = np.frombuffer(b"".join(parts), _RECORD)
    _, rows = read_candidates(group, [], verdicts=verdicts)
    # Of one picture several tables may tell: a box that two have counts once.
    told = np.unique(np.column_stack([records["row"].astype(np.float64), records["box"]]), axis=0)
    is_box = ~np.isnan(told[:, 1:]).any(axis=1)
    boxes = told[is_box]
    starts = np.searchsorted(boxes[:, 0], rows, "left"), np.searchsorted(boxes[:, 0], rows, "right")
    is_known = np.isin(rows, records["row"])
    values = [
        boxes[first:last, 1:].tolist() if known else None
        for first, last, known in zip(*(ends.tolist() for ends in starts), is_known.tolist(), strict=True)
    ]
    schema = pa.schema([BOXES_FIELD])
    counts = {UNSCANNED: int((~is_known).sum())}
    write_table(output, pa.table([pa.array(values, BOXES_FIELD.type)], schema), schema, counts)
    return counts


def read_boxes(group: RawGroup, *, folder: StageFolder) -> pa.ChunkedArray:
    """The boxes of the samples of a group that stay, in the order of its rows."""
    return read_table(boxes_of(group, folder=folder))[BOXES]


def boxes_of(group: RawGroup, *, folder: StageFolder) -> str:
    """Where the boxes of a group lie."""
    return folder.table(group.name)


def _records(keys: npt.NDArray[np.uint64], *, unit: int, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    records = np.empty(len(keys), _RECORD)
    records["key"], records["unit"], records["row"], records["box"] = keys, unit, rows, np.nan
    return records


def _table_records(path: str) -> npt.NDArray[Any]:
    """What a table says: of each row one record without a box, and one for each box."""
    table = read_table(path, [_KEY, BOXES])
    boxes = table[BOXES].combine_chunks()
    try:
        keys = key_words(table[_KEY])
        numbers = boxes.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        each = boxes.flatten()
        values = np.array(each.flatten(), np.float32)
        if pc.any(pc.not_equal(each.value_lengths(), 5)).as_py() or each.null_count or not np.isfinite(values).all():
            raise ValueError("a box is five numbers")
    except ValueError as error:
        raise ValueError(f"{path}: no boxes of samples that write-shards wrote ({error})") from error
    scanned = _records(keys, unit=_NO_UNIT, rows=np.zeros(len(keys)))
    found = np.repeat(scanned, numbers)
    found["box"] = values.reshape(-1, 5)
    return np.concatenate([scanned, found], dtype=_RECORD)
