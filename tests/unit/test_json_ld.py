"""Images of JSON-LD: what names them, and scripts that are not quite JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extraction.json_ld import find_json_ld
from pipeline.extraction.lenient_json import read_json
from pipeline.extraction.pages import parse_page


def told(*scripts, **keywords):
    scripts = [script if isinstance(script, str) else json.dumps(script) for script in scripts]
    return [(find.reference, find.text) for find in find_json_ld(scripts, **keywords).finds]


IMAGE = {"@type": "ImageObject", "url": "a.jpg", "caption": "C"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (IMAGE, [("a.jpg", "C")]),
        (IMAGE | {"caption": "", "description": "D", "name": "N"}, [("a.jpg", "D")]),
        (IMAGE | {"caption": " \n", "name": "N"}, [("a.jpg", "N")]),
        (IMAGE | {"caption": None, "name": ["", "N"]}, [("a.jpg", "N")]),
        (IMAGE | {"caption": {"@value": "C", "@language": "en"}}, [("a.jpg", "C")]),
        (IMAGE | {"caption": "", "alternateName": "A"}, [("a.jpg", "A")]),
        (IMAGE | {"contentUrl": "b.jpg"}, [("b.jpg", "C")]),
        (IMAGE | {"contentUrl": " ", "thumbnailUrl": "t.jpg"}, [("a.jpg", "C")]),
        ({"@type": "ImageObject", "thumbnailUrl": "t.jpg", "name": "N"}, [("t.jpg", "N")]),
        (IMAGE | {"url": ["a.jpg", "b.jpg"]}, [("a.jpg", "C"), ("b.jpg", "C")]),
        (IMAGE | {"url": {"@id": "a.jpg"}}, [("a.jpg", "C")]),
        ({"@type": "ImageObject", "@id": "http://a.example/a.jpg", "name": "N"}, [("http://a.example/a.jpg", "N")]),
        (IMAGE | {"@type": ["CreativeWork", "imageObject"]}, [("a.jpg", "C")]),
        (IMAGE | {"@type": "http://schema.org/ImageObject"}, [("a.jpg", "C")]),
        (IMAGE | {"@type": "schema:ImageObject"}, [("a.jpg", "C")]),
        ({"schema:image": {"@id": "a.jpg"}, "http://schema.org/name": [{"@value": "N"}]}, [("a.jpg", "N")]),
        ({"@graph": [{"a": [{"b": IMAGE}]}]}, [("a.jpg", "C")]),
        ({"@type": "Product", "name": "N", "image": "a.jpg"}, [("a.jpg", "N")]),
        ({"@type": "Recipe", "name": "N", "image": ["a.jpg", "b.jpg"]}, [("a.jpg", "N"), ("b.jpg", "N")]),
        ({"@type": "NewsArticle", "headline": "H", "image": {"url": "a.jpg"}}, [("a.jpg", "H")]),
        ({"@type": "Article", "name": "", "headline": "H", "image": {"@list": ["a.jpg"]}}, [("a.jpg", "H")]),
        ({"@type": "Product", "name": "N", "image": [{"@type": "ImageObject", "url": "a.jpg"}]}, [("a.jpg", "N")]),
        ({"@type": "Product", "name": "N", "image": IMAGE}, [("a.jpg", "C")]),
        ({"@type": "Product", "name": "N", "image": {"url": "a.jpg", "caption": "C"}}, [("a.jpg", "C")]),
        ([{"name": "N", "image": {"@id": "#1"}}, IMAGE | {"@id": "#1", "caption": ""}], [("a.jpg", "N")]),
        ([{"name": "N", "image": "#1"}, IMAGE | {"@id": "#1", "caption": ""}], [("a.jpg", "N")]),
        ([{"name": "N", "image": "a.jpg"}, IMAGE], [("a.jpg", "C")]),
        ([{"name": "N", "primaryImageOfPage": {"@id": "#1"}}, {"@id": "#1", "@type": "WebPage", "url": "/"}], []),
        ({"@type": "VideoObject", "name": "N", "thumbnailUrl": ["a.jpg"]}, [("a.jpg", "N")]),
        ({"@type": "VideoObject", "name": "N", "thumbnailUrl": "t.jpg", "image": "a.jpg"}, [("a.jpg", "N")]),
        ({"@type": "Product", "name": "", "headline": None, "description": "D", "image": "a.jpg"}, [("a.jpg", "D")]),
        ({"@type": "Product", "name": "N", "description": "D", "image": "a.jpg"}, [("a.jpg", "N")]),
        ({"@type": "Organization", "name": "N", "logo": "a.jpg"}, []),
        ({"@type": "Article", "image": "a.jpg"}, []),
        ({"@context": {"name": "schema:name", "image": "schema:image"}}, []),
        ({"@type": "Article", "headline": 3, "image": [1, None, {}, ""]}, []),
        (IMAGE | {"caption": "Tom &amp;amp; Jerry&#39;s"}, [("a.jpg", "Tom & Jerry's")]),
        (IMAGE | {"caption": "<p>a<b>b</b> <br/>c</p>"}, [("a.jpg", " ab  c ")]),
        (IMAGE | {"url": "a.jpg?a=1&amp;b=2"}, [("a.jpg?a=1&b=2", "C")]),
        (IMAGE | {"url": "http:\\/\\/a.example\\/a.jpg"}, [("http://a.example/a.jpg", "C")]),
    ],
)  # fmt: skip
def test_each_image_has_its_best_text(content, expected):
    assert told(content) == expected


def test_references_reach_into_other_scripts():
    thing = {"@type": "Article", "headline": "H", "image": {"@id": "#1"}}
    assert told(thing, IMAGE | {"@id": "#1", "caption": None}) == [("a.jpg", "H")]


def test_all_texts_of_an_image_are_told_on_request():
    content = {"name": "N", "headline": "H", "image": IMAGE | {"description": "D"}}
    assert [text for _, text in told(content, all_texts=True)] == ["C", "D", "N", "H"]


SCRIPTS = {
    "as it should be": '{"image": "x", "a": 1}',
    "mark of byte order": '\ufeff{"image": "x", "a": 1}',
    "trailing commas": '{"image": "x", "a": 1, } ,',
    "two commas": '[{"image": "x",\n , "a": 1},,]',
    "a comma first": '{, "image": "x", "a": 1}',
    "a semicolon": '{"image": "x", "a": 1};',
    "cdata": '<![CDATA[{"image": "x", "a": 1}]]>',
    "cdata in a comment": '//<![CDATA[\n{"image": "x", "a": 1}\n//]]>',
    "cdata in another": '/* <![CDATA[ */ {"image": "x", "a": 1} /* ]]> */',
    "a comment of HTML": '<!--\n{"image": "x", "a": 1}\n-->',
    "all of them": '<!--//--><![CDATA[//><!--\n{"image": "x", "a": 1}\n//--><!]]>',
    "comments": '// a "b"\n{"image": "x", /* {, */ "a": 1, // c\n}',
    "several values": '{"image": "x"}\n{"a": 1}',
    "several with signs between": '{"image": "x"};, {"a": 1}',
    "escaped": "{&quot;image&quot;: &quot;x&quot;, &quot;a&quot;: 1}",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_what_is_almost_json_is_read(script):
    values, is_whole = read_json(script)
    objects = [one for value in values for one in (value if isinstance(value, list) else [value])]
    assert is_whole
    assert {key: item for one in objects for key, item in one.items()} == {"image": "x", "a": 1}


STRINGS = {
    "a b": r"a b",
    "a\nb": "a\nb",
    "a\t\x01b": "a\t\x01b",
    "it's": r"it\'s",
    "a/b": r"a\/b",
    "a\\": r"a\\",
    'a"b': r"a\"b",
    'the "best" cat': 'the "best" cat',
    'the "best", if any': 'the "best", if any',
    "😀": r"\ud83d\ude00",
    "\ufffd!": r"\ud83d!",
    "u12": r"\u12",
    "https://a/, }": "https://a/, }",
    "/* a */ // b": "/* a */ // b",
}


@pytest.mark.parametrize("text", STRINGS, ids=ascii)
@pytest.mark.parametrize("more", ["", ","], ids=["once", "with a comma too many"])
def test_strings_keep_what_was_meant(text, more):
    assert read_json(f'{{"image": "{STRINGS[text]}", "a": 1{more}}}').values == [{"image": text, "a": 1}]


@pytest.mark.parametrize("script", ['{"image": "x", "a": ', "{image: 'x'}", "image", '{"image": "x"}}', "[" * 100_000])
def test_what_cannot_be_read_is_said(script):
    assert not read_json(script).is_whole


def test_scripts_without_images_are_not_looked_at():
    found = find_json_ld(['{"name": ', '{"image": ', '{"image": "a.jpg", "name": "N"}; {"'])
    assert (found.num_scripts, found.num_unread) == (2, 2)
    assert [find.text for find in found.finds] == ["N"]


def test_a_page_says_how_many_of_its_scripts_were_read():
    script = "<script type=application/ld+json>{}</script>"
    page = parse_page((script.format('{"image"') + script.format('{"image": 1}')).encode(), "http://a.example/")
    assert (page.num_json_lds, page.num_unread, page.candidates) == (2, 1, [])


def test_a_type_may_name_the_charset_too():
    html = '<script type=\'Application/LD+JSON; charset=UTF-8\'>{"image": "a.jpg", "name": "N"}</script>'
    assert [candidate.text for candidate in parse_page(html.encode(), "http://a.example/").candidates] == ["N"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\/{}[]<>!-*;, \n&a😀'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\,: a'), inner),
    max_leaves=10,
)


@given(JSON)
def test_json_means_the_same_when_it_is_mended(content):
    assert read_json(json.dumps({"a": content}) + ",") == ([{"a": content}], True)


@given(st.text('"\\/{}[]:<>!-*;, \na1') | st.text())
def test_no_script_crashes(text):
    read_json(text)
    told(f'{{"image": {text}, "name": {text}}}')


HOSTILE = {
    "quotes": '"\\',
    "signs": ",;",
    "opened": "[{",
    "comments": "/*<!--",
    "strings": '"a" ',
    "things": '{"name": "N", "image": ["a.jpg", {"@id": "#1"}]},',
    "images": '{"@type": "ImageObject", "@id": "#1", "url": ["a.jpg"]},',
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_no_script_takes_more_than_linear_time(growth, piece):
    assert growth(find_json_ld, lambda n: ['{"image": [' + piece * n], 2_000) < 24


def test_what_many_things_show_is_not_repeated_for_ever():
    images = [f"{number}.jpg" for number in range(2_000)]
    things = [{"name": f"N{number}", "image": {"@id": "#1"}} for number in range(2_000)]
    content = [{"@type": "ImageObject", "@id": "#1", "url": images}, *things]
    assert 2_000 <= len(told(content, all_texts=True)) <= 10_000
