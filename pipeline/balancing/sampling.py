"""Matched pairs ► the queries of a sample of them, to solve a cap for a target size by.

The sample is chosen by pair id, so it does not depend on the order of pairs or tables.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from pipeline.balancing.caps import PairSample
from pipeline.balancing.pool import PoolTable, pair_weights
from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.ids import id_words
from pipeline.base.schemas import MATCHED
from pipeline.base.tables import count_rows_each, read_table, write_table
from pipeline.steps import MapUnits

SAMPLED = pa.schema([pa.field("weight", pa.float64(), nullable=False), MATCHED.field("query_ids")])

_SAMPLED_PAIRS = 2_000_000  # leaves a standard error of about 0.1 % in the number of pairs kept


def sample_step(tables: Sequence[PoolTable], folder: str) -> MapUnits[PoolTable]:
    """Writes a table of sampled pairs for every table, into a folder."""
    num_pairs = sum(count_rows_each(table.path for table in tables))
    return MapUnits(
        units=tables,
        output_of=lambda table: files.join(folder, table.name),
        work=partial(write_sample, share=min(1.0, _SAMPLED_PAIRS / max(num_pairs, 1))),
    )


def write_sample(table: PoolTable, output: str, *, share: float) -> Counts:
    """Writes a share of the pairs of a table."""
    batches = table.read(["pair_id", "query_ids"])
    write_table(output, (sample_pairs(batch, share) for batch in batches), SAMPLED)
    return {}


def sample_pairs(pairs: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """A share of the pairs with a query, chosen by their ids, as `SAMPLED`."""
    chosen = id_words(pairs["pair_id"])[:, 1] / 2.0**64 <= share
    rows = pairs.filter(pa.array(chosen & (pairs["query_ids"].value_lengths().to_numpy() > 0)))
    return pa.RecordBatch.from_arrays([pa.array(pair_weights(rows) / share), rows["query_ids"]], SAMPLED.names)


def read_sample(paths: Sequence[str]) -> PairSample:
    """All that was sampled, in the order of the tables."""
    table = pa.concat_tables([SAMPLED.empty_table(), *map(read_table, paths)])
    return PairSample(table["weight"].to_numpy(), table["query_ids"].combine_chunks())
