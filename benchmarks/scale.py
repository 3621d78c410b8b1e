"""What a stage costs a row, how that grows, and what follows for hundreds of millions of rows.

    python benchmarks/scale.py --write                                     # docs/scale.md from the stored rates
    python benchmarks/scale.py --measure --folder /tmp/scale               # the rates, on this machine; some minutes
    python benchmarks/scale.py --growth --folder /tmp/scale [--rows 16000000] [--stages match-pairs balance-pairs]

Each stage runs step by step in a process of its own, without worker processes, on made-up rows: CPU seconds and the
peak memory of every step, elements and bytes of every shuffle (its sources are packed once more for that, outside the
measured time), bytes read and written. The rates are those of the rows by which the larger of two inputs is larger,
so the start of a process does not count. Of fetch-images the plan is measured on made-up pairs, and the work on
images on pictures in an archive: what a web server makes it wait for is not in the CPU seconds.

--growth runs each stage at 1 and 4 million rows, or those given, and ends with 1 when CPU seconds grow faster than
rows to the power of 1.1.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worlds import write_archive, write_list, write_raw_tars
from zipf_pairs import write_pairs

from jobs.engines import Engine
from jobs.runner import load_stage, make_step
from jobs.scale import RATES_FILE, STAGES, read_rates
from jobs.scale_page import scale_page
from pipeline.base import files
from pipeline.base.drops import add_counts
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.options import options_from
from pipeline.base.receipts import Receipt
from pipeline.base.stage_folder import commit_stage, open_stage, stage_identity
from pipeline.steps import GroupPacked, Stage, Step

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
GROWTH_ROWS = (1_000_000, 4_000_000)
MEASURED = {  # numbers of rows, and the stages that are measured with them: cheap ones need more
    (100_000, 400_000): ("extract-pairs", "fetch-images", "balance-final", "write-shards"),
    GROWTH_ROWS: ("match-pairs", "balance-pairs"),
}
NUM_PICTURES = 2_000  # that fetch-images decodes
COPIED_BYTES = 256 << 20
MOST_GROWTH = 1.1
LEAST_SHARE = 0.05  # of an average: a difference of small numbers is mostly noise
ROWS_A_TABLE = 50_000
ROWS_A_CAP = 20_000  # so that as many matches are over the cap as at 400 million pairs and a cap of 20,000
GROWING = ("match-pairs", "balance-pairs", "fetch-images", "balance-final", "write-shards")  # of fetch-images the plan
LAST_OF_PLAN = "PlanUnits"
CONTACT = {"contact": "benchmark@example.org"}  # nobody is asked
Costs = dict[str, dict[str, float]]  # of a stage's steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Write docs/scale.md from the stored rates")
    parser.add_argument("--measure", action="store_true", help="Measure the rates and store them; then write the page")
    parser.add_argument("--growth", action="store_true", help="Measure how CPU and memory grow")
    parser.add_argument("--folder", help="Where inputs and outputs go; they stay")
    parser.add_argument("--rows", type=int, nargs="+", metavar="N", help="For --growth [1000000 4000000]")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="Of --growth [all]")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        json.dump(run_child(json.loads(arguments.child)), sys.stdout)
        return 0
    if (arguments.measure or arguments.growth) and not arguments.folder:
        parser.error("--measure and --growth want --folder")
    if arguments.growth:
        rows = tuple(arguments.rows or GROWTH_ROWS)
        return measure_growth(arguments.folder, rows, [name for name in arguments.stages if name in GROWING])
    if arguments.measure:
        files.write_json(str(RATES_FILE), measure_rates(arguments.folder), sort_keys=False)
    if not (arguments.write or arguments.measure):
        parser.error("say --write, --measure or --growth")
    PAGE.write_text(scale_page(read_rates()))
    return 0


def measure_rates(folder: str) -> dict[str, Any]:
    """What each stage costs a row; the content of the file of rates."""
    found: dict[str, Costs] = {}
    for rows, stages in MEASURED.items():
        small, large = (run_flow(files.join(folder, str(number)), number, stages) for number in rows)
        found |= {name: rates_of(small[name], large[name]) for name in stages}
    found["fetch-images"] |= measure_pictures(files.join(folder, "pictures"))
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "copy_s_a_byte": measure_copy(files.join(folder, "copy")),
        "rows": {name: list(rows) for rows, stages in MEASURED.items() for name in stages},
        "stages": {name: found[name] for name in STAGES},
    }


def measure_growth(folder: str, rows: Sequence[int], stages: Sequence[str]) -> int:
    """Prints what stages cost at some numbers of rows; 1 when one grows too fast."""
    flows = {number: run_flow(files.join(folder, str(number)), number, stages) for number in rows}
    worst = 0.0
    for name in stages:
        for label in [*flows[rows[0]][name], "all"]:
            cpu, peak = ([total_of(flows[number][name], label, what) for number in rows] for what in _SHOWN)
            power = growth_exponent(rows, cpu)
            shown = "  ".join(
                f"{number:>11,} rows {seconds:9.1f} CPU s {size / 2**20:8.0f} MiB"
                for number, seconds, size in zip(rows, cpu, peak, strict=True)
            )
            print(f"{name:<14}{label:<20}{shown}  exponent {power:5.2f}", flush=True)
            worst = max(worst, power if label == "all" else 0.0)
    print(f"the largest exponent of a stage: {worst:.2f} (at most {MOST_GROWTH})")
    return int(worst > MOST_GROWTH)


_SHOWN = ("cpu_s", "peak_bytes")


def total_of(costs: Costs, label: str, what: str) -> float:
    """One of the costs of a step, or of all of them: added up, or the largest memory."""
    found = [step[what] for name, step in costs.items() if label in (name, "all")]
    return max(found) if what == "peak_bytes" else sum(found)


def growth_exponent(rows: Sequence[int], costs: Sequence[float]) -> float:
    """By which power of rows a cost grows, from the first to the last."""
    return math.log(max(costs[-1], 0.01) / max(costs[0], 0.01)) / math.log(rows[-1] / rows[0])


def run_flow(folder: str, rows: int, stages: Sequence[str] = STAGES) -> dict[str, Costs]:
    """Makes up inputs and runs stages on them; what their steps cost."""
    print(f"{rows:,} rows in {folder}", file=sys.stderr, flush=True)
    make_pairs(folder, rows)
    found: dict[str, Costs] = {}
    before = {"match-pairs": [], "balance-pairs": ["match-pairs"]}
    wanted = {*stages, *(name for stage in stages for name in before.get(stage, ["match-pairs", "balance-pairs"]))}
    if "extract-pairs" in stages:
        values = {"input": [write_list(folder)], "url_column": "0", "text_column": "1"}
        found["extract-pairs"] = start_child("extract-pairs", folder, values | {"output": f"{folder}/extracted"}, rows)
    if "match-pairs" in wanted:
        found["match-pairs"] = start_child("match-pairs", folder, {}, rows)
    if "balance-pairs" in wanted:
        values = {"cap": max(1, rows // ROWS_A_CAP), "output": f"{folder}/capped"}
        found["balance-pairs"] = start_child("balance-pairs", folder, values, rows)
    if not {"fetch-images", "balance-final", "write-shards"} & wanted:
        return found
    start_child("balance-pairs", folder, {}, rows)
    kept = int(read_stage(f"{folder}/balanced")["counts"]["pairs/kept"])
    if "fetch-images" in wanted:
        found["fetch-images"] = start_child("fetch-images", folder, CONTACT, kept, until=LAST_OF_PLAN)
    raw = f"{folder}/raw-made-up"
    for name in [name for name in ("balance-final", "write-shards") if name in wanted]:
        if not files.exists(f"{raw}/{STAGE_NAME}"):
            write_raw_tars(folder, raw)
        found[name] = start_child(name, folder, {"raw": [raw]}, kept)
    return found


def make_pairs(folder: str, rows: int) -> None:
    if not files.exists(files.join(folder, "pairs", STAGE_NAME)):
        tables = max(1, rows // ROWS_A_TABLE)
        write_pairs(argparse.Namespace(folder=folder, pairs=rows, tables=tables, holding=0.5, queries=None, workers=2))


def measure_copy(path: str) -> float:
    """CPU seconds that a byte takes to be written whole, with the two digests that a shard is given."""
    part, before = os.urandom(COPIED_BYTES // 64), cpu_seconds()
    digest = hashlib.sha256()
    with files.record_writes(), files.write_whole(path) as file:
        for _ in range(64):
            digest.update(part)
            file.write(part)
    files.remove_tree(path)
    return (cpu_seconds() - before) / COPIED_BYTES


def measure_pictures(folder: str) -> Costs:
    """What fetch-images costs an image that comes from an archive."""
    make_pairs(folder, 2 * NUM_PICTURES)
    for name in ("match-pairs", "balance-pairs"):
        start_child(name, folder, {}, 1)
    archive = f"{folder}/pictures.warc.gz"
    size = write_archive(folder, archive)
    costs = start_child("fetch-images", folder, {"from_archive": [archive]} | CONTACT, 1)
    images = costs["FetchUnits"]["rows"]
    rates = {
        key: value if key in _MAXIMA else value / images
        for key, value in costs["FetchUnits"].items()
        if key not in _COUNTED
    }
    return {"FetchUnits": rates | {"fetched_bytes": size}}


_MAXIMA = ("peak_bytes",)  # what is no sum over rows
_COUNTED = ("rows", "seconds")


def rates_of(small: Costs, large: Costs) -> Costs:
    """Costs a row of every step, of the rows by which an input is larger; at most what a row costs on average."""
    rates: Costs = {}
    for label, costs in large.items():
        more = costs["rows"] - small[label]["rows"]
        rates[label] = {}
        for key in [key for key in costs if key not in _COUNTED]:
            average, between = costs[key] / costs["rows"], (costs[key] - small[label][key]) / more
            rate = costs[key] if key in _MAXIMA else min(max(between, average * LEAST_SHARE), average)
            rates[label][key] = round(rate, 9)
    return rates


def start_child(name: str, data: str, values: Mapping[str, Any], rows: int, until: str = "") -> Costs:
    """Runs a stage in a process of its own; gives what its steps cost."""
    task = json.dumps({"stage": name, "data": data, "values": values, "rows": rows, "until": until})
    command = [sys.executable, __file__, "--child", task]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"{name} in {data} ended with exit code {done.returncode}")
    costs = json.loads(done.stdout)
    print(f"  {name}: {sum(step['cpu_s'] for step in costs.values()):.1f} CPU s", file=sys.stderr, flush=True)
    return dict(costs)


def run_child(task: Mapping[str, Any]) -> Costs:
    """Runs the steps of a stage in this process, up to one of them if one is named; what each cost."""
    stage = options_from(load_stage(task["stage"]), task["values"], data=task["data"])
    files.remove_tree(stage.output)
    identity = stage_identity(stage)
    open_stage(stage, identity)
    engine, steps, answer = Engine(workers=1, memory=1 << 40), stage.steps(), None
    costs: Costs = {}
    counts: dict[str, int] = {}
    with files.record_writes() as written:
        while True:
            try:
                part = steps.send(answer)
            except StopIteration:
                break
            if isinstance(part, dict):
                counts, answer = add_counts(counts, part), None
                continue
            made = []
            for step in [part] if isinstance(part, Step) else part:
                costs[step.label], receipts = measure_step(step, engine, stage, task["rows"])
                made.append({output: receipt.counts for output, receipt in receipts.items()})
                counts = add_counts(counts, *made[-1].values())
            if task["until"] in costs:
                return costs
            answer = made[0] if isinstance(part, Step) else made
    commit_stage(stage, identity, counts, written)
    return costs


def measure_step(step: Step, engine: Engine, stage: Stage, rows: int) -> tuple[dict[str, float], Mapping[str, Receipt]]:
    """Runs a step; what it cost and what it left."""
    elements = size = 0
    if isinstance(step.transform, GroupPacked):
        for source in step.transform.sources:
            for _, packed in step.transform.pack(source):
                elements, size = elements + 1, size + len(packed)
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before, started = cpu_seconds(), time.monotonic()
    receipts = make_step(step, engine, stage.output)
    names = [name for receipt in receipts.values() for name in receipt.files.items()]
    seen = sum(receipt.counts.get("images/in", 0) for receipt in receipts.values())
    costs = {
        "rows": seen if step.label == "FetchUnits" else rows,
        "cpu_s": cpu_seconds() - before,
        "seconds": time.monotonic() - started,
        "peak_bytes": peak_bytes(),
        "elements": elements,
        "shuffled_bytes": size,
        "written_bytes": sum(length for _, (length, _) in names),
        "kept_bytes": sum(length for name, (length, _) in names if not name.startswith("_")),
    }
    return costs, receipts


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """The most memory of this process since its peak began anew."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def describe_machine() -> str:
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
