"""What a plan of 40,000 units costs the process that drives it: graph, requests, time at 50 ms a request, memory.

    python benchmarks/plans.py [--units 40000] [--latency-ms 50]

A step of that many units, of which every receipt and output is there already, on a file system in memory that answers
each request after a pause and counts it. What workers do is not run: this is what the driver alone does before and
after them. Lines: build of the graph and its size; look at the step when nothing is done; check of the step when all is
done; commit of the stage.
"""

import argparse
import json
import resource
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.options import option
from pipeline.base.receipts import Receipt, StepReceipts
from pipeline.base.stage_folder import commit_stage, open_stage, stage_identity
from pipeline.steps import GroupPacked, MapUnits, Packed, Stage, Step, Steps

FOLDER = "slow://bucket/data/stage"
DIGEST = "0" * 64


class SlowFileSystem(MemoryFileSystem):
    """Memory that is as far away as an object store, and lists a thousand files a request."""

    protocol = "slow"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    latency_s: ClassVar[float] = 0.0
    requests: ClassVar[Counter[str]] = Counter()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("slow://", "memory://")))

    def _ask(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.requests[what] += times
        time.sleep(self.latency_s * times)

    def cat_file(self, path: str, *args: Any, **options: Any) -> bytes:
        self._ask("get")
        return super().cat_file(path, *args, **options)

    def pipe_file(self, path: str, *args: Any, **options: Any) -> None:
        self._ask("put")
        super().pipe_file(path, *args, **options)

    def ls(self, path: str, *args: Any, **options: Any) -> list[Any]:
        self._ask("list")
        found = super().ls(path, *args, **options)
        self._ask("list", (len(found) - 1) // 1000 if found else 0)
        return found

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        gone = [name for name in self.store if name.startswith(path.rstrip("/") + "/")]
        self._ask("delete", max(1, -(-len(gone) // 1000)))
        for name in gone:
            del self.store[name]

    def exists(self, path: str, **options: Any) -> bool:
        self._ask("head")
        return super().exists(path, **options)

    def size(self, path: str) -> int:
        self._ask("head")
        return int(super().size(path))


@dataclass(kw_only=True)
class Many(Stage):
    """A stage of many units."""

    name: ClassVar[str] = "match-pairs"
    output: str = option(FOLDER, "Folder.")

    def inputs(self) -> list[str]:
        return []

    def steps(self) -> Steps:
        yield from ()


def work(unit: int, output: str) -> Counts:
    raise AssertionError("only the driver is measured")


def pack(source: int) -> Packed:
    raise AssertionError("only the driver is measured")


def work_on_found(unit: int, output: str, found: Any) -> Counts:
    raise AssertionError("only the driver is measured")


def output_of(unit: int) -> str:
    return files.join(FOLDER, f"unit-{unit:05d}.parquet")


def put(path: str, content: bytes) -> None:
    """Puts a file there without asking anyone."""
    MemoryFileSystem.pipe_file(fsspec.filesystem("slow"), "/" + path.partition("://")[2], content)


def fill(units: int) -> None:
    """The outputs and receipts of a step that is done."""
    receipts = StepReceipts(FOLDER, "Map")
    for unit in range(units):
        path = output_of(unit)
        put(path, b"x")
        receipt = Receipt({files.basename(path): (1, DIGEST)}, {"pairs/in": 1, "pairs/kept": 1})
        put(receipts.file(path), json.dumps(receipt._asdict()).encode())


def measured(label: str, function: Any) -> Any:
    """Calls a function; says how long it took and what it asked for."""
    SlowFileSystem.requests.clear()
    started = time.monotonic()
    result = function()
    took = time.monotonic() - started
    asked = ", ".join(f"{number:,} {what}" for what, number in sorted(SlowFileSystem.requests.items())) or "none"
    print(f"{label:<34}{took:>8.1f} s   requests: {asked}", flush=True)
    return result


def graph(step: Step) -> int:
    """Bytes of the graph of a step."""
    pipeline = beam.Pipeline()
    _ = pipeline | step.bind(StepReceipts(FOLDER, "Graph"))
    return len(pipeline.to_runner_api().SerializeToString())


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=40_000)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    arguments = parser.parse_args()
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)
    SlowFileSystem.latency_s = arguments.latency_ms / 1000
    units = range(arguments.units)
    mapped = Step("Map", MapUnits(units=units, output_of=output_of, work=work))
    grouped = Step("Group", GroupPacked(sources=units, pack=pack, units=units, output_of=output_of, work=work_on_found))
    for step in (mapped, grouped):
        size = measured(f"graph of {step.label}", lambda step=step: graph(step))
        print(f"{'':<34}{size / 1e3:>8.1f} kB")
    stage = Many()
    identity = stage_identity(stage)
    measured("start of the stage", lambda: open_stage(stage, identity))
    receipts = StepReceipts(FOLDER, "Map")
    measured("a step of which nothing is done", lambda: receipts.read_all(mapped.transform.outputs))
    fill(arguments.units)
    found = measured("a step of which all is done", lambda: receipts.read_all(mapped.transform.outputs))
    assert found is not None
    written = [files.Written(output_of(unit), 1, DIGEST) for unit in units]
    measured("commit", lambda: commit_stage(stage, identity, {}, written))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
