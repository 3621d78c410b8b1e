"""The order of training: which samples make up which batch, as a pure function.

In: the sizes of the shards and a seed. Out: for positions of an endless stream, the samples that stand there.
The stream is one epoch after another; an epoch holds every sample once, in an order decided by seed and epoch:
shards are permuted, then the samples of each window of a few shards. Batch k is positions [kB, (k + 1)B) and a
rank takes its slice of them. So every sample is seen once an epoch whatever the number of ranks and workers,
the position of a run is one number, and a resumed run sees what an uninterrupted one would have seen.
A batch may span the end of one epoch and the start of the next.

Several sets may be mixed by weights: each block of the stream holds a fixed number of each set's samples, in an order
decided by the seed, and each set goes on through its own epochs.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 2**14  # positions of a mixed stream in which each set has its share


class Drawn(NamedTuple):
    """One sample at one position of the stream."""

    epoch: int
    shard: int
    sample: int


class Order(Protocol):
    """An endless stream of samples."""

    @property
    def num_samples(self) -> int:
        """Samples in an epoch."""

    def draw(self, start: int, stop: int) -> list[Drawn]:
        """The samples at positions [start, stop) of the stream."""


class EpochOrder:
    """The endless stream of epochs over some shards.

    Attributes:
        num_samples: Samples in an epoch.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int, shuffle_shards: int) -> None:
        self._sizes: NDArray[np.int64] = np.asarray(sizes, dtype=np.int64)
        self.num_samples = int(self._sizes.sum())
        self._seed = seed
        self._shuffle_shards = shuffle_shards
        self._shard_order = lru_cache(maxsize=2)(self._permute_shards)
        self._window = lru_cache(maxsize=2)(self._permute_window)

    def draw(self, start: int, stop: int) -> list[Drawn]:
        """The samples at positions [start, stop) of the stream."""
        drawn: list[Drawn] = []
        while start < stop:
            epoch, first = divmod(start, self.num_samples)
            window, begin = self._window_at(epoch, first)
            rows = self._window(epoch, window)[first - begin : first - begin + stop - start]
            drawn += [Drawn(epoch, int(shard), int(sample)) for shard, sample in rows]
            start += len(rows)
        return drawn

    def _window_at(self, epoch: int, position: int) -> tuple[int, int]:
        """The window that holds a position of an epoch, and the position at which it begins."""
        begins = np.concatenate([[0], np.cumsum(self._sizes[self._shard_order(epoch)])])[:: self._shuffle_shards]
        window = int(np.searchsorted(begins, position, side="right")) - 1
        return window, int(begins[window])

    def _permute_shards(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._sizes))

    def _permute_window(self, epoch: int, window: int) -> NDArray[np.int64]:
        """Rows (shard, sample) of one window, shuffled."""
        first = window * self._shuffle_shards
        shards = self._shard_order(epoch)[first : first + self._shuffle_shards]
        rows = np.concatenate(
            [np.stack([np.full(self._sizes[s], s), np.arange(self._sizes[s])], axis=1) for s in shards]
        )
        return np.random.default_rng([self._seed, epoch, window]).permutation(rows)


class MixedOrder:
    """A stream that mixes the streams of several sets by weights.

    An epoch has as many samples as all sets together; a set of large weight goes more than once round in it, one of
    small weight less, and each holds to its own epochs: none of its samples comes again before all have come.

    Args:
        sets: For each set, the sizes of its shards; the shards of all are counted on, from the first set's first.
        weights: For each set, its share of the stream; what they add up to does not matter.
        seed: Of all orders.
        shuffle_shards: Shards of a set whose samples are mixed with each other.

    Attributes:
        num_samples: Samples in an epoch.
        quotas: Samples of each set in a block of `BLOCK`.

    Raises:
        ValueError: When sets and weights differ in number, a weight is not positive or too small, or a set is empty.
    """

    def __init__(
        self, sets: Sequence[Sequence[int]], weights: Sequence[float], *, seed: int, shuffle_shards: int
    ) -> None:
        self.quotas = share_out(weights, BLOCK)
        self._seed = seed
        self._orders = [
            EpochOrder(sizes, seed=_seed_of_set(seed, number), shuffle_shards=shuffle_shards)
            for number, sizes in enumerate(sets)
        ]
        if len(self._orders) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(self._orders)} sets")
        if empty := [number for number, order in enumerate(self._orders) if not order.num_samples]:
            raise ValueError(f"set {empty[0] + 1} has no samples")
        self._first_shards = np.concatenate([[0], np.cumsum([len(sizes) for sizes in sets])])
        self.num_samples = sum(order.num_samples for order in self._orders)
        self._block = lru_cache(maxsize=2)(self._permute_block)

    def draw(self, start: int, stop: int) -> list[Drawn]:
        """The samples at positions [start, stop) of the stream."""
        drawn: list[Drawn] = []
        while start < stop:
            number, first = divmod(start, BLOCK)
            last = min(BLOCK, first + stop - start)
            drawn += self._draw_in_block(number, first, last)
            start += last - first
        return drawn

    def _draw_in_block(self, number: int, first: int, last: int) -> list[Drawn]:
        block = self._block(number)
        before = np.bincount(block[:first], minlength=len(self._orders))
        chosen = block[first:last]
        counts = np.bincount(chosen, minlength=len(self._orders))
        streams = []
        for set_, order in enumerate(self._orders):
            position = number * self.quotas[set_] + int(before[set_])
            shift = int(self._first_shards[set_])
            drawn = order.draw(position, position + int(counts[set_]))
            streams.append(iter([place._replace(shard=place.shard + shift) for place in drawn]))
        return [next(streams[set_]) for set_ in chosen]

    def _permute_block(self, number: int) -> NDArray[np.int64]:
        """The set of each position of a block."""
        sets = np.repeat(np.arange(len(self.quotas)), self.quotas)
        return np.random.default_rng([self._seed, number]).permutation(sets)


def share_out(weights: Sequence[float], total: int) -> list[int]:
    """A whole number for each weight, in proportion, that add up to a total (largest remainders).

    >>> share_out([1, 3], 8), share_out([1, 1, 1], 10)
    ([2, 6], [4, 3, 3])

    Raises:
        ValueError: When a weight is not a positive number, or so small that nothing would be left for it.
    """
    wanted = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(wanted) & (wanted > 0)).all():
        raise ValueError(f"weights {', '.join(f'{w:g}' for w in weights)} must all be above 0")
    exact = wanted / wanted.sum() * total
    shares = np.floor(exact).astype(np.int64)
    remainders = np.argsort(shares - exact, kind="stable")
    shares[remainders[: total - int(shares.sum())]] += 1
    if not shares.all():
        raise ValueError(f"weight {wanted.min():g} is less than one in {total:,} of all")
    return shares.tolist()


def _seed_of_set(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
