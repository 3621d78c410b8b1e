"""Matched pairs ► the queries of a sample of them, to solve a cap for a target size by.

The sample is chosen by pair id, so it does not depend on the order of pairs or tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from pipeline.balancing.caps import PairSample
from pipeline.balancing.pool import Source, pair_weights
from pipeline.base import files
from pipeline.base.drops import CountUnits, UnitReport, report_unit
from pipeline.base.ids import id_words
from pipeline.base.schemas import MATCHED
from pipeline.base.tables import read_table, write_table

SAMPLED = pa.schema([pa.field("weight", pa.float64(), nullable=False), MATCHED.field("query_ids")])


@dataclass(kw_only=True, eq=False)
class SamplePairs(beam.PTransform):
    """Writes the sampled pairs of every table.

    Attributes:
        stage_name: Namespace of the counts.
        sources: The pairs.
        outputs: One table a source.
        share: Of the pairs, from 0 to 1.
    """

    stage_name: str
    sources: Sequence[Source]
    outputs: Sequence[str]
    share: float

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Tables" >> beam.Create(list(zip(self.sources, self.outputs, strict=True)))
            | "SampleTable" >> beam.MapTuple(self._sample_table).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )

    def _sample_table(self, element: Source, output: str) -> UnitReport:
        source = Source(*element)
        if not files.exists(output):
            batches = source.read(["pair_id", "query_ids"])
            write_table(output, (sample_pairs(batch, self.share) for batch in batches), SAMPLED)
        return report_unit(source.name, {})


def sample_pairs(pairs: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """A share of the pairs with a query, chosen by their ids, as `SAMPLED`."""
    chosen = id_words(pairs["pair_id"])[:, 1] / 2.0**64 <= share
    rows = pairs.filter(pa.array(chosen & (pairs["query_ids"].value_lengths().to_numpy() > 0)))
    return pa.RecordBatch.from_arrays([pa.array(pair_weights(rows) / share), rows["query_ids"]], SAMPLED.names)


def read_sample(paths: Sequence[str]) -> PairSample:
    """All that was sampled, in the order of the tables."""
    table = pa.concat_tables([SAMPLED.empty_table(), *map(read_table, paths)])
    return PairSample(table["weight"].to_numpy(), table["query_ids"].combine_chunks())
