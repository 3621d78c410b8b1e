"""Pairs that some query selected ► the other pairs of the same images: their *companions*.

In: tables of pairs and what selects pairs. Out: for each group of tables a list of the rows that no query selected, but
whose image is that of a selected pair, and whose text holds a query. Images are the same when their canonical URLs are;
only hashes of these and rows are shuffled, packed, 25 bytes for each pair that holds a query.

Source: MetaCLIP's metaclip1/pipeline.py: an image is kept when any of its texts is, and has all of these.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.balancing.keeping import Selection
from pipeline.balancing.lots import select_lots
from pipeline.balancing.pool import PoolTable, even_groups, list_of, tables_with_lists, write_list
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import num_buckets, split_by_bucket
from pipeline.base.table_groups import TableGroup, places_of, split_by_group
from pipeline.steps import GroupPacked

_RECORD: Final = np.dtype([("image", "<u8", 2), ("unit", "<u4"), ("row", "<u4"), ("selected", "u1")])

Records = npt.NDArray[Any]  # [records] of `_RECORD`


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What compares pairs by their images; its methods are called on workers.

    Attributes:
        selection: What selects pairs.
        payload: Bytes of all records, about; they decide the number of buckets, and no result.
    """

    selection: OnWorker[Selection]
    payload: int

    def pack(self, group: TableGroup[PoolTable]) -> Iterator[tuple[int, bytes]]:
        """The pairs of a group that hold a query, by bucket of their images."""
        records = np.concatenate([self._records(table, group.unit(place)) for place, table in enumerate(group.tables)])
        yield from split_by_bucket(records, records["image"][:, 0], num_buckets(self.payload))

    def find(self, packs: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The rows in a bucket that no query selected, of images of which one selected another pair, by group."""
        records: Records = np.frombuffer(b"".join(packs), _RECORD)
        _, images = np.unique(records["image"], axis=0, return_inverse=True)
        images, selected = images.ravel(), records["selected"].astype(bool)
        found = records[~selected & np.isin(images, images[selected])]
        return split_by_group(found, places_of(found))

    def _records(self, table: PoolTable, unit: int) -> Records:
        parts = [np.empty(0, _RECORD)]
        first = 0
        for batch in table.read(["pair_id", "image_url", "query_ids"]):
            rows = np.flatnonzero(batch["query_ids"].value_lengths().to_numpy())
            selection = self.selection.get()
            records = np.empty(len(rows), _RECORD)
            records["image"] = hash_images(batch["image_url"].take(pa.array(rows)))
            records["unit"], records["row"] = unit, first + rows
            records["selected"] = np.isin(rows, select_lots(batch, selection.cuts, selection.drawing)[0])
            parts.append(records)
            first += batch.num_rows
        return np.concatenate(parts)


def hash_images(urls: pa.Array) -> npt.NDArray[np.uint64]:
    """128 bits of every image's URL: [rows, 2]."""
    digests = b"".join(hashlib.blake2b(url.encode(), digest_size=16).digest() for url in urls.to_pylist())
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def companion_step(
    tables: Sequence[PoolTable], num_rows: int, *, selection: OnWorker[Selection], folder: str
) -> GroupPacked[TableGroup[PoolTable], TableGroup[PoolTable]]:
    """Lists the companions in every group of tables.

    Args:
        tables: The pairs.
        num_rows: Those that hold a query, about.
        selection: What selects pairs.
        folder: For the lists, a file a group.
    """
    payload = num_rows * _RECORD.itemsize
    companions = Companions(selection=selection, payload=payload)
    groups = even_groups(tables, num_rows)
    return GroupPacked(
        sources=groups,
        pack=companions.pack,
        find=companions.find,
        units=groups,
        output_of=lambda group: list_of(group, folder),
        work=write_list,
        payload=payload,
    )


def with_companions(tables: Sequence[PoolTable], num_rows: int, folder: str) -> list[PoolTable]:
    """The tables, in their order, each with the list that `companion_step` wrote for its group."""
    return tables_with_lists(tables, num_rows, "companions", folder=folder)
