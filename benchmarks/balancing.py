"""balance-pairs on made-up matched pairs with the counts of MetaCLIP's pool: time, memory, and what the cap promises.

    python benchmarks/balancing.py --pairs 10000000 --folder /tmp/balancing

Pairs hold 3.5 queries each on average; a query's share falls with its rank so that the 16,000 most frequent of 500,000
hold 94 % of all matches (Xu et al. 2023 and their counts). Made once; a second run uses them again. Every balanced
folder is counted anew: each query must have exactly min(count, cap) pairs, and there must be as many pairs in all as
keep probabilities promise, within 0.1 % from a million on.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from itertools import pairwise
from multiprocessing import Pool

import numpy as np
import pyarrow as pa

from pipeline import files
from pipeline.ids import id_strings, id_words, words_column
from pipeline.query_lists import flatten_lists, list_column, write_array
from pipeline.schemas import MATCHED, QUERIES, RAW_INDEX
from pipeline.stages import STAGE_NAME
from pipeline.tables import read_batches, read_table, write_table

NUM_QUERIES = 500_000
MATCHES_A_PAIR = 3.5
EXPONENT, SHIFT = 1.57, 100
TABLE_PAIRS = 100_000


def query_shares() -> np.ndarray:
    weights = (np.arange(NUM_QUERIES) + SHIFT) ** -EXPONENT
    return weights / weights.sum()


def write_pairs(job: tuple[int, int, str]) -> np.ndarray:
    """Writes one table; returns the counts of its queries."""
    number, rows, path = job
    rng = np.random.default_rng(number)
    wanted = rng.poisson(MATCHES_A_PAIR - 1, rows) + 1
    drawn = np.searchsorted(np.cumsum(query_shares()), rng.random(wanted.sum())).clip(max=NUM_QUERIES - 1)
    keys = np.unique(np.repeat(np.arange(rows), wanted) * NUM_QUERIES + drawn)
    row, ids = np.divmod(keys, NUM_QUERIES)
    query_ids = list_column(np.bincount(row, minlength=rows), ids.astype(np.int32))
    letters = rng.integers(97, 123, 150 * rows, np.uint8).tobytes().decode()
    constant = {"text_source": "alt", "page_url": None, "language": "en", "source_file": f"crawl-{number}.warc.gz"}
    columns = {
        "pair_id": words_column(rng.integers(0, 2**64, (rows, 2), np.uint64)),
        "image_url": [f"https://h{i % 997}.example/{letters[150 * i : 150 * i + 60]}.jpg" for i in range(rows)],
        "text": [letters[150 * i + 60 : 150 * i + 120 + i % 30] for i in range(rows)],
        "query_ids": query_ids,
    } | {name: [value] * rows for name, value in constant.items()}
    write_table(path, pa.Table.from_pydict({n: columns[n] for n in MATCHED.names}, MATCHED), MATCHED)
    return np.bincount(ids, minlength=NUM_QUERIES)


def make_pool(folder: str, num_pairs: int) -> None:
    if files.exists(files.join(folder, "matched", STAGE_NAME)):
        return
    columns = {"query_id": range(NUM_QUERIES), "query": [f"query {i}" for i in range(NUM_QUERIES)]}
    columns |= {"sources": [["word"]] * NUM_QUERIES}
    columns |= {name: [None] * NUM_QUERIES for name in ("count", "pmi", "views")}
    write_table(files.join(folder, "vocab", "queries.parquet"), pa.Table.from_pydict(columns, QUERIES), QUERIES)
    starts = range(0, num_pairs, TABLE_PAIRS)
    jobs = [
        (i, min(TABLE_PAIRS, num_pairs - start), files.join(folder, "matched", f"part-{i:05d}.parquet"))
        for i, start in enumerate(starts)
    ]
    counts = np.zeros(NUM_QUERIES, np.int64)
    with Pool(2) as pool:
        for part in pool.imap_unordered(write_pairs, jobs):
            counts += part
    write_array(files.join(folder, "matched", "counts.npy"), counts)
    write_stage(files.join(folder, "matched"), "match-pairs")
    write_stage(files.join(folder, "vocab"), "build-vocab")


def write_stage(folder: str, stage: str) -> None:
    """Declares a folder finished, as the stage would have."""
    content = {"identity": {"stage": stage}, "counts": {}, "history": [], "outputs": [], "versions": {}}
    files.write_bytes_whole(files.join(folder, STAGE_NAME), json.dumps(content).encode())


def tree_bytes(pid: int) -> int:
    """Memory of a process and all below it, shared pages split among those that share them."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total = next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                total += sum(tree_bytes(int(child)) for child in file.read().split())
    except (OSError, StopIteration):
        pass  # it ended meanwhile
    return total


