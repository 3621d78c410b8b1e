"""Before the fetch or after it: real commands, a server whose images die in many ways, the same samples in the end."""

import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.__main__ import main
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES

WORDS = ["cat", "dog", "tree", "house", "river"]
CAP = 10
DEATHS = ["/dead/{}.jpg", "/truncated.jpg?{}", "/noai.jpg?{}", "/page.jpg?{}", "/vector.svg?{}"]


def make_pool(num_pairs=320):
    """(image URL, text): words are rarer and rarer; a link of three dies, most of them where there is a tree."""
    rng, pool = random.Random(7), []
    for number in range(num_pairs):
        words = [word for rank, word in enumerate(WORDS, 1) if rng.random() < 0.9 / rank] or ["house"]
        alive = rng.random() < (0.15 if "tree" in words else 0.65)
        path = f"/image/{number}.jpg" if alive else rng.choice(DEATHS).format(number)
        pool.append((f"http://h{number % 7}.example{path}", f"{' '.join(words)} {number}"))
    return pool


def write_stage(folder, stage):
    """Declares a folder finished, made from all that are finished beside it."""
    made_from = sorted(str(path.parent) for path in folder.parent.glob(f"*/{STAGE_NAME}") if path.parent != folder)
    outputs = [{"name": str(folder)}]  # so that no two look the same
    close_folder(str(folder), identity={"stage": stage}, counts={}, outputs=outputs, made_from=made_from)


def match(data, pool):
    """The folders up to match-pairs of a pool."""
    queries = [{"query_id": i, "query": word, "display": word, "sources": ["word"]} for i, word in enumerate(WORDS)]
    write_table(str(data / "vocab" / "queries.parquet"), pa.Table.from_pylist(queries, QUERIES), QUERIES)
    compile_matcher(WORDS).save(str(data / "vocab" / "matcher"), files.write_bytes_whole)
    write_stage(data / "vocab", "build-vocab")
    same = {"text_source": "alt", "source_file": "crawl"}
    rows = [{"pair_id": pair_id(url, text), "image_url": url, "text": text} | same for url, text in pool]
    for part in range(3):
        path = str(data / "pairs" / f"part-{part}.parquet")
        write_table(path, pa.Table.from_pylist(rows[part::3], PAIRS), PAIRS)
    write_stage(data / "pairs", "extract-pairs")
    run("match-pairs", data)


def run(command, data, *flags):
    assert main([command, "--data", str(data), "--quiet", "--workers", "1", *flags]) == 0


def fetch(data, loopback, *flags):
    server = ["--connect-to", *loopback.connect_to, "--host-rate", "0", "--read-timeout-s", "2", "--retries", "0"]
    run("fetch-images", data, *server, "--contact", "me@lab.example", "--unit-urls", "60", *flags)


def read_rows(folder, suffix, columns):
    tables = [path for path in sorted(folder.glob(f"*{suffix}")) if path.name != "cuts.parquet"]
    return [row for path in tables for row in read_table(str(path), columns).to_pylist()]


def selections(folder, suffix=".parquet", url="image_url", text="text"):
    rows = read_rows(folder, suffix, [url, text, "kept_for"])
    return {(row[url], row[text]): row["kept_for"] for row in rows}


def read_samples(shards):
    """What the JSON members of all shards say."""
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    yield json.load(tar.extractfile(member))


def test_balancing_before_the_fetch_gives_the_shards_of_balancing_after_it(tmp_path, loopback):
    pool, before, after = make_pool(), tmp_path / "before", tmp_path / "after"
    match(before, pool)

    # After: every image of the pool is fetched; what came is balanced.
    run("balance-pairs", before, "--cap", "100000", "--output", str(before / "everything"))
    fetch(before, loopback, "--balanced", str(before / "everything"), "--output", str(before / "raw-everything"))
    came = read_rows(before / "raw-everything", ".index.parquet", ["image_url", "text", "status"])
    assert len(came) == len(pool) and len({row["status"] for row in came}) >= 5
    match(after, [(row["image_url"], row["text"]) for row in came if row["status"] == "ok"])
    run("balance-pairs", after, "--cap", str(CAP))
    wanted = selections(after / "balanced")

    # Before: a few pairs more than the cap are fetched, and more where too few came.
    run("balance-pairs", before, "--cap", str(CAP), "--yield", "0.65")
    fetch(before, loopback)
    raws, final, shortages = [str(before / "raw")], before / "final", []
    run("balance-final", before)
    while read_stage(str(final))["counts"]["short_queries"]:
        shortages.append(read_stage(str(final))["counts"]["missing_pairs"])
        number = len(shortages)
        planned, raw = (str(before / f"{name}-{number}") for name in ("top-up", "raw"))
        run("top-up-pairs", before, "--final", str(final), "--output", planned)
        fetch(before, loopback, "--balanced", planned, "--output", raw)
        raws.append(raw)
        final = before / f"final-{number}"
        run("balance-final", before, "--balanced", planned, "--raw", *raws, "--output", str(final))
    tried = [row for raw in raws for row in read_rows(Path(raw), ".index.parquet", ["pair_id"])]
    assert shortages and len(tried) < 0.8 * len(pool)
    assert selections(final, ".index.parquet") == wanted

    run("write-shards", before, "--raw", *raws, "--final", str(final), "--max-samples", "30")
    assert selections(before / "shards", url="url", text="caption") == wanted
    described = {(sample["url"], sample["caption"]): sample["kept_for"] for sample in read_samples(before / "shards")}
    assert described == {pair: [WORDS[query] for query in kept_for] for pair, kept_for in wanted.items()}
    kept = np.bincount([query for kept_for in wanted.values() for query in kept_for], minlength=len(WORDS))
    assert kept.tolist() == np.minimum(np.load(after / "matched" / "counts.npy"), CAP).tolist()
