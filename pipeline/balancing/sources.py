"""What lots are drawn by and what they are drawn for, as files that workers open."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import files
from pipeline.balancing.lots import Drawing
from pipeline.ids import contains_ids
from pipeline.query_lists import read_array
from pipeline.tables import read_batches

_WEIGHT_COLUMN = "keep_probability"


class Source(NamedTuple):
    """A table of pairs.

    Attributes:
        path: Where it lies.
        name: Of what is written for it.
        known: File of sorted ids of pairs to pass over; empty: none.
        balanced: Whether it holds balanced pairs, each of which stands for those of its kind that were not kept.
    """

    path: str
    name: str
    known: str = ""
    balanced: bool = False

    def read(self, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The pairs, and how many were passed over, batch by batch; with the column that `pair_weights` needs."""
        for batch in read_batches(self.path, [*columns, *([_WEIGHT_COLUMN] if self.balanced else [])]):
            if not self.known:
                yield batch, 0
                continue
            new = batch.filter(pc.invert(contains_ids(read_array(self.known), batch["pair_id"])))
            yield new, batch.num_rows - new.num_rows


class DrawingFile(NamedTuple):
    """A `Drawing` whose query hashes lie in a file."""

    seed: int
    query_hashes: str

    def open(self) -> Drawing:
        """Maps the hashes into memory."""
        return Drawing(seed=self.seed, query_hashes=read_array(self.query_hashes))


def pair_weights(pairs: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """How many pairs of its pool each pair stands for: 1 / keep probability if it is a balanced one.

    Source: Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe", J. Am.
    Stat. Assoc. 47, 1952.
    """
    if _WEIGHT_COLUMN not in pairs.schema.names:
        return np.ones(pairs.num_rows)
    return 1 / pairs[_WEIGHT_COLUMN].to_numpy().astype(np.float64)


def list_sources(paths: Sequence[str]) -> list[Source]:
    """Sources under distinct names."""
    return [Source(path, name) for path, name in zip(paths, files.distinct_names(paths), strict=True)]
