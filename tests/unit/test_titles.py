"""Page views of every format, redirects, and which titles are queries."""

import bz2
import gzip
import io
import json

import pyarrow as pa
import pytest

from vocab.titles import (
    TITLES,
    VIEWS,
    NotPageViews,
    check_views,
    count_views,
    follow_redirects,
    only_articles,
    select_titles,
    without_namespaces,
    without_titles,
)

HOURLY = b"""aa Main_Page 2 0
en Eiffel_Tower 12 0
en.m Eiffel_Tower 30 0
en.m eiffel%20Tower 1 0
en.d Eiffel_Tower 500 0
en "Weird"_(film) 3 0
en broken row
eng Eiffel_Tower 900 0
"""
COMPLETE = b"""de.wikipedia Eiffelturm 3 desktop 40 A1
en.wikipedia Eiffel_Tower 9232 desktop 12 A1B11
en.wikipedia Eiffel_Tower 9232 mobile-web 31 C31
en.wikipedia "Weird"_(film) null desktop 3 A3
en.wikipedia broken
"""
JSON_LIST = json.dumps([{"count": "43", "page": "Eiffel Tower"}, {"count": "3", "page": '"Weird" (film)'}, {"page": 1}])
REST = {"items": [{"articles": [{"article": "Eiffel_Tower", "views": 43, "rank": 1}]}]}
REST["items"][0]["articles"].append({"article": '"Weird"_(film)', "views": 3})
REST["items"][0]["articles"].append({"article": "No_views"})
TSV = 'Eiffel Tower\t40\neiffel_Tower\t3\n"Weird" (film)\t3\nno number\tx\n'
EXPECTED = {'"Weird" (film)': 3, "Eiffel Tower": 43}


def as_dict(table):
    return dict(zip(table["title"].to_pylist(), table["views"].to_pylist(), strict=True))


def views_of(**views):
    return views_table({name.replace("_", " "): number for name, number in views.items()})


def views_table(views):
    return pa.table([pa.array(list(views), pa.string()), pa.array(list(views.values()), pa.int64())], schema=VIEWS)


def titles_table(titles):
    return pa.table([list(titles), pa.array(titles.values(), pa.string())], schema=TITLES)


FILES = {
    "hourly": HOURLY,
    "hourly-gzip": gzip.compress(HOURLY),
    "complete": COMPLETE,
    "complete-bz2": bz2.compress(COMPLETE),
    "json-list": JSON_LIST.encode(),
    "rest": json.dumps(REST).encode(),
    "tsv": TSV.encode(),
    "tsv-crlf": TSV.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_views_of_the_wiki_and_counts_bad_rows(name):
    found = count_views(io.BytesIO(FILES[name]), project="en.wikipedia")
    assert as_dict(found.views) == EXPECTED
    assert found.num_bad_rows == 1
    check_views(io.BytesIO(FILES[name]), project="en.wikipedia", name=name)


def test_rows_are_whole_across_the_borders_of_reads(monkeypatch):
    whole = count_views(io.BytesIO(COMPLETE * 50), project="en.wikipedia")
    monkeypatch.setattr("vocab.streams._READ_BYTES", 101)
    in_parts = count_views(io.BytesIO(COMPLETE * 50), project="en.wikipedia")
    assert as_dict(in_parts.views) == as_dict(whole.views)
    assert in_parts.num_rows == whole.num_rows


def test_sister_projects_have_codes_of_their_own():
    assert as_dict(count_views(io.BytesIO(HOURLY), project="en.wiktionary").views) == {"Eiffel Tower": 500}


@pytest.mark.parametrize("data", [b"<html>", b"[{", b"a b c", b""], ids=["html", "cut-json", "words", "empty"])
def test_another_format_is_refused(data):
    with pytest.raises(NotPageViews):
        count_views(io.BytesIO(data), project="en.wikipedia")


def test_a_file_of_many_wikis_needs_the_name_of_one():
    with pytest.raises(NotPageViews, match="say which one"):
        check_views(io.BytesIO(HOURLY), project="", name="views")
    assert as_dict(count_views(io.BytesIO(FILES["tsv"]), project="").views) == EXPECTED


def test_a_file_cut_short_is_an_error():
    with pytest.raises(OSError, match="cut short"):
        count_views(io.BytesIO(gzip.compress(HOURLY)[:-4]), project="en.wikipedia")


def test_views_of_redirects_count_for_their_target():
    titles = titles_table({"United Kingdom": None, "UK": "United Kingdom", "U.K.": "UK", "A": "B", "B": "A"})
    views = follow_redirects(views_table({"UK": 5, "U.K.": 2, "United Kingdom": 10, "Else": 1}), titles)
    assert as_dict(views) == {"Else": 1, "United Kingdom": 17}
    assert as_dict(only_articles(views, titles)) == {"United Kingdom": 17}
    follow_redirects(views_table({"A": 1, "B": 1}), titles)  # a circle ends


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
    "300 (film)": 99,
    "St. Louis": 7,
}


@pytest.mark.parametrize(
    ("qualifiers", "expected"),
    [
        ("strip", {"mercury": 55, "st louis": 7}),
        ("keep", {"300 film": 99, "mercury planet": 30, "mercury element": 20, "st louis": 7, "mercury": 5}),
        ("drop", {"st louis": 7, "mercury": 5}),
    ],
)
def test_titles_are_ranked_by_views_in_their_normal_form(qualifiers, expected):
    selected = select_titles(views_table(QUALIFIED), min_views=5, qualifiers=qualifiers)
    assert list(as_dict(selected).items()) == list(expected.items())


def test_titles_need_enough_views():
    assert as_dict(select_titles(views_table({"A": 4, "B": 5}), min_views=5)) == {"b": 5}
    assert select_titles(VIEWS.empty_table(), min_views=5).num_rows == 0


def test_real_page_views_are_read(real_data):
    hours = sorted((real_data / "pageviews" / "wikitrends_2012-03-19").glob("*.json"))
    top = []
    for path in [*hours, real_data / "pageviews" / "top_weekly_20230706.json"]:
        with open(path, "rb") as file:
            found = count_views(file, project="en.wikipedia")
        assert found.num_bad_rows == 0
        assert 0.98 * found.num_rows <= found.views.num_rows <= found.num_rows  # "Xbox_360" and "xbox 360" are one
        top.append(found.num_rows)
    assert top == [1000] * 24 + [2167]
