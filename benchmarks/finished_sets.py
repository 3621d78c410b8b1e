"""What is done with a finished set of many shards: how long each command takes, and which files it touches.

    python benchmarks/finished_sets.py --shards 1000 --samples 100 --folder /tmp/finished

makes a set of made-up pictures, whose hosts are spread over all shards, and then runs, each as a process of its own,
with the CPU seconds of it and of its workers: verify (with and without decoding), trace and remove of 100 addresses in
100 shards, verify again, export-urls, subset by half of the ids, push to a folder, push again. It ends with an error
unless remove has touched the shards that hold one of the addresses, and no others.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from zipf_pairs import write_stage

from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.schemas import CUTS, OK_STATUS, RAW_INDEX
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import write_table
from pipeline.fetching.raw import encode_sample
from pipeline.sharding.stage import WriteShards

NUM_HOSTS, NUM_PICTURES, ROWS_A_TAR = 5000, 200, 10_000
NUM_REMOVED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="Where to write; what is there of earlier runs goes")
    parser.add_argument("--shards", type=int, default=1000, metavar="N", help="Shards [1000]")
    parser.add_argument("--samples", type=int, default=100, metavar="N", help="Samples of a shard [100]")
    parser.add_argument("--side", type=int, default=96, metavar="PX", help="Of a picture [96]")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="Processes of each command [2]")
    arguments = parser.parse_args()
    folder = Path(arguments.folder)
    shutil.rmtree(folder, ignore_errors=True)
    make_set(folder, arguments)
    shards, before = folder / "shards", look_at(folder / "shards")
    num_bytes = sum(size for size, _ in before.values())
    print(f"{arguments.shards:,} shards of {arguments.samples:,} samples, {num_bytes / 1e6:,.0f} MB", flush=True)
    workers = f"--workers={arguments.workers}"
    run("verify", str(shards), workers)
    run("verify", str(shards), "--no-decode", workers)
    urls, touched = choose_urls(shards, folder / "urls.txt")
    run("trace", str(shards), "--urls", urls, workers)
    run("remove", str(shards), "--urls", urls, workers)
    after = look_at(shards)
    changed = {name.partition(".")[0] for name, told in after.items() if before.get(name) != told and name[0] == "0"}
    print(f"    {len(changed):,} shards touched, {len(touched):,} hold one of {NUM_REMOVED:,} addresses", flush=True)
    if changed != touched:
        raise SystemExit("remove has touched other shards than those that hold an address")
    run("verify", str(shards), "--no-decode", workers)
    run("export-urls", str(shards), "--output", str(folder / "list.parquet"))
    keys = pq.read_table(folder / "list.parquet", columns=["key"])["key"].to_pylist()[::2]
    halves = [(int(key[:16], 16), int(key[16:], 16)) for key in keys]
    np.save(folder / "uid.npy", np.array(halves, np.dtype("u8,u8")))
    run("subset", str(shards), "--ids", str(folder / "uid.npy"), "--output", str(folder / "half"), "--quiet", workers)
    for _ in range(2):
        run("push", str(shards), "--to", str(folder / "there"))


def run(*words: str) -> None:
    """Runs a command and says what it took; ends when it fails."""
    started, before = time.monotonic(), os.times()
    done = subprocess.run([sys.executable, "-m", "jobs", *words], stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    told = [word for word in words if word.startswith("--no")]
    last = (done.stdout.splitlines() or [""])[-1] if words[0] != "trace" else ""
    print(
        f"{' '.join([words[0], *told]):<22}{cpu_s:8.1f} CPU s {time.monotonic() - started:8.1f} s  {last}", flush=True
    )


def make_set(folder: Path, arguments: argparse.Namespace) -> None:
    """A set, and what write-shards makes it of."""
    pictures = [picture(seed, arguments.side) for seed in range(NUM_PICTURES)]
    number = arguments.shards * arguments.samples
    for unit, first in enumerate(range(0, number, ROWS_A_TAR)):
        write_raw(folder / "raw", unit, range(first, min(first + ROWS_A_TAR, number)), pictures, arguments.side)
    cuts = pa.table({"query_id": [0], "query": ["a"], "count": [number], "cut": [None], "kept": [number]}, CUTS)
    write_table(str(folder / "balanced" / "cuts.parquet"), cuts, CUTS)
    write_stage(str(folder / "balanced"), "balance-pairs", {})
    write_stage(str(folder / "raw"), "fetch-images", {}, [str(folder / "balanced")])
    stage = WriteShards(
        raw=(str(folder / "raw"),),
        balanced=str(folder / "balanced"),
        output=str(folder / "shards"),
        max_samples=arguments.samples,
    )
    run_stage(stage, workers=arguments.workers, quiet=True)


def picture(seed: int, side: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def write_raw(raw: Path, unit: int, numbers: range, pictures: list[bytes], side: int) -> None:
    """A raw tar and its index."""
    rows, data, place = list[dict[str, Any]](), list[bytes](), 0
    sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), side)
    for number in numbers:
        url, text = f"http://h{number % NUM_HOSTS}.example/{number}.jpg", f"a picture of number {number}"
        identity, image = pair_id(url, text), pictures[number % NUM_PICTURES]
        digest = hashlib.sha256(f"{number}".encode()).digest()
        same = {"text_source": "alt", "page_url": f"http://pages.example/{number // 7}", "language": "en"} | sizes
        same |= {"source_file": f"crawl-{number % 90}.warc.gz", "keep_probability": 1.0, "key": identity.hex()}
        told = same | {"uid": identity.hex(), "url": url, "caption": text, "queries": ["a"], "kept_for": ["a"]}
        told |= {"sha256": digest.hex(), "phash": f"{number:016x}"}
        members = encode_sample(identity.hex(), image=image, mime="image/jpeg", text=text, provenance=told)
        row = same | {"pair_id": identity, "status": OK_STATUS, "sha256": digest, "image_url": url, "text": text}
        row |= {"query_ids": [0], "kept_for": [0], "phash": number, "mime": "image/jpeg", "bytes": len(image)}
        rows.append(row | {"offset": place, "length": len(members)})
        data.append(members)
        place += len(members)
    files.write_bytes_whole(str(raw / f"{raw_name(unit)}.tar"), b"".join(data))
    write_table(str(raw / f"{raw_name(unit)}.index.parquet"), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)


def look_at(shards: Path) -> dict[str, tuple[int, int]]:
    """Bytes and time of the last change of every file."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in shards.iterdir() if path.is_file()}


def choose_urls(shards: Path, output: Path) -> tuple[str, set[str]]:
    """Writes some addresses, spread over all shards; gives where, and which shards hold one."""
    entries = json.loads((shards / "manifest.json").read_text())["shards"]
    chosen = np.random.default_rng(0).choice(len(entries), min(NUM_REMOVED, len(entries)), replace=False)
    names = [entries[place]["name"].partition(".")[0] for place in sorted(chosen.tolist())]
    urls = [pq.read_table(shards / f"{name}.parquet", columns=["url"])["url"][0].as_py() for name in names]
    output.write_text("\n".join(urls))
    return str(output), set(names)


if __name__ == "__main__":
    main()
