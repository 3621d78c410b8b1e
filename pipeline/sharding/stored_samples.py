"""The rows of raw indexes whose image is there."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.ids import id_words, sorted_order
from pipeline.base.tables import read_table

OK_STATUS = "ok"


def read_stored(index_path: str) -> pa.Table:
    """The rows of a raw index whose image is there, in key order."""
    table = read_table(index_path)
    stored = table.filter(pc.equal(table["status"], OK_STATUS))
    return stored.take(sorted_order(id_words(stored["pair_id"])))
