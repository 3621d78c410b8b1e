"""Search with faiss: an index beside the features, made once, read back memory-mapped.

In: `FeatureTables`, unit features of queries. Out: `Found`. ``faiss-flat`` compares every row; ``faiss-ivf`` puts the
rows into lists around centroids and looks only into the lists nearest to a query: faster, and it may miss some.
Needs the extra ``faiss``.

Source: Johnson et al. 2017, "Billion-scale similarity search with GPUs"; faiss' guidelines for the number of lists
(4 to 16 times the root of the rows) and of training rows (39 to 256 a list).
"""

import math
import os
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.files import written_file
from clip_train.use.search.exact import Found
from clip_train.use.search.feature_files import FeatureTables
from clip_train.use.shard_features import Kind

IndexKind = Literal["faiss-flat", "faiss-ivf"]
FLAT: Final = "faiss-flat"
IVF: Final = "faiss-ivf"
_MIN_TRAINING_ROWS, _MAX_TRAINING_ROWS = 39, 256  # a list


def search_faiss(
    tables: FeatureTables, kind: Kind, queries: Tensor, *, top: int, index: IndexKind, num_probes: int
) -> Found:
    """Searches the features of images or texts; makes the index first where there is none.

    Args:
        tables: Where to search.
        kind: ``images`` or ``texts``.
        queries: ``[queries, dim]`` float32, unit norm.
        top: How many rows are wanted.
        index: ``faiss-flat`` or ``faiss-ivf``.
        num_probes: Lists of an ``faiss-ivf`` that are looked into.

    Raises:
        InputError: When faiss is not installed, or there are no such features.
    """
    faiss: Any = import_extra("faiss", extra="faiss", needed_for=f"--index {index}")
    path = os.path.join(tables.path, f"{kind}.{index}")
    if not os.path.exists(path):
        built = _build(faiss, tables, kind, index)
        with written_file(path) as aside:
            faiss.write_index(built, aside)
    try:
        loaded = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise InputError(f"{path}: not an index of faiss; delete it to make it anew") from error
    if index == IVF:
        loaded.nprobe = num_probes
    cosines, rows = loaded.search(queries.cpu().numpy(), min(top, tables.num_rows))
    return Found(torch.from_numpy(cosines), torch.from_numpy(rows))  # row -1: the lists looked into held no more


def count_lists(num_rows: int) -> int:
    """Lists of an index: four times the root of the rows, as far as there are rows to find centroids with.

    >>> count_lists(100), count_lists(1_000_000)
    (2, 4000)
    """
    return max(1, min(4 * math.isqrt(num_rows), num_rows // _MIN_TRAINING_ROWS))


def _build(faiss: Any, tables: FeatureTables, kind: Kind, index: IndexKind) -> Any:
    dim = tables.identity["dim"]
    built = faiss.IndexFlatIP(dim)
    if index == IVF:
        num_lists = count_lists(tables.num_rows)
        built = faiss.IndexIVFFlat(built, dim, num_lists, faiss.METRIC_INNER_PRODUCT)
        built.train(_thin_out(tables, kind, num_lists * _MAX_TRAINING_ROWS))
    for _, block in tables.blocks(kind):
        built.add(np.array(block, dtype=np.float32))
    return built


def _thin_out(tables: FeatureTables, kind: Kind, num_rows: int) -> NDArray[np.float32]:
    """Rows at equal distances, no fewer than asked for where there are as many."""
    step = max(1, tables.num_rows // num_rows)
    thinned = (np.array(block[-start % step :: step], dtype=np.float32) for start, block in tables.blocks(kind))
    return np.concatenate(list(thinned))
