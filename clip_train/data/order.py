"""The order of training: which samples make up which batch, as a pure function.

In: the sizes of the shards and a seed. Out: for positions of an endless stream, the samples that stand there.
The stream is one epoch after another; an epoch holds every sample once, in an order decided by seed and epoch:
shards are permuted, then the samples of each window of a few shards. Batch k is positions [kB, (k + 1)B) and a
rank takes its slice of them. So every sample is seen once an epoch whatever the number of ranks and workers,
the position of a run is one number, and a resumed run sees what an uninterrupted one would have seen.
A batch may span the end of one epoch and the start of the next.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Drawn(NamedTuple):
    """One sample at one position of the stream."""

    epoch: int
    shard: int
    sample: int


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
