"""Makes up pairs whose texts hold queries as often as MetaCLIP's pool does, and the vocabulary of these queries.

    python benchmarks/zipf_pairs.py --pairs 10000000 --folder /tmp/zipf
    wit400m match-pairs --data /tmp/zipf

In: a list of queries (one a line, the most frequent first), else 500,000 made up. Out: `FOLDER/vocab` and
`FOLDER/pairs`, as build-vocab and extract-pairs would have left them; the same bytes on every machine.

A query's share of all draws falls with its rank so that the 16,000 most frequent of 500,000 have 94 % of them. Half of
the texts hold no query; the others hold 3.5 on average, a query inside another counted, between words that are none.
Hosts follow Zipf's law too.

Source: Xu et al. 2023 (MetaCLIP), section 3 and the counts published with it.
"""

import argparse
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.folders import VocabFolder
from pipeline.base.ids import pair_id
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES

NUM_QUERIES = 500_000
EXPONENT, SHIFT = 1.57, 100  # of the law of shares
DRAWS_A_PAIR = 3.5
FILLERS_A_PAIR = 4
NUM_HOSTS, NUM_FILLERS = 50_000, 20_000
SYLLABLES = [
    consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in ("a", "e", "i", "o", "u", "ar", "en", "ol")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="Where to write vocab/ and pairs/")
    parser.add_argument("--pairs", type=int, default=10_000_000, metavar="N", help="How many pairs [10000000]")
    parser.add_argument("--tables", type=int, default=100, metavar="N", help="In how many tables [100]")
    parser.add_argument("--holding", type=float, default=0.5, metavar="X", help="Share that hold a query [0.5]")
    parser.add_argument("--queries", metavar="FILE", help="Queries, one a line, the most frequent first [made up]")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="Processes [2]")
    arguments = parser.parse_args()
    write_pairs(arguments)


def write_pairs(arguments: argparse.Namespace) -> None:
    """Writes both folders."""
    queries = files.read_bytes(arguments.queries).decode().splitlines() if arguments.queries else make_up_queries()
    write_vocabulary(files.join(arguments.folder, "vocab"), queries)
    folder = files.join(arguments.folder, "pairs")
    rows = np.diff(np.linspace(0, arguments.pairs, arguments.tables + 1).astype(np.int64)).tolist()
    tables = [Table(files.join(folder, f"crawl-{i:05d}.parquet"), i, n, arguments.holding) for i, n in enumerate(rows)]
    with Pool(arguments.workers, initializer=keep_parts, initargs=(queries,)) as pool:
        pool.map(write_pair_table, tables, chunksize=1)
    write_stage(folder, "extract-pairs", {"pairs/kept": arguments.pairs})
    print(f"{arguments.pairs:,} pairs in {arguments.tables} tables, {len(queries):,} queries: {arguments.folder}")


