"""A long run with faults, killed twice on its way, beside one that nobody disturbs: both must end alike.

In: a scene whose URLs say what they must come to (`slow_web.soaked_status`). Out: what was found wrong, in words, and
what the undisturbed run took. Everything a run starts is ended by SIGKILL at once, as when a machine goes away; the
next run goes on in the same folder, until one ends by itself. Memory is flat when its mean over the last third of a
run is at most `MAX_GROWTH` above that of the middle third.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
from measuring import descendants, proportional_kib
from programs import Program, Scene
from scenes import Served, Setting, soaked_web
from slow_web import soaked_status

from pipeline.fetching.work_files import add_work_files, read_work_file

KILLED_AT = (0.3, 0.5)  # of all URLs, answered in the first and in the second run
MAX_GROWTH = 1.10
SAMPLE_S = 1.0
DATA = (".tar", ".index.parquet", ".stats.json", ".waiting.json")
LEFT_BY_DESIGN = frozenset({"_started.json", "_stage.json"})  # of what begins with a bar or a dot


class Lap(NamedTuple):
    """One run.

    Attributes:
        exit_code: Negative when it was killed.
        wall_s: How long it took.
        memory_mib: Of all its processes, about every second.
    """

    exit_code: int
    wall_s: float
    memory_mib: list[float]


def soak(setting: Setting, program: Program, *, limit_s: float) -> list[str]:
    """Runs a program undisturbed, and then disturbed; each with a web of its own, which has seen nobody before.

    Args:
        setting: Where, and how many URLs.
        program: What fetches.
        limit_s: Longest run.

    Returns:
        What is wrong; nothing, it is to be hoped.
    """
    calm, rough = (os.path.join(setting.folder, name) for name in ("calm", "rough"))
    with soaked_web(setting) as served:
        urls = read_urls(served.scene)
        lap = run(program, served.scene, calm, limit_s=limit_s)
    print(describe(lap, len(urls)), flush=True)
    with soaked_web(setting) as served:
        laps = list(run_disturbed(program, served, rough, limit_s=limit_s))
    print("disturbed: " + "; ".join(describe(one, len(urls)) for one in laps), flush=True)
    faults = [f"exit code {one.exit_code}" for one in (lap, laps[-1]) if one.exit_code]
    return [*faults, *flatness(lap.memory_mib), *compare_statuses(urls, calm), *compare_folders(calm, rough)]


def read_urls(scene: Scene) -> list[str]:
    table = ds.dataset(os.path.join(scene.folder, "urls.parquet")).to_table(columns=["url"])
    return table["url"].to_pylist()  # type: ignore[no-any-return]


def run_disturbed(program: Program, served: Served, output: str, *, limit_s: float) -> Iterator[Lap]:
    """Runs that are killed on their way, and a last one that is not."""
    for share in KILLED_AT:
        began = time.time()
        wanted = share * served.scene.num_urls

        def is_time(began: float = began, wanted: float = wanted) -> bool:
            return count_answers(output, since=began) >= wanted

        yield run(program, served.scene, output, limit_s=limit_s, is_time=is_time)
    yield run(program, served.scene, output, limit_s=limit_s)


def count_answers(output: str, *, since: float) -> int:
    """URLs with an answer, as the workers of the run that is under way say."""
    paths = [path for path in Path(output, "_watch").glob("*.json") if path.stat().st_mtime > since]
    found = [(file, 0.0) for path in paths if (file := read_work_file(str(path)))]
    return add_work_files(found).urls


def run(
    program: Program, scene: Scene, output: str, *, limit_s: float, is_time: Callable[[], bool] = lambda: False
) -> Lap:
    """Runs a program with a place for temporary files of its own, until it ends, or it is time to kill it."""
    temporary = f"{output}-temporary"
    os.makedirs(temporary, exist_ok=True)
    command = program.prepare(scene, output)
    began, memory = time.monotonic(), []
    with open(f"{output}.log", "a") as log:
        process = subprocess.Popen(
            command.command,
            env={**command.env, "TMPDIR": temporary},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while process.poll() is None and time.monotonic() - began < limit_s and not is_time():
                time.sleep(SAMPLE_S)
                everyone = [process.pid, *descendants(process.pid)]
                memory.append(sum(map(proportional_kib, everyone)) / 1024)
        finally:
            kill_all(process)
    return Lap(process.wait(), time.monotonic() - began, memory)


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process that leads a group, and whatever stems from it, at once."""
    others = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for other in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(other, signal.SIGKILL)


