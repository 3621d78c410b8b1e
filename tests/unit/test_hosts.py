"""Manners towards one host: turns, pauses, and when it is left alone; the table of paces that processes share."""

import multiprocessing
import os
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.hosts import Gate, Host
from pipeline.fetching.paces import Paces, paces_path, remove_paces, slot_of
from pipeline.fetching.robots import read_robots
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.site_files import Kind

GOOD, BAD = b"image", DropReason.TIMED_OUT


def host_of(paces=None, errands="abcdefgh", is_known=True, **options):
    host = Host("a.example", FetchRules(**options), paces or Paces())
    host.is_known = is_known
    host.errands.extend(errands)
    return host


def turns(host, number, now=100.0, sent_after=0.0, takes=0.0):
    """When so many requests leave, one after another."""
    left = []
    while len(left) < number:
        now = host.next_look(now)
        assert host.take_turn(now)
        host.begin(now)
        now += sent_after
        host.sent(now)
        left.append(round(now, 6))
        now += takes
        host.end()
    return left


def throttled(host, now, retry_after_s=None, begun=None):
    host.note_answer(DropReason.THROTTLED, 429, retry_after_s, begun=now if begun is None else begun, now=now)


def test_the_first_request_leaves_at_once_and_the_others_at_the_pace_of_the_rate():
    assert turns(host_of(host_rate=2.0), 3) == [100.0, 100.5, 101.0]
    assert turns(host_of(host_rate=0.0), 3) == [100.0, 100.0, 100.0]


def test_a_crawl_delay_is_kept_if_it_is_longer():
    slow, fast = host_of(host_rate=2.0), host_of(host_rate=2.0)
    slow.slow_down(3.0)
    fast.slow_down(0.1)
    assert turns(slow, 3) == [100.0, 103.0, 106.0]
    assert turns(fast, 2) == [100.0, 100.5]


def test_a_pause_begins_when_a_request_leaves_and_not_when_its_place_is_free():
    host = host_of(host_rate=1.0)
    assert host.take_turn(100.0)
    host.begin(100.0)
    assert host.next_look(100.0) is None, "until the first one has left nobody knows when the next may"
    host.sent(100.9)
    assert host.next_look(101.0) == pytest.approx(101.9)
    assert not host.take_turn(101.5)


def test_no_more_requests_than_connections_are_under_way_and_one_where_nobody_ever_answered():
    host = host_of(host_rate=0.0, host_connections=2)
    for _ in range(2):
        assert host.next_look(100.0) == 100.0
        host.begin(100.0)
    assert host.next_look(100.0) is None
    host.end()
    assert host.next_look(100.0) == 100.0
    stranger = host_of(host_rate=0.0, host_connections=2, is_known=False)
    stranger.begin(100.0)
    assert stranger.next_look(100.0) is None
    stranger.note_answer(GOOD, 200, None, begun=100.0, now=100.1)
    assert stranger.next_look(100.0) == 100.0


def test_what_was_put_off_comes_first_when_it_is_due_in_the_order_of_its_times():
    host = host_of(errands="a")
    host.put_off("late", 120.0)
    host.put_off("b", 110.0)
    host.put_off("c", 110.0)
    host.take_due(109.0)
    assert list(host.errands) == ["a"]
    host.take_due(110.0)
    assert list(host.errands) == ["b", "c", "a"]
    assert host.num_waiting == 4
    assert sorted(host.take_all()) == ["a", "b", "c", "late"]
    assert host.num_waiting == 0


def test_a_throttled_host_waits_as_long_as_it_asks_and_longer_each_time_it_names_no_time():
    host = host_of(host_rate=0.0)
    throttled(host, 100.0, 20.0)
    assert host.next_look(100.0) == 120.0
    silent = host_of(host_rate=0.0)
    waits = []
    now = 100.0
    for _ in range(4):
        throttled(silent, now)
        waits.append(silent.next_look(now) - now)
        now = silent.next_look(now)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_answers_to_what_was_under_way_when_a_host_complained_are_one_complaint():
    host = host_of(host_rate=0.0, host_failures=3)
    for number in range(4):
        throttled(host, 100.0 + number / 10, 5.0, begun=99.0)
    assert host.closed is None
    assert host.next_look(100.5) == pytest.approx(105.3)


