"""A moving average of a model's weights, which a run keeps beside them and its checkpoints hold as their model.

In: a model after each step. Out: the same state with averaged parameters.

Source: Polyak & Juditsky 1992; the decay that grows with the first steps as in TensorFlow's ExponentialMovingAverage.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of the parameters that are trained; all else is as in the model.

    Args:
        model: Whose weights are averaged.
        decay: Share of the average that a step leaves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._averages = {name: weight.detach().clone() for name, weight in self._trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average([*self._averages.values()], [*self._trained.values()], None)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state with averages in place of its parameters."""
        return {**self._model.state_dict(), **self._averages}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state that `state_dict` gave."""
        for name, average in self._averages.items():
            average.copy_(state[name])
