"""What a robots.txt asks for, and what is made of answers that are none."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.robots import MAX_ROBOTS_BYTES, Robots, read_robots

ROBOTS = b"""
User-agent: *
Disallow: /private/
Allow: /private/press/
Disallow: /*.gif$
Crawl-delay: 2.5

User-agent: Wit400m
User-agent: otherbot
Disallow: /for-people/
"""
CLOSED = b"User-agent: *\nDisallow: /a\n"


def robots(text):
    found = read_robots(200, text)
    assert isinstance(found, Robots)
    return found


def address(path):
    return URL(f"http://a.example{path}", encoded=True)


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        (ROBOTS, "/for-people/a.jpg", False),
        (ROBOTS, "/private/a.jpg", True),  # the group with our name is the only one that counts
        (ROBOTS.replace(b"Wit400m", b"x"), "/private/a.jpg", False),
        (ROBOTS.replace(b"Wit400m", b"x"), "/private/press/a.jpg", True),
        (ROBOTS.replace(b"Wit400m", b"x"), "/a.gif", False),
        (ROBOTS.replace(b"Wit400m", b"x"), "/a.gif?b", True),
        (b"", "/a.jpg", True),
        (b"\xff\xfe\0garbage", "/a.jpg", True),
        (b"User-agent: *\nDisallow: /\nAllow: /img/", "/img/a.jpg", True),
        (b"User-agent: *\nDisallow: /a%20b", "/a%20b.jpg", False),
    ],
)
def test_robots_txt_is_obeyed_as_the_standard_says(text, path, allowed):
    assert robots(text).allows(address(path)) is allowed


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + CLOSED,
        CLOSED.decode().encode("utf-16"),
        b"\xfe\xff" + CLOSED.decode().encode("utf-16-be"),
        CLOSED.decode().encode("utf-16-le"),
        CLOSED.replace(b"\n", b"\r"),
        CLOSED.replace(b"\n", b"\r\n"),
        b"\0\0" + CLOSED.replace(b"/a", b"/a\0"),
        b"<!DOCTYPE html>\n<html><body><p>text: more\n" + CLOSED,
        CLOSED + b"\xff\xfe\x80" * 99,
        b"# " + b"x" * 100_000 + b"\n" + CLOSED,
        b"Disallow: /b\n" + CLOSED + b"Crawl-delay: nan",
        CLOSED + b"#" * MAX_ROBOTS_BYTES,
    ],
    ids=["utf-8", "utf-16", "utf-16-be", "no mark", "cr", "crlf", "nul", "html", "bytes", "long", "stray", "huge"],
)
def test_rules_are_found_in_whatever_form_a_file_comes(text):
    assert robots(text).allows(address("/b"))
    assert not robots(text).allows(address("/a"))


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_line_that_the_limit_cuts_is_no_rule(end):
    head = b"User-agent: *" + end
    filler = b"#" * (MAX_ROBOTS_BYTES - len(head) - len(b"Disallow: /") - 1) + end
    whole = head + filler + b"Disallow: /"
    assert len(whole) == MAX_ROBOTS_BYTES
    assert robots(whole + b"private/").allows(address("/a"))
    assert robots(whole).allows(address("/a"))  # which the reader of so many bytes cannot tell from the other
    assert not robots(head + filler[1:] + b"Disallow: /").allows(address("/a"))


@pytest.mark.parametrize("page", [b"<html><body>Not found</body></html>", b"Disallow: /", b"User-agent: *", b"{}"])
def test_a_file_without_rules_allows_everything(page):
    assert robots(page).allows(address("/a"))
    assert not robots(page).opted_out(address("/a"))


@pytest.mark.parametrize(
    ("line", "delay"),
    [("2.5", 2.5), ("0", 0.0), ("-3", 0.0), ("-0", 0.0), ("soon", 0.0), ("1 s", 0.0), ("", 0.0), ("3 # seconds", 3.0)]
    + [(text, 0.0) for text in ("nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "0x10")],
)
def test_crawl_delay_is_read_whatever_it_says(line, delay):
    assert robots(f"User-agent: *\nCrawl-delay: {line}".encode()).crawl_delay_s == delay


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (404, DropReason.NOT_FOUND, Robots()),
        (401, DropReason.HTTP_REFUSED, Robots()),
        (301, DropReason.BAD_REDIRECT, Robots()),
        (503, DropReason.HTTP_ERROR, DropReason.ROBOTS_UNAVAILABLE),
        (429, DropReason.THROTTLED, DropReason.ROBOTS_UNAVAILABLE),
        (200, DropReason.TOO_SLOW, DropReason.ROBOTS_UNAVAILABLE),
        (200, DropReason.BAD_ENCODING, DropReason.ROBOTS_UNAVAILABLE),
        (206, DropReason.HTTP_REFUSED, DropReason.ROBOTS_UNAVAILABLE),
        (None, DropReason.UNRESOLVED, DropReason.UNRESOLVED),
    ],
)
def test_a_missing_robots_txt_allows_and_a_failing_one_forbids(status, content, expected):
    assert read_robots(status, content) == expected


@pytest.mark.parametrize("status", [200, 201, 203, 206])
def test_any_success_with_a_body_is_a_file(status):
    found = read_robots(status, CLOSED)
    assert isinstance(found, Robots)
    assert not found.allows(address("/a"))


EXAMPLE = b"""
User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: / train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: / train-ai=y
"""


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (EXAMPLE, "/test", True),
        (EXAMPLE, "/ai-ok/test", False),
        (EXAMPLE.replace(b"ExampleBot", b"wit400m"), "/test", False),
        (EXAMPLE.replace(b"ExampleBot", b"WIT400M/2.0"), "/test", False),
        (EXAMPLE.replace(b"*", b"OtherBot"), "/test", False),
        (b"User-agent: *\nContent-Usage: train-ai=n", "/a", True),  # the form of an earlier draft
        (b"User-agent: *\nContent-Usage: /a train-ai=n", "/b", False),
        (b"User-agent: *\nContent-Usage: /*.jpg$ train-ai=n", "/a.jpg", True),
        (b"User-agent: *\nContent-Usage: *.jpg$ train-ai=n", "/a.jpg?b", False),
        (b"User-agent: *\nContent-Usage: /a search=n", "/a", False),
        (b"User-agent: *\nContent-Usage: /caf\xc3\xa9 train-ai=n", "/caf%C3%A9", True),
        (b"User-agent: *\nContent-Usage: /a train-ai=y\nContent-Usage: /a train-ai=n", "/a", True),
        (b"User-agent: *\nContent-Usage: /a train-ai=n\nUser-agent: *\nContent-Usage: /ab train-ai=y", "/ab", False),
        (b"User-agent: *\n  content-usage :\t/\ttrain-ai=n # why", "/a", True),
        (b"User-agent: *\nContent-Usage: / search=y # train-ai=n", "/a", False),
        (b"User-agent: *\n# Content-Usage: / train-ai=n", "/a", False),
        (b"User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", "/a", True),
        (b"User-agent: *\nContent-signal: search=yes,ai-train=no,ai-input=no", "/a", True),
        (b"User-agent: *\nContent-Signal: ai-train=yes\nContent-Signal: /a ai-train=no", "/a", True),
        (b"User-agent: *\nContent-Signal: ai-train=yes\nContent-Signal: /a ai-train=no", "/b", False),
        (b"User-agent: a\nUser-agent: *\nContent-Signal: ai-train=no", "/a", True),
        (b"User-agent: *\nSitemap: /s.xml\nUser-agent: a\nContent-Signal: ai-train=no", "/a", True),
        (b"User-agent: *\nAllow: /\nUser-agent: a\nContent-Signal: ai-train=no", "/a", False),
        (b"User-agent: *\nContent-Signal: ai-train=no\nUser-agent: wit400m\nAllow: /", "/a", False),
        (b"Content-Signal: ai-train=no\nUser-agent: a\nDisallow: /", "/a", True),
        (b"User-agent: *\rContent-Signal: ai-train=no\r", "/a", True),
    ],
)
def test_rules_for_use_are_those_of_our_group_the_longest_first(text, path, expected):
    assert robots(text).opted_out(address(path)) is expected


def test_rules_are_the_same_after_they_were_kept():
    rules = robots(ROBOTS + EXAMPLE)
    kept = pickle.loads(pickle.dumps(rules))
    for path in ("/test", "/ai-ok/test", "/for-people/a.jpg", "/never/x", "/private/y"):
        url = address(path)
        assert (kept.allows(url), kept.opted_out(url)) == (rules.allows(url), rules.opted_out(url))
    assert kept.crawl_delay_s == rules.crawl_delay_s


NAMES = ["User-agent", "Disallow", "Allow", "Crawl-delay", "Request-rate", "Content-Usage", "Content-Signal", "Host"]
LINES = st.builds("{}{}{}\n".format, st.sampled_from(NAMES), st.sampled_from([":", " ", ": "]), st.text())
TEXTS = st.lists(LINES).map("".join)
BODIES = st.binary() | TEXTS.map(str.encode) | TEXTS.map(lambda text: text.encode("utf-16"))
PATHS = st.text().map(lambda text: URL("/").with_path("/" + text).raw_path) | st.sampled_from(["//[x", "/%ff%", "/?**"])


@given(BODIES, PATHS)
@settings(max_examples=300)
def test_no_file_raises_an_error(body, path):
    rules = robots(body)
    rules.allows(address(path))
    rules.opted_out(address(path))
    assert 0 <= rules.crawl_delay_s < float("inf")


def test_a_file_that_is_made_to_be_slow_is_read_and_asked_in_passing():
    lines = (f"Content-Usage: /*{'a*' * 7}{number}$ train-ai=n\n" for number in range(10_000))
    rules = robots(f"User-agent: *\n{''.join(lines)}".encode())
    assert not rules.opted_out(address("/" + "a" * 2_000))