def test_a_host_that_only_complains_is_left_alone_in_the_end():
    host = host_of(host_rate=0.0, host_failures=3)
    for number in range(4):
        assert host.closed is None
        throttled(host, 100.0 + 10 * number, 1.0)
    assert host.closed is DropReason.THROTTLED


def test_a_host_in_trouble_is_asked_more_slowly_and_at_its_pace_again_when_it_is_well():
    host = host_of(host_rate=10.0)
    throttled(host, 100.0, 1.0)
    assert host.pause_s == pytest.approx(0.2)
    host.note_answer(DropReason.HTTP_ERROR, 500, None, begun=102.0, now=102.0)
    assert host.pause_s == pytest.approx(0.25)
    for _ in range(30):
        host.note_answer(GOOD, 200, None, begun=103.0, now=103.0)
    assert host.pause_s == pytest.approx(0.1)


@pytest.mark.parametrize(("wait_s", "closed"), [(60.0, None), (61.0, DropReason.THROTTLED)])
def test_a_pause_beyond_what_is_granted_closes_a_host_and_it_is_known_until_when(wait_s, closed):
    host = host_of(max_wait_s=60.0)
    throttled(host, 100.0, wait_s)
    assert host.closed is closed
    assert host.closed_until == (161.0 if closed else None)


def test_urls_that_fail_by_a_host_s_fault_in_a_row_close_it_and_others_do_not():
    host = host_of(host_failures=3)
    for outcome in (BAD, BAD, DropReason.HTTP_ERROR, BAD, BAD, DropReason.NOT_FOUND, BAD, BAD, GOOD):
        host.note_url(outcome, is_refusal=False)
    assert host.closed is None
    for _ in range(3):
        host.note_url(BAD, is_refusal=False)
    assert host.closed is DropReason.HOST_DOWN


def test_a_host_that_refuses_everything_is_left_alone_and_one_that_gave_an_image_is_not():
    refusing, giving = host_of(host_failures=2), host_of(host_failures=2)
    giving.note_url(GOOD, is_refusal=False)
    for host in (refusing, giving):
        for _ in range(4):
            assert host.closed is None
            host.note_url(DropReason.HTTP_REFUSED, is_refusal=True)
    assert refusing.closed is DropReason.HOST_REFUSES
    assert giving.closed is None


def test_time_for_a_host_is_counted_for_each_unit_it_is_in():
    once, twice = host_of(host_time_s=10.0), host_of(host_time_s=10.0)
    for host in (once, twice, twice):
        host.begin_unit(100.0)
    for host in (once, twice):
        host.begin(100.0)
        host.begin(110.5)
    assert (once.closed, twice.closed) == (DropReason.HOST_TIME, None)


def test_the_first_reason_to_close_a_host_stays():
    host = host_of(host_failures=1, max_wait_s=1.0)
    throttled(host, 100.0, 60.0)
    host.note_url(BAD, is_refusal=False)
    assert (host.closed, host.closed_until) == (DropReason.THROTTLED, 160.0)
    assert host.next_look(100.0) == 100.0  # what is still wanted of it gets its answer


def test_a_host_that_was_closed_has_another_chance_in_a_unit_that_comes_much_later():
    host, busy = host_of(host_failures=1), host_of(max_wait_s=60.0)
    host.note_url(BAD, is_refusal=False)
    throttled(busy, 100.0, 5000.0)
    for now, is_open in ((200.0, False), (700.0, False), (801.0, True)):
        host.begin_unit(now)
        busy.begin_unit(now)
        assert (host.closed is None) == is_open
        assert busy.closed is DropReason.THROTTLED, "it named a time that is not over"
    busy.begin_unit(5101.0)
    assert busy.closed is None


