"""The command train: shards to a model.

In: an options record. Out: a run's folder; lines on stdout; 128 + the signal's number when one ended the run early.
"""

import sys
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from clip_train.commands.shared_options import require
from clip_train.config import TrainConfig
from clip_train.errors import InputError
from clip_train.presets import PRESETS, find_preset
from clip_train.training.checkpoint import list_checkpoints, read_newest
from clip_train.training.loop import train
from pipeline.base.options import Option, options_of


def run_train(config: TrainConfig, _: Sequence[str]) -> int:
    """Trains; 128 + the signal's number when one ended the run early, as a shell would report it."""
    require(config, "shards", "output")
    summary = train(config)
    loss = "nothing left to do" if summary.loss is None else f"loss {summary.loss:.4f}"
    if summary.checkpoint:  # only the first rank has one to speak of
        print(f"step {summary.step} of {summary.total_steps}, {loss}, checkpoint {summary.checkpoint}")
    if not summary.signal:
        return 0
    print("stopped by a signal; go on with --resume", file=sys.stderr)
    return 128 + summary.signal


def complete_options(flags: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The options of a run: flags, over KEY=VALUE, over the file of `config`, over the saved run's or the preset's.

    Raises:
        InputError: When the file or an assignment cannot be read, or epochs and steps are both given.
    """
    given = {**read_toml(flags.get("config", "")), **parse_assignments(assignments, TrainConfig), **flags}
    if given.get("steps") is not None and given.get("epochs") is not None:
        raise InputError(f"steps {given['steps']} and epochs {given['epochs']} are both given; give one of them")
    saved = list_checkpoints(str(given.get("output", ""))) if given.get("resume") else []
    below = dict(read_newest(saved).train if saved else find_preset(str(given.get("model", TrainConfig.model))).recipe)
    if "epochs" in given:
        below.pop("steps", None)
    return {**below, "config": "", **given}


def read_toml(path: str) -> dict[str, Any]:
    """The options in a TOML file, under their names with underscores; none without a path.

    Raises:
        InputError: When it cannot be read.
    """
    if not path:
        return {}
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise InputError(f"config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"config {path}: not TOML ({error})") from error
    return {name.replace("-", "_"): value for name, value in values.items()}


def parse_assignments(assignments: Sequence[str], options: type) -> dict[str, Any]:
    """Options given as KEY=VALUE, the value as a flag's would be read: a list's values with commas, or as in TOML.

    >>> parse_assignments(["batch-size=64", "model=RN50", "shards=a,b", "resume=true"], TrainConfig)
    {'batch_size': 64, 'model': 'RN50', 'shards': ['a', 'b'], 'resume': True}

    Raises:
        InputError: When one has no ``=``; a value that does not fit is left for the check of the options.
    """
    known = {opt.key: opt for opt in options_of(options)}
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r} is no option; give KEY=VALUE, or flags")
        name = key.strip().replace("-", "_")
        values[name] = _parse_value(text.strip(), known[name]) if name in known else text
    return values


def _parse_value(text: str, opt: Option) -> Any:
    if opt.is_list and not text.startswith("["):
        return [_parse_one(part.strip(), opt.scalar) for part in text.split(",") if part]
    return _parse_one(text, list if opt.is_list else opt.scalar)


def _parse_one(text: str, kind: type) -> Any:
    """A value as TOML has it; of a string the quotes may be left out."""
    if kind is str and text[:1] not in ("'", '"'):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
