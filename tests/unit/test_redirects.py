"""Redirects by their text, as MediaWiki reads them."""

import pytest

from vocab.redirects import find_redirect_target
from vocab.site import Site
from vocab.wiki_names import names_of

ENGLISH, GERMAN, FRENCH, CHINESE = (names_of(Site(host=f"{code}.wikipedia.org")) for code in ("en", "de", "fr", "zh"))
WIKTIONARY = names_of(Site(host="en.wiktionary.org", is_case_sensitive=True))


@pytest.mark.parametrize(
    ("wikitext", "names", "target"),
    [
        pytest.param("#REDIRECT [[United Kingdom]]", ENGLISH, "United Kingdom", id="plain"),
        pytest.param("\n \t#redirect[[united Kingdom]]\n[[Category:X]]", ENGLISH, "United Kingdom", id="any-case"),
        pytest.param("#REDIRECT: [[ united__Kingdom ]]", ENGLISH, "United Kingdom", id="colon-and-blanks"),
        pytest.param("#REDIRECT\n[[A|label]]", ENGLISH, "A", id="next-line-and-label"),
        pytest.param("#REDIRECT [[:A#Part one]]", ENGLISH, "A", id="colon-and-section"),
        pytest.param("#REDIRECT [[Caf%C3%A9]]", ENGLISH, "Café", id="percent"),
        pytest.param("#REDIRECT [[A&amp;B]]", ENGLISH, "A&B", id="entity"),
        pytest.param("#REDIRECT [[\u200eA]]", ENGLISH, "A", id="mark-of-direction"),
        pytest.param("#REDIRECT [[iPod]] [[Other]]", ENGLISH, "IPod", id="first-link"),
        pytest.param("#REDIRECT [[dog]]", WIKTIONARY, "dog", id="case-sensitive"),
        pytest.param("#WEITERLEITUNG [[Vereinigte Staaten]]", GERMAN, "Vereinigte Staaten", id="german"),
        pytest.param("#REDIRECT [[USA]]", GERMAN, "USA", id="english-in-german"),
        pytest.param("#REDIRECTION [[États-Unis]]", FRENCH, "États-Unis", id="longer-word"),
        pytest.param("#重定向 [[狗]]", CHINESE, "狗", id="chinese"),
        pytest.param("#重新導向 [[狗]]", CHINESE, "狗", id="chinese-traditional"),
        pytest.param("#WEITERLEITUNG [[USA]]", ENGLISH, None, id="german-in-english"),
        pytest.param("#REDIRECTED [[A]]", ENGLISH, None, id="another-word"),
        pytest.param("<!-- x -->#REDIRECT [[A]]", ENGLISH, None, id="comment-before"),
        pytest.param("<nowiki>#REDIRECT [[A]]</nowiki>", ENGLISH, None, id="nowiki-before"),
        pytest.param("#REDIRECT <!-- x -->[[A]]", ENGLISH, None, id="comment-between"),
        pytest.param("#REDIRECT <nowiki>[[A]]</nowiki>", ENGLISH, None, id="nowiki-between"),
        pytest.param("#REDIRECT to [[A]]", ENGLISH, None, id="word-between"),
        pytest.param("{{R from move}}\n#REDIRECT [[A]]", ENGLISH, None, id="template-before"),
        pytest.param("An article with #REDIRECT [[A]]", ENGLISH, None, id="text-before"),
        pytest.param("#REDIRECT [[A\nB]]", ENGLISH, None, id="line-in-link"),
        pytest.param("#REDIRECT [[]]", ENGLISH, None, id="empty"),
        pytest.param("#REDIRECT [[#Part]]", ENGLISH, None, id="section-only"),
        pytest.param("#REDIRECT [[A<b>]]", ENGLISH, None, id="no-title"),
        pytest.param("#REDIRECT [[{{PAGENAME}}]]", ENGLISH, None, id="template-in-title"),
        pytest.param(f"#REDIRECT [[{'é' * 128}]]", ENGLISH, None, id="title-of-256-bytes"),
        pytest.param(f"#REDIRECT [[{'É' * 127}]]", ENGLISH, "É" * 127, id="title-of-254-bytes"),
        pytest.param("#REDIRECT", ENGLISH, None, id="no-link"),
        pytest.param("", ENGLISH, None, id="no-text"),
    ],
)
def test_a_redirect_begins_with_its_word_and_a_link(wikitext, names, target):
    assert find_redirect_target(wikitext, names) == target


@pytest.mark.parametrize("filler", [" ", ":", "|", "[", "%", "&", "_", "#REDIRECT ", "[[", "[[|"])
def test_long_texts_that_nearly_redirect_are_read_in_one_pass(filler):
    wikitext = "#REDIRECT [[A" + filler * (400_000 // len(filler))
    assert find_redirect_target(wikitext, ENGLISH) is None
    assert find_redirect_target("#REDIRECT" + filler * (400_000 // len(filler)), ENGLISH) is None
