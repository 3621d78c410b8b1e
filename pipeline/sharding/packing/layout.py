"""How many survivors there are ► which shards there are, and where the samples of each are found.

Keys are hashes, so key order is a random order that every run repeats. A split's samples are cut, in key order, into
*blocks* of 16 to 32 shards (one block where there are fewer), each a random draw of the whole; within a block samples
are dealt to shards host by host (`planning`), so that hosts are mixed in each shard as in its block, to within one
sample. All shards of a split but the last are of one size: as large as allowed, or smaller where there would be too few
for the processes that read them. To find the ranks of keys, survivors are counted by *bins* of them; only in a bin
where a block's border falls are keys compared.

A *pack unit* is a run of shards of a block that one worker writes at once. How many it has changes no byte of any.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base.arrays import Ints, count_elements, read_array
from pipeline.base.ids import Words
from pipeline.base.shard_format import TRAIN, VALIDATION
from pipeline.base.tables import read_batches
from pipeline.sharding.packing.splits import SPLIT_COLUMNS, in_validation
from pipeline.sharding.stored_samples import key_words

_BIN_BITS: Final = 20  # of 400 million keys, 400 in a bin
NUM_BINS: Final = 1 << _BIN_BITS
BLOCK_SHARDS: Final = 32  # at most; half as many at least, where there are as many
_WANTED_UNITS: Final = 64  # so that all workers have something to pack


class Block(NamedTuple):
    """Shards to which a run of samples is dealt.

    Attributes:
        number: Its place among the blocks of all splits.
        split: Whose it is.
        first_shard: The first of its shards, counted within the split.
        sizes: Samples of each of its shards.
        skip: How many samples of its first bin are of the block before.
    """

    number: int
    split: str
    first_shard: int
    sizes: tuple[int, ...]
    skip: int

    @property
    def name(self) -> str:
        """Of its plan."""
        return f"{self.number:05d}"


class PackUnit(NamedTuple):
    """Shards of a block that are written at once.

    Attributes:
        number: Its place among all units.
        block: Name of the block.
        split: Whose it is.
        first_shard: The first of its shards, counted within the split.
        first_group: The same, counted within the block: which row group of its plan.
        sizes: Samples of each of its shards.
    """

    number: int
    block: str
    split: str
    first_shard: int
    first_group: int
    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the file that is made of it."""
        return f"{self.number:05d}"


