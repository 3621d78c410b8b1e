"""`wit400m verify`: whether a finished folder is what the stage that wrote it left, to the last byte."""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from jobs.flags import require_least
from jobs.processes import mapping
from jobs.progress import show_progress
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.sharding.finished.verifying import (
    KeyWatch,
    folder_problems,
    list_output_problems,
    query_problems,
    verify_shard,
)
from pipeline.sharding.forms import form_of, split_of


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 all is well, 1 it is not, 2 there is nothing to verify)."""
    parser = argparse.ArgumentParser(
        prog="wit400m verify",
        description="Reads all files of a stage and says which are missing, cut or changed; in shards each sample: "
        "its members, its JSON, its row in the index, its image, and that no key is there twice.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="Folder of a finished stage, or a copy of finished shards.")
    parser.add_argument("--no-decode", action="store_true", help="Leave the images of shards undecoded: much faster.")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="Processes [%(default)s]")
    arguments = parser.parse_args(argv)
    require_least(parser, arguments, workers=1)
    shards = ShardsFolder(arguments.folder)
    has_manifest, is_stage = (files.exists(path) for path in (shards.manifest, shards.file(STAGE_NAME)))
    if not (has_manifest or is_stage):
        print(
            f"wit400m verify: error: {arguments.folder}: neither {STAGE_NAME} of a finished stage nor "
            f"{files.basename(shards.manifest)} of finished shards is there",
            file=sys.stderr,
        )
        return 2
    number = 0
    for problem in _problems(shards, arguments, has_manifest=has_manifest, is_stage=is_stage):
        print(problem, flush=True)
        number += 1
    if number:
        print(f"verify: {number:,} problems in {arguments.folder}", file=sys.stderr)
        return 1
    print(f"verify: all is well in {arguments.folder}")
    return 0


def _problems(
    shards: ShardsFolder, arguments: argparse.Namespace, *, has_manifest: bool, is_stage: bool
) -> Iterator[str]:
    outputs: list[dict[str, Any]] = read_stage(shards.path)["outputs"] if is_stage else []
    entries: list[dict[str, Any]] = []
    form = form_of({})
    if has_manifest:
        try:
            manifest = files.read_json(shards.manifest)
            entries, form = manifest["shards"], form_of(manifest)
            yield from folder_problems(shards, manifest)
        except (ValueError, KeyError, TypeError) as error:
            yield f"{files.basename(shards.manifest)}: not as write-shards writes it ({error!r})"
    names = {entry["name"] for entry in entries}  # their digests are in the manifest, too
    rest = [output for output in outputs if output["name"] not in names]
    work = partial(verify_shard, folder=shards.path, form=form, decode=not arguments.no_decode)
    reports, done, watches = [], 0, defaultdict[str, KeyWatch](KeyWatch)
    with (
        mapping(arguments.workers) as each,
        show_progress("verify", len(rest) + len(entries), lambda: done, unit="file"),
    ):
        for problems in each(partial(list_output_problems, shards.path), rest):
            yield from problems
            done += 1
        for entry, report in zip(entries, each(work, entries), strict=True):
            yield from (f"{report.name}: {problem}" for problem in report.problems)
            yield from watches[split_of(entry)].see(report)
            reports.append(report._replace(keys=report.keys[:1]))
            done += 1
    if entries and all(report.keys for report in reports):  # else it follows from what was told already
        yield from query_problems(shards, reports)
