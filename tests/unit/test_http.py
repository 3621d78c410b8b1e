"""One client's rules for HTTP: pauses that answers ask for and others, statuses, the user agent."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dumps.downloads import Manners
from pipeline.fetching.rules import FetchRules
from pipeline.web.http import MOST_SECONDS, may_pass, parse_charset, parse_retry_after, pause_s, user_agent

DATE = "Thu, 01 Jan 1970 00:01:40"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("120", 120.0),
        ("0", 0.0),
        (" 7\t", 7.0),
        ("007", 7.0),
        (f"{DATE} GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),  # is over
        ("Thursday, 01-Jan-70 00:01:40 GMT", 40.0),  # the old forms, RFC 9110 5.6.7
        ("Thu Jan  1 00:01:40 1970", 40.0),
        (f"{DATE} -0000", 40.0),
        (DATE, 40.0),
        (f"{DATE} EARTH", 40.0),
        ("Thu, 01 Jan 1970 01:01:40 +0100", 40.0),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("1.5", None),
        ("1_000", None),
        ("5, 10", None),
        ("whenever", None),
        ("", None),
        ("  ", None),
        ("nan", None),
        ("inf", None),
        ("²", None),
        ("٣", None),
        ("３０", None),
        ("10 Jan", None),
        ("Thu,", None),
        ("Thu, 99 Jan 1970 00:00:10 GMT", None),
        ("Thu, 01 Jan 1970 25:00:10 GMT", None),
        (f"{DATE} +9999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value, expected):
    assert parse_retry_after(value, now=60.0) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2147483647", MOST_SECONDS - 1),
        ("2147483649", MOST_SECONDS),
        ("9" * 400, MOST_SECONDS),  # more than a float holds
        ("9" * 5000, MOST_SECONDS),  # more digits than Python reads
        ("Fri, 31 Dec 9999 23:59:59 GMT", MOST_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MOST_SECONDS),
        ("Mon, 01 Jan 0100 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 10000 23:59:59 GMT", None),
        (f"Fri, 31 Dec {'9' * 400} 23:59:59 GMT", None),
    ],
    ids=range(9),
)
def test_pauses_and_dates_beyond_all_bounds_are_cut_to_one_that_can_be_waited_for(value, expected):
    assert parse_retry_after(value, now=60.0) == expected


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_a_date_without_a_zone_is_in_utc_wherever_the_client_is(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after(f"{DATE} -0000", now=60.0) == parse_retry_after(DATE, now=60.0) == 40.0
    finally:
        monkeypatch.undo()
        time.tzset()


DATE_WORDS = st.sampled_from(["Thu,", "Jan", "01", "1970", "00:01:40", "1.2.3", "GMT", "-0000", "+9999", "-", ",", "²"])


@given(st.text() | st.lists(DATE_WORDS, max_size=7).map(" ".join))
def test_whatever_retry_after_says_is_nothing_or_can_be_waited_for(value):
    seconds = parse_retry_after(value, now=60.0)
    assert seconds is None or 0 <= seconds <= MOST_SECONDS


def test_pauses_double_up_to_the_longest():
    assert [pause_s(tries) for tries in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause_s(tries, first_s=0.5, longest_s=3) for tries in range(1, 5)] == [0.5, 1, 2, 3]
    assert pause_s(100_000) == 60
    assert math.isfinite(pause_s(100_000, longest_s=math.inf))
    assert pause_s(5, first_s=0) == 0


def test_what_the_server_or_the_way_did_wrong_may_pass_and_what_the_client_did_does_not():
    passing = [status for status in range(100, 600) if may_pass(status)]
    assert passing == [408, 429, *range(500, 600)]


def test_the_user_agent_names_program_role_and_contact():
    assert user_agent("reader", "") == "wit400m/1.0 (reader)"
    assert FetchRules().user_agent == "wit400m/1.0 (image-text data set builder)"
    assert FetchRules(contact="a@b.c").user_agent == "wit400m/1.0 (image-text data set builder; a@b.c)"
    assert Manners().user_agent == "wit400m/1.0 (vocabulary builder)"
    assert Manners(contact="http://b.c").user_agent == "wit400m/1.0 (vocabulary builder; http://b.c)"


@pytest.mark.parametrize(
    ("lines", "charset"),
    [
        ([], ""),
        (["text/html"], ""),
        (["text/html;charset=GBK"], "GBK"),
        (["text/html ; Charset = gbk ; x=y"], "gbk"),
        (['text/html; charset="gbk"'], "gbk"),
        (["text/html; charset='gbk'"], "gbk"),
        (["text/html; charset=;charset=gbk"], "gbk"),
        (["charset=gbk"], "gbk"),
        (["text/html; xcharset=gbk"], ""),
        (["text/html; x=charset=gbk"], ""),
        (["text/html; charset=gbk; charset=big5"], "gbk"),
        (["text/html; charset=gbk", "text/html; charset=big5"], "big5"),
        (["text/html; charset=gbk", "text/html"], "gbk"),
    ],
)
def test_the_charset_of_an_answer_is_that_parameter_and_no_other(lines, charset):
    assert parse_charset(lines) == charset
