import gzip
import io
import random
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.web.archives import streaming
from pipeline.web.archives.records import index_images, iterate_records, open_record
from pipeline.web.archives.streaming import UNKNOWN_OFFSET, stream_records

GZIPPED = gzip.compress(b"hello world")
ZSTD = zstandard.ZstdCompressor().compress


def http(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def record(
    url: str, block: bytes, *lines: str, version: str = "1.0", kind: str = "response", end: str = "\r\n"
) -> bytes:
    head = [
        f"WARC/{version}",
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {url}",
        "WARC-Date: 2024-01-01T00:00:00Z",
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>",
        "Content-Type: application/http; msgtype=response",
        *lines,
        f"Content-Length: {len(block)}",
        "",
        "",
    ]
    return end.join(head).encode() + block + b"\r\n\r\n"


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


RECORDS = [record(f"http://a.example/{i}", http(noise(3000 + i), "Content-Type: image/png")) for i in range(5)]
URLS = [f"http://a.example/{i}" for i in range(5)]


def wacz(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("datapackage.json", "{}")
        archive.writestr("archive/a.warc", b"".join(RECORDS[:2]))
        archive.writestr("archive/b.warc.gz", b"".join(map(gzip.compress, RECORDS[2:])))
        archive.writestr("indexes/index.cdx.gz", gzip.compress(b"nothing"))
    return buffer.getvalue()


ARCHIVES = {
    "plain": b"".join(RECORDS),
    "gzip by record": b"".join(map(gzip.compress, RECORDS)),
    "gzip in one stream": gzip.compress(b"".join(RECORDS)),
    "gzip with several records a member": gzip.compress(b"".join(RECORDS[:3])) + gzip.compress(b"".join(RECORDS[3:])),
    "zstd by record": b"".join(map(ZSTD, RECORDS)),
    "zstd in one stream": ZSTD(b"".join(RECORDS)),
    "wacz, stored": wacz(zipfile.ZIP_STORED),
    "wacz, deflated": wacz(zipfile.ZIP_DEFLATED),
}


@pytest.fixture
def store(tmp_path):
    def write(content: bytes) -> str:
        path = tmp_path / "archive"
        path.write_bytes(content)
        return str(path)

    return write


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
def test_every_record_is_read_in_order_and_again_by_its_place(store, content):
    path, faults = store(content), []
    records = list(iterate_records(path, faults.append))
    assert [found.url for found in records] == URLS
    assert not faults
    assert all(found.status == 200 and found.mime == "image/png" for found in records)
    assert [found.payload() for found in records] == [noise(3000 + i) for i in range(5)]
    for found in reversed(records):
        assert open_record(path, found.member, found.offset) == found


def assert_streamed_alike(path: str, records: list, faults: list) -> None:
    streamed_faults = []
    streamed = list(stream_records(path, streamed_faults.append))
    assert streamed == [found._replace(offset=UNKNOWN_OFFSET) for found in records]
    assert streamed_faults == faults


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_streamed_gives_the_same_records(store, content):
    path = store(content)
    assert_streamed_alike(path, list(iterate_records(path)), [])


@pytest.mark.parametrize("name", ["gzip by record", "gzip in one stream", "gzip with several records a member"])
def test_a_gzip_file_in_order_is_streamed_to_its_end(store, name, monkeypatch):
    monkeypatch.setattr(streaming, "iterate_records", None)
    assert [found.url for found in stream_records(store(ARCHIVES[name]))] == URLS


@pytest.mark.parametrize(
    "odd",
    [
        RECORDS[1].replace(b"Content-Type", b"content-type", 1),
        RECORDS[1].replace(b"Content-Length", b"X-Length: 1\r\nContent-Length"),
        RECORDS[1].replace(b"WARC/1.0", b"WARC/0.18"),
        RECORDS[1].replace(b"http://a.example/1", "http://a.example/é".encode()),
        record(URLS[1], http(b"x"), end="\n"),
        record(URLS[1], http(bytes(17 << 20))),
    ],
    ids=["case", "other field", "version", "not ASCII", "LF", "large"],
)
def test_records_behind_an_unusual_one_are_streamed_too(store, odd):
    path = store(b"".join(map(gzip.compress, [RECORDS[0], odd, RECORDS[2]])))
    records = list(iterate_records(path))
    assert len(records) == 3
    assert_streamed_alike(path, records, [])


@pytest.mark.parametrize("version", ["0.18", "1.0", "1.1"])
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["CRLF", "LF"])
def test_every_version_and_line_end_is_read(store, version, end):
    content = b"".join(record(url, http(b"x"), version=version, end=end) for url in URLS)
    assert [found.url for found in iterate_records(store(content))] == URLS


@pytest.mark.parametrize("name", ["plain", "gzip by record", "gzip in one stream", "zstd by record"])
def test_a_cut_archive_gives_its_whole_records_and_one_fault(store, name):
    faults = []
    records = list(iterate_records(store(ARCHIVES[name][:-100]), faults.append))
    assert [found.url for found in records] == URLS[:4]
    assert len(faults) == 1


@pytest.mark.parametrize(("compress", "good_bytes"), [(gzip.compress, 40), (ZSTD, 4)], ids=["gzip", "zstd"])
def test_what_follows_a_corrupt_record_is_read(store, compress, good_bytes):
    broken = compress(RECORDS[1])[:good_bytes] + b"\xff" * 300
    faults = []
    path = store(b"".join([compress(RECORDS[0]), broken, *map(compress, RECORDS[2:])]))
    assert [found.url for found in iterate_records(path, faults.append)] == [URLS[0], *URLS[2:]]
    assert len(faults) == 1


def test_a_record_that_claims_too_many_bytes_does_not_swallow_those_behind_it(store):
    liar = RECORDS[1].replace(b"Content-Length: ", b"Content-Length: 9")
    faults = []
    found = [found.url for found in iterate_records(store(RECORDS[0] + liar + RECORDS[2]), faults.append)]
    assert found == [URLS[0], URLS[2]]
    assert len(faults) == 1


@pytest.mark.parametrize("content", [b"", b"<html>no archive</html>" * 100, b"\x1f\x8b\x08", b"PK\x03\x04 cut"])
def test_what_is_no_archive_holds_no_records(store, content):
    faults = []
    assert not list(iterate_records(store(content), faults.append))
    assert len(faults) == 1


def test_a_place_where_no_record_starts_is_an_error(store):
    with pytest.raises(LookupError):
        open_record(store(ARCHIVES["gzip by record"]), "", 7)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"hello world"),
        (["Content-Encoding: gzip"], GZIPPED),
        (["Content-Encoding: gzip"], b"hello world"),
        (["Content-Encoding: br"], b"hello world"),
        (["Content-Encoding: gzip", "Transfer-Encoding: chunked"], b"1f\r\n%b\r\n0\r\n" % GZIPPED),
        (["X: 1", " folded", "Content-Encoding:", "\tgzip"], GZIPPED),
    ],
    ids=["chunked", "chunked in name only", "gzip", "gzip in name only", "br in name only", "both", "folded"],
)  # fmt: skip
def test_transfer_and_content_codings_are_undone(store, lines, body):
    [found] = iterate_records(store(record(URLS[0], http(body, *lines))))
    assert found.payload() == b"hello world"


