"""Wikitext to prose: each kind of markup, in MediaWiki's order of passes; broken markup, hostile markup."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.dump import Article, plan_units, read_dump
from vocab.normalize import tokenize
from vocab.site import Site
from vocab.wikitext.elements import take_elements
from vocab.wikitext.links import LinkReader
from vocab.wikitext.marks import LABEL
from vocab.wikitext.nesting import _Nesting as OnePass
from vocab.wikitext.nesting import resolve_nesting
from vocab.wikitext.prose import Edition, clean_wikitext
from vocab.wikitext.quotes import drop_quotes

ENGLISH = Edition.of_site(Site(host="en.wikipedia.org"))
GERMAN = Edition.of_site(Site(host="de.wikipedia.org"))

# What MediaWiki 1.39 shows, as text; U+001F where it shows something that is left out.
CASES = {
    "bold-and-italic": ("'''Anarchism''' is ''old''", "Anarchism is old"),
    "link": ("a [[bus]]es b", "a buses b"),
    "link-label": ("a [[road vehicle|vehicle]] b", "a vehicle b"),
    "link-label-with-bar": ("[[A|b|c]]", "b|c"),
    "link-pipe-trick": ("[[Mercury (planet)|]]", "Mercury"),
    "link-visible-category": ("see [[:Category:Birds]]", "see Category:Birds"),
    "link-visible-file": ("see [[:File:X.jpg|the file]]", "see the file"),
    "link-media": ("[[Media:X.ogg|listen]]", "listen"),
    "link-label-over-two-lines": ("[[a|b\nc]]", "b\nc"),
    "link-with-bold-apostrophes-in-the-target": ("[[Lista d''e paise]]", "Lista d''e paise"),
    "link-to-an-address": ("[[http://x.org y]]", "[y]"),
    "link-to-no-title": ("[[a{b]] [[c<d]]", "[[a{b]] [[c<d]]"),
    "category": ("a\n[[Category:Birds|*]]\nb", "a\nb"),
    "category-without-a-name": ("[[Category:]]", "Category:"),
    "other-language": ("a [[de:Vogel]] [[zh-min-nan:Chiáu]] [[DE:Vogel|x]] b", "a    b"),
    "other-language-shown": ("[[:de:Vogel]] [[:de:Vogel|bird]]", "de:Vogel bird"),
    "no-other-language": ("[[re:Zero|Re Zero]] [[doi:10/1|this paper]] [[wikt:dog|dog]]", "Re Zero this paper dog"),
    "file": ("a [[File:X.jpg|left|A [[red]] fox, [[a|b]]]] b", "a   b"),
    "image-in-any-case": ("a [[ image : X.jpg|x]] b", "a   b"),
    "file-with-a-file-in-it": ("a [[File:X.jpg|A [[File:Y.png|10px]] fox]] b", "a   b"),
    "file-by-a-name-that-is-not-known": ("a [[Fichier:X.JPG|vignette|x]] [[Зображення:Y.svg]] b", "a     b"),
    "template": ("a {{cite|b={{c|{{{d|e}}} }}}} f", "a \x1f f"),
    "template-that-no-page-can-be-called": ("{{a]b|c}} {{}} {{a\nb}}", "{{a]b|c}} {{}} {{a\nb}}"),
    "template-with-the-end-of-a-link": ("[[a {{b| ]] c}}|d]]", "d"),
    "link-with-the-end-of-a-template": ("{{b|[[c }} d]] }} e", "e"),
    "minus-before-a-template": ("a -{{small|1}}-", "a -1-"),
    "parameter": ("{{{x|def}}} {{{y}}}", "def {{{y}}}"),
    "five-braces": ("{{{{{a|b}}}}} c {{{{a}}}}", "c {{{{a}}}}"),
    "switches": ("__NOTOC__ a__NOTOC__b __FOO__", "ab __FOO__"),
    "table": ('a\n{| class="x"\n! h\n|-\n| b || c {{d}}\n{|\n| e\n|}\n|}\nf', "a\nf"),
    "table-at-the-start": ("{|\n|a\n|}\nb", "b"),
    "table-that-ends-before-a-brace": ("{|\n|a\n|}}\nb", "}\nb"),
    "table-that-is-not-closed": ('a\n{| class="x"\n|-\n| b\n! c\nd', "a\nd"),
    "table-with-a-bar-of-a-template": ("a\n{{{!}}\n{{!}} b\n{{!}}}\nc", "a\nc"),
    "cells-of-a-table-in-html": ("<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"),
    "template-argument-at-a-line-start": ("{{x\n|a=1\n|}}b", "b"),
    "reference": ("a<ref name=x>{{cite}} b</ref> c<ref name=x /> d", "a  c  d"),
    "reference-in-a-reference": ("a <ref>b <ref>c</ref> d", "a   d"),
    "reference-with-a-comment": ("<ref>x <!-- y</ref> Rest", "Rest"),
    "reference-in-a-comment": ("a <!-- <ref> --> b <ref>c</ref> d", "a  b   d"),
    "reference-not-closed": ("a <ref>b", "a b"),
    "reference-closed-in-capitals": ("a<ref>b</REF > c", "a  c"),
    "reference-with-a-template-that-ends-outside": ("a<ref>{{b</ref> c }} d", "a  c }} d"),
    "nowiki": ("<nowiki>[[a|b]] ''c'' {{d}} &amp; __NOTOC__</nowiki>", "[[a|b]] ''c'' {{d}} & __NOTOC__"),
    "nowiki-with-a-comment": ("<nowiki><!--</nowiki> a rest", "<!-- a rest"),
    "nowiki-in-a-comment": ("a<!-- <nowiki> -->b</nowiki> c", "ab c"),
    "nowiki-at-a-line-start": ("<nowiki>* a</nowiki>\n<nowiki/>\nb", "* a\nb"),
    "nowiki-between-apostrophes": ("d'<nowiki/>''Arvernus''", "d'Arvernus"),
    "nowiki-in-a-template": ("{{small|a<nowiki>|}}</nowiki>b}}", "a|}}b"),
    "comment": ("a<!-- b {{ -->c <!-- d", "ac"),
    "comment-that-looks-closed": ("a<!-->b-->c", "ac"),
    "comment-in-a-link": ("[[a<!-- x -->b|c]]", "c"),
    "comment-in-a-formula": ("<math>a <!-- </math> b", "b"),
    "included": ("a<includeonly>b</includeonly> <onlyinclude>c</onlyinclude> <noinclude>d</noinclude>", "a c d"),
    "included-to-the-end": ("a <includeonly>b", "a"),
    "included-in-a-template": ("{{small|a<includeonly>b</includeonly>}}", "a"),
    "math": ("a <math>\\frac{{x}}{y}</math> b", "a \x1f b"),
    "gallery": ("a<gallery>\nX.jpg\n</gallery>b", "a\nb"),
    "code": ("a <code>for</code> <syntaxhighlight lang=c>int {{</syntaxhighlight> b", "a\nb"),
    "html": ("H<sub>2</sub>O<br/>b <span style='x'>c</span>", "H2O\nb c"),
    "no-html": ("<b>a</b> List<String> </foo>", "a List<String> </foo>"),
    "less-than": ("a < b and 3<4", "a < b and 3<4"),
    "external-link": ("a [http://x.org/y?z the site] b [https://x.org]c", "a the site b  c"),
    "address": ("see https://en.wikipedia.org/wiki/X now", "see   now"),
    "entities": ("a&nbsp;b &amp; c &ndash; d &#8364; &#x20AC;", "a\xa0b & c – d € €"),
    "entities-without-an-end": ("&copyright &copy &notin &#8364", "&copyright &copy &notin &#8364"),
    "entities-that-name-nothing": ("&foo; &#0; &#128; &#31; &amp;lt;", "&foo; &#0; &#128; &#31; &lt;"),
    "entity-of-endless-digits": ("a &#" + "9" * 5000 + "; b", "a &#" + "9" * 5000 + "; b"),
    "headings-and-lists": ("== Head ==\n* one\n*# two\n; term : text\n----\n", "Head\none\ntwo\nterm : text"),
    "link-in-a-file-in-a-template": ("a {{b|[[File:x.jpg|c [[d|e]] f]]}} g", "a \x1f g"),
    "link-in-a-link": ("[[a|b [[c|d]] e]]", "[[a|b d e]]"),
    "template-in-a-link": ("[[a|b {{c}} d]]", "b \x1f d"),
    "link-that-is-not-closed": ("a [[b c [[d]] e", "a [[b c d e"),
    "file-over-two-paragraphs": ("[[File:x.jpg|left|a\n\nb ]] c [[d]]", "c d"),
    "file-that-is-not-closed": ("[[File:x.jpg|thumb|a c [[d]]", "[[File:x.jpg|thumb|a c d"),
    "template-that-is-not-closed": ("a {{b [[c|d]] {{e}} f", "a {{b d \x1f f"),
    "template-that-is-not-closed-in-a-link": ("[[a|{{b]] c", "{{b c"),
    "closed-only": ("a }} b ]] c\n|} d", "a }} b ]] c"),
    "brackets-at-the-end-of-a-label": ("[[a|[http://x.org b]]]", "b"),
}


@pytest.mark.parametrize("name", CASES)
def test_markup_becomes_what_a_reader_sees(name):
    wikitext, prose = CASES[name]
    assert clean_wikitext(wikitext, ENGLISH) == prose


QUOTES = {
    "apostrophe-before-italic": ("''Time'''s cover", "Time's cover"),
    "italic-behind-an-apostrophe": ("dell'''Eneide''", "dell'Eneide"),
    "bold-in-words": ("L'''amour''' ''x'' d'''y'''", "Lamour x dy"),
    "word-of-one-letter-first": ("''a'' mot'''b l'''c'' '''d", "a motb l'c d"),
    "any-word-before-a-space": ("'''' x '''y''", "' x y"),
    "four": ("the dog's l''''amour''' isn't", "the dog's l'amour isn't"),
    "five": ("'''''both''''' a", "both a"),
    "seven": ("a'''''''b'''''", "a''b"),
    "a-letter-of-two-bytes-is-no-single-one": ("''a'' bc'''d é'''e '''f''", "a bc'd ée f"),
    "each-line-for-itself": ("''a '''b '' c'''\n'''x''", "a b  c\n'x"),
    "labels-for-themselves": ("''[[a|b''']] c''' d", "b c' d"),
    "a-break-ends-no-line": ("''a<br>b'''c", "a\nb'c"),
}


@pytest.mark.parametrize("name", QUOTES)
def test_apostrophes_are_text_where_mediawiki_shows_them(name):
    wikitext, prose = QUOTES[name]
    assert clean_wikitext(wikitext, ENGLISH) == prose


@given(st.lists(st.sampled_from(["''", "'''", "'", "a", " ", "é", "\n"]), max_size=20).map("".join))
def test_all_but_apostrophes_is_left_by_the_balancing(text):
    dropped = drop_quotes(text)
    assert dropped.replace("'", "") == text.replace("'", "")
    for line, before in zip(dropped.split("\n"), text.split("\n"), strict=True):
        runs = [len(run) for run in re.findall("''+", before)]
        text_of_its_own = sum(max(n - 5, 0) + (n == 4) for n in runs) + len(re.findall("(?<!')'(?!')", before))
        assert line.count("'") - text_of_its_own in (0, 1)


def test_captions_stand_apart_behind_the_text():
    text = "a [[File:X.jpg|thumb|200px|alt=fox|A ''[[red]]'' [[fox|Fox]]{{sfn|B}}]]b [[File:Y.jpg|no caption|here]]"
    gallery = (
        '\n<gallery widths=100 caption="The [[world|World]]">\nFile:Z.jpg|alt=x|The [[sea|Sea]]<!-- c -->\nQ.jpg\n'
    )
    gallery += "</gallery>\nc"
    assert clean_wikitext(text + gallery, ENGLISH) == "a  b\nc\nA red Fox\nThe World\nThe Sea"
    silent = Edition.of_site(Site(host="en.wikipedia.org"), captions=False)
    assert clean_wikitext(text + gallery, silent) == "a  b\nc"


def test_words_of_the_wiki_say_what_is_a_file_and_what_its_options_are():
    text = "[[Bild:A.jpg|mini|hochkant=1.2|Ein [[Haus]]]] [[Kategorie:C]] a __KEIN_INHALTSVERZEICHNIS__"
    assert clean_wikitext(text, GERMAN) == "a\nEin Haus"
    assert clean_wikitext("[[en:House]] [[de:Haus]] b", GERMAN) == "de:Haus b"


def test_where_something_was_left_out_a_boundary_stands_that_is_part_of_no_word():
    prose = clean_wikitext("New{{Infobox}}York a<math>x</math>b\n{{Navbox}}\n{{Navbox}} ''c''", ENGLISH)
    assert prose == "New\x1fYork a\x1fb\nc"
    assert tokenize(prose) == ["new", "york", "a", "b", "c"]


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
    *(
        "<nowiki>",
        "</nowiki>",
        "<nowiki/>",
        "<includeonly>",
        "</includeonly>",
        "<noinclude>",
        "<gallery>",
        "</gallery>",
    ),
    *(
        "<code>",
        "'''",
        "'''''",
        "{{lang|x|",
        "{{convert|1|",
        "[[File:x.jpg|thumb|",
        "-{H|",
        "-{zh-hans:",
        "zh-hant:",
        "&copy",
    ),
    *("é", "\x00", "\x02", "\x020\x03", "\x1f", "\U0001f600", "\u2028", "word"),
]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join) | st.text(max_size=60))
def test_no_text_is_refused_and_lines_are_never_blank(wikitext):
    prose = clean_wikitext(wikitext)
    assert all(line == line.strip(" \t\x1f") and line for line in prose.split("\n")) or prose == ""
    assert LABEL not in prose or LABEL in wikitext


@settings(max_examples=300)
@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_links_and_templates_that_go_first_change_nothing_in_the_rest(wikitext):
    text = take_elements(wikitext, []).text.replace(LABEL, "")
    for edition in (ENGLISH, Edition.of_site(Site(host="zh.wikipedia.org"))):
        slow = OnePass(LinkReader(edition.names), edition.converter, []).resolve(text).replace(LABEL, "")
        assert resolve_nesting(text, edition.links, edition.converter).text == slow


def test_an_oddly_spelled_end_is_found_behind_a_comment_that_never_ends():
    assert clean_wikitext("a <nowiki><!--</NOWIKI > b") == "a <!-- b"


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([*TOKENS, "<!--", "-->", "<Nowiki>", "</NOWIKI >", "<REF>", "</Ref>", "</REF x>"]), max_size=30
    )
)
def test_elements_end_where_a_slow_reading_from_left_to_right_ends_them(tokens):
    text = "".join(tokens).replace("\x02", "")
    spelled = [
        re.sub(r"</(ref|nowiki)\s*>", lambda tag: f"</{tag[1]}>".lower(), taken, flags=re.IGNORECASE)
        for taken in (take_elements(text, []).text, take_slowly(text))
    ]
    assert spelled[0] == spelled[1]


def take_slowly(text):
    """Comments and a few elements, one character after another."""
    leaves = {"ref": " ", "math": "\x1f", "code": "\x1f", "gallery": "\x1e", "nowiki": "\x02", "includeonly": ""}
    out, at, num_kept = "", 0, 0
    while at < len(text):
        rest = text[at:]
        if rest.startswith("<!--"):
            at = text.find("-->", at + 4) + 3 if "-->" in rest[4:] else len(text)
            continue
        tag = re.match(r"<(/?(?:no|only)include|includeonly|ref|math|code|gallery|nowiki)(?=\s|/?>)[^>]*>", rest, re.I)
        name = tag[1].lower() if tag else ""
        closing = tag and re.compile(rf"</{tag[1]}\s*>", re.I).search(rest, tag.end())
        if tag is None:
            out, at = out + text[at], at + 1
        elif name.endswith("include"):
            at += tag.end()
        elif tag[0].endswith("/>") or closing or name == "includeonly":
            out += f"\x02{num_kept}\x03" if name == "nowiki" else leaves[name]
            num_kept += name == "nowiki"
            at = at + tag.end() if tag[0].endswith("/>") else at + closing.end() if closing else len(text)
        else:
            out, at = out + tag[0], at + tag.end()
    return out


@settings(max_examples=60)
@given(st.integers(1, 12), st.sampled_from(["{{a|%s}}", "[[File:x.jpg|a %s b]]", "\n{|\n|a\n%s\n|}", "<ref>%s</ref>"]))
def test_what_is_nested_to_any_depth_is_left_out(depth, markup):
    nested = "in"
    for _ in range(1 if "ref" in markup else depth):
        nested = markup % nested
    assert tokenize(clean_wikitext(f"before {nested}\nafter")) == ["before", "after"]


@settings(max_examples=100)
@given(st.text(st.characters(categories=("Lu", "Ll", "Nd")), max_size=40))
def test_plain_words_stay_as_they_are(words):
    assert clean_wikitext(words) == words


@pytest.mark.parametrize("end", ["", "]]}}\n|}</ref>-->"], ids=["open", "closed"])
@pytest.mark.parametrize(
    "token", [*TOKENS, "{{[[", "[[a|{{", "\n{|{{", "<math><ref>", "[[File:[[", "\n \n", "{|\n|}}", "[[a|"]
)
def test_hostile_markup_comes_to_an_end(token, end):
    # 20,000 repeats take well under a second; a pass that is quadratic in them would take minutes
    wikitext = token * 20_000 + end * 1000
    assert len(clean_wikitext(wikitext)) <= len(wikitext)


@pytest.mark.parametrize(
    ("begin", "middle", "end"),
    [
        ("{{small|", "a", "}}"),
        ("[[File:x.jpg|thumb|", "a", "]]"),
        ("-{zh-hans:", "a", "}-"),
        ("-{", " ;" + " " * 60_000, "}-"),
        ("{{small|[[File:x.jpg|thumb|", "a", "]]}}"),
        ("<gallery>\nx.jpg|", "a", "\n</gallery>"),
        ("", "-{zh-hans:a;" + "b=> " * 60_000, "}-"),
        ("", "{{convert|" + "1|to|" * 60_000, "}}"),
        ("", "&" * 60_000 + "a" * 60_000, ";"),
        ("[http://x.org ", "a", ""),
        ("", "'''a" * 60_000, ""),
        ("", "__" + "_a" * 60_000, "__"),
    ],
    ids=lambda part: part[:24],
)
def test_hostile_nesting_comes_to_an_end(begin, middle, end):
    depth = 20_000
    wikitext = begin * depth + middle + end * depth
    for site in (Site(), Site(host="zh.wikipedia.org")):
        assert len(clean_wikitext(wikitext, Edition.of_site(site))) <= len(wikitext)


def test_real_articles_keep_no_markup(real_data):
    path = str(real_data / "wikipedia" / "enwiki-articles-excerpt.xml.bz2")

    def open_file(name):
        return open(name, "rb")

    items = [item for unit in plan_units(path, open_file, unit_bytes=1 << 30) for item in read_dump(unit, open_file)]
    prose = "\n".join(clean_wikitext(item.wikitext) for item in items if isinstance(item, Article))
    assert len(prose.split()) > 400_000
    for markup in ("[[", "]]", "{{", "}}", "{|", "|}", "<ref", "</", "'''", "http://", "File:", "Category:", "&nbsp;"):
        assert prose.count(markup) <= 2, markup
