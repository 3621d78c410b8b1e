from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Candidate
from pipeline.extraction.pages import PageRules, parse_page

URL = "http://a.example/news/1.html"
FIGURE = "<figure><p><img src=a.jpg alt=' '></p><figcaption>A<b>B</b></figcaption></figure>"
JSON_LD = """<script type="application/ld+json">
{"image": [{"@type": "ImageObject", "url": "a.jpg", "caption": "T"}]}</script>"""
IMAGE = "http://a.example/news/a.jpg"
BESIDE = "http://a.example/news/b.jpg"
WORDPRESS = """<div class="wp-caption alignnone"><p class="wp-caption-text">B</p></div><div class="wp-caption x">
<a><img class="wp-image-7" src=a.jpg></a><p class="wp-caption-text">C</p></div>"""
GALLERY = """<dl class='gallery-item'><dt><img src=a.jpg></dt><dd class='wp-caption-text gallery-caption'>C</dd></dl>"""


def found(html: str, **keywords):
    return parse_page(html.encode(), URL, **keywords).candidates


@pytest.mark.parametrize(
    ("html", "candidate"),
    [
        ("<img src=a.jpg alt='A cat'>", (IMAGE, "A cat", "alt")),
        ("<IMG SRC='/b.jpg' ALT='a &amp; b'>", ("http://a.example/b.jpg", "a & b", "alt")),
        ("<base href='//b.example/x/'><img src=a.jpg alt=t>", ("http://b.example/x/a.jpg", "t", "alt")),
        ("<img src=data:x data-src=a.jpg alt=t>", (IMAGE, "t", "alt")),
        ("<noscript><img src=a.jpg alt=t></noscript>", (IMAGE, "t", "alt")),
        ("<picture><source srcset='b.jpg 99w, a.jpg 400w'><img alt=t></picture>", (IMAGE, "t", "alt")),
        (FIGURE, (IMAGE, "AB", "figcaption")),
        ("<amp-img src=a.jpg alt=t></amp-img>", (IMAGE, "t", "alt")),
        ("<input type=image src=a.jpg alt=t>", (IMAGE, "t", "alt")),
        ("<img src=a.jpg aria-labelledby='x y'><p id=x>A<b>B</b><i id=y>C</i></p>", (IMAGE, "ABC C", "aria-label")),
        ("<img src=a.jpg aria-label=L aria-labelledby=x><p id=xx>A<p id=x hidden>B", (IMAGE, "B", "aria-label")),
        ("<img src=a.jpg aria-describedby=c><p id=c class=wp-caption-text>C</p>", (IMAGE, "C", "caption")),
        (WORDPRESS, (IMAGE, "C", "caption")),
        (GALLERY, (IMAGE, "C", "caption")),
        ("<img src=a.jpg usemap=#m><map name=m><area alt=A><area></map><area alt=B>", (IMAGE, "A", "area")),
        ("<img src=a.jpg alt=t usemap=#m><map name=m><area alt=A></map>", (IMAGE, "t", "alt")),
        ("<img src=blank.gif alt=t><noscript><img src=a.jpg></noscript>", (IMAGE, "t", "alt")),
        ("<noscript><img src=a.jpg></noscript><img src=blank.gif alt=t>", (IMAGE, "t", "alt")),
        ("<noscript>&lt;img src=a.jpg alt=t&gt;</noscript>", (IMAGE, "t", "alt")),
        ("<frameset><noframes><img src=a.jpg alt=t></noframes></frameset>", (IMAGE, "t", "alt")),
        ("<frameset><img src=a.jpg alt=t>", (IMAGE, "t", "alt")),
        ("<img src=a.jpg srcset='b.jpg 99w' data-lazy=true data-image=123 alt=t>", (BESIDE, "t", "alt")),
        ("<svg><g></div><image><![CDATA[<img alt=u>]]></g></svg><img src=a.jpg alt=t>", (IMAGE, "t", "alt")),
        ("<figure><img src=a.jpg title=T><figcaption>C</figcaption></figure>", (IMAGE, "C", "figcaption")),
        ("<img src=a.jpg title=T>", (IMAGE, "T", "title")),
        ("<img src=a.jpg aria-label=L>", (IMAGE, "L", "aria-label")),
        ("<a href=x title='Link'><span><img src=a.jpg></span></a>", (IMAGE, "Link", "link-title")),
        ("<img src=a.jpg alt=''>", (DropReason.NO_TEXT, "", "")),
        ("<img src=data:x alt=t>", (DropReason.DATA_URL, "t", "alt")),
        ("<img src=blank.gif alt=t>", (DropReason.PLACEHOLDER, "t", "alt")),
        ("<img alt=t>", (DropReason.NO_IMAGE_URL, "t", "alt")),
        ("<img src='http://[' alt=t>", (DropReason.BAD_URL, "t", "alt")),
        ("<meta property=og:image content=a.jpg><meta property=og:image:alt content=T>", (IMAGE, "T", "og")),
        ("<meta name=twitter:image content=a.jpg><meta name=twitter:image:alt content=T>", (IMAGE, "T", "twitter")),
        (JSON_LD, (IMAGE, "T", "json-ld")),
    ],
)  # fmt: skip
def test_each_source_of_a_pair_is_read(html, candidate):
    assert [candidate for candidate in found(html) if candidate.text or "alt=''" in html] == [Candidate(*candidate)]


