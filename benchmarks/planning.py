"""The plan of fetch-images on made-up pairs: seconds, CPU seconds, memory of all processes, bytes a row on its way.

    python benchmarks/planning.py --pairs 1000000 4000000 10000000 --workers 2 --folder /tmp/plans

For each number of pairs it writes balanced tables, runs the steps that plan, each below a process of its own, checks
that every pair is in one plan, and says what they took. The memory is that of the driver and of all workers, shared
pages counted once. Small units stand for many: 4 million pairs by 100 are 40,000 units, as 400 million by 10,000 are.
The last lines are about one source and one group where 400 million are planned.
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
from watching import watch_tree
from web_pairs import make_up_balanced
from zipf_pairs import write_stage

from jobs.engines import Engine
from jobs.runner import make_step
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
    open_routed,
    plan_units,
    routed_file,
    units_a_group,
    write_plans,
    write_routes,
)
from pipeline.fetching.routed_files import write_routed
from pipeline.fetching.stage import FetchImages
from pipeline.steps import Step

TABLE_ROWS = 50_000
FULL_UNITS, FULL_UNIT_URLS = 40_000, 10_000
PLANNING = ("CountHosts", "RouteRows", "PlanUnits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="Where to write")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 4_000_000], metavar="N", help="[1M 4M]")
    parser.add_argument("--unit-urls", type=int, default=0, metavar="N", help="Pairs in a fetch unit [the stage's own]")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="Worker processes [2]")
    arguments = parser.parse_args()
    for num_pairs in arguments.pairs:
        folder = files.join(arguments.folder, str(num_pairs))
        write_pairs(folder, num_pairs)
        plan(folder, num_pairs, unit_urls=arguments.unit_urls, workers=arguments.workers)
    full_size(files.join(arguments.folder, str(arguments.pairs[-1])))


def write_pairs(folder: str, num_pairs: int) -> None:
    balanced = BalancedFolder(files.join(folder, "balanced"))
    if files.exists(balanced.path):
        return
    for number in range(-(-num_pairs // TABLE_ROWS)):
        rows = make_up_balanced(min(TABLE_ROWS, num_pairs - number * TABLE_ROWS), number)
        write_table(balanced.table(f"part-{number:05d}"), rows, rows.schema)
    write_stage(balanced.path, "balance-pairs", {"pairs/kept": num_pairs})


def plan(folder: str, num_pairs: int, *, unit_urls: int, workers: int) -> None:
    """Runs the steps that plan, and says what they took."""
    raw = files.join(folder, "raw")
    files.remove_tree(raw)
    balanced = files.join(folder, "balanced")
    stage = FetchImages(contact="bench@host.example", balanced=balanced, output=raw, unit_urls=unit_urls)
    engine, found = Engine(workers=workers), {}
    for part in stage.steps():
        for step in [part] if isinstance(part, Step) else part:
            found[step.label] = step.transform
            if step.label in PLANNING:
                work = partial(make_step, step, engine, stage.output)
                run_apart(f"{num_pairs:,} pairs, {workers} workers, {step.label}", work)
    fetch, routed = found["FetchUnits"], found["RouteRows"].outputs
    planned = StageFolder(files.join(raw, "_plan"))
    num_planned = sum(count_rows(planned.table(raw_name(unit))) for unit in fetch.units)
    if num_planned != num_pairs:
        raise SystemExit(f"{num_pairs} pairs came in, {num_planned} are in plans")
    num_groups, size = len(found["PlanUnits"].units), sum(files.sizes(routed).values())
    print(f"  {len(routed):,} sources, {num_groups:,} groups: {len(routed) * num_groups:,} ranges at most, ", end="")
    print(f"{size / num_pairs:.0f} bytes a row; {len(fetch.units):,} units, {fetch.num_tasks:,} lanes")


def full_size(folder: str) -> None:
    """One source where 40,000 units of 10,000 are planned, and the largest group of units."""
    histogram = np.full(HOST_BUCKETS, FULL_UNITS * FULL_UNIT_URLS // HOST_BUCKETS)
    full = partial(plan_units, unit_urls=FULL_UNIT_URLS)
    size = units_a_group(FULL_UNIT_URLS)
    tables = BalancedFolder(files.join(folder, "balanced")).tables
    source = tables[: ROWS_AT_ONCE // TABLE_ROWS]
    plans = StageFolder(files.join(folder, "full"))
    output, num_rows = plans.file("source.bin"), len(source) * TABLE_ROWS
    route = partial(write_routes, (0, source), output, plan=OnWorker(full, histogram), group_size=size)
    run_apart(f"{full(histogram).num_units:,} units of 400 million pairs, a source of {num_rows:,}", route)
    print(f"  {files.file_size(output) / num_rows:.0f} bytes a row")
    messages = pack_group(tables, size)
    for number, message in enumerate(messages):
        write_routed(routed_file(plans, number), [(0, message)], num_groups=1)
    write = partial(
        write_plans,
        UnitGroup(0, 0, size),
        plans.table("group"),
        routed=OnWorker(open_routed, plans, len(messages), num_groups=1),
        plans=plans,
    )
    run_apart(f"a group of {size} units, {size * FULL_UNIT_URLS:,} pairs of {len(messages):,} sources", write)


def pack_group(tables: list[str], size: int) -> list[bytes]:
    """All that is sent to one group of 40,000 units."""
    names = [name for name in ROUTED.names if name != "unit"]
    num_rows = size * FULL_UNIT_URLS
    rows = pa.concat_tables([read_table(path, names) for path in tables[: -(-num_rows // TABLE_ROWS)]])
    rows = rows.slice(0, num_rows)
    rows = rows.append_column("unit", pa.array(np.arange(rows.num_rows) % size, pa.int32())).cast(ROUTED)
    a_message = ROWS_AT_ONCE * size // FULL_UNITS
    return [message for _, message in split_rows(rows, np.arange(rows.num_rows) // a_message)]


def run_apart(what: str, work: Callable[[], object]) -> None:
    """Calls a function in a process of its own, and says what that and all processes below it took."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    sys.stdout.flush()
    process = os.fork()
    if not process:
        work()
        sys.exit(0)  # and ends its workers, whose CPU seconds count then
    with watch_tree(process) as peak:
        _, status = os.waitpid(process, 0)
    if status:
        raise SystemExit(f"{what}: failed")
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what}: {seconds:.1f} s, {cpu_s:.1f} CPU s, peak {peak[0] / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
