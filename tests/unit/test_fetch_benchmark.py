"""The benchmark of fetch-images: the made-up web and its names, and what is measured of a tree of processes."""

import importlib.util
import math
import os
import struct
import subprocess
import sys
from collections import Counter
from statistics import median, quantiles

import numpy as np
import pytest

from pipeline.base.drops import DropReason
from pipeline.fetching.resolver import parse_redirection
from pipeline.fetching.targets import parse_target


def load(checkout, name):
    spec = importlib.util.spec_from_file_location(name, checkout / "benchmarks" / "fetch" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def slow_web(checkout):
    return load(checkout, "slow_web")


@pytest.fixture(scope="module")
def names(checkout):
    return load(checkout, "names")


@pytest.fixture(scope="module")
def measuring(checkout):
    return load(checkout, "measuring")


@pytest.fixture(scope="module")
def slow_urls(slow_web):
    return slow_web.plan_urls(10_000, num_hosts=5_000)


def test_a_fifth_of_the_slow_hosts_is_dead_in_three_ways(slow_web, slow_urls):
    hosts = {slow_web.split_url(url)[0] for url in slow_urls}
    kinds = Counter(host.partition("-")[0] for host in hosts)
    assert kinds == {"up": 4000, "refused": 334, "hung": 333, "mute": 333}


def test_a_tenth_of_the_answers_is_faulty_and_delays_are_as_said(slow_web, slow_urls):
    asks = [slow_web.parse_path(slow_web.split_url(url)[1]) for url in slow_urls]
    answers = Counter(ask.answer for ask in asks)
    assert set(answers) == {"ok", "stall", "hang"}
    assert math.isclose(1 - answers["ok"] / len(asks), slow_web.FAULTY_SHARE, rel_tol=0.1)
    delays = [ask.delay_s for ask in asks]
    assert math.isclose(median(delays), slow_web.MEDIAN_DELAY_S, rel_tol=0.05)
    assert math.isclose(quantiles(delays, n=100)[98], slow_web.P99_DELAY_S, rel_tol=0.15)
    assert sorted(ask.picture for ask in asks) == list(range(len(asks)))


def test_a_slow_web_is_the_same_for_the_same_seed_alone(slow_web, slow_urls):
    assert slow_web.plan_urls(10_000, num_hosts=5_000) == slow_urls
    assert slow_web.plan_urls(10_000, num_hosts=5_000, seed=1) != slow_urls
    assert len(slow_web.plan_urls(7, num_hosts=5_000)) == 7


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://up-1.example/0/ok/1.jpg", True),
        ("http://up-1.example/0/stall/1.jpg", False),
        ("http://up-1.example/0/hang/1.jpg", False),
        ("http://mute-1.example/0/ok/1.jpg", False),
        ("http://refused-1.example/0/ok/1.jpg", False),
        ("http://up-1.example/robots.txt", False),
        ("http://up-1.example/a/b/c/d.jpg", False),
    ],
)
def test_only_what_a_live_host_answers_whole_can_be_had(slow_web, url, good):
    assert slow_web.expected_images([url]) == good


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [("refused-3.example", 80, 3), ("hung-4.example", 80, 4), ("mute-5.example", 80, 1), ("up-6.example", 443, 2)],
)
def test_hosts_go_where_their_name_says(slow_web, host, port, place):
    texts = slow_web.connections("127.0.0.1:1", "127.0.0.1:2", refused="127.0.0.1:3", hung="127.0.0.1:4")
    rules = [parse_redirection(text) for text in texts]
    assert next(rule.to_port for rule in rules if rule.applies_to(host, port)) == place


