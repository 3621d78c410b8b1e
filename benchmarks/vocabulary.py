"""CPU time, memory and cleanliness of build-vocab beside the tools that others count Wikipedia's words with.

    python benchmarks/vocabulary.py --excerpt enwiki-articles-excerpt.xml.bz2 --peer-python PEERS/bin/python

A real excerpt of a dump is repeated into a multistream dump of 500 MB of XML. *ours* is the whole of
`wit400m build-vocab` on it, from start-up to the query list, without WordNet and page views. The peers stop at counts:
gensim's WikiCorpus (texts) or gensim's reader with mwparserfromhell (`strip_code`) and gensim's tokeniser, then a
Counter of words and NLTK's BigramCollocationFinder. They run on fewer copies. So that start-up does not pass for work,
each also runs on a part of its input, and *more* is what every further 100 MB costs: the difference of the two by that
of their sizes. Every run is a process of its own, rounds are interleaved, the CPU seconds of the process and its
children are taken, the median counts. Wall time is only meaningful on a machine that is idle, so the load before each
run is shown with it.

Then every tool cleans the excerpt once. *Junk* words are those that only markup has: image options and file suffixes,
attributes of tables and tags, parts of addresses and of citation templates; *marks* are remaining brackets, braces,
bars, quotes of two and more, and tags. *Overlap*: how many word occurrences a tool's text has in common with
mwparserfromhell's, of those mwparserfromhell has.

The peers' environment: ``pip install gensim nltk mwparserfromhell wikiextractor``; without ``--peer-python`` only our
own figures are shown.
"""

import argparse
import bz2
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ENWIKI_XML_MB = 90_000
STREAM_BYTES = 400_000  # about 100 pages of enwiki; the excerpt's are longer than most
PEER_COPIES = 10
OURS = ("ours", "ours, 2 workers", "ours, a fifth")
PEERS = ("gensim", "mwparserfromhell")
PARTS = {"ours": "ours, a fifth", "gensim": "gensim, a tenth", "mwparserfromhell": "mwparserfromhell, 10th"}
CLEANERS = ("ours", "mwparserfromhell", "gensim", "wikiextractor")

JUNK = re.compile(
    r"\d+px|px|thumb|thumbnail|frameless|upright|jpe?g|png|svg|gif|ogg|colspan|rowspan|bgcolor|valign|cellpadding"
    r"|cellspacing|wikitable|nbsp|ndash|mdash|https?|www|nowiki|ref|refs|br|href|accessdate|archiveurl|archivedate"
)
MARKS = re.compile(r"\[\[?|\]\]?|\{\{?|\}\}?|\||''+|</?[a-zA-Z]")


class Run(NamedTuple):
    """One process and what it took."""

    cpu_s: float
    wall_s: float
    peak_mb: float  # of the largest of its processes
    xml_mb: float
    load: float  # of the machine, before


def main() -> None:
    """Repeats the excerpt, runs every tool in turn, prints the tables."""
    arguments = parse_arguments()
    if arguments.task:
        TASKS[arguments.task](arguments.excerpt)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        sizes = {
            arguments.copies: Path(folder) / "large.xml.bz2",
            arguments.copies // 5: Path(folder) / "fifth.xml.bz2",
            PEER_COPIES: Path(folder) / "small.xml.bz2",
            PEER_COPIES // 10: Path(folder) / "tenth.xml.bz2",
        }
        xml_mb = {path: write_dump(arguments.excerpt, path, copies=copies) for copies, path in sizes.items()}
        large, fifth, small, tenth = sizes.values()
        peers = PEERS if arguments.peer_python else ()
        runs: dict[str, list[Run]] = {name: [] for name in OURS}
        runs |= {name: [] for peer in peers for name in (peer, PARTS[peer])}
        for _ in range(arguments.rounds):
            for name, (path, workers) in zip(OURS, ((large, 1), (large, 2), (fifth, 1)), strict=True):
                runs[name].append(run_ours(path, xml_mb[path], workers=workers))
            for name in peers:
                runs[name].append(run_task(arguments.peer_python, name, small, xml_mb[small]))
                runs[PARTS[name]].append(run_task(arguments.peer_python, name, tenth, xml_mb[tenth]))
    show_speed(runs)
    show_quality(arguments.excerpt, arguments.peer_python)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--excerpt", required=True, help="a bz2 dump of some articles")
    parser.add_argument("--copies", type=int, default=85, help="times it is repeated [85: 500 MB of the excerpt]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--peer-python", help="Python of an environment with the peers; without it they are left out")
    parser.add_argument("--folder", help="where to work [the system's temporary folder]")
    parser.add_argument("--task", choices=list(TASKS), help=argparse.SUPPRESS)
    return parser.parse_args()


