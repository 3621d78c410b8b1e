"""The vocabulary as build-vocab leaves it: shares and budget, presets, and the report's page."""

import bz2
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from jobs.__main__ import main
from pipeline.base.tables import read_table
from vocab.matcher import Matcher
from vocab.normalize import METACLIP

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11"><siteinfo>
<base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>
"""
VOID_ELEMENTS = ("meta", "link", "br", "img", "hr")


def page(title, text):
    return f"<page><title>{title}</title><ns>0</ns><revision><text>{text}</text></revision></page>\n"


@pytest.fixture
def wiki(tmp_path):
    """See `make_wiki`."""
    return make_wiki(tmp_path)


def make_wiki(tmp_path):
    """A dump of a few words in known numbers, page views and a small WordNet."""
    often = "The NASA of New York. " * 60 + "\n\n" + "The fox met NASA. " * 45 + "\n\n" + "Rare rabbit. " * 39
    pages = [page("Fox", often), page("Fox &amp; hounds", "A tale."), page("The Rock (film)", "A film.")]
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress((HEAD + "".join(pages) + "</mediawiki>").encode()))
    (tmp_path / "views").write_text("en Fox 80 0\nen Fox_%26_hounds 71 0\nen The_Rock_(film) 69 0\n")
    corpus = tmp_path / "nltk_data" / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        (corpus / f"data.{part}").write_text("")
    (corpus / "data.noun").write_text(
        "02118333 05 n 02 fox 0 Reynard 0 001 @ 02083346 n 0000 | alert\n"
        "02403003 05 n 02 ox 0 bullock 0 001 @ 02402425 n 0000 | castrated\n"
    )
    return tmp_path


def build(wiki, name, *flags):
    arguments = ["--dump", str(wiki / "dump.xml.bz2"), "--pageviews", str(wiki / "views"), "--workers", "1", *flags]
    folder = wiki / name
    assert (
        main(["build-vocab", *arguments, "--wordnet", str(wiki / "nltk_data"), "--output", str(folder), "--quiet"]) == 0
    )
    return {row["query"]: row for row in read_table(str(folder / "queries.parquet")).to_pylist()}


RULES = ("--min-word-count", "40", "--min-bigram-count", "40", "--min-pmi", "1")


def test_a_query_knows_all_its_sources_figures_and_its_spelling(wiki):
    rows = build(wiki, "vocab", *RULES)
    shown = {row["display"] for row in rows.values()}
    assert shown >= {"NASA", "New York", "York", "fox", "Fox & hounds", "Reynard"}
    assert not {"The Rock", "Rabbit", "rabbit"} & shown
    assert rows["fox"]["sources"] == ["word", "title", "synset"]
    assert (rows["fox"]["count"], rows["fox"]["views"], rows["fox"]["synsets"]) == (45, 80, ["n02118333"])
    york = rows["new york"]
    assert (york["count"], york["first_count"], york["second_count"]) == (60, 60, 60)
    assert york["npmi"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param(("--max-words", "2"), {"word": 2}, id="words"),
        pytest.param(("--max-bigrams", "1"), {"bigram": 1}, id="bigrams"),
        pytest.param(("--max-titles", "1"), {"title": 1}, id="titles"),
        pytest.param(("--max-titles", "0", "--max-bigrams", "0"), {"title": 0, "bigram": 0}, id="none"),
        pytest.param(("--no-all-lemmas",), {"synset": 2}, id="first-lemmas"),
    ],
)
def test_a_source_gives_no_more_than_its_share(wiki, flags, expected):
    rows = build(wiki, "vocab", *RULES, *flags)
    given = {source: sum(source in row["sources"] for row in rows.values()) for source in expected}
    assert given == expected


def test_shares_and_the_budget_take_the_best(wiki):
    rows = build(wiki, "vocab", *RULES, "--max-words", "2", "--max-titles", "1", "--max-queries", "3")
    assert {query for query, row in rows.items() if "word" in row["sources"]} == {"the", "nasa"}
    [bigram] = rows.keys() - {"the", "nasa"}
    scores = {query: row["pmi"] for query, row in build(wiki, "whole", *RULES).items() if row["pmi"]}
    assert scores[bigram] == max(scores.values())


def test_of_synsets_the_budget_takes_the_commonest_names(wiki):
    rows = build(wiki, "vocab", "--min-word-count", "1000", "--max-queries", "2")
    assert {query: row["sources"] for query, row in rows.items()} == {"fox": ["title", "synset"], "ox": ["synset"]}


def test_bigrams_may_be_of_rarer_words_than_queries(wiki):
    flags = ("--min-word-count", "100", "--min-bigram-count", "39", "--min-pmi", "1")
    assert "rare rabbit" not in build(wiki, "strict", *flags)
    rows = build(wiki, "loose", *flags, "--min-bigram-word-count", "39")
    assert rows["rare rabbit"]["first_count"] == 39
    assert "rabbit" not in rows


def test_the_metaclip_preset_searches_as_metaclip_does(wiki):
    rows = build(wiki, "vocab", "--preset", "metaclip", "--min-word-count", "40", "--min-views", "60")
    assert {"the", "nasa", "fox", "0", "99"} <= set(rows)  # words in lower case, and numbers
    assert {"Fox", "Fox & hounds", "The Rock (film)"} <= set(rows)  # titles as they are written
    assert "reynard" not in rows  # synsets by their first lemma
    assert not any("bigram" in row["sources"] for row in rows.values())  # no pair of words can have 30 bits
    matcher = Matcher.load(str(wiki / "vocab" / "matcher"))
    assert matcher.normalization == METACLIP
    names = list(rows)
    found = {names[number] for number in matcher.match_text("A Fox, not the fox at NASA")}
    assert found == {"Fox", "fox", "the"}
    options = json.loads((wiki / "vocab" / "_stage.json").read_text())["identity"]["options"]
    assert (options["min_pmi"], options["min_word_count"]) == (30.0, 40)


def test_names_with_dots_signs_and_numbers_are_told_apart(wiki):
    titles = {"C++": 90, "C (programming language)": 80, "C (disambiguation)": 75, "1984": 85, "1984 (film)": 84}
    pages = "".join(page(title, "A page.") for title in titles)
    (wiki / "dump.xml.bz2").write_bytes(bz2.compress((HEAD + pages + "</mediawiki>").encode()))
    (wiki / "views").write_text("".join(f"en {title.replace(' ', '_')} {n} 0\n" for title, n in titles.items()))
    names = ("St._Louis", ".22_caliber", "fox")
    lines = [f"0000000{number} 05 n 01 {name} 0 001 @ 02083346 n 0000 | x\n" for number, name in enumerate(names)]
    (wiki / "nltk_data" / "corpora" / "wordnet" / "data.noun").write_text("".join(lines))
    rows = build(wiki, "vocab", "--no-all-lemmas")
    assert {query: row["views"] for query, row in rows.items() if row["views"]} == {
        "1984": 85,
        "c": 80,
        "c plus plus": 90,
    }
    assert {query for query, row in rows.items() if row["synsets"]} == {"22 caliber", "fox", "st louis"}
    rows = build(wiki, "metaclip", "--preset", "metaclip", "--number-titles", "drop", "--numbers-below", "0")
    assert {query for query, row in rows.items() if row["views"]} == titles.keys() - {"1984"}
    assert {query for query, row in rows.items() if row["synsets"]} == {"fox", "st"}


class Page(HTMLParser):
    """Collects a page's elements and texts, and refuses what is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.classes, self.texts, self.ids = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.classes += [name for key, value in attrs if key == "class" for name in value.split()]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of such a wiki."""
    wiki = make_wiki(tmp_path_factory.mktemp("wiki"))
    build(wiki, "vocab", *RULES, "--max-words", "5")
    return Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))


