"""Pages of archives: the codings that their bodies are in, and those that their header lines claim."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from pipeline.base.drops import DropReason
from pipeline.extraction.pages import PageRules
from pipeline.extraction.record_pages import read_pages
from pipeline.web.archives.records import ArchiveRecord

HTML = b"<html><body>" + b"<p>text</p>" * 500 + b"<img src=a.jpg alt='A cat'></body></html>"
GZIP, BROTLI, ZSTD = gzip.compress(HTML), brotli.compress(HTML), zstandard.ZstdCompressor().compress(HTML)


def read(body, *encodings):
    headers = tuple(("content-encoding", encoding) for encoding in encodings)
    record = ArchiveRecord("response", "http://a.example/", "text/html", 200, headers, body, "", "", 0)
    [page] = read_pages([record], PageRules())
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
