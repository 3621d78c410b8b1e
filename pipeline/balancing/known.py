"""An earlier balanced folder and a new crawl ► which new pairs the earlier crawl had.

In: the earlier balanced tables, the new matched tables, the earlier cuts. Out: for each group of new tables a list of
the rows that hold such pairs. An earlier pair that its cuts would select lies among the earlier balanced pairs; so it
is enough to compare with these, and only the new pairs that the earlier cuts select. Only ids and rows are shuffled,
packed, by hash of the id: no worker holds more than a bucket.

A pair of both crawls that the earlier cap had left out is not found. It cannot be selected (cuts only fall); it is
counted twice, for queries over the earlier cap only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import PoolTable, even_groups, list_of, tables_with_lists, write_list
from pipeline.base.ids import Words, id_strings
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import num_buckets, split_by_bucket
from pipeline.base.table_groups import TableGroup, places_of, split_by_group
from pipeline.steps import GroupPacked

_EARLIER: Final = b"e"
_NEW: Final = b"n"
_ID: Final = np.dtype("S16")
_RECORD: Final = np.dtype([("pair_id", _ID), ("unit", "<u4"), ("row", "<u4")])

Records = npt.NDArray[Any]  # [records] of `_RECORD`


class Side(NamedTuple):
    """Tables of one of the two crawls.

    Attributes:
        tables: All of them.
        num_rows: Rows of all together.
        num_selected: Those that the earlier cuts select, about.
    """

    tables: Sequence[PoolTable]
    num_rows: int
    num_selected: int

    def groups(self) -> list[TableGroup[PoolTable]]:
        """The tables in groups, as if they were of equal sizes."""
        return even_groups(self.tables, self.num_rows)


@dataclass(frozen=True, kw_only=True)
class KnownPairs:
    """What compares new pairs with earlier ones; its methods are called on workers.

    Attributes:
        drawing: What draws lots.
        cuts: Opens the earlier cuts.
        payload: Bytes of all records, about; they decide the number of buckets, and no result.
    """

    drawing: OnWorker[Drawing]
    cuts: OnWorker[Words]
    payload: int

    def pack(self, source: tuple[TableGroup[PoolTable], bytes]) -> Iterator[tuple[int, bytes]]:
        """The pairs of a group that the cuts select, by bucket, each pack marked with the group's side."""
        group, side = source
        records = np.concatenate([self._records(table, group.unit(place)) for place, table in enumerate(group.tables)])
        hashes = np.ascontiguousarray(records["pair_id"]).view("<u8")[::2]
        packed = records if side == _NEW else records["pair_id"]
        for bucket, part in split_by_bucket(packed, hashes, num_buckets(self.payload)):
            yield bucket, side + part

    def find(self, packs: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The rows of new pairs in a bucket that the other side has too, by group."""
        sides: dict[bytes, list[bytes]] = {_EARLIER: [], _NEW: []}
        for pack in packs:
            sides[pack[:1]].append(pack[1:])
        earlier = np.frombuffer(b"".join(sides[_EARLIER]), _ID)
        new: Records = np.frombuffer(b"".join(sides[_NEW]), _RECORD)
        known = new[np.isin(new["pair_id"], earlier)]
        return split_by_group(known, places_of(known))

    def _records(self, table: PoolTable, unit: int) -> Records:
        parts = [np.empty(0, _RECORD)]
        first = 0
        for batch in table.read(["pair_id", "query_ids"]):
            rows = np.unique(select_lots(batch, self.cuts.get(), self.drawing.get())[0])
            records = np.empty(len(rows), _RECORD)
            records["pair_id"] = id_strings(batch["pair_id"])[rows]
            records["unit"] = unit
            records["row"] = first + rows
            parts.append(records)
            first += batch.num_rows
        return np.concatenate(parts)


def known_step(
    earlier: Side, new: Side, *, drawing: OnWorker[Drawing], cuts: OnWorker[Words], folder: str
) -> GroupPacked[tuple[TableGroup[PoolTable], bytes], TableGroup[PoolTable]]:
    """Lists the rows of new tables whose pairs are among the earlier ones.

    Args:
        earlier: Earlier balanced pairs.
        new: New matched pairs.
        drawing: What draws lots.
        cuts: Opens the earlier cuts.
        folder: For the lists, a file a group of new tables.
    """
    payload = earlier.num_selected * _ID.itemsize + new.num_selected * _RECORD.itemsize
    known = KnownPairs(drawing=drawing, cuts=cuts, payload=payload)
    groups = new.groups()
    return GroupPacked(
        sources=[*((group, _EARLIER) for group in earlier.groups()), *((group, _NEW) for group in groups)],
        pack=known.pack,
        find=known.find,
        units=groups,
        output_of=lambda group: list_of(group, folder),
        work=write_list,
        payload=payload,
    )


def without_known(new: Side, folder: str) -> list[PoolTable]:
    """The new tables, in their order, without the rows that `known_step` listed in a folder."""
    return tables_with_lists(new.tables, new.num_rows, "known", folder=folder)