@pytest.mark.parametrize(
    "item",
    [
        "<img itemprop=contentUrl src=a.jpg><b itemprop=caption>T</b>",
        "<meta itemprop=contentUrl content=a.jpg><meta itemprop=description content=T>",
        "<link itemprop=contentURL href=a.jpg><meta itemprop=caption content=' '><p itemprop=name>T</p>",
        "<a itemprop=url href=page.html><img itemprop='http://schema.org/image' src=a.jpg></a><i itemprop='caption x'>T</i>",  # noqa: E501
        "<img src=a.jpg><figcaption itemprop=caption>T</figcaption>",
        "<span itemprop=url content=a.jpg></span><span itemscope><i itemprop=name>U</i></span><i itemprop=name>T</i>",
        "<img itemprop=contentUrl src=blank.gif data-src=a.jpg><p itemprop=caption>T<style>u</style></p>",
    ],
)
def test_microdata_is_read(item):
    html = f"<div itemscope itemtype='https://schema.org/ImageObject'>{item}</div><i itemprop=caption>V</i>"
    assert Candidate(IMAGE, "T", "microdata") in found(html)
    assert not [pair for pair in found(html.replace("ImageObject", "VideoObject")) if pair.text_source == "microdata"]


@pytest.mark.parametrize(
    "item",
    [
        "<img src=a.jpg><img src=b.jpg><i itemprop=caption>T</i>",
        "<meta itemprop=url content=page.html><i itemprop=caption>T</i>",
        "<img itemprop=contentUrl src=a.jpg><i itemprop=caption></i>",
    ],
)
def test_an_item_without_an_image_or_a_text_gives_no_pair(item):
    html = f"<div itemscope itemtype='https://schema.org/ImageObject'>{item}</div>"
    assert not [pair for pair in found(html) if pair.text_source == "microdata"]


def test_every_area_of_a_map_is_a_text_of_its_image():
    html = "<img src=a.jpg usemap='#m'><map id=m><area alt=A><p><area alt=B><area alt=A></map>"
    assert [(pair.image_url, pair.text) for pair in found(html)] == [(IMAGE, "A"), (IMAGE, "B")]


def test_a_noscript_with_a_text_of_its_own_is_a_pair_of_its_own():
    html = "<img src=blank.gif alt=t><noscript><img src=a.jpg alt=u></noscript>"
    assert [pair.image_url for pair in found(html)] == [DropReason.PLACEHOLDER, IMAGE]


def test_what_is_no_image_of_the_page_is_not_found():
    assert (
        found("<!-- <img src=a.jpg alt=t> --><script>'<img src=a.jpg alt=t>'</script><textarea><img></textarea>") == []
    )


