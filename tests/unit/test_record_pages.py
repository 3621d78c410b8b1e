"""Pages of archives: the codings that their bodies are in, those that their header lines claim, and large WATs."""

import gzip
import json
import zlib

import brotli
import pytest
import zstandard

from pipeline.base.drops import DropReason
from pipeline.extraction import record_pages
from pipeline.extraction.pages import PageRules
from pipeline.extraction.record_pages import is_wat_record, read_answer, read_pages
from pipeline.extraction.wat import parse_wat
from pipeline.web.archives import streaming
from pipeline.web.archives.records import ArchiveRecord, iterate_records
from vocab.kernels.compiled import find_obstacle

HTML = b"<html><body>" + b"<p>text</p>" * 500 + b"<img src=a.jpg alt='A cat'></body></html>"
GZIP, BROTLI, ZSTD = gzip.compress(HTML), brotli.compress(HTML), zstandard.ZstdCompressor().compress(HTML)


def read(body, *encodings):
    headers = tuple(("content-encoding", encoding) for encoding in encodings)
    record = ArchiveRecord("response", "http://a.example/", "text/html", 200, headers, body, "", "", 0)
    page = read_answer(record, PageRules())
    return page if isinstance(page, DropReason) else [candidate.text for candidate in page.candidates]


CASES = {
    "zstd": (ZSTD, "zstd"),
    "zstd without its size": (zstandard.ZstdCompressor(write_content_size=False).compress(HTML), "ZSTD"),
    "zstd, best": (zstandard.ZstdCompressor(level=22).compress(HTML), "zstd"),
    "br": (BROTLI, "br"),
    "deflate": (zlib.compress(HTML), "deflate"),
    "gzip, then br": (brotli.compress(GZIP), "gzip, br"),
    "br, then zstd": (zstandard.ZstdCompressor().compress(BROTLI), "br", "zstd"),
    "decoded already": (HTML, "br"),
    "decoded already, was zstd": (HTML, "zstd"),
    "other than it says": (ZSTD, "gzip"),
    "other, the other way round": (GZIP, "zstd"),
    "gzip, but says br": (GZIP, "br"),
    "says nothing": (ZSTD,),
    "says nothing of gzip": (GZIP,),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pages_are_read_whatever_they_are_coded_in(case):
    assert read(*case) == ["A cat"]


BAD = {
    "cut zstd": (ZSTD[:-3], "zstd"),
    "cut br": (BROTLI[:-3], "br"),
    "not known": (BROTLI, "sdch"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_pages_that_cannot_be_decoded_are_counted(case):
    assert read(*case) is DropReason.BAD_ENCODING


def wat_record(number: int) -> bytes:
    link = {"path": "IMG@/src", "url": f"/{number}.jpg", "alt": f"picture {number} " + "x" * (97 * number % 700)}
    links = [{"path": "A@/href", "url": "/"}, link, {"path": "A@/href", "url": "/"}]
    response = {"Response-Message": {"Status": "200"}, "HTML-Metadata": {"Head": {}, "Links": links * (number % 9)}}
    header = {"WARC-Target-URI": f"http://a.example/{number}/"}
    envelope = {"WARC-Header-Metadata": header, "Payload-Metadata": {"HTTP-Response-Metadata": response}}
    body = json.dumps({"Envelope": envelope}, separators=(",", ":"))
    return warc_record("metadata", "application/json", body)


def warc_record(kind: str, mime: str, body: str) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {mime}\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"{head}{body}\r\n\r\n".encode()


INFO = warc_record("warcinfo", "application/warc-fields", "a: b\r\n")
RECORDS = [INFO, *map(wat_record, range(60))]
BAD_HEADER = RECORDS[20].replace(b": m", b":m")


def by_record(records: list[bytes]) -> bytes:
    return b"".join(map(gzip.compress, records))


WATS = {
    "by record": by_record(RECORDS),
    "in one stream": gzip.compress(b"".join(RECORDS)),
    "plain": b"".join(RECORDS),
    "with other records": by_record([*RECORDS[:20], INFO, *RECORDS[20:30], INFO, INFO, RECORDS[30]]),
    "with a bad header": by_record([*RECORDS[:20], BAD_HEADER, *RECORDS[20:]]),
    "cut": by_record(RECORDS)[:-100],
    "damaged": by_record(RECORDS[:30])[:-8] + by_record(RECORDS[30:]),
}


@pytest.mark.parametrize("content", WATS.values(), ids=WATS)
def test_large_wats_are_read_as_small_ones_are(tmp_path, monkeypatch, content):
    path = tmp_path / "a.wat.gz"
    path.write_bytes(content)
    faults, found_faults = [], []
    records = iterate_records(str(path), faults.append)
    expected = [parse_wat(record.body) if is_wat_record(record) else None for record in records]
    assert len(expected) > 30
    monkeypatch.setattr(record_pages, "SCANNED_BYTES", 0)
    for block_bytes in (1000, 5000, 1 << 20):
        monkeypatch.setattr(streaming, "_BLOCK_BYTES", block_bytes)
        assert list(read_pages(str(path), PageRules(), found_faults.append)) == expected
    assert found_faults == 3 * faults


def test_a_large_wat_is_read_by_compiled_code(tmp_path, monkeypatch):
    path = tmp_path / "a.wat.gz"
    path.write_bytes(WATS["by record"])
    expected = list(read_pages(str(path), PageRules()))
    if find_obstacle():
        pytest.skip("nothing is compiled here")
    read = []
    monkeypatch.setattr(record_pages, "parse_wat", lambda body, rules: read.append(body) or parse_wat(body, rules))
    monkeypatch.setattr(record_pages, "SCANNED_BYTES", 0)
    assert list(read_pages(str(path), PageRules())) == expected
    assert len(read) == 1  # the first, that tells what the file is
