"""write-shards on made-up raw tars: what selecting, counting and planning cost as rows grow, and what packing reads.

    python benchmarks/sharding.py --rows 1000000 4000000 --folder /tmp/sharding
    python benchmarks/sharding.py --pack 200000 --sample-bytes 6000 --folder /tmp/sharding
    python benchmarks/sharding.py --rows 10000000 --select --folder /tmp/sharding
    python benchmarks/sharding.py --pack 60000 --sample-bytes 30000 --race 5 --folder /tmp/sharding

With --rows there are indexes and no tars, and the run ends before packing, with --select before planning; with --pack
everything runs. With --race the shards are then packed again so many times, in turn with `cp` of the raw tars, by as
many processes as --workers says; both begin with files that are in memory and end when all is on the disk. A raw tar is
all of one host, as fetch-images writes large ones; hosts have one to twenty raw tars. Of 100 samples 3 have the image
and the text of another, and 3 a picture that is alike to another's; of 5 pictures one is of a product on white ground,
of 200 one is blank. Everything but the race runs in one process, so that CPU seconds and peak memory are those of a
step; the memory is what comes on top of Python and the libraries.
"""

import argparse
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from zipf_pairs import write_stage

from jobs.engines import Engine
from jobs.runner import make_step
from pipeline.base import files
from pipeline.base.arrays import list_column
from pipeline.base.drops import add_counts
from pipeline.base.folders import BalancedFolder, RawFolder
from pipeline.base.schemas import CUTS, OK_STATUS, RAW_INDEX
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_column, write_table
from pipeline.base.tar import encode_json, encode_member
from pipeline.pixels.looks import LOOKS_BYTES, STEPS
from pipeline.sharding.packing.layout import PackUnit
from pipeline.sharding.stage import WriteShards
from pipeline.steps import MapUnits, Step

NUM_QUERIES = 10_000
DUPLICATES = 0.03
COPIES = 0.03
PRODUCTS = 0.2
BLANKS = 0.005
# Root mean squares of what descriptors say of photographs, in levels: less the finer it is, and colours apart.
SPREAD = np.concatenate([np.repeat([30.0, *(75 / np.arange(2, 11) ** 1.6)], range(1, 11)), [10, 4, 3, 9, 4, 3]])
SHAPES = np.random.default_rng(0).normal(0, 1.3, (300, LOOKS_BYTES)) * SPREAD  # of products
TARS_A_HOST = (1, 1, 1, 1, 1, 2, 3, 20)  # in turn
WORDS = np.array([f"word{number}" for number in range(5000)])


class Cost(NamedTuple):
    """What a step took."""

    seconds: float
    cpu_s: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.cpu_s:8.1f} CPU s {self.seconds:8.1f} s {self.peak_bytes / 2**20:8.0f} MiB more"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="Where to write, anew but with --again")
    parser.add_argument("--rows", type=int, nargs="*", default=[], metavar="N", help="Plan so many samples")
    parser.add_argument("--pack", type=int, default=0, metavar="N", help="Plan and pack so many samples")
    parser.add_argument("--select", action="store_true", help="End before planning")
    parser.add_argument("--again", action="store_true", help="Go on where a run of the same rows was cut short")
    parser.add_argument(
        "--near-duplicates", default="image", metavar="WHICH", help="Of write-shards: pair, image or keep [image]"
    )
    parser.add_argument("--memory", type=int, default=3 << 30, metavar="BYTES", help="For a step's rows [3 GiB]")
    parser.add_argument("--rows-a-tar", type=int, default=10_000, metavar="N", help="Samples of a raw tar [10000]")
    parser.add_argument("--max-samples", type=int, default=10_000, metavar="N", help="Samples of a shard [10000]")
    parser.add_argument("--shards-at-once", type=int, default=32, metavar="N", help="Of write-shards [32]")
    parser.add_argument("--race", type=int, default=0, metavar="N", help="With --pack: rounds against `cp` [0]")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="Processes that pack in these [1]")
    parser.add_argument("--sample-bytes", type=int, default=6000, metavar="N", help="Of an image, on average [6000]")
    arguments = parser.parse_args()
    for rows in [*arguments.rows, *([arguments.pack] if arguments.pack else [])]:
        folder = files.join(arguments.folder, f"rows-{rows}")
        is_packed = rows == arguments.pack
        if not arguments.again:
            files.remove_tree(folder)
        write_world(folder, arguments, rows, sample_bytes=arguments.sample_bytes if is_packed else 0)
        print(f"{rows:,} rows in {-(-rows // arguments.rows_a_tar):,} raw tars", flush=True)
        stage = WriteShards(
            raw=(RawFolder(files.join(folder, "raw")).path,),
            balanced=files.join(folder, "balanced"),
            output=files.join(folder, "shards"),
            max_samples=arguments.max_samples,
            shards_at_once=arguments.shards_at_once,
            near_duplicates=arguments.near_duplicates,
        )
        last = "CountSurvivors" if arguments.select else "" if is_packed else "PlanShards"
        pack = run_steps(stage, Engine(workers=1, memory=arguments.memory), last=last)
        if pack:
            describe_hosts(stage)
        if pack and arguments.race:
            race(stage, pack, rounds=arguments.race, workers=arguments.workers)


