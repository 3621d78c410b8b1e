"""The plan of fetch-images on made-up pairs: CPU seconds, bytes a row and elements of its shuffle, memory.

    python benchmarks/planning.py --pairs 1000000 4000000 --unit-urls 100 --folder /tmp/plans

For each number of pairs it writes balanced tables, runs the steps that plan, each in a process of its own, checks that
every pair is in one plan, and says what went through the shuffle. Small units stand for many: 4 million pairs by 100
are 40,000 units, as 400 million by 10,000 are. The last lines are about one source where 400 million are planned.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from web_pairs import make_up_balanced
from zipf_pairs import write_stage

from jobs.engines import Engine, run_step
from pipeline.base import files
from pipeline.base.folders import BalancedFolder, StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import count_rows, read_table, write_table
from pipeline.fetching.grouped_rows import ROWS_AT_ONCE, split_rows
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    ROUTED,
    UnitGroup,
    plan_units,
    route_rows,
    units_a_group,
    write_plans,
)
from pipeline.fetching.stage import FetchImages
from pipeline.steps import GroupPacked

TABLE_ROWS = 50_000
FULL_UNITS, FULL_UNIT_URLS = 40_000, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="Where to write")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 4_000_000], metavar="N", help="[1M 4M]")
    parser.add_argument("--unit-urls", type=int, default=100, metavar="N", help="Pairs in a fetch unit [100]")
    arguments = parser.parse_args()
    for num_pairs in arguments.pairs:
        folder = files.join(arguments.folder, str(num_pairs))
        write_pairs(folder, num_pairs)
        plan(folder, num_pairs, arguments.unit_urls)
    full_size(files.join(arguments.folder, str(arguments.pairs[-1])))


def write_pairs(folder: str, num_pairs: int) -> None:
    balanced = BalancedFolder(files.join(folder, "balanced"))
    for number in range(-(-num_pairs // TABLE_ROWS)):
        rows = make_up_balanced(min(TABLE_ROWS, num_pairs - number * TABLE_ROWS), number)
        write_table(balanced.table(f"part-{number:05d}"), rows, rows.schema)
    write_stage(balanced.path, "balance-pairs", {"pairs/kept": num_pairs})


def plan(folder: str, num_pairs: int, unit_urls: int) -> None:
    """Runs the steps that plan, and says what they took."""
    raw = files.join(folder, "raw")
    files.remove_tree(raw)
    stage = FetchImages(balanced=files.join(folder, "balanced"), output=raw, unit_urls=unit_urls)
    for step in stage.steps():
        if step.label == "FetchUnits":
            break
        run_apart(f"{num_pairs:,} pairs, {step.label}", lambda step=step: run_step(step, Engine(workers=1)))
        if step.label == "PlanUnits":
            describe_shuffle(step.transform, num_pairs)
    planned = StageFolder(files.join(raw, "_plan"))
    num_planned = sum(count_rows(planned.table(raw_name(unit))) for unit in step.transform.units)
    if num_planned != num_pairs:
        raise SystemExit(f"{num_pairs} pairs came in, {num_planned} are in plans")
    print(f"  {len(step.transform.units):,} units, {step.transform.num_tasks:,} lanes")


def describe_shuffle(transform: GroupPacked, num_pairs: int) -> None:
    num_messages = num_bytes = 0
    for source in transform.sources:
        for _, message in transform.pack(source):
            num_messages, num_bytes = num_messages + 1, num_bytes + len(message)
    print(f"  {len(transform.sources):,} sources, {len(transform.units):,} groups: {num_messages:,} elements, ", end="")
    print(f"{num_bytes / num_pairs:.0f} bytes a row; reckoned {transform.payload / num_pairs:.0f}")


def full_size(folder: str) -> None:
    """One source where 40,000 units of 10,000 are planned, and the largest group of units."""
    histogram = np.full(HOST_BUCKETS, FULL_UNITS * FULL_UNIT_URLS // HOST_BUCKETS)
    full = partial(plan_units, unit_urls=FULL_UNIT_URLS)
    size = units_a_group(FULL_UNIT_URLS)
    tables = BalancedFolder(files.join(folder, "balanced")).tables
    source = tables[: ROWS_AT_ONCE // TABLE_ROWS]
    messages = list(route_rows(source, plan=OnWorker(full, histogram), group_size=size))
    num_rows = len(source) * TABLE_ROWS
    print(f"{full(histogram).num_units:,} units of 400 million pairs, one source of {num_rows:,}: ", end="")
    print(f"{len(messages):,} elements, {sum(len(message) for _, message in messages) / num_rows:.0f} bytes a row")
    run_apart(
        "  routing that source", lambda: list(route_rows(source, plan=OnWorker(full, histogram), group_size=size))
    )
    group, messages = UnitGroup(0, 0, size), pack_group(tables, size)
    plans = StageFolder(files.join(folder, "group"))
    output = plans.table("group")
    run_apart(
        f"  a group of {size} units, {size * FULL_UNIT_URLS:,} pairs in {len(messages):,} messages",
        lambda: write_plans(group, output, messages, plans=plans),
    )


def pack_group(tables: list[str], size: int) -> list[bytes]:
    """All that is sent to one group of 40,000 units."""
    names = [name for name in ROUTED.names if name != "unit"]
    rows = pa.concat_tables([read_table(path, names) for path in tables]).slice(0, size * FULL_UNIT_URLS)
    rows = rows.append_column("unit", pa.array(np.arange(rows.num_rows) % size, pa.int32())).cast(ROUTED)
    a_message = ROWS_AT_ONCE * size // FULL_UNITS
    return [message for _, message in split_rows(rows, np.arange(rows.num_rows) // a_message)]


def run_apart(what: str, work: Callable[[], object]) -> None:
    """Calls a function in a process of its own, and says what that took."""
    started = time.monotonic()
    process = os.fork()
    if not process:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        print(f"{what}: {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MiB more", end="")
        sys.stdout.flush()
        os._exit(0)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{what}: failed")
    cpu_s = usage.ru_utime + usage.ru_stime
    print(f", peak {usage.ru_maxrss / 1024:.0f} MiB, {cpu_s:.1f} CPU s, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
