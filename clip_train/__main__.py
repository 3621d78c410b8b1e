"""Commands: ``python -m clip_train train | evaluate … | finetune | tokenizer | export | import | classify | edit | …``.

In: flags, derived from each command's options. Out: exit code 0; 1 when training diverged; 2 and one line on
stderr when something given cannot be used; 128 + the signal's number when a signal ended training.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from clip_train.checkpoint import list_checkpoints, read_info
from clip_train.commands import adapting, evaluating, exchanging, scoring, searching, training, using
from clip_train.config import InputError, TrainConfig
from clip_train.presets import PRESETS, find_preset
from clip_train.train import DivergedError
from pipeline.base.options import add_flags, options_from

T = TypeVar("T")

_PROGRAM = "python -m clip_train"


class Command(NamedTuple):
    """A command: its options record, the function that runs it, and what it takes besides options."""

    options: type
    run: Callable[[Any, Sequence[str]], int]
    operand: str = ""  # what the help calls it; none are taken where it is empty
    operands: str | int = "+"  # how many, in argparse's words
    operand_help: str = ""


COMMANDS: Mapping[str, Command] = {
    "train": Command(TrainConfig, training.run_train),
    "evaluate zero-shot": Command(evaluating.ZeroShotConfig, evaluating.run_zero_shot),
    "evaluate retrieval": Command(evaluating.RetrievalConfig, evaluating.run_retrieval),
    "evaluate linear-probe": Command(evaluating.LinearProbeConfig, evaluating.run_linear_probe),
    "evaluate robustness": Command(evaluating.RobustnessConfig, evaluating.run_robustness),
    "finetune": Command(adapting.FinetuneConfig, adapting.run_finetune),
    "tokenizer": Command(training.TokenizerConfig, training.run_tokenizer),
    "export": Command(exchanging.ExportConfig, exchanging.run_export),
    "import": Command(exchanging.ImportConfig, exchanging.run_import),
    "classify": Command(using.ClassifyConfig, using.run_classify, "IMAGE", "+", "Image files or http(s) URLs."),
    "edit": Command(using.EditConfig, using.run_edit, "IMAGE", 1, "Image file or http(s) URL."),
    "embed": Command(searching.EmbedConfig, searching.run_embed, "SHARDS", "+", "Folders of shards, or tars."),
    "retrieve": Command(searching.RetrieveConfig, searching.run_retrieve, "TEXT", "*", "Texts to search with."),
    "score": Command(scoring.ScoreConfig, scoring.run_score, "SHARDS", "+", "Folders of shards, or tars."),
}


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with code 2."""
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = OneLineParser(prog=_PROGRAM, description="Trains, evaluates and uses CLIP models on WebDataset shards.")
    tops = parser.add_subparsers(metavar="COMMAND", required=True)
    evaluations = None
    for name, command in COMMANDS.items():
        group, _, leaf = name.rpartition(" ")
        if group and evaluations is None:
            evaluate = tops.add_parser(group, help="Measures a trained model.", description="Measures a trained model.")
            evaluations = evaluate.add_subparsers(metavar="EVALUATION", required=True)
        siblings = evaluations if group and evaluations is not None else tops
        described = (command.options.__doc__ or "").strip()
        child = siblings.add_parser(
            leaf,
            help=described,
            description=described,
            epilog=_describe_presets() if name == "train" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if command.operand:
            child.add_argument("operands", nargs=command.operands, metavar=command.operand, help=command.operand_help)
        add_flags(child, command.options)
        child.set_defaults(command_name=name)
    return parser


def train_options(flags: Mapping[str, Any]) -> TrainConfig:
    """The options of a training run: flags, over those of the run to resume, or over the preset's."""
    saved = list_checkpoints(flags.get("output", "")) if flags.get("resume") else []
    if saved:
        return _checked(TrainConfig, {**read_info(saved[-1]).train, **flags})
    recipe = find_preset(flags.get("model", TrainConfig.model)).recipe
    return _checked(TrainConfig, {**recipe, **flags})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    values = vars(build_parser().parse_args(argv))
    name = values.pop("command_name")
    operands = values.pop("operands", ())
    try:
        config = train_options(values) if name == "train" else _checked(COMMANDS[name].options, values)
        return COMMANDS[name].run(config, operands)
    except InputError as error:
        print(f"{_PROGRAM} {name}: {error}", file=sys.stderr)
        return 2
    except DivergedError as error:
        print(f"{_PROGRAM} {name}: {error}", file=sys.stderr)
        return 1


def _checked(cls: type[T], values: Mapping[str, Any]) -> T:
    try:
        return options_from(cls, values)
    except ValueError as error:
        raise InputError(str(error).removeprefix(f"{getattr(cls, 'name', '')}: ")) from error


def _describe_presets() -> str:
    lines = ["models, and what they change in the options:"]
    for name, (model, recipe) in PRESETS.items():
        image = model.image
        changed = [f"{key.replace('_', '-')} {value}" for key, value in recipe.items()]
        about = "; ".join([f"{image.kind}, {image.image_size} px", *changed])
        lines += textwrap.wrap(
            about, 78, initial_indent=f"  {name:16}", subsequent_indent=" " * 18, break_on_hyphens=False
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
