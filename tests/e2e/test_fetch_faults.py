"""The web at its worst, over a whole run: what can wait is waited for, and no good image is lost."""

import asyncio
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from jobs.__main__ import main
from jobs.runner import PoorResult, run_stage
from pipeline.base import files
from pipeline.base.lineage import read_stage
from tests.e2e.conftest import JPEG, answer, image, not_found, redirect
from tests.e2e.test_fetch_hostile import fetch, outcome
from tests.e2e.test_fetch_images import many_pairs, read_index, stage_for, tar_bytes, write_data


def images(number, host="www.example"):
    return [f"http://{host}/image/{seed}.jpg" for seed in range(number)]


def statuses(found):
    return [outcome(one) for one in found]


def answers_in_turn(*handlers):
    """A handler that answers the first requests each in its way, and all others as the last."""
    left = list(handlers)

    async def handler(visit):
        return await (left.pop(0) if len(left) > 1 else left[0])(visit)

    return handler


async def reset(visit):
    visit.writer.transport.abort()
    return False


BUSY = answer(b"", 429, Retry_After="1")


def test_one_429_costs_no_image_of_its_host(loopback):
    loopback.handlers["/image/3.jpg"] = answers_in_turn(BUSY, image)
    assert statuses(fetch(loopback, *images(50))) == ["ok"] * 50


def test_a_url_that_always_says_429_costs_no_other_one(loopback):
    loopback.handlers["/image/0.jpg"] = BUSY
    assert statuses(fetch(loopback, *images(30), retries=1)) == ["throttled"] + ["ok"] * 29


@pytest.mark.parametrize("status", [500, 502, 503])
def test_urls_that_answer_5xx_say_nothing_against_their_host(loopback, status):
    for seed in range(10):
        loopback.handlers[f"/image/{seed}.jpg"] = answer(b"", status)
    assert statuses(fetch(loopback, *images(60), retries=0)) == ["http_error"] * 10 + ["ok"] * 50


@pytest.mark.parametrize("refusal", [answer(b"no", 403), answer(b"<html>log in</html>", Content_Type="text/html")])
def test_a_host_that_refuses_everything_is_not_asked_for_everything(loopback, refusal):
    for seed in range(100):
        loopback.handlers[f"/image/{seed}.jpg"] = refusal
    found = statuses(fetch(loopback, *images(100)))
    assert found.count("host_refuses") > 70
    assert set(found) <= {"host_refuses", "http_refused", "unknown_format"}


def test_urls_that_fail_now_and_then_are_tried_again_and_none_is_lost(loopback):
    faults = [answer(b"", 500), reset, answer(b"", 503), BUSY]
    for seed in range(40):
        loopback.handlers[f"/image/{seed}.jpg"] = answers_in_turn(faults[seed % 4], image)
    assert statuses(fetch(loopback, *images(40), retries=3)) == ["ok"] * 40


HEADERS = [
    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("Retry-After", "10 Jan"),
    ("Retry-After", "99999999999999999999"),
    ("Retry-After", "-1"),
    ("Retry-After", "soon \xe4\xff"),
    ("Location", "http://" + "a" * 64 + ".example/x.jpg"),
    ("Location", "http://[::1"),
    ("Location", "//\x80\xff/"),
    ("Content-Type", "image/\xff"),
    ("X-Robots-Tag", "unavailable_after: 99 Foo 99999, \xff"),
    ("Content-Encoding", ",,gzip;q=1,\xff"),
    ("Content-Length", "5, 7"),
    ("tdm-reservation", "\xff"),
]


@pytest.mark.parametrize("status", [200, 302, 429, 503])
def test_no_header_line_ends_the_run(loopback, status):
    async def odd(visit, number):
        name, value = HEADERS[number]
        lines = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{name}: {value}\r\n\r\n"
        await visit.raw(lines.encode("latin-1"))

    for number in range(len(HEADERS)):
        loopback.handlers[f"/odd/{number}.jpg"] = lambda visit, number=number: odd(visit, number)
    urls = [f"http://h{number}.example/odd/{number}.jpg" for number in range(len(HEADERS))]
    found = fetch(loopback, *urls, *images(3), retries=0, max_wait_s=0.5, host_failures=1)
    assert statuses(found)[-3:] == ["ok"] * 3
    assert "internal_error" not in statuses(found)