def run_steps(stage: WriteShards, engine: Engine, *, last: str) -> MapUnits[PackUnit] | None:
    """Runs the steps in this process, to the last if that is given, and prints what each took and dropped.

    Returns:
        The step that packs; None where it was not done.
    """
    steps, answer, pack = stage.steps(), None, None
    while True:
        try:
            part = steps.send(answer)
        except StopIteration:
            return pack
        answer = []
        for step in () if isinstance(part, dict) else [part] if isinstance(part, Step) else part:
            if step.label == "PackShards":
                pack = step.transform
                print(f"  {len(pack.outputs)} pack units")
            with measure() as costs:
                receipts = make_step(step, engine, stage.output)
            answer.append({output: receipt.counts for output, receipt in receipts.items()})
            print(f"  {step.label:<21}{costs[0]}", flush=True)
            if step.label == "SelectSamples":
                counts = add_counts(*answer[-1].values())
                print(", ".join(f"{name} {number:,}" for name, number in counts.items()))
            if step.label == last:
                return None


def race(stage: WriteShards, pack: MapUnits[PackUnit], *, rounds: int, workers: int) -> None:
    """Packs the shards anew and copies the raw tars, in turn, and prints what each took."""
    [raw], copies = stage.raw, f"{stage.output}-copied"
    size = sum(files.sizes(files.list_files(raw, ".tar")).values())
    ratios: dict[str, list[float]] = {"wall": [], "CPU": []}
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for _ in range(rounds):
            files.remove_tree(copies)
            files.make_folder(copies)
            os.sync()
            began = time.monotonic()
            os.posix_spawnp("cp", ["cp", "-r", raw, copies], os.environ)
            copied_cpu = os.wait3(0)[2]
            sync_tree(copies)
            copied = time.monotonic() - began
            for folder in (
                copies,
                *(path for path in files.list_files(stage.output) if path.endswith((".tar", ".parquet"))),
            ):
                files.remove_tree(folder)
            os.sync()
            began = time.monotonic()
            packed_cpu = sum(
                pool.starmap(partial(pack_again, pack.work), zip(pack.units, pack.outputs, strict=True), chunksize=1)
            )
            packed = time.monotonic() - began
            ratios["wall"].append(copied / packed)
            ratios["CPU"].append((copied_cpu.ru_utime + copied_cpu.ru_stime) / packed_cpu)
            print(
                f"  {size / 2**20:,.0f} MiB: cp {copied:.2f} s, {copied_cpu.ru_utime + copied_cpu.ru_stime:.2f} CPU s; "
                f"packed in {packed:.2f} s, {packed_cpu:.2f} CPU s",
                flush=True,
            )
    for name, found in ratios.items():
        print(
            f"  {name}: packing has {np.median(found):.2f} of the bytes/s of cp, {min(found):.2f} to {max(found):.2f}"
        )


