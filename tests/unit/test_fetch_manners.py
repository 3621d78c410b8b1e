"""What sites ask for - robots.txt, header lines, pauses - and what the fetcher makes of it."""

import asyncio

import pytest
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.hosts import Host, HostMemory, HostPast, KnownRobots
from pipeline.fetching.robots import Robots
from pipeline.fetching.rules import FetchRules


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def take_turns(host, clock, number, monkeypatch):
    """Starting times of turns; sleeping moves the clock."""

    async def sleep(seconds):
        clock.now += seconds

    async def run():
        starts = []
        for _ in range(number):
            async with host.turn():
                starts.append(clock.now)
        return starts

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.fetching.hosts.asyncio.sleep", sleep)
        return asyncio.run(run())


def test_turns_keep_the_pace_of_rate_and_crawl_delay(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=4.0), clock)
    assert take_turns(host, clock, 3, monkeypatch) == [100.0, 100.25, 100.5]
    host.slow_down(2.0)
    assert take_turns(host, clock, 3, monkeypatch) == [100.75, 102.75, 104.75]


def test_a_throttled_host_waits_as_long_as_it_asks_and_longer_each_time(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0), clock)
    host.note(DropReason.THROTTLED, 30.0)
    assert take_turns(host, clock, 1, monkeypatch) == [130.0]
    host.note(b"image", None)
    host.note(DropReason.THROTTLED, None)
    host.note(DropReason.THROTTLED, None)
    assert take_turns(host, clock, 1, monkeypatch) == [132.0]
    host.note(DropReason.THROTTLED, 61.0)
    assert host.closed is DropReason.THROTTLED


def test_a_host_is_closed_after_failures_in_a_row_only():
    host = Host(FetchRules(host_failures=3), Clock())
    for outcome in ("timed_out", "http_error", "not_found", "timed_out", "tls_failed"):
        host.note(DropReason(outcome), None)
    assert host.closed is None
    host.note(DropReason.CONNECT_FAILED, None)
    assert host.closed is DropReason.HOST_DOWN


def test_a_host_is_closed_when_its_time_is_over(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=1.0, host_time_s=5.0), clock)
    take_turns(host, clock, 6, monkeypatch)
    assert host.closed is None
    take_turns(host, clock, 1, monkeypatch)
    assert host.closed is DropReason.HOST_TIME


@pytest.mark.parametrize(
    ("wait_s", "closed"),
    [(59.999, None), (60.0, None), (60.001, DropReason.THROTTLED)],
    ids=["less", "as long as allowed", "longer"],
)
def test_a_host_that_asks_for_a_longer_pause_than_allowed_is_closed(monkeypatch, wait_s, closed):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0, max_wait_s=60.0), clock)
    host.note(DropReason.THROTTLED, wait_s)
    assert host.closed is closed
    if not closed:
        assert take_turns(host, clock, 1, monkeypatch) == [100.0 + wait_s]


def test_pauses_of_a_throttled_host_double_from_one_second_and_only_grow(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0, host_failures=9, max_wait_s=8.0), clock)
    for pause_s in (1.0, 2.0, 4.0, 8.0):
        started = clock.now
        host.note(DropReason.THROTTLED, None)
        assert take_turns(host, clock, 1, monkeypatch) == [started + pause_s]
    host.note(DropReason.THROTTLED, None)
    assert host.closed is DropReason.THROTTLED
    patient = Host(FetchRules(host_rate=0.0), clock)
    started = clock.now
    patient.note(DropReason.THROTTLED, 20.0)
    patient.note(DropReason.THROTTLED, 5.0)
    assert take_turns(patient, clock, 1, monkeypatch) == [started + 20.0]


@pytest.mark.parametrize("outcome", [DropReason.HTTP_ERROR, DropReason.TIMED_OUT])
def test_a_failure_that_asks_for_no_pause_makes_none(monkeypatch, outcome):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0), clock)
    host.note(outcome, 30.0)
    assert take_turns(host, clock, 1, monkeypatch) == [100.0]


def test_the_first_reason_to_close_a_host_stays(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_failures=1, host_time_s=1.0, host_rate=0.0), clock)
    host.note(DropReason.THROTTLED, 61.0)
    assert host.closed is DropReason.THROTTLED
    assert take_turns(host, clock, 1, monkeypatch) == [100.0]  # a closed host keeps nobody waiting
    clock.now += 10
    take_turns(host, clock, 1, monkeypatch)
    assert host.closed is DropReason.THROTTLED
    failed = Host(FetchRules(host_failures=1, host_time_s=1.0), clock)
    failed.note(DropReason.UNRESOLVED, None)
    take_turns(failed, clock, 1, monkeypatch)
    clock.now += 10
    take_turns(failed, clock, 1, monkeypatch)
    assert failed.closed is DropReason.HOST_DOWN


