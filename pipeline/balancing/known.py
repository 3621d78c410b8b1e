"""An earlier balanced folder and a new crawl ► which new pairs the earlier crawl had.

In: the earlier balanced tables, the new matched tables, the earlier cuts. Out: a file of sorted ids of those pairs.
An earlier pair that its cuts would select lies among the earlier balanced pairs; so it is enough to compare with these,
and only the new pairs that the earlier cuts select. Only ids are shuffled, packed.

A pair of both crawls that the earlier cap had left out is not found. It cannot be selected (cuts only fall); it is
counted twice, for queries over the earlier cap only.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import PoolTable
from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.ids import Words, id_strings, id_words
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import split_by_bucket
from pipeline.steps import GroupPacked

_NUM_BUCKETS = 256
_EARLIER, _NEW = b"e", b"n"


def known_step(
    earlier: Sequence[PoolTable], new: Sequence[PoolTable], *, drawing: OnWorker[Drawing], cuts: str, output: str
) -> GroupPacked[tuple[PoolTable, bytes], str]:
    """Writes the ids of new pairs that are among the earlier ones.

    Args:
        earlier: Earlier balanced pairs.
        new: New matched pairs.
        drawing: What draws lots.
        cuts: File of the earlier cuts.
        output: File of the ids.
    """
    return GroupPacked(
        sources=[(table, _EARLIER) for table in earlier] + [(table, _NEW) for table in new],
        pack=partial(pack_ids, drawing=drawing, cuts=OnWorker(read_array, cuts)),
        find=find_known,
        units=[output],
        output_of=str,
        work=write_known,
    )


def pack_ids(
    source: tuple[PoolTable, bytes], *, drawing: OnWorker[Drawing], cuts: OnWorker[Words]
) -> Iterator[tuple[int, bytes]]:
    """The ids that cuts select of a table by bucket, each pack marked with the table's side."""
    table, side = source
    for batch in table.read(["pair_id", "query_ids"]):
        rows = np.unique(select_lots(batch, cuts.get(), drawing.get())[0])
        ids, words = id_strings(batch["pair_id"])[rows], id_words(batch["pair_id"])[rows, 0]
        for bucket, packed in split_by_bucket(ids, words, _NUM_BUCKETS):
            yield bucket, side + packed


def find_known(packs: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The ids of a bucket that are on both sides, for the one output."""
    sides: dict[bytes, list[bytes]] = {_EARLIER: [], _NEW: []}
    for pack in packs:
        sides[pack[:1]].append(pack[1:])
    earlier, new = (np.frombuffer(b"".join(sides[side]), "S16") for side in (_EARLIER, _NEW))
    yield 0, np.intersect1d(earlier, new).tobytes()


def write_known(_: str, output: str, packed: Iterable[bytes]) -> Counts:
    """Writes the ids of all buckets, sorted."""
    write_array(output, np.sort(np.frombuffer(b"".join(packed), "S16")))
    return {}
