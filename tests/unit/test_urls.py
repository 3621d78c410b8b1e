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
        ("http://h\\a\\b?c\\d", "http://h/a/b?c%5Cd"),
        ("http://h/%2e%2e/x", "http://h/x"),
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