def ask(names, name, kind):
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    question += struct.pack("!HH", kind, 1)
    answer = names.answer_query(struct.pack("!6H", 77, 0x0100, 1, 0, 0, 0) + question)
    if answer is None:
        return None
    ident, flags, num_questions, num_answers, _, _ = struct.unpack_from("!6H", answer)
    assert (ident, num_questions, answer[12 : 12 + len(question)]) == (77, 1, question)
    return flags & 0xF, num_answers, answer[-4:] if num_answers else b""


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("up-0.example", 1, (0, 1, bytes([127, 1, 0, 1]))),
        ("UP-300.Example", 1, (0, 1, bytes([127, 1, 1, 45]))),
        ("up-0.example", 28, (0, 0, b"")),  # AAAA: the name is there, such an address is not
        ("nxdomain-1.example", 1, (3, 0, b"")),
        ("other.test", 1, (3, 0, b"")),
        ("servfail-2.example", 1, (2, 0, b"")),
        ("silent-3.example", 1, None),
    ],
)
def test_a_name_is_answered_as_it_says(names, name, kind, answer):
    assert ask(names, name, kind) == answer


def test_a_fifth_of_the_names_is_dead_half_of_them_unknown(names):
    kinds = Counter(name.partition("-")[0] for name in names.plan_names(1_000))
    assert kinds == {"up": 800, "nxdomain": 100, "silent": 50, "servfail": 50}


def test_a_twentieth_of_what_is_soaked_is_faulty_and_says_what_it_must_come_to(slow_web):
    urls = slow_web.soaked_urls(40_000, num_hosts=400)
    assert urls == slow_web.soaked_urls(40_000, num_hosts=400)
    statuses = Counter(map(slow_web.soaked_status, urls))
    assert statuses["connect_failed"] == 200, "two hosts of a hundred URLs each"
    assert math.isclose(1 - statuses["ok"] / len(urls), 0.047, rel_tol=0.1)
    assert {"broken_image", "broken_answer", "not_found", "http_error", "timed_out"} < set(statuses)
    assert len({slow_web.split_url(url)[0] for url in urls}) == 400


@pytest.mark.parametrize(
    ("name", "asked", "addresses"),
    [
        ("up-3.example", 0, ["93.184.216.34"]),
        ("only-7f000001.example", 0, ["127.0.0.1"]),
        ("only-00000000000000000000000000000001.example", 0, ["::1"]),
        ("both-0a000001.example", 0, ["93.184.216.34", "10.0.0.1"]),
        ("turns-0a000001.example", 0, ["93.184.216.34"]),
        ("turns-0a000001.example", 1, ["10.0.0.1"]),
    ],
)
def test_names_of_the_hostile_web_say_their_addresses(checkout, monkeypatch, name, asked, addresses):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks" / "fetch"))
    assert load(checkout, "hostile_web").addresses_of(name, asked) == addresses


def test_only_private_addresses_are_among_those_that_nobody_may_contact(checkout, monkeypatch):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks" / "fetch"))
    hostile = load(checkout, "hostile")
    listed = hostile.cases("file:///canary.jpg")
    assert len({case.url for case in listed}) == len(listed)
    for case in listed:
        target = parse_target(case.url)
        if isinstance(target, DropReason):
            assert str(target) in case.statuses, case.url
    assert list(hostile.name_contacts([("93.184.216.34", 80), ("10.0.0.1", 80)])) == [
        "1 connections to 10.0.0.1, port 80"
    ]


def test_memory_that_grows_is_told(checkout, monkeypatch):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks" / "fetch"))
    soak = load(checkout, "soak")
    assert list(soak.flatness([0, 1, 100, 100, 100, 109])) == []
    assert list(soak.flatness([0, 1, 100, 100, 100, 130])) == [
        "memory grows: 100 MiB in the middle third, 115 in the last"
    ]


def test_descendants_are_children_and_theirs(measuring):
    parents = {2: 1, 3: 1, 4: 3, 5: 4, 6: 9, 9: 1}
    assert sorted(measuring.stemming_from(3, parents)) == [4, 5]
    assert sorted(measuring.stemming_from(1, parents)) == [2, 3, 4, 5, 6, 9]
    assert measuring.stemming_from(6, parents) == []


def test_proportional_memory_is_one_line_of_the_rollup(measuring):
    lines = ["55-7f ---p 0 [rollup]\n", "Rss:  900 kB\n", "Pss:   120 kB\n", "Pss_Anon:  99 kB\n", "SwapPss: 7 kB\n"]
    assert measuring.parse_pss(lines) == 120


