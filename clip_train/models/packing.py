"""Texts without padding: the tokens of a batch one behind another, and where each text lies among them.

In: padded ids ``[texts, length]``. Out: `PackedTexts`. What depends on the lengths is made where the ids are: a batch
that is packed before it goes to a GPU costs no waiting for it.

Source: Krell et al. 2021 (packing without cross-contamination).
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Where sequences lie that stand one behind another."""

    rows: Tensor  # [tokens] int64, which sequence
    columns: Tensor  # [tokens] int64, which place in it
    bounds: Tensor  # [sequences + 1] int32, first token of each, and the number of all
    longest: int  # tokens of the longest

    @property
    def num_sequences(self) -> int:
        """Sequences."""
        return len(self.bounds) - 1

    @property
    def ends(self) -> Tensor:
        """The last token of each sequence, ``[sequences]`` int64."""
        return self.bounds[1:].long() - 1

    def pad(self, x: Tensor) -> Tensor:
        """``[tokens, width]`` to ``[sequences, longest, width]``, zeros behind each sequence."""
        padded = x.new_zeros(self.num_sequences, self.longest, x.shape[1])
        return padded.index_put((self.rows, self.columns), x)

    def unpad(self, x: Tensor) -> Tensor:
        """``[sequences, longest, width]`` to ``[tokens, width]``."""
        return x[self.rows, self.columns]


class PackedTexts(NamedTuple):
    """The ids of a batch, each text up to its end token."""

    ids: Tensor  # [tokens]
    packing: Packing

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        tensors = (self.ids, *self.packing[:3])
        ids, rows, columns, bounds = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return self._replace(ids=ids, packing=Packing(rows, columns, bounds, self.packing.longest))


def end_positions(ids: Tensor) -> Tensor:
    """Where each text ends, ``[texts]`` int64: its first largest id, as the end token is the largest of all."""
    return ids.argmax(dim=-1)


def pack_texts(ids: Tensor) -> PackedTexts:
    """Ids without what stands behind the end token of each text.

    >>> packed = pack_texts(torch.tensor([[7, 1, 9, 0], [7, 9, 0, 0]]))
    >>> packed.ids.tolist(), packed.packing.bounds.tolist(), packed.packing.longest
    ([7, 1, 9, 7, 9], [0, 3, 5], 3)
    """
    lengths = end_positions(ids) + 1
    is_token = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    rows, columns = is_token.nonzero(as_tuple=True)
    bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()
    longest = int(lengths.max()) if len(ids) else 1
    return PackedTexts(ids[rows, columns], Packing(rows, columns, bounds, longest))
