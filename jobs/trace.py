"""`wit400m trace`: where samples of a finished set of shards come from: image, page and crawl."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial

from jobs.lists import add_list_flags, parse_list_flags
from jobs.processes import mapping
from pipeline.base import files
from pipeline.sharding.finished.removing import trace_listed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 done, or nothing of it is there; 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m trace",
        description="Prints, a line of JSON each, the samples that lists name: key, shard, addresses of the image and "
        "of its page, the file of the crawl, and the text. Changes nothing; `wit400m remove` takes the same lists.",
        allow_abbrev=False,
    )
    add_list_flags(parser)
    arguments = parser.parse_args(argv)
    try:
        shards, lists = parse_list_flags(parser, arguments, purpose="be searched")
        names = [entry["name"] for entry in files.read_json(shards.manifest)["shards"]]
        samples = num_shards = 0
        with mapping(arguments.workers) as each:
            for found in each(partial(trace_listed, folder=shards.path, lists=lists), names):
                samples, num_shards = samples + len(found), num_shards + bool(found)
                for trace in found:  # in ASCII: texts off the web reach no terminal as they are
                    print(json.dumps(trace._asdict()), flush=True)
    except (ValueError, OSError) as error:
        print(f"wit400m trace: error: {error}", file=sys.stderr)
        return 2
    print(f"trace: {samples:,} samples in {num_shards:,} of {len(names):,} shards", file=sys.stderr)
    return 0