def test_all_texts_of_an_image_are_taken_on_request():
    html = "<a title=L><figure><img src=a.jpg alt=A title=T><figcaption>C</figcaption></figure></a>"
    texts = [candidate.text for candidate in found(html, rules=PageRules(all_texts=True))]
    assert texts == ["A", "C", "T", "L"]
    assert [candidate.text for candidate in found(html)] == ["A"]


def test_the_width_wanted_decides_between_the_images_of_a_srcset():
    html = "<img alt=t srcset='s.jpg 100w, m.jpg 400w, l.jpg 1000w'>"
    chosen = [found(html, rules=PageRules(target_px=px))[0].image_url[-5:] for px in (50, 336, 800, 5000)]
    assert chosen == ["s.jpg", "m.jpg", "l.jpg", "l.jpg"]


@pytest.mark.parametrize(
    ("head", "headers", "is_out"),
    [
        ("<meta name=robots content='index, NOAI'>", [], True),
        ("<meta name=Robots content=noimageai>", [], True),
        ("<meta name=robots content=noindex>", [], True),
        ("<meta name=tdm-reservation content=1>", [], True),
        ("<meta name=Wit400m content=noai>", [], True),
        ("<meta name=otherbot content=noai>", [], False),
        ("<meta name=robots content='noindex;noai'>", [], True),
        ("<meta name=robots content=none>", [], True),
        ("<meta name=googlebot content=noindex>", [], True),
        ("<meta name=GPTBot content='noai'>", [], True),
        ("<meta name=CCBot content='nofollow, noimageindex'>", [], True),
        ("<meta name=googlebot content='index, follow'>", [], False),
        ("<meta name=googlebot-news content=noindex>", [], False),
        ("<meta content=noai http-equiv=X-Robots-Tag>", [], True),
        ("<meta http-equiv=Content-Usage content='train-ai=n'>", [], True),
        ("<meta http-equiv=content-signal content='ai-train=no'>", [], True),
        ("<meta name=x http-equiv=tdm-reservation content=1>", [], True),
        ("<meta name=x property=y http-equiv=z content=noai>", [], False),
        ("<meta name=robots content='unavailable_after: Wed, 01 Jan 2031 15:00:00 PST, noai'>", [], True),
        ("", [("x-robots-tag", "noai")], True),
        ("", [("content-usage", "train-ai=n")], True),
        ("", [("content-signal", "search=yes, ai-train=no")], True),
        ("", [("tdm-reservation", "1")], True),
        ("", [("x-robots-tag", "otherbot: noai")], False),
        ("<meta name=robots content='index,follow'><meta name=tdm-reservation content=0>", [], False),
    ],
)
def test_a_page_that_is_opted_out_is_left_out(head, headers, is_out):
    page = parse_page(f"<head>{head}</head><img src=a.jpg alt=t>".encode(), URL, headers=headers)
    assert (page is DropReason.OPTED_OUT) == is_out


def test_noindex_is_no_opt_out_when_it_is_not_wanted():
    html = b"<meta name=robots content=noindex><img src=a.jpg alt=t>"
    assert parse_page(html, URL, rules=PageRules(noindex=False)).candidates


def test_xhtml_closes_scripts_that_html_leaves_open():
    html = "<html><head><script src='x.js'/></head><body><img src='a.jpg' alt='t'/></body></html>"
    assert len(found(html, mime="application/xhtml+xml")) == 1
    assert len(found(html)) == 0


def test_the_language_and_the_address_of_a_page_are_kept():
    page = parse_page(b"<html lang='De-AT '><meta property=og:url content=http://b.example/><img src=a alt=t>", "")
    assert (page.language, page.url) == ("de-at", "http://b.example/")
    assert page.candidates[0].image_url == "http://b.example/a"


