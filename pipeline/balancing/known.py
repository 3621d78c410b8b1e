"""An earlier balanced folder and a new crawl ► which new pairs the earlier crawl had.

In: the earlier balanced tables, the new matched tables, the earlier cuts. Out: a file of sorted ids of those pairs.
An earlier pair that its cuts would select lies among the earlier balanced pairs; so it is enough to compare with these,
and only the new pairs that the earlier cuts select. Only ids are shuffled, packed.

A pair of both crawls that the earlier cap had left out is not found. It cannot be selected (cuts only fall); it is
counted twice, for queries over the earlier cap only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import DrawingFile, Source
from pipeline.base import files
from pipeline.base.arrays import read_array, write_array
from pipeline.base.drops import CountUnits, UnitReport, report_unit
from pipeline.base.ids import Words, id_strings, id_words

_NUM_BUCKETS = 256
_EARLIER, _NEW = b"e", b"n"


@dataclass(kw_only=True, eq=False)
class FindKnown(beam.PTransform):
    """Writes the ids of new pairs that are among the earlier ones.

    Attributes:
        stage_name: Namespace of the counts.
        earlier: Earlier balanced pairs.
        new: New matched pairs.
        drawing: What draws lots.
        cuts: File of the earlier cuts.
        output: File of the ids.
    """

    stage_name: str
    earlier: Sequence[Source]
    new: Sequence[Source]
    drawing: DrawingFile
    cuts: str
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        tables = [(source, _EARLIER) for source in self.earlier] + [(source, _NEW) for source in self.new]
        pack = beam.ParDo(_PackIds(self.drawing, self.cuts))
        return (
            root
            | "Tables" >> beam.Create(tables)
            | "PackIds" >> pack.with_output_types(tuple[int, bytes])
            | "GroupIds" >> beam.GroupByKey()
            | "FindKnown" >> beam.Map(_find_known).with_output_types(bytes)
            | "AllKnown" >> beam.combiners.ToList()
            | "WriteKnown" >> beam.Map(_write_known, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


class _PackIds(beam.DoFn):
    def __init__(self, drawing: DrawingFile, cuts: str) -> None:
        self._drawing_file = drawing
        self._cuts_file = cuts

    def setup(self) -> None:
        self._drawing: Drawing = self._drawing_file.open()
        self._cuts: Words = read_array(self._cuts_file)

    def process(self, table: tuple[Source, bytes]) -> Iterator[tuple[int, bytes]]:
        """The ids of a table by bucket, each pack marked with its side."""
        source, side = Source(*table[0]), table[1]
        for batch in source.read(["pair_id", "query_ids"]):
            rows = np.unique(select_lots(batch, self._cuts, self._drawing)[0])
            ids = id_strings(batch["pair_id"])[rows]
            buckets = (id_words(batch["pair_id"])[rows, 0] % np.uint64(_NUM_BUCKETS)).astype(np.int64)
            for bucket in np.unique(buckets).tolist():
                yield bucket, side + ids[buckets == bucket].tobytes()


def _find_known(bucket: tuple[int, Iterable[bytes]]) -> bytes:
    packs = list(bucket[1])
    earlier, new = (b"".join(pack[1:] for pack in packs if pack[:1] == side) for side in (_EARLIER, _NEW))
    return np.intersect1d(np.frombuffer(earlier, "S16"), np.frombuffer(new, "S16")).tobytes()


def _write_known(packed: Sequence[bytes], output: str) -> UnitReport:
    write_array(output, np.sort(np.frombuffer(b"".join(packed), "S16")))
    return report_unit(files.basename(output), {})
