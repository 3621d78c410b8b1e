"""The fetcher against a server on the loopback interface that does everything a server should not."""

import time
from functools import partial

import pytest

from pipeline.base.drops import DropReason
from pipeline.fetching.crawler import fetch_images, run_loop
from pipeline.fetching.rules import FetchRules
from pipeline.pixels.images import CheckedImage, ImageRules, normalize_image


def fetch(loopback, *urls, **options):
    """What came of URLs; paths are of www.example."""
    defaults = {"connect_to": loopback.connect_to, "host_rate": 0.0, "read_timeout_s": 1.0, "timeout_s": 2.0}
    rules = FetchRules(**defaults | options)
    found = {}
    full = [url if "://" in url else f"http://www.example{url}" for url in urls]
    run_loop(
        lambda: fetch_images(
            full, rules, normalize=partial(normalize_image, rules=ImageRules()), store=found.__setitem__
        )
    )
    assert sorted(found) == sorted(full)
    return [found[url] for url in full]


def outcome(fetched):
    return str(fetched.image) if isinstance(fetched.image, DropReason) else "ok"


@pytest.mark.parametrize(
    ("path", "expected", "visits"),
    [
        ("/good.jpg", "ok", 1),
        ("/nothing.jpg", "not_found", 1),
        ("/gone.jpg", "not_found", 1),
        ("/forbidden.jpg", "http_refused", 1),
        ("/error.jpg", "http_error", 2),
        ("/fails-once.jpg", "ok", 2),
        ("/busy.jpg", "throttled", 1),
        ("/loop.jpg", "too_many_redirects", 6),
        ("/to-good.jpg", "ok", 1),
        ("/to-private.jpg", "private_address", 1),
        ("/to-private-name.jpg", "private_address", 1),
        ("/to-file.jpg", "bad_redirect", 1),
        ("/to-credentials.jpg", "bad_redirect", 1),
        ("/to-nowhere.jpg", "bad_redirect", 1),
        ("/endless.jpg", "too_many_bytes", 1),
        ("/drip.jpg", "too_slow", 1),
        ("/huge.jpg", "too_many_bytes", 1),
        ("/stalls.jpg", "timed_out", 2),
        ("/silent.jpg", "timed_out", 2),
        ("/hangs-up.jpg", "broken_answer", 3),  # the first may have been lost to a connection that was closed already
        ("/cut-off.jpg", "broken_answer", 2),
        ("/gibberish.jpg", "broken_answer", 2),
        ("/gzip.jpg", "ok", 1),
        ("/deflate.jpg", "ok", 1),
        ("/br.jpg", "ok", 1),
        ("/zip-bomb.jpg", "too_many_bytes", 1),
        ("/two-gzips.jpg", "ok", 1),
        ("/no-gzip.jpg", "ok", 1),
        ("/changed.jpg", "ok", 1),
        ("/odd-encoding.jpg", "ok", 1),
        ("/noai.jpg", "opted_out", 1),
        ("/noindex.jpg", "opted_out", 1),
        ("/other-noai.jpg", "ok", 1),
        ("/dated.jpg", "opted_out", 1),
        ("/expired.jpg", "opted_out", 1),
        ("/usage.jpg", "opted_out", 1),
        ("/signal.jpg", "opted_out", 1),
        ("/tdm-lines.jpg", "opted_out", 1),
        ("/to-long-label.jpg", "bad_redirect", 1),
        ("/tdm.jpg", "opted_out", 1),
        ("/marked.jpg", "opted_out_embedded", 1),
        ("/bomb.png", "too_many_pixels", 1),
        ("/truncated.jpg", "broken_image", 1),
        ("/sideways.jpg", "ok", 1),
        ("/deep.png", "ok", 1),
        ("/vector.svg", "unknown_format", 1),
        ("/page.jpg", "unknown_format", 1),
        ("/empty.jpg", "unknown_format", 1),
        ("/dot.gif", "too_small", 1),
        ("/banner.jpg", "too_narrow", 1),
    ],
)
def test_every_answer_has_its_outcome_and_only_passing_errors_are_tried_again(loopback, path, expected, visits):
    started = time.monotonic()
    [fetched] = fetch(loopback, path, retries=1, max_bytes=1_000_000)
    assert outcome(fetched) == expected
    assert loopback.visits(path) == visits
    assert time.monotonic() - started < 30, "the slowest answers take a minute and more"


