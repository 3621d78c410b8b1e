"""The language converter: flags, fallbacks, nesting, and which languages have it."""

import pytest

from vocab.site import Site
from vocab.wikitext.prose import Edition, clean_wikitext
from vocab.wikitext.variants import LANGUAGES, find_converter

TEXTS = "zh-hans:计算机;zh-hant:電腦;zh-hk:電子計算機"

# What MediaWiki 1.39 shows to a reader who asks for no variant, and to one who asks for zh-tw.
CHINESE = {
    "texts": (f"-{{{TEXTS}}}-", "计算机", "電腦"),
    "text": ("-{國}-和", "國和", "國和"),
    "first-when-there-is-none": ("-{zh-my:a;zh-sg:b}-", "b", ""),
    "by-fallback": ("-{zh-cn:a;zh-mo:b}-", "a", "b"),
    "hidden": (f"a-{{H|{TEXTS}}}-b", "ab", "ab"),
    "title": (f"a-{{T|{TEXTS}}}-b", "ab", "ab"),
    "removed": (f"a-{{-|{TEXTS}}}-b", "ab", "ab"),
    "added-and-shown": (f"-{{A|{TEXTS}}}-", "计算机", "電腦"),
    "title-added-and-shown": (f"-{{T;A|{TEXTS}}}-", "计算机", "電腦"),
    "raw": ("-{R|zh-hans:a;zh-hant:b}-", "zh-hans:a;zh-hant:b", "zh-hans:a;zh-hant:b"),
    "described": ("-{D|zh-cn:a;zh-tw:b}-", "大陆：a；臺灣：b；", "大陆：a；臺灣：b；"),
    "name-of-a-variant": ("-{N|zh-tw}-", "臺灣", "臺灣"),
    "for-some-variants": ("-{zh-hans;zh-hant|國}-", "國", "國"),
    "flag-that-nobody-knows": ("-{X|zh-cn:a;zh-tw:b}-", "a", "b"),
    "directed": ("-{x=>zh-tw:b}-", "b", "b"),
    "no-variant": ("-{xx:a;yy:b}-", "xx:a;yy:b", "xx:a;yy:b"),
    "bcp-47": ("-{zh-Hans-CN:a;zh-Hant-TW:b}-", "a", "b"),
    "semicolons-and-entities": ("-{zh-cn:a;b &amp; c;zh-tw:d}-", "a;b & c", "d"),
    "nested": ("-{zh-cn:a-{R|;}-b;zh-tw:c-{zh-tw:d;zh-cn:e}-}-", "a;b", "cd"),
    "link": ("-{zh-cn:[[甲|a]];zh-tw:[[乙|b]]}-", "a", "b"),
    "in-a-link": ("[[甲|-{zh-cn:a;zh-tw:b}-]]", "a", "b"),
    "template-behind-a-dash": ("a-{{small|b}}-c", "a-b-c", "a-b-c"),
    "template-in-a-text": ("-{zh-cn:{{small|a}};zh-tw:{{small|b}}}-", "a", "b"),
    "rule-behind-a-template": ("{{small|a}}-{zh-cn:b;zh-tw:c}- -{R|d}-{e}", "ab d{e}", "ac d{e}"),
    "not-closed": ("a-{zh-cn:b", "a-{zh-cn:b", "a-{zh-cn:b"),
    "three-braces": ("a-{{{b|c}}}- -{{{d|e}} zh-cn:f;zh-tw:g}-", *["a-c- \x1f zh-cn:f;zh-tw:g"] * 2),
}


@pytest.mark.parametrize("name", CHINESE)
def test_the_text_of_the_wanted_variant_is_read(name):
    wikitext, of_all, of_taiwan = CHINESE[name]
    site = Site(host="zh.wikipedia.org")
    assert clean_wikitext(wikitext, Edition.of_site(site)) == of_all
    assert clean_wikitext(wikitext, Edition.of_site(site, variant="zh-tw")) == of_taiwan


@pytest.mark.parametrize(
    ("host", "variant", "wikitext", "prose"),
    [
        ("sr.wikipedia.org", "", "-{sr-ec:реч;sr-el:reč}-", "реч"),
        ("sr.wikipedia.org", "sr-el", "-{sr-ec:реч;sr-el:reč}-", "reč"),
        ("sr.wikipedia.org", "sr-el", "-{писмо|sr-ec:реч;sr-el:reč}-", "reč"),
        ("kk.wikipedia.org", "kk-cn", "-{kk-cyrl:а;kk-arab:ا}-", "ا"),
        ("en.wikipedia.org", "", "-{zh-hans:a;zh-hant:b}-", "{zh-hans:a;zh-hant:b}-"),
        ("", "", "-{zh-hans:a;zh-hant:b}- -{sr-ec:c;sr-el:d}-", "a c"),
        ("", "zh-hk", "-{zh-hans:a;zh-hant:b}-", "b"),
    ],
)
def test_a_language_has_its_own_variants(host, variant, wikitext, prose):
    assert clean_wikitext(wikitext, Edition.of_site(Site(host=host), variant=variant)) == prose


@pytest.mark.parametrize(("host", "variant"), [("zh.wikipedia.org", "zh-xx"), ("en.wikipedia.org", "en-gb"), ("", "q")])
def test_a_variant_that_the_language_has_not_is_refused(host, variant):
    with pytest.raises(ValueError, match=f"variant: '{variant}'"):
        Edition.of_site(Site(host=host), variant=variant)


@pytest.mark.parametrize("language", LANGUAGES)
def test_variants_fall_back_to_variants_of_the_same_language(language):
    for variant in LANGUAGES[language]:
        converter = find_converter(language, variant)
        assert converter is not None
        assert {*converter.fallbacks} <= LANGUAGES[language].keys() - {variant}
        assert converter.find_variant(variant.upper()) == variant
