"""How many survivors there are ► which shard, and which pack unit, each goes to.

Keys are hashes, so key order is a random order that every run repeats: shard k holds the samples with ranks
[k n, (k + 1) n) in key order of all of them. Each shard is a random draw of the whole, hosts are mixed in it as in the
whole, and all shards but the last are of one size: as large as allowed, or smaller where there would be too few for the
processes that read them. To find ranks, survivors are counted by *bins* of their keys; only in a bin
where a shard's border falls are keys compared.

A *pack unit* is a run of shards that one worker writes at once. How many it has changes no byte of any shard.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipeline.base.arrays import Ints, count_elements, read_array
from pipeline.base.ids import Words
from pipeline.base.tables import read_batches
from pipeline.sharding.stored_samples import key_words

_BIN_BITS: Final = 20  # of 400 million keys, 400 in a bin
NUM_BINS: Final = 1 << _BIN_BITS
_WANTED_UNITS: Final = 64  # so that all workers have something to pack


class PackUnit(NamedTuple):
    """Shards that are written at once.

    Attributes:
        number: Its place among all units.
        first: Rank of its first sample.
        last: Rank behind its last sample.
        skip: How many samples of its first bin are of the unit before.
    """

    number: int
    first: int
    last: int
    skip: int

    @property
    def name(self) -> str:
        """Of the files that are made of it."""
        return f"{self.number:05d}"


class Layout(NamedTuple):
    """Where each sample goes.

    Attributes:
        starts: [bins + 1] int64, survivors with keys below each bin, and all of them.
        shard_samples: Samples of every shard but the last.
        shards_at_once: Shards of every pack unit but the last.
    """

    starts: Ints
    shard_samples: int
    shards_at_once: int

    @property
    def num_samples(self) -> int:
        """All survivors."""
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        """As few as hold them."""
        return -(-self.num_samples // self.shard_samples)

    @property
    def _edges(self) -> Ints:
        """[units + 1] ranks where a unit begins, and where the last ends."""
        step = self.shard_samples * self.shards_at_once
        return np.append(np.arange(0, self.num_samples, step), self.num_samples)

    def units(self) -> list[PackUnit]:
        """The pack units, in key order."""
        edges = self._edges
        skips = edges[:-1] - self.starts[self.bins()[0]]
        return [
            PackUnit(*numbers)
            for numbers in zip(range(len(skips)), *map(np.ndarray.tolist, (edges[:-1], edges[1:], skips)), strict=True)
        ]

    def bins(self) -> tuple[Ints, Ints]:
        """[units] each: the first and the last bin that holds samples of a unit; units that meet in a bin share it."""
        edges = self._edges
        return _find_bins(self.starts, edges[:-1]), _find_bins(self.starts, edges[1:] - 1)


def make_layout(counts: Ints, *, max_samples: int, min_shards: int, most_at_once: int) -> Layout:
    """The layout of so many survivors.

    Args:
        counts: [bins], survivors by bin of their keys.
        max_samples: Samples a shard may hold.
        min_shards: How many shards there should be, if there are as many samples.
        most_at_once: Shards that a pack unit may have; it has fewer where there would be few units.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    size = samples_a_shard(int(starts[-1]), max_samples=max_samples, min_shards=min_shards)
    num_shards = -(-int(starts[-1]) // size)
    return Layout(starts, size, min(most_at_once, max(1, -(-num_shards // _WANTED_UNITS))))


def samples_a_shard(num_samples: int, *, max_samples: int, min_shards: int) -> int:
    """How many samples every shard but the last has: the most that is allowed and leaves as many shards as wanted.

    >>> [samples_a_shard(number, max_samples=10_000, min_shards=16) for number in (0, 5, 17, 7_998, 1_000_000)]
    [1, 1, 1, 500, 10000]
    """
    fewest = -(-num_samples // min_shards)
    if -(-num_samples // max(1, fewest)) < min_shards:
        fewest = num_samples // min_shards
    return min(max_samples, max(1, fewest))


def read_layout(counts_file: str, *, max_samples: int, min_shards: int, most_at_once: int) -> Layout:
    """The layout of the survivors that were counted in a file (`count_survivors`)."""
    counts = read_array(counts_file)[:NUM_BINS]
    return make_layout(counts, max_samples=max_samples, min_shards=min_shards, most_at_once=most_at_once)


def key_bins(keys: Words) -> Ints:
    """The bin of every key.

    >>> key_bins(np.array([[0, 7], [1 << 44, 0], [(1 << 64) - 1, 0]], np.uint64)).tolist()
    [0, 1, 1048575]
    """
    return (keys[:, 0] >> np.uint64(64 - _BIN_BITS)).astype(np.int64)


def count_survivors(path: str, *, num_queries: int) -> Ints:
    """Survivors in a table by bin of their keys, and behind that by the queries that they are kept for.

    Returns:
        [NUM_BINS + num_queries].
    """
    bins, queries = np.zeros(NUM_BINS, np.int64), np.zeros(num_queries, np.int64)
    for batch in read_batches(path, ["key", "kept_for"]):
        np.add.at(bins, key_bins(key_words(batch["key"])), 1)
        queries += count_elements([batch["kept_for"]], num_queries)
    return np.concatenate([bins, queries])


def slices_of_units(layout: Layout, bins: Ints) -> Iterator[tuple[int, int, int]]:
    """Where the rows lie that units may need: ``(unit, first, last)`` for each that has some.

    Args:
        layout: Of all survivors.
        bins: [rows], sorted.
    """
    first_bins, last_bins = layout.bins()
    firsts, lasts = np.searchsorted(bins, first_bins, "left"), np.searchsorted(bins, last_bins, "right")
    for unit in np.flatnonzero(lasts > firsts).tolist():
        yield unit, int(firsts[unit]), int(lasts[unit])


def _find_bins(starts: Ints, ranks: Ints) -> Ints:
    """The bins in which some ranks lie."""
    return np.searchsorted(starts, ranks, "right") - 1