def test_what_robots_txt_disallows_is_never_asked_for(loopback):
    loopback.robots["www.example"] = "User-agent: *\nDisallow: /image/\nAllow: /image/2.jpg$"
    loopback.robots["named.example"] = "User-agent: *\nAllow: /\n\nUser-agent: WIT400M\nDisallow: /"
    found = fetch(loopback, "/image/1.jpg", "/image/2.jpg", "/good.jpg", "http://named.example/good.jpg")
    assert [outcome(f) for f in found] == ["robots_disallow", "ok", "ok", "robots_disallow"]
    assert ("www.example", "/image/1.jpg") not in loopback.seen
    assert ("named.example", "/good.jpg") not in loopback.seen


def test_robots_txt_can_be_left_aside(loopback):
    loopback.robots["www.example"] = "User-agent: *\nDisallow: /"
    [fetched] = fetch(loopback, "/good.jpg", robots=False)
    assert outcome(fetched) == "ok"
    assert loopback.visits("/robots.txt") == 0


@pytest.mark.parametrize(
    ("status", "expected"), [(404, "ok"), (403, "ok"), (500, "robots_unavailable"), (429, "robots_unavailable")]
)
def test_a_robots_txt_that_fails_forbids_as_the_standard_says(loopback, status, expected):
    loopback.robots["www.example"] = status
    assert [outcome(f) for f in fetch(loopback, "/good.jpg", retries=0)] == [expected]


def test_robots_txt_is_asked_for_once_an_origin_and_its_redirects_are_followed(loopback):
    loopback.robots["www.example"] = ""
    fetch(loopback, *(f"/image/{seed}.jpg" for seed in range(8)), "http://b.example/good.jpg")
    assert loopback.visits("/robots.txt") == 2


def test_a_redirect_obeys_the_robots_txt_of_where_it_leads(loopback):
    loopback.robots["other.example"] = "User-agent: *\nDisallow: /"
    assert [outcome(f) for f in fetch(loopback, "/to-good.jpg")] == ["robots_disallow"]


def test_crawl_delay_sets_the_pace(loopback):
    loopback.robots["www.example"] = "User-agent: *\nCrawl-delay: 0.3"
    started = time.monotonic()
    found = fetch(loopback, *(f"/image/{seed}.jpg" for seed in range(4)))
    assert [outcome(f) for f in found] == ["ok"] * 4
    assert time.monotonic() - started >= 0.9


def test_a_host_that_asks_for_endless_pauses_is_left_alone(loopback):
    loopback.robots["www.example"] = "User-agent: *\nCrawl-delay: 86400"
    assert [outcome(f) for f in fetch(loopback, "/good.jpg")] == ["crawl_delay"]


def test_the_rate_of_one_host_is_limited_and_of_many_is_not(loopback):
    started = time.monotonic()
    fetch(loopback, *(f"/image/{seed}.jpg" for seed in range(6)), host_rate=10.0)
    assert time.monotonic() - started >= 0.5
    started = time.monotonic()
    fetch(loopback, *(f"http://h{number}.example/good.jpg" for number in range(20)), host_rate=2.0, robots=False)
    assert time.monotonic() - started < 9, "one host at this rate would take 9.5 seconds"


def test_429_with_retry_after_pauses_the_whole_host(loopback):
    started = time.monotonic()
    found = fetch(loopback, "/throttles.jpg", "/good.jpg", host_connections=1)
    assert [outcome(f) for f in found] == ["ok", "ok"]
    assert time.monotonic() - started >= 2
    assert loopback.seen.index(("www.example", "/good.jpg")) > loopback.seen.index(("www.example", "/throttles.jpg"))