def test_the_report_has_every_section_and_a_picture_of_each_distribution(report):
    sections = ["sources", "words", "bigrams", "titles", "queries", "reading", "configuration"]
    titles = [f"{name}-title" for name in ("fates", "overlaps", "ranks", "pmi", "views", "lengths", "scripts")]
    assert set(sections + titles) <= set(report.ids)
    assert len(report.ids) == len(set(report.ids))
    assert report.classes.count("broad") == report.classes.count("narrow") == 8
    assert report.tags.count("svg") == 16


def test_on_a_phone_no_cell_of_a_table_with_many_columns_is_without_its_heading(report):
    """Rows of such tables are cards there, so every cell must say what it is."""
    assert "@media screen and (max-width: 40rem)" in "".join(report.texts)
    heads = [value for tag, name, value in report.attributes if (tag, name) == ("td", "data-head")]
    assert len(heads) == report.tags.count("td")
    assert {"rule", "found", "in the list", "characters", "value", "digest", "size"} <= set(heads)
    assert report.classes.count("cards") >= 5
    assert report.tags.count("table") == report.tags.count("thead") == report.tags.count("tbody")


def row_of(page, *cells):
    """Whether a page shows some texts one after the other."""
    return re.search("\n".join(map(re.escape, cells)), "\n".join(filter(str.strip, page.texts)))


def test_the_report_begins_with_names_dates_and_sizes_of_what_it_is_made_from(wiki):
    dump = "simplewiki-20260501-pages-articles.xml.bz2"
    shutil.copy(wiki / "dump.xml.bz2", wiki / dump)
    for month in ("202603", "202604"):
        shutil.copy(wiki / "views", wiki / f"pageviews-{month}-user.bz2")
    views = [str(wiki / f"pageviews-{month}-user.bz2") for month in ("202603", "202604")]
    files = ["--dump", str(wiki / dump), "--pageviews", *views]
    (wiki / views[1]).write_text("en Fox 8 0\n")
    assert (
        main(["build-vocab", *files, "--wordnet", "none", "--quiet", "--workers", "1", "--output", str(wiki / "dated")])
        == 0
    )
    shown = Page((wiki / "dated" / "report.html").read_text(encoding="utf-8"))
    assert row_of(shown, "dump", dump, "2026-05-01", f"{(wiki / dump).stat().st_size} B")
    assert row_of(shown, "page views", "2 files", "2026-03 to 2026-04", f"{(wiki / 'views').stat().st_size + 11} B")
    assert row_of(shown, "pageviews-202604-user.bz2", "page views", "2026-04", "11")


