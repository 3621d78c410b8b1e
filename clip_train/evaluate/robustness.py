"""Robustness: how accuracy on a reference set carries over to other sets.

In: scores on several test sets, of which the first is the reference; optionally accuracies of other models. Out:
`Robustness`: a row a set.

Effective robustness is the accuracy above what models of the same reference accuracy have: a line is fitted to the
other models' accuracies, both axes as logits.

Source: Taori et al. 2020, "Measuring robustness to natural distribution shifts in image classification"; Radford et
al. 2021, section 3.3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clip_train.errors import InputError
from clip_train.evaluate.metrics import Accuracies
from clip_train.evaluate.table_rows import read_rows

_LEAST_MODELS = 2  # of a line


class SetResult(NamedTuple):
    """One test set."""

    name: str
    accuracies: Accuracies
    drop: float  # of top-1 below the reference
    effective_robustness: float | None  # of top-1; None: no other models to compare with


Baselines = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # set: accuracies of models on reference and set


def compare_test_sets(results: Mapping[str, Accuracies], baselines: Baselines | None = None) -> list[SetResult]:
    """Compares test sets with the first of them."""
    reference, *_ = results.values()
    rows = []
    for name, found in results.items():
        line = (baselines or {}).get(name)
        beyond = None if line is None else found.top1 - expected_accuracy(reference.top1, *line)
        rows.append(SetResult(name, found, reference.top1 - found.top1, beyond))
    return rows


def expected_accuracy(reference: float, on_reference: Sequence[float], on_set: Sequence[float]) -> float:
    """What models of a reference accuracy have on a set, by a least-squares line through other models' logits.

    >>> round(expected_accuracy(0.7, [0.6, 0.8], [0.4, 0.6]), 3)
    0.49
    """
    slope, offset = np.polyfit([_logit(value) for value in on_reference], [_logit(value) for value in on_set], 1)
    return float(1 / (1 + math.exp(-(slope * _logit(reference) + offset))))


def read_baselines(path: str, names: Sequence[str]) -> Baselines:
    """Accuracies (between 0 and 1) of other models from a table with a column for each test set.

    Raises:
        InputError: When a column is missing, a value is no accuracy, or models are too few for a line.
    """
    rows = list(read_rows(path, names))
    columns: dict[str, list[float]] = {name: [] for name in names}
    for number, row in enumerate(rows):
        for name in names:
            try:
                value = float(row[name])
            except (TypeError, ValueError):
                value = math.nan
            if not 0 < value < 1:
                raise InputError(f"{path}: row {number}: {name} is {row[name]!r}, not an accuracy between 0 and 1")
            columns[name].append(value)
    reference, *others = names
    if len(set(columns[reference])) < _LEAST_MODELS:
        raise InputError(f"{path}: a line needs two models of different accuracy on {reference}")
    return {name: (columns[reference], columns[name]) for name in others}


def _logit(accuracy: float) -> float:
    inside = min(max(accuracy, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))
