"""`wit400m COMMAND` = `python -m jobs COMMAND`: finds the command's module and hands it the rest of the line."""

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

COMMANDS = {
    "build-vocab": ("jobs.build_vocab", "dump, page views, WordNet -> the query vocabulary"),
    "extract-pairs": ("jobs.extract_pairs", "WARC, WAT, URL+text tables -> distinct (image URL, text) pairs"),
    "match-pairs": ("jobs.match_pairs", "pairs -> pairs with the queries their text holds"),
    "balance-pairs": ("jobs.balance_pairs", "matched pairs -> at most `cap` pairs a query, exactly"),
    "fetch-images": ("jobs.fetch_images", "balanced pairs -> images, in raw tars"),
    "write-shards": ("jobs.write_shards", "raw tars -> WebDataset shards, manifest, data card"),
    "run": ("jobs.run", "all of these, in order, from one TOML file"),
    "get-dump": ("jobs.get_dump", "download a wiki's dump and page views for build-vocab"),
    "get-wordnet": ("jobs.get_wordnet", "put WordNet where build-vocab finds it"),
    "demo": ("jobs.demo.__main__", "a small made-up world, through every stage, to a trained model"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (0 done, 1 failed, 2 bad use, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"wit400m: no command {command!r}.{hint} `wit400m --help` lists them.", file=sys.stderr)
        return 2
    set_up_logs(verbose="--verbose" in rest)  # before the import: Beam logs while it is imported
    module = importlib.import_module(COMMANDS[command][0])
    return int(module.main(rest))


def set_up_logs(*, verbose: bool) -> None:
    """Sends log records to standard error; without `verbose` next to none: what fails is raised and printed once."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    level = logging.INFO if verbose else logging.CRITICAL
    logging.getLogger().setLevel(level)
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # records of worker processes pass by the logger's level


def _overview() -> str:
    lines = ["usage: wit400m COMMAND [options]", "", "From a Wikipedia dump and a web crawl to image-text shards.", ""]
    lines += [f"  {name:<15}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [*lines, "", "`wit400m COMMAND --help` lists a command's options; train with `python -m clip_train`."]
    )


def run() -> NoReturn:
    """The program: `main`, then the end of the process at once.

    Python's own way out can abort when threads of Arrow or gRPC are still letting go of Python objects, and a script
    could not trust the exit code.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
