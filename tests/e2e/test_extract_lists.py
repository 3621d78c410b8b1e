"""Lists of archives on a web server, and large tables in parts."""

import gzip
import json
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base.tables import read_table
from pipeline.extraction import inputs
from pipeline.extraction.stage import ExtractPairs


def answer(url: str, html: str) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html.encode()
    head = f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n"
    return gzip.compress(f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n")


class Store(ThreadingHTTPServer):
    """Serves bytes by path, in ranges; fails as often as `failures` says."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.failures: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        store, path = self.server, self.path.lstrip("/")
        store.asked[path] += 1
        if store.failures[path] > 0:
            store.failures[path] -= 1
            return self.send_error(503)
        if path not in store.content:
            return self.send_error(404)
        body, status = store.content[path], 200
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            body, status = body[int(first) : int(last or len(body)) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(store.content[path])}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def store():
    server = Store()
    for part in range(3):
        pages = [f"<img src=/{part}-{i}.jpg alt='image {part} {i}'><img src=/logo.jpg alt=logo>" for i in range(4)]
        content = b"".join(answer(f"http://a.example/{part}", page) for page in pages)
        server.content[f"crawl-data/segments/{part}.warc.gz"] = content
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path_list(store, tmp_path) -> Path:
    path = tmp_path / "warc.paths.gz"
    path.write_bytes(gzip.compress("\n".join(store.content).encode() + b"\n"))
    return path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(inputs, "_FIRST_PAUSE_S", 0.001)


def extract(path_list, store, output, **options):
    stage = ExtractPairs(input=(str(path_list),), path_base=store.base, output=str(output), **options)
    return run_stage(stage, quiet=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_every_path_of_a_list_is_read_from_its_base(path_list, store, tmp_path):
    counts = extract(path_list, store, tmp_path / "out")
    assert counts["files/in"] == counts["files/kept"] == 3
    assert (counts["pairs/in"], counts["pairs/kept"]) == (24, 13)
    rows = [row for path in (tmp_path / "out").glob("*.parquet") for row in read_table(str(path)).to_pylist()]
    assert {row["source_file"] for row in rows} == {"0.warc.gz", "1.warc.gz", "2.warc.gz"}
    folder = tmp_path / "mirror"
    for path, content in store.content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    stage = ExtractPairs(input=(str(path_list),), path_base=f"{folder}/", output=str(tmp_path / "local"))
    run_stage(stage, workers=2, quiet=True)
    assert contents(tmp_path / "local") == contents(tmp_path / "out"), "where a list is read from does not show"


def test_a_path_that_fails_is_tried_again(path_list, store, tmp_path):
    store.failures["crawl-data/segments/1.warc.gz"] = 2
    assert extract(path_list, store, tmp_path / "out")["files/kept"] == 3


def test_a_path_that_is_not_there_stops_the_run_and_a_second_run_reads_only_what_is_missing(
    path_list, store, tmp_path, capsys
):
    lost = store.content.pop("crawl-data/segments/1.warc.gz")
    flags = ["--input", str(path_list), "--path-base", store.base, "--output", str(tmp_path / "out"), "--tries", "2"]
    assert main(["extract-pairs", *flags, "--workers", "1", "--quiet"]) == 1
    assert "segments/1.warc.gz: cannot be read after 2 tries" in capsys.readouterr().err
    store.content["crawl-data/segments/1.warc.gz"] = lost
    asked = store.asked.copy()
    assert main(["extract-pairs", *flags, "--workers", "1", "--quiet"]) == 0
    assert store.asked["crawl-data/segments/0.warc.gz"] == asked["crawl-data/segments/0.warc.gz"]
    extract(path_list, store, tmp_path / "whole")
    assert contents(tmp_path / "whole") == contents(tmp_path / "out")


def test_a_path_that_is_not_there_is_dropped_and_counted_on_request(path_list, store, tmp_path):
    store.content.pop("crawl-data/segments/1.warc.gz")
    counts = extract(path_list, store, tmp_path / "out", on_unreadable="drop", tries=1)
    assert {name: counts[name] for name in counts if name.startswith("files/")} == {
        "files/in": 3,
        "files/kept": 2,
        "files/drop/unreadable_file": 1,
    }


def test_a_line_that_names_no_archive_is_refused(tmp_path, capsys):
    (tmp_path / "x.paths").write_text("a/b.txt\n")
    paths = ["--input", str(tmp_path / "x.paths"), "--output", str(tmp_path / "out")]
    assert main(["extract-pairs", *paths, "--quiet"]) == 2
    assert "a/b.txt: the name of no web archive" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["parquet", "tsv", "jsonl"])
def test_a_table_in_parts_gives_the_pairs_of_the_whole(suffix, tmp_path):
    rows = [(f"http://a.example/{i}.jpg", f"image number {i}{'ä' * (i % 300)}") for i in range(20_000)]
    path = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        table = pa.table({"URL": [url for url, _ in rows], "TEXT": [text for _, text in rows]})
        pq.write_table(table, path, row_group_size=1000)
    elif suffix == "tsv":
        path.write_text("\n".join(f"{text}\t{url}" for url, text in rows))
    else:
        path.write_text("\n".join(json.dumps({"caption": text, "url": url}, ensure_ascii=False) for url, text in rows))
    found = []
    for mb in (1, 256):
        output = tmp_path / str(mb)
        counts = run_stage(ExtractPairs(input=(str(path),), output=str(output), table_part_mb=mb), quiet=True)
        assert counts == {"pairs/in": 20_000, "pairs/kept": 20_000}
        tables = [read_table(str(part), ["image_url", "text"]) for part in sorted(output.glob("*.parquet"))]
        assert (len(tables) > 2) == (mb == 1)
        found.append(pa.concat_tables(tables).to_pylist())
    assert found[0] == found[1] == [{"image_url": url, "text": text} for url, text in rows]