def test_a_body_that_inflates_too_far_is_refused(store):
    bomb = record(URLS[0], http(gzip.compress(bytes(1 << 20)), "Content-Encoding: gzip"))
    [found] = iterate_records(store(bomb))
    assert found.payload(max_bytes=1000) is DropReason.TOO_MANY_BYTES


def test_the_image_index_follows_redirects_and_revisits_and_leaves_pages_out(store):
    content = b"".join(
        [
            record("http://A.example/1.jpg#x", http(b"1", "Content-Type: image/jpeg")),
            record("http://a.example/page", http(b"2", "Content-Type: text/html")),
            record("http://a.example/old.png", http(b"", "Location: /1.jpg", status="301 Moved")),
            record("<http://a.example/3.png>", b"3", kind="resource").replace(
                b"application/http; msgtype=response", b"image/png"
            ),
            record("http://b.example/c", b"", "WARC-Refers-To-Target-URI: http://a.example/1.jpg", kind="revisit"),
            record("http://a.example/1.jpg", http(b"", "Host: a"), kind="request"),
        ]
    )
    index = index_images(store(content))
    assert index.select(["canonical_url", "status", "mime", "location"]).to_pylist() == [
        {"canonical_url": "http://a.example/1.jpg", "status": 200, "mime": "image/jpeg", "location": None},
        {"canonical_url": "http://a.example/old.png", "status": 301, "mime": "", "location": "http://a.example/1.jpg"},
        {"canonical_url": "http://a.example/3.png", "status": None, "mime": "image/png", "location": None},
        {"canonical_url": "http://b.example/c", "status": None, "mime": "application/http", "location": "http://a.example/1.jpg"},
    ]  # fmt: skip


@settings(max_examples=100)
@given(
    name=st.sampled_from(sorted(ARCHIVES)),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.integers(0, 300)), max_size=4),
    length=st.floats(0, 1),
)
def test_no_damage_crashes_the_reader(tmp_path_factory, name, places, length):
    content = bytearray(ARCHIVES[name])
    for place, value, removed in places:
        at = int(place * (len(content) - 1))
        content[at : at + removed] = bytes([value])
    path = tmp_path_factory.mktemp("damaged") / "archive"
    path.write_bytes(content[: 1 + int(length * len(content))])
    faults = []
    records = list(iterate_records(str(path), faults.append))
    assert len(records) <= 2 * len(RECORDS)
    assert_streamed_alike(str(path), records, faults)
    for found in records:
        found.payload()
