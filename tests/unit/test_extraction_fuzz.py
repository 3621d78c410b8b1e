"""Archives of any bytes: nothing crashes, nothing takes quadratic time, and what comes in is kept or dropped."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.base.drops import check_counts
from pipeline.extraction.filters import FilterOptions
from pipeline.extraction.pages import PageRules, parse_page
from pipeline.extraction.unit import Extraction, ExtractionRules
from pipeline.extraction.url_lists import WHOLE, ListColumns, TablePart
from pipeline.extraction.wat import parse_wat

JSON_MIME = "application/json"
FILTERS = FilterOptions(language=("en",), scrub_contacts=True, block_url=("ads",))


def extract(path, part=WHOLE, **rules):
    """Reads a file to its end; the counts must add up."""
    everything = ExtractionRules(PageRules(all_texts=True), ListColumns(), FILTERS, {}, **rules)
    extraction = Extraction(str(path), "name", everything, part)
    kind = "table" if path.suffix in (".tsv", ".jsonl") else "archive"
    num_kept = sum(table.num_rows for table in extraction.batches(kind))
    check_counts({**extraction.counts, "pairs/kept": num_kept})
    return extraction.counts


def record(kind: str, block: bytes, mime: str = "application/http") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.example/\r\nContent-Type: {mime}\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def wat(**html) -> bytes:
    message = {"Response-Message": {"Status": "200"}, "HTML-Metadata": html}
    header = {"WARC-Target-URI": "http://a.example/b/"}
    payload = {"HTTP-Response-Metadata": message}
    return json.dumps({"Envelope": {"Payload-Metadata": payload, "WARC-Header-Metadata": header}}).encode()


LINK = {"path": "IMG@/src", "url": "1.jpg", "alt": "a red cat"}
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<img src=1.jpg alt='a red cat'><img data-src=2.jpg alt=b>"
RECORDS = [
    record("response", PAGE),
    record("metadata", wat(Links=[LINK], Head={"Base": "/x/", "Metas": []}), JSON_MIME),
    record("request", b"GET / HTTP/1.1\r\n\r\n"),
]
PACKED = {
    "plain": b"".join(RECORDS),
    "gzip": b"".join(map(gzip.compress, RECORDS)),
    "one gzip": gzip.compress(b"".join(RECORDS)),
    "zstd": b"".join(map(zstandard.ZstdCompressor().compress, RECORDS)),
}
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=1, max_size=9)), max_size=6)


def edit(content: bytes, edits) -> bytes:
    """Content with some bytes put in, replaced, taken out or cut off."""
    for place, kind, data in edits:
        at = int(place * len(content))
        removed = (0, len(data), len(data), len(content))[kind]
        content = content[:at] + (data if kind < 2 else b"") + content[at + removed :]
    return content


@settings(max_examples=80)
@given(st.sampled_from(sorted(PACKED)), EDITS)
def test_a_damaged_archive_gives_what_can_be_read_and_counts_the_rest(tmp_path_factory, packing, edits):
    path = tmp_path_factory.mktemp("fuzz") / "a.warc"
    path.write_bytes(edit(PACKED[packing], edits))
    extract(path)


@settings(max_examples=60)
@given(st.binary(max_size=400) | st.lists(st.sampled_from([*RECORDS, b"WARC/1.0\r\n", b"\r\n\r\n"])).map(b"".join))
def test_any_bytes_can_be_read_as_an_archive(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "a.warc"
    path.write_bytes(content)
    extract(path, page_languages=("en",))


KEYS = ["Envelope", "Links", "Head", "Metas", "path", "url", "alt", "HTML-Metadata", "name", "content"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["IMG@/src", "1.jpg", "200"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=100)
@given(JSON, JSON, EDITS)
@example([LINK | {"alt": "\ud800", "url": "&#xD800;&#99999999;&#0;"}], {}, [])
@example([LINK | {"alt": "&#xD800;", "url": "http://[::1"}], {"Base": "http://["}, [])
def test_any_json_can_be_read_as_a_wat_record(links, head, edits):
    found = parse_wat(edit(wat(Links=links, Head=head), edits))
    for candidate in getattr(found, "candidates", []):
        candidate.text.encode()
        candidate.image_url.encode()


UNITS = st.sampled_from(["<b>", "<a>", "<table>", "<form>", "<x y>", "</b>", "</p>", "<svg>", "<li>", "<figure>", "é"])


@settings(max_examples=25)
@given(unit=st.lists(UNITS, min_size=1, max_size=4).map("".join))
def test_repeated_mark_up_takes_linear_time(growth, unit):
    assert growth(lambda html: parse_page(html, "http://a.example/"), lambda n: (unit * n).encode(), 4_000) < 24


HOSTILE = {  # an archive of so many pieces
    "starts": lambda n: b"WARC/1.0\r\n" * n,
    "lengths": lambda n: b"WARC/1.0\r\nContent-Length: 9999999\r\n\r\n" * (n // 5),
    "header": lambda n: b"WARC/1.0\r\nX: " + b"y" * (20 * n),
    "gzip starts": lambda n: b"\x1f\x8b\x08" * (4 * n),
    "empty records": lambda n: b"WARC/1.0\r\nContent-Length: 0\r\n\r\n\r\n\r\n" * (n // 5),
    "nesting": lambda n: record("metadata", b'{"HTTP-Response-Metadata":' + b"[" * (10 * n), JSON_MIME),
    "attributes": lambda n: record(
        "metadata", wat(Links=[LINK | {"alt": "&" * (5 * n) + ";", "url": "/" * (5 * n)}]), JSON_MIME
    ),
    "http header": lambda n: record("response", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (2 * n)),
    "chunks": lambda n: record(
        "response", b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (2 * n)
    ),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_takes_linear_time(growth, make, tmp_path):
    def store(n: int) -> Path:
        path = tmp_path / f"{n}.warc"
        path.write_bytes(make(n))
        return path

    assert growth(extract, store, 60_000) < 24


@settings(max_examples=60)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12),
    st.sampled_from([".tsv", ".jsonl"]),
    st.integers(1, 40),
)
def test_any_table_gives_every_line_once_however_it_is_cut(tmp_path_factory, lines, suffix, size):
    path = tmp_path_factory.mktemp("fuzz") / f"list{suffix}"
    good = {".tsv": "http://a.example/1\ta red cat", ".jsonl": '{"url": "http://a.example/1", "text": "a red cat"}'}
    lines = [" ".join(line.split()) for line in lines]
    path.write_text("\n".join([good[suffix], *lines, good[suffix]]), encoding="utf-8")
    length = path.stat().st_size
    cuts = list(range(size, length, size))
    whole = extract(path, TablePart(0, length))
    parts = [extract(path, TablePart(*part)) for part in zip([0, *cuts], [*cuts, -1], strict=True)]
    for name in whole | {name: 0 for part in parts for name in part}:
        assert sum(part.get(name, 0) for part in parts) == whole.get(name, 0), name
