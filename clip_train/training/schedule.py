"""The learning rate of a step: linear warm-up, then one of three courses, with or without a way down at the end.

In: a step number. Out: a learning rate. A constant rate and one by the root of the step do not ask how long the run
is before their cool-down begins, so a run without one may be made longer as if it had been so from its beginning.

Source: Loshchilov & Hutter 2016 (cosine); Radford et al. 2021, section 2.5; Vaswani et al. 2017, section 5.3 (inverse
square root); Zhai et al. 2021, "Scaling Vision Transformers", section 3.3 (linear cool-down).
"""

import math
from collections.abc import Callable
from functools import partial

from clip_train.config import TrainConfig


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of one step, counted from 0: after the warm-up half a cosine down to zero.

    >>> [round(learning_rate_at(s, peak=1.0, warmup_steps=2, total_steps=6), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def cooled_rate_at(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, cooldown_steps: int, falls: bool
) -> float:
    """The same for a rate that stays at its peak or, where it `falls`, goes by the inverse square root of the step.

    >>> [cooled_rate_at(s, peak=1.0, warmup_steps=1, total_steps=6, cooldown_steps=3, falls=False) for s in range(6)]
    [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> [cooled_rate_at(s, peak=1.0, warmup_steps=4, total_steps=64, cooldown_steps=0, falls=True) for s in (1, 3, 15)]
    [0.5, 1.0, 0.5]
    """
    warm_from = max(1, warmup_steps)
    course = math.sqrt(warm_from / max(step + 1, warm_from)) if falls else 1.0
    warmth = min(1.0, (step + 1) / warm_from)
    left = min(1.0, (total_steps - step) / (cooldown_steps + 1))
    return peak * course * warmth * left


def schedule_of(config: TrainConfig, total_steps: int) -> Callable[[int], float]:
    """The learning rate of every step of a run, by its number."""
    course = (
        learning_rate_at
        if config.schedule == "cosine"
        else partial(cooled_rate_at, cooldown_steps=config.cooldown_steps, falls=config.schedule == "inverse-sqrt")
    )
    return partial(course, peak=config.learning_rate, warmup_steps=config.warmup_steps, total_steps=total_steps)
