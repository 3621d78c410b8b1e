"""Samples of a run that could not be read: which pairs of a batch take part, and when there are too many that do not.

In: the batches of this rank. Out: a mask over the pairs of all ranks for the loss; counts over all ranks, workers and
steps, which are saved with a checkpoint, so that a resumed run counts on.
"""

from collections.abc import Mapping
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from clip_train.errors import DataError
from clip_train.training.distributed import Ranks

_FEW: Final = 1_000  # samples below which a share says little: a run is ended as if it had seen so many


class UnreadableCount:
    """Counts what could not be read, on every rank the same.

    Args:
        max_share: Largest share of the samples seen that may be unreadable.
        ranks: All of them count together.

    Attributes:
        seen: Samples that a batch had a place for.
        unreadable: Those that could not be read.
    """

    def __init__(self, max_share: float, ranks: Ranks) -> None:
        self._max_share = max_share
        self._ranks = ranks
        self._told = 0
        self._problem = ""
        self.seen = 0
        self.unreadable = 0

    def add(self, readable: Tensor, problem: str = "") -> Tensor | None:
        """Counts a batch.

        Args:
            readable: ``[pairs of this rank]`` bool, on the CPU.
            problem: What is wrong with the first of them that is not.

        Returns:
            The same for the pairs of all ranks, in rank order; None when all could be read.

        Raises:
            DataError: On all ranks, when the share is above the largest allowed.
        """
        everyone = self._gather(readable)
        number = int((~everyone).sum())
        self.seen += len(everyone)
        self.unreadable += number
        self._problem = problem or self._problem
        if self.unreadable > self._max_share * max(self.seen, _FEW):
            raise DataError(
                f"{self.unreadable:,} of {self.seen:,} samples have no readable image or no text: more than "
                f"max-unreadable-share {self._max_share:g} allows; the last seen here: {self._problem or 'none'}"
            )
        return everyone if number else None

    def take_new(self) -> int:
        """How many could not be read since this was asked last."""
        new, self._told = self.unreadable - self._told, self.unreadable
        return new

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"seen": self.seen, "unreadable": self.unreadable}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from what a checkpoint kept."""
        self.seen, self.unreadable = state["seen"], state["unreadable"]
        self._told = self.unreadable

    def _gather(self, readable: Tensor) -> Tensor:
        if self._ranks.world_size == 1:
            return readable
        flags = readable.to(torch.uint8)
        everyone = flags.new_empty(self._ranks.world_size * len(flags))
        dist.all_gather_into_tensor(everyone, flags)
        return everyone.bool()
