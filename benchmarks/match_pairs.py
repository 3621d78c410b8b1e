"""match-pairs, then balance-pairs, on made-up pairs: time, memory, and how much of the time is matching itself.

    python benchmarks/zipf_pairs.py --pairs 10000000 --folder /tmp/zipf
    python benchmarks/match_pairs.py --folder /tmp/zipf --workers 1 2 --caps 125 20000

The CPU seconds of a command are those of all its processes. Those inside the matcher are measured right after it, on
the same texts and in as many processes at a time (neighbours on a processor slow each other down): `match_column`
alone, without reading, writing, engine or start.
"""

import argparse
import time
from multiprocessing import Pool

from watching import run_stage

from pipeline.base import files
from pipeline.base.folders import VocabFolder
from pipeline.base.tables import read_batches
from vocab.matcher import Matcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="With the vocab/ and pairs/ of zipf_pairs.py")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="Worker processes [1 2]")
    parser.add_argument("--caps", type=int, nargs="+", default=[125, 20_000], metavar="N", help="[125 20000]")
    arguments = parser.parse_args()
    for workers in arguments.workers:
        flags = ["--data", arguments.folder, "--workers", str(workers), "--overwrite", "--quiet"]
        took = run_stage("match-pairs", flags)
        matching_s, num_texts = time_matcher(arguments.folder, workers)
        share = matching_s / took.cpu_s
        print(f"match-pairs, {workers} workers: {took}")
        print(f"  {num_texts:,} texts; in the matcher {matching_s:.1f} CPU s, {share:.0%} of all", flush=True)
        for cap in arguments.caps:
            took = run_stage("balance-pairs", [*flags, "--cap", str(cap)])
            print(f"balance-pairs --cap {cap}, {workers} workers: {took}", flush=True)


def time_matcher(folder: str, workers: int) -> tuple[float, int]:
    """CPU seconds in the matcher for all texts of a folder of pairs, and how many there are."""
    tables = files.list_files(files.join(folder, "pairs"), ".parquet")
    with Pool(workers, initializer=load_matcher, initargs=(VocabFolder(files.join(folder, "vocab")).matcher,)) as pool:
        seconds, texts = zip(*pool.imap_unordered(time_table, tables), strict=True)
    return sum(seconds), sum(texts)


MATCHERS: list[Matcher] = []  # of this process


def load_matcher(folder: str) -> None:
    MATCHERS.append(Matcher.load(folder, files.local_path))
    MATCHERS[0].match_text("the first text loads what is loaded late")


def time_table(path: str) -> tuple[float, int]:
    seconds, num_texts = 0.0, 0
    for batch in read_batches(path, ["text"]):
        started = time.process_time()
        MATCHERS[0].match_column(batch["text"])
        seconds += time.process_time() - started
        num_texts += batch.num_rows
    return seconds, num_texts


if __name__ == "__main__":
    main()
