"""Commands: ``python -m clip_train train | evaluate … | finetune | tokenizer | export | import | classify | edit | …``.

In: flags, derived from each command's options. Out: exit code 0; 1 when training diverged; 2 and one line on
stderr when something given cannot be used; 128 + the signal's number when a signal ended training.
"""

import argparse
import atexit
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from clip_train.commands import (
    classify,
    edit,
    embed,
    export,
    finetune,
    flag,
    import_,
    linear_probe,
    retrieval,
    retrieve,
    robustness,
    score,
    tokenizer,
    train,
    zero_shot,
)
from clip_train.config import TrainConfig
from clip_train.errors import ClipTrainError, InputError
from clip_train.use.flags.specs import describe_flags
from pipeline.base.leaving import leave
from pipeline.base.options import add_flags, options_from

_PROGRAM = "python -m clip_train"


class Operands(NamedTuple):
    """What a command takes besides options."""

    metavar: str  # what the help calls one
    number: str | int  # in argparse's words
    help: str


class Command(NamedTuple):
    """A command: its options record, the function that runs it, and what it takes besides options."""

    options: type
    run: Callable[[Any, Sequence[str]], int]
    operands: Operands | None = None
    # flags and operands ► values of options
    complete: Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]] = lambda flags, _: flags
    epilog: str | None = None  # below the options in the help


_SHARDS = Operands("SHARDS", "+", "Folders of shards, or tars.")

COMMANDS: Mapping[str, Command] = {
    "train": Command(
        TrainConfig,
        train.run_train,
        Operands("KEY=VALUE", "*", "Options without dashes, such as batch-size=64; flags go before them."),
        complete=train.complete_options,
        epilog=train.describe_presets(),
    ),
    "evaluate zero-shot": Command(zero_shot.ZeroShotConfig, zero_shot.run_zero_shot),
    "evaluate retrieval": Command(retrieval.RetrievalConfig, retrieval.run_retrieval),
    "evaluate linear-probe": Command(linear_probe.LinearProbeConfig, linear_probe.run_linear_probe),
    "evaluate robustness": Command(robustness.RobustnessConfig, robustness.run_robustness),
    "finetune": Command(finetune.FinetuneConfig, finetune.run_finetune),
    "tokenizer": Command(tokenizer.TokenizerConfig, tokenizer.run_tokenizer),
    "export": Command(export.ExportConfig, export.run_export),
    "import": Command(import_.ImportConfig, import_.run_import),
    "classify": Command(
        classify.ClassifyConfig, classify.run_classify, Operands("IMAGE", "+", "Image files or http(s) URLs.")
    ),
    "edit": Command(edit.EditConfig, edit.run_edit, Operands("IMAGE", 1, "Image file or http(s) URL.")),
    "embed": Command(embed.EmbedConfig, embed.run_embed, _SHARDS),
    "retrieve": Command(retrieve.RetrieveConfig, retrieve.run_retrieve, Operands("TEXT", "*", "Texts to search with.")),
    "score": Command(score.ScoreConfig, score.run_score, _SHARDS),
    "flag": Command(flag.FlagConfig, flag.run_flag, _SHARDS, epilog=describe_flags()),
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
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if command.operands:
            metavar, number, text = command.operands
            child.add_argument("operands", nargs=number, metavar=metavar, help=text)
        add_flags(child, command.options)
        child.set_defaults(command_name=name)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    flags = vars(build_parser().parse_args(argv))
    name = flags.pop("command_name")
    operands = flags.pop("operands", ())
    try:
        return COMMANDS[name].run(_make_options(COMMANDS[name], flags, operands), operands)
    except ClipTrainError as error:
        print(f"{_PROGRAM} {name}: {error}", file=sys.stderr)
        return error.exit_code


def _make_options(command: Command, flags: Mapping[str, Any], operands: Sequence[str]) -> Any:
    values = command.complete(flags, operands)
    try:
        return options_from(command.options, values)
    except ValueError as error:
        raise InputError(str(error).removeprefix(f"{getattr(command.options, 'name', '')}: ")) from error


def run() -> NoReturn:
    """The program: `main`, then the end of the process at once, for threads of gloo may be at work a moment longer."""
    code = main()
    atexit._run_exitfuncs()  # loaders' processes, logs
    leave(code)


if __name__ == "__main__":
    run()