def test_a_host_is_idle_only_while_nothing_is_wanted_of_it():
    assert host_of(errands="").is_idle
    asked, waiting, listed = (host_of(errands="") for _ in range(3))
    asked.begin(100.0)
    waiting.put_off("a", 120.0)
    listed.listed = True
    for host in (host_of(errands="a"), asked, waiting, listed):
        assert not host.is_idle
    asked.end()
    assert asked.is_idle


def test_a_host_of_which_all_is_put_off_is_looked_at_when_the_first_of_it_is_due():
    host = host_of(errands="")
    assert host.next_later is host.next_look(100.0) is None
    for name, until in (("late", 130.0), ("first", 110.0), ("later", 140.0)):
        host.put_off(name, until)
    assert host.next_later == host.next_look(100.0) == 110.0


def test_what_is_due_at_once_is_asked_in_the_order_it_was_put_off_whatever_it_is():
    host = host_of(errands="")
    for errand in ("c", "a", "b", "d"):
        host.put_off(errand, 110.0)
    host.take_due(110.0)
    assert list(host.errands) == ["c", "a", "b", "d"]


def test_trouble_makes_a_host_s_pause_so_much_longer_and_no_more():
    complaining, failing = host_of(host_rate=10.0, host_failures=100), host_of(host_rate=10.0)
    for number in range(40):
        throttled(complaining, 100.0 + number, 0.5)
        failing.note_answer(DropReason.HTTP_ERROR, 500, None, begun=100.0, now=100.0)
    assert complaining.pause_s == pytest.approx(6.4)
    assert failing.pause_s == pytest.approx(0.4)
    failing.note_answer(GOOD, 200, None, begun=100.0, now=100.0)
    assert failing.pause_s == pytest.approx(0.3)


def test_a_host_without_a_rate_has_a_pause_while_it_is_in_trouble():
    host = host_of(host_rate=0.0)
    assert host.pause_s == 0.0
    throttled(host, 100.0, 0.5)
    assert host.pause_s == pytest.approx(0.1)


def test_a_host_that_names_no_time_is_left_alone_for_five_minutes_at_most():
    host, now = host_of(host_rate=0.0, host_failures=100), 100.0
    for _ in range(12):
        throttled(host, now)
        last, now = now, host.next_look(now)
    assert now - last == 300.0


def test_complaints_are_counted_anew_after_an_answer():
    host, now = host_of(host_rate=0.0, host_failures=2), 100.0
    for _ in range(3):
        for _ in range(2):
            throttled(host, now, 1.0)
            now += 10
        host.note_answer(GOOD, 200, None, begun=now, now=now)
    throttled(host, now + 10)
    assert host.closed is None
    assert host.next_look(now + 10) == now + 11, "and so is the time that it is left alone for"


def test_who_never_answered_is_asked_on_more_connections_once_one_has_failed():
    host = host_of(host_rate=0.0, host_connections=2, is_known=False)
    assert not Host("b.example", FetchRules(), Paces()).is_known
    host.begin(100.0)
    assert host.next_look(100.0) is None
    host.note_answer(DropReason.CONNECT_FAILED, None, None, begun=100.0, now=101.0)
    assert host.next_look(101.0) == 101.0
    assert not host.is_known


def test_refusals_that_something_else_comes_between_are_counted_anew():
    host = host_of(host_failures=2)
    for _ in range(3):
        for _ in range(3):
            host.note_url(DropReason.HTTP_REFUSED, is_refusal=True)
        host.note_url(DropReason.NOT_FOUND, is_refusal=False)
    assert host.closed is None


