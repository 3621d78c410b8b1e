"""Speed of extract-pairs on one core beside the readers that others use, on the same real pages.

    python benchmarks/extraction.py --pages FOLDER [--warc FILE ...] --peer-python PEERS/bin/python

Saved pages (`*.html` or `*.html.gz` below a folder) are written as one WARC and, image by image and link by link, as
one WAT. Every reader runs in a process of its own; rounds are interleaved; CPU seconds are taken, the best round
counts. The peers' environment: ``pip install warcio 'selectolax<1' beautifulsoup4 lxml pysimdjson fastwarc``
(selectolax 1.0 has no Modest any more); without ``--peer-python`` only our own figures are shown.

*ours* is all that extract-pairs does with an archive before it writes a table: filters, ids, keys for deduplication;
*ours, candidates* ends where the peers end, with URLs and texts. The peers are the readers of MetaCLIP (warcio,
selectolax with Modest: alt, title and data-image-title of every img with src), of cc2dataset (fastwarc, simdjson: alt
of every IMG@/src link) and the obvious one (warcio, BeautifulSoup: alt of every img with src), written anew from
their descriptions. What they give is then, outside the measured time, put into canonical form and through our filters
(no svg, no placeholder, some letters), and distinct (URL, text) pairs are counted; ours lack those of opted-out
pages.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HTTP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: nginx\r\n\r\n"


Pairs = list[tuple[str, str]]  # image URL and text


class Result(NamedTuple):
    """What a reader found, and the CPU seconds it took."""

    pages: int
    pairs: int
    seconds: float


def main() -> None:
    """Writes the archives, runs every reader in turn, prints a table."""
    arguments = parse_arguments()
    if arguments.reader:
        json.dump(measure(arguments.reader, arguments.warc), sys.stdout)
        return
    with tempfile.TemporaryDirectory() as folder:
        warc, wat = Path(folder) / "pages.warc.gz", Path(folder) / "pages.warc.wat.gz"
        pages = list(read_pages(Path(arguments.pages)))
        write_warc(warc, pages)
        write_wat(wat, pages, copies=arguments.wat_copies)
        warcs = [str(warc), *arguments.warc]
        compare("WARC", ["ours", "candidates", "metaclip", "metaclip-lexbor", "bs4", "bs4-lxml"], warcs, arguments)
        compare("WAT", ["ours", "candidates", "simdjson"], [str(wat)], arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pages", help="folder of saved pages; urls.tsv in it (name, address) gives their addresses")
    parser.add_argument("--warc", nargs="*", default=[], help="real WARCs to read besides")
    parser.add_argument("--peer-python", help="Python of an environment with the peers; without it they are left out")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds [5]")
    parser.add_argument("--wat-copies", type=int, default=10, help="times the pages are repeated in the WAT [10]")
    parser.add_argument("--reader", choices=list(READERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.pages and not arguments.reader:
        parser.error("--pages must name a folder of saved pages")
    return arguments


def compare(title: str, readers: list[str], paths: list[str], arguments: argparse.Namespace) -> None:
    """Runs readers in interleaved rounds and prints their best."""
    if not arguments.peer_python:
        print(f"{title}: the peers are left out (no --peer-python)")
        readers = readers[:2]
    best: dict[str, Result] = {}
    for number in range(arguments.rounds):
        for reader in readers:
            if reader.startswith("bs4") and number > 1:
                continue  # slow, and steady enough
            python = sys.executable if reader in OURS else arguments.peer_python
            command = [python, __file__, "--reader", reader, "--warc", *paths]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            pages, pairs, seconds = json.loads(found.splitlines()[-1])
            result = Result(pages, count_usable(pairs), seconds)
            best[reader] = min(result, best.get(reader, result), key=lambda r: r.seconds)
    print(f"\n{title:18}{'pages/s':>10}{'ours is':>10}{'cand. are':>10}{'pairs':>10}{'ours has':>10}")
    ours, candidates = best["ours"], best["candidates"]
    for reader, result in best.items():
        speeds = f"{result.seconds / ours.seconds:9.2f}x{result.seconds / candidates.seconds:9.2f}x"
        pages = result.pages / result.seconds
        print(f"{reader:18}{pages:10.0f}{speeds}{result.pairs:10}{ours.pairs / result.pairs - 1:+10.0%}")


def measure(reader: str, paths: list[str]) -> tuple[int, Pairs, float]:
    """Pages, pairs and CPU seconds of the best of three runs over some archives in this process."""
    times = []
    for _ in range(1 if reader.startswith("bs4") else 3):
        started = time.process_time()
        found = [READERS[reader](path) for path in paths]
        times.append(time.process_time() - started)
    return sum(pages for pages, _ in found), [pair for _, pairs in found for pair in pairs], min(times)


def count_usable(pairs: Pairs) -> int:
    """How many distinct pairs our filters would keep."""
    import pyarrow as pa

    from pipeline.extraction.filters import FilterOptions, clean_texts, refuse_pairs
    from pipeline.extraction.image_references import choose_reference
    from pipeline.web.urls import canonicalize_url

    texts = clean_texts(text for _, text in pairs)
    urls = [canonicalize_url(str(choose_reference({"src": url}, target_px=336))) for url, _ in pairs]
    rows = sorted({(url, text) for url, text in zip(urls, texts, strict=True) if url})
    table = pa.table({"image_url": [url for url, _ in rows], "text": [text for _, text in rows]})
    return int(refuse_pairs(table, FilterOptions()).kept.sum())


def read_ours(path: str) -> tuple[int, Pairs]:
    from pipeline.extraction.filters import FilterOptions
    from pipeline.extraction.pages import PageRules
    from pipeline.extraction.unit import Extraction, ExtractionRules
    from pipeline.extraction.url_lists import ListColumns

    extraction = Extraction(path, "name", ExtractionRules(PageRules(), ListColumns(), FilterOptions(), {}))
    tables = list(extraction.batches("archive"))
    pairs: Pairs = []
    for table in tables:
        pairs += zip(table["image_url"].to_pylist(), table["text"].to_pylist(), strict=True)
    drops = extraction.counts
    return drops["pages/in"] - drops.get("pages/drop/not_html", 0) - drops.get("pages/drop/not_ok", 0), pairs


def read_candidates(path: str) -> tuple[int, Pairs]:
    from pipeline.base.drops import DropReason
    from pipeline.extraction.candidates import Page
    from pipeline.extraction.pages import PageRules
    from pipeline.extraction.record_pages import read_pages

    pages, pairs = 0, []
    for page in read_pages(path, PageRules()):
        pages += isinstance(page, Page) or page == DropReason.OPTED_OUT
        if isinstance(page, Page):
            pairs += [(url, text) for url, text, _ in page.candidates if not isinstance(url, DropReason)]
    return pages, pairs


def read_metaclip(path: str, parser: str = "modest") -> tuple[int, Pairs]:
    from urllib.parse import urljoin

    from selectolax.lexbor import LexborHTMLParser
    from selectolax.parser import HTMLParser

    parse = HTMLParser if parser == "modest" else LexborHTMLParser
    pages, pairs = 0, []
    for url, html in _iterate_with_warcio(path):
        pages += 1
        try:
            for image in parse(html).css("img"):
                attributes = image.attributes
                if not (source := attributes.get("src")) or not (address := urljoin(url, source)).startswith("http"):
                    continue
                texts = [attributes.get(name) for name in ("alt", "title", "data-image-title")]
                pairs += [(address, text) for text in texts if text and text.strip()]
        except ValueError:  # selectolax 0.3 gives up on empty pages, and with Lexbor on those that are not UTF-8
            continue
    return pages, pairs


def read_bs4(path: str, parser: str = "html.parser") -> tuple[int, Pairs]:
    from urllib.parse import urljoin

    from bs4 import BeautifulSoup

    pages, pairs = 0, []
    for url, html in _iterate_with_warcio(path):
        pages += 1
        for image in BeautifulSoup(html, parser).find_all("img"):
            source, text = image.get("src"), image.get("alt")
            if source and text and text.strip() and (address := urljoin(url, source)).startswith("http"):
                pairs.append((address, text))
    return pages, pairs


def _iterate_with_warcio(path: str) -> Iterator[tuple[str, bytes]]:
    from warcio.archiveiterator import ArchiveIterator

    with open(path, "rb") as file:
        for record in ArchiveIterator(file):
            headers = record.http_headers
            if record.rec_type != "response" or not headers or headers.get_statuscode() != "200":
                continue
            if "html" in (headers.get_header("Content-Type") or ""):
                yield record.rec_headers.get_header("WARC-Target-URI"), record.content_stream().read()


def read_simdjson(path: str) -> tuple[int, Pairs]:
    from hashlib import md5
    from urllib.parse import urljoin

    import simdjson
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    pages, pairs = 0, []
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.metadata, parse_http=False):
            envelope = simdjson.load(record.reader)["Envelope"]
            response = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {})
            html = response.get("HTML-Metadata", {})
            pages += bool(html)
            url = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
            base = urljoin(url, html.get("Head", {}).get("Base", ""))
            for link in html.get("Links", []):
                if link.get("path") != "IMG@/src" or not link.get("alt"):
                    continue
                address = link["url"] if link["url"].startswith(("http://", "https://")) else urljoin(base, link["url"])
                if address.startswith("http"):
                    md5((link["alt"] + address).encode()).hexdigest()
                    pairs.append((address, link["alt"]))
    return pages, pairs


OURS = ("ours", "candidates")
READERS: dict[str, Callable[[str], tuple[int, Pairs]]] = {
    "ours": read_ours,
    "candidates": read_candidates,
    "metaclip": read_metaclip,
    "metaclip-lexbor": lambda path: read_metaclip(path, "lexbor"),
    "bs4": read_bs4,
    "bs4-lxml": lambda path: read_bs4(path, "lxml"),
    "simdjson": read_simdjson,
}


def read_pages(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Address and bytes of every saved page."""
    table = folder / "urls.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()] if table.exists() else []
    urls = {row[0]: row[1] for row in rows if len(row) > 1}
    for path in sorted(folder.rglob("*.html*")):
        html = path.read_bytes()
        name = path.name.removesuffix(".gz").removesuffix(".html")
        yield urls.get(name) or f"http://pages.example/{name}", gzip.decompress(html) if path.suffix == ".gz" else html