IMG = b"<img src=a.jpg alt=t>"
HOSTILE = {  # a page of so many pieces
    "nested elements": lambda n: b"<div>" * n + IMG,
    "attributes": lambda n: b"<img " + b" ".join(b"a%d=1" % i for i in range(n)) + b">" + IMG,
    "attributes with signs": lambda n: b"<img " + b" ".join(b'a%d=">"' % i for i in range(n)) + b">" + IMG,
    "formatting elements": lambda n: b"".join(b"<font a=%d><p>" % i for i in range(n // 20)) + IMG,
    "open comments": lambda n: b"<!--" * n,
    "open quotes": lambda n: b'<img alt="' * n,
    "end tags": lambda n: b"<div>" * n + b"</p>" * n,
    "srcset": lambda n: b'<img alt=t srcset="' + b"a 1w," * n + b'">',
    "json": lambda n: b'<script type="application/ld+json">' + b"[" * n + b"</script>" + IMG,
    "meta": lambda n: b"<meta " * n,
    "figures": lambda n: b"<figure><figcaption>x" * (n // 4) + IMG,
    "links": lambda n: b"<a title='" + b"word " * n + b"'>" + b"<img src=a>" * (n // 3),
    "sources": lambda n: b"<picture>" + b"<source srcset='data:,'>" * (n // 2) + b"<img alt=t>" * n,
    "labels": lambda n: b"".join(b"<img src=a aria-labelledby=x%d>" % i for i in range(n // 30)),
    "labels of one": lambda n: b"<p id=x>" + b"word " * n + b"</p>" + b"<img src=a aria-labelledby=x>" * (n // 9),
    "captions": lambda n: b"<p class='wp-caption'><b class='wp-caption-text'>" * (n // 40) + b"<img src=a>" * (n // 9),
    "items": lambda n: b"<div itemscope itemtype='//schema.org/ImageObject'><i itemprop=name>" * (n // 60),
    "data": lambda n: b"<img alt=t " + b" ".join(b"data-%d=/a.jpg" % i for i in range(n)) + b">",
    "bad offers": lambda n: b'<img alt=t srcset="' + b"data:, 1w, " * n + b'">',
    "svg": lambda n: b"<svg></b>" * n + IMG,
    "noscript": lambda n: b"<noscript>&lt;img alt=t&gt;</noscript><img alt=t>" * (n // 10),
    "formats": lambda n: b"<a><b>" * (n // 4) + b"<div></a>" * (n // 4),
    "signs": lambda n: b"<" * (5 * n) + b">" * (5 * n),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_page_takes_more_than_linear_time(growth, make):
    assert growth(lambda html: parse_page(html, URL), make, 30_000) < 24


def test_a_long_page_keeps_its_images():
    html = "".join(f"<div><p>text</p><img src={i}.jpg alt='image {i}'></div>" for i in range(12_000))
    assert [candidate.text for candidate in found(html)] == [f"image {i}" for i in range(12_000)]


def test_a_text_around_very_many_images_is_not_repeated_for_ever():
    html = f"<figure><figcaption>{'word ' * 10_000}</figcaption>{'<img src=a.jpg>' * 10_000}</figure>"
    sources = Counter(candidate.text_source for candidate in found(html))
    assert 0 < sources["figcaption"] < 50 and sources.total() == 10_000


PIECES = """<img |src=a.jpg |alt='x' |>|<figure>|<figcaption>|</figure>|<a title=t>|<picture>|<source srcset='a 1w'>|
<meta name=robots content=|<noscript>|<script type='application/ld+json'>{|</script>|<!--|-->|&#xD800;|<template>|<svg>|
<base href=|<table>|"|\0|é|<meta property=og:image content=x>"""


FRAGMENTS = st.sampled_from(PIECES.split("|")) | st.text(max_size=5)


@settings(max_examples=100)
@given(st.lists(FRAGMENTS, max_size=40).map("".join), st.binary(max_size=40), st.booleans())
def test_no_page_crashes_and_every_image_is_a_pair_or_a_reason(text, noise, all_texts):
    html = text.encode("utf-8", "replace") + noise
    page = parse_page(html, URL, rules=PageRules(all_texts=all_texts))
    for candidate in page.candidates if not isinstance(page, DropReason) else []:
        assert isinstance(candidate.image_url, DropReason) or candidate.text
        candidate.text.encode()
