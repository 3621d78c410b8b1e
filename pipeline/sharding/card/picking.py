"""The index of a shard ► samples that the card may show: of the whole set, and of some of its queries.

A sample's place in the draw is a hash of its key: of all samples those with the smallest are shown, whatever the number
of shards and the order in which they are read.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints, flatten_lists

NUM_RANDOM: Final = 48  # samples of the whole set
_NUM_QUERIES: Final = 8
_A_QUERY: Final = 6  # samples of each of them
OF_ALL: Final = -1  # stands for the whole set where a query's id is expected

PICKS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),  # the query that it is shown for, or `OF_ALL`
        pa.field("place", pa.uint64(), nullable=False),  # in the draw; the smallest are shown
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),  # of its first tar header in the shard
        pa.field("length", pa.int64(), nullable=False),  # bytes of all its members, headers and padding
        pa.field("url", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
    ]
)


def choose_queries(queries: pa.Table) -> list[int]:
    """The queries whose samples are shown: evenly spread over the ranks, on a logarithmic scale, the first among them.

    Args:
        queries: `CARD_QUERIES`, the most frequent first. Where some have enough samples for a full row, only these
            are chosen among.
    """
    samples = queries["samples"].to_numpy()
    rows = np.flatnonzero(samples >= min(_A_QUERY, max(1, samples.max(initial=0))))
    if not len(rows):
        return []
    ranks = np.unique(np.geomspace(1, len(rows), _NUM_QUERIES).round().astype(np.int64)) - 1
    return [int(query) for query in queries["query_id"].to_numpy()[rows[ranks]]]


def pick_samples(index: pa.Table, *, shard: str, queries: Sequence[int]) -> pa.Table:
    """The samples of a shard that come first in the draw, of all and of each of some queries (`PICKS`).

    Args:
        index: Of the shard (`SHARD_INDEX`).
        shard: Its name.
        queries: Ids of the queries.
    """
    places = np.array([place_of(key) for key in index["key"].to_pylist()], np.uint64)
    rows_of, kept_for = flatten_lists(index["kept_for"].combine_chunks())
    parts = [_pick(index, places, np.arange(index.num_rows), shard=shard, query_id=OF_ALL)]
    parts += [_pick(index, places, rows_of[kept_for == query], shard=shard, query_id=query) for query in queries]
    return pa.concat_tables(parts)


def merge_picks(parts: Iterable[pa.Table]) -> pa.Table:
    """Of the picks of several shards those that come first, by query and place."""
    table = pa.concat_tables([PICKS.empty_table(), *parts])
    table = table.sort_by([("query_id", "ascending"), ("place", "ascending"), ("key", "ascending")])
    firsts = []
    for query in sorted(pc.unique(table["query_id"]).to_pylist()):
        own = table.filter(pc.equal(table["query_id"], query))
        firsts.append(own.slice(0, NUM_RANDOM if query == OF_ALL else _A_QUERY))
    return pa.concat_tables(firsts) if firsts else table


def place_of(key: str) -> int:
    """The place of a sample in the draw.

    >>> place_of("00ff") == place_of("00ff") != place_of("00fe")
    True
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"data card").digest())


def _pick(index: pa.Table, places: np.ndarray, rows: Ints, *, shard: str, query_id: int) -> pa.Table:
    most = NUM_RANDOM if query_id == OF_ALL else _A_QUERY
    first = rows[np.argsort(places[rows], kind="stable")[:most]]
    table = index.select(["key", "offset", "length", "url", "caption"]).take(pa.array(first))
    own = {
        "query_id": pa.array(np.full(len(first), query_id, np.int32)),
        "place": pa.array(places[first]),
        "shard": pa.array([shard] * len(first), pa.string()),
    }
    return pa.table([own[name] if name in own else table[name] for name in PICKS.names], PICKS)
