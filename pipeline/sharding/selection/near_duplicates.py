"""Samples whose pictures are alike, copies of each other: who is alike to one with a smaller key leaves. A rule.

Whether a sample leaves depends on pairs alone, not on who else leaves: of three in a chain, of which the first and the
last are not alike, only the one with the smallest key is sure to stay. No two that stay are alike, and the outcome is
the same whatever the order in which samples are compared, and however they are spread over groups.

What travels are records of 93 bytes, one to three a sample: the cell, the key, the row and the descriptor. Cells are
told apart by more values the more samples there are, so that all records of a cell fit into memory; the outcome hardly
depends on it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.folders import StageFolder
from pipeline.base.ids import Words, hash_texts, id_words
from pipeline.base.packed import num_buckets, split_by_bucket, split_by_unit
from pipeline.pixels.looks import LOOKS_BYTES, looks_array
from pipeline.sharding.selection.alike import choose_axes, enter_cells, entries_a_picture
from pipeline.sharding.selection.comparing import mark_copies
from pipeline.sharding.selection.verdicts import read_candidates
from pipeline.sharding.stored_samples import RawGroup

# Of samples with alike pictures keep one a text, one at all, or all.
NearDuplicates = Literal["pair", "image", "keep"]

RECORD: Final = np.dtype(
    [("cell", "<u8"), ("key", ">u8", 2), ("unit", "<i4"), ("row", "<i4"), ("looks", "i1", (LOOKS_BYTES,))]
)
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)  # of the golden ratio: spreads neighbours over all bits


def payload_of_looks(samples: int, *, distance: float) -> int:
    """Bytes of all records of some samples, about.

    >>> [payload_of_looks(samples, distance=0.055) >> 20 for samples in (10_000_000, 400_000_000)]
    [1239, 75386]
    """
    return round(samples * RECORD.itemsize * entries_a_picture(distance, choose_axes(samples)))


def buckets_of_looks(samples: int, *, distance: float) -> int:
    """In how many buckets the records of some samples are compared."""
    return num_buckets(payload_of_looks(samples, distance=distance))


@dataclass(frozen=True)
class Alikeness:
    """When pictures are alike.

    Attributes:
        by_text: Whether only samples with the same text are compared.
        distance: By how much pictures may differ, as a share of their contrast.
        mirrored: Whether pictures are alike that are so in a mirror.
        num_axes: By how many values cells are told apart (`choose_axes`).
    """

    by_text: bool
    distance: float
    mirrored: bool
    num_axes: int = choose_axes(0)


def pack_looks(
    group: RawGroup, *, verdicts: StageFolder, alikeness: Alikeness, buckets: int
) -> Iterator[tuple[int, bytes]]:
    """The samples of a group as records, by bucket of their cells; those without a descriptor are alike to none.

    Args:
        group: Of raw tars.
        verdicts: Of the rules before.
        alikeness: When pictures are alike.
        buckets: How many there are.
    """
    columns = ["looks", "text"] if alikeness.by_text else ["looks"]
    table, rows = read_candidates(group, columns, verdicts=verdicts)
    known = pc.is_valid(table["looks"])
    records = make_records(table.filter(known), alikeness)
    records["unit"] = group.number
    records["row"] = rows[known.to_numpy()][records["row"]]
    yield from split_by_bucket(records, records["cell"], buckets)


def make_records(table: pa.Table, alikeness: Alikeness) -> np.ndarray:
    """Records of samples, in the cells where their copies may be.

    Args:
        table: With the columns ``pair_id``, ``looks`` and, where texts count, ``text``.
        alikeness: When pictures are alike.

    Returns:
        [records] of `RECORD`, all of unit 0; rows are those of the table.
    """
    entries = enter_cells(
        looks_array(table["looks"]),
        distance=alikeness.distance,
        mirrored=alikeness.mirrored,
        num_axes=alikeness.num_axes,
    )
    records = np.zeros(len(entries.rows), RECORD)
    records["cell"] = entries.cells * _ODD
    if alikeness.by_text:
        records["cell"] ^= hash_texts(table["text"])[entries.rows]
    records["key"] = id_words(table["pair_id"])[entries.rows]
    records["row"], records["looks"] = entries.rows, entries.looks
    return records


def find_copies(parts: Iterable[bytes], *, distance: float) -> Iterator[tuple[int, bytes]]:
    """The rows of the samples that leave, by group.

    Args:
        parts: All records of a bucket, in any order.
        distance: By how much pictures may differ, as a share of their contrast.
    """
    records = np.frombuffer(b"".join(parts), RECORD)
    keys: Words = records["key"]
    records = records[np.lexsort((records["row"], records["unit"], keys[:, 1], keys[:, 0], records["cell"]))]
    samples = records["unit"].astype(np.int64) << 32 | records["row"]
    copies = mark_copies(records["looks"], cells=records["cell"], samples=samples, distance=distance)
    leaving = records[["unit", "row"]][copies]
    yield from split_by_unit(leaving, leaving["row"])
