"""The flags by which commands are told of samples: lists of addresses, hosts, keys, digests and looks."""

import argparse
import os
from typing import Final

from jobs.flags import require_least
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.web.blocklists import Blocklists, read_blocklists

_FLAGS: Final = {  # kind of list -> flags
    "urls": ("--urls", "addresses of images"),
    "hosts": ("--hosts", "names of hosts; those below them, too"),
    "keys": ("--keys", "keys of samples, or uids that were carried along"),
    "sha256": ("--images", "sha256 digests of images as fetched"),
    "phash": ("--looks", "perceptual hashes"),
}


def add_list_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a folder of shards, a flag a kind of list, and how many processes look for what they name."""
    parser.add_argument("folder", metavar="DIR", help="Folder of finished shards.")
    for kind, (flag, text) in _FLAGS.items():
        parser.add_argument(
            *([flag, "--ids"] if kind == "keys" else [flag]),
            dest=kind,
            action="append",
            default=[],
            metavar="FILE",
            help=f"A list of {text}, one a line.",
        )
    parser.add_argument(
        "--phash-distance", type=int, default=0, metavar="BITS", help="By which pictures may differ with --looks [0]"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="Processes [%(default)s]")


def parse_list_flags(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, *, purpose: str
) -> tuple[ShardsFolder, Blocklists]:
    """The folder, and what is listed.

    Args:
        parser: With the flags of `add_list_flags`.
        arguments: What it gave.
        purpose: What a set that is not finished cannot do, for the error.

    Raises:
        SystemExit: For bad flags.
        ValueError: For a list that is none, and where no finished set is.
        FileNotFoundError: For a list that is not there.
    """
    asked = [f"{kind}={path}" for kind in _FLAGS for path in getattr(arguments, kind)]
    if not asked:
        parser.error("give a list: " + ", ".join(flag for flag, _ in _FLAGS.values()))
    require_least(parser, arguments, workers=1, phash_distance=0)
    lists = read_blocklists(asked, phash_distance=arguments.phash_distance)
    return finished_shards(arguments.folder, purpose=purpose), lists


def finished_shards(folder: str, *, purpose: str) -> ShardsFolder:
    """A folder of finished shards.

    Args:
        folder: Where they lie.
        purpose: What a set that is not finished cannot do, for the error.

    Raises:
        ValueError: When there are none.
    """
    shards = ShardsFolder(folder.rstrip("/"))
    if not files.exists(shards.manifest):
        raise ValueError(f"{folder}: no {files.basename(shards.manifest)}; only finished shards can {purpose}")
    return shards