def describe(lap: Lap, num_urls: int) -> str:
    """A run in words.

    >>> describe(Lap(0, 10.0, [1.0, 1.0, 1.0, 2.0, 2.0, 3.0]), 4_000)
    'exit code 0, 10 s, 400 URLs/s, PSS by thirds 1, 2, 2 MiB, at most 3'
    """
    thirds = ", ".join(f"{size:.0f}" for size in by_thirds(lap.memory_mib))
    rate = "" if lap.exit_code else f"{num_urls / lap.wall_s:.0f} URLs/s, "
    return (
        f"exit code {lap.exit_code}, {lap.wall_s:.0f} s, {rate}PSS by thirds {thirds} MiB, "
        f"at most {max(lap.memory_mib, default=0):.0f}"
    )


def by_thirds(values: Sequence[float]) -> list[float]:
    """The mean of the first, the middle and the last third; nothing of fewer than three values."""
    edges = [len(values) * part // 3 for part in range(4)]
    return [mean(values[a:b]) for a, b in pairwise(edges)] if len(values) > 2 else []


def flatness(memory_mib: Sequence[float]) -> Iterator[str]:
    """Says so when memory grows."""
    thirds = by_thirds(memory_mib)
    if thirds and thirds[2] > MAX_GROWTH * thirds[1]:
        yield f"memory grows: {thirds[1]:.0f} MiB in the middle third, {thirds[2]:.0f} in the last"


def compare_statuses(urls: Sequence[str], output: str) -> Iterator[str]:
    """Says which URLs have not exactly one status, and which have another one than they must."""
    columns = ["image_url", "status"]
    paths = sorted(map(str, Path(output).glob("*.index.parquet")))
    table: pa.Table = ds.dataset(paths).to_table(columns=columns)
    found = dict(zip(*(table[name].to_pylist() for name in columns), strict=True))
    if table.num_rows != len(urls) or found.keys() != set(urls):
        yield f"{table.num_rows} rows and {len(found)} URLs in the indexes, not {len(urls)}"
    wrong = Counter((soaked_status(url), status) for url, status in found.items() if status != soaked_status(url))
    for (right, status), number in sorted(wrong.items()):
        yield f"{number} URLs ended in {status} instead of {right}"


def compare_folders(calm: str, rough: str) -> Iterator[str]:
    """Says which data differ, and what was left lying."""
    digests: list[Mapping[str, str]] = [digest_data(folder) for folder in (calm, rough)]
    others = [name for name in sorted(digests[0].keys() | digests[1]) if digests[0].get(name) != digests[1].get(name)]
    if others:
        yield f"{len(others)} of {len(digests[0])} files differ: {', '.join(others[:10])}"
    for folder in (calm, rough):
        if left := sorted([*find_working(folder), *os.listdir(f"{folder}-temporary")]):
            yield f"left in {os.path.basename(folder)}: {', '.join(left[:10])}"


def digest_data(folder: str) -> dict[str, str]:
    paths = [path for path in Path(folder).iterdir() if path.name.endswith(DATA)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def find_working(folder: str) -> list[str]:
    """What lies in a finished folder and is no output."""
    names = (path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))
    return [name for name in names if name not in LEFT_BY_DESIGN and (name[0] in "_." or ".tmp-" in name)]
