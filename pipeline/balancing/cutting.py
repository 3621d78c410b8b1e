"""Matched pairs ► the cut of every query over its cap.

In: tables with `pair_id` and `query_ids`, counts and caps of the queries. Out: [num_queries] uint64, the largest lot
that each query selects. A map step writes the lots of each table that lie just around the expected cuts, a few per cent
more than are selected, packed; these alone are shuffled.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from pipeline.balancing.lots import LARGEST, NO_LOTS, collect_lots, lot_bounds, take_cuts
from pipeline.balancing.pool import DrawingFile, Source
from pipeline.base import files
from pipeline.base.arrays import Ints, read_array, write_array
from pipeline.base.drops import CountUnits, LostRows, UnitReport, report_unit
from pipeline.base.ids import Words
from pipeline.base.stage_folder import Shape, Step

_NUM_BUCKETS = 256  # groups that queries are collected in


def find_cuts(
    sources: Sequence[Source], counts: Ints, caps: Ints, *, drawing: DrawingFile, folder: str, stage_name: str
) -> Generator[Step, None, Words]:
    """Asks all queries over their caps for the cuts, then again those whose bound was too low.

    Args:
        sources: The pairs.
        counts: [num_queries], pairs that hold each query.
        caps: [num_queries], pairs that each may select.
        drawing: What draws lots.
        folder: For working files.
        stage_name: Namespace of the counts.

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
        lots = tuple(files.join(folder, f"lots-{widening}", f"{source.name}.npy") for source in sources)
        collect = CollectLots(stage_name=stage_name, sources=sources, outputs=lots, drawing=drawing, bounds=bounds_file)
        yield Step(f"CollectLots{widening}", collect, Shape.MAP, lots)
        take = TakeCuts(stage_name=stage_name, lots=lots, caps=caps_file, output=found_file)
        yield Step(f"TakeCuts{widening}", take, Shape.SHUFFLE, (found_file,))
        found = read_array(found_file)
        cuts[found["query_id"]] = found["lot"]
        unanswered = np.setdiff1d(unanswered, found["query_id"])
        if (bounds[unanswered] == LARGEST).any():
            raise LostRows("the tables hold fewer pairs of a query than its count says")
        widening *= 2
    return cuts


@dataclass(kw_only=True, eq=False)
class CollectLots(beam.PTransform):
    """Writes for every table its lots up to the bound of their query.

    Attributes:
        stage_name: Namespace of the counts.
        sources: The pairs.
        outputs: One file of lots a source.
        drawing: What draws lots.
        bounds: File of the bound of every query, [num_queries] uint64, 0 for those not asked for.
    """

    stage_name: str
    sources: Sequence[Source]
    outputs: Sequence[str]
    drawing: DrawingFile
    bounds: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        collect = beam.ParDo(_CollectTable(self.drawing, self.bounds))
        return (
            root
            | "Tables" >> beam.Create(list(zip(self.sources, self.outputs, strict=True)))
            | "CollectTable" >> collect.with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class TakeCuts(beam.PTransform):
    """Finds the cuts among collected lots; only these are shuffled, packed by groups of queries.

    Attributes:
        stage_name: Namespace of the counts.
        lots: Files that `CollectLots` wrote.
        caps: File of the cap of every query: which lot is its cut, counted from 1.
        output: File of the cuts found, by query; those of queries whose bound was too low are missing.
    """

    stage_name: str
    lots: Sequence[str]
    caps: str
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Lots" >> beam.Create(list(self.lots)).with_output_types(str)
            | "ReadLots" >> beam.FlatMap(_read_lots).with_output_types(tuple[int, bytes])
            | "GroupQueries" >> beam.GroupByKey()
            | "TakeCuts" >> beam.Map(_take_packed_cuts, self.caps).with_output_types(bytes)
            | "AllCuts" >> beam.combiners.ToList()
            | "WriteCuts" >> beam.Map(_write_cuts, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


class _CollectTable(beam.DoFn):
    def __init__(self, drawing: DrawingFile, bounds: str) -> None:
        self._drawing_file = drawing
        self._bounds_file = bounds

    def setup(self) -> None:
        self._drawing = self._drawing_file.open()
        self._bounds = read_array(self._bounds_file)

    def process(self, place: tuple[Source, str]) -> Iterator[UnitReport]:
        source, output = Source(*place[0]), place[1]
        if not files.exists(output):
            batches = source.read(["pair_id", "query_ids"])
            parts = [collect_lots(batch, self._bounds, self._drawing) for batch in batches]
            lots = np.concatenate([NO_LOTS, *parts])
            write_array(output, lots[np.argsort(lots["query_id"] % _NUM_BUCKETS, kind="stable")])
        yield report_unit(source.name, {})


def _read_lots(path: str) -> Iterator[tuple[int, bytes]]:
    """The lots of a file, by groups of queries; they lie in the order of the groups."""
    lots = read_array(path)
    present, starts = np.unique(lots["query_id"] % _NUM_BUCKETS, return_index=True)
    for bucket, part in zip(present.tolist(), np.split(lots, starts)[1:], strict=True):
        yield bucket, part.tobytes()


def _take_packed_cuts(bucket: tuple[int, Iterable[bytes]], caps: str) -> bytes:
    return take_cuts(np.frombuffer(b"".join(bucket[1]), NO_LOTS.dtype), read_array(caps)).tobytes()


def _write_cuts(packed: Sequence[bytes], output: str) -> UnitReport:
    write_array(output, np.sort(np.frombuffer(b"".join(packed), NO_LOTS.dtype), order="query_id"))
    return report_unit(files.basename(output), {})
