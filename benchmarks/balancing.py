"""balance-pairs on made-up pairs: time, memory, and what the cap promises.

    python benchmarks/zipf_pairs.py --pairs 10000000 --folder /tmp/zipf
    python benchmarks/balancing.py --folder /tmp/zipf

Matches the pairs unless they are. Every balanced folder is counted anew: each query must have exactly min(count, cap)
pairs, and there must be as many pairs in all as independent draws would keep on average, within 0.1 % from a million
on. Each cap's pairs must be among those of the next larger one, and every number of workers must write the same bytes.
With --survival, balances before fetching and after it when a share of the links is alive, and compares.
"""

import argparse
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
from watching import run_stage
from zipf_pairs import write_stage

from pipeline.base import files
from pipeline.base.arrays import flatten_lists, read_array, write_array
from pipeline.base.folders import BalancedFolder, MatchedFolder, RawFolder, table_name
from pipeline.base.ids import id_words
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.matched_tables import matched_schema
from pipeline.base.schemas import OK_STATUS, PAIRS, RAW_INDEX
from pipeline.base.tables import read_batches, read_table, write_table


def check(folder: str, output: str, cap: int) -> str:
    """Counts a balanced folder anew; returns what it found."""
    counts = read_counts(folder)
    kept, num_pairs = np.zeros(len(counts), np.int64), 0
    for path in balanced_tables(output):
        for batch in read_batches(path, ["kept_for"]):
            kept += np.bincount(batch["kept_for"].flatten().to_numpy(), minlength=len(counts))
            num_pairs += batch.num_rows
    if not (kept == np.minimum(counts, cap)).all():
        raise SystemExit("a query selected another number of pairs than min(count, cap)")
    expected = expect_pairs(folder, counts, cap)
    heads = int((counts > cap).sum())
    share = counts[counts > cap].sum() / counts.sum()
    if abs(num_pairs / expected - 1) > 0.001 and num_pairs > 1_000_000:
        raise SystemExit("the union is not within 0.1 % of the expectation of independent draws")
    return (
        f"{heads:,} queries over the cap hold {share:.1%} of matches; {num_pairs:,} pairs kept, "
        f"{num_pairs / expected - 1:+.3%} of the expected"
    )


def expect_pairs(folder: str, counts: np.ndarray, cap: int) -> float:
    """How many pairs are kept on average when each match is selected by itself with chance cap / count."""
    with np.errstate(divide="ignore"):
        refusals = np.log1p(-np.minimum(1, cap / np.maximum(counts, 1)))
    expected = 0.0
    for path in files.list_files(files.join(folder, "matched"), ".parquet"):
        for batch in read_batches(path, ["query_ids"]):
            rows, ids = flatten_lists(batch["query_ids"])
            expected += float(-np.expm1(np.bincount(rows, refusals[ids], minlength=batch.num_rows)).sum())
    return expected


def read_counts(folder: str) -> np.ndarray:
    return read_array(MatchedFolder(files.join(folder, "matched")).counts)


def balanced_tables(folder: str) -> list[str]:
    return BalancedFolder(folder).tables


def read_selections(folder: str) -> np.ndarray:
    """All (pair, query) of a balanced folder, as numbers that differ unless by a chance of one in millions; sorted."""
    parts = []
    for path in balanced_tables(folder):
        for batch in read_batches(path, ["pair_id", "kept_for"]):
            rows, query_ids = flatten_lists(batch["kept_for"])
            scattered = query_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            parts.append(id_words(batch["pair_id"])[rows, 0] + scattered)
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
    run_stage("balance-pairs", ["--data", folder, "--output", plan, "--yield", str(share), *common])
    num_fetched = write_raw(plan, raw, share)
    write_living(folder, after, share)
    run_stage("balance-pairs", ["--data", after, "--vocab", files.join(folder, "vocab"), *common])
    final = files.join(folder, "survival-final")
    run_stage("balance-final", ["--balanced", plan, "--raw", raw, "--output", final, "--quiet", "--overwrite"])
    short = json.loads(files.read_bytes(files.join(final, STAGE_NAME)))["counts"]["short_queries"]
    found, wanted = read_selections(final), read_selections(files.join(after, "balanced"))
    return (
        f"{share:.0%} of links alive, cap {cap:,}: fetched {num_fetched:,} pairs; {short} queries short; of "
        f"{len(wanted):,} selections after fetching the whole pool {np.setxor1d(found, wanted).size:,} differ"
    )


