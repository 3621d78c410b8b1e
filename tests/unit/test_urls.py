import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.web.urls import UrlResolver, canonicalize_url, url_host

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
        ("http://h/100%.jpg", "http://h/100%25.jpg"),
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
        "http:///a",
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


def test_what_cannot_be_encoded_is_a_question_mark_and_an_escape_in_a_query_is_normalised():
    assert canonicalize_url("http://h/\ud800?%7e%3d\ud800") == "http://h/%3F?~%3D%3F"


@pytest.mark.parametrize("host", ["bücher..example", "xn--\u00fc", "a" * 64 + "ü", "\u2488.com"])
def test_hosts_that_no_name_server_knows_are_refused(host):
    assert canonicalize_url(f"http://{host}/") is None