def test_a_dead_host_costs_a_few_failures_and_not_one_a_url(loopback):
    paths = [f"/silent.jpg?{number}" for number in range(40)]
    found = fetch(loopback, *paths, retries=0, host_failures=3, host_connections=2, read_timeout_s=0.3)
    assert {outcome(f) for f in found} == {"timed_out", "host_down"}
    assert sum(path.startswith("/silent") for _, path in loopback.seen) <= 5


def test_a_host_without_robots_txt_answer_is_given_up_at_once_for_all_its_urls(loopback):
    started = time.monotonic()
    urls = [f"http://closed.test/{number}.jpg" for number in range(100)]
    found = fetch(loopback, *urls, connect_to=("closed.test=127.0.0.1:9",), retries=1)
    assert {outcome(f) for f in found} == {"connect_failed"}
    assert time.monotonic() - started < 30, "100 URLs at a second each would take longer"


def test_time_for_one_host_is_bounded(loopback):
    found = fetch(
        loopback, *(f"/image/{n}.jpg" for n in range(100)), host_time_s=1.0, host_rate=10.0, host_connections=1
    )
    outcomes = [outcome(f) for f in found]
    assert set(outcomes) == {"ok", "host_time"}
    assert 5 <= outcomes.count("ok") <= 12


def test_names_and_ports_that_nobody_answers_are_named(loopback):
    closed = (*loopback.connect_to, "closed.test=127.0.0.1:9")
    found = fetch(loopback, "http://closed.test/a.jpg", "/good.jpg", connect_to=closed, retries=0)
    assert [outcome(f) for f in found] == ["connect_failed", "ok"]
    [fetched] = fetch(loopback, "https://www.example/good.jpg", retries=0)
    assert outcome(fetched) == "tls_failed"


def test_private_addresses_are_refused_unless_they_are_allowed(loopback):
    url = f"http://127.0.0.1:{loopback.port}/good.jpg"
    named = f"http://localhost:{loopback.port}/good.jpg"
    found = fetch(loopback, url, "http://127.0.0.1/", "http://localhost/", "http://0.0.0.0/", "http://[::]/", retries=0)
    assert [outcome(f) for f in found] == ["private_address"] * 5
    assert loopback.seen == []
    assert [outcome(f) for f in fetch(loopback, url, named, allow_private=True)] == ["bad_url"] * 2
    assert [outcome(f) for f in fetch(loopback, url, named, allow_private=True, high_ports=True)] == ["ok"] * 2


def test_a_host_s_connections_are_kept_and_bounded(loopback):
    loopback.delay_s = 0.01
    fetch(loopback, *(f"/image/{seed}.jpg" for seed in range(40)), host_connections=3)
    assert loopback.num_connections <= 4


def test_the_fetcher_says_who_it_is(loopback):
    fetch(loopback, "/good.jpg", contact="https://lab.example/crawl")
    [agent] = loopback.agents
    assert agent.startswith("wit400m/")
    assert "https://lab.example/crawl" in agent


def test_images_come_out_upright_and_in_eight_bits(loopback):
    sideways, deep = fetch(loopback, "/sideways.jpg", "/deep.png")
    assert isinstance(sideways.image, CheckedImage)
    assert (sideways.image.original_width, sideways.image.original_height) == (240, 320)
    assert isinstance(deep.image, CheckedImage)
    assert deep.image.mime == "image/jpeg"


def test_unparsable_urls_are_refused_without_a_request(loopback):
    urls = ["http://a.example:25/x.jpg", "http://me:pw@a.example/x.jpg", "ftp://a.example/x.jpg"]
    urls += [f"http://{'a' * 64}.example/x.jpg", "http://a.example:8080/x.jpg", "http://0x7f.1/x.jpg"]
    assert [outcome(f) for f in fetch(loopback, *urls)] == ["bad_url"] * 5 + ["private_address"]
    assert loopback.seen == []
