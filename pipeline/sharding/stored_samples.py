"""The raw tars that shards are made of, and the samples in them: the rows of raw indexes whose image is there.

Raw tars are taken in *groups*, neighbours in the order of their names, so that what is shuffled of 40,000 raw tars are
not millions of small messages. The rows of a group are those of its raw tars, one raw tar after another.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.folders import RawFolder, raw_units
from pipeline.base.ids import Words, id_words, sorted_order
from pipeline.base.schemas import OK_STATUS
from pipeline.base.tables import read_table

T = TypeVar("T")

_MIN_BUCKETS: Final = 64
_TARS_A_BUCKET: Final = 200  # some two million samples: 80 MB of records, sorted in memory
_MOST_TOGETHER: Final = 32  # raw tars in a group: some 320,000 rows, which a worker holds
_WANTED_GROUPS: Final = 512  # so that all workers have something to do
_KEY_DIGITS: Final = 32
RECORD_BYTES: Final = 40  # of a row, where rows are compared
_INDEX_BYTES_A_ROW: Final = 220  # about, of a raw index


class RawTar(NamedTuple):
    """A raw tar.

    Attributes:
        number: Its place among all of them, in the order of their names.
        tar: Its path.
        index_file: Path of its `RAW_INDEX`, or of the rows of it that were selected.
    """

    number: int
    tar: str
    index_file: str


class RawGroup(NamedTuple):
    """Raw tars that a worker takes together.

    Attributes:
        number: Its place among all groups.
        raws: The raw tars, in the order of their names.
    """

    number: int
    raws: tuple[RawTar, ...]

    @property
    def name(self) -> str:
        """Of the files that are made of it."""
        return f"{self.number:05d}"


def list_raw_tars(folders: Sequence[str], *, final: str) -> list[RawTar]:
    """The raw tars of some folders, in the order of their names, whatever the order of the folders.

    Args:
        folders: What fetch-images wrote.
        final: What balance-final selected of it; empty: all.
    """
    selected = RawFolder(final)
    return [
        RawTar(number, unit.tar, selected.index(unit.name) if final else unit.index_file)
        for number, unit in enumerate(raw_units(folders))
    ]


def group_raw_tars(raws: Sequence[RawTar]) -> list[RawGroup]:
    """Raw tars as groups of neighbours.

    Args:
        raws: In the order of their names.
    """
    return [RawGroup(place, part) for place, part in enumerate(cut_groups(raws))]


def cut_groups(things: Sequence[T]) -> list[tuple[T, ...]]:
    """Neighbours together: one to a group where there are few, so that they spread over workers.

    >>> [len(cut_groups(range(number))) for number in (3, 2000, 40_000)]
    [3, 667, 1250]
    """
    size = min(max(len(things) // _WANTED_GROUPS, 1), _MOST_TOGETHER)
    return [tuple(things[first : first + size]) for first in range(0, len(things), size)]


def payload_of(raws: Sequence[RawTar]) -> int:
    """Bytes, about, of one record of `RECORD_BYTES` for each sample."""
    return sum(files.sizes(raw.index_file for raw in raws).values()) * RECORD_BYTES // _INDEX_BYTES_A_ROW


def num_buckets(num_tars: int) -> int:
    """In how many buckets the samples of some raw tars are compared.

    >>> num_buckets(3), num_buckets(40_000)
    (64, 200)
    """
    return max(_MIN_BUCKETS, num_tars // _TARS_A_BUCKET)


def read_stored(index: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a raw index whose image is there, in key order.

    Args:
        index: Path of a `RAW_INDEX`.
        columns: What to read besides `pair_id`; None: everything.
    """
    names = None if columns is None else list(dict.fromkeys(["pair_id", "status", *columns]))
    table = read_table(index, names)
    stored = table.filter(pc.equal(table["status"], OK_STATUS))
    return stored.take(sorted_order(id_words(stored["pair_id"])))


def read_group(group: RawGroup, columns: Sequence[str]) -> pa.Table:
    """The rows of a group whose image is there: each raw tar's in key order, with its number as ``raw``."""
    tables = []
    for raw in group.raws:
        table = read_stored(raw.index_file, columns)
        numbers = pa.array(np.full(table.num_rows, raw.number, np.int32))
        tables.append(table.append_column(pa.field("raw", pa.int32(), nullable=False), numbers))
    return pa.concat_tables(tables)


def key_words(keys: pa.Array | pa.ChunkedArray) -> Words:
    """Keys of samples, 32 hexadecimal digits each, as numbers that sort as the keys do: [rows, 2], high half first.

    Raises:
        ValueError: For other keys.

    >>> key_words(pa.array(["0" * 31 + "7"])).tolist()
    [[0, 7]]
    """
    array = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    if pc.any(pc.not_equal(pc.binary_length(array), _KEY_DIGITS)).as_py():
        raise ValueError(f"keys of samples must have {_KEY_DIGITS} digits")
    # Of a string array, the digits of all rows lie one after another.
    start = array.offset and int(np.frombuffer(array.buffers()[1], np.int32)[array.offset])
    digits = array.buffers()[2].to_pybytes()[start : start + _KEY_DIGITS * len(array)] if len(array) else b""
    return np.frombuffer(bytes.fromhex(digits.decode("ascii")), ">u8").reshape(-1, 2).astype(np.uint64)
