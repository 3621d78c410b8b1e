"""Pre-norm transformer blocks, read at every token or, exactly and for less, at one token of each sequence.

In: tokens ``[batch, length, width]``, or ``[tokens, width]`` of sequences that are packed one behind another. Out: the
same shape, or ``[batch, width]``. Of packed sequences everything but attention is computed for real tokens only;
attention runs on the packed tokens too where the GPU has a kernel for it, else on padded copies of queries, keys and
values, whose padding no token looks at.
Parameter names are those of CLIP's published weights (``resblocks.0.attn.in_proj_weight``).

Source: Vaswani et al. 2017; Radford et al. 2019 (pre-norm); Hendrycks & Gimpel 2016 (GELU and x * sigmoid(1.702 x));
Dao 2023 (FlashAttention-2, sequences of several lengths).
"""

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from clip_train.models.packing import PACKED_ATTENTION, PackedAttention, Packing

_QUICK: Final = 1.702


class QuickGELU(nn.Module):
    """The approximation of GELU that CLIP's published weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies x * sigmoid(1.702 x), written so that its gradient is one kernel of torch's."""
        return silu(x * _QUICK) * (1 / _QUICK)


def build_activation(name: str) -> nn.Module:
    """The non-linearity of a configuration."""
    return QuickGELU() if name == "quick_gelu" else nn.GELU()


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """Every token attends to all tokens, or to itself and those before it."""
        queries, keys, values = linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        mixed = scaled_dot_product_attention(
            self._split(queries), self._split(keys), self._split(values), is_causal=causal
        )
        out: Tensor = self.out_proj(self._merge(mixed))
        return out

    def read(self, x: Tensor, positions: Tensor, *, causal: bool) -> Tensor:
        """What `forward` gives at one position of each sequence.

        Args:
            x: ``[batch, length, width]``.
            positions: ``[batch]`` int64.
            causal: Whether tokens after the position are hidden from it.

        Returns:
            ``[batch, width]``.
        """
        width = x.shape[-1]
        queries = linear(take_tokens(x, positions), self.in_proj_weight[:width], self.in_proj_bias[:width])
        keys, values = linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=-1)
        visible = None
        if causal:
            visible = torch.arange(x.shape[1], device=x.device) <= positions[:, None]
            visible = visible[:, None, None, :]  # [batch, heads, queries, keys]
        mixed = scaled_dot_product_attention(
            self._split(queries[:, None]), self._split(keys), self._split(values), attn_mask=visible
        )
        out: Tensor = self.out_proj(self._merge(mixed)[:, 0])
        return out

    def mix_packed(self, x: Tensor, packing: Packing) -> Tensor:
        """Every token of packed sequences attends to itself and those before it in its sequence."""
        projected = linear(x, self.in_proj_weight, self.in_proj_bias)
        if _by_kernel(projected, packing):
            queries, keys, values = self._heads(projected, 3)
            bounds, longest = packing.bounds, packing.longest
            attend, causal = cast(PackedAttention, PACKED_ATTENTION)
            mixed = attend(queries, keys, values, bounds, bounds, longest, longest, **causal).flatten(1)
        else:
            queries, keys, values = (self._split(part) for part in packing.pad(projected).chunk(3, dim=-1))
            mixed = packing.unpad(self._merge(scaled_dot_product_attention(queries, keys, values, is_causal=True)))
        out: Tensor = self.out_proj(mixed)
        return out

    def read_packed(self, x: Tensor, packing: Packing) -> Tensor:
        """What `mix_packed` gives at the last token of each sequence that is read, ``[read, width]``."""
        width, num_read = x.shape[-1], packing.num_read
        queries = linear(x[packing.ends], self.in_proj_weight[:width], self.in_proj_bias[:width])
        projected = linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:])
        if _by_kernel(projected, packing):
            keys, values = self._heads(projected, 2)
            (heads,) = self._heads(queries, 1)
            singly = torch.arange(num_read + 1, device=x.device, dtype=torch.int32)
            attend, _ = cast(PackedAttention, PACKED_ATTENTION)
            mixed = attend(heads, keys, values, singly, packing.bounds[: num_read + 1], 1, packing.longest).flatten(1)
        else:
            padded = packing.pad(projected)[:num_read]
            keys, values = (self._split(part) for part in padded.chunk(2, dim=-1))
            lengths = packing.bounds[: num_read + 1].diff()
            visible = torch.arange(packing.longest, device=x.device) < lengths[:, None]
            visible = visible[:, None, None, :]  # [read, heads, queries, keys]
            mixed = scaled_dot_product_attention(self._split(queries[:, None]), keys, values, attn_mask=visible)
            mixed = self._merge(mixed)[:, 0]
        out: Tensor = self.out_proj(mixed)
        return out

    def _heads(self, x: Tensor, num_parts: int) -> tuple[Tensor, ...]:
        """``[tokens, parts * width]`` to a ``[tokens, heads, dim]`` for each part."""
        return x.view(len(x), num_parts, self.heads, x.shape[1] // (num_parts * self.heads)).unbind(dim=1)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Perceptron(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.activation = build_activation(activation)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layers to each token."""
        hidden: Tensor = self.c_proj(self.activation(self.c_fc(x)))
        return hidden


class ResidualAttentionBlock(nn.Module):
    """Attention, then a two-layer perceptron, each behind a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, activation)

    def forward(self, x: Tensor, *, causal: bool = False, packing: Packing | None = None) -> Tensor:
        """The block at every token; of packed sequences each token sees itself and those before it."""
        normed = self.ln_1(x)
        x = x + (self.attn(normed, causal=causal) if packing is None else self.attn.mix_packed(normed, packing))
        x = x + self.mlp(self.ln_2(x))
        return x

    def read(self, x: Tensor, positions: Tensor, *, causal: bool) -> Tensor:
        """The block at one token of each sequence, ``[batch, width]``."""
        token = take_tokens(x, positions) + self.attn.read(self.ln_1(x), positions, causal=causal)
        token = token + self.mlp(self.ln_2(token))
        return token

    def read_packed(self, x: Tensor, packing: Packing) -> Tensor:
        """The block at the last token of each packed sequence that is read, ``[read, width]``."""
        token = x[packing.ends] + self.attn.read_packed(self.ln_1(x), packing)
        token = token + self.mlp(self.ln_2(token))
        return token


class Transformer(nn.Module):
    """A stack of blocks of which one token is read."""

    def __init__(self, width: int, layers: int, heads: int, activation: str) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads, activation) for _ in range(layers))

    @property
    def blocks(self) -> list[ResidualAttentionBlock]:
        """The blocks, first to last."""
        return [cast(ResidualAttentionBlock, block) for block in self.resblocks]

    def forward(self, x: Tensor, *, causal: bool = False) -> Tensor:
        """The stack at every token."""
        for block in self.blocks:
            x = block(x, causal=causal)
        return x

    def read(self, x: Tensor, positions: Tensor, *, causal: bool = False) -> Tensor:
        """The stack at one token of each sequence: the last block computes nothing for the others."""
        *before, last = self.blocks
        for block in before:
            x = block(x, causal=causal)
        return last.read(x, positions, causal=causal)

    def read_packed(self, x: Tensor, packing: Packing) -> Tensor:
        """The stack, causal, at the last token of packed sequences.

        Args:
            x: ``[tokens, width]``.
            packing: Where the sequences lie.

        Returns:
            ``[sequences that are read, width]``.
        """
        *before, last = self.blocks
        for block in before:
            x = block(x, packing=packing)
        return last.read_packed(x, packing)


def _by_kernel(x: Tensor, packing: Packing) -> bool:
    """Whether attention runs on packed tokens; the kernel is for half precision only."""
    return packing.has_kernel and x.dtype in (torch.bfloat16, torch.float16)


def take_tokens(x: Tensor, positions: Tensor) -> Tensor:
    """One token of each sequence: ``[batch, length, width]`` and ``[batch]`` to ``[batch, width]``."""
    return x[torch.arange(x.shape[0], device=x.device), positions]
