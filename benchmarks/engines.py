"""The demo's world through every stage on another engine: the same files as on the local one, and how long it took.

    python benchmarks/engines.py --engine portable                                # Beam's job service, in this process
    python benchmarks/engines.py --engine flink [--master HOST:8081] [--jar FILE]
    python benchmarks/engines.py --engine spark [--master spark://HOST:7077] [--jar FILE]

Flink and Spark need Java and Beam's job server, a jar that Beam fetches at first use (or ``--jar``); without
``--master`` they run inside it. Options for batch, and why, are in docs/engines.md. Each stage runs on the local engine
and then on the other, as a user would run it. Printed: seconds of both, and whether all files are the same; ends with 1
when they are not.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time

from jobs.demo.world.folder import DUMP_NAME, WARC_NAME, write_world
from jobs.interpreter import module_command, module_environment

STAGES = {
    "build-vocab": "vocab",
    "extract-pairs": "pairs",
    "match-pairs": "matched",
    "balance-pairs": "balanced",
    "fetch-images": "raw",
    "balance-final": "final",
    "write-shards": "shards",
}


def main() -> int:
    """Runs the flow twice; returns 1 when a stage fails or writes other files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["portable", "flink", "spark"], required=True)
    parser.add_argument("--master", default="", help="Of the cluster; without one the engine runs in the job server")
    parser.add_argument("--jar", default="", help="The job server; without one Beam fetches it")
    parser.add_argument("--size", choices=["small", "full"], default="small", help="Of the world [small]")
    parser.add_argument("--folder", default="", help="Where to work; must be seen by all workers [a temporary one]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wit400m-engines-") as temporary:
        folder = arguments.folder or temporary
        world = os.path.join(folder, "world")
        write_world(world, arguments.size)
        return compare(folder, world, engine_flags(arguments.engine, arguments.master, arguments.jar))


def engine_flags(engine: str, master: str, jar: str) -> list[str]:
    """Beam's flags of an engine, as docs/engines.md advises for batch."""
    if engine == "portable":
        return ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
    # Workers in processes of their own need a pool where the cluster is; on one machine, loopback starts them here.
    local = ["--environment_type=LOOPBACK", "--experiments=use_loopback_process_worker=True"]
    if engine == "flink":
        flags = ["--runner=FlinkRunner", f"--flink_master={master or '[local]'}", "--parallelism=2"]
        return [*flags, *([f"--flink_job_server_jar={jar}"] if jar else []), *local]
    flags = ["--runner=SparkRunner", f"--spark_master_url={master or 'local[2]'}"]
    return [*flags, *([f"--spark_job_server_jar={jar}"] if jar else []), *local]


def compare(folder: str, world: str, flags: list[str]) -> int:
    """Runs all stages here and there; prints a line each."""
    here, there = os.path.join(folder, "here"), os.path.join(folder, "there")
    for stage, output in STAGES.items():
        own = stage_flags(stage, world)
        took = [run(stage, here, own), run(stage, there, [*own, *flags])]
        if None in took:
            print(f"{stage}: failed", flush=True)
            return 1
        same = digests(os.path.join(here, output)) == digests(os.path.join(there, output))
        said = "the same files" if same else "OTHER FILES"
        print(f"{stage:<14} local {took[0]:6.1f} s   there {took[1]:6.1f} s   {said}", flush=True)
        if not same:
            return 1
    return 0


def stage_flags(stage: str, world: str) -> list[str]:
    """What a stage is told besides where the data lie."""
    warc, views = os.path.join(world, WARC_NAME), os.path.join(world, "wiki", "pageviews-*.gz")
    return {
        "build-vocab": ["--dump", os.path.join(world, DUMP_NAME), "--pageviews", views, "--wordnet", "none"],
        "extract-pairs": ["--input", warc],
        "balance-pairs": ["--cap", "8"],
        "fetch-images": ["--from-archive", warc],
        "write-shards": ["--max-samples", "100"],
    }.get(stage, [])


def run(stage: str, data: str, flags: list[str]) -> float | None:
    """The seconds that a stage took; None when it failed, and said why."""
    started = time.monotonic()
    command = [*module_command("jobs"), stage, "--data", data, "--quiet", "--workers", "1", *flags]
    code = subprocess.run(command, env=module_environment()).returncode
    return time.monotonic() - started if code == 0 else None


def digests(folder: str) -> dict[str, str]:
    """Of all files of a stage that are for others."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "_"]
        for name in names:
            if name[0] != "_":
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
