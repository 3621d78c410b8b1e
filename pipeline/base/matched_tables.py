"""Tables of matched pairs: the queries of each pair, beside the table of pairs and row for row with it.

In: ``pairs/NAME.parquet`` and the queries found in its texts. Out: ``matched/NAME.parquet`` (`MATCHED`), with as many
rows, which names its table of pairs by a stamp. No text or URL is written a second time; whoever reads matched pairs
puts the columns together again, and reading them with another table of pairs is an error.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from pipeline.base import files
from pipeline.base.schemas import MATCHED
from pipeline.base.tables import read_batches, read_metadata

_BATCH_ROWS = 32_768  # few enough that numbers of a batch's queries stay in a core's cache

_PAIRS_KEY = b"wit400m.pairs"


class OtherPairs(ValueError):
    """A table of pairs is missing, or is not the one that was matched."""


def matched_schema(pairs: str) -> pa.Schema:
    """`MATCHED` for the pairs of one table, which its metadata name."""
    return MATCHED.with_metadata({_PAIRS_KEY: json.dumps(files.file_stamp(pairs), sort_keys=True)})


def pair_tables(matched: Sequence[str], pairs: str) -> list[str]:
    """The tables of pairs, in a folder, of some matched tables.

    Raises:
        OtherPairs: When the folder lacks one.
    """
    there = {files.basename(path) for path in files.list_files(pairs)}
    for path in matched:
        if files.basename(path) not in there:
            raise OtherPairs(f"{path} is there, but not its table of pairs, {files.join(pairs, files.basename(path))}")
    return [files.join(pairs, files.basename(path)) for path in matched]


def read_matched(
    matched: str, pairs: str, columns: Sequence[str], *, dictionaries: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Reads columns of `PAIRS` and `MATCHED` batch by batch; of a pair without a query, `query_ids` is empty.

    Args:
        matched: A matched table.
        pairs: Its table of pairs; not even opened when none of its columns is asked for.
        columns: Names, in the order of the batches' columns.
        dictionaries: Those of `PAIRS` that come as dictionary arrays.

    Raises:
        OtherPairs: When that is not the table that was matched.
    """
    of_pairs = [name for name in columns if name not in MATCHED.names]
    if not of_pairs:
        yield from read_batches(matched, columns, _BATCH_ROWS)
        return
    _check_pairs(matched, pairs)
    lists = read_batches(matched, MATCHED.names, _BATCH_ROWS)
    others = read_batches(pairs, of_pairs, _BATCH_ROWS, dictionaries=dictionaries)
    for found, rows in align_batches(lists, others):
        parts = [(found if name in MATCHED.names else rows)[name] for name in columns]
        yield pa.RecordBatch.from_arrays(parts, list(columns))


def align_batches(
    one: Iterable[pa.RecordBatch], other: Iterable[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Cuts two streams of batches, of as many rows in all, at the same rows.

    >>> rows = pa.record_batch({"row": [0, 1, 2]})
    >>> [(a.num_rows, b.num_rows) for a, b in align_batches([rows], [rows[:1], rows[1:]])]
    [(1, 1), (2, 2)]
    """
    rest = iter(other)
    right: pa.RecordBatch | None = None
    for left in one:
        while left.num_rows:
            if right is None or not right.num_rows:
                right = next(rest)
            num_rows = min(left.num_rows, right.num_rows)
            yield left[:num_rows], right[:num_rows]
            left, right = left[num_rows:], right[num_rows:]


def _check_pairs(matched: str, pairs: str) -> None:
    if not files.exists(pairs):
        raise OtherPairs(f"{matched} is there, but not its table of pairs, {pairs}")
    if json.loads(read_metadata(matched)[_PAIRS_KEY]) != files.file_stamp(pairs):
        raise OtherPairs(f"{pairs} is not the table that {matched} was made from; run match-pairs again")
