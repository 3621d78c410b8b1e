"""`wit400m push`: sends a finished set of shards elsewhere, and checks what has come."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from jobs.flags import require_least
from jobs.progress import show_progress
from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.holding import hold_folder
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.sizes import show_bytes
from pipeline.sharding.finished.hub import check_installed, commit_all, is_repository
from pipeline.sharding.finished.pushing import (
    Plan,
    Record,
    SetFile,
    find_changed,
    find_missing,
    git_blob,
    list_set,
    plan_push,
    send_all,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code (0 done, 1 what came is not what was sent, 2 it cannot be sent)."""
    parser = argparse.ArgumentParser(
        prog="wit400m push",
        description="Sends the files of a finished set of shards, each checked against the set's digests while it is "
        "read, the manifest last. What is there already is not sent again, so a push that was cut short is run again. "
        "What an earlier push left there and the set has no more is removed.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="Folder of finished shards, on any file system.")
    parser.add_argument(
        "--to", required=True, metavar="URL", help="hf://datasets/OWNER/NAME, s3://…, gs://…, or another folder."
    )
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="Files under way at once [%(default)s]")
    parser.add_argument("--tries", type=int, default=6, metavar="N", help="Of a file, with pauses [%(default)s]")
    parser.add_argument(
        "--verify-bytes", action="store_true", help="Read all of it again afterwards, where it came to."
    )
    arguments = parser.parse_args(argv)
    require_least(parser, arguments, at_once=1, tries=1)
    shards, target = ShardsFolder(arguments.folder.rstrip("/")), arguments.to.rstrip("/")
    try:
        if files.is_within(target, shards.path) or files.is_within(shards.path, target):
            raise ValueError(f"--to {target}: one of it and {shards.path} is in the other")
        problems = push(
            shards, target, at_once=arguments.at_once, tries=arguments.tries, verify_bytes=arguments.verify_bytes
        )
    except (ValueError, OSError) as error:
        print(f"wit400m push: error: {error}", file=sys.stderr)
        return 2
    if problems:
        print("\n".join([*problems, f"push: {len(problems):,} files at {target} are not as they were sent"]))
        return 1
    return 0


def push(shards: ShardsFolder, target: str, *, at_once: int, tries: int, verify_bytes: bool) -> list[str]:
    """Sends a set; returns what is wrong with what came.

    Raises:
        ValueError: See `pushing.list_set`, `pushing.read_checked`.
        OSError: When something does not come through however often it is tried.
    """
    wanted = list_set(shards)
    if is_repository(target):
        check_installed()
        hold: contextlib.AbstractContextManager[object] = contextlib.nullcontext()  # a commit is whole or not there
    else:
        files.check_folder(target)
        hold = hold_folder(target)
    with hold:
        plan, record = _plan(shards, wanted, target)
        print(_tell_plan(plan, target), flush=True)
        _send(plan, record, shards, target, at_once=at_once, tries=tries)
        problems = find_missing(wanted, target)
        if verify_bytes and not problems:
            with ThreadPoolExecutor(at_once) as pool:
                problems = [text for text in pool.map(partial(find_changed, target=target), wanted) if text]
    if not problems:
        how = "read again" if verify_bytes else "of the right size"
        print(f"push: all {len(wanted):,} files are at {target}, and {how}")
    return problems


def _plan(shards: ShardsFolder, wanted: Sequence[SetFile], target: str) -> tuple[Plan, Record]:
    there = files.list_stored(target)
    record = Record(target)
    other = ShardsFolder(target)
    before = set[str]()
    for path, key in ((other.manifest, "shards"), (other.file(STAGE_NAME), "outputs")):
        if files.basename(path) in there:
            before |= {entry["name"] for entry in files.read_json(path)[key]}
    plan = plan_push(
        wanted,
        there,
        record.files,
        blob_of=lambda file: git_blob(files.read_bytes(shards.file(file.name))),
        before=sorted(before),
    )
    return plan, record


def _send(plan: Plan, record: Record, shards: ShardsFolder, target: str, *, at_once: int, tries: int) -> None:
    total, done = sum(file.bytes for file in plan.send), 0
    if is_repository(target):
        sending = commit_all(plan, folder=shards.path, target=target, at_once=at_once, tries=tries)
    else:
        sending = send_all(plan, record, folder=shards.path, target=target, at_once=at_once, tries=tries)
    with show_progress("push", total, lambda: done, unit="B", scaled=True):
        for file in sending:
            done += file.bytes


def _tell_plan(plan: Plan, target: str) -> str:
    told = [f"{len(plan.send):,} files to send ({show_bytes(sum(file.bytes for file in plan.send))})"]
    told += [f"{len(plan.there):,} are there already"] if plan.there else []
    told += [f"{len(plan.remove):,} of an earlier push to remove"] if plan.remove else []
    told += [f"{plan.others:,} other files are left alone"] if plan.others else []
    return f"push: {target}: {', '.join(told)}"