def test_urls_that_cannot_be_are_bad_and_no_others_are_lost(loopback):
    bad = [
        "http://" + "a" * 64 + ".example/1.jpg",
        "http://a..example/",
        "http://xn--\xff.example/",
        "http://%00/",
    ]
    assert statuses(fetch(loopback, *bad, *images(3))) == ["bad_url"] * 4 + ["ok"] * 3


def test_what_the_fetcher_itself_gets_wrong_costs_one_url_and_is_logged(loopback, monkeypatch, caplog):
    from pipeline.fetching import client

    original = client.WebClient._receive_image

    async def fails(self, response, deadline, is_reserved):
        if response.url.path == "/image/1.jpg":
            raise KeyError("a fault of ours")
        return await original(self, response, deadline, is_reserved)

    monkeypatch.setattr(client.WebClient, "_receive_image", fails)
    assert statuses(fetch(loopback, *images(4))) == ["ok", "internal_error", "ok", "ok"]
    assert "http://www.example/image/1.jpg" in caplog.text


def test_answers_that_browsers_take_are_taken(loopback):
    async def twice(visit):
        size = len(JPEG)
        await visit.raw(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n".encode())
        await visit.raw(f"content-length: {size}, {size}\r\nX: {'y' * 20_000}\r\n\r\n".encode() + JPEG)

    async def early(visit):
        await visit.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await visit.reply(JPEG)

    loopback.handlers |= {"/twice.jpg": twice, "/early.jpg": early, "/utf8.jpg": answer(JPEG, Content_Encoding="utf-8")}
    found = fetch(loopback, "/twice.jpg", "/twice.jpg?again", "/early.jpg", "/utf8.jpg", "/changed.jpg", "/no-gzip.jpg")
    assert statuses(found) == ["ok"] * 6


SILENT_S = 0.8  # longest silence in the tests below: a second request is sent after half of it


async def silence(visit):
    await asyncio.sleep(10 * SILENT_S)


def late(handler, seconds):
    async def answers_late(visit):
        await asyncio.sleep(seconds)
        return await handler(visit)

    return answers_late


async def half(visit):
    await visit.head(200, Content_Length=str(len(JPEG)))
    await visit.raw(JPEG[: len(JPEG) // 2])
    return await silence(visit)


@pytest.mark.parametrize(
    ("handlers", "expected"),
    [
        ([silence, image], ("ok", 2)),  # the second answers, while the first is silent
        ([half, image], ("ok", 2)),
        ([late(image, 0.75 * SILENT_S), silence], ("ok", 2)),  # the first does, in time
        ([late(not_found, 0.75 * SILENT_S), silence], ("not_found", 2)),
        ([late(reset, 0.6 * SILENT_S), late(image, 0.4 * SILENT_S)], ("ok", 2)),  # a failure is no answer
        ([late(image, 0.7 * SILENT_S), reset], ("ok", 2)),
        ([silence], ("timed_out", 2)),  # neither, and there is no third
        ([half], ("timed_out", 2)),
        ([image], ("ok", 1)),
    ],
)
def test_a_request_that_is_silent_is_sent_again_beside_and_the_first_answer_counts(loopback, handlers, expected):
    loopback.handlers["/image/0.jpg"] = answers_in_turn(*handlers)
    found = fetch(loopback, "/image/0.jpg", *images(3)[1:], read_timeout_s=SILENT_S, timeout_s=8 * SILENT_S)
    assert (outcome(found[0]), loopback.visits("/image/0.jpg")) == expected
    assert statuses(found[1:]) == ["ok"] * 2


def test_a_redirect_of_either_request_is_followed_once(loopback):
    loopback.handlers["/image/0.jpg"] = answers_in_turn(late(redirect("/image/1.jpg"), 0.75 * SILENT_S), silence)
    found = fetch(loopback, "/image/0.jpg", read_timeout_s=SILENT_S, timeout_s=8 * SILENT_S)
    assert (statuses(found), loopback.visits("/image/1.jpg")) == (["ok"], 1)


def test_without_further_tries_nothing_is_sent_twice(loopback):
    loopback.handlers["/image/0.jpg"] = answers_in_turn(silence, image)
    assert statuses(fetch(loopback, "/image/0.jpg", read_timeout_s=SILENT_S, retries=0)) == ["timed_out"]
    assert loopback.visits("/image/0.jpg") == 1


def test_a_second_request_waits_for_a_connection_of_its_host(loopback):
    loopback.handlers["/image/0.jpg"] = answers_in_turn(silence, image)
    found = fetch(loopback, "/image/0.jpg", read_timeout_s=SILENT_S, timeout_s=8 * SILENT_S, host_connections=1)
    first, second = [at for (_, path), at in zip(loopback.seen, loopback.seen_at, strict=True) if path[1] == "i"]
    assert statuses(found) == ["ok"]
    assert second - first > 0.9 * SILENT_S


def test_a_site_s_reservation_file_counts_unless_the_answer_says_otherwise(loopback):
    rules = b'[{"location": "/image/", "tdm-reservation": 1}]'
    loopback.handlers["/.well-known/tdmrep.json"] = answer(rules, Content_Type="application/json")
    loopback.handlers["/image/2.jpg"] = answer(JPEG, tdm_reservation="0")
    paths = ["/image/1.jpg", "/image/2.jpg", "/good.jpg"]
    assert statuses(fetch(loopback, *paths)) == ["opted_out", "ok", "ok"]
    assert loopback.visits("/.well-known/tdmrep.json") == 1
    assert statuses(fetch(loopback, *paths, tdm_file=False)) == ["ok"] * 3


def test_rules_for_use_in_robots_txt_count(loopback):
    loopback.robots["www.example"] = "User-agent: *\nAllow: /\nContent-Usage: /image/ train-ai=n"
    assert statuses(fetch(loopback, "/image/1.jpg", "/good.jpg")) == ["opted_out", "ok"]
    assert ("www.example", "/image/1.jpg") not in loopback.seen


def test_names_that_nobody_answers_for_cost_no_time_of_others(loopback):
    dead = [f"http://nothing{number}.invalid/1.jpg" for number in range(30)]
    found = fetch(loopback, *dead, *images(20), dns_timeout_s=0.5, retries=0, concurrency=4)
    assert statuses(found) == ["unresolved"] * 30 + ["ok"] * 20


def test_hosts_that_take_no_connection_take_no_place_of_those_that_answer(loopback):
    dead = [f"http://dead{number}.test/1.jpg" for number in range(20)]
    closed = (*loopback.connect_to, "*.test=127.0.0.1:9")
    assert statuses(fetch(loopback, *dead, *images(20), connect_to=closed, retries=1, concurrency=2)) == [
        *["connect_failed"] * 20,
        *["ok"] * 20,
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_host_is_asked_faster_than_its_rate_however_many_units_and_workers(tmp_path, loopback, workers):
    write_data(tmp_path, [(f"http://{host}.example/image/{n}.jpg", f"t{n}") for host in "ab" for n in range(24)])
    stage = stage_for(tmp_path, loopback, host_rate=20.0, unit_urls=4)
    counts = run_stage(stage, workers=workers, quiet=True)
    assert counts["images/kept"] == 48
    for host in ("a.example", "b.example"):
        moments = [moment for (name, _), moment in zip(loopback.seen, loopback.seen_at, strict=True) if name == host]
        assert len(moments) >= 24
        spans = [later - earlier for earlier, later in zip(moments, moments[10:], strict=False)]
        assert min(spans) > 0.35, "ten take half a second, but for what the way there may differ"
        assert [path for name, path in loopback.seen if name == host].count("/robots.txt") == 1


def test_hosts_of_one_site_are_together_asked_no_faster_than_the_site_s_share(tmp_path, loopback):
    write_data(tmp_path, [(f"http://h{n}.site.example/image/{n}.jpg", f"t{n}") for n in range(40)])
    stage = stage_for(tmp_path, loopback, host_rate=10.0, shared_limit=4.0, unit_urls=5, tdm_file=False)
    run_stage(stage, workers=2, quiet=True)
    taken_s = loopback.seen_at[-1] - loopback.seen_at[0]
    assert len(loopback.seen) == 80
    assert taken_s > 79 / 40 * 0.9


def test_a_crawl_delay_is_kept_between_requests_as_they_arrive(loopback):
    loopback.robots["www.example"] = "User-agent: *\nCrawl-delay: 0.3"
    loopback.delay_s = 0.25
    fetch(loopback, *images(6), concurrency=1, tdm_file=False)
    gaps = [later - earlier for earlier, later in pairwise(loopback.seen_at)]
    assert min(gaps[1:]) > 0.27


def test_a_run_without_a_network_fails_and_a_retry_brings_all_of_it(tmp_path, loopback, capsys):
    write_data(tmp_path, many_pairs(60))
    away = {"connect_to": ("*.example=127.0.0.1:9",), "retries": 0}
    with pytest.raises(PoorResult, match="connect_failed"):
        run_stage(stage_for(tmp_path, loopback, **away), quiet=True)
    assert read_stage(str(tmp_path / "raw"))["counts"]["images/drop/connect_failed"] == 60
    whole = run_stage(stage_for(tmp_path, loopback, output="whole", retries=0), quiet=True)
    again = run_stage(stage_for(tmp_path, loopback, retry=("connect", "timeout"), retries=0), quiet=True)
    assert again == whole
    assert tar_bytes(tmp_path / "raw") == tar_bytes(tmp_path / "whole")
    assert read_index(tmp_path / "raw") == read_index(tmp_path / "whole")


def test_the_command_says_so_by_its_exit_code(tmp_path, loopback, capsys):
    write_data(tmp_path, many_pairs(40))
    flags = ["fetch-images", "--data", str(tmp_path), "--contact", "me@lab.example", "--retries", "0"]
    flags += ["--connect-to", "*.example=127.0.0.1:9", "--host-rate", "0"]
    for _ in range(2):
        assert main(flags) == 4
        assert "--retry connect_failed" in capsys.readouterr().err
    assert main([*flags, "--min-success", "0"]) == 0
    assert main([*flags, "--retry", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_retry_asks_for_what_failed_in_the_way_named_and_keeps_all_else(tmp_path, loopback):
    write_data(tmp_path, [(url, url) for url in images(30)])
    for seed in range(6):
        loopback.handlers[f"/image/{seed}.jpg"] = answers_in_turn(answer(b"", 500), image)
    loopback.handlers["/image/6.jpg"] = answers_in_turn(not_found, image)
    first = run_stage(stage_for(tmp_path, loopback, retries=0, unit_urls=10), quiet=True)
    assert (first["images/kept"], first["images/drop/http_error"], first["images/drop/not_found"]) == (23, 6, 1)
    loopback.seen.clear()
    second = run_stage(stage_for(tmp_path, loopback, retries=0, unit_urls=10, retry=("5xx",)), quiet=True)
    asked = sorted(path for _, path in loopback.seen if path.startswith("/image/"))
    assert asked == [f"/image/{seed}.jpg" for seed in range(6)]
    assert (second["images/kept"], second["images/drop/not_found"]) == (29, 1)
    assert "images/drop/http_error" not in second
    undisturbed = run_stage(
        stage_for(tmp_path, loopback, output="other", retries=0, unit_urls=10, retry=()), quiet=True
    )
    assert undisturbed["images/kept"] == 30
    rows = {row["image_url"]: row for row in read_index(tmp_path / "other")}
    assert all(
        row["sha256"] == rows[row["image_url"]]["sha256"] for row in read_index(tmp_path / "raw") if row["sha256"]
    )


@pytest.mark.parametrize("killed_at", ["tar", "index"])
def test_a_retry_that_is_killed_between_its_tar_and_its_index_costs_no_image(tmp_path, loopback, killed_at):
    write_data(tmp_path, [(url, url) for url in images(20)])
    for seed in range(6):
        loopback.handlers[f"/image/{seed}.jpg"] = answers_in_turn(answer(b"", 500), image)
    options = {"retries": 0, "min_success": 0.0}
    assert run_stage(stage_for(tmp_path, loopback, **options), quiet=True)["images/kept"] == 14
    before = tar_bytes(tmp_path / "raw")
    code = (
        "import os, signal, sys; from jobs.__main__ import main; from pipeline.fetching import unit\n"
        "rename = os.replace\n"
        "def die(source, target):\n"
        f"    if target.endswith('raw/raw-00000.{'tar' if killed_at == 'tar' else 'index.parquet'}'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    rename(source, target)\n"
        "os.replace = die; sys.exit(main(sys.argv[1:]))"
    )
    flags = ["fetch-images", "--data", str(tmp_path), "--contact", "me@lab.example", "--host-rate", "0", "--quiet"]
    flags += ["--retries", "0", "--workers", "1", "--connect-to", *loopback.connect_to, "--retry", "5xx"]
    ended = subprocess.run([sys.executable, "-c", code, *flags], timeout=120)
    assert ended.returncode == -9
    assert (tar_bytes(tmp_path / "raw") == before) == (killed_at == "tar")
    loopback.seen.clear()
    counts = run_stage(stage_for(tmp_path, loopback, **options, retry=("5xx",)), quiet=True)
    asked = {path for _, path in loopback.seen if path.startswith("/image/")}
    assert asked == ({f"/image/{seed}.jpg" for seed in range(6)} if killed_at == "tar" else set())
    assert counts["images/kept"] == 20
    run_stage(stage_for(tmp_path, loopback, output="whole", **options), quiet=True)
    assert tar_bytes(tmp_path / "raw") == tar_bytes(tmp_path / "whole")
    assert read_index(tmp_path / "raw") == read_index(tmp_path / "whole")
    assert not list((tmp_path / "raw").glob("_next*"))


def test_who_asks_for_a_long_pause_is_named_with_its_time_and_asked_when_it_is_over(tmp_path, loopback):
    write_data(tmp_path, [(url, url) for url in [*images(4), *images(4, "busy.example")]])
    long = answer(b"", 429, Retry_After="30")

    async def busy(visit):
        return await (long if visit.host == "busy.example" else image)(visit)

    for seed in range(4):
        loopback.handlers[f"/image/{seed}.jpg"] = busy
    options = {"max_wait_s": 5.0, "min_success": 0.0}
    counts = run_stage(stage_for(tmp_path, loopback, **options), quiet=True)
    assert (counts["images/kept"], counts["images/drop/throttled"]) == (4, 4)
    [waiting] = (tmp_path / "raw").glob("*.waiting.json")
    assert list(files.read_json(str(waiting))) == ["busy.example"]
    loopback.seen.clear()
    run_stage(stage_for(tmp_path, loopback, **options, retry=("429",)), quiet=True)
    assert loopback.seen == [], "it asked to be left alone, and its time is not over"
    files.write_json(str(waiting), {"busy.example": 0.0})
    for seed in range(4):
        loopback.handlers[f"/image/{seed}.jpg"] = image
    assert run_stage(stage_for(tmp_path, loopback, **options, retry=("429",)), quiet=True)["images/kept"] == 8
    assert not list((tmp_path / "raw").glob("*.waiting.json"))


def test_a_proxy_is_asked_for_everything(loopback):
    proxy = f"http://127.0.0.1:{loopback.port}"

    async def proxied(visit):
        await visit.reply(JPEG)

    loopback.handlers["http://away.test/good.jpg"] = proxied
    found = fetch(loopback, "http://away.test/good.jpg", proxy=proxy, connect_to=(), robots=False, tdm_file=False)
    assert statuses(found) == ["ok"]
    assert loopback.seen == [("away.test", "http://away.test/good.jpg")]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--contact", "nobody"), ("--contact", "a@b\r\nX: y"), ("--proxy", "socks4://x"), ("--proxy", "x")],
)
def test_options_that_cannot_be_are_named(tmp_path, capsys, flag, value):
    write_data(tmp_path, many_pairs(2))
    assert main(["fetch-images", "--data", str(tmp_path), "--contact", "me@lab.example", flag, value]) == 2
    assert flag.strip("-") in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_nobody_is_asked_without_a_contact(tmp_path, capsys):
    write_data(tmp_path, many_pairs(2))
    assert main(["fetch-images", "--data", str(tmp_path)]) == 2
    assert "contact" in capsys.readouterr().err


def test_a_disk_that_is_full_is_one_line(tmp_path, loopback):
    write_data(tmp_path, many_pairs(30))
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from jobs.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    flags = ["fetch-images", "--data", str(tmp_path), "--contact", "me@lab.example", "--host-rate", "0", "--quiet"]
    command = [sys.executable, "-c", code, *flags, "--connect-to", *loopback.connect_to, "--workers", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
