"""Wikitext to prose: each kind of markup, broken markup, hostile markup."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.dump import Article, plan_units, read_dump
from vocab.wikitext import clean_wikitext

CASES = {
    "bold-and-italic": ("'''Anarchism''' is ''old''", "Anarchism is old"),
    "apostrophes": ("the dog's l''''amour''' isn't", "the dog's l'amour isn't"),
    "link": ("a [[bus]]es b", "a buses b"),
    "link-label": ("a [[road vehicle|vehicle]] b", "a vehicle b"),
    "link-label-with-bar": ("[[A|b|c]]", "b|c"),
    "link-pipe-trick": ("[[Mercury (planet)|]]", "Mercury"),
    "link-visible-category": ("see [[:Category:Birds]]", "see Category:Birds"),
    "category": ("a\n[[Category:Birds|*]]\nb", "a\nb"),
    "other-language": ("a [[de:Vogel]] [[zh-min-nan:Chiáu]] b", "a   b"),
    "file": ("a [[File:X.jpg|thumb|A [[red]] fox, [[a|b]]]] b", "a  b"),
    "image-in-any-case": ("a [[ image : X.jpg|x]] b", "a  b"),
    "file-in-german": ("a [[Datei:X.jpg|mini|Fuchs]] b", "a  b"),
    "template": ("a {{cite|b={{c|{{{d|e}}} }}}} f", "a   f"),
    "apostrophe-template": ("Kant{{'}}s", "Kant's"),
    "table": ('a\n{| class="x"\n! h\n|-\n| b || c {{d}}\n{|\n| e\n|}\n|}\nf', "a\nf"),
    "table-at-the-start": ("{|\n|a\n|}\nb", "b"),
    "table-that-is-not-closed": ('a\n{| class="x"\n|-\n| b\n! c\nd', "a\nd"),
    "template-argument-at-a-line-start": ("{{x\n|a=1\n|}}b", "b"),
    "reference": ("a<ref name=x>{{cite}} b</ref> c<ref name=x /> d", "a  c  d"),
    "reference-not-closed": ("a <ref>b <ref>c</ref> d", "a b   d"),
    "math": ("a <math>\\frac{{x}}{y}</math> b", "a   b"),
    "gallery": ("a\n<gallery>\nX.jpg|c\n</gallery>\nb", "a\nb"),
    "code": ("a <code>for</code> <syntaxhighlight lang=c>int {{</syntaxhighlight> b", "a     b"),
    "comment": ("a<!-- b {{ -->c <!-- d", "ac"),
    "html": ("H<sub>2</sub>O<br/>b <span style='x'>c</span>", "H2O\nb c"),
    "less-than": ("a < b and 3<4", "a < b and 3<4"),
    "external-link": ("a [http://x.org/y?z the site] b [https://x.org] c", "a the site b  c"),
    "address": ("see https://en.wikipedia.org/wiki/X now", "see   now"),
    "entities": ("a&nbsp;b &amp; c &ndash; d &#8364;", "a\xa0b & c – d €"),
    "entity-of-endless-digits": ("a &#" + "9" * 5000 + "; b", "a   b"),
    "headings-and-lists": ("== Head ==\n* one\n*# two\n; term : text\n----\n", "Head\none\ntwo\nterm : text"),
    "magic-word": ("__NOTOC__ a", "a"),
    "variants": ("-{zh-hans:计算机;zh-hant:電腦}-和-{國}-", "计算机和國"),
    "link-in-a-file-in-a-template": ("a {{b|[[File:x.jpg|c [[d|e]] f]]}} g", "a   g"),
    "link-in-a-link": ("[[a|b [[c|d]] e]]", "b d e"),
    "template-in-a-link": ("[[a|b {{c}} d]]", "b   d"),
    "link-that-is-not-closed": ("a [[b c [[d]] e", "a b c d e"),
    "file-that-is-not-closed": ("[[File:x.jpg|thumb|a\n\nb ]] c [[d]]", "File:x.jpg|thumb|a\nb  c d"),
    "template-that-is-not-closed": ("a {{b [[c|d]] {{e}} f", "a {{b d   f"),
    "closed-only": ("a }} b ]] c\n|} d", "a }} b  c"),
}


@pytest.mark.parametrize("name", CASES)
def test_markup_becomes_what_a_reader_sees(name):
    wikitext, prose = CASES[name]
    assert clean_wikitext(wikitext, ["File", "Image", "Media", "Category", "Datei"]) == prose


TOKENS = [
    *(
        "{{",
        "}}",
        "{{{",
        "}}}",
        "[[",
        "]]",
        "[[File:",
        "[[Category:",
        "{|",
        "|}",
        "\n{|",
        "\n|}",
        "\n|-",
        "|",
        "!",
        "\n",
    ),
    *(
        "\n\n",
        "<ref>",
        "</ref>",
        "<ref/>",
        "<ref name=",
        "<math>",
        "</math>",
        "<!--",
        "-->",
        "<",
        ">",
        "<br>",
        "'",
        "''",
    ),
    *("[http://", "[", "]", "https://", "&", "&#", "&#x", ";", "=", "==", "*", ":", "__", "TOC", "-{", "}-", " ", "a"),
    *("é", "\x00", "\U0001f600", "\u2028", "word"),
]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join) | st.text(max_size=60))
def test_no_text_is_refused_and_lines_are_never_blank(wikitext):
    prose = clean_wikitext(wikitext)
    assert all(line.strip(" \t") for line in prose.split("\n")) or prose == ""
    assert "-->" not in prose or "<!--" not in prose


@settings(max_examples=60)
@given(st.integers(1, 12), st.sampled_from(["{{a|%s}}", "[[File:x.jpg|a %s b]]", "\n{|\n|a\n%s\n|}", "<ref>%s</ref>"]))
def test_what_is_nested_to_any_depth_is_left_out(depth, markup):
    nested = "in"
    for _ in range(1 if "ref" in markup else depth):
        nested = markup % nested
    assert clean_wikitext(f"before {nested}\nafter").split() == ["before", "after"]


@settings(max_examples=100)
@given(st.text(st.characters(categories=("Lu", "Ll", "Nd")), max_size=40))
def test_plain_words_stay_as_they_are(words):
    assert clean_wikitext(words) == words


@pytest.mark.parametrize("end", ["", "]]}}\n|}</ref>-->"], ids=["open", "closed"])
@pytest.mark.parametrize(
    "token", [*TOKENS, "{{[[", "[[a|{{", "\n{|{{", "<math><ref>", "[[File:[[", "\n \n", "{|\n|}}", "[[a|"]
)
def test_hostile_markup_comes_to_an_end(token, end):
    # 60,000 repeats take well under a second; a pass that is quadratic in them would take minutes
    wikitext = token * 60_000 + end * 1000
    assert len(clean_wikitext(wikitext)) <= len(wikitext)


def test_real_articles_keep_no_markup(real_data):
    path = str(real_data / "wikipedia" / "enwiki-articles-excerpt.xml.bz2")

    def open_file(name):
        return open(name, "rb")

    items = [item for unit in plan_units(path, open_file, unit_bytes=1 << 30) for item in read_dump(unit, open_file)]
    prose = "\n".join(clean_wikitext(item.wikitext) for item in items if isinstance(item, Article))
    assert len(prose.split()) > 400_000
    for markup in ("[[", "]]", "{{", "}}", "{|", "|}", "<ref", "</", "'''", "http://", "File:", "Category:", "&nbsp;"):
        assert prose.count(markup) <= 2, markup