def test_a_new_host_is_open_has_nothing_left_and_a_smaller_crawl_delay_changes_nothing(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=2.0), clock)
    assert (host.urls_left, host.robots, host.closed) == (0, {}, None)
    host.slow_down(0.1)
    assert take_turns(host, clock, 2, monkeypatch) == [100.0, 100.5]


def test_the_first_request_waits_for_nothing_however_young_the_clock(monkeypatch):
    clock = Clock()
    clock.now = 0.0
    assert take_turns(Host(FetchRules(host_rate=1.0), clock), clock, 2, monkeypatch) == [0.0, 1.0]


def test_no_more_requests_than_connections_are_under_way_at_once():
    async def run():
        host, under_way, most = Host(FetchRules(host_connections=2, host_rate=0.0), Clock()), 0, 0

        async def ask():
            nonlocal under_way, most
            async with host.turn():
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*(ask() for _ in range(9)))
        return most

    assert asyncio.run(run()) == 2


def next_unit(host, clock, **options):
    """The same host in the next fetch unit of the process."""
    memory = HostMemory()
    memory.keep({"a.example": host}, clock.now)
    return Host(FetchRules(**options), clock, memory.recall("a.example"))


@pytest.mark.parametrize("between_s", [0.0, 0.3, 0.5, 7.0])
def test_the_pace_of_a_host_holds_from_one_unit_to_the_next(monkeypatch, between_s):
    clock = Clock()
    host = Host(FetchRules(host_rate=2.0), clock)
    assert take_turns(host, clock, 2, monkeypatch) == [100.0, 100.5]
    clock.now = 100.5 + between_s
    first = max(101.0, clock.now)
    assert take_turns(next_unit(host, clock, host_rate=2.0), clock, 2, monkeypatch) == [first, first + 0.5]


def test_a_crawl_delay_holds_in_the_next_unit(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0), clock)
    host.slow_down(3.0)
    assert take_turns(host, clock, 1, monkeypatch) == [100.0]
    assert take_turns(next_unit(host, clock, host_rate=0.0), clock, 2, monkeypatch) == [103.0, 106.0]


@pytest.mark.parametrize(("wait_s", "closed"), [(60.0, None), (61.0, DropReason.THROTTLED)])
def test_a_pause_that_was_asked_for_holds_in_the_next_unit(monkeypatch, wait_s, closed):
    clock = Clock()
    host = Host(FetchRules(host_rate=0.0), clock)
    host.note(DropReason.THROTTLED, wait_s)
    again = next_unit(host, clock, host_rate=0.0, max_wait_s=60.0)
    assert again.closed is closed
    if not closed:
        assert take_turns(again, clock, 1, monkeypatch) == [160.0]


def test_failures_and_time_are_counted_anew_in_the_next_unit(monkeypatch):
    clock = Clock()
    host = Host(FetchRules(host_failures=1), clock)
    host.note(DropReason.UNRESOLVED, None)
    assert host.closed is DropReason.HOST_DOWN
    assert next_unit(host, clock).closed is None


@pytest.mark.parametrize(("age_s", "known"), [(0.0, True), (86_399.0, True), (86_400.0, False)])
def test_a_robots_txt_is_good_for_a_day(age_s, known):
    clock = Clock()
    host = Host(FetchRules(), clock)
    origin = URL("http://a.example")
    host.known_robots[origin] = KnownRobots(Robots(), clock.now)
    clock.now += age_s
    assert (origin in next_unit(host, clock).known_robots) is known


def test_of_many_hosts_the_last_are_remembered_and_those_that_must_wait():
    clock, memory = Clock(), HostMemory()
    hosts = {f"h{number}.example": Host(FetchRules(), clock) for number in range(1_500)}
    for host in hosts.values():
        host.slow_down(1.0)
    hosts["h3.example"].note(DropReason.THROTTLED, 30.0)
    memory.keep(hosts, clock.now)
    remembered = [name for name in hosts if memory.recall(name) != HostPast()]
    assert remembered == ["h3.example", *list(hosts)[500:]]
    clock.now += 31.0
    memory.keep({name: hosts[name] for name in list(hosts)[600:]}, clock.now)
    assert memory.recall("h3.example") == HostPast()
    assert memory.recall("h700.example") != HostPast()
