"""Survivors ► the plan of every block of shards: its samples, shard by shard, and in key order within each.

Only rows of tables are shuffled: of each table of survivors and each block one compressed Arrow message. Rows of a bin
in which two blocks meet go to both, and each keeps those with ranks of its own.

In a block samples are dealt to its shards as cards are: those of one host one after another, in key order. So a host
has in each shard its share of the block, rounded up or down (of a block whose last shard is smaller, to within one).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints
from pipeline.base.drops import Counts, LostRows
from pipeline.base.on_worker import OnWorker
from pipeline.base.row_messages import pack_rows, read_messages
from pipeline.base.tables import open_table_writer, read_table
from pipeline.sharding.packing.layout import Block, SetLayout
from pipeline.sharding.selection.selecting import SURVIVORS
from pipeline.sharding.stored_samples import key_words

SHARD_PLAN: Final = SURVIVORS  # the rows of one block, shard after shard

_HOST: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#]*)"  # RFC 3986, section 3; a port counts


def route_rows(path: str, *, layout: OnWorker[SetLayout], schema: pa.Schema = SURVIVORS) -> Iterator[tuple[int, bytes]]:
    """The rows of a table of survivors, by block.

    Args:
        path: Of the table.
        layout: Where samples go.
        schema: `SURVIVORS`, with the columns that are carried.
    """
    table = read_table(path, schema.names).combine_chunks()
    for block, rows in layout.get().rows_by_block(table):
        yield block, pack_rows(rows)


def plan_block(block: Block, rows: pa.Table) -> pa.Table:
    """The samples of a block, shard by shard, in key order within each.

    Args:
        block: The block.
        rows: Of `SURVIVORS`, in any order: all of its bins.

    Raises:
        LostRows: When they are too few.
        ValueError: When two of the samples have one key, which readers of shards could not tell apart.
    """
    words, wanted = key_words(rows["key"]), sum(block.sizes)
    order = np.lexsort((rows["offset"].to_numpy(), rows["raw"].to_numpy(), words[:, 1], words[:, 0]))
    repeats = np.flatnonzero((words[order][1:] == words[order][:-1]).all(axis=1))
    if len(repeats):
        raise ValueError(f"raw: sample {rows['key'][order[repeats[0]]]} was fetched twice, with two different images")
    own = order[block.skip : block.skip + wanted]
    if len(own) < wanted:
        raise LostRows(f"block {block.number} of shards: {wanted} samples were counted, {len(own)} came")
    shards = deal_samples(number_hosts(rows["image_url"].take(pa.array(own))), block.sizes)
    return rows.take(pa.array(own[np.argsort(shards, kind="stable")]))


def number_hosts(urls: pa.ChunkedArray) -> Ints:
    """The place of each URL's host among all of them, in the order of their names: [rows].

    >>> number_hosts(pa.chunked_array([["http://b.example/1", "https://me@A.example:80?x", "http://b.example", "odd"]]))
    array([2, 1, 2, 0])
    """
    hosts = pc.struct_field(pc.extract_regex(urls, _HOST), "host")
    coded = pc.utf8_lower(pc.fill_null(hosts, "")).combine_chunks().dictionary_encode()
    places = np.empty(len(coded.dictionary), np.int64)
    places[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(places))
    return places[coded.indices.to_numpy()]


def deal_samples(hosts: Ints, sizes: Sequence[int]) -> Ints:
    """The shard of each sample, so that all hosts are spread evenly: [rows], counted from 0.

    Args:
        hosts: [rows], number of the host; rows are in key order.
        sizes: Samples of each shard; their sum is that of the rows.

    >>> deal_samples(np.array([5, 5, 7, 5, 7, 7, 5]), (3, 3, 1)).tolist()
    [0, 1, 2, 0, 0, 1, 1]
    """
    # Where the samples of a shard lie among all that are dealt: at equal distances, the smaller the shard, the longer.
    times = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    owners = np.repeat(np.arange(len(sizes)), sizes)
    shards = np.empty(len(hosts), np.int64)
    shards[np.argsort(hosts, kind="stable")] = owners[np.lexsort((owners, times))]
    return shards


def write_plan(block: Block, output: str, parts: Iterable[bytes], *, schema: pa.Schema = SHARD_PLAN) -> Counts:
    """Writes the plan of a block (`SHARD_PLAN`) from the rows that were routed to it: a row group for each shard.

    Args:
        block: The block.
        output: Where to.
        parts: The rows.
        schema: `SHARD_PLAN`, with the columns that are carried.
    """
    plan, start = plan_block(block, read_messages(parts, schema)), 0
    with open_table_writer(output, schema) as writer:
        for size in block.sizes:
            writer.write(plan.slice(start, size), as_one_group=True)
            start += size
    return {}