def make_up_queries() -> list[str]:
    """Words of syllables, the frequent ones short, and among the rarer ones pairs and triples of them."""
    rng = np.random.default_rng(0)
    words = list(dict.fromkeys(make_up_words(rng, NUM_QUERIES)))
    queries = dict.fromkeys(words[: NUM_QUERIES // 2])
    for width in rng.choice([2, 3], 2 * NUM_QUERIES, p=[0.85, 0.15]).tolist():
        queries.setdefault(" ".join(words[place] for place in (len(words) ** rng.random(width)).astype(int) - 1))
        if len(queries) == NUM_QUERIES:
            break
    order = np.argsort(np.arange(NUM_QUERIES) + rng.exponential(NUM_QUERIES / 4, NUM_QUERIES), kind="stable")
    listed = list(queries)
    return [listed[place] for place in order.tolist()]


def make_up_words(rng: np.random.Generator, number: int) -> Iterator[str]:
    for rank in range(number):
        length = 1 + int(rng.integers(1, 2 + np.log10(rank + 1)))
        yield "".join(SYLLABLES[place] for place in rng.integers(0, len(SYLLABLES), length).tolist())


def query_shares(num_queries: int) -> np.ndarray:
    """The share of all draws that each query has, by rank."""
    weights = (np.arange(num_queries) + SHIFT) ** -EXPONENT
    return weights / weights.sum()


class Table(NamedTuple):
    path: str
    number: int
    rows: int
    holding: float  # share of pairs with a query


class Parts(NamedTuple):
    """What texts and URLs are put together from."""

    tokens: pa.Array  # the queries, then words that are none
    cumulated_shares: np.ndarray  # [queries]
    hosts: pa.Array
    folders: pa.Array


PARTS: list[Parts] = []  # of this process


def keep_parts(queries: list[str]) -> None:
    rng = np.random.default_rng(1)
    fillers = [f"{word}x" for word in make_up_words(rng, NUM_FILLERS)]  # no syllable ends so
    fillers += [f"{form}{number:04d}" for form in ("IMG_", "DSC", "#", "p-") for number in range(1000)]
    names = rng.integers(0, len(SYLLABLES), (NUM_HOSTS, 4)).tolist()
    hosts = [f"https://www.{''.join(SYLLABLES[place] for place in name)}-{i}.example" for i, name in enumerate(names)]
    folders = [f"/wp-content/uploads/20{y}/{m:02d}/" for y in range(10, 24) for m in range(1, 13)]
    folders += [f"/images/products/{n:05d}/" for n in range(5_000)]
    PARTS.append(
        Parts(pa.array([*queries, *fillers]), np.cumsum(query_shares(len(queries))), *map(pa.array, (hosts, folders)))
    )


def write_pair_table(table: Table) -> None:
    rng = np.random.default_rng((2, table.number))
    parts = PARTS[0]
    texts = make_up_texts(rng, table, parts)
    urls = make_up_urls(rng, table, parts)
    ids = [pair_id(url, text) for url, text in zip(urls.to_pylist(), texts.to_pylist(), strict=True)]
    columns = {
        "pair_id": pa.array(ids, PAIRS.field("pair_id").type),
        "image_url": urls,
        "text": texts,
        "text_source": pa.array(["alt", "alt", "alt", "title"]).take(pa.array(rng.integers(0, 4, table.rows))),
        "page_url": pc.binary_join_element_wise(pc.replace_substring_regex(urls, "/[^/]*$", "/"), "page.html", ""),
        "language": pa.repeat("en", table.rows),
        "source_file": pa.repeat(files.basename(table.path), table.rows),
    }
    write_table(
        table.path, pa.table([columns[name].cast(PAIRS.field(name).type) for name in PAIRS.names], PAIRS), PAIRS
    )


def make_up_texts(rng: np.random.Generator, table: Table, parts: Parts) -> pa.Array:
    """Queries and fillers in any order, a space or, here and there, a comma between them."""
    num_queries = parts.cumulated_shares.size
    drawn = np.where(rng.random(table.rows) < table.holding, 1 + rng.poisson(DRAWS_A_PAIR - 1, table.rows), 0)
    fillers = 1 + rng.poisson(FILLERS_A_PAIR - 1, table.rows)
    row = np.concatenate([np.repeat(np.arange(table.rows), drawn), np.repeat(np.arange(table.rows), fillers)])
    ids = np.searchsorted(parts.cumulated_shares, rng.random(drawn.sum())).clip(max=num_queries - 1)
    tokens = np.concatenate([ids, rng.integers(num_queries, len(parts.tokens), fillers.sum())])
    order = np.lexsort((rng.random(row.size), row))
    strings = parts.tokens.take(pa.array(tokens[order]))
    marks = pa.array(["", ","]).take(pa.array((rng.random(row.size) < 0.1).astype(np.int8)))
    offsets = np.concatenate([[0], np.cumsum(drawn + fillers)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pc.binary_join_element_wise(strings, marks, ""))
    return pc.binary_join(lists, " ")


def make_up_urls(rng: np.random.Generator, table: Table, parts: Parts) -> pa.Array:
    """Addresses, most of them on few hosts; all distinct."""
    hosts = parts.hosts.take(pa.array((NUM_HOSTS ** rng.random(table.rows)).astype(np.int64) - 1))
    folders = parts.folders.take(pa.array(rng.integers(0, len(parts.folders), table.rows)))
    numbers = pa.array(table.number * 10**8 + np.arange(table.rows)).cast(pa.string())
    slugs = parts.tokens.take(pa.array(rng.integers(0, len(parts.tokens), table.rows)))
    slugs = pc.replace_substring_regex(slugs, "[ #]", "-")
    return pc.binary_join_element_wise(hosts, folders, slugs, "-", numbers, ".jpg", "")


def write_vocabulary(folder: str, queries: list[str]) -> None:
    compile_matcher(queries).save(VocabFolder(folder).matcher, files.write_bytes_whole)
    rows = [{"query_id": i, "query": query, "display": query, "sources": ["word"]} for i, query in enumerate(queries)]
    table = pa.Table.from_pylist(rows, QUERIES)
    write_table(VocabFolder(folder).queries, table, QUERIES)
    write_stage(folder, "build-vocab", {"queries": len(queries)})


def write_stage(folder: str, stage: str, counts: dict[str, int], made_from: Sequence[str] = ()) -> None:
    """Declares a folder finished, as the stage would have."""
    close_folder(folder, identity={"stage": stage}, counts=counts, outputs=[], made_from=made_from)


if __name__ == "__main__":
    main()
