"""The same bytes in the shards: other workers, other order of inputs, SIGKILL in every stage."""

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from jobs.__main__ import main
from jobs.demo.server import serve_web
from jobs.demo.world.folder import DUMP_NAME, WARC_NAME, write_world

STAGES = ("build-vocab", "extract-pairs", "match-pairs", "balance-pairs", "fetch-images", "write-shards")
FOLDERS = dict(zip(STAGES, ("vocab", "pairs", "matched", "balanced", "raw", "shards"), strict=True))


def split_warc(path: Path, folder: Path, parts: int):
    """Cuts a WARC that is compressed record by record into several."""
    data, records = path.read_bytes(), []
    while data:
        member = zlib.decompressobj(wbits=31)
        member.decompress(data)
        records.append(data[: len(data) - len(member.unused_data)])
        data = member.unused_data
    for part in range(parts):
        (folder / f"part-{part}.warc.gz").write_bytes(b"".join(records[part::parts]))
    return [str(folder / f"part-{part}.warc.gz") for part in range(parts)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small world, its crawl in three files, and its web on a port."""
    folder = tmp_path_factory.mktemp("world")
    write_world(str(folder), "small")
    crawl = split_warc(folder / WARC_NAME, folder, 3)
    with serve_web(str(folder / "web")) as port:
        yield {"dump": str(folder / DUMP_NAME), "crawl": crawl, "port": port}


def flags_of(stage: str, data: Path, world, *, workers: int, backwards: bool):
    crawl = world["crawl"][::-1] if backwards else world["crawl"]
    own = {
        "build-vocab": ["--dump", world["dump"], "--wordnet", "none", "--unit-bytes", "5000"],
        "extract-pairs": ["--input", *crawl],
        "balance-pairs": ["--cap", "20"],
        "fetch-images": [
            *("--connect-to", f"*.example=127.0.0.1:{world['port']}", "--host-rate", "0", "--retries", "1"),
            *("--timeout-s", "2", "--unit-urls", "40", "--contact", "me@lab.example"),
        ],
        "write-shards": ["--max-samples", "30"],
    }
    return [stage, "--data", str(data), "--workers", str(workers), "--quiet", *own.get(stage, [])]


def run_all(data: Path, world, *, workers: int, backwards: bool = False):
    for stage in STAGES:
        assert main(flags_of(stage, data, world, workers=workers, backwards=backwards)) == 0, stage
    return shard_bytes(data)


def shard_bytes(data: Path):
    return {path.name: path.read_bytes() for path in sorted((data / "shards").iterdir()) if path.name[0] == "0"}


def has_begun(folder: Path):
    return any(path.is_file() and path.name != "_started.json" for path in folder.rglob("*"))


def start_and_kill(stage: str, data: Path, world):
    """Starts a stage and kills it as soon as it has written something; whether that was before its end."""
    command = [sys.executable, "-m", "jobs", *flags_of(stage, data, world, workers=2, backwards=False)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and not has_begun(data / FOLDERS[stage]):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    return not os.path.exists(data / FOLDERS[stage] / "_stage.json")


@pytest.fixture(scope="module")
def reference(world, tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("reference"), world, workers=1)


def test_two_workers_and_inputs_in_another_order_give_the_same_shards(world, reference, tmp_path):
    assert len(reference) > 4
    assert run_all(tmp_path, world, workers=2, backwards=True) == reference


def test_a_run_that_is_killed_in_every_stage_gives_the_same_shards(world, reference, tmp_path):
    killed = []
    for stage in STAGES:
        if start_and_kill(stage, tmp_path, world):
            killed.append(stage)
        assert main(flags_of(stage, tmp_path, world, workers=1, backwards=False)) == 0, stage
    assert set(killed) >= set(STAGES) - {"balance-pairs", "match-pairs"}, "the others are over too soon to be sure of"
    assert shard_bytes(tmp_path) == reference
