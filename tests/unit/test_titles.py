"""Redirects, kinds of pages, and which titles are queries."""

import pyarrow as pa
import pytest

from vocab.normalize import Normalization
from vocab.page_kinds import disambiguation_titles, is_disambiguation, list_titles
from vocab.site import Site
from vocab.titles import (
    TITLES,
    VIEWS,
    check_pattern,
    follow_redirects,
    only_articles,
    select_titles,
    without_disambiguations,
    without_matches,
    without_namespaces,
    without_titles,
)
from vocab.wiki_names import names_of


def as_dict(table):
    return dict(zip(table["title"].to_pylist(), table["views"].to_pylist(), strict=True))


def views_table(views):
    return pa.table([pa.array(list(views), pa.string()), pa.array(list(views.values()), pa.int64())], schema=VIEWS)


def titles_table(titles, disambiguations=()):
    rows = [{"title": t, "target": to, "is_disambiguation": t in disambiguations} for t, to in titles.items()]
    return pa.Table.from_pylist(rows, schema=TITLES)


REDIRECTS = {
    "United Kingdom": None,
    "UK": "United Kingdom",
    "U.K.": "UK",
    "Britain's past": "United Kingdom#History",
    "Talk of UK": "Talk:United Kingdom",
    "A": "B",
    "B": "A",
    "Self": "Self",
    "apple": None,
    **{f"Chain {n}": f"Chain {n + 1}" for n in range(15)},
    "Chain 15": "apple",
}


@pytest.mark.parametrize(
    ("title", "target"),
    [
        pytest.param("United Kingdom", "United Kingdom", id="article"),
        pytest.param("united Kingdom", "United Kingdom", id="first-letter"),
        pytest.param("apple", "apple", id="first-letter-of-a-wiki-with-case"),
        pytest.param("élan", "Élan", id="first-letter-unknown"),
        pytest.param("UK", "United Kingdom", id="redirect"),
        pytest.param("uK", "United Kingdom", id="first-letter-of-a-redirect"),
        pytest.param("U.K.", "United Kingdom", id="double"),
        pytest.param("Chain 0", "apple", id="chain"),
        pytest.param("Britain's past", "United Kingdom", id="section"),
        pytest.param("Talk of UK", "Talk:United Kingdom", id="namespace"),
        pytest.param("Self", "Self", id="itself"),
        pytest.param("Else", "Else", id="unknown"),
    ],
)
def test_views_of_a_title_count_for_the_article_it_leads_to(title, target):
    views = follow_redirects(views_table({title: 5}), titles_table(REDIRECTS))
    assert as_dict(views) == {target: 5}


def test_a_circle_of_redirects_ends_and_gives_no_article():
    titles = titles_table(REDIRECTS)
    views = follow_redirects(views_table({"A": 1, "B": 2, "UK": 4, "United Kingdom": 8}), titles)
    assert sum(as_dict(views).values()) == 15
    assert as_dict(only_articles(views, titles)) == {"United Kingdom": 12}


def test_a_title_redirected_by_two_dumps_counts_once():
    titles = pa.concat_tables([titles_table({"UK": "United Kingdom"})] * 2)
    assert as_dict(follow_redirects(views_table({"UK": 5}), titles)) == {"United Kingdom": 5}


def test_titles_of_namespaces_and_named_ones_are_left_out():
    views = views_table({"Talk:A": 1, "talk:B": 1, "A: B": 1, "Main Page": 1, "Star Wars: Talk:": 1})
    assert list(as_dict(without_namespaces(views, ["Talk"]))) == ["A: B", "Main Page", "Star Wars: Talk:"]
    assert "Main Page" not in as_dict(without_titles(views, ["Main Page"]))


QUALIFIED = {
    "Mercury (planet)": 30,
    "Mercury (element)": 20,
    "Mercury": 5,
    "1984": 99,
    "1984 (advertisement)": 60,
    "300 (film)": 98,
    "St. Louis": 7,
}


@pytest.mark.parametrize(
    ("qualifiers", "expected"),
    [
        ("strip", {"1984": 99, "300": 98, "mercury": 30, "st louis": 7}),
        (
            "keep",
            {
                "1984": 99,
                "300 film": 98,
                "1984 advertisement": 60,
                "mercury planet": 30,
                "mercury element": 20,
                "st louis": 7,
                "mercury": 5,
            },
        ),
        ("drop", {"1984": 99, "st louis": 7, "mercury": 5}),
    ],
)
def test_titles_are_ranked_by_views_in_their_normal_form(qualifiers, expected):
    selected = select_titles(views_table(QUALIFIED), min_views=5, qualifiers=qualifiers)
    assert list(as_dict(selected).items()) == list(expected.items())


def test_titles_that_are_numbers_may_be_left_out():
    selected = as_dict(select_titles(views_table({**QUALIFIED, "Boeing 747": 8}), min_views=5, numbers=False))
    assert selected == {"mercury": 30, "boeing 747": 8, "st louis": 7}


def test_articles_of_one_name_do_not_make_it_a_query_together():
    views = views_table({"Mercury (planet)": 40, "Mercury (element)": 40})
    assert select_titles(views, min_views=70).num_rows == 0


@pytest.mark.parametrize("case", ["fold", "sensitive"])
def test_names_that_signs_tell_apart_are_queries_of_their_own(case):
    views = {"C++": 9, "C (programming language)": 8, "C": 1, "C Sharp (programming language)": 7, "Apple TV": 6}
    selected = select_titles(
        views_table({**views, "Apple TV+": 5, "C++11": 4}), min_views=1, normalization=Normalization(case=case)
    )
    shown = {row["display"]: (row["title"].lower(), row["views"]) for row in selected.to_pylist()}
    assert shown == {
        "C++": ("c plus plus", 9),
        "C": ("c", 8),
        "C Sharp": ("c sharp", 7),
        "Apple TV": ("apple tv", 6),
        "Apple TV+": ("apple tv plus", 5),
        "C++11": ("c plus plus 11", 4),
    }


