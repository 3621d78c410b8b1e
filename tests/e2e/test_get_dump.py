"""get-dump and `make vocab` against a server laid out as dumps.wikimedia.org, well-behaved and not."""

import bz2
import errno
import gzip
import hashlib
import http.server
import io
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict

import pytest

from jobs.__main__ import main as run
from jobs.demo.world.wiki import make_pages, write_dump
from jobs.get_dump import main
from jobs.get_wordnet import main as get_wordnet
from pipeline.base.lineage import read_stage
from pipeline.base.tables import read_table
from vocab.synsets import read_lemmas

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody answers
OLD, NEW, UNFINISHED = "20260401", "20260501", "20260601"


class Mirror(http.server.ThreadingHTTPServer):
    """A server of the official layout on loopback.

    Attributes:
        files: Content by path.
        faults: By path, what to do wrong with each of the next requests: a status, "cut", "drop" the connection,
            "no ranges", "wrong range", "html".
        seen: (method, path, value of Range) of every request.
        agents: User agents seen.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.faults, self.seen, self.agents = {}, defaultdict(list), [], set()
        self.retry_after = "0"
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.delay_s = 0.0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def visits(self, method="GET"):
        return [path for seen, path, _ in self.seen if seen == method]

    def ranges(self, path):
        return [wanted for method, seen, wanted in self.seen if (method, seen) == ("GET", path)]

    def handle_error(self, request, client_address):
        """Says nothing: clients that leave are part of the tests."""

    def publish(self, wiki, date, files, *, job="articlesmultistreamdump", status="done"):
        """Puts files into a wiki's folder and lists them in its dumpstatus.json."""
        base = f"/{wiki}/{date}"
        listed = {}
        for name, data in files.items():
            self.files[f"{base}/{name}"] = data
            listed[name] = {"size": len(data), "url": f"{base}/{name}", "sha1": hashlib.sha1(data).hexdigest()}
        path = f"{base}/dumpstatus.json"
        content = json.loads(self.files.get(path, b'{"version": "0.8", "jobs": {}}'))
        content["jobs"][job] = {"status": status, "updated": "2026-04-02 01:02:03", "files": listed}
        self.files[path] = json.dumps(content).encode()
        dates = sorted({path.split("/")[2] for path in self.files if path.startswith(f"/{wiki}/2")})
        rows = "".join(f'<a href="{date}/">{date}/</a>\n' for date in dates)
        self.files[f"/{wiki}/"] = f'<html><a href="../">../</a>{rows}<a href="latest/">latest/</a></html>'.encode()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, path = self.server, self.path
        with server.lock:
            server.seen.append((self.command, path, self.headers.get("Range")))
            server.agents.add(self.headers["User-Agent"])
            fault = server.faults[path].pop(0) if self.command == "GET" and server.faults[path] else None
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        try:
            time.sleep(server.delay_s)
            self.answer(server.files.get(path), fault)
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self, data, fault):
        if fault == "drop":
            self.close_connection = True
        elif isinstance(fault, int):
            self.reply(fault, b"not now", Retry_After=self.server.retry_after)
        elif data is None:
            self.reply(404, b"<html>not found</html>")
        elif fault == "html":
            self.reply(200, b"<html>log in to this network</html>")
        elif "Range" in self.headers and fault != "no ranges" and self.is_same_version(data):
            start, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            self.reply_part(data, int(start), min(int(last or len(data)), len(data) - 1) + 1, fault)
        else:
            self.reply(200, data, ETag=tag(data), cut=fault == "cut")

    def reply_part(self, data, start, end, fault):
        if start >= len(data):
            self.reply(416, b"", Content_Range=f"bytes */{len(data)}")
            return
        shown = start + 1 if fault == "wrong range" else start
        span = f"bytes {shown}-{end - 1}/{len(data)}"
        self.reply(206, data[start:end], Content_Range=span, cut=fault == "cut")

    def is_same_version(self, data):
        return self.headers.get("If-Range", tag(data)) == tag(data)

    def reply(self, status, body, cut=False, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_):
        pass


