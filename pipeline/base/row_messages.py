"""Rows that travel, with texts in them: an Arrow record batch as one message, packed by zstd.

A message costs a kilobyte or so of its own, so what counts is rows a message.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa
import zstandard

_ZSTD_LEVEL: Final = 1


def pack_rows(rows: pa.Table) -> bytes:
    """Some rows, one at least, as a message.

    >>> rows = pa.table({"text": ["a cat", "a dog"]})
    >>> message = pack_rows(rows)
    >>> read_messages([message, message + message], rows.schema)["text"].to_pylist()
    ['a cat', 'a dog', 'a cat', 'a dog', 'a cat', 'a dog']
    """
    [batch] = rows.combine_chunks().to_batches()
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(batch.serialize())


def read_messages(messages: Iterable[bytes], schema: pa.Schema) -> pa.Table:
    """The rows of some messages, in one piece a column; several, one after another, may come as one.

    Args:
        messages: As `pack_rows` makes them.
        schema: Of their rows.
    """
    parts = [batch for message in messages for batch in _read_batches(message, schema)]
    return pa.Table.from_batches(parts, schema).combine_chunks()


def _read_batches(message: bytes, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    unpacked = zstandard.ZstdDecompressor().stream_reader(message, read_across_frames=True).readall()
    stream = pa.BufferReader(unpacked)
    while stream.tell() < len(unpacked):
        yield pa.ipc.read_record_batch(pa.ipc.read_message(stream), schema)
