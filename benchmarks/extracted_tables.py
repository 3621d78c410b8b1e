"""Made-up tables of extracted pairs, to try what finds duplicates at sizes that no test has.

    python benchmarks/extracted_tables.py --output FOLDER [--rows 50000000] [--tables 200] [--duplicates 0.3]
        [--texts 0.5] [--seed 0]

Writes tables of `EXTRACTED` with the columns of ids, keys and preferences as they are of real pairs: uniform hashes.
Of all rows, a share has the identity of another one, anywhere in the tables; distinct pairs share texts, of which a few
are very frequent (Zipf). The columns that are only carried along hold short strings. Tables are the same for the same
flags; each is written by a worker of its own. How many rows are distinct is printed: what deduplication must leave.
"""

import argparse
import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.ids import words_column
from pipeline.base.tables import write_table
from pipeline.extraction.losers import EXTRACTED

_ZIPF = 1.3  # exponent of how often texts are found
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Words = npt.NDArray[np.uint64]


def main() -> None:
    """Writes the tables, prints what is in them."""
    arguments = parse_arguments()
    num_distinct = max(1, round(arguments.rows * (1 - arguments.duplicates)))
    num_texts = max(1, round(num_distinct * arguments.texts))
    write = partial(
        write_part,
        folder=arguments.output,
        num_rows=arguments.rows,
        num_tables=arguments.tables,
        num_distinct=num_distinct,
        num_texts=num_texts,
        seed=arguments.seed,
    )
    started = time.monotonic()
    with ProcessPoolExecutor(arguments.workers) as workers:
        written = sum(workers.map(write, range(arguments.tables)))
    seconds = time.monotonic() - started
    print(json.dumps({"rows": written, "distinct": num_distinct, "tables": arguments.tables, "s": round(seconds, 1)}))


def parse_arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="Folder to write")
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--duplicates", type=float, default=0.3, help="Share of rows that are another one's again")
    parser.add_argument("--texts", type=float, default=0.5, help="Texts that could be found, a distinct pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    return parser.parse_args()


def write_part(
    number: int, *, folder: str, num_rows: int, num_tables: int, num_distinct: int, num_texts: int, seed: int
) -> int:
    """Writes one table; returns its rows."""
    first, end = (num_rows * place // num_tables for place in (number, number + 1))
    rng = np.random.default_rng([seed, number])
    rows = np.arange(first, end)
    # Row by row all distinct pairs, in an order of hashes, then pairs drawn again from these.
    pairs = np.where(rows < num_distinct, rows, rng.integers(0, num_distinct, end - first)).astype(np.uint64)
    table = extracted_table(pairs, rng, num_texts=num_texts, seed=seed)
    name = f"made-{number:05}-{hashlib.blake2b(f'{seed}/{number}'.encode(), digest_size=4).hexdigest()}.parquet"
    counts = {"pairs/in": table.num_rows}
    write_table(str(Path(folder) / name), table, EXTRACTED, counts)
    return table.num_rows


def extracted_table(pairs: Words, rng: np.random.Generator, *, num_texts: int, seed: int) -> pa.Table:
    """The rows of some pairs, by their numbers, as `EXTRACTED`: a pair's id and text are always the same.

    Args:
        pairs: [rows], numbers of pairs.
        rng: Draws what differs between equal pairs.
        num_texts: Texts that there may be.
        seed: Of the ids.
    """
    ids = np.column_stack([mix(pairs, 2 * seed), mix(pairs, 2 * seed + 1)])
    texts = zipf_rank(mix(pairs, -1), num_texts)
    columns = {
        "pair_id": words_column(ids),
        "image_url": pa.array(np.char.add("http://a.example/", pairs.astype("U20"))),
        "text": pa.array(np.char.add("a photo, number ", texts.astype("U20"))),
        "text_source": pa.array(["alt"] * len(pairs)),
        "page_url": pa.nulls(len(pairs), pa.string()),
        "language": pa.nulls(len(pairs), pa.string()),
        "source_file": pa.array(["made"] * len(pairs)),
        "same_id": words_column(ids),
        "text_key": pa.array(mix(texts, -2)),
        "preference": pa.array(rng.integers(0, 2**62, len(pairs), np.uint64)),
    }
    return pa.table({name: columns[name] for name in EXTRACTED.names}).cast(EXTRACTED)


def zipf_rank(hashes: Words, number: int) -> Words:
    """Numbers below `number` by hashes, small ones often: the inverse of a power law's distribution."""
    uniform = (hashes >> np.uint64(11)) * 2.0**-53
    power = 1 - _ZIPF
    ranks = (1 - uniform * (1 - float(number) ** power)) ** (1 / power)
    return np.minimum(ranks.astype(np.uint64), np.uint64(number)) - np.uint64(1)


def mix(numbers: Words, salt: int) -> Words:
    """Numbers scattered over 64 bits, no two to the same place (SplitMix64's finalizer)."""
    words = (numbers + np.uint64(salt % 2**64)) * _MULTIPLIER
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


if __name__ == "__main__":
    main()
