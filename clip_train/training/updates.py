"""A loss to new weights, and what is done when it is no number: the step is left out and counted.

In: the loss of a step. Out: the norm of its gradients, and weights, optimiser and batch statistics that are finite.
A loss that is not finite makes gradients that are none, and gradients are summed over the ranks: all leave out the
same steps. Nothing here waits for a GPU; how a step went is read when the next one is under way.

Source: Micikevicius et al. 2017, section 3.2 (the scaled loss, and that steps which overflow are left out).
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clip_train.config import Precision
from clip_train.errors import DivergedError

_FP16_MORE = 32  # steps in which the scale of an fp16 loss may fall until its gradients fit


class Updates:
    """The second half of every step: backward, clip, update.

    Args:
        model: What is trained.
        optimizer: A fused one over the model's parameters.
        clip_norm: Largest gradient norm; None for no limit.
        precision: fp16 scales the loss.
        max_skipped: Steps left out in a row that end the run; with fp16 32 more, in which the scale finds its place.

    Attributes:
        skipped: Steps left out so far, of those that `settle` has read.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float | None,
        precision: Precision,
        max_skipped: int,
    ) -> None:
        self._optimizer = optimizer
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        device = self._parameters[0].device
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._clip_norm = math.inf if clip_norm is None else clip_norm
        self._max_skipped = max_skipped + (_FP16_MORE if precision == "fp16" else 0)
        self._lag = 1 if device.type == "cuda" else 0
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._good_statistics = [buffer.clone() for buffer in self._statistics]
        self._unread: deque[Tensor] = deque()
        self._in_row = 0
        self.skipped = 0

    def apply(self, loss: Tensor, finish: Callable[[], None] | None = None) -> Tensor:
        """Takes a step down a loss, or none when the loss or a gradient is not finite.

        Args:
            loss: Of the step.
            finish: Takes the gradients on to the parameters, where the loss itself does not; called after `backward`.

        Returns:
            The norm of the gradients before they are clipped.

        Raises:
            DivergedError: When too many steps in a row were left out.
        """
        self._optimizer.zero_grad()
        seed = torch.where(loss.detach().isfinite(), 1.0, math.nan).to(loss.dtype)
        self._scaler.scale(loss).backward(seed)  # type: ignore[no-untyped-call]
        if finish:
            finish()
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        is_finite = norm.isfinite()
        self._optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]  # a fused one then changes nothing
        self._optimizer.step()
        self._scaler.update()
        for buffer, good in zip(self._statistics, self._good_statistics, strict=True):
            good.copy_(torch.where(is_finite, buffer, good))
            buffer.copy_(good)
        self._unread.append(is_finite)
        self._read(self._lag)
        return norm

    def settle(self) -> None:
        """Waits until it is known of every step whether it was left out.

        Raises:
            DivergedError: When too many in a row were.
        """
        self._read(0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"skipped": self.skipped, "in_row": self._in_row, "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what a checkpoint kept; the model has that checkpoint's weights and statistics by now."""
        self.skipped, self._in_row = state["skipped"], state["in_row"]
        self._scaler.load_state_dict(state["scaler"])

    def _read(self, lag: int) -> None:
        while len(self._unread) > lag:
            is_finite = bool(self._unread.popleft())
            self._in_row = 0 if is_finite else self._in_row + 1
            self.skipped += not is_finite
            if self._in_row >= self._max_skipped:
                raise DivergedError(
                    f"{self._in_row} steps in a row had a loss or gradients that are no finite numbers, and were left "
                    "out; try a lower learning rate, and go on from the newest checkpoint with --resume"
                )


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds something else than finite numbers; None when all are finite."""
    wide = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    flags = torch.stack([tensor.isfinite().all() for tensor in wide.values()]).tolist()  # one wait for all
    return next((name for name, is_finite in zip(wide, flags, strict=True) if not is_finite), None)
