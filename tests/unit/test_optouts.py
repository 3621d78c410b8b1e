"""What sites say against the use of their files: header lines, meta elements, TDM files, patterns of paths."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.web.optouts import MAX_TDM_BYTES, TdmRules, allows_training, header_opt_out, tdm_reservation
from pipeline.web.path_patterns import PathPattern, plain_path

NOW = 1_750_000_000.0  # in June 2025


def forbids(*tags, noindex=True):
    return header_opt_out([("X-Robots-Tag", tag) for tag in tags], noindex=noindex, now_s=NOW)


@pytest.mark.parametrize(
    "tags",
    [
        ["noai"],
        ["NoImageAI"],
        ["all", "nosnippet, noai"],
        ["otherbot: noindex", "noai"],
        ["otherbot: noindex, wit400m: noai"],
        ["otherbot: noindex, *: noai"],
        ["wit400m: noai"],
        ["WIT400M/1.0: nofollow, noai"],
        ["*: noai"],
        ["otherbot: noindex, robots: noai"],
        ["max-snippet: 5, noai"],
        ["max-image-preview: large, noai"],
        ["max-video-preview:-1,noai"],
        ["max-of-tomorrow: 3, noai"],
        ["something: new, noai"],
        ["nofollow noai"],
        ["nofollow; noai"],
        ["noindex;noai"],
        ["noindex|NoAI"],
        ["noindex\n\tnoai"],
        ["noindex\uff0cnoai"],
        ["'noindex', \"noai\""],
        ["max-image-preview:large;noai"],
        ["otherbot: nofollow; wit400m: noai"],
        ["GPTBot: noai"],
        ["otherbot: noindex, ccbot: noimageai"],
        [" , noai , "],
        ["unavailable_after: 25 Jun 2030 15:00:00 GMT, noai"],
        ["unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, noai"],
        ["unavailable_after: Wednesday, 01-Jan-31 15:00:00 EST, noai"],
        ["unavailable_after: January 1, 2031 15:00 PST, noai"],
        ["unavailable_after: Wed, Jan 1, 2031, noai"],
        ["unavailable_after: 2031-01-01T15:00:00+01:00, noai"],
        ["unavailable_after: Wed, 01 Jan 2031 15:00:00 PST noai"],
        ["noai, unavailable_after: Wed, 01 Jan 2031 15:00:00 PST"],
        ["unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, wit400m: noai"],
        ["otherbot: unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, *: noai"],
        ["unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, nosnippet, otherbot: noindex, *: noai"],
    ],
)
def test_tags_against_training_are_found(tags):
    assert forbids(*tags)
    assert forbids(*tags, noindex=False)


@pytest.mark.parametrize(
    "tag",
    [
        "noindex",
        "NOIMAGEINDEX",
        "none",
        "nofollow, noindex",
        "wit400m: none",
        "nofollow;noindex",
        "googlebot: noindex",
        "Googlebot-Image: nofollow, noimageindex",
        "otherbot: all, GPTBot: none",
    ],
)
def test_tags_against_indexing_count_by_option(tag):
    assert forbids(tag)
    assert not forbids(tag, noindex=False)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "all",
        "index, follow",
        "max-image-preview: none",
        "max-image-preview:none, max-snippet:0",
        "otherbot: noai, noimageai",
        "otherbot: noindex, noai",
        "otherbot: noindex; noai",
        "googlebot-news: noindex",
        "adsbot-google: noindex, noai",
        "googlebot: nofollow, nosnippet",
        "googlebot: unavailable_after: Wed, 01 Jan 2031 15:00:00 PST",
        "wit400m: all, otherbot: noai",
        "otherbot: unavailable_after: Wed, 01 Jan 2020 15:00:00 PST, noai",
        "unavailable_after: 2031-01-01, 360spider: noai",
        "wit400mx: noai",
        "noaid",
    ],
)
def test_tags_for_others_and_for_something_else_are_not_taken_for_ours(tag):
    assert not forbids(tag)


@pytest.mark.parametrize(
    ("date", "is_over"),
    [
        ("Wed, 01 Jan 2025 15:00:00 PST", True),
        ("Wednesday, 01-Jan-25 15:00:00 EST", True),
        ("25 Jun 2010 15:00:00 PST", True),
        ("25-Aug-2007 15:00:00 EST", True),
        ("2025-01-01", True),
        ("2025-01-01T15:00:00Z", True),
        ("2025-06-15T17:06:40+02:00", True),  # the second itself
        ("2025-06-15T17:06:41+02:00", False),
        ("2025-06-15 15:06:40", True),
        ("Wed, 01 Jan 2031 15:00:00 PST", False),
        ("2031-01-01", False),
        ("9999-12-31T23:59:59-14:00", False),
        ("tomorrow", False),
        ("", False),
        ("32 Foo 2020", False),
        ("Mon, 01 Jan 99999 00:00:00 GMT", False),
    ],
)
def test_a_date_that_has_passed_forbids_as_noindex_does(date, is_over):
    tag = f"unavailable_after: {date}"
    assert forbids(tag) is forbids(f"nosnippet, {tag}, nofollow") is forbids(f"wit400m: {tag}") is is_over
    assert not forbids(tag, noindex=False)
    assert not forbids(f"otherbot: {tag}")
    assert not header_opt_out([("x-robots-tag", tag)], noindex=True)  # nobody said what time it is


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["1"], True),
        ([" 1 "], True),
        (["0"], False),
        (["0", "1"], True),
        (["1", "0"], True),
        (["0, 1"], True),
        (["2"], None),
        ([""], None),
        (["2", "0"], False),
    ],
)
def test_any_reserving_line_counts(values, expected):
    lines = [("Server", "1"), *(("TDM-Reservation", value) for value in values)]
    assert tdm_reservation(lines) is expected
    assert header_opt_out(lines, noindex=False) is (expected is True)


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        ("train-ai=n", False),
        ("train-ai=y", True),
        ("search=y, train-ai=n", False),
        ("search=n", None),
        ("ai-use=n", None),
        ("train-ai=n;exp=3, search=y", False),
        ("train-ai;allow=n, train-ai=y", True),
        ("train-ai = n", False),
        ("Train-AI=N", False),
        ("train-ai=?0", False),
        ("train-ai", None),
        ("train-ai=maybe", None),
        ('train-ai="n"', None),
        ('foo="a, train-ai=n", search=y', None),
        ("train-ai=y, train-ai=n", False),
        ("train-genai=n", False),
        ("ai=n", False),
        ("bots=n", False),
        ("bots=n, train-ai=y", True),
        ("bots=y, train-ai=n", False),
        ("ai-train=no", False),
        ("search=yes, ai-train=no", False),
        ("search=yes,ai-train=no,ai-input=no", False),
        ("ai-input=no", None),
        ("ai-train=yes", True),
        ("not-train-ai=n", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("name", ["Content-Usage", "content-signal"])
def test_preferences_on_use_in_training_are_read(name, preferences, expected):
    assert allows_training(preferences) is expected
    assert header_opt_out([(name, preferences)], noindex=False) is (expected is False)


def test_any_line_of_several_counts():
    lines = [("Content-Usage", "search=n"), ("content-usage", "train-ai=n"), ("X-Robots-Tag", "all")]
    assert header_opt_out(lines, noindex=False)


@given(st.lists(st.tuples(st.sampled_from(["X-Robots-Tag", "Content-Usage", "TDM-Reservation"]), st.text(max_size=30))))
def test_no_header_line_raises_an_error(lines):
    header_opt_out(lines, noindex=True, now_s=NOW)


PIECES = [
    "unavailable_after:",
    "noai",
    "otherbot:",
    "wit400m:",
    ",",
    " ",
    ":",
    "Wed",
    "01 Jan 2025 15:00:00 PST",
    "2025-01-01",
]


@given(st.lists(st.sampled_from(PIECES)))
@settings(max_examples=300)
def test_no_tag_raises_an_error_and_what_follows_it_in_a_line_of_its_own_counts(pieces):
    forbids("".join(pieces))
    assert forbids("".join(pieces), "noai")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/", "/a", True),
        ("/a", "/abc", True),
        ("/a", "/b", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*.jpg", "/a/b.jpg?c", True),
        ("/*.jpg$", "/a/b.jpg?c", False),
        ("/*.jpg$", "/a/b.jpg", True),
        ("*.jpg$", "/a.jpg.jpg", True),
        ("/a*b*c", "/a1b2c3", True),
        ("/a*b*c", "/a1c2b3", False),
        ("/ab*b$", "/ab", False),
        ("/a**b", "/ab", True),
        ("/a*", "/a", True),
        ("/a*$", "/ab", True),
        ("/a$b", "/a$bc", True),
        ("a/", "/a/b", True),
        ("http://x.example/a/", "/a/b", True),
        ("https://x.example", "/b", True),
        ("/foo-%24", "/foo-$", True),
        ("/foo-%2A", "/foo-*", True),
        ("/foo-%2a", "/foo-b", False),
        ("/%7Ejoe", "/~joe", True),
        ("/~joe", "/%7ejoe", True),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2fb", "/a/b", False),
        ("/caf\u00e9", "/caf%C3%A9", True),
        ("/a b", "/a%20b", True),
        ("/A", "/a", False),
        ("", "/a", True),
    ],
)
def test_patterns_stand_for_paths_as_in_robots_txt(pattern, path, expected):
    assert PathPattern.parse(pattern).matches(plain_path(path)) is expected


@given(st.text("/a*$%2", max_size=12), st.text("/a*$%2", max_size=20))
@settings(max_examples=300)
def test_patterns_match_as_a_slow_search_does(pattern, path):
    parsed = PathPattern.parse(pattern)
    seen = PathPattern.parse("/" + path.replace("*", "%2A").replace("$", "%24")).pieces[0]

    def search(pieces, rest, is_first):
        if not pieces:
            return not parsed.is_anchored or not rest
        places = [0] if is_first else range(len(rest) + 1)
        return any(
            search(pieces[1:], rest[place + len(pieces[0]) :], False)
            for place in places
            if rest.startswith(pieces[0], place)
        )

    assert parsed.matches(plain_path("/" + path)) is search(parsed.pieces, seen, True)


FILE = b"""[
    {"location": "/directory-a/", "tdm-reservation": 1},
    {"location": "/directory-b/html/", "tdm-reservation": 1, "tdm-policy": "https://provider.example/policy.json"},
    {"location": "/directory-b/images/*.jpg", "tdm-reservation": 0},
    {"location": "/directory-b/images/", "tdm-reservation": "1"},
    {"location": "/directory-b/images/x.gif", "tdm-reservation": 0}
]"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", False),
        ("/directory-a/b.pdf", True),
        ("/directory-a", False),
        ("/directory-b/html/c", True),
        ("/directory-b/images/d.jpg", False),
        ("/directory-b/images/d.png", True),
        ("/directory-b/images/x.gif", True),  # the first that matches decides
    ],
)
def test_the_first_rule_of_a_tdm_file_that_means_a_path_decides(path, expected):
    rules = TdmRules.parse(FILE)
    assert rules.reserves(path) is expected
    assert pickle.loads(pickle.dumps(rules)) == rules == TdmRules.parse(b"\xef\xbb\xbf" + FILE)


@pytest.mark.parametrize(
    ("body", "reserves"),
    [
        (b'[{"location": "/", "tdm-reservation": 1}]', True),
        (b'{"location": "/", "tdm-reservation": true}', True),
        (b'[null, 3, [], {"location": 3, "tdm-reservation": 1}, {"location": "*", "tdm-reservation": "1"}]', True),
        (b'[{"location": "/"}, {"tdm-reservation": 1}]', False),
        (b'[{"location": "/", "tdm-reservation": 2}]', False),
        (b"", False),
        (b"<html>not found</html>", False),
        (b"[" * 100_000, False),
        (b"\xff\xfe\0", False),
        (b"1" * 5_000, False),
        (b'[{"location": "/", "tdm-reservation": 1}' + b" " * MAX_TDM_BYTES + b"]", False),
    ],
    ids=range(11),
)
def test_what_has_not_the_form_of_a_tdm_file_says_nothing(body, reserves):
    assert TdmRules.parse(body).reserves("/a.jpg") is reserves


@given(st.binary() | st.text().map(str.encode), st.text())
def test_no_tdm_file_raises_an_error(body, path):
    TdmRules.parse(body).reserves(path)
