"""Exact duplicates among more rows than memory holds at once, on one machine: the same losers, whatever --memory says.

    python benchmarks/extracted_tables.py --output /tmp/extracted --rows 50000000
    python benchmarks/slices.py --tables /tmp/extracted --memory 6GiB [--memory 24GiB] [--output /tmp/losers]

For each size the step FindDuplicates of extract-pairs runs in a process of its own. Printed: slices, seconds, CPU
seconds, peak memory of the process, and a digest of all losers, which must be the same on every line.
"""

import argparse
import hashlib
import resource
import subprocess
import sys
import time

from jobs.engines import Engine
from jobs.memory import parse_bytes
from jobs.runner import make_step
from pipeline.base import files
from pipeline.base.drops import DropReason
from pipeline.base.folders import table_name
from pipeline.base.table_groups import group_tables
from pipeline.base.tables import count_rows_each
from pipeline.extraction.dedup import Duplicates
from pipeline.extraction.losers import Losers
from pipeline.extraction.stage import find_step
from pipeline.slicing import num_slices


def main() -> None:
    """Starts a process for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", required=True, help="Folder of extracted_tables.py")
    parser.add_argument("--memory", action="append", required=True, help="As --memory of a stage; may be repeated")
    parser.add_argument("--output", default="/tmp/losers", help="Where to write [/tmp/losers]")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for memory in arguments.memory:
        if arguments.child:
            measure(arguments.tables, memory, arguments.output)
        else:
            flags = ["--tables", arguments.tables, "--memory", memory, "--output", arguments.output, "--child"]
            subprocess.run([sys.executable, __file__, *flags], check=True)


def measure(folder: str, memory: str, output: str) -> None:
    """Runs the step anew and prints what it took."""
    files.remove_tree(output)
    tables = files.list_files(folder, ".parquet")
    num_rows = count_rows_each(tables)
    groups = group_tables(tables, num_rows, name_of=table_name)
    losers = Losers(DropReason.DUPLICATE_PAIR, files.join(output, "_duplicates"))
    step = find_step(groups, Duplicates(num_rows=sum(num_rows)), losers)
    engine = Engine(workers=1, memory=parse_bytes(memory))
    started = time.monotonic()
    make_step(step, engine, output)
    took, usage = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    digest = hashlib.sha256(b"".join(files.read_bytes(path) for path in sorted(step.transform.outputs)))
    print(
        f"{sum(num_rows):,} rows, --memory {memory}: {num_slices(step, engine.memory)} slices, {took:.0f} s, "
        f"{usage.ru_utime + usage.ru_stime:.0f} CPU s, peak {usage.ru_maxrss / (1 << 20):.2f} GiB, "
        f"losers {digest.hexdigest()[:16]}",
        flush=True,
    )


if __name__ == "__main__":
    main()
