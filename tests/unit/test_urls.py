import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.web.urls import UrlResolver, canonicalize_url, encode_path, url_host

BASE = "http://a/b/c/d;p?q"
RFC_3986_5_4 = {
    "g": "/b/c/g",
    "./g": "/b/c/g",
    "g/": "/b/c/g/",
    "/g": "/g",
    "?y": "/b/c/d;p?y",
    "g?y": "/b/c/g?y",
    "g?y#s": "/b/c/g?y",
    ";x": "/b/c/;x",
    "g;x=1/../y": "/b/c/y",
    "..": "/b/",
    "../g": "/b/g",
    "../..": "/",
    "../../../g": "/g",
    "/./g": "/g",
    "/../g": "/g",
    "g..": "/b/c/g..",
    "./g/.": "/b/c/g/",
    "g?y/../x": "/b/c/g?y/../x",
}


@pytest.mark.parametrize(("reference", "path"), RFC_3986_5_4.items())
def test_references_resolve_as_in_rfc_3986(reference, path):
    assert UrlResolver(BASE).resolve(reference) == f"http://a{path}"


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://EXAMPLE.com:80", "http://example.com/"),
        ("https://h:443/a", "https://h/a"),
        ("https://h:8443/a#b", "https://h:8443/a"),
        ("http://h/%7eA/%c3%a4", "http://h/~A/%C3%A4"),
        ("http://h/100%.jpg", "http://h/100%.jpg"),
        ("http://h/a b\n.jpg", "http://h/a%20b.jpg"),
        ("http://h/ä?ö=ü", "http://h/%C3%A4?%C3%B6=%C3%BC"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://\uff45xample.com/", "http://example.com/"),
        ("http://h\\a\\b?c\\d", "http://h/a/b?c%5Cd"),
        ("http://h/%2e%2e/x", "http://h/x"),
        (" HTTP://h/a! ", "http://h/a!"),
        ("http://[::1]:81/x", "http://[::1]:81/x"),
    ],
)
def test_one_image_has_one_address(url, canonical):
    assert canonicalize_url(url) == canonical


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:image/gif;base64,R0",
        "ftp://h/a",
        "http://u:p@h/",
        "http://a b/",
        "http://h:0/",
        "http://..",
        "/a",
    ],
)
def test_what_is_no_web_address_is_refused(url):
    assert canonicalize_url(url) is None


@pytest.mark.parametrize("reference", ["", "#top", "data:x", "javascript:void(0)", "mailto:a@b"])
def test_references_to_no_image_are_refused(reference):
    assert UrlResolver(BASE).resolve(reference) is None


def test_without_a_base_only_absolute_references_resolve():
    resolver = UrlResolver("")
    assert resolver.resolve("a.jpg") is None
    assert resolver.resolve("//h/a.jpg") is None
    assert resolver.resolve("http://h/a.jpg") == "http://h/a.jpg"


@given(st.text() | st.from_regex(r"https?://[^/]{1,20}/[^#]{0,40}", fullmatch=True))
def test_canonical_addresses_are_ascii_and_stay_as_they_are(text):
    for url in (canonicalize_url(text), UrlResolver("http://a.example/b/c").resolve(text)):
        if url is not None:
            assert url.isascii() and " " not in url
            assert canonicalize_url(url) == url
            assert url_host(url)


@given(
    st.from_regex(
        r"(?:(?:https?:)?//[a-z]{1,9}\.[a-z]{2,5})?/(?:[a-z0-9_-]+\.?/?){0,3}(?:\?[a-z=&]{0,9})?", fullmatch=True
    )
)
@example("//b.example/1")
@example("/1")
def test_plain_references_resolve_as_any_other(reference):
    for base in (BASE, "https://a.example:81/b", "http://a.example/b/c", ""):
        resolver = UrlResolver(base)
        assert resolver.resolve_plain(reference) in (resolver.resolve(reference), None)
    assert UrlResolver("http://a.example/b/c").resolve_plain(reference)


def host_of(length):
    """A host name of so many characters, in labels of at most 63."""
    return (("a" * 62 + ".") * 5)[: length - 2] + "xy"


@pytest.mark.parametrize(("length", "accepted"), [(252, True), (253, True), (254, False)])
def test_a_host_name_has_at_most_253_characters(length, accepted):
    url = f"http://{host_of(length)}:81/"
    assert len(url_host(url)) == length
    assert canonicalize_url(url) == (url if accepted else None)


