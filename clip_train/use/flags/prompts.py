"""Prompt pairs: how much of a model's softmax over two groups of texts falls to the first.

In: two groups of texts; features of images. Out: a number from 0 to 1 for each image. Any CLIP will do, and nothing is
trained; how well it tells the groups apart is for the user to measure.

Source: Radford et al. 2021, section 3.1.2 (zero-shot classifiers of texts).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from clip_train.errors import InputError
from clip_train.files import read_lines
from clip_train.models.clip import Clip
from clip_train.use.features import encode_texts
from clip_train.use.shard_features import IMAGES, Kind, ShardFeatures

_FILE_SUFFIX = ".txt"


class PromptPair(NamedTuple):
    """Texts that speak for a flag, and texts that speak against it."""

    positive: Sequence[str]
    negative: Sequence[str]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The features it is told by."""
        return (IMAGES,)

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers, beside the model."""
        return {"positive": list(self.positive), "negative": list(self.negative)}

    def bind(self, model: Clip) -> Callable[[ShardFeatures], Tensor]:
        """What makes its numbers of features: [samples] float32.

        Raises:
            InputError: When a text is too long for the model.
        """
        directions = encode_texts(model, [*self.positive, *self.negative]) * model.logit_scale.detach().exp()

        def score(encoded: ShardFeatures) -> Tensor:
            logits = encoded.features[IMAGES].to(directions.device) @ directions.T
            return logits.double().softmax(dim=1)[:, : len(self.positive)].sum(dim=1).float().cpu()

        return score


def parse_prompts(value: str) -> PromptPair:
    """A pair from ``POSITIVE|NEGATIVE``, each a text or the name of a text file (.txt) with one a line.

    Raises:
        InputError: When there are not two sides with a text each, or a file cannot be read.
    """
    sides = value.split("|")
    if len(sides) != 2:
        raise InputError(f"{value!r}: two sides with one | between them are wanted, positive|negative")
    positive, negative = (_read_side(side.strip()) for side in sides)
    return PromptPair(positive, negative)


def _read_side(side: str) -> list[str]:
    is_file = side.endswith(_FILE_SUFFIX) or os.path.isfile(side)
    prompts = read_lines(side) if is_file else [side] if side else []
    if not prompts:
        raise InputError(f"{side or 'an empty side'}: no prompts")
    return prompts