def run_job(arguments: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and peak bytes of `wit400m balance-pairs`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "jobs", "balance-pairs", *arguments])
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.3):
            peak[0] = max(peak[0], tree_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"balance-pairs ended with exit code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - started, "cpu_s": cpu, "peak_bytes": peak[0]}


def check(folder: str, output: str, cap: int) -> str:
    """Counts a balanced folder anew; returns what it found."""
    counts = np.load(files.join(folder, "matched", "counts.npy"))
    kept, num_pairs = np.zeros(NUM_QUERIES, np.int64), 0
    for path in balanced_tables(output):
        for batch in read_batches(path, ["kept_for"]):
            kept += np.bincount(batch["kept_for"].flatten().to_numpy(), minlength=NUM_QUERIES)
            num_pairs += batch.num_rows
    if not (kept == np.minimum(counts, cap)).all():
        raise SystemExit("a query selected another number of pairs than min(count, cap)")
    expected = json.loads(files.read_bytes(files.join(output, STAGE_NAME)))["counts"]["expected_pairs"]
    heads = int((counts > cap).sum())
    share = counts[counts > cap].sum() / counts.sum()
    if abs(num_pairs / expected - 1) > 0.001 and num_pairs > 1_000_000:
        raise SystemExit("the union is not within 0.1 % of what keep probabilities promise")
    return (
        f"{heads:,} queries over the cap hold {share:.1%} of matches; {num_pairs:,} pairs kept, "
        f"{num_pairs / expected - 1:+.3%} of the expected"
    )


def balanced_tables(folder: str) -> list[str]:
    return [path for path in files.list_files(folder, ".parquet") if files.basename(path) != "cuts.parquet"]


def read_selections(folder: str) -> np.ndarray:
    """All (pair, query) of a balanced folder, sorted."""
    parts = []
    for path in balanced_tables(folder):
        table = read_table(path, ["pair_id", "kept_for"]).combine_chunks()
        rows, query_ids = flatten_lists(table["kept_for"].chunk(0)) if table.num_rows else ([], [])
        part = np.empty(len(rows), [("pair", "S16"), ("query", "i4")])
        if table.num_rows:
            part["pair"], part["query"] = id_strings(table["pair_id"].chunk(0))[rows], query_ids
        parts.append(part)
    return np.sort(np.concatenate(parts))


def is_nested(smaller: str, larger: str) -> bool:
    return bool(np.isin(read_selections(smaller), read_selections(larger)).all())


def same_bytes(one: str, two: str) -> bool:
    return all(
        files.read_bytes(path) == files.read_bytes(files.join(two, files.basename(path)))
        for path in files.list_files(one)
    )


def is_alive(pairs: pa.RecordBatch | pa.Table, share: float) -> pa.Array:
    """Which links are alive: decided by a part of the pair id that nothing else looks at by itself."""
    ids = pairs["pair_id"]
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return pa.array((id_words(ids)[:, 0] & np.uint64(0xFFFFF)) < share * 2**20)


def compare_survival(folder: str, cap: int, share: float) -> str:
    """Balances before fetching and after it, when a share of the links is alive; compares (pair, query) by itself."""
    plan, raw, after = (files.join(folder, f"survival-{name}") for name in ("plan", "raw", "after"))
    common = ["--cap", str(cap), "--quiet", "--overwrite"]
    run_job(["--data", folder, "--output", plan, "--yield", str(share), *common])
    num_fetched = 0
    for path in balanced_tables(plan):
        table = read_table(path)
        num_fetched += table.num_rows
        status = pa.array(np.where(is_alive(table, share).to_numpy(zero_copy_only=False), "ok", "not_found"))
        key = pa.array([identity.hex() for identity in table["pair_id"].to_pylist()], pa.string())
        filled = {name: table[name] for name in table.schema.names} | {"status": status, "key": key}
        columns = [filled.get(field.name, pa.nulls(table.num_rows, field.type)) for field in RAW_INDEX]
        index = files.basename(path).replace(".parquet", ".index.parquet")
        write_table(files.join(raw, index), pa.table(columns, schema=RAW_INDEX), RAW_INDEX)
    write_stage(raw, "fetch-images")
    counts = np.zeros(NUM_QUERIES, np.int64)
    for path in files.list_files(files.join(folder, "matched"), ".parquet"):
        table = read_table(path)
        table = table.filter(is_alive(table, share))
        counts += np.bincount(table["query_ids"].combine_chunks().flatten(), minlength=NUM_QUERIES)
        write_table(files.join(after, "matched", files.basename(path)), table, MATCHED)
    write_array(files.join(after, "matched", "counts.npy"), counts)
    write_stage(files.join(after, "matched"), "match-pairs")
    vocab = files.join(folder, "vocab")
    run_job(["--data", after, "--vocab", vocab, *common])
    final = files.join(folder, "survival-final")
    run_job(["--final", "--balanced", plan, "--raw", raw, "--output", final, "--quiet", "--overwrite"])
    short = json.loads(files.read_bytes(files.join(final, STAGE_NAME)))["counts"]["short_queries"]
    found, wanted = read_selections(final), read_selections(files.join(after, "balanced"))
    return (
        f"{share:.0%} of links alive, cap {cap:,}: fetched {num_fetched:,} pairs; {short} queries short; of "
        f"{len(wanted):,} selections after fetching the whole pool {np.setxor1d(found, wanted).size:,} differ"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--folder", required=True, help="Where to make pairs and balance them")
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--caps", type=int, nargs="+", default=[100, 200, 20_000])
    parser.add_argument("--survival", type=float, help="Share of links alive: balance before and after fetching")
    arguments = parser.parse_args()
    started = time.monotonic()
    make_pool(arguments.folder, arguments.pairs)
    print(f"pool of {arguments.pairs:,} pairs: {time.monotonic() - started:.0f} s", flush=True)
    outputs = []
    for cap in arguments.caps:
        for workers in arguments.workers:
            output = files.join(arguments.folder, f"balanced-{cap}-{workers}")
            flags = ["--data", arguments.folder, "--output", output, "--cap", str(cap), "--workers", str(workers)]
            took = run_job([*flags, "--overwrite", "--quiet"])
            print(
                f"cap {cap:,}, {workers} workers: {took['seconds']:.1f} s, {took['cpu_s']:.1f} CPU s, "
                f"peak {took['peak_bytes'] / 2**30:.2f} GiB; {check(arguments.folder, output, cap)}",
                flush=True,
            )
        outputs.append(output)
        first = files.join(arguments.folder, f"balanced-{cap}-{arguments.workers[0]}")
        if first != output:
            print(f"the same bytes with {arguments.workers} workers: {same_bytes(first, output)}", flush=True)
    for smaller, larger in pairwise(outputs):
        print(f"{files.basename(smaller)} is nested in {files.basename(larger)}: {is_nested(smaller, larger)}")
    if arguments.survival:
        print(compare_survival(arguments.folder, arguments.caps[0], arguments.survival))


if __name__ == "__main__":
    main()
