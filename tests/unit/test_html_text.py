"""Character references of HTML, in text and in attributes."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extraction.html_text import decode_again, decode_attribute, decode_text


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("a & b &; &# &#x; &word;", "a & b &; &# &#x; &word;"),
        ("&amp;lt;", "&lt;"),
        ("&eacute;&Eacute", "éÉ"),
        ("&notin;&notit;&not", "∉¬it;¬"),
        ("&ampere&am", "&ere&am"),
        ("&#65;&#x41;&#X41&#065", "AAAA"),
        ("&#0;&#x110000;&#xD800;&#xDFFF;&#99999999;", "\ufffd" * 5),
        ("&#xD7FF;&#xE000;&#x10FFFF;", "\ud7ff\ue000\U0010ffff"),
        ("&#x80;&#x9F;&#x81;&#x7F;&#xA0;", "€Ÿ\x81\x7f\xa0"),
        ("&NotEqualTilde;", "≂̸"),
    ],
)
def test_references_in_text_mean_characters(text, decoded):
    assert decode_text(text) == decoded


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("?a&amp;b&amp;c", "?a&b&c"),
        ("?a=1&copy=2", "?a=1&copy=2"),
        ("?a=1&copy;=2", "?a=1©=2"),
        ("?a=1&copy&lt=2", "?a=1©&lt=2"),
        ("&copyright", "&copyright"),
        ("&copy", "©"),
        ("&#38;x=1", "&x=1"),
        ("a&b", "a&b"),
    ],
)
def test_a_name_without_semicolon_may_be_part_of_an_address(value, decoded):
    assert decode_attribute(value) == decoded


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("It&#39;s &quot;it&quot;", 'It\'s "it"'),
        ("It&amp;#39;s", "It's"),
        ("caf&eacute; &#xe9; &#XE9;", "café é é"),
        ("&amp;amp;amp;amp; once", "&amp; once"),
        ("AT&T &copy 2020 &notit; R&B; &; &#; &#x; &#0; &#xD800; &#99999999;",) * 2,
        ("&nbsp;&#8217;", "\xa0’"),
    ],
)
def test_what_was_escaped_twice_is_decoded_where_that_is_certain(text, decoded):
    assert decode_again(text) == decoded


@given(st.text(alphabet="&;#xXamplt0159Ff =é", max_size=30))
def test_text_is_decoded_as_by_the_standard_library_but_for_controls(text):
    standard = html.unescape(text)
    if standard.isprintable() and "\ufffd" not in standard:
        decoded = decode_text(text)  # where the standard library leaves controls out, or gives U+FFFD, they stay
        assert "".join(letter for letter in decoded if letter.isprintable()) == standard
