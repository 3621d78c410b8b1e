"""The learning rate of a step: linear warm-up, then half a cosine down to zero.

In: a step number. Out: a learning rate.
Source: Loshchilov & Hutter 2016; Radford et al. 2021, section 2.5.
"""

import math


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of one step, counted from 0.

    >>> [round(learning_rate_at(s, peak=1.0, warmup_steps=2, total_steps=6), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
