"""The command train: shards to a model.

In: an options record. Out: a run's folder; lines on stdout; 128 + the signal's number when one ended the run early.
"""

import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from clip_train.commands.shared_options import require
from clip_train.config import TrainConfig
from clip_train.presets import PRESETS, find_preset
from clip_train.training.checkpoint import list_checkpoints, read_info
from clip_train.training.loop import train


def run_train(config: TrainConfig, _: Sequence[str]) -> int:
    """Trains; 128 + the signal's number when one ended the run early, as a shell would report it."""
    require(config, "shards", "output")
    summary = train(config)
    loss = "nothing left to do" if math.isnan(summary.loss) else f"loss {summary.loss:.4f}"
    if summary.checkpoint:  # only the first rank has one to speak of
        print(f"step {summary.step} of {summary.total_steps}, {loss}, checkpoint {summary.checkpoint}")
    if not summary.signal:
        return 0
    print("stopped by a signal; go on with --resume", file=sys.stderr)
    return 128 + summary.signal


def complete_options(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run: flags, over those of the run to resume, or over the preset's."""
    saved = list_checkpoints(flags.get("output", "")) if flags.get("resume") else []
    below = read_info(saved[-1]).train if saved else find_preset(flags.get("model", TrainConfig.model)).recipe
    return {**below, **flags}


def describe_presets() -> str:
    """What the help says about each preset."""
    lines = ["models, and what they change in the options:"]
    for name, (model, recipe) in PRESETS.items():
        image = model.image
        changed = [f"{key.replace('_', '-')} {value}" for key, value in recipe.items()]
        about = "; ".join([f"{image.kind}, {image.image_size} px", *changed])
        lines += textwrap.wrap(
            about, 78, initial_indent=f"  {name:16}", subsequent_indent=" " * 18, break_on_hyphens=False
        )
    return "\n".join(lines)
