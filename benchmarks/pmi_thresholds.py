"""What a threshold of pointwise mutual information keeps: bigrams of a dump, and of parts of it, as Markdown tables.

    python benchmarks/pmi_thresholds.py enwiki-articles-excerpt.xml.bz2

Builds the vocabulary of the dump's first 1/8, 1/4 and 1/2 and of all of it with every bigram of every word in it, and
counts what each threshold would have kept.
"""

import argparse
import bz2
import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from jobs.__main__ import main as run
from pipeline.base.folders import VocabFolder
from pipeline.base.lineage import read_stage
from pipeline.base.tables import read_table

PARTS = (8, 4, 2, 1)
THRESHOLDS = (3, 5, 8, 10, 12, 14, 16, 18, 30)
PARTS_THRESHOLDS = (10, 12, 14, 16, 18)
METACLIP_BITS = 30
MIN_WORD_COUNT, MIN_BIGRAM_COUNT = 100, 10  # of kept words; 10 because an excerpt has few bigrams seen 100 times
NUM_EXAMPLES = 3
NO_LIMIT = str(10**9)
EVERYTHING = {
    "min-word-count": "1", "min-bigram-count": "1", "min-pmi": "-100", "max-bigrams": NO_LIMIT,
    "max-queries": NO_LIMIT, "wordnet": "none",
}  # fmt: skip


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", help="A MediaWiki XML dump, bz2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        parts = [(part, *count_bigrams(dump, work)) for part, dump in cut_dump(arguments.dump, work)]
        print("\n".join(describe_parts(parts)), "\n")
        _, bigrams, num_tokens = parts[-1]
        print("\n".join(describe_thresholds(bigrams, num_tokens)))


def cut_dump(path: str, work: str) -> Iterator[tuple[int, str]]:
    """Writes dumps of the first articles, one for each of `PARTS`."""
    with bz2.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    head, *pages = re.split(r"(?=<page>)", text.replace("</mediawiki>", ""))
    articles = [page for page in pages if "<redirect" not in page]
    for part in PARTS:
        name = os.path.join(work, f"part-{part}.xml")
        with open(name, "w", encoding="utf-8") as file:
            file.write("".join([head, *articles[: len(articles) // part], "</mediawiki>"]))
        yield part, name


def count_bigrams(dump: str, work: str) -> tuple[pa.Table, int]:
    """All bigrams of a dump with their figures, and the number of words in it."""
    output = os.path.join(work, os.path.basename(dump) + "-vocab")
    flags = [text for name, value in EVERYTHING.items() for text in (f"--{name}", value)]
    with contextlib.redirect_stdout(None):
        if run(["build-vocab", "--dump", dump, *flags, "--output", output, "--quiet"]):
            raise SystemExit("build-vocab failed")
    rows = read_table(VocabFolder(output).queries)
    tokens = read_stage(output)["counts"]["tokens"]
    return rows.filter(pc.is_valid(rows["pmi"])), tokens


def describe_parts(parts: Sequence[tuple[int, pa.Table, int]]) -> Iterator[str]:
    """How the number of bigrams that pass depends on the size of the text."""
    yield "| part | words N | log2 N | " + " | ".join(f">= {bits} bits" for bits in PARTS_THRESHOLDS) + " |"
    yield "|---|--:|--:|" + "--:|" * len(PARTS_THRESHOLDS)
    for part, bigrams, num_tokens in parts:
        kept = [f"{passing(bigrams, bits).num_rows:,}" for bits in PARTS_THRESHOLDS]
        yield f"| 1/{part} | {num_tokens:,} | {math.log2(num_tokens):.1f} | " + " | ".join(kept) + " |"


def describe_thresholds(bigrams: pa.Table, num_tokens: int) -> Iterator[str]:
    """What each threshold keeps of all bigrams, and of those that are seen often enough."""
    frequent = of_frequent_words(bigrams)
    yield (
        f"| PMI >= | any bigram | seen once | last ones in | words >= {MIN_WORD_COUNT}, bigram >= "
        f"{MIN_BIGRAM_COUNT} | last ones in | pair of c = |"
    )
    yield "|--:|--:|--:|---|--:|---|--:|"
    for bits in THRESHOLDS:
        every, often = passing(bigrams, bits), passing(frequent, bits)
        once = every.filter(pc.equal(every["count"], 1)).num_rows
        share = f"{once / every.num_rows:.0%}" if every.num_rows else "-"
        yield (
            f"| {bits} | {every.num_rows:,} | {share} | {examples(every)} | {often.num_rows:,} | {examples(often)} "
            f"| {num_tokens / 2**bits:,.1f} |"
        )


def passing(bigrams: pa.Table, bits: float) -> pa.Table:
    """The bigrams at or above a threshold."""
    return bigrams.filter(pc.greater_equal(bigrams["pmi"], bits))


def of_frequent_words(bigrams: pa.Table) -> pa.Table:
    """The bigrams that are frequent and whose words are."""
    rarest = pc.min_element_wise(bigrams["first_count"], bigrams["second_count"])
    enough = pc.and_(pc.greater_equal(rarest, MIN_WORD_COUNT), pc.greater_equal(bigrams["count"], MIN_BIGRAM_COUNT))
    return bigrams.filter(enough)


def examples(bigrams: pa.Table) -> str:
    """The bigrams that just passed; of equal ones the most frequent."""
    order = [("pmi", "ascending"), ("count", "descending"), ("query", "ascending")]
    return ", ".join(bigrams.sort_by(order).slice(0, NUM_EXAMPLES)["display"].to_pylist()) or "-"


if __name__ == "__main__":
    main()
