"""The raw tars that shards are made of, and the samples in them: the rows of raw indexes whose image is there."""

from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.ids import id_words, sorted_order
from pipeline.base.schemas import OK_STATUS
from pipeline.base.tables import read_table

NUM_BUCKETS: Final = 64  # in which samples of all raw tars are compared


class RawTar(NamedTuple):
    """A raw tar.

    Attributes:
        number: Its place among all of them.
        name: Unlike that of any other.
        tar: Its path.
        index_file: Path of its `RAW_INDEX`, or of the rows of it that were selected.
        scores: Path of the scores of its samples, if they are filtered by scores.
    """

    number: int
    name: str
    tar: str
    index_file: str
    scores: str


def read_stored(index: str) -> pa.Table:
    """The rows of a raw index whose image is there, in key order."""
    table = read_table(index)
    stored = table.filter(pc.equal(table["status"], OK_STATUS))
    return stored.take(sorted_order(id_words(stored["pair_id"])))
