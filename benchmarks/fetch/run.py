"""fetch-images against img2dataset: the same URLs, the same pixels, turn by turn.

    python benchmarks/fetch/run.py http --peer-python peers/bin/python [--photographs FOLDER]
    python benchmarks/fetch/run.py https --peer-python peers/bin/python      # a new authority, which both trust
    python benchmarks/fetch/run.py slow --peer-python peers/bin/python       # 5,000 hosts: slow, dead, stalling
    python benchmarks/fetch/run.py dns --peer-python peers/bin/python        # a name server; a fifth of the names dead
    python benchmarks/fetch/run.py raw --peer-python peers/bin/python        # bytes kept as they come
    python benchmarks/fetch/run.py start --peer-python peers/bin/python      # one image
    python benchmarks/fetch/run.py engine                                    # with Beam and without
    python benchmarks/fetch/run.py soak                                      # 300,000 URLs, 5 % faults, two SIGKILLs
    python benchmarks/fetch/run.py hostile                                   # private addresses, files, bombs

How to make ``peers`` is said in programs.py. Everything is on the loopback interface. Both sides write 256 pixels on
the short side, JPEG quality 95, tars. Ratios are to the peer at its best (`raw`: storing unchecked; `engine`: without
Beam). CPU is that of the whole process tree. A run of one image comes before, for what starting costs. `soak` and
`hostile` compare with nobody: they say what is wrong, and end with 1 if anything is.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from hostile import enter_hostile_network, meet_hostile_web
from pictures import make_pictures
from programs import Program, bare_engine, describe_peer, fetch_images, img2dataset, makes_many_contexts
from rounds import run_rounds, write_starts, write_table
from scenes import Served, Setting, certified_web, fast_web, named_hosts, slow_hosts
from servers import enter_own_network
from soak import soak

MANY_THREADS = {"processes": 2, "threads": 1024}  # the peer at its best where hosts are slow
SOAKED_URLS = 300_000
SOAKED_UNIT = 300  # parts that they are fetched in
SOAKED_SIZE, SOAKED_BYTES = (96, 72), 3_000
KEPT_AS_THEY_COME = ("--disable_all_reencoding=True",)


class Benchmark(NamedTuple):
    """One command.

    Attributes:
        scene: Makes the URLs, where they are, and the servers.
        programs: Its rows, by the peer's interpreter; the first is what the others are divided by.
        num_images: How many URLs, unless told.
    """

    scene: Callable[[Setting], AbstractContextManager[Served]]
    programs: Callable[[str], list[Program]]
    num_images: int


def main() -> int:
    """Runs one benchmark and prints its tables."""
    arguments = parse_arguments()
    if arguments.benchmark in TRIALS:
        return run_trial(arguments)
    if arguments.benchmark == "dns":
        enter_own_network()
    benchmark = BENCHMARKS[arguments.benchmark]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if arguments.peer_python:
        print(describe_peer(arguments.peer_python))
    programs = benchmark.programs(arguments.peer_python)
    pictures = make_pictures(arguments.photographs)
    print(f"{len(pictures)} pictures, {sum(map(len, pictures)) / len(pictures) / 1000:.0f} kB each", flush=True)
    limits = {"rounds": arguments.rounds, "limit_s": arguments.limit_s}
    num_images = arguments.images or benchmark.num_images
    with tempfile.TemporaryDirectory(prefix="fetch-bench-", dir=arguments.folder) as folder:
        one = Setting(make_folder(folder, "one"), 1, pictures)
        with benchmark.scene(one) as (scene, _, server):
            run_rounds(programs, scene, server=server, **limits | {"rounds": 1})  # compiles, and fills caches
            starts = run_rounds(programs, scene, server=server, **limits)
        print("\n".join(["", *write_starts(programs, starts), ""]), flush=True)
        if num_images > 1:
            many = Setting(make_folder(folder, "many"), num_images, pictures)
            with benchmark.scene(many) as (scene, num_good, server):
                results = run_rounds(programs, scene, server=server, **limits)
            print("\n".join(["", *write_table(programs, results, starts, base=0, num_good=num_good)]))
    return 0


def run_trial(arguments: argparse.Namespace) -> int:
    """Says what is wrong; returns the exit code."""
    trial = TRIALS[arguments.benchmark]
    (enter_hostile_network if trial is run_hostile else enter_own_network)()
    with tempfile.TemporaryDirectory(prefix="fetch-trial-", dir=arguments.folder) as folder:
        wrong = trial(folder, arguments)
    print("\n".join(wrong) or "nothing is wrong")
    return bool(wrong)


def run_soak(folder: str, arguments: argparse.Namespace) -> list[str]:
    """Fetches small pictures off hosts with faults."""
    num_urls = arguments.images or SOAKED_URLS
    # a host is closed after some URLs in a row that fail by its fault, which depends on their order: never here
    flags = ["--unit-urls", str(max(100, num_urls // SOAKED_UNIT)), "--host-failures", str(num_urls)]
    setting = Setting(folder, num_urls, make_pictures(None, SOAKED_SIZE, SOAKED_BYTES))
    return soak(setting, fetch_images("fetch-images", *flags), limit_s=arguments.limit_s)


def run_hostile(folder: str, arguments: argparse.Namespace) -> list[str]:
    """Fetches what must not be fetched."""
    return meet_hostile_web(folder, fetch_images("fetch-images", workers=1), limit_s=arguments.limit_s)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *TRIALS])
    parser.add_argument("--peer-python", default="", help="The interpreter that img2dataset is installed for")
    parser.add_argument("--images", type=int, metavar="N", help="URLs [by benchmark]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="[3]")
    parser.add_argument("--photographs", metavar="FOLDER", help="Of JPEG files [pictures are drawn]")
    parser.add_argument("--folder", help="Where to make a temporary folder [the system's place]")
    parser.add_argument("--limit-s", type=float, default=900.0, metavar="S", help="Longest run, seconds [900]")
    arguments = parser.parse_args()
    if arguments.benchmark not in ("engine", *TRIALS) and not arguments.peer_python:
        parser.error(f"{arguments.benchmark} needs --peer-python")
    return arguments


def make_folder(parent: str, name: str) -> str:
    path = os.path.join(parent, name)
    os.makedirs(path)
    return path


def usual_programs(python: str) -> list[Program]:
    return [
        img2dataset("img2dataset, 2 x 64 threads", python, processes=2, threads=64),
        img2dataset("img2dataset, its defaults", python, mode="border"),
        fetch_images("fetch-images"),
    ]


def certified_programs(python: str) -> list[Program]:
    programs = usual_programs(python)
    if makes_many_contexts(python):
        best = img2dataset("img2dataset, 2 x 64, one TLS context", python, processes=2, threads=64, one_context=True)
        programs.insert(0, best)
    return programs


def patient_programs(python: str) -> list[Program]:
    return [
        img2dataset("img2dataset, 2 x 1,024 threads", python, **MANY_THREADS),
        img2dataset("img2dataset, its defaults", python, mode="border"),
        fetch_images("fetch-images"),
        fetch_images("fetch-images, no retries", "--retries", "0"),
        fetch_images("fetch-images, no site files", "--no-robots", "--no-tdm-file"),
    ]


def naming_programs(python: str) -> list[Program]:
    return [
        img2dataset("img2dataset, 2 x 1,024 threads", python, **MANY_THREADS),
        img2dataset("img2dataset, its defaults", python, mode="border"),
        fetch_images("fetch-images"),
    ]


def raw_programs(python: str) -> list[Program]:
    return [
        img2dataset("img2dataset, 2 x 64, unchecked", python, *KEPT_AS_THEY_COME, processes=2, threads=64, mode="no"),
        img2dataset("img2dataset, 2 x 64, 256 px", python, processes=2, threads=64),
        fetch_images("fetch-images, checked", "--resize-mode", "none", "--reencode", "never"),
    ]


def engine_programs(_: str) -> list[Program]:
    return [
        bare_engine("engine, 1 process", workers=1),
        fetch_images("fetch-images, 1 worker", workers=1),
    ]


BENCHMARKS = {
    "http": Benchmark(fast_web, usual_programs, 4_000),
    "https": Benchmark(certified_web, certified_programs, 4_000),
    "slow": Benchmark(slow_hosts, patient_programs, 10_000),
    "dns": Benchmark(named_hosts, naming_programs, 1_400),
    "start": Benchmark(fast_web, usual_programs, 1),
    "raw": Benchmark(fast_web, raw_programs, 4_000),
    "engine": Benchmark(fast_web, engine_programs, 4_000),
}
TRIALS = {"soak": run_soak, "hostile": run_hostile}


if __name__ == "__main__":
    sys.exit(main())
