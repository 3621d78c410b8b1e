"""Linear probe: how far a linear classifier gets on frozen features.

In: features and classes for training and for testing. Out: `Probe` (weights, bias) and accuracies.
Multinomial logistic regression by L-BFGS, its L2 strength found on a part of the training images.

Source: Radford et al. 2021, section 3.2 and appendix A.3 (L-BFGS, at most 1,000 iterations; L2 strengths between
1e-6 and 1e6 on a logarithmic grid, 8 a factor of ten, from seven points by halving the interval around the best).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clip_train.errors import InputError
from clip_train.evaluate.metrics import class_accuracies

STEPS_PER_DECADE = 8
_DECADES = (-6, 6)
_FIRST_STRIDE = 2 * STEPS_PER_DECADE  # 1e-6, 1e-4, … 1e6

_MAX_ITERATIONS = 1_000
_FIT_TOLERANCE, _SEARCH_TOLERANCE = 1e-7, 1e-4  # largest gradient of the mean loss at the end


class Probe(NamedTuple):
    """A linear classifier of features."""

    weight: Tensor  # [classes, dim]
    bias: Tensor  # [classes]

    def scores(self, features: Tensor) -> Tensor:
        """Logits, ``[items, classes]``."""
        return features.to(self.weight.dtype) @ self.weight.T + self.bias


class ProbeSearch(NamedTuple):
    """The L2 strength that did best on held-out images, and the accuracy of each that was tried."""

    l2: float
    accuracies: dict[float, float]


def fit_probe(
    features: Tensor, labels: Tensor, *, num_classes: int, l2: float, tolerance: float = _FIT_TOLERANCE
) -> Probe:
    """Fits a classifier: the sum of cross-entropies plus l2 / 2 times the sum of squared weights is least.

    The bias is not penalised; `l2` is 1 / C of scikit-learn's LogisticRegression, whose optimum this is.

    Args:
        features: ``[items, dim]``; computed with in float64.
        labels: ``[items]`` int64, below `num_classes`.
        num_classes: At least 2.
        l2: Strength of the penalty, above 0.
        tolerance: Largest gradient of the mean loss at which it stops.
    """
    features = features.double()
    num_items, dim = features.shape
    weight = features.new_zeros(num_classes, dim, requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MAX_ITERATIONS,
        max_eval=2 * _MAX_ITERATIONS,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = features @ weight.T + bias
        value = cross_entropy(scores, labels) + l2 / (2 * num_items) * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Probe(weight.detach(), bias.detach())


def search_l2(features: Tensor, labels: Tensor, *, num_classes: int, seed: int = 0, share: float = 0.2) -> ProbeSearch:
    """Finds the L2 strength on a part of every class that is held out.

    Raises:
        InputError: When some class has too few images to hold any out.
    """
    held_out = _hold_out(labels, share=share, seed=seed)
    train, test = (features[~held_out], labels[~held_out]), (features[held_out], labels[held_out])

    def accuracy(l2: float) -> float:
        probe = fit_probe(*train, num_classes=num_classes, l2=l2, tolerance=_SEARCH_TOLERANCE)
        return class_accuracies(probe.scores(test[0]), test[1]).top1

    return search_grid(accuracy)


def search_grid(accuracy: Callable[[float], float]) -> ProbeSearch:
    """Walks to the best strength of the grid: seven points first, then halves of the interval around the best.

    Of strengths that do equally well the one nearest to 1 is taken.
    """
    low, high = (decade * STEPS_PER_DECADE for decade in _DECADES)
    found = {step: accuracy(_strength(step)) for step in range(low, high + 1, _FIRST_STRIDE)}
    stride = _FIRST_STRIDE
    while stride > 1:
        stride //= 2
        best = _best(found)
        for step in (best - stride, best + stride):
            if low <= step <= high and step not in found:
                found[step] = accuracy(_strength(step))
    return ProbeSearch(_strength(_best(found)), {_strength(step): found[step] for step in sorted(found)})


def _strength(step: int) -> float:
    return float(10 ** (step / STEPS_PER_DECADE))


def _best(found: dict[int, float]) -> int:
    return max(found, key=lambda step: (found[step], -abs(step), step))


def _hold_out(labels: Tensor, *, share: float, seed: int) -> Tensor:
    """A mask of about a share of the items of every class, at least one and never all."""
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        rows = (labels.cpu() == label).nonzero().flatten()
        if len(rows) < 2:
            raise InputError(f"class number {label} has {len(rows)} training image: none can be held out")
        number = min(max(1, round(share * len(rows))), len(rows) - 1)
        held_out[rows[torch.randperm(len(rows), generator=generator)[:number]]] = True
    return held_out.to(labels.device)
