"""How many requests are under way: as many as decoders want, beside those that are late."""

import time

import pytest

from pipeline.base.drops import DropReason
from pipeline.fetching.client import Reply
from pipeline.fetching.crawler import Crawler
from pipeline.fetching.hosts import Host
from pipeline.fetching.paces import Paces
from pipeline.fetching.rules import FetchRules

BODY = Reply(b"", 200)


@pytest.fixture
def crawler():
    made = Crawler(FetchRules(concurrency=100), lambda body: DropReason.TOO_SMALL)
    made._places = 100
    return made


@pytest.fixture
def host():
    known = Host("www.example", FetchRules(), Paces())
    known.is_known = True
    return known


def fill(crawler, host):
    places = []
    while crawler._has_room():
        places.append(crawler._take_place(host))
    return places


def test_answers_let_more_be_under_way_and_bodies_that_pile_up_fewer_but_slowly(crawler, host):
    first = len(fill(crawler, host))
    for _ in range(20):
        crawler._adapt(BODY, took_s=0.1)
    assert len(fill(crawler, host)) == 20
    crawler._undecoded = 5 << 20
    for _ in range(40):
        crawler._adapt(BODY, took_s=0.1)
    assert crawler._window == first + 20 - 10


def test_answers_without_a_body_say_nothing_about_decoders(crawler):
    before = crawler._window
    crawler._undecoded = 5 << 20
    for reply in (None, Reply(DropReason.NOT_FOUND, 404)):
        crawler._adapt(reply, took_s=0.1)
    assert crawler._window == before


def test_a_late_request_leaves_its_place_to_others_and_takes_none_when_it_ends(crawler, host):
    places = fill(crawler, host)
    crawler._note_late(time.monotonic())
    assert not crawler._has_room()
    crawler._note_late(time.monotonic() + 100)
    assert len(fill(crawler, host)) == len(places)
    for place in places:
        crawler._give_back(place)
    assert not crawler._has_room()  # those in time are as many as before


def test_all_places_together_are_bounded_however_many_are_late(crawler, host):
    for hours in range(20):
        fill(crawler, host)
        crawler._note_late(time.monotonic() + 3600 * hours)
    assert crawler._under_way == 100


def test_hosts_that_never_answered_take_none_of_these_places(crawler, host):
    stranger = Host("new.example", FetchRules(), Paces())
    for _ in range(150):
        crawler._take_place(stranger)
    assert len(fill(crawler, host)) > 20


def test_what_is_usual_follows_the_answers(crawler):
    for _ in range(200):
        crawler._adapt(BODY, took_s=3.0)
    assert 2.9 < crawler._usual_s <= 3.0
