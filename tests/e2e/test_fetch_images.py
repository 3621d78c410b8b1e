"""The whole stage fetch-images: plan, fetch, raw tars and indexes; killed, resumed, with one worker and with two."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from jobs.__main__ import main
from jobs.runner import run_stage
from jobs.status import read_statuses, status_facts, status_lines
from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED
from pipeline.base.shard_format import SAMPLE_JSON_KEYS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.fetching.stage import FetchImages
from pipeline.web.archives.records import index_images
from vocab.queries import QUERIES

QUERY_STRINGS = ["a cat", "a dog", "the sea"]


def write_data(folder: Path, pairs, files_of=2):
    """The folders of the stages before: pairs of (image URL, text)."""
    rows = [
        {
            "pair_id": pair_id(url, text),
            "image_url": url,
            "text": text,
            "text_source": "alt",
            "page_url": "http://page.example/",
            "source_file": "crawl.warc",
            "query_ids": [len(text) % 2, 2],
            "kept_for": [2],
            "keep_probability": 0.25,
        }
        for url, text in pairs
    ]
    for part in range(files_of):
        table = pa.Table.from_pylist(rows[part::files_of], BALANCED)
        write_table(str(folder / "balanced" / f"part-{part:05d}.parquet"), table, BALANCED)
    close_folder(str(folder / "vocab"), identity={"stage": "build-vocab"}, counts={}, outputs=[], made_from=[])
    close_folder(
        str(folder / "balanced"),
        identity={"stage": "balance-pairs"},
        counts={},
        outputs=[{"name": str(folder)}],
        made_from=[str(folder / "vocab")],
    )
    queries = [
        {"query_id": i, "query": query, "display": query, "sources": ["word"]} for i, query in enumerate(QUERY_STRINGS)
    ]
    write_table(str(folder / "vocab" / "queries.parquet"), pa.Table.from_pylist(queries, QUERIES), QUERIES)


def stage_for(folder: Path, loopback=None, output="raw", **options):
    network = {"contact": "me@lab.example", "host_rate": 0.0, "read_timeout_s": 1.0, "timeout_s": 2.0}
    if loopback:
        network["connect_to"] = loopback.connect_to
    return FetchImages(
        balanced=str(folder / "balanced"),
        vocab=str(folder / "vocab"),
        output=str(folder / output),
        **network | options,
    )


def tar_bytes(folder: Path):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def read_index(folder: Path):
    tables = [read_table(str(path)) for path in sorted(folder.glob("*.index.parquet"))]
    return pa.concat_tables(tables).to_pylist()


def many_pairs(number):
    """Pairs on several hosts; every fifth image is dead."""
    paths = [f"/{'image' if n % 5 else 'dead'}/{n}.jpg" for n in range(number)]
    return [(f"http://h{n % 7}.example{path}", f"text {n}") for n, path in enumerate(paths)]


HOSTILE = {
    "/good.jpg": "ok",
    "/image/5.jpg": "ok",
    "/gzip.jpg": "ok",
    "/sideways.jpg": "ok",
    "/deep.png": "ok",
    "/to-good.jpg": "ok",
    "/nothing.jpg": "not_found",
    "/loop.jpg": "too_many_redirects",
    "/to-private.jpg": "private_address",
    "/endless.jpg": "too_many_bytes",
    "/drip.jpg": "too_slow",
    "/huge.jpg": "too_many_bytes",
    "/stalls.jpg": "timed_out",
    "/noai.jpg": "opted_out",
    "/marked.jpg": "opted_out_embedded",
    "/bomb.png": "too_many_pixels",
    "/truncated.jpg": "broken_image",
    "/vector.svg": "unknown_format",
    "/page.jpg": "unknown_format",
    "/private/x.jpg": "robots_disallow",
}


def test_every_pair_is_kept_or_dropped_for_a_reason(tmp_path, loopback):
    loopback.robots["www.example"] = "User-agent: *\nDisallow: /private/"
    expected = {f"http://www.example{path}": status for path, status in HOSTILE.items()}
    write_data(tmp_path, [(url, f"text of {url}") for url in expected])
    counts = run_stage(stage_for(tmp_path, loopback, retries=0, max_bytes=1_000_000), quiet=True)
    assert {row["image_url"]: row["status"] for row in read_index(tmp_path / "raw")} == expected
    kept = sum(status == "ok" for status in expected.values())
    assert (counts["images/in"], counts["images/kept"], counts["urls"]) == (len(expected), kept, len(expected))
    assert sum(n for name, n in counts.items() if name.startswith("images/drop/")) == len(expected) - kept


def test_samples_hold_image_text_and_provenance_where_the_index_says(tmp_path, loopback):
    write_data(tmp_path, [("http://a.example/good.jpg", "A cat by the sea"), ("http://b.example/no.jpg", "nothing")])
    run_stage(stage_for(tmp_path, loopback), quiet=True)
    [tar_path] = (tmp_path / "raw").glob("*.tar")
    [row] = [row for row in read_index(tmp_path / "raw") if row["status"] == "ok"]
    [sample] = webdataset.WebDataset(str(tar_path), shardshuffle=False)
    described = json.loads(sample["json"])
    assert sample["__key__"] == row["key"] == pair_id("http://a.example/good.jpg", "A cat by the sea").hex()
    assert sample["txt"] == b"A cat by the sea"
    assert tuple(sorted(described)) == tuple(sorted(SAMPLE_JSON_KEYS))
    assert described["queries"] == ["a cat", "the sea"]
    assert described["kept_for"] == ["the sea"]
    assert described["sha256"] == row["sha256"].hex()
    assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (320, 240, 320, 240)
    data = tar_path.read_bytes()
    assert row["offset"] + row["length"] + 1024 == len(data)
    assert sample["jpg"] in data[row["offset"] : row["offset"] + row["length"]]


def test_members_lie_in_key_order_without_time_or_owner(tmp_path, loopback):
    write_data(tmp_path, many_pairs(20))
    run_stage(stage_for(tmp_path, loopback), quiet=True)
    [tar_path] = (tmp_path / "raw").glob("*.tar")
    with tarfile.open(tar_path) as tar:
        members = tar.getmembers()
    keys = [member.name.partition(".")[0] for member in members]
    assert keys == sorted(keys)
    assert [member.name.partition(".")[2] for member in members[:3]] == ["jpg", "json", "txt"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o444, "")}


def test_a_url_of_several_pairs_is_fetched_once(tmp_path, loopback):
    write_data(tmp_path, [("http://a.example/good.jpg", f"text {n}") for n in range(5)])
    counts = run_stage(stage_for(tmp_path, loopback), quiet=True)
    assert (counts["images/kept"], counts["urls"], loopback.visits("/good.jpg")) == (5, 1, 1)


def test_one_and_two_workers_and_files_in_another_order_write_the_same_tars(tmp_path, loopback):
    pairs = many_pairs(60)
    write_data(tmp_path, pairs)
    run_stage(stage_for(tmp_path, loopback, unit_urls=15), quiet=True)
    write_data(tmp_path / "again", list(reversed(pairs)), files_of=3)
    run_stage(stage_for(tmp_path / "again", loopback, unit_urls=15), workers=2, quiet=True)
    tars = tar_bytes(tmp_path / "raw")
    assert len(tars) > 2
    assert tars == tar_bytes(tmp_path / "again" / "raw")


def test_two_runs_over_the_same_answers_write_the_same_bytes_however_long_the_answers_take(tmp_path, loopback):
    write_data(tmp_path, many_pairs(30))
    for output, delay_s in (("one", 0.0), ("other", 0.03)):
        loopback.delay_s = delay_s
        run_stage(stage_for(tmp_path, loopback, output=output, unit_urls=10), quiet=True)
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / output).glob("raw-*")} for output in ("one", "other")
    )
    assert {name.partition(".")[2] for name in one} == {"tar", "index.parquet", "stats.json"}
    assert one == other


def test_a_part_of_a_host_without_urls_is_a_raw_tar_without_samples(tmp_path, loopback):
    write_data(tmp_path, [("http://big.example/good.jpg", f"text {n}") for n in range(7)])
    counts = run_stage(stage_for(tmp_path, loopback, unit_urls=2), quiet=True)
    assert (counts["images/kept"], counts["urls"], len(tar_bytes(tmp_path / "raw"))) == (7, 1, 4)
    assert sorted(map(len, tar_bytes(tmp_path / "raw").values()))[:3] == [1024] * 3
    assert len(read_index(tmp_path / "raw")) == 7


def test_all_units_of_a_host_keep_its_pace_and_connections_with_two_workers(tmp_path, loopback):
    pause_s = 0.2
    pairs = [(f"http://big.example/image/{n}.jpg", "large") for n in range(12)]
    write_data(tmp_path, [*pairs, *((f"http://h{n}.example/good.jpg", "small") for n in range(12))])
    rules = {"host_rate": 1 / pause_s, "host_connections": 2, "unit_urls": 3}
    counts = run_stage(stage_for(tmp_path, loopback, **rules), workers=2, quiet=True)
    assert counts["images/kept"] == 24
    units_of_big = {
        path.name
        for path in (tmp_path / "raw").glob("*.index.parquet")
        if any("big.example" in url for url in read_table(str(path))["image_url"].to_pylist())
    }
    assert len(units_of_big) >= 3
    asked_at = [at for (host, _), at in zip(loopback.seen, loopback.seen_at, strict=True) if host == "big.example"]
    assert len(asked_at) == 12 + 2, "robots.txt and tdmrep.json are read once"
    assert min(later - earlier for earlier, later in pairwise(asked_at)) > pause_s / 2
    assert loopback.most_open["big.example"] <= 2


def test_a_second_run_asks_for_nothing(tmp_path, loopback):
    write_data(tmp_path, many_pairs(10))
    first = run_stage(stage_for(tmp_path, loopback), quiet=True)
    asked = len(loopback.seen)
    assert run_stage(stage_for(tmp_path, loopback), quiet=True) == first
    assert len(loopback.seen) == asked


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_tars(tmp_path, loopback):
    pairs = many_pairs(80)
    write_data(tmp_path, pairs)
    undisturbed = run_stage(stage_for(tmp_path, loopback, output="undisturbed", unit_urls=10), quiet=True)
    loopback.delay_s = 0.1
    loopback.seen.clear()
    command = [sys.executable, "-m", "jobs", "fetch-images", "--data", str(tmp_path), "--unit-urls", "10"]
    command += [
        "--connect-to",
        *loopback.connect_to,
        "--host-connections",
        "1",
        "--contact",
        "me@lab.example",
        "--workers",
        "1",
        "--quiet",
    ]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    receipts = tmp_path / "raw" / "_steps" / "FetchUnits"
    while not list(receipts.glob("*.index.parquet.json")) and time.monotonic() < deadline:
        time.sleep(0.02)  # a unit is done when its receipt is there, a moment after its files
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    done = list(receipts.glob("*.index.parquet.json"))
    assert 0 < len(done) < len(list((tmp_path / "undisturbed").glob("*.tar")))
    loopback.delay_s = 0.0
    already = {path for _, path in loopback.seen}
    loopback.seen.clear()
    resumed = run_stage(stage_for(tmp_path, loopback, unit_urls=10), quiet=True)
    assert resumed == undisturbed
    assert tar_bytes(tmp_path / "raw") == tar_bytes(tmp_path / "undisturbed")
    assert already - {path for _, path in loopback.seen}, "what was done is not fetched again"


def test_bad_options_end_the_command_with_a_clear_line(tmp_path, capsys):
    assert main(["fetch-images", "--data", str(tmp_path), "--connect-to", "nonsense"]) == 2
    assert "HOSTGLOB" in capsys.readouterr().err
    assert main(["fetch-images", "--data", str(tmp_path), "--contact", "me@lab.example"]) == 2
    assert "balanced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "num_images"), [("books.toscrape.warc", 20), ("IAH-20080430204825-00000-blackbook.warc.gz", 55)]
)
def test_images_come_out_of_archives_and_no_network_is_touched(real_data, tmp_path, name, num_images, monkeypatch):
    monkeypatch.setattr("pipeline.fetching.client.aiohttp.ClientSession", None)
    archive = real_data / "warc" / name
    urls = sorted({row["canonical_url"] for row in index_images(str(archive)).to_pylist()})
    write_data(tmp_path, [(url, f"text of {url}") for url in [*urls, "http://not.example/there.jpg"]])
    stage = stage_for(tmp_path, from_archive=(str(archive),), min_side_px=1, max_aspect_ratio=1000.0)
    counts = run_stage(stage, quiet=True)
    assert counts["images/drop/not_in_archive"] >= 1
    assert counts["images/kept"] == num_images


def test_two_workers_take_the_same_bytes_from_archives(real_data, tmp_path):
    archives = sorted(str(path) for path in (real_data / "warc").glob("*.warc*"))
    urls = sorted({row["canonical_url"] for archive in archives for row in index_images(str(archive)).to_pylist()})
    write_data(tmp_path, [(url, f"text of {url}") for url in urls])
    for output, workers, order in (("one", 1, 1), ("two", 2, -1)):
        stage = stage_for(tmp_path, output=output, from_archive=tuple(archives[::order]), unit_urls=20)
        run_stage(stage, workers=workers, quiet=True)
    assert tar_bytes(tmp_path / "one") == tar_bytes(tmp_path / "two")


class Onlooker:
    """Looks at a run while its server holds an image back, and lets it go when it has seen what it wants.

    Args:
        folder: Of the data.
        loopback: The server.
        port: Of the run's metrics.
    """

    def __init__(self, folder, loopback, port):
        self._folder, self._port = folder, port
        self._is_free = False
        self.page, self.statuses = "", []
        loopback.handlers["/held.jpg"] = self._hold
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_free = True
        self._thread.join()

    async def _hold(self, visit):
        while not self._is_free:
            await asyncio.sleep(0.02)
        await visit.server.handlers["/good.jpg"](visit)

    def _look(self):
        try:
            while not (self._is_free or self._has_seen_all()):
                time.sleep(0.05)
        finally:
            self._is_free = True

    def _has_seen_all(self):
        address = f"http://127.0.0.1:{self._port}/metrics"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=10) as answer:
            self.page = answer.read().decode()
        num_urls = [sample(self.page, "fetch_urls_total", status=status) for status in STATUSES]
        if [*num_urls, sample(self.page, "fetch_requests_under_way")] != [4, 2, 1, 1]:
            return False
        self.statuses = read_statuses(str(self._folder / "raw"), now=time.time())
        return True


def sample(page, name, **labels):
    """The value of the sample of a page of metrics that has some labels; None: there is none."""
    for line in page.splitlines():
        if line.startswith(f"wit400m_{name}") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.rpartition(" ")[2])
    return None


FAILING = ["/gone.jpg", "/nothing.jpg", "/page.jpg"]
STATUSES = ["ok", "not_found", "unknown_format"]


def fetch_command(folder, loopback, *flags):
    """Runs the command; returns its exit code."""
    network = ["--contact", "me@lab.example", "--connect-to", *loopback.connect_to, "--host-rate", "0"]
    times = ["--timeout-s", "60", "--read-timeout-s", "60", "--retries", "0"]
    return main(["fetch-images", "--data", str(folder), "--workers", "1", "--quiet", *network, *times, *flags])


@pytest.mark.parametrize("engine", ["local", "portable"])
def test_a_fetch_is_watched_while_it_goes_on(engine, tmp_path, loopback, free_port, capsys, start_service):
    paths = [*(f"/image/{n}.jpg" for n in range(4)), *FAILING, "/held.jpg"]
    write_data(tmp_path, [(f"http://h{n}.example{path}", f"text {n}") for n, path in enumerate(paths)])
    watch, counters = tmp_path / "raw" / "_watch", tmp_path / "counters.json"
    port, loopback.delay_s = free_port(), 0.1
    flags = ["--log-format", "json", "--log-every", "0.2", "--metrics-port", str(port), "--counters", str(counters)]
    if engine == "portable":
        pool = start_service("thread_pool", tmp_path)
        flags += ["--runner=PortableRunner", "--environment_type=EXTERNAL", f"--environment_config={pool}"]
        flags += ["--job_endpoint=embed"]
    with Onlooker(tmp_path, loopback, port) as onlooker:
        assert fetch_command(tmp_path, loopback, *flags) == 0
    assert sample(onlooker.page, "fetch_workers", stage="fetch-images", step="FetchUnits") == 1
    assert sample(onlooker.page, "fetch_success_ratio") == pytest.approx(4 / 7, abs=1e-4)
    [status] = onlooker.statuses
    facts = status_facts(status)["fetch"]
    assert (facts["images"], facts["urls"], facts["under_way"]) == (4, 7, 1)
    assert facts["failures"] == {"not_found": 2, "unknown_format": 1}
    assert "1 under way" in "\n".join(status_lines(status))

    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [event for event in events if event["event"] == "fetch"]
    during, last = told[0], told[-1]
    assert (during["stage"], during["step"], during["workers"]) == ("fetch-images", "FetchUnits", 1)
    assert (last["images"], last["urls"], last["under_way"], last["workers"]) == (5, 8, 0, 0)
    assert last["failures"] == {"not_found": 2, "unknown_format": 1}
    assert last["received_bytes"] > 0
    kept = json.loads(counters.read_text())["stages"]["fetch-images"]["steps"]
    assert kept["FetchUnits"]["fetch"]["statuses"] == {"not_found": 2, "ok": 5, "unknown_format": 1}
    assert not any("fetch" in step for name, step in kept.items() if name != "FetchUnits")
    assert not watch.exists()
    described = (tmp_path / "raw" / "_stage.json").read_text()
    assert not re.search("_watch|metrics", described)


def test_a_port_for_metrics_that_is_in_use_stops_a_run_before_it_begins(tmp_path, loopback, capsys):
    write_data(tmp_path, [("http://a.example/good.jpg", "A cat")])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert fetch_command(tmp_path, loopback, "--metrics-port", str(port)) == 2
    assert f"metrics-port {port}" in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()
    assert not loopback.seen


def test_a_run_that_goes_on_does_not_show_what_the_one_before_did(tmp_path, loopback, capsys):
    write_data(tmp_path, [("http://a.example/good.jpg", "A cat"), ("http://b.example/gone.jpg", "A dog")])
    assert fetch_command(tmp_path, loopback) == 0
    (tmp_path / "raw" / "_watch").mkdir()
    said = {"statuses": {"ok": 99}, "requests": 99, "received_bytes": 99, "under_way": 9, "hosts_waiting": 9}
    said |= {"images_per_s": 9.0, "bytes_per_s": 9.0, "written": time.time(), "next_s": 5.0}
    (tmp_path / "raw" / "_watch" / "killed.json").write_text(json.dumps(said))
    assert fetch_command(tmp_path, loopback, "--retry", "not_found", "--log-format", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [last] = [event for event in events if event["event"] == "fetch"]
    assert (last["images"], last["urls"], last["workers"]) == (0, 1, 0)


@pytest.mark.parametrize("names", [False, True], ids=["ours", "img2dataset's too"])
def test_what_cameras_wrote_is_kept_beside_images_off_the_network(tmp_path, loopback, names):
    write_data(tmp_path, [("http://www.example/sideways.jpg", "a"), ("http://www.example/good.jpg", "b")])
    counts = run_stage(stage_for(tmp_path, loopback, exif="keep", img2dataset_names=names), quiet=True)
    assert counts["images/kept"] == 2
    [path] = (tmp_path / "raw").glob("*.tar")
    with tarfile.open(path) as tar:
        found = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    fields = [json.loads(one["exif"]) for one in found]
    assert sorted(fields, key=len) == [{}, {"Orientation": "6"}]


def test_units_are_told_in_img2dataset_s_tables_too_and_a_retry_keeps_what_they_say(tmp_path, loopback):
    urls = [f"http://www.example/{name}.jpg" for name in ("sideways", "good", "nothing", "truncated", "fails-once")]
    write_data(tmp_path, [(url, f"text of {url}") for url in urls])
    options = {"exif": "keep", "img2dataset_names": True, "retries": 0, "min_success": 0.0}
    run_stage(stage_for(tmp_path, loopback, **options), quiet=True)
    run_stage(stage_for(tmp_path, loopback, **options, retry=("5xx",)), quiet=True)
    table = pq.read_table(tmp_path / "raw" / "raw-00000.parquet")
    integers = ["width", "height", "original_width", "original_height"]
    strings = ["caption", "url", "key", "status", "error_message", "exif", "sha256"]
    assert {field.name: field.type for field in table.schema} == {
        **dict.fromkeys(strings, pa.string()),
        **dict.fromkeys(integers, pa.int32()),
    }
    rows = {row["url"].rpartition("/")[2]: row for row in table.to_pylist()}
    assert {name: (row["status"], row["error_message"]) for name, row in rows.items()} == {
        "sideways.jpg": ("success", None),
        "good.jpg": ("success", None),
        "fails-once.jpg": ("success", None),
        "nothing.jpg": ("failed_to_download", "not_found"),
        "truncated.jpg": ("failed_to_resize", "broken_image"),
    }
    with tarfile.open(tmp_path / "raw" / "raw-00000.tar") as tar:
        described = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    assert len(described) == 3
    for one in described:
        row = rows[one["url"].rpartition("/")[2]]
        assert row == {name: one[name] for name in row}
    assert rows["sideways.jpg"]["exif"] == '{"Orientation": "6"}'
    assert rows["nothing.jpg"]["exif"] is rows["nothing.jpg"]["width"] is rows["nothing.jpg"]["sha256"] is None


def test_what_lists_name_is_not_asked_for_or_not_kept_and_every_loss_is_counted(tmp_path, loopback):
    urls = [f"http://{host}.example/image/{n}.jpg" for n, host in enumerate(["a", "a", "b", "sub.c", "d", "d", "d"])]
    write_data(tmp_path, [(url, f"text {n}") for n, url in enumerate(urls)] + [(urls[6], "another text")])
    run_stage(stage_for(tmp_path, loopback, output="all"), quiet=True)
    known = {row["image_url"]: row for row in read_index(tmp_path / "all")}
    lists = {
        "urls": urls[0],
        "hosts": "c.example",
        "sha256": known[urls[4]]["sha256"].hex(),
        "phash": f"{(known[urls[5]]['phash'] & 0xFFFFFFFFFFFFFFFF) ^ 0b101:016x}",
        "keys": pair_id(urls[6], "text 6").hex(),
    }
    (tmp_path / "removals").mkdir()
    for kind, entry in lists.items():
        (tmp_path / "removals" / f"{kind}.txt").write_text(entry)
    loopback.seen.clear()
    stage = stage_for(tmp_path, loopback, removals=str(tmp_path / "removals"), phash_distance=2)
    counts = run_stage(stage, quiet=True)
    statuses = {(row["image_url"], row["text"]): row["status"] for row in read_index(tmp_path / "raw")}
    blocked = {urls[number] for number in (0, 3, 4, 5)}
    assert {url for (url, _), status in statuses.items() if status == "blocked"} == blocked
    assert set(statuses.values()) == {"ok", "blocked"}
    assert counts["images/drop/blocked"] == len(blocked)
    asked = {path for _, path in loopback.seen}
    assert not asked & {"/image/0.jpg", "/image/3.jpg"}
    assert {"/image/4.jpg", "/image/5.jpg", "/image/6.jpg"} <= asked
    assert statuses[urls[6], "another text"] == "ok"  # the image is asked for as long as one of its pairs is wanted


def test_a_list_with_a_line_that_is_no_entry_ends_the_command_before_anybody_is_asked(tmp_path, loopback):
    write_data(tmp_path, many_pairs(4))
    (tmp_path / "digests").write_text("abc")
    stage = stage_for(tmp_path, loopback, block=(f"md5={tmp_path / 'digests'}",))
    with pytest.raises(ValueError, match="digests: line 1: 'abc' is none of the md5"):
        run_stage(stage, quiet=True)
    assert not loopback.seen
