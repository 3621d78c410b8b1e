"""`wit400m export-urls`: writes a list of a finished set's samples, by which others can fetch the same set."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.lists import finished_shards
from jobs.progress import show_progress
from jobs.runner import load_stage
from pipeline.base import files
from pipeline.base.options import options_of
from pipeline.sharding.finished.exporting import fetch_options, write_list


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 done, 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m export-urls",
        description="Writes a table of a finished set's samples without their images: addresses, texts, digests, "
        "pages, queries, and what samples carry. `wit400m fetch-images --from-list TABLE` and `write-shards` make "
        "the same shards of it, as far as the images are still there.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="Folder of finished shards.")
    parser.add_argument("--output", required=True, metavar="FILE", help="Where to: .parquet (in full) or .csv")
    arguments = parser.parse_args(argv)
    number = 0
    try:
        shards = finished_shards(arguments.folder, purpose="be listed")
        with show_progress("export-urls", None, lambda: number, unit="sample"):
            for rows in write_list(shards, arguments.output):
                number += rows
    except (ValueError, OSError) as error:
        print(f"wit400m export-urls: error: {error}", file=sys.stderr)
        return 2
    print(f"export-urls: {number:,} samples -> {arguments.output}")
    rounds = fetch_options(files.read_json(shards.funnel)) if files.exists(shards.funnel) else []
    for flags in dict.fromkeys(shlex.join(fetch_flags(options)) for options in rounds):
        print(f"to fetch it again: wit400m fetch-images --from-list {shlex.quote(arguments.output)} {flags}".rstrip())
    return 0


def fetch_flags(options: Mapping[str, Any]) -> list[str]:
    """The flags of fetch-images by which an option has another value than its default.

    Args:
        options: Of a run; options that are not known any more are left out.

    >>> fetch_flags({"image_format": "own", "robots": True, "exif": "none"})
    ['--image-format', 'own']
    """
    flags = list[str]()
    for option in options_of(load_stage("fetch-images")):
        value = options.get(option.name, option.default)
        value = tuple(value) if isinstance(value, list) else value
        if value == option.default or option.name == "unit_urls":  # how work is cut changes no shard
            continue
        if option.scalar is bool:
            flags.append(option.flag if value else option.flag.replace("--", "--no-", 1))
        else:
            flags += [option.flag, *map(str, value if option.is_list else [value])]
    return flags