def test_a_host_with_another_chance_is_a_new_one_but_for_what_its_files_said():
    host = host_of(host_failures=2)
    robots, known = read_robots(404, b""), URL("http://a.example")
    host.rules_of = {(known, Kind.ROBOTS): robots, (known, Kind.TDM): DropReason.ROBOTS_UNAVAILABLE}
    host.gates.append(Gate(slot_of("address", "1.2.3.4"), 1.0))
    host.address = "1.2.3.4"
    for _ in range(2):
        host.note_url(BAD, is_refusal=False)
    host.begin_unit(100.0)
    host.begin_unit(701.0)
    assert (host.closed, host.address, host.gates) == (None, None, [])
    assert host.rules_of == {(known, Kind.ROBOTS): robots}, "what was not to be had is asked for again"
    host.note_url(BAD, is_refusal=False)
    assert host.closed is None
    host.note_url(BAD, is_refusal=False)
    assert host.closed is DropReason.HOST_DOWN


def test_a_host_that_was_closed_twice_waits_twice():
    host = host_of(host_failures=1)
    for start in (10.0, 2000.0):
        host.note_url(BAD, is_refusal=False)
        for now, is_open in ((start, False), (start + 600.0, False), (start + 601.0, True)):
            host.begin_unit(now)
            assert (host.closed is None) == is_open, now


def test_hosts_of_one_site_share_its_turns():
    paces = Paces()
    gate = Gate(slot_of("site", "example"), 1.0)
    hosts = [Host(f"h{number}.example", FetchRules(host_rate=0.0), paces) for number in range(3)]
    for host in hosts:
        host.gates.append(gate)
    assert [host.take_turn(100.0) for host in hosts] == [True, False, False]
    assert [host.take_turn(101.0) for host in reversed(hosts)] == [True, False, False]


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 2), st.sampled_from([200, 404, 500, 429])), min_size=1, max_size=30
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_host_answers_no_two_requests_leave_closer_than_its_pace(answers):
    host, now, left = host_of(errands=range(100), host_rate=2.0, host_failures=100), 100.0, []
    for takes, travels, status in answers:
        now = host.next_look(now)
        assert host.take_turn(now)
        host.begin(now)
        now += travels
        host.sent(now)
        left.append(now)
        now += takes
        host.end()
        outcome = {429: DropReason.THROTTLED, 500: DropReason.HTTP_ERROR}.get(status, GOOD)
        host.note_answer(outcome, status, None, begun=left[-1], now=now)
        host.errands.popleft()
    assert all(later - earlier >= 0.5 - 1e-9 for earlier, later in pairwise(left))


def take_turns(path, slot, until, queue):
    paces, taken = Paces(path), []
    while (now := time.monotonic()) < until:
        if paces.take(slot, now, 0.02):
            taken.append(now)
    queue.put(taken)


def test_processes_share_a_pace(tmp_path):
    path, slot = str(tmp_path / "paces"), slot_of("address", "192.0.2.1")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    until = time.monotonic() + 0.6
    workers = [context.Process(target=take_turns, args=(path, slot, until, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    taken = sorted(moment for _ in workers for moment in queue.get(timeout=30))
    for worker in workers:
        worker.join(30)
    assert len(taken) > 1
    assert all(later - earlier >= 0.02 - 1e-6 for earlier, later in pairwise(taken))


def test_a_pace_outlives_the_process_that_took_it_and_grows_only(tmp_path):
    path = str(tmp_path / "paces")
    first = Paces(path)
    first.put_off(7, 500.0)
    first.put_off(7, 400.0)
    first.close()
    second = Paces(path)
    assert (second.due(7, 100.0), second.due(8, 100.0)) == (500.0, 0.0)
    assert not second.take(7, 499.0, 1.0)
    assert second.take(7, 500.0, 1.0)
    second.close()


def test_a_time_of_another_clock_counts_for_nothing():
    paces = Paces()
    paces.put_off(7, 1e12)
    assert paces.due(7, 100.0) == 100.0


def test_the_table_of_a_folder_has_one_place_and_can_be_removed(tmp_path):
    path = paces_path(str(tmp_path / "raw"))
    assert path == paces_path(str(tmp_path / "x" / ".." / "raw"))
    assert path != paces_path(str(tmp_path / "other"))
    Paces(path).close()
    remove_paces(str(tmp_path / "raw"))
    remove_paces(str(tmp_path / "raw"))
    assert not os.path.exists(path)
