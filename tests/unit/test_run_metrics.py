"""The page of metrics: what is on it, and when it is there."""

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from jobs.json_logs import RunLog
from jobs.metrics import Endpoint, serve_metrics
from jobs.prometheus import prometheus_text
from jobs.runner import job_parser

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
FETCH = {
    "images": 3,
    "urls": 5,
    "success_share": 0.6,
    "images_per_s": 1.5,
    "mb_per_s": 0.25,
    "requests": 9,
    "received_bytes": 1000,
    "under_way": 2,
    "hosts_waiting": 1,
    "workers": 4,
    "statuses": {"ok": 3, "not_found": 2},
}
STEPS = {
    "FetchUnits": {"units": 9, "done": 3, "seconds": 1.5, "fetch": FETCH},
    "Plan": {"units": 1, "done": 1, "seconds": 1},
}
CONTENT = {
    "exit_code": 1,
    "seconds": 2.0,
    "stages": {"fetch-images": {"counts": {"images/in": 5}, "steps": STEPS, "state": "running", "output": "raw"}},
}


@pytest.fixture
def endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


def get(endpoint, path="/metrics"):
    with urllib.request.urlopen(f"http://{endpoint.host}:{endpoint.port}{path}", timeout=10) as answer:
        return answer.headers, answer.read().decode()


def test_every_metric_says_what_it_is_before_its_samples():
    told = {}
    for line in prometheus_text(CONTENT).splitlines():
        if line.startswith("#"):
            _, word, name, rest = line.split(" ", 3)
            assert rest
            told.setdefault(name, []).append(word)
            assert word != "TYPE" or (rest == "counter") == name.endswith("_total")
        else:
            name = re.fullmatch(r'([a-z0-9_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line)[1]
            assert told[name] == ["HELP", "TYPE"]


def test_a_fetch_has_metrics_of_its_own():
    lines = prometheus_text(CONTENT).splitlines()
    where = 'stage="fetch-images",step="FetchUnits"'
    assert f'wit400m_fetch_urls_total{{{where},status="not_found"}} 2' in lines
    assert f"wit400m_fetch_bytes_per_second{{{where}}} 250000" in lines
    assert f"wit400m_fetch_hosts_waiting{{{where}}} 1" in lines
    assert not any("Plan" in line for line in lines if line.startswith("wit400m_fetch"))


def test_a_run_without_a_fetch_has_none_of_its_metrics():
    assert "wit400m_fetch" not in prometheus_text({"exit_code": None, "seconds": 2.0, "stages": {}})


def test_the_page_is_there_while_the_block_runs(endpoint):
    texts = ["a 1\n", "é 2\n"]
    with serve_metrics(endpoint, lambda: texts.pop(0)):
        headers, text = get(endpoint)
        assert (headers["Content-Type"], text) == ("text/plain; version=0.0.4; charset=utf-8", "a 1\n")
        assert get(endpoint, "/metrics?x=1")[1] == "é 2\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(endpoint, "/other")
        assert refused.value.code == 404
        refused.value.close()
    with pytest.raises(urllib.error.URLError):
        get(endpoint)
    with serve_metrics(endpoint, lambda: "again\n"):
        assert get(endpoint)[1] == "again\n"


def test_a_client_that_says_nothing_keeps_nobody_waiting(endpoint):
    with serve_metrics(endpoint, lambda: "a 1\n"), socket.create_connection(endpoint):
        assert get(endpoint)[1] == "a 1\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no such host"])
def test_where_one_cannot_listen_is_a_bad_value(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ValueError, match=f"metrics-port {port}: cannot listen at {host}: "),
            serve_metrics(Endpoint(host, port), str),
        ):
            pass


def test_the_page_ends_with_a_run_that_fails_at_once(endpoint):
    def fail():
        with RunLog("command", metrics=endpoint).open() as log:
            log.begin()
            assert "wit400m_run_seconds" in get(endpoint)[1]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(urllib.error.URLError):
        get(endpoint)


def test_the_flags_of_logs_and_counters_are_those_that_are_documented():
    during = DOCS.read_text().partition("## During: JSON logs and counters")[2].partition("## At any time")[0]
    documented = set(re.findall(r"--[a-z][a-z-]+", during))
    assert documented - {"--from-archive", "--contact"} <= set(job_parser("wit400m", "")._option_string_actions)
    assert {"--log-format", "--log-every", "--counters", "--metrics-port", "--metrics-host"} <= documented


@pytest.mark.parametrize("port", ["-1", "65536", "many"])
def test_what_is_no_port_is_refused(port, capsys):
    with pytest.raises(SystemExit) as refused:
        job_parser("wit400m", "").parse_args(["--metrics-port", port])
    assert refused.value.code == 2
    assert "--metrics-port" in capsys.readouterr().err
