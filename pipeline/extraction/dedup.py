"""Exact duplicates over all inputs: which rows of which table lose against an equal pair.

In: tables of `EXTRACTED`, one an input file. Out: for each table a list of the rows to leave out. Of equal pairs the
one with the smallest preference stays, then the one in the table first by name, then the first row: content decides,
not the order of arrival. What is shuffled is 32 bytes a pair, packed by bucket of the id.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import files
from pipeline.drops import UnitReport, report_unit
from pipeline.ids import id_words
from pipeline.schemas import PAIRS
from pipeline.tables import read_table

# Smaller is preferred: rank of the text source in the high byte, a hash of page and table below.
EXTRACTED = PAIRS.append(pa.field("preference", pa.uint64(), nullable=False))

_NUM_BUCKETS = 64
_RECORD = np.dtype([("pair_id", "u8", 2), ("preference", "u8"), ("table", "u4"), ("row", "u4")])


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records with the same id, all but the preferred one.

    Args:
        records: [n] of `_RECORD`, in any order; ids are not split over several calls.
    """
    high, low = records["pair_id"].T
    order = np.lexsort((records["row"], records["table"], records["preference"], low, high))
    ordered = records[order]
    same = np.all(ordered["pair_id"][1:] == ordered["pair_id"][:-1], axis=1)
    return ordered[1:][same]


def losers_path(folder: str, name: str) -> str:
    """Where the losing rows of a table are written."""
    return files.join(folder, f"{name}.npy")


def read_losers(folder: str, name: str) -> npt.NDArray[np.uint32]:
    """The losing rows of a table, sorted."""
    rows: npt.NDArray[np.uint32] = np.load(io.BytesIO(files.read_bytes(losers_path(folder, name))))
    return rows


@dataclass(kw_only=True, eq=False)
class FindDuplicates(beam.PTransform):
    """Writes the losing rows of every table, also where there are none.

    Attributes:
        tables: Paths of `EXTRACTED` tables, sorted by name.
        output: Folder for one ``NAME.npy`` a table.
    """

    tables: Sequence[str]
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        tables = list(enumerate(self.tables))
        names = [table_name(path) for path in self.tables]
        losers = (
            root
            | "Tables" >> beam.Create(tables).with_output_types(tuple[int, str])
            | "PackIds" >> beam.FlatMap(_pack_ids).with_output_types(tuple[int, bytes])
            | "GroupIds" >> beam.GroupByKey()
            | "FindLosers" >> beam.FlatMap(_find_bucket_losers).with_output_types(tuple[int, bytes])
        )
        none = root | "NoLosers" >> beam.Create([(index, b"") for index, _ in tables])
        return (
            (losers, none)
            | "AllTables" >> beam.Flatten()
            | "GroupLosers" >> beam.GroupByKey()
            | "WriteLosers" >> beam.Map(_write_losers, names, self.output).with_output_types(UnitReport)
        )


def table_name(path: str) -> str:
    """The name of a table without its suffix."""
    return files.basename(path).removesuffix(".parquet")


def _pack_ids(table: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
    index, path = table
    rows = read_table(path, ["pair_id", "preference"])
    records = np.empty(rows.num_rows, _RECORD)
    records["pair_id"] = id_words(rows["pair_id"])
    records["preference"] = rows["preference"].to_numpy()
    records["table"] = index
    records["row"] = np.arange(rows.num_rows)
    buckets = records["pair_id"][:, 0] % np.uint64(_NUM_BUCKETS)
    for bucket in np.unique(buckets):
        yield int(bucket), records[buckets == bucket].tobytes()


def _find_bucket_losers(bucket: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
    losers = find_losers(np.frombuffer(b"".join(bucket[1]), _RECORD))
    for index in np.unique(losers["table"]):
        yield int(index), losers["row"][losers["table"] == index].tobytes()


def _write_losers(found: tuple[int, Iterable[bytes]], names: Sequence[str], output: str) -> UnitReport:
    index, parts = found
    buffer = io.BytesIO()
    np.save(buffer, np.sort(np.frombuffer(b"".join(parts), np.uint32)))
    files.write_bytes_whole(losers_path(output, names[index]), buffer.getvalue())
    return report_unit(names[index], {})