BURN = "import time\nwhile time.process_time() < 0.5: pass"


def test_cpu_of_grandchildren_counts(measuring, tmp_path):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); sys.exit(3)"
    usage = measuring.measure([sys.executable, "-c", code], folder=str(tmp_path), limit_s=60)
    assert usage.exit_code == 3
    assert usage.cpu_s >= 0.5  # what the grandchild itself says it used, however long that took
    assert usage.num_left == 0


def test_what_outlives_a_command_is_waited_for_and_then_ended(measuring, tmp_path):
    orphan = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True); print('started')"
    usage = measuring.measure([sys.executable, "-c", orphan], folder=str(tmp_path), limit_s=60, grace_s=0)
    assert (usage.exit_code, usage.num_left) == (0, 1)
    assert (tmp_path / "log").read_text() == "started\n"


def test_a_command_that_does_not_end_is_ended_with_its_children(measuring, tmp_path):
    code = "import subprocess; subprocess.run(['sleep', '600'])"
    usage = measuring.measure([sys.executable, "-c", code], folder=str(tmp_path), limit_s=1, grace_s=0)
    assert usage.exit_code < 0


def test_a_command_ends_when_its_measurement_is_told_to(checkout, tmp_path):
    script = str(checkout / "benchmarks" / "fetch" / "measuring.py")
    code = "import subprocess; subprocess.Popen(['sleep', '600']); print('started', flush=True); input()"
    words = [sys.executable, script, str(tmp_path / "usage.json"), "60", "0", sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as measurement:
        assert measurement.stdout.readline() == b"started\n"
        measurement.terminate()
        assert measurement.stdout.read() == b""  # nobody holds it any more: the sleeper has ended too
    assert measurement.returncode == 143


def test_memory_is_that_of_all_descendants(measuring):
    code = "held = bytearray(b'x') * (64 << 20); print('holds', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert child.pid in measuring.descendants(os.getpid())
        sampler = measuring.Sampler()
        sampler.look()
        child.stdin.write(b"\n")
    assert sampler.peak_kib >= 64 << 10


def run_as_peer(checkout, code, **variables):
    env = os.environ | {"PYTHONPATH": str(checkout / "benchmarks" / "fetch" / "peer_site")} | variables
    return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout


def test_the_peer_reaches_the_same_hosts_at_the_same_places(checkout, slow_web):
    rules = slow_web.connections("127.0.0.1:1", "127.0.0.1:2", refused="127.0.0.1:3", hung="127.0.0.1:4")
    asked = [("refused-3.example", 80), ("hung-4.example", 80), ("up-6.example", 443), ("up-6.example", 80)]
    code = f"import socket; print([socket.getaddrinfo(*host)[0][4] for host in {[*asked, ('127.0.0.7', 9)]}])"
    found = run_as_peer(checkout, code, FETCH_BENCH_CONNECT_TO=",".join(rules))
    places = [("127.0.0.1", port) for port in (3, 4, 2, 1)]
    assert found == f"{[*places, ('127.0.0.7', 9)]}\n"


@pytest.mark.parametrize(("variables", "shared"), [({}, "False"), ({"FETCH_BENCH_ONE_CONTEXT": "1"}, "True")])
def test_the_peer_shares_a_context_only_when_told(checkout, variables, shared):
    code = "import ssl; print(ssl._create_default_https_context() is ssl._create_default_https_context())"
    assert run_as_peer(checkout, code, **variables) == f"{shared}\n"


def test_likeness_of_pictures(checkout):
    pytest.importorskip("scipy")
    likeness = load(checkout, "likeness")
    picture = np.random.default_rng(0).uniform(20, 230, (40, 50, 3))
    same = likeness.liken(picture, picture)
    assert (same.psnr_db, round(same.ssim, 9)) == (math.inf, 1)
    brighter = likeness.liken(picture + 10, picture)
    assert math.isclose(brighter.psnr_db, 20 * math.log10(255 / 10))
    smooth = np.stack([likeness.blur(picture[..., channel]) for channel in range(3)], axis=-1)
    assert likeness.liken(smooth, picture).ssim < brighter.ssim < 1