def sync_tree(folder: str) -> None:
    """Waits until all files of a folder are on the disk, as each shard is when it is done."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())


def pack_again(work: Callable[[PackUnit, str], object], unit: PackUnit, report: str) -> float:
    """Packs a unit; returns CPU seconds."""
    before = time.process_time()
    with files.record_writes():
        work(unit, report)
    return time.process_time() - before


def describe_hosts(stage: WriteShards) -> None:
    """Prints how mixed the hosts are in the shards."""
    hosts = [hosts_of(path) for path in files.list_files(stage.output, ".parquet")]
    total = sum(hosts, Counter())
    shares = [
        (count / of_shard.total()) / (total[host] / total.total())
        for of_shard in hosts[:-1]
        for host, count in of_shard.items()
        if total[host] * of_shard.total() >= total.total()
    ]
    if shares:
        print(f"  hosts with one sample a shard or more have at most {max(shares):.2f} times their share of a shard")


def hosts_of(index: str) -> Counter[str]:
    """How many samples a shard has of each host."""
    return Counter(url.split("/")[2] for url in read_column(index, "url").to_pylist())


@contextmanager
def measure() -> Iterator[list[Cost]]:
    """Measures a block: a list that gets its cost."""
    costs: list[Cost] = []
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before, first, started = resource.getrusage(resource.RUSAGE_SELF), status_bytes("VmRSS"), time.monotonic()
    yield costs
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    costs.append(Cost(time.monotonic() - started, cpu_s, status_bytes("VmHWM") - first))


def status_bytes(name: str) -> int:
    """A number of bytes that Linux says of this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(f"{name}:"))