def tag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


DUMP = f"simplewiki-{NEW}-pages-articles-multistream.xml.bz2"
INDEX = f"simplewiki-{NEW}-pages-articles-multistream-index.txt.bz2"
DUMP_PATH = f"/simplewiki/{NEW}/{DUMP}"
VIEWS_PATH = "/other/pageview_complete/monthly/2026/2026-04/pageviews-202604-user.bz2"
VIEWS = "pageviews-202604-user.bz2"


@pytest.fixture(scope="module")
def wiki():
    """The pages of a made wiki, its dump and index."""
    rng = random.Random(3)
    pages = make_pages(rng, 150)
    return pages, *write_dump(pages)


def monthly_views(pages):
    rows = ["de.wikipedia Kreis 12 desktop 40 A40"]
    for number, page in enumerate(pages):
        title = page.title.replace(" ", "_")
        rows += [f"demo.wikipedia {title} {number} {access} {20 + number} A1" for access in ("desktop", "mobile-web")]
    return bz2.compress("\n".join(rows).encode() + b"\n")


def wordnet_packages(base):
    """NLTK's index of packages and a WordNet of four synsets."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part in ("noun", "verb", "adj", "adv"):
            archive.writestr(f"wordnet/data.{part}", f"00001740 03 n 01 {part}_thing 0 000 | gloss\n")
    data = buffer.getvalue()
    row = (
        f'<package id="wordnet" name="WordNet" subdir="corpora" unzip="0" size="{len(data)}" unzipped_size="9" '
        f'checksum="{hashlib.md5(data).hexdigest()}" url="{base}/nltk/wordnet.zip"/>'
    )
    index = f"<nltk_data><packages>{row}</packages><collections/></nltk_data>"
    return {"/nltk/index.xml": index.encode(), "/nltk/wordnet.zip": data}


@pytest.fixture
def mirror(wiki):
    """A running `Mirror` with an old dump, a new one, and one that is being made."""
    pages, dump, index = wiki
    server = Mirror()
    server.publish("simplewiki", OLD, {DUMP.replace(NEW, OLD): dump, INDEX.replace(NEW, OLD): index})
    server.publish("simplewiki", NEW, {DUMP: dump, INDEX: index})
    server.publish("simplewiki", UNFINISHED, {}, status="in-progress")
    server.files[VIEWS_PATH] = monthly_views(pages)
    server.files[VIEWS_PATH.replace("2026-04", "2026-03").replace("202604", "202603")] = monthly_views(pages)
    server.files |= wordnet_packages(server.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(mirror, folder, *flags):
    return main(["--output", str(folder), "--base-url", mirror.url, "--backoff-s", "0.01", *flags])


def names(folder):
    return sorted(os.listdir(folder))


def test_the_newest_finished_dump_comes_with_index_and_views_and_flags_for_build_vocab(mirror, tmp_path, wiki, capsys):
    folder = tmp_path / "du mps"
    assert get(mirror, folder, "--contact", "me@example.org") == 0
    assert names(folder) == [
        VIEWS,
        f"simplewiki-{NEW}-pages-articles-multistream-index.txt.bz2",
        DUMP,
        f"simplewiki-{NEW}.json",
    ]
    assert [(folder / name).read_bytes() for name in (DUMP, INDEX)] == list(wiki[1:])
    flags = shlex.split(capsys.readouterr().out)
    assert flags == ["--dump", f"{folder}/{DUMP}", "--index", f"{folder}/{INDEX}", "--pageviews", f"{folder}/{VIEWS}"]
    [agent] = mirror.agents
    assert agent.startswith("wit400m/") and "me@example.org" in agent


def test_a_second_run_asks_nobody_and_stays_with_the_dump_that_is_there(mirror, tmp_path, capsys):
    assert get(mirror, tmp_path, "--date", OLD) == 0
    first = capsys.readouterr().out
    mirror.seen.clear()
    assert get(mirror, tmp_path) == 0
    assert capsys.readouterr().out == first
    assert mirror.seen == []
    assert get(mirror, tmp_path, "--date", "latest") == 0
    assert NEW in capsys.readouterr().out


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        pytest.param(["cut", "cut"], ["none", "half", "three quarters"], id="cut-twice"),
        pytest.param([503, 429], ["none"] * 3, id="busy"),
        pytest.param(["drop"], ["none"] * 2, id="dropped"),
        pytest.param(["cut", "no ranges"], ["none", "half"], id="no-ranges"),
        pytest.param(["cut", "wrong range"], ["none", "half", "none"], id="wrong-range"),
        pytest.param(["cut", 500, "drop"], ["none", "half", "half", "half"], id="cut-then-errors"),
    ],
)
@pytest.mark.parametrize("path", [DUMP_PATH, VIEWS_PATH])
def test_a_download_goes_on_where_it_was_cut(mirror, tmp_path, faults, ranges, path):
    mirror.faults[path] = list(faults)
    assert get(mirror, tmp_path) == 0
    data = mirror.files[path]
    assert (tmp_path / os.path.basename(path)).read_bytes() == data
    half = len(data) // 2
    starts = {"none": None, "half": f"bytes={half}-", "three quarters": f"bytes={half + (len(data) - half) // 2}-"}
    assert mirror.ranges(path) == [starts[name] for name in ranges]
    assert not [name for name in names(tmp_path) if "part" in name]


def test_a_later_run_goes_on_and_a_changed_file_starts_anew(mirror, tmp_path, capsys):
    mirror.faults[VIEWS_PATH] = ["cut"]
    assert get(mirror, tmp_path, "--retries", "0") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert VIEWS in line and "gave up after 1 tries" in line
    half = len(mirror.files[VIEWS_PATH]) // 2
    assert (tmp_path / f".{VIEWS}.part").stat().st_size == half
    changed = bytearray(mirror.files[VIEWS_PATH])
    changed[-1] ^= 1
    mirror.files[VIEWS_PATH] = bytes(changed)
    assert get(mirror, tmp_path) == 0
    assert mirror.ranges(VIEWS_PATH)[-1] == f"bytes={half}-"  # with If-Range: the whole file came
    assert (tmp_path / VIEWS).read_bytes() == changed


def test_a_killed_run_goes_on_with_the_dump_it_had_begun(mirror, tmp_path, wiki):
    mirror.delay_s = 0.4
    command = [sys.executable, "-m", "jobs", "get-dump", "--base-url", mirror.url, "--output", str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (tmp_path / f"simplewiki-{NEW}.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / DUMP).exists()
    mirror.delay_s = 0.0
    mirror.publish("simplewiki", "20260701", {})
    assert get(mirror, tmp_path) == 0
    assert (tmp_path / DUMP).read_bytes() == wiki[1]


def test_a_wiki_dumped_in_parts_is_taken_joined_or_in_its_parts(mirror, tmp_path, capsys):
    parts = {
        f"enwiki-{NEW}-pages-articles-multistream{n}.xml-p{n}p{n}.bz2": bz2.compress(b"%d" % n) for n in (1, 2, 10)
    }
    parts |= {name.replace("stream", "stream-index").replace(".xml", ".txt"): data for name, data in parts.items()}
    mirror.publish("enwiki", NEW, parts)
    mirror.publish("enwiki", NEW, {}, job="articlesmultistreamdumprecombine", status="waiting")
    assert get(mirror, tmp_path / "parts", "--wiki", "enwiki", "--date", NEW, "--views", "none") == 0
    assert set(names(tmp_path / "parts")) == {*parts, f"enwiki-{NEW}.json"}
    flags = shlex.split(capsys.readouterr().out)
    assert flags[0] == "--dump" and len(flags) == 4  # three parts; their indexes cannot be given
    joined = {DUMP.replace("simple", "en"): bz2.compress(b"all"), INDEX.replace("simple", "en"): bz2.compress(b"0:1:A")}
    mirror.publish("enwiki", NEW, joined, job="articlesmultistreamdumprecombine")
    assert get(mirror, tmp_path / "joined", "--wiki", "enwiki", "--views", "none") == 0
    assert set(names(tmp_path / "joined")) == {*joined, f"enwiki-{NEW}.json"}


def test_the_views_of_a_month_that_is_not_out_yet_are_those_of_the_month_before(mirror, tmp_path):
    del mirror.files[VIEWS_PATH]
    assert get(mirror, tmp_path) == 0
    assert "pageviews-202603-user.bz2" in names(tmp_path)


def hour_path(day, hour):
    return f"/other/pageviews/2026/2026-04/pageviews-202604{day:02d}-{hour:02d}0000.gz"


def publish_hours(mirror, *days):
    for path in [hour_path(day, hour) for day in days for hour in range(24)]:
        mirror.files[path] = gzip.compress(f"demo circle {len(path)} 0\n".encode())


def test_hours_that_the_server_lacks_are_left_out_with_a_warning_and_counted(mirror, tmp_path, capsys):
    publish_hours(mirror, 28, 30)
    del mirror.files[hour_path(30, 3)], mirror.files[hour_path(30, 4)]
    mirror.files[hour_path(30, 6)] = b""  # empty as it is
    mirror.files[hour_path(30, 8)] = gzip.compress(b"")  # empty when it is unpacked
    mirror.faults[hour_path(30, 10)] = [404]  # gone after it was seen
    mirror.faults[hour_path(30, 12)] = [503, 503]  # comes in the end
    flags = ["--views", "hourly", "--num-views", "3", "--backoff-s", "0.01"]
    assert get(mirror, tmp_path, *flags) == 0
    out, err = capsys.readouterr()
    assert (
        "wit400m get-dump: warning: 29 of 72 page-view files are not on the server, or are empty: all of 20260429, "
        "20260430 at 3 to 4, 20260430 at 6, 20260430 at 8, 20260430 at 10; their views do not count" in err
    )
    assert "45 files, " in err
    given = shlex.split(out)
    assert sum("pageviews-" in word for word in given) == 43
    assert not any(hour in out for hour in ("20260430-03", "20260430-06", "20260430-08", "20260430-10", "0429-"))
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".part", ".version"))]
    mirror.seen.clear()
    assert get(mirror, tmp_path, *flags, "--quiet") == 0
    again = capsys.readouterr()
    assert (again.out, mirror.seen) == (out, [])
    assert "warning: 29 of 72" in again.err
    assert (
        run(["build-vocab", "--dump", str(tmp_path), "--wordnet", "none", "--output", f"{tmp_path}/_v", "--dry-run"])
        == 0
    )


def test_a_server_in_trouble_is_no_missing_hour(mirror, tmp_path, capsys):
    publish_hours(mirror, 30)
    flags = ["--views", "hourly", "--backoff-s", "0.01", "--retries", "1"]
    mirror.faults[hour_path(30, 3)] = [503] * 2
    assert get(mirror, tmp_path, *flags) == 1
    assert "the server answered 503; gave up after 2 tries" in capsys.readouterr().err
    mirror.faults[hour_path(30, 4)] = ["cut"] * 9
    folder = tmp_path / "other"  # in the first the other connection may have had the file already
    assert get(mirror, folder, *flags) == 1
    assert "20260430-040000.gz: " in (err := capsys.readouterr().err) and "gave up after 2 tries" in err
    del mirror.faults[hour_path(30, 4)]
    assert get(mirror, folder, *flags) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_month_in_the_middle_may_be_missing(mirror, tmp_path, capsys):
    mirror.files[VIEWS_PATH.replace("2026-04", "2026-02").replace("202604", "202602")] = mirror.files[VIEWS_PATH]
    del mirror.files[VIEWS_PATH.replace("2026-04", "2026-03").replace("202604", "202603")]
    assert get(mirror, tmp_path, "--num-views", "2") == 0
    assert (
        "warning: 1 of 3 page-view files are not on the server, or are empty: pageviews-202603"
        in capsys.readouterr().err
    )
    assert {VIEWS, "pageviews-202602-user.bz2"} < set(names(tmp_path))


def test_a_file_that_grew_since_it_was_listed_says_how_to_begin_anew(mirror, tmp_path, capsys):
    mirror.faults[VIEWS_PATH] = [403]
    assert get(mirror, tmp_path) == 1
    mirror.files[VIEWS_PATH] += b"more"
    capsys.readouterr()
    assert get(mirror, tmp_path) == 1
    plan = tmp_path / f"simplewiki-{NEW}.json"
    assert f"to begin anew with what is there now, remove {plan}" in capsys.readouterr().err
    plan.unlink()
    assert get(mirror, tmp_path) == 0


def test_hourly_views_are_those_of_the_days_before_got_two_at_a_time(mirror, tmp_path):
    mirror.delay_s = 0.01
    publish_hours(mirror, 30)
    assert get(mirror, tmp_path, "--views", "hourly") == 0
    assert sum(name.startswith("pageviews-20260430-") for name in names(tmp_path)) == 24
    assert mirror.most_busy == 2


def bad_sha1(mirror):
    path = f"/simplewiki/{NEW}/dumpstatus.json"
    mirror.files[path] = mirror.files[path].replace(
        hashlib.sha1(mirror.files[DUMP_PATH]).hexdigest().encode(), b"0" * 40
    )


def other_size(mirror):
    mirror.files[DUMP_PATH] += b"more"


def huge(mirror):
    path = f"/simplewiki/{NEW}/dumpstatus.json"
    size = f'"size": {len(mirror.files[DUMP_PATH])}'.encode()
    mirror.files[path] = mirror.files[path].replace(size, b'"size": 900000000000000')


def not_json(mirror):
    mirror.files[f"/simplewiki/{NEW}/dumpstatus.json"] = b"<html>sorry</html>"


def other_names(mirror):
    path = f"/simplewiki/{NEW}/dumpstatus.json"
    mirror.files[path] = mirror.files[path].replace(b"pages-articles", b"../../pages")


def no_views(mirror):
    for path in [path for path in mirror.files if "pageview" in path]:
        del mirror.files[path]


def fault(path, *faults):
    return lambda mirror: mirror.faults.update({path: list(faults)})


def busy_for_long(mirror):
    mirror.retry_after = "86400"
    mirror.faults[DUMP_PATH] = [503]


MISTAKES = {
    "sha1": ([], bad_sha1, 1, "checksum mismatch"),
    "size": ([], other_size, 1, "and lists"),
    "disk-space": ([], huge, 1, "not enough room"),
    "not-json": ([], not_json, 2, "dumpstatus.json of simplewiki 20260501 is not one"),
    "other-names": ([], other_names, 2, "no part of a multistream dump"),
    "no-views": ([], no_views, 1, "no page views of this time (pageviews-202602-user.bz2, pageviews-202603"),
    "no-hours": (["--views", "hourly"], None, 1, "no page views of this time (all of 20260430)"),
    "captive-portal": ([], fault(VIEWS_PATH, "html"), 1, "an HTML page"),
    "refused": ([], fault(DUMP_PATH, 403), 1, "--contact"),
    "always-cut": (["--retries", "1"], fault(DUMP_PATH, *["drop"] * 4), 1, "gave up after 2 tries"),
    "busy-for-long": ([], busy_for_long, 1, "asks to wait 86,400 s"),
    "unknown-wiki": (["--wiki", "nowiki9"], None, 1, "has no wiki nowiki9"),
    "short-name": (["--wiki", "xx"], None, 1, "; did you mean xxwiki?"),
    "no-flag": (["simplewiki"], None, 2, "unexpected: simplewiki; a wiki is named by --wiki"),
    "unknown-flag": (["--conections", "1"], None, 2, "unexpected: --conections 1; did you mean --connections?"),
    "unknown-date": (
        ["--date", "20200101"],
        None,
        1,
        "no finished multistream dump of 20200101; it lists: 20260601, 20260501, 20260401",
    ),
    "unfinished": (["--date", UNFINISHED], None, 1, "no finished multistream dump"),
    "wiki-name": (["--wiki", "en.wikipedia"], None, 2, "wiki must be the name of a database"),
    "date-format": (["--date", "2026-04-01"], None, 2, "date must be YYYYMMDD"),
    "base-url": (["--base-url", "dumps.example"], None, 2, "base-url must be an http or https URL"),
    "offline": (["--base-url", NOWHERE], None, 1, "cannot reach 127.0.0.1:9: Connection refused"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_goes_wrong_is_one_clear_line_and_an_exit_code(mirror, tmp_path, capsys, name):
    flags, spoil, code, message = MISTAKES[name]
    if spoil:
        spoil(mirror)
    assert get(mirror, tmp_path, "--date", NEW, *flags) == code
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / DUMP).exists() or name in ("captive-portal", "no-views", "no-hours")


def test_a_full_disk_is_one_clear_line_and_the_next_run_continues(mirror, tmp_path, capsys, monkeypatch, wiki):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 1000:
                super().write(data[:1000])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(
        "pipeline.dumps.partial_files.open",
        lambda path, mode="r", buffering=-1: Full(path, mode) if DUMP in path and not buffering else open(path, mode),  # noqa: SIM115
        raising=False,
    )
    assert get(mirror, tmp_path, "--views", "none") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert f"no space left in {tmp_path}" in line
    monkeypatch.undo()
    assert get(mirror, tmp_path, "--views", "none") == 0
    assert "bytes=1000-" in mirror.ranges(DUMP_PATH)
    assert (tmp_path / DUMP).read_bytes() == wiki[1]


def test_a_file_of_another_size_in_the_place_of_the_dump_is_refused(mirror, tmp_path, capsys):
    (tmp_path / DUMP).write_bytes(b"half a download of another program")
    assert get(mirror, tmp_path) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "move it away" in line
    assert (tmp_path / DUMP).read_bytes().startswith(b"half")


def test_build_vocab_reads_urls_and_the_whole_folder_as_it_reads_files(mirror, tmp_path, capsys):
    assert get(mirror, tmp_path / "dumps") == 0
    flags = shlex.split(capsys.readouterr().out)
    urls = [f"{mirror.url}/simplewiki/{NEW}/{name}" for name in (DUMP, INDEX)] + [f"{mirror.url}{VIEWS_PATH}"]
    remote = dict(zip(["--dump", "--index", "--pageviews"], urls, strict=True))
    folder = ["--dump", str(tmp_path / "dumps")]
    by_url = [word for pair in remote.items() for word in pair]
    for name, given in (("local", flags), ("folder", folder), ("remote", by_url)):
        assert (
            run(["build-vocab", *given, "--wordnet", "none", "--workers", "1", "--output", str(tmp_path / name)]) == 0
        )
    queries = [(tmp_path / name / "queries.tsv").read_bytes() for name in ("local", "folder", "remote")]
    assert queries[0] == queries[1] == queries[2]
    assert b"circle" in queries[0]
    identities = [read_stage(str(tmp_path / name))["identity"] for name in ("local", "folder")]
    assert identities[0] == identities[1]
    assert [wanted for wanted in mirror.ranges(f"/simplewiki/{NEW}/{DUMP}") if wanted]  # parts of it, not the whole


def test_a_folder_that_get_dump_has_not_filled_yet_is_told_and_so_are_two_dumps_in_one(mirror, tmp_path, capsys):
    assert get(mirror, tmp_path, "--quiet") == 0
    (tmp_path / VIEWS).rename(tmp_path / f".{VIEWS}.part")
    build = ["build-vocab", "--dump", str(tmp_path), "--wordnet", "none", "--output", str(tmp_path / "_vocab")]
    capsys.readouterr()
    assert run(build) == 2
    assert f"get-dump has not finished: {VIEWS} of" in capsys.readouterr().err
    (tmp_path / f".{VIEWS}.part").rename(tmp_path / VIEWS)
    assert run([*build, "--dry-run"]) == 0
    assert get(mirror, tmp_path, "--date", OLD, "--views", "none", "--quiet") == 0
    capsys.readouterr()
    assert run(build) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"the dumps of simplewiki-{OLD} and simplewiki-{NEW}: give the files of one" in line


@pytest.mark.parametrize(
    ("index", "message"),
    [
        pytest.param(b"<html><p>", "is no index of NLTK's packages", id="not-xml"),
        pytest.param(b"<nltk_data><packages/></nltk_data>", "lists no wordnet", id="not-listed"),
        pytest.param(None, "checksum mismatch: it is md5:", id="checksum"),
    ],
)
def test_a_wordnet_that_cannot_be_had_is_one_clear_line(mirror, tmp_path, capsys, monkeypatch, index, message):
    monkeypatch.setenv("PATH", "")  # no apt-get
    if index:
        mirror.files["/nltk/index.xml"] = index
    else:
        mirror.files["/nltk/wordnet.zip"] = bytes(len(mirror.files["/nltk/wordnet.zip"]))
    assert get_wordnet(["--output", str(tmp_path), "--index-url", f"{mirror.url}/nltk/index.xml"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line and "there is no apt-get" in line


def make(checkout, *arguments):
    """Runs make with the environment that runs these tests."""
    prefix = sys.prefix
    if not shutil.which("make") or not os.path.exists(f"{prefix}/bin/wit400m"):
        pytest.skip("needs make and an environment with wit400m in it")
    command = ["make", "-s", "-o", f"{prefix}/installed", f"VENV={prefix}", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def test_make_vocab_builds_the_vocabulary_from_nothing_and_a_second_time_does_nothing(mirror, tmp_path, checkout):
    data = tmp_path / "data"
    arguments = ["vocab", f"BASE={mirror.url}", f"DATA={data}", "ARGS=--wordnet none --workers 1 --min-views 30"]
    done = make(checkout, *arguments)
    assert done.returncode == 0, done.stderr
    rows = {row["query"]: row for row in read_table(str(data / "vocab" / "queries.parquet")).to_pylist()}
    assert rows["circle"]["sources"] == ["word", "title"]
    assert "synsets" not in done.stderr
    mirror.seen.clear()
    again = make(checkout, *arguments)
    assert again.returncode == 0
    assert "already done" in again.stdout
    assert mirror.seen == []


def test_make_vocab_takes_paths_instead_and_stops_at_the_first_error(mirror, tmp_path, checkout, wiki):
    (tmp_path / "dump.xml.bz2").write_bytes(wiki[1])
    (tmp_path / "views.bz2").write_bytes(monthly_views(wiki[0]))
    paths = [f"DUMP={tmp_path}/dump.xml.bz2", f"VIEWS={tmp_path}/views.bz2", "WORDNET=none", "ARGS=--workers 1"]
    done = make(checkout, "vocab", f"DATA={tmp_path}/data", *paths)
    assert done.returncode == 0, done.stderr
    assert mirror.seen == []
    assert read_table(f"{tmp_path}/data/vocab/queries.parquet").num_rows > 100
    failed = make(checkout, "vocab", f"DATA={tmp_path}/no", f"BASE={NOWHERE}", "WORDNET=none")
    assert failed.returncode != 0
    assert "get-dump: error: cannot reach" in failed.stderr
    assert not (tmp_path / "no" / "vocab").exists()


def test_wordnet_comes_from_the_mirror_too(mirror, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [])
    flags = ["--output", str(tmp_path), "--index-url", f"{mirror.url}/nltk/index.xml"]
    assert get_wordnet(flags) == 0
    assert "downloaded" in capsys.readouterr().out
    assert sorted(read_lemmas(str(tmp_path))["lemma"].to_pylist()) == [
        "adj thing",
        "adv thing",
        "noun thing",
        "verb thing",
    ]
    mirror.seen.clear()
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    assert get_wordnet(["--if-missing", "--output", str(tmp_path / "other")]) == 0
    assert "found" in capsys.readouterr().out
    assert mirror.seen == [] and not (tmp_path / "other").exists()
