"""Cross-entropy over more pairs than a matrix of logits would fit in memory for: computed tile by tile, exactly.

In: rows of queries and of keys, the scale of their cosines, and which key belongs to each query. Out: the loss of each
query. Only one tile of logits is there at a time, forward and backward; what is kept for backward is one number a
query, the logarithm of its sum of exponentials.

Source: Milakov and Gimelshein 2018 (a softmax in one pass over running maxima); Cheng et al. 2024, "Inf-CL" (the
contrastive loss by tiles).
"""

from collections.abc import Iterator
from typing import Any, Final, cast

import torch
from torch import Tensor

TILE_ROWS: Final = 4096  # and columns: 64 MiB of float32 logits


def tiled_cross_entropy(
    queries: Tensor, keys: Tensor, scale: Tensor, labels: Tensor, shown: Tensor | None = None, *, tile: int = TILE_ROWS
) -> Tensor:
    """The cross-entropy of every query's scaled products with all keys: ``[queries]``.

    Args:
        queries: ``[queries, dim]``.
        keys: ``[keys, dim]``.
        scale: What products are multiplied by, one number.
        labels: ``[queries]`` int64, the key that is right for each; its loss counts whether the key is shown or not.
        shown: ``[keys]`` bool, which keys take part; None for all.
        tile: Rows and columns of a tile.
    """
    return cast(Tensor, _TiledCrossEntropy.apply(queries, keys, scale, labels, shown, tile))  # type: ignore[no-untyped-call]


class _TiledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, scale: Tensor, labels: Tensor, shown: Tensor | None, tile: int
    ) -> Tensor:
        sums = torch.cat(
            [
                torch.stack([part.logsumexp(dim=1) for _, part in _tiles(rows, keys, scale, shown, tile)]).logsumexp(
                    dim=0
                )
                for rows in torch.split(queries, tile)
            ]
        )
        sums = sums.nan_to_num(neginf=0.0)  # of a query to which no key is shown
        ctx.save_for_backward(queries, keys, scale, labels, shown, sums)
        ctx.tile = tile
        return sums - scale * (queries * keys[labels]).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, scale, labels, shown, sums = ctx.saved_tensors
        weights = gradients[0] * scale
        to_queries = -weights[:, None] * keys[labels]
        to_keys = torch.zeros_like(keys).index_add_(0, labels, -weights[:, None] * queries)
        to_scale = -(gradients[0] * (queries * keys[labels]).sum(dim=1)).sum()
        for start in range(0, len(queries), ctx.tile):
            rows = slice(start, start + ctx.tile)
            for columns, logits in _tiles(queries[rows], keys, scale, shown, ctx.tile):
                shares = (logits - sums[rows, None]).exp_()
                weighted = shares * weights[rows, None]
                to_queries[rows] += weighted @ keys[columns]
                to_keys[columns] += weighted.T @ queries[rows]
                # Where a key is hidden its share is zero and its logit minus infinity.
                to_scale += (weighted * logits.nan_to_num(neginf=0.0)).sum() / scale**2
        return to_queries, to_keys, to_scale, None, None, None


def _tiles(
    queries: Tensor, keys: Tensor, scale: Tensor, shown: Tensor | None, tile: int
) -> Iterator[tuple[slice, Tensor]]:
    """The logits of some queries with all keys, and which keys, tile by tile."""
    for start in range(0, len(keys), tile):
        columns = slice(start, start + tile)
        logits = scale * queries @ keys[columns].T
        yield columns, logits if shown is None else logits.masked_fill(~shown[columns], -torch.inf)