def test_a_title_with_a_clitic_is_shown_as_it_is_written():
    selected = select_titles(views_table({"Schindler's List": 9, "McDonald’s": 8}), min_views=1)
    assert selected.to_pylist() == [
        {"title": "schindler s list", "views": 9, "display": "Schindler's List"},
        {"title": "mcdonald s", "views": 8, "display": "McDonald’s"},
    ]


def test_titles_need_enough_views():
    assert as_dict(select_titles(views_table({"A": 4, "B": 5}), min_views=5)) == {"b": 5}
    assert select_titles(VIEWS.empty_table(), min_views=5).num_rows == 0


def test_the_spelling_with_most_views_is_shown():
    selected = select_titles(views_table({"IPOD": 1, "IPod (device)": 5, "Ipod": 2}), min_views=1)
    assert selected.to_pylist() == [{"title": "ipod", "views": 5, "display": "IPod"}]


def test_titles_that_are_too_long_or_have_neither_letter_nor_number_are_none():
    views = views_table({"a" * 256: 9, "b" * 257: 9, "1984": 9, "?!": 9, "C++": 9, "東京": 9})
    assert set(as_dict(select_titles(views, min_views=1))) == {"a" * 256, "1984", "c plus plus", "東 京"}
    assert "b" * 257 in as_dict(select_titles(views, min_views=1, max_chars=300))


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        pytest.param("'''Mercury''' may be: * [[Mercury (planet)]]\n{{disambiguation|geo}}", True, id="english"),
        pytest.param("{{Begriffsklärung}}", True, id="german"),
        pytest.param("{{ homonymie }}", True, id="french"),
        pytest.param("{{人名の曖昧さ回避}}", True, id="japanese"),
        pytest.param("x __DISAMBIG__", True, id="magic-word"),
        pytest.param("text " * 9000 + "{{Hndis|name=Smith, John}}", True, id="at-the-end-of-a-long-page"),
        pytest.param("{{about|the planet||Mercury (disambiguation)}} A planet.", False, id="mentioned"),
        pytest.param("It is a star.{{disambiguation needed|date=May 2020}}", False, id="other-template"),
        pytest.param("", False, id="empty"),
    ],
)
def test_disambiguation_pages_are_known_by_their_template(wikitext, expected):
    assert is_disambiguation(wikitext, names_of(Site())) is expected


@pytest.mark.parametrize(
    ("code", "wikitext", "expected"),
    [
        ("de", "x __BEGRIFFSKLÄRUNG__", True),
        ("de", "{{Vorlage:Begriffsklärung}}", True),
        ("de", "{{Datei:Begriffsklärung}}", False),
        ("de", "x __HOMONYMIE__", False),
        ("fr", "x __HOMONYMIE__", True),
        ("en", "{{template:disambiguation}}", True),
        ("en", "{{Human_name_disambiguation\n|x}}", True),
        ("en", "x __disambig__", False),
        ("et", "{{Täpsustuslehekülg}}", True),
        ("hr", "{{Razdvojba}}", True),
    ],
)
def test_disambiguation_pages_are_known_by_the_words_of_the_wiki(code, wikitext, expected):
    assert is_disambiguation(wikitext, names_of(Site(host=f"{code}.wikipedia.org"))) is expected


@pytest.mark.parametrize(
    ("pattern", "dropped", "kept"),
    [
        (disambiguation_titles("en"), "Mercury (disambiguation)", "Disambiguation (album)"),
        (disambiguation_titles("simple"), "Mercury (disambiguation)", "Mercury (planet)"),
        (disambiguation_titles("de"), "Merkur (Begriffsklärung)", "Begriffsklärung"),
        (disambiguation_titles("zh"), "水星 (消歧義)", "水星"),
        (disambiguation_titles("xx"), "Mercury (disambiguation)", "Mercury"),
        (list_titles("en"), "List of dogs", "Listen"),
        (list_titles("en"), "Lists of dogs", "Lista Airport"),
        (list_titles("de"), "Liste der Hunde", "Listenhund"),
        (list_titles("ja"), "犬の一覧", "一覧性"),
        (list_titles("ru"), "Список собак", "Списокъ"),
        (disambiguation_titles("sr"), "Меркур (вишезначна одредница)", "Меркур"),
        (disambiguation_titles("eo"), "Merkuro (apartigilo)", "Merkuro"),
        (list_titles("et"), "Koerte loend", "Loend"),
        (list_titles("th"), "รายชื่อสุนัข", "สุนัข"),
    ],
)
def test_kinds_of_pages_are_known_by_their_titles(pattern, dropped, kept):
    check_pattern(pattern)
    views = views_table({dropped: 1, kept: 1})
    assert list(as_dict(without_matches(views, [pattern]))) == [kept]


def test_disambiguation_pages_of_the_dump_are_left_out():
    titles = titles_table({"Mercury": None, "Mercury (planet)": None}, disambiguations=["Mercury"])
    views = views_table({"Mercury": 5, "Mercury (planet)": 3, "Elsewhere": 1})
    assert as_dict(without_disambiguations(views, titles)) == {"Mercury (planet)": 3, "Elsewhere": 1}
    unknown = titles.set_column(2, TITLES.field(2), pa.nulls(2, pa.bool_()))
    assert as_dict(without_disambiguations(views, unknown)) == as_dict(views)


def test_a_broken_expression_is_named():
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        check_pattern("(")