def write_dump(excerpt: str, path: Path, *, copies: int) -> float:
    """Writes the pages of an excerpt, many times over, as a multistream dump; returns its size in MB of XML."""
    xml = bz2.decompress(Path(excerpt).read_bytes())
    pages = re.findall(rb"<page>.*?</page>\s*", xml, re.DOTALL)
    bodies = [b""]
    for page in pages:
        if bodies[-1] and len(bodies[-1]) + len(page) > STREAM_BYTES:
            bodies.append(b"")
        bodies[-1] += page
    streams = b"".join(map(bz2.compress, bodies))
    head = xml[: xml.index(b"<page>")]
    with path.open("wb") as file:
        file.write(bz2.compress(head))
        for _ in range(copies):
            file.write(streams)
        file.write(bz2.compress(b"</mediawiki>\n"))
    return copies * sum(map(len, bodies)) / 1e6


def run_ours(path: Path, xml_mb: float, *, workers: int) -> Run:
    with tempfile.TemporaryDirectory(dir=path.parent) as output:
        flags = ["--dump", str(path), "--output", f"{output}/vocab", "--wordnet", "none", "--quiet"]
        return measure([sys.executable, "-m", "jobs", "build-vocab", *flags, "--workers", str(workers)], xml_mb)


def run_task(python: str, task: str, path: Path, xml_mb: float) -> Run:
    return measure([python, __file__, "--task", task, "--excerpt", str(path)], xml_mb)


def measure(command: list[str], xml_mb: float) -> Run:
    load, started = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024, xml_mb, load)


def show_speed(runs: dict[str, list[Run]]) -> None:
    more = {name: more_per_mb(runs[name], runs[part]) for name, part in PARTS.items() if name in runs}
    titles = ("XML MB", "CPU s", "s/100 MB", "x ours", "more", "x ours", "wall s", "load", "peak MB")
    print(f"{'':22}" + "".join(f"{title:>10}" for title in titles))
    for name, found in runs.items():
        cpu_s, wall_s, peak_mb, xml_mb, load = (statistics.median(column) for column in zip(*found, strict=True))
        cost = statistics.median(run.cpu_s / run.xml_mb for run in found)
        ratio = statistics.median(
            run.cpu_s / run.xml_mb / (own.cpu_s / own.xml_mb) for own, run in zip(runs["ours"], found, strict=True)
        )
        print(f"{name:22}{xml_mb:10.0f}{cpu_s:10.1f}{100 * cost:10.2f}{ratio:10.1f}", end="")
        if name in more:
            ratios = [each / own for own, each in zip(more["ours"], more[name], strict=True)]
            print(f"{100 * statistics.median(more[name]):10.2f}{statistics.median(ratios):10.1f}", end="")
        else:
            print(" " * 20, end="")
        print(f"{wall_s:10.1f}{load:10.1f}{peak_mb:10.0f}")
    speedups = [one.wall_s / two.wall_s for one, two in zip(runs["ours"], runs["ours, 2 workers"], strict=True)]
    print(f"\n2 workers are {statistics.median(speedups):.2f} times as fast as one (wall time; {os.cpu_count()} cores)")
    hours = statistics.median(more["ours"]) * ENWIKI_XML_MB / 3600
    print(f"enwiki, {ENWIKI_XML_MB / 1000:.0f} GB of XML: {hours:.2f} core-hours, without adding up (see docs)")


def more_per_mb(whole: list[Run], part: list[Run]) -> list[float]:
    """CPU seconds of every further MB, round by round."""
    return [(w.cpu_s - p.cpu_s) / (w.xml_mb - p.xml_mb) for w, p in zip(whole, part, strict=True)]


