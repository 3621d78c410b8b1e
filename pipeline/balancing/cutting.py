"""Matched pairs ► the cut of every query over its cap.

In: tables with `pair_id` and `query_ids`, counts and caps of the queries. Out: [num_queries] uint64, the largest lot
that each query selects. A map step writes the lots of each table that lie just around the expected cuts, a few per cent
more than are selected, packed; these alone are shuffled.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.balancing.lots import LARGEST, NO_LOTS, Drawing, collect_lots, expected_lots, lot_bounds, take_cuts
from pipeline.balancing.pool import PoolTable
from pipeline.base import files
from pipeline.base.arrays import Ints, read_array, write_array
from pipeline.base.drops import Counts, LostRows
from pipeline.base.ids import Words
from pipeline.base.on_worker import OnWorker
from pipeline.steps import GroupPacked, MapUnits, Step

_NUM_BUCKETS = 256  # groups that queries are collected in


def find_cuts(
    tables: Sequence[PoolTable], counts: Ints, caps: Ints, *, drawing: OnWorker[Drawing], folder: str
) -> Generator[tuple[Step, ...], None, Words]:
    """Asks all queries over their caps for the cuts, then again those whose bound was too low.

    Args:
        tables: The pairs.
        counts: [num_queries], pairs that hold each query.
        caps: [num_queries], pairs that each may select.
        drawing: What draws lots.
        folder: For working files.

    Returns:
        The cuts; `LARGEST` for a query that selects all its pairs.

    Raises:
        LostRows: When the tables hold fewer pairs of a query than its count says.
    """
    cuts = np.full(len(counts), LARGEST)
    caps_file = files.join(folder, "caps.npy")
    write_array(caps_file, caps)
    unanswered = np.flatnonzero(counts > caps)
    widening = 1
    while unanswered.size:
        bounds = np.zeros(len(counts), np.uint64)
        bounds[unanswered] = lot_bounds(counts[unanswered], caps[unanswered], widening=widening)
        bounds_file, found_file = (files.join(folder, f"{name}-{widening}.npy") for name in ("bounds", "found"))
        write_array(bounds_file, bounds)
        collect = collect_step(tables, drawing, bounds_file, files.join(folder, f"lots-{widening}"))
        take = take_step(collect.outputs, caps_file, found_file, num_lots=expected_lots(counts, bounds))
        yield Step(f"CollectLots{widening}", collect), Step(f"TakeCuts{widening}", take)
        found = read_array(found_file)
        cuts[found["query_id"]] = found["lot"]
        unanswered = np.setdiff1d(unanswered, found["query_id"])
        if (bounds[unanswered] == LARGEST).any():
            raise LostRows("the tables hold fewer pairs of a query than its count says")
        widening *= 2
    return cuts


def collect_step(
    tables: Sequence[PoolTable], drawing: OnWorker[Drawing], bounds: str, folder: str
) -> MapUnits[PoolTable]:
    """Writes for every table its lots up to the bound of their query.

    Args:
        tables: The pairs.
        drawing: What draws lots.
        bounds: File of the bound of every query, [num_queries] uint64, 0 for those not asked for.
        folder: For one file of lots a table.
    """
    return MapUnits(
        units=tables,
        output_of=lambda table: files.join(folder, f"{table.name}.npy"),
        work=partial(write_lots, drawing=drawing, bounds=OnWorker(read_array, bounds)),
    )


def take_step(lots: Sequence[str], caps: str, output: str, *, num_lots: int) -> GroupPacked[str, str]:
    """Finds the cuts among collected lots; only these are shuffled, packed by groups of queries.

    Args:
        lots: Files that `collect_step` wrote.
        caps: File of the cap of every query: which lot is its cut, counted from 1.
        output: File of the cuts found, by query; those of queries whose bound was too low are missing.
        num_lots: In all files, about.
    """
    return GroupPacked(
        sources=lots,
        pack=pack_lots,
        find=partial(find_packed_cuts, caps=OnWorker(read_array, caps)),
        units=[output],
        output_of=str,
        work=write_cuts,
        payload=num_lots * NO_LOTS.itemsize,
    )


def write_lots(table: PoolTable, output: str, *, drawing: OnWorker[Drawing], bounds: OnWorker[Words]) -> Counts:
    """Writes the lots of a table, by groups of queries."""
    batches = table.read(["pair_id", "query_ids"])
    parts = [collect_lots(batch, bounds.get(), drawing.get()) for batch in batches]
    lots = np.concatenate([NO_LOTS, *parts])
    write_array(output, lots[np.argsort((lots["query_id"] % _NUM_BUCKETS).astype(np.uint8), kind="stable")])
    return {}


def pack_lots(path: str) -> Iterator[tuple[int, bytes]]:
    """The lots of a file, by groups of queries; they lie in the order of the groups."""
    lots = read_array(path)
    present, starts = np.unique(lots["query_id"] % _NUM_BUCKETS, return_index=True)
    for bucket, part in zip(present.tolist(), np.split(lots, starts)[1:], strict=True):
        yield bucket, part.tobytes()


def find_packed_cuts(packed: Iterable[bytes], *, caps: OnWorker[Ints]) -> Iterator[tuple[int, bytes]]:
    """The cuts of a group of queries, all for the one output."""
    yield 0, take_cuts(np.frombuffer(b"".join(packed), NO_LOTS.dtype), caps.get()).tobytes()


def write_cuts(_: str, output: str, packed: Iterable[bytes]) -> Counts:
    """Writes the cuts of all queries, by query."""
    write_array(output, np.sort(np.frombuffer(b"".join(packed), NO_LOTS.dtype), order="query_id"))
    return {}
