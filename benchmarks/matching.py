"""The matcher beside MetaCLIP's way with an Aho-Corasick automaton: the same queries, texts, results and core.

In: real captions and word lists where a folder of them is given, else made ones of the same shape. Out: a table of
texts per CPU second, the size of the table of queries, how long it takes to open, and what two processes share of it.
Before anything is timed, the results are compared text by text.

The peer is what MetaCLIP does, written anew: every query between two spaces goes into one automaton of pyahocorasick;
a text gets spaces around seven punctuation characters; the ids that the automaton finds in it make a set.

    python benchmarks/matching.py --peers PEER_VENV --real-data FOLDER
"""

import argparse
import bz2
import functools
import gzip
import io
import itertools
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vocab.matcher import Matcher, compile_matcher
from vocab.normalize import METACLIP, Normalization

NUM_QUERIES = 500_000


def main(argv: Sequence[str] | None = None) -> int:
    flags = parse_flags(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {flags.core})
    texts, queries = read_real(flags.real_data) if flags.real_data else make_up(flags.texts)
    texts = texts[: flags.texts]
    column = pa.array(texts, pa.string())
    characters = sum(map(len, texts)) / len(texts)
    print(f"{len(queries):,} queries, {len(texts):,} texts of {characters:.0f} characters on average")

    ways: dict[str, Callable[[], Any]] = {}
    peer = load_peer(flags.peers)
    if peer is None:
        print("pyahocorasick is not installed here: pass --peers VENV, an environment that has it")
    else:
        automaton = build_automaton(peer, queries)
        ways["pyahocorasick, as MetaCLIP"] = lambda: match_with_automaton(automaton, texts)
    for name, normalization in (("metaclip", METACLIP), ("default", Normalization())):
        compiled, plain = (
            compile_matcher(queries, normalization=normalization, kernel=kernel) for kernel in ("numba", "numpy")
        )
        expected = plain.match_column(column)
        if not all(map(np.array_equal, expected, compiled.match_column(column))):
            raise SystemExit(f"{name}: the kernels differ")
        print(f"{name}: both kernels find the same in every text, {len(expected.query_ids):,} matches")
        if peer is not None and normalization is METACLIP:
            check_equal(match_with_automaton(automaton, texts), expected)
            print(f"{name}: pyahocorasick finds the same in every text")
        ways[f"{name} preset, numba"] = functools.partial(compiled.match_column, column)
        ways[f"{name} preset, numpy"] = functools.partial(plain.match_column, column)
        print(f"{name}: {describe_sharing(compiled, column)}")
    report(ways, len(texts), flags.rounds)
    return 0


def describe_sharing(matcher: Matcher, column: pa.Array) -> str:
    """The size of the files, the time to open them, and the memory of them in two processes that use them."""
    with tempfile.TemporaryDirectory() as folder:
        matcher.save(folder, lambda path, data: Path(path).write_bytes(data) and None)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        started = time.perf_counter()
        Matcher.load(folder)
        opened = time.perf_counter() - started
        context = multiprocessing.get_context("spawn")
        met = context.Barrier(2)
        with context.Pool(2, initializer=keep_barrier, initargs=(met,)) as pool:
            memory = pool.starmap(use_table, [(folder, column.slice(0, 50_000).to_pylist())] * 2, chunksize=1)
    shown = ", ".join(f"Rss {rss / 1e6:.1f} MB, Pss {pss / 1e6:.1f} MB" for rss, pss in memory)
    return f"table of {size / 1e6:.1f} MB, opened in {1000 * opened:.1f} ms; in two processes {shown}"


BARRIERS: list[Any] = []  # of this process


def keep_barrier(barrier: Any) -> None:
    BARRIERS.append(barrier)


def use_table(folder: str, texts: list[str]) -> tuple[int, int]:
    """Resident and proportional bytes of the mapped table in this process, while the other one uses it too."""
    matcher = Matcher.load(folder)
    matcher.match_column(pa.array(texts, pa.string()))
    BARRIERS[0].wait()
    rss = pss = 0
    of_table = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            of_table = folder in line
        elif of_table and line.startswith(("Rss:", "Pss:")):
            rss, pss = (rss + kilobytes(line), pss) if line[0] == "R" else (rss, pss + kilobytes(line))
    BARRIERS[0].wait()
    return rss, pss


def kilobytes(line: str) -> int:
    return int(line.split()[1]) << 10


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="VENV", help="Environment of this Python with pyahocorasick")
    parser.add_argument("--real-data", metavar="DIR", type=Path, help="Folder with text_lists/ [made-up texts]")
    parser.add_argument("--texts", type=int, default=200_000, metavar="N", help="Texts at most [200000]")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="Each way is timed so often [5]")
    parser.add_argument("--core", type=int, default=0, metavar="N", help="Processor core to stay on [0]")
    return parser.parse_args(argv)


