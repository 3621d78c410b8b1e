"""Texts without padding: the tokens of a batch one behind another, and where each text lies among them.

In: padded ids ``[texts, length]``. Out: `PackedTexts`. What depends on the lengths is made where the ids are: a batch
that is packed before it goes to a GPU costs no waiting for it.

Source: Krell et al. 2021 (packing without cross-contamination).
"""

import inspect
from collections.abc import Callable
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

from clip_train.extras import find_module

MOST_SHAPES: Final = 32  # most numbers of tokens that a batch is rounded up to where shapes are to be few
_FIRST_CAPABILITY: Final = (8, 0)  # of GPUs that torch's kernel for packed sequences is made for


class Packing(NamedTuple):
    """Where sequences lie that stand one behind another; behind those that are read some may be filling."""

    rows: Tensor  # [tokens] int64, which sequence
    columns: Tensor  # [tokens] int64, which place in it
    bounds: Tensor  # [sequences + 1] int32, first token of each, and the number of all
    longest: int  # no sequence has more tokens
    num_read: int  # sequences that are read, the first ones
    has_kernel: bool  # whether the device has attention for packed sequences in half precision

    @property
    def ends(self) -> Tensor:
        """The last token of each sequence that is read, ``[read]`` int64."""
        return self.bounds[1 : self.num_read + 1].long() - 1

    def pad(self, x: Tensor) -> Tensor:
        """``[tokens, width]`` to ``[sequences, longest, width]``, zeros behind each sequence."""
        padded = x.new_zeros(len(self.bounds) - 1, self.longest, x.shape[1])
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
        packing = self.packing._replace(rows=rows, columns=columns, bounds=bounds, has_kernel=has_kernel(device))
        return self._replace(ids=ids, packing=packing)


def end_positions(ids: Tensor) -> Tensor:
    """Where each text ends, ``[texts]`` int64: its first largest id, as the end token is the largest of all."""
    return ids.argmax(dim=-1)


def pack_texts(ids: Tensor, *, few_shapes: bool = False) -> PackedTexts:
    """Ids without what stands behind the end token of each text.

    >>> packed = pack_texts(torch.tensor([[7, 1, 9, 0], [7, 9, 0, 0]]))
    >>> packed.ids.tolist(), packed.packing.bounds.tolist(), packed.packing.longest
    ([7, 1, 9, 7, 9], [0, 3, 5], 3)

    Args:
        ids: ``[texts, length]``.
        few_shapes: Whether texts of filling make up one of at most 32 numbers of tokens, of which each may be compiled.
    """
    lengths = end_positions(ids) + 1
    num_read = len(lengths)
    if few_shapes:
        longest = ids.shape[1]
        lengths = torch.cat([lengths, _fill(int(lengths.sum()), num_read * longest, longest).to(lengths)])
        ids = torch.cat([ids, ids.new_zeros(len(lengths) - num_read, longest)])
    else:
        longest = int(lengths.max()) if num_read else 1
    is_token = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    rows, columns = is_token.nonzero(as_tuple=True)
    bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()
    packing = Packing(rows, columns, bounds, longest, num_read, has_kernel(ids.device))
    return PackedTexts(ids[rows, columns], packing)


def _fill(num_tokens: int, most_tokens: int, longest: int) -> Tensor:
    """Lengths of texts of filling, always as many, that round a number of tokens up.

    >>> _fill(1000, 32 * 77, 77), _fill(1078, 32 * 77, 77)
    (tensor([1]), tensor([0]))
    """
    unit = max(longest, -(-most_tokens // MOST_SHAPES))
    spare = -num_tokens % unit
    starts = torch.arange(0, unit, longest)
    return (spare - starts).clamp(0, longest)


def has_kernel(device: torch.device) -> bool:
    """Whether torch has attention over packed sequences for a device."""
    is_gpu = device.type == "cuda" and torch.version.cuda is not None
    return is_gpu and PACKED_ATTENTION is not None and torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY


class PackedAttention(NamedTuple):
    """Torch's attention over packed sequences."""

    attend: Callable[..., Tensor]
    causal: dict[str, object]  # how it is told that tokens see only those before them; releases differ


def _find_attention() -> PackedAttention | None:
    attend: Callable[..., Tensor] | None = getattr(find_module("torch.nn.attention.varlen"), "varlen_attn", None)
    if attend is None:
        return None
    names = inspect.signature(attend).parameters
    return PackedAttention(attend, {"is_causal": True} if "is_causal" in names else {"window_size": (-1, 0)})


PACKED_ATTENTION: Final = _find_attention()