@pytest.mark.parametrize(
    ("port", "canonical"),
    [
        ("0", None),
        ("1", "http://h/:1/"),
        ("80", "http://h/"),
        ("", "http://h/"),
        ("081", "http://h/:81/"),
        ("65534", "http://h/:65534/"),
        ("65535", "http://h/:65535/"),
        ("65536", None),
        ("99999", None),
        ("100000", None),
    ],
)
def test_ports_are_1_to_65535_and_the_default_one_is_left_out(port, canonical):
    wanted = canonical and canonical.replace("h/:", "h:")
    assert canonicalize_url(f"http://h:{port}/") == wanted


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/a/./b", "/a/b"),
        ("/a/../../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/.a/b.", "/.a/b."),
        ("//a//b", "//a//b"),
        ("/a/b/../c/d/../../e", "/a/e"),
    ],
)
def test_dot_segments_are_removed_and_other_segments_stay(path, canonical):
    assert canonicalize_url(f"http://h{path}") == f"http://h{canonical}"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example/b:9/c", "a.example"),
        ("http://a.example:81/b", "a.example"),
        ("http://[::1]/b", "[::1]"),
        ("http://[::1]:81/]b", "[::1]"),
        ("http://a.example/b]c", "a.example"),
    ],
)
def test_the_host_of_an_address_is_without_port_and_path(url, host):
    assert url_host(url) == host


@pytest.mark.parametrize(
    ("base", "reference", "url"),
    [
        ("https://h:444/a/b?c", "d.jpg", "https://h:444/a/d.jpg"),
        ("https://h.example/a/b?c", "?d", "https://h.example/a/b?d"),
        ("https://h.example/a/b", "//c.example/d", "https://c.example/d"),
        ("https://h.example", "d", "https://h.example/d"),
        ("https://h.example/a/b", "d/e.jpg", "https://h.example/a/d/e.jpg"),
        ("http://h.example/a", "b:c", None),
        ("http://h.example/a", "./b:c", "http://h.example/b:c"),
        ("http://h.example/a", " b\tc\n", "http://h.example/bc"),
        ("http://h.example/a", "\\\\c.example\\d?e\\f", "http://c.example/d?e%5Cf"),
        ("http://h.example/a", "HTTP://c.example", "http://c.example/"),
        ("ftp://h.example/a", "b", None),
    ],
)
def test_references_take_from_the_base_what_they_lack(base, reference, url):
    assert UrlResolver(base).resolve(reference) == url


@pytest.mark.parametrize(
    ("base", "reference", "url"),
    [
        ("https://h.example/a/b", "/c.jpg", "https://h.example/c.jpg"),
        ("https://h.example/a/b", "//c.example/d", "https://c.example/d"),
        ("https://h.example/a/b", "http://c.example/d", "http://c.example/d"),
        ("https://h:444/a/b", "/c.jpg", None),
        ("", "/c.jpg", None),
        ("", "http://c.example/d", "http://c.example/d"),
    ],
)
def test_plain_references_need_no_second_look_where_the_base_is_plain(base, reference, url):
    assert UrlResolver(base).resolve_plain(reference) == url


def test_half_a_character_is_the_replacement_character_and_an_escape_in_a_query_is_normalised():
    assert canonicalize_url("http://h/\ud800?%7e%3d\ud800") == "http://h/%EF%BF%BD?~%3D%EF%BF%BD"


@pytest.mark.parametrize("host", ["bücher..example", "xn--\u00fc", "a" * 64 + "ü", "\u2488.com"])
def test_hosts_that_no_name_server_knows_are_refused(host):
    assert canonicalize_url(f"http://{host}/") is None


# The cases of web-platform-tests (url/resources/urltestdata.json) with http(s) in the reference, the base or the
# result: reference, base, result without its fragment (empty: none that is http(s)), and why ours is another.
WEB_PLATFORM_TESTS = [
    tuple(json.loads(f'"{field}"') for field in line.split("\t"))
    for line in Path(__file__).with_name("url_cases.tsv").read_text().splitlines()
]
NO_IMAGE = ("credentials", "port", "nothing", "no name")


def test_addresses_are_parsed_as_web_platform_tests_say():
    for reference, base, url, reason in WEB_PLATFORM_TESTS:
        found = UrlResolver(base).resolve(reference) if base else canonicalize_url(reference)
        if reason == "":
            assert found == (url or None), reference
        elif reason == "escapes":
            scheme, _, rest = url.partition("://")
            host, slash, path = rest.partition("/")
            assert found == f"{scheme}://{host}{encode_path(slash + path)}" != url
        elif reason in NO_IMAGE:
            assert found is None and url
        else:
            assert reason == "encoded label" and found and not url