def load_peer(venv: str | None) -> Any:
    if venv:
        sys.path += [str(path) for path in Path(venv).glob("lib/python*/site-packages")]
    try:
        import ahocorasick
    except ImportError:
        return None
    return ahocorasick


def build_automaton(peer: Any, queries: Sequence[str]) -> Any:
    automaton = peer.Automaton()
    for query_id, query in enumerate(queries):
        automaton.add_word(f" {query} ", query_id)
    automaton.make_automaton()
    return automaton


PUNCTUATION = re.compile("([,.;:?!`])")


def match_with_automaton(automaton: Any, texts: Sequence[str]) -> list[set[int]]:
    found = []
    for text in texts:
        spaced = PUNCTUATION.sub(r" \1 ", text).replace("\t", " ").replace("\n", " ").replace("\r", " ")
        found.append({query_id for _, query_id in automaton.iter(f" {spaced} ")})
    return found


def check_equal(expected: Sequence[set[int]], matches: Any) -> int:
    ids = matches.query_ids.tolist()
    for row, (first, end) in enumerate(itertools.pairwise(matches.offsets.tolist())):
        if sorted(expected[row]) != ids[first:end]:
            raise SystemExit(f"text {row}: {sorted(expected[row])} expected, {ids[first:end]} found")
    return len(ids)


def report(ways: dict[str, Callable[[], Any]], num_texts: int, rounds: int) -> None:
    """Times the ways in turn, so that what else the machine does strikes them alike; ratios are taken by round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    first = next(iter(ways))
    print(f"{'':28} {'texts/s':>12} {'ratio':>7} {'from':>6} {'to':>6}")
    for name, taken in seconds.items():
        ratios = [slow / fast for slow, fast in zip(seconds[first], taken, strict=True)]
        rate = num_texts / statistics.median(taken)
        print(f"{name:28} {rate:12,.0f} {statistics.median(ratios):7.1f} {min(ratios):6.1f} {max(ratios):6.1f}")


def read_real(folder: Path) -> tuple[list[str], list[str]]:
    """Captions, mixed; English words, WordNet's lemmas, and runs of words of encyclopedia articles to fill up."""
    lists = folder / "text_lists"
    texts = [text for text in pq.read_table(lists / "laion_url_text_10k.parquet")["TEXT"].to_pylist() if text]
    texts += [row["caption"] for row in json.loads((lists / "coco_captions_val2017.json").read_text())["annotations"]]
    for path in sorted((lists / "multi30k").glob("train.*.en.gz")):
        texts += gzip.decompress(path.read_bytes()).decode().splitlines()
    random.Random(0).shuffle(texts)
    archive = zipfile.ZipFile(lists / "words_alpha.zip")
    words = io.TextIOWrapper(archive.open(archive.namelist()[0])).read().split()
    prose = bz2.decompress((folder / "wikipedia" / "enwiki-articles-excerpt.xml.bz2").read_bytes()).decode()
    runs = re.findall(r"[a-z]+(?: [a-z]+)+", prose.lower())
    return texts, complete(dict.fromkeys([*words, *read_lemmas()]), runs)


def read_lemmas() -> list[str]:
    try:
        from nltk.corpus import wordnet

        return sorted({name.replace("_", " ") for name in wordnet.all_lemma_names()})
    except LookupError:
        return []


def complete(queries: dict[str, None], texts: Sequence[str]) -> list[str]:
    """Adds the most frequent runs of two words of texts, then of three, until there are enough queries."""
    for width in (2, 3):
        runs: Counter[str] = Counter()
        for text in texts:
            words = text.split(" ")
            runs.update(" ".join(words[first : first + width]) for first in range(len(words) - width + 1))
        for run, _ in runs.most_common():
            if len(queries) == NUM_QUERIES:
                break
            queries.setdefault(run)
    return list(queries)


def make_up(num_texts: int) -> tuple[list[str], list[str]]:
    """Texts of words that are the rarer the later they come, and queries of the same words."""
    rng = random.Random(0)
    letters = "etaoinshrdlcumwfgypbvk"
    words = list(dict.fromkeys("".join(rng.choices(letters, k=rng.randint(1, 10))) for _ in range(400_000)))
    places = [int(len(words) ** rng.random()) - 1 for _ in range(12 * num_texts)]
    texts = [" ".join(words[place] for place in places[12 * row : 12 * row + 12]) for row in range(num_texts)]
    return texts, complete(dict.fromkeys(words), texts)


if __name__ == "__main__":
    sys.exit(main())