class Layout(NamedTuple):
    """Where each sample of a split goes.

    Attributes:
        split: Its name.
        starts: [bins + 1] int64, survivors with keys below each bin, and all of them.
        shard_samples: Samples of every shard but the last.
    """

    split: str
    starts: Ints
    shard_samples: int

    @property
    def num_samples(self) -> int:
        """All survivors."""
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        """As few as hold them."""
        return -(-self.num_samples // self.shard_samples)

    def shard_edges(self) -> Ints:
        """[blocks + 1] shards with which a block begins, and the number of all."""
        blocks = -(-self.num_shards // BLOCK_SHARDS)
        return np.arange(blocks + 1) * self.num_shards // max(1, blocks)

    def bins(self) -> tuple[Ints, Ints]:
        """[blocks] each: the first and the last bin that holds samples of a block; two that meet in a bin share it."""
        edges = self._rank_edges()
        return _find_bins(self.starts, edges[:-1]), _find_bins(self.starts, edges[1:] - 1)

    def blocks(self, first: int) -> list[Block]:
        """The blocks, in key order.

        Args:
            first: The number of the first.
        """
        edges = self.shard_edges()
        skips = self._rank_edges()[:-1] - self.starts[self.bins()[0]]
        sizes = np.minimum(self.shard_samples, self.num_samples - np.arange(self.num_shards) * self.shard_samples)
        return [
            Block(first + place, self.split, begin, tuple(sizes[begin:end].tolist()), skip)
            for place, (begin, end, skip) in enumerate(
                zip(*map(np.ndarray.tolist, (edges[:-1], edges[1:], skips)), strict=True)
            )
        ]

    def _rank_edges(self) -> Ints:
        """[blocks + 1] ranks with which a block begins, and the number of all samples."""
        return np.minimum(self.shard_edges() * self.shard_samples, self.num_samples)


class SetLayout(NamedTuple):
    """Where each sample of a set goes.

    Attributes:
        splits: A layout for each split that was asked for, in order.
        validation_share: What share of images goes to the validation split.
    """

    splits: tuple[Layout, ...]
    validation_share: float

    def num_shards(self, split: str) -> int:
        """The shards of a split."""
        return next(layout.num_shards for layout in self.splits if layout.split == split)

    def shards_before(self, split: str) -> int:
        """The shards of the splits before one."""
        names = [layout.split for layout in self.splits]
        return sum(layout.num_shards for layout in self.splits[: names.index(split)])

    @property
    def shard_samples(self) -> int:
        """The most samples of a shard."""
        return max(layout.shard_samples for layout in self.splits)

    def blocks(self) -> list[Block]:
        """The blocks of all splits, in order."""
        found: list[Block] = []
        for layout in self.splits:
            found += layout.blocks(len(found))
        return found

    def units(self, *, most_at_once: int, whole_blocks: bool) -> list[PackUnit]:
        """The pack units, in order.

        Args:
            most_at_once: Shards that one may have.
            whole_blocks: Whether it has as many as that, since shards of a block lie in the same ranges of raw tars;
                else it has fewer where there would be few units.
        """
        total = sum(layout.num_shards for layout in self.splits)
        step = most_at_once if whole_blocks else min(most_at_once, max(1, -(-total // _WANTED_UNITS)))
        found: list[PackUnit] = []
        for block in self.blocks():
            found += [
                PackUnit(
                    len(found) + place,
                    block.name,
                    block.split,
                    block.first_shard + shard,
                    shard,
                    block.sizes[shard : shard + step],
                )
                for place, shard in enumerate(range(0, len(block.sizes), step))
            ]
        return found

    def rows_by_block(self, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """The rows that blocks may need, by their number: all of the bins in which a block has samples.

        Args:
            table: In key order, with the columns `SPLIT_COLUMNS` and ``key``.
        """
        first = 0
        for layout, rows in zip(self.splits, split_rows(table, self.validation_share), strict=False):
            for block, start, end in slices_of_blocks(layout, key_bins(key_words(rows["key"]))):
                yield first + block, rows.slice(start, end - start)
            first += len(layout.shard_edges()) - 1


def make_layout(split: str, counts: Ints, *, max_samples: int, min_shards: int) -> Layout:
    """The layout of so many survivors of a split.

    Args:
        split: Its name.
        counts: [bins], survivors by bin of their keys.
        max_samples: Samples a shard may hold.
        min_shards: How many shards there should be, if there are as many samples.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Layout(split, starts, samples_a_shard(int(starts[-1]), max_samples=max_samples, min_shards=min_shards))


def samples_a_shard(num_samples: int, *, max_samples: int, min_shards: int) -> int:
    """How many samples every shard but the last has: the most that is allowed and leaves as many shards as wanted.

    >>> [samples_a_shard(number, max_samples=10_000, min_shards=16) for number in (0, 5, 17, 7_998, 1_000_000)]
    [1, 1, 1, 500, 10000]
    """
    fewest = -(-num_samples // min_shards)
    if -(-num_samples // max(1, fewest)) < min_shards:
        fewest = num_samples // min_shards
    return min(max_samples, max(1, fewest))


def read_layout(counts_file: str, *, max_samples: int, min_shards: int, validation_share: float) -> SetLayout:
    """The layout of the survivors that were counted in a file (`count_survivors`)."""
    counts, names = read_array(counts_file), split_names(validation_share)
    layouts = [
        make_layout(
            name, counts[NUM_BINS * place : NUM_BINS * (place + 1)], max_samples=max_samples, min_shards=min_shards
        )
        for place, name in enumerate(names)
    ]
    return SetLayout(tuple(layouts), validation_share)


def split_names(validation_share: float) -> tuple[str, ...]:
    """The splits of a set."""
    return (TRAIN, VALIDATION) if validation_share else (TRAIN,)


def split_rows(table: pa.Table, validation_share: float) -> tuple[pa.Table, ...]:
    """The rows of each split, in their order."""
    if not validation_share:
        return (table,)
    held_out = in_validation(table, validation_share)
    return table.filter(pa.array(~held_out)), table.filter(pa.array(held_out))


def key_bins(keys: Words) -> Ints:
    """The bin of every key.

    >>> key_bins(np.array([[0, 7], [1 << 44, 0], [(1 << 64) - 1, 0]], np.uint64)).tolist()
    [0, 1, 1048575]
    """
    return (keys[:, 0] >> np.uint64(64 - _BIN_BITS)).astype(np.int64)


def num_counts(validation_share: float, num_queries: int) -> int:
    """The length of what `count_survivors` returns."""
    return NUM_BINS * len(split_names(validation_share)) + num_queries


def count_survivors(path: str, *, num_queries: int, validation_share: float) -> Ints:
    """Survivors in a table by bin of their keys, of each split, and behind that by the queries that they are kept for.

    Returns:
        [NUM_BINS * splits + num_queries].
    """
    bins = np.zeros((len(split_names(validation_share)), NUM_BINS), np.int64)
    queries = np.zeros(num_queries, np.int64)
    for batch in read_batches(path, ["key", "kept_for", *(SPLIT_COLUMNS if validation_share else ())]):
        for row, rows in enumerate(split_rows(pa.Table.from_batches([batch]), validation_share)):
            np.add.at(bins[row], key_bins(key_words(rows["key"])), 1)
        queries += count_elements([batch["kept_for"]], num_queries)
    return np.concatenate([bins.ravel(), queries])


def slices_of_blocks(layout: Layout, bins: Ints) -> Iterator[tuple[int, int, int]]:
    """Where the rows lie that blocks may need: ``(block, first, last)`` for each that has some.

    Args:
        layout: Of all survivors of a split.
        bins: [rows], sorted.
    """
    first_bins, last_bins = layout.bins()
    firsts, lasts = np.searchsorted(bins, first_bins, "left"), np.searchsorted(bins, last_bins, "right")
    for block in np.flatnonzero(lasts > firsts).tolist():
        yield block, int(firsts[block]), int(lasts[block])


def _find_bins(starts: Ints, ranks: Ints) -> Ints:
    """The bins in which some ranks lie."""
    return np.searchsorted(starts, ranks, "right") - 1
