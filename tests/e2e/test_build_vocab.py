"""build-vocab as a whole: a small made dump, and a real one counted once more by slow independent code."""

import bz2
import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, pairwise
from xml.etree import ElementTree

import fsspec
import pyarrow as pa
import pytest
import regex
import zstandard
from nltk.metrics import BigramAssocMeasures

from jobs.__main__ import main
from pipeline.base.tables import read_table
from vocab.matcher import Matcher
from vocab.site import Site
from vocab.wikitext.prose import Edition, clean_wikitext

EDITION = Edition.of_site(Site(host="en.wikipedia.org"))
EXCERPT = "enwiki-articles-excerpt.xml.bz2"
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11"><siteinfo>
<base>https://en.wikipedia.org/wiki/Main_Page</base><namespaces><namespace key="-1">Special</namespace>
<namespace key="1">Talk</namespace></namespaces></siteinfo>
"""


def page(title, text, ns=0, redirect=""):
    extra = f'<redirect title="{redirect}" />' if redirect else ""
    return f"<page><title>{title}</title><ns>{ns}</ns>{extra}<revision><text>{text}</text></revision></page>\n"


def made_pages():
    rng = random.Random(5)
    nouns = ["fox", "dog", "bird", "stone", "river"]
    pages = []
    for number in range(40):
        lines = [
            f"The {rng.choice(nouns)} meets the [[{rng.choice(nouns)}]] in '''New York''' {{{{x|hidden}}}}."
            for _ in range(6)
        ]
        pages.append(page(f"Article {number}", "\n\n".join(lines)))
    pages += [
        page("Fox (animal)", "A fox."),
        page("Vulpes", "#REDIRECT [[Fox (animal)]]", redirect="Fox (animal)"),
        page("Main Page", "Welcome."),
        page("Talk:Fox", "chatter " * 500, ns=1),
    ]
    return pages


@pytest.fixture
def made(tmp_path):
    """Two parts of a multistream dump, and page views."""
    pages = made_pages()
    for part, chosen in enumerate((pages[:20], pages[20:])):
        bodies = ["".join(chosen[k : k + 5]) for k in range(0, len(chosen), 5)]
        data = b"".join(bz2.compress(text.encode()) for text in (HEAD, *bodies, "</mediawiki>"))
        (tmp_path / f"dump{part}.xml.bz2").write_bytes(data)
    (tmp_path / "views").write_text(
        "en Fox_(animal) 30 0\nen.m vulpes 45 0\nen Main_Page 9000 0\n"
        "en Talk:Fox 900 0\nen Not_here 900 0\nde Fox 900 0\n"
    )
    return tmp_path


def build(folder, *flags, workers=1):
    arguments = [*flags, "--output", str(folder), "--quiet", "--workers", str(workers)]
    wordnet = [] if "--wordnet" in flags else ["--wordnet", "none"]
    assert main(["build-vocab", *arguments, *wordnet]) == 0
    return {row["query"]: row for row in read_table(str(folder / "queries.parquet")).to_pylist()}


def flags_for(made, *parts, **options):
    chosen = {"min_word_count": 40, "min_bigram_count": 20, "min_pmi": 1, "unit_bytes": 1024} | options
    flags = [text for name, value in chosen.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    dumps = [str(made / f"dump{part}.xml.bz2") for part in parts or (0, 1)]
    return ["--dump", *dumps, "--pageviews", str(made / "views"), *flags]


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] not in "._"
    }


def test_every_source_gives_its_queries_and_nothing_else_does(made):
    rows = build(made / "vocab", *flags_for(made))
    assert {"the", "in", "meets", "new", "york", "new york", "meets the", "in new"} <= set(rows)
    assert not {"hidden", "x", "chatter", "main page", "not here", "vulpes", "welcome"} & set(rows)
    assert rows["new"]["count"] == rows["york"]["count"] == rows["new york"]["count"] == 240
    assert rows["new york"]["sources"] == ["bigram"]
    assert rows["fox"]["sources"] in (["word", "title"], ["title"])
    assert rows["fox"]["views"] == 75  # the redirect's views count for its target
    found = {list(rows)[i] for i in Matcher.load(str(made / "vocab" / "matcher")).match_text("A Fox in New-York")}
    assert found >= {"fox", "in", "in new", "new", "new york", "york"}


def test_the_bytes_do_not_depend_on_workers_units_or_order(made):
    build(made / "a", *flags_for(made))
    build(made / "b", *flags_for(made), workers=2)
    build(made / "c", *flags_for(made, 1, 0, unit_bytes=1 << 20))
    assert digests(made / "a") == digests(made / "b") == digests(made / "c")
    assert "queries.tsv" in digests(made / "a")


@pytest.mark.parametrize("done", ["words", "bigrams"])
def test_a_second_run_does_nothing_and_a_killed_one_continues(made, done):
    build(made / "whole", *flags_for(made))
    command = [sys.executable, "-m", "jobs", "build-vocab", *flags_for(made), "--wordnet", "none", "--workers", "2"]
    killed = made / "killed"
    process = subprocess.Popen([*command, "--output", str(killed)], start_new_session=True)
    while not list(killed.glob(f"_units/*.{done}.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "_stage.json").exists()
    build(killed, *flags_for(made))
    assert digests(killed) == digests(made / "whole")
    written = (killed / "queries.parquet").stat().st_mtime_ns
    build(killed, *flags_for(made))
    assert (killed / "queries.parquet").stat().st_mtime_ns == written


def repack(made, compress):
    """Both parts of the made dump as files of another kind."""
    for part in (0, 1):
        source = made / f"dump{part}.xml.bz2"
        source.write_bytes(compress(bz2.decompress(source.read_bytes())))


@pytest.mark.parametrize("compress", [bytes, bz2.compress, gzip.compress, zstandard.compress], ids=lambda f: f.__name__)
def test_the_queries_do_not_depend_on_how_a_dump_is_compressed(made, compress):
    expected = build(made / "a", *flags_for(made))
    repack(made, compress)
    assert build(made / "b", *flags_for(made)) == expected


def write_index(path, dump):
    starts = [found.start() for found in re.finditer(b"BZh9", dump)][1:-1]
    path.write_bytes(bz2.compress("".join(f"{start}:1:Some page: a\n" for start in starts).encode()))


def test_a_dump_with_its_index_gives_the_same_from_any_file_system(made):
    dump = (made / "dump1.xml.bz2").read_bytes()
    write_index(made / "index.bz2", dump)
    build(made / "a", *flags_for(made, 1))
    build(made / "b", *flags_for(made, 1), "--index", str(made / "index.bz2"))
    memory = fsspec.filesystem("memory")
    memory.pipe("/wiki/dump1.xml.bz2", dump)
    memory.pipe("/wiki/index.bz2", (made / "index.bz2").read_bytes())
    try:
        flags = flags_for(made, 1)
        flags[flags.index("--dump") + 1] = "memory://wiki/dump1.xml.bz2"
        build(made / "c", *flags, "--index", "memory://wiki/index.bz2")
    finally:
        memory.rm("/wiki", recursive=True)
    assert digests(made / "a") == digests(made / "b") == digests(made / "c")


class Ranges(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/dump1.xml.bz2":
            self.send_error(404)
            return
        body = self.server.content
        first, last = 0, len(body) - 1
        if wanted := self.headers.get("Range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            self.server.asked.append((first, last))
        part = body[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    do_HEAD = do_GET

    def log_message(self, *_):
        """Says nothing."""


def test_units_of_a_dump_on_a_server_are_read_by_range(made):
    build(made / "a", *flags_for(made, 1))
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as server:
        server.content, server.asked = (made / "dump1.xml.bz2").read_bytes(), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = flags_for(made, 1)
        flags[flags.index("--dump") + 1] = f"http://127.0.0.1:{server.server_port}/dump1.xml.bz2"
        build(made / "b", *flags)
        server.shutdown()
    assert any(first > 0 for first, _ in server.asked)
    assert (made / "a" / "queries.parquet").read_bytes() == (made / "b" / "queries.parquet").read_bytes()


def test_a_damaged_stream_is_counted_and_named(made):
    path = made / "dump0.xml.bz2"
    data = bytearray(path.read_bytes())
    second = data.index(b"BZh", 10)
    data[second + 60] ^= 0xFF
    path.write_bytes(data)
    build(made / "vocab", *flags_for(made))
    counts = json.loads((made / "vocab" / "_stage.json").read_text())["counts"]
    assert counts["streams/drop/damaged_stream"] == 1
    lines = (made / "vocab" / "damages.tsv").read_text().splitlines()
    assert lines == ["dump\toffset\treason", f"dump0.xml.bz2\t{second}\tdamaged_stream"]


@pytest.mark.parametrize(
    ("host", "flags", "clitics", "found"),
    [
        ("fr.wikipedia", [], "fr", {"l", "église", "sagrada"}),
        ("fr.wikipedia", ["--clitics", "none"], "none", {"l'église", "sagrada"}),
        ("uk.wikipedia", [], "none", {"l'église", "sagrada"}),
    ],
)
def test_clitics_are_those_of_the_wiki(made, host, flags, clitics, found):
    prose = page("Sagrada", "L'église Sagrada, l’Église. " * 3)
    (made / "wiki.xml").write_text(HEAD.replace("en.wikipedia", host) + prose + "</mediawiki>")
    least = ["--min-word-count", "3", "--min-bigram-count", "6", "--min-pmi", "0"]
    rows = build(made / "vocab", "--dump", str(made / "wiki.xml"), *least, *flags)
    matcher = Matcher.load(str(made / "vocab" / "matcher"))
    assert matcher.normalization.clitics == clitics
    assert {list(rows)[number] for number in matcher.match_text("L'ÉGLISE, Sagrada")} == found
    assert all(rows[query]["count"] == (3 if query == "sagrada" else 6) for query in found)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param([], "dump must be given", id="no-dump"),
        pytest.param(["--dump", "nowhere.xml.bz2"], "no file matches", id="missing"),
        pytest.param(["--dump", "{made}/views"], "not a MediaWiki XML dump", id="no-dump-format"),
        pytest.param(["--dump", "{made}/page.html"], "HTML page", id="html"),
        pytest.param(["--dump", "{made}/dump0.xml.bz2", "--wordnet", "{made}"], "wit400m get-wordnet", id="no-wordnet"),
        pytest.param(
            ["--dump", "{made}/dump0.xml.bz2", "--pageviews", "{made}/page.html"], "page-view format", id="views"
        ),
        pytest.param(
            ["--dump", "{made}/dump0.xml.bz2", "{made}/dump1.xml.bz2", "--index", "i"], "one dump", id="index"
        ),
    ],
)
def test_a_mistake_gives_one_clear_line_and_leaves_no_folder(made, capsys, flags, message):
    (made / "page.html").write_text("<!DOCTYPE html><html>404 Not Found</html>")
    given = [flag.format(made=made) for flag in flags]
    wordnet = [] if "--wordnet" in given else ["--wordnet", "none"]
    assert main(["build-vocab", *given, *wordnet, "--output", str(made / "vocab")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (made / "vocab").exists()


def read_articles_slowly(path):
    """The articles of a dump by one pass of ElementTree over the whole file; returns their texts and all titles."""
    articles, others = [], []
    with bz2.open(path) as file:
        for _, element in ElementTree.iterparse(file):
            if element.tag.rpartition("}")[2] != "page":
                continue
            fields = {child.tag.rpartition("}")[2]: child for child in element.iter()}
            if fields["ns"].text == "0" and "redirect" not in fields:
                articles.append(fields["text"].text)
            else:
                others.append(fields["title"].text)
            element.clear()
    return articles, others


UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Bopomofo}\p{Thai}]"  # scripts of the excerpt without spaces
ALONE = rf"{UNSPACED}\p{{M}}*"
PART = rf"(?:(?!{UNSPACED})[\p{{L}}\p{{N}}]\p{{M}}*)+"
LEFT_OUT = (
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]|(?<=\\p{Cyrillic})[\u0300\u0301]"
)
SIGNS = {"+": " plus ", "#": " sharp ", "♯": " sharp ", "♭": " flat "}


def tokenize_slowly(line, *, fold=True):
    unified = unicodedata.normalize("NFKC", line.replace("\u00ad", ""))
    spelled = regex.sub(r"(?<=\p{L})\++(?![\p{L}\p{N}+])", lambda found: SIGNS["+"] * len(found[0]), unified)
    spelled = regex.sub(r"(?<=(?<![\p{L}\p{N}])\p{L})[#♯♭](?![\p{L}\p{N}])", lambda found: SIGNS[found[0]], spelled)
    folded = unicodedata.normalize("NFKC", spelled.casefold()) if fold else spelled
    folded = unicodedata.normalize("NFKC", regex.sub(LEFT_OUT, "", folded))
    return regex.findall(f"{ALONE}|{PART}(?:'{PART})*", regex.sub("[’\u02bc\u05f3]", "'", folded))


def cut_clitics(tokens):
    """The phrases of some tokens: an English clitic is one of its own."""
    phrases = [[]]
    for token in tokens:
        word, *clitics = regex.split(r"'(?=(?:d|ll|m|re|s|ve)(?:'|$))", token, flags=regex.IGNORECASE)
        phrases[-1].append(word)
        for clitic in clitics:
            phrases += [[clitic], []]
    return phrases


@pytest.fixture(scope="module")
def excerpt_phrases(real_data, plain_phrases):
    """The phrases of the real excerpt, each a list of tokens."""
    articles, others = read_articles_slowly(real_data / "wikipedia" / EXCERPT)
    assert (len(articles), len(others)) == (106, 100)
    phrases = (tokenize_slowly(phrase) for text in articles for phrase in plain_phrases(clean_wikitext(text, EDITION)))
    return [phrase for tokens in phrases for phrase in cut_clitics(tokens)]


@pytest.fixture(scope="module")
def excerpt_vocab(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("excerpt")
    dump = str(real_data / "wikipedia" / EXCERPT)
    return build(folder, "--dump", dump, "--min-bigram-count", "20", "--min-pmi", "2")


def test_the_words_of_the_real_excerpt_are_those_of_an_independent_count(excerpt_phrases, excerpt_vocab):
    counts = Counter(token for phrase in excerpt_phrases for token in phrase)
    expected = {word: n for word, n in counts.items() if n >= 100 and regex.search(r"\p{L}", word)}
    found = {query: row["count"] for query, row in excerpt_vocab.items() if "word" in row["sources"]}
    assert found == expected
    assert len(found) == 539


def test_words_of_the_real_excerpt_are_displayed_as_they_are_written_most_often(real_data, excerpt_vocab):
    articles, _ = read_articles_slowly(real_data / "wikipedia" / EXCERPT)
    forms = Counter()
    for line in "\n".join(clean_wikitext(text, EDITION) for text in articles).split("\n"):
        words, written = (cut_clitics(tokenize_slowly(line, fold=fold)) for fold in (True, False))
        forms.update(zip(chain(*words), chain(*written), strict=True))
    best = {}
    for (word, form), number in sorted(forms.items()):
        if number > forms[word, best.get(word, "")]:
            best[word] = form
    shown = {query: row["display"] for query, row in excerpt_vocab.items() if "word" in row["sources"]}
    assert shown == {word: best[word] for word in shown}
    assert (shown["alabama"], shown["the"]) == ("Alabama", "the")


def test_bigrams_of_the_real_excerpt_have_the_counts_and_the_pmi_of_nltk(excerpt_phrases, excerpt_vocab):
    words = Counter(token for phrase in excerpt_phrases for token in phrase)
    pairs = Counter(
        pair for phrase in excerpt_phrases for pair in pairwise(phrase) if not all(map(str.isnumeric, pair))
    )
    num_tokens = words.total()
    kept = {word for word, n in words.items() if n >= 100}
    bigrams = {query: row for query, row in excerpt_vocab.items() if "bigram" in row["sources"]}
    expected = {pair: n for pair, n in pairs.items() if n >= 20 and set(pair) <= kept}
    pmi = {
        pair: BigramAssocMeasures.pmi(n, (words[pair[0]], words[pair[1]]), num_tokens) for pair, n in expected.items()
    }
    assert set(bigrams) == {" ".join(pair) for pair in expected if pmi[pair] >= 2}
    for pair in random.Random(0).sample(sorted(tuple(query.split()) for query in bigrams), 100):
        assert bigrams[" ".join(pair)]["count"] == expected[pair]
        assert bigrams[" ".join(pair)]["pmi"] == pytest.approx(pmi[pair], abs=1e-6)


def test_a_bare_chinese_page_gives_characters_and_their_pairs(real_data, tmp_path):
    dump = str(real_data / "wikipedia" / "zhwiki-id13.xml")
    rows = build(
        tmp_path / "zh", "--dump", dump, "--min-word-count", "50", "--min-bigram-count", "20", "--min-pmi", "2"
    )
    assert rows["數 學"]["sources"] == ["bigram"]
    assert "數" in rows


def test_the_made_dump_and_real_views_go_together(real_data, made):
    views = str(real_data / "pageviews" / "wikitrends_2012-03-19")
    rows = build(made / "vocab", "--dump", str(made / "dump0.xml.bz2"), "--pageviews", views, "--no-articles-only")
    assert rows["the hunger games"]["sources"] == ["title"]
    assert rows["the hunger games"]["views"] > 100_000
    assert not {"special search", "special random", "special randompage"} & set(rows)
    assert pa.array(list(rows)).equals(pa.array(sorted(rows)))