def write_raw(plan: str, raw: str, share: float) -> int:
    """A raw folder as fetch-images would leave it, without tars; returns how many pairs were fetched."""
    num_fetched = 0
    for path in balanced_tables(plan):
        table = read_table(path)
        num_fetched += table.num_rows
        status = pa.array(np.where(is_alive(table, share).to_numpy(zero_copy_only=False), OK_STATUS, "not_found"))
        key = pa.array([identity.hex() for identity in table["pair_id"].to_pylist()], pa.string())
        filled = {name: table[name] for name in table.schema.names} | {"status": status, "key": key}
        columns = [filled.get(field.name, pa.nulls(table.num_rows, field.type)) for field in RAW_INDEX]
        write_table(RawFolder(raw).index(table_name(path)), pa.table(columns, schema=RAW_INDEX), RAW_INDEX)
    write_stage(raw, "fetch-images", {}, [plan])
    return num_fetched


def write_living(folder: str, after: str, share: float) -> None:
    """The pairs whose links are alive, with their queries, as if no others had been found."""
    counts = np.zeros(len(read_counts(folder)), np.int64)
    for path in files.list_files(files.join(folder, "pairs"), ".parquet"):
        pairs = read_table(path)
        living = is_alive(pairs, share)
        matched = read_table(files.join(folder, "matched", files.basename(path))).filter(living)
        counts += np.bincount(matched["query_ids"].combine_chunks().flatten(), minlength=len(counts))
        of_pairs, of_matched = (files.join(after, name, files.basename(path)) for name in ("pairs", "matched"))
        write_table(of_pairs, pairs.filter(living), PAIRS)
        write_table(of_matched, matched, matched_schema(of_pairs))
    write_array(MatchedFolder(files.join(after, "matched")).counts, counts)
    pairs = files.join(after, "pairs")
    write_stage(pairs, "extract-pairs", {})
    write_stage(files.join(after, "matched"), "match-pairs", {}, [pairs, files.join(folder, "vocab")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="With the vocab/ and pairs/ of zipf_pairs.py")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="Worker processes [1 2]")
    parser.add_argument("--caps", type=int, nargs="+", default=[125, 250, 20_000], metavar="N", help="[125 250 20000]")
    parser.add_argument("--survival", type=float, metavar="X", help="Share of links alive, e.g. 0.65")
    arguments = parser.parse_args()
    folder = arguments.folder
    print(f"match-pairs: {run_stage('match-pairs', ['--data', folder, '--quiet'])}", flush=True)
    outputs = []
    for cap in arguments.caps:
        tried = [files.join(folder, f"balanced-{cap}-{workers}") for workers in arguments.workers]
        for workers, output in zip(arguments.workers, tried, strict=True):
            flags = ["--data", folder, "--output", output, "--cap", str(cap), "--workers", str(workers)]
            took = run_stage("balance-pairs", [*flags, "--overwrite", "--quiet"])
            print(f"cap {cap:,}, {workers} workers: {took}; {check(folder, output, cap)}", flush=True)
        for output in tried[1:]:
            print(f"{files.basename(output)}: the same bytes as the first: {same_bytes(tried[0], output)}", flush=True)
            files.remove_tree(output)
        outputs.append(tried[0])
    for smaller, larger in pairwise(outputs):
        print(f"{files.basename(smaller)} is nested in {files.basename(larger)}: {is_nested(smaller, larger)}")
    if arguments.survival:
        print(compare_survival(folder, arguments.caps[0], arguments.survival))


if __name__ == "__main__":
    main()
