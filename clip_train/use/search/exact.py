"""Exact search: every row is compared, block by block, so memory does not grow with the rows.

In: unit features of queries, `FeatureTables`. Out: for each query the best rows and their cosines.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clip_train.use.search.feature_files import FeatureTables
from clip_train.use.shard_features import Kind


class Found(NamedTuple):
    """The best rows of queries, the best first; fewer columns than asked for where there are fewer rows."""

    cosines: Tensor  # [queries, top] float32
    rows: Tensor  # [queries, top] int64


def search_exact(tables: FeatureTables, kind: Kind, queries: Tensor, *, top: int) -> Found:
    """Searches the features of images or texts.

    Args:
        tables: Where to search.
        kind: ``images`` or ``texts``.
        queries: ``[queries, dim]`` float32, unit norm, on the device that is to compute.
        top: How many rows are wanted.

    Raises:
        InputError: When there are no such features, or they cannot be read.
    """
    cosines = queries.new_empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start, block in tables.blocks(kind):
        features = torch.from_numpy(np.array(block, dtype=np.float32)).to(queries.device)
        numbers = torch.arange(start, start + len(block), device=queries.device).expand(len(queries), -1)
        all_cosines = torch.cat([cosines, queries @ features.T], dim=1)
        all_rows = torch.cat([rows, numbers], dim=1)
        cosines, places = all_cosines.topk(min(top, all_cosines.shape[1]), dim=1)
        rows = all_rows.gather(1, places)
    return Found(cosines, rows)
