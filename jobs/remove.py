"""`wit400m remove`: takes samples out of a finished set of shards, by lists, and keeps them out."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jobs.lists import add_list_flags, parse_list_flags
from jobs.processes import mapping
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.holding import hold_folder
from pipeline.sharding.finished.removing import (
    Listed,
    add_lists,
    add_origins,
    find_listed,
    finish,
    keep_before,
    remove_samples,
)
from pipeline.web.blocklists import KINDS, Blocklists


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 done, or nothing of it was there; 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m remove",
        description="Takes the samples that lists name out of finished shards: rewrites the shards that hold one, and "
        "what is told of all; writes a log beside them; and keeps the lists, and where what was removed came from, in "
        "a folder of your own, which fetch-images and write-shards read, so that it stays out. Run again after a "
        "crash, it finishes.",
        allow_abbrev=False,
    )
    add_list_flags(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="What the log says of it.")
    parser.add_argument("--removals", metavar="DIR", help="Folder to keep the lists in [removals, beside the shards]")
    arguments = parser.parse_args(argv)
    try:
        shards, lists = parse_list_flags(parser, arguments, purpose="lose")
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
    found_as_json = [one._asdict() for one in found]
    files.write_json(plan, {"record": record, "found": found_as_json, "removals": removals}, sort_keys=False)
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
    digests = {entry["name"]: entry["sha256"] for entry in files.read_json(_before(shards).manifest)["shards"]}
    left = [
        (listed, reports[listed.shard], digests[listed.shard])
        for listed in found
        if not files.exists(reports[listed.shard])
    ]
    with mapping(workers) as each:
        for _ in each(partial(_remove_samples, folder=shards.path), left):
            pass
        add_origins(told["removals"], found, told["record"])
        counts = finish(shards, _before(shards), reports, record=told["record"], each=each)
    files.remove_tree(shards.working("removal"))
    gone = counts["samples/in"] - counts["samples/kept"]
    return f"remove: {gone:,} samples gone from {len(reports):,} shards; {counts['samples/kept']:,} are left"


def _remove_samples(task: tuple[Listed, str, str], *, folder: str) -> None:
    listed, report, sha256 = task
    remove_samples(listed, report, folder=folder, sha256=sha256)