def test_a_source_that_was_not_given_says_so_and_has_no_numbers(wiki):
    flags = ["--dump", str(wiki / "dump.xml.bz2"), "--wordnet", "none", "--quiet", "--workers", "1", *RULES]
    assert main(["build-vocab", *flags, "--output", str(wiki / "no")]) == 0
    shown = Page((wiki / "no" / "report.html").read_text(encoding="utf-8"))
    assert row_of(shown, "titles", "no page views were given", "synset names", "WordNet was left out")
    text = "\n".join(shown.texts)
    assert "views or more" not in text and "every lemma" not in text and "rows of page views" not in text
    assert "Frequent words and bigrams whose words belong together: the strings" in text
    [overlaps] = [i for i, value in enumerate(shown.texts) if value.startswith("How many queries come from")]
    assert not {"title", "synset"} & {word.strip() for word in shown.texts[overlaps - 200 : overlaps]}


def test_page_views_of_no_article_are_another_thing_than_none(wiki):
    (wiki / "views").write_text("en Main_Page 80 0\nen Fox 0 0\n")
    build(wiki, "vocab", *RULES)
    shown = Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))
    assert "70 views or more" in shown.texts
    assert "Page views were given, but none of an article." in shown.texts


def test_an_option_at_its_default_has_no_other_default(wiki):
    build(wiki, "vocab")
    shown = Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))
    configured = shown.texts[shown.texts.index("views-project") : shown.texts.index("Inputs")]
    assert "[]" not in "".join(configured)


def test_many_inputs_are_folded_away(wiki):
    for day in range(1, 14):
        (wiki / f"pageviews-202604{day:02d}-user").write_text(f"en Fox {day} 0\n")
    build(wiki, "vocab", "--pageviews", str(wiki / "pageviews-*"))
    shown = Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))
    assert {"14 files", "16 files"} <= set(shown.texts)


def test_the_report_stands_alone_and_escapes_what_it_shows(report):
    assert not {"script", "link", "img", "iframe"} & set(report.tags)
    links = [value for _, name, value in report.attributes if name in ("href", "src", "srcset")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "Fox & hounds" in report.texts


def test_the_report_shows_what_lies_on_both_sides_of_each_threshold(report):
    text = "\n".join(report.texts)
    assert re.search(r"just below\n.*?\nrare\n39\n", text, re.DOTALL)  # words
    assert re.search(r"fox hounds\n71\n.*just below\n.*the rock\n69\n", text, re.DOTALL)  # titles
    assert {"min-word-count", "dump.xml.bz2"} <= set(report.texts)


def test_the_reports_numbers_are_those_of_the_list(wiki):
    rows = build(wiki, "vocab", *RULES)
    shown = Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))
    assert f"{len(rows)}" in shown.texts
    cells = shown.texts[shown.texts.index("words") :]
    listed = sum("word" in row["sources"] for row in rows.values())
    alone = sum(row["sources"] == ["word"] for row in rows.values())
    numbers = [int(cell) for cell in cells if cell.strip().isdigit()][:5]
    assert numbers[1:] == [listed, listed, listed, alone]


def test_the_report_has_the_same_bytes_for_any_cut_and_place(wiki):
    build(wiki, "a", *RULES)
    build(wiki, "elsewhere", *RULES, "--unit-bytes", "1024", "--workers", "2")
    assert (wiki / "a" / "report.html").read_bytes() == (wiki / "elsewhere" / "report.html").read_bytes()


def test_a_report_on_no_words_and_no_views_says_so(wiki):
    (wiki / "dump.xml.bz2").write_bytes(bz2.compress((HEAD + page("Fox", "")).encode()))
    flags = [
        "--dump",
        str(wiki / "dump.xml.bz2"),
        "--wordnet",
        "none",
        "--numbers-below",
        "1",
        "--quiet",
        "--workers",
        "1",
    ]
    assert main(["build-vocab", *flags, "--output", str(wiki / "no")]) == 0
    shown = Page((wiki / "no" / "report.html").read_text(encoding="utf-8"))
    assert {"No word was counted.", "No page views were given."} <= set(shown.texts)


def test_a_damaged_place_is_in_the_report(wiki):
    second = bz2.compress(page("Lost", "Lost words. " * 99).encode())[:-20]
    (wiki / "dump.xml.bz2").write_bytes(bz2.compress((HEAD + page("Fox", "A fox.")).encode()) + second)
    build(wiki, "vocab", *RULES)
    shown = Page((wiki / "vocab" / "report.html").read_text(encoding="utf-8"))
    assert "1 damaged place, all of them in damages.tsv." in shown.texts
    assert "damaged_stream" in shown.texts