def show_quality(excerpt: str, peer_python: str | None) -> None:
    cleaners = CLEANERS if peer_python else CLEANERS[:1]
    texts = {}
    for cleaner in cleaners:
        python = sys.executable if cleaner == "ours" else str(peer_python)
        command = [python, __file__, "--task", f"clean-{cleaner}", "--excerpt", excerpt]
        texts[cleaner] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    words = {cleaner: Counter(re.findall(r"\w+", text["text"].casefold())) for cleaner, text in texts.items()}
    print(f"\n{'':20}{'MB/s':>8}{'words':>10}{'junk / 10k':>12}{'marks / 10k':>13}{'overlap':>9}")
    for cleaner, counts in words.items():
        total = counts.total()
        junk = sum(count for word, count in counts.items() if JUNK.fullmatch(word))
        marks = len(MARKS.findall(texts[cleaner]["text"]))
        reference = words.get("mwparserfromhell", counts)
        overlap = (counts & reference).total() / reference.total()
        speed = texts[cleaner]["mb"] / texts[cleaner]["seconds"]
        print(f"{cleaner:20}{speed:8.1f}{total:10}{1e4 * junk / total:12.1f}{1e4 * marks / total:13.1f}{overlap:9.1%}")


# What runs in a process of its own.


def count_gensim(path: str) -> None:
    from gensim.corpora.wikicorpus import WikiCorpus

    count_by_nltk(WikiCorpus(path, processes=1, dictionary={}).get_texts())


def count_mwparserfromhell(path: str) -> None:
    import mwparserfromhell
    from gensim.corpora.wikicorpus import tokenize

    texts = (mwparserfromhell.parse(wikitext).strip_code() for wikitext in read_articles(path))
    count_by_nltk(tokenize(text, 2, 15, True) for text in texts)


def count_by_nltk(texts: Iterator[list[str]]) -> None:
    from nltk.collocations import BigramCollocationFinder

    documents = list(texts)
    counts = Counter(word for document in documents for word in document)
    finder = BigramCollocationFinder.from_documents(documents)
    print(len(counts), finder.N)


def read_articles(path: str) -> Iterator[str]:
    from gensim.corpora.wikicorpus import extract_pages

    with bz2.open(path) as file:
        for _, wikitext, _ in extract_pages(file, ("0",)):
            if wikitext and not wikitext.lower().startswith("#redirect"):
                yield wikitext


def clean(clean_one: Callable[[str], str], articles: list[str]) -> None:
    started = time.process_time()
    text = "\n".join(map(clean_one, articles))
    seconds = time.process_time() - started
    json.dump({"text": text, "seconds": seconds, "mb": sum(map(len, articles)) / 1e6}, sys.stdout)


def clean_by_us(path: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from vocab.dump import Article, plan_units, read_dump
    from vocab.wikitext.prose import clean_wikitext

    def open_file(name: str) -> object:
        return open(name, "rb")

    units = plan_units(path, open_file, unit_bytes=1 << 40)
    items = [item for unit in units for item in read_dump(unit, open_file)]
    clean(clean_wikitext, [item.wikitext for item in items if isinstance(item, Article)])


def clean_by_mwparserfromhell(path: str) -> None:
    import mwparserfromhell

    clean(lambda wikitext: str(mwparserfromhell.parse(wikitext).strip_code()), list(read_articles(path)))


def clean_by_gensim(path: str) -> None:
    from gensim.corpora.wikicorpus import filter_wiki

    clean(filter_wiki, list(read_articles(path)))


def clean_by_wikiextractor(path: str) -> None:
    from wikiextractor.extract import Extractor

    def clean_one(wikitext: str) -> str:
        return "\n".join(Extractor("0", "0", "", "", [wikitext]).clean_text(wikitext, expand_templates=False))

    clean(clean_one, list(read_articles(path)))


TASKS: dict[str, Callable[[str], None]] = {
    "gensim": count_gensim,
    "mwparserfromhell": count_mwparserfromhell,
    "clean-ours": clean_by_us,
    "clean-mwparserfromhell": clean_by_mwparserfromhell,
    "clean-gensim": clean_by_gensim,
    "clean-wikiextractor": clean_by_wikiextractor,
}

if __name__ == "__main__":
    main()