def write_world(folder: str, arguments: argparse.Namespace, rows: int, *, sample_bytes: int) -> None:
    """Writes raw indexes, tars if samples have bytes, and the cuts of balanced pairs."""
    raw, balanced = RawFolder(files.join(folder, "raw")), BalancedFolder(files.join(folder, "balanced"))
    if files.exists(balanced.cuts):
        return
    num_tars = -(-rows // arguments.rows_a_tar)
    hosts = [host for host, number in enumerate(TARS_A_HOST * num_tars) for _ in range(number)]
    for place, first in enumerate(range(0, rows, arguments.rows_a_tar)):
        if files.exists(raw.index(raw_name(place))):
            continue
        rng = np.random.default_rng((rows, place))
        number = min(arguments.rows_a_tar, rows - first)
        table = make_index(rng, f"www.host-{hosts[place]}.example", number, sample_bytes)
        if sample_bytes:
            table = write_tar(raw.tar(raw_name(place)), rng, table)
        write_table(raw.index(raw_name(place)), table, RAW_INDEX)
    write_stage(raw.path, "fetch-images", {})
    ids = np.arange(NUM_QUERIES)
    ones = np.ones(NUM_QUERIES, np.int64)
    columns = [ids, [f"query {number}" for number in ids], ones, pa.nulls(NUM_QUERIES, pa.uint64()), ones]
    cuts = [as_column(values, field.type) for values, field in zip(columns, CUTS, strict=True)]
    write_table(balanced.cuts, pa.table(cuts, CUTS), CUTS)
    write_stage(balanced.path, "balance-pairs", {}, made_from=[raw.path])


def make_index(rng: np.random.Generator, host: str, rows: int, sample_bytes: int) -> pa.Table:
    """The index of a raw tar whose samples are all of one host."""
    ids = np.sort(rng.integers(0, 256, (rows, 16), np.uint8).view("S16").ravel())
    digests = rng.integers(0, 256, (rows, 32), np.uint8)
    texts = np.array([" ".join(words) for words in WORDS[rng.integers(0, len(WORDS), (rows, 8))].tolist()])
    repeats = np.flatnonzero(rng.random(rows) < DUPLICATES)
    digests[repeats], texts[repeats] = digests[repeats - 1], texts[repeats - 1]
    queries = list_column(np.full(rows, 3), rng.integers(0, NUM_QUERIES, 3 * rows).astype(np.int32))
    lengths = rng.integers(sample_bytes // 2, sample_bytes * 3 // 2 + 1, rows) // 512 * 512 + 4096
    known: dict[str, Any] = {
        "pair_id": fixed_column(ids.tobytes(), 16),
        "key": [key.hex() for key in np.frombuffer(ids.tobytes(), "V16").tolist()],
        "status": pa.repeat(OK_STATUS, rows),
        "offset": np.cumsum(lengths) - lengths,
        "length": lengths,
        "sha256": fixed_column(digests.tobytes(), 32),
        "phash": rng.integers(-(2**63), 2**63 - 1, rows),
        "looks": fixed_column(make_looks(rng, rows, repeats).tobytes(), LOOKS_BYTES),
        "mime": pa.repeat("image/jpeg", rows),
        "image_url": [f"https://{host}/images/{number:x}.jpg" for number in rng.integers(0, 1 << 60, rows).tolist()],
        "text": texts.tolist(),
        "text_source": pa.repeat("alt", rows),
        "page_url": [f"https://{host}/pages/{number:x}.html" for number in rng.integers(0, 1 << 60, rows).tolist()],
        "language": pa.repeat("en", rows),
        "source_file": pa.repeat("crawl.warc.gz", rows),
        "query_ids": queries.cast(RAW_INDEX.field("query_ids").type),
        "kept_for": queries.cast(RAW_INDEX.field("kept_for").type),
        "keep_probability": np.ones(rows, np.float32),
        "http_status": np.full(rows, 200, np.int16),
    }
    sides = {name: rng.integers(200, 2000, rows).astype(np.int32) for name in RAW_INDEX.names if name not in known}
    columns = known | sides
    return pa.table([as_column(columns[field.name], field.type) for field in RAW_INDEX], RAW_INDEX)


def make_looks(rng: np.random.Generator, rows: int, repeats: np.ndarray) -> np.ndarray:
    """Descriptors of pictures, some of them alike to the ones before, and all the same where the bytes are."""
    levels = rng.normal(size=(rows, LOOKS_BYTES)).astype(np.float32) * SPREAD
    of_product = np.flatnonzero(rng.random(rows) < PRODUCTS)
    levels[of_product] = SHAPES[rng.integers(0, len(SHAPES), len(of_product))] + levels[of_product] / 4
    levels[of_product, 0] = 85 + levels[of_product, 0]
    levels[rng.random(rows) < BLANKS] = np.eye(1, LOOKS_BYTES) * 127
    copies = np.flatnonzero(rng.random(rows) < COPIES)
    levels[copies] = levels[copies - 1] + rng.normal(0, 0.15, (len(copies), LOOKS_BYTES))
    levels[repeats] = levels[repeats - 1]
    return np.clip(np.rint(levels * 4 / STEPS), -127, 127).astype(np.int8)


def as_column(values: Any, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def fixed_column(data: bytes, width: int) -> pa.Array:
    """Bytes as a column of some width."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


def write_tar(path: str, rng: np.random.Generator, index: pa.Table) -> pa.Table:
    """Writes a raw tar of samples about as long as an index says; gives the index with their places."""
    places, size = [], 0
    noise = rng.bytes(1 << 20)
    with files.write_whole(path) as tar:
        for key, length in zip(index["key"].to_pylist(), index["length"].to_pylist(), strict=True):
            image, text = noise[: length - 3072], f"text of {key}".encode()
            parts = (("jpg", image), ("json", encode_json({"key": key})), ("txt", text))
            sample = b"".join(encode_member(f"{key}.{suffix}", data) for suffix, data in parts)
            places.append((size, len(sample)))
            size += tar.write(sample)
    for name, values in zip(("offset", "length"), zip(*places, strict=True), strict=True):
        index = index.set_column(RAW_INDEX.get_field_index(name), RAW_INDEX.field(name), pa.array(values, pa.int64()))
    return index


if __name__ == "__main__":
    main()
