"""`wit400m remove`: takes samples out of a finished set of shards, by lists, and keeps them out."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jobs.processes import mapping
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.holding import hold_folder
from pipeline.sharding.removing import Listed, add_lists, find_listed, finish, keep_before, remove_samples
from pipeline.web.blocklists import KINDS, Blocklists, read_blocklists

_FLAGS = {  # kind of list -> flags
    "urls": ("--urls", "addresses of images"),
    "hosts": ("--hosts", "names of hosts; those below them, too"),
    "keys": ("--keys", "keys of samples, or uids that were carried along"),
    "sha256": ("--images", "sha256 digests of images as fetched"),
    "phash": ("--looks", "perceptual hashes"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 done, or nothing of it was there; 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m remove",
        description="Takes the samples that lists name out of finished shards: rewrites the shards that hold one, and "
        "what is told of all; writes a log beside them; and keeps the lists in a folder that fetch-images and "
        "write-shards read, so that what was removed stays out. Run again after a crash, it finishes.",
        allow_abbrev=False,
    )
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
    parser.add_argument("--reason", default="", metavar="TEXT", help="What the log says of it.")
    parser.add_argument("--removals", metavar="DIR", help="Folder to keep the lists in [removals, beside the shards]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="Processes [%(default)s]")
    arguments = parser.parse_args(argv)
    asked = [f"{kind}={path}" for kind in _FLAGS for path in getattr(arguments, kind)]
    if not asked:
        parser.error("give a list: " + ", ".join(flag for flag, _ in _FLAGS.values()))
    for name, least in (("workers", 1), ("phash_distance", 0)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(arguments, name)}")
    try:
        lists = read_blocklists(asked, phash_distance=arguments.phash_distance)
        shards = ShardsFolder(arguments.folder.rstrip("/"))
        if not files.exists(shards.manifest):
            raise ValueError(f"{arguments.folder}: no {files.basename(shards.manifest)}; only finished shards can lose")
        with hold_folder(shards.path):
            lines = remove(
                shards,
                lists,
                reason=arguments.reason,
                removals=arguments.removals or files.join(os.path.dirname(shards.path) or ".", "removals"),
                workers=arguments.workers,
            )
    except (ValueError, OSError) as error:
        print(f"wit400m remove: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def remove(shards: ShardsFolder, lists: Blocklists, *, reason: str, removals: str, workers: int) -> list[str]:
    """Takes what is listed out of shards; returns what there is to say of it."""
    lines = []
    plan = shards.working("removal", "plan.json")
    if files.exists(plan):
        lines += ["remove: finishes a removal that was cut short", _carry_out(shards, plan, workers)]
    add_lists(removals, lists)
    with mapping(workers) as each:
        names = [entry["name"] for entry in files.read_json(shards.manifest)["shards"]]
        found = [one for one in each(partial(find_listed, folder=shards.path, lists=lists), names) if one.keys]
    if not found:
        return [*lines, f"remove: none of it is in {shards.path}; the lists are in {removals}"]
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "lists": {kind: _describe(lists.entries[kind]) for kind in KINDS if lists.entries.get(kind)},
        "phash_distance": lists.phash_distance,
    }
    keep_before(shards, _before(shards))
    files.write_json(plan, {"record": record, "found": [one._asdict() for one in found]})
    return [*lines, _carry_out(shards, plan, workers)]


def _describe(entries: Iterable[str]) -> dict[str, Any]:
    """What the log, which goes with the set, says of a list: not what it names."""
    lines = sorted(entries)
    return {"entries": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _before(shards: ShardsFolder) -> ShardsFolder:
    """What was told of all shards before a removal that is under way."""
    return ShardsFolder(shards.working("removal", "before"))


def _carry_out(shards: ShardsFolder, plan: str, workers: int) -> str:
    """Does what a plan says, or what is left of it."""
    told: dict[str, Any] = files.read_json(plan)
    found = [Listed(**one) for one in told["found"]]
    reports = {listed.shard: shards.working("removal", f"{listed.shard}.json") for listed in found}
    left = [(listed, reports[listed.shard]) for listed in found if not files.exists(reports[listed.shard])]
    with mapping(workers) as each:
        for _ in each(partial(_remove_samples, folder=shards.path), left):
            pass
    counts = finish(shards, _before(shards), reports, told["record"])
    files.remove_tree(shards.working("removal"))
    gone = counts["samples/in"] - counts["samples/kept"]
    return f"remove: {gone:,} samples gone from {len(reports):,} shards; {counts['samples/kept']:,} are left"


def _remove_samples(task: tuple[Listed, str], *, folder: str) -> None:
    remove_samples(*task, folder=folder)