def test_the_exceptions_from_web_platform_tests_are_counted():
    assert len(WEB_PLATFORM_TESTS) == 427
    assert Counter(reason for *_, reason in WEB_PLATFORM_TESTS if reason) == {
        "credentials": 25, "escapes": 10, "nothing": 8, "encoded label": 6, "no name": 4, "port": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("http:/c.example/x.jpg", "http://h.example/c.example/x.jpg"),
        ("http:img/x.jpg", "http://h.example/a/img/x.jpg"),
        ("https:/c.example/x.jpg", "https://c.example/x.jpg"),
        ("https:c.example/x.jpg", "https://c.example/x.jpg"),
        ("///c.example/x.jpg", "http://c.example/x.jpg"),
        ("////c.example//x.jpg", "http://c.example//x.jpg"),
        ("\\/c.example\\x.jpg", "http://c.example/x.jpg"),
        ("http:\\\\c.example\\x.jpg", "http://c.example/x.jpg"),
        ("ht\ntp://c.exa\tmple/x.jpg", "http://c.example/x.jpg"),
        ("//c.example:443/x", "http://c.example:443/x"),
        ("//c.example:/x", "http://c.example/x"),
        ("//☕.example/x", "http://xn--53h.example/x"),
        ("//c。example/x", "http://c.example/x"),
        ("//%63.example/x", "http://c.example/x"),
        ("//0x7f.1/x", "http://127.0.0.1/x"),
        ("//1.2.3/x", "http://1.2.0.3/x"),
        ("//256.1.1.1/x", None),
        ("//c.example.1/x", None),
        ("//[1::0:1]/x", "http://[1::1]/x"),
        ("//c d.example/x", None),
        ("//c<d.example/x", None),
        ("100%.jpg", "http://h.example/a/100%.jpg"),
        ("%", "http://h.example/a/%"),
        ("%%41", "http://h.example/a/%%41"),
        ("%4%31", "http://h.example/a/%4%31"),
        ("%zz%7e?%&%7E", "http://h.example/a/%zz~?%&~"),
        ("%2e%2E/x", "http://h.example/x"),
        ("x?it's=|[a]^`", "http://h.example/a/x?it%27s=%7C%5Ba%5D%5E%60"),
        ("x?a#b?c", "http://h.example/a/x?a"),
        ("x?", "http://h.example/a/x?"),
        (" x.jpg #", "http://h.example/a/x.jpg%20"),
        ("./x y.jpg", "http://h.example/a/x%20y.jpg"),
        ("./ x.jpg", "http://h.example/a/%20x.jpg"),
        ("./../x.jpg ", "http://h.example/x.jpg"),
        ("./x:y.jpg", "http://h.example/a/x:y.jpg"),
        ("/x y?z ä", "http://h.example/x%20y?z%20%C3%A4"),
        ("//g h/x.jpg", None),
        ("https://g.example/x y.jpg ", "https://g.example/x%20y.jpg"),
    ],
)
def test_references_mean_what_they_mean_to_browsers(reference, url):
    assert UrlResolver("http://h.example/a/b?c").resolve(reference) == url


@pytest.mark.parametrize(
    ("encoding", "reference", "url"),
    [
        ("gbk", "/图.jpg?q=图&r=é😀#图", "/%E5%9B%BE.jpg?q=%CD%BC&r=%A8%A6%26%23128512%3B"),
        ("euc-jp", "?q=図", "/a?q=%BF%DE"),
        ("shift_jis", "?q=表 x", "/a?q=%95%5C%20x"),
        ("iso-2022-jp", "?図", "/a?%1B$B?%5E%1B(B"),
        ("windows-1251", " ?q=ж%\n", "/a?q=%E6%"),
        ("utf-16be", "?ж", "/a?%D0%B6"),
        ("utf-8", "?ж\ud800", "/a?%D0%B6%EF%BF%BD"),
    ],
)
def test_queries_are_escaped_in_the_encoding_of_the_page(encoding, reference, url):
    assert UrlResolver("http://h.example/a", encoding).resolve(reference) == f"http://h.example{url}"


@given(st.text(alphabet="%4aF~.", max_size=9))
@example("%%%411")
def test_escapes_in_one_form_stay_as_they_are_and_keep_their_meaning(text):
    assert encode_path(encode_path(text)) == encode_path(text)