def write_warc(path: Path, pages: Iterable[tuple[str, bytes]]) -> None:
    """Writes answers as a crawler does, one gzip member each."""
    with path.open("wb") as file:
        for number, (url, html) in enumerate(pages):
            file.write(gzip.compress(_record("response", url, HTTP_HEAD + html, number, "application/http"), 6))


def write_wat(path: Path, pages: Iterable[tuple[str, bytes]], *, copies: int) -> None:
    """Writes what Common Crawl's extractor writes of each page: a record each of request, response and fetch."""
    records = b""
    for number, (url, html) in enumerate(pages):
        for metadata in ({"HTTP-Request-Metadata": {"Headers": {"Host": "x"}}}, _describe(html), {"WARC-Metadata": {}}):
            envelope = {
                "Format": "WARC",
                "WARC-Header-Length": "500",
                "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": url, "WARC-IP-Address": "1.2.3.4"},
                "Payload-Metadata": {"Actual-Content-Type": "application/http; msgtype=response", **metadata},
            }
            content = {"Container": {"Filename": "pages.warc.gz", "Compressed": True}, "Envelope": envelope}
            block = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
            records += gzip.compress(_record("metadata", url, block, number, "application/json"), 6)
    path.write_bytes(records * copies)


def _describe(html: bytes) -> dict[str, object]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html.decode("utf-8", "replace"))
    links: list[dict[str, str | None]] = []
    for node in tree.css("a[href], img[src], script[src]"):
        found = node.attributes
        if node.tag == "a":
            links.append({"path": "A@/href", "url": found["href"], "text": node.text(strip=True)[:200]})
        elif node.tag == "img":
            texts = {name: found[name] for name in ("alt", "title") if found.get(name)}
            links.append({"path": "IMG@/src", "url": found["src"], **texts})
        else:
            links.append({"path": "SCRIPT@/src", "url": found["src"]})
    metas = [{name: value or "" for name, value in node.attributes.items()} for node in tree.css("meta")]
    head = {"Title": tree.css_first("title").text() if tree.css_first("title") else "", "Metas": metas}
    headers = {"Content-Type": "text/html", "Server": "nginx"}
    message = {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"}
    return {
        "HTTP-Response-Metadata": {
            "Response-Message": message,
            "Headers": headers,
            "HTML-Metadata": {"Head": head, "Links": links},
        }
    }


def _record(kind: str, url: str, block: bytes, number: int, mime: str) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012}>\r\nContent-Type: {mime}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


if __name__ == "__main__":
    main()
