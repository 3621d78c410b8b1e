"""Page views in every format that Wikimedia publishes, and in no other."""

import bz2
import gzip
import io
import json
import random

import pytest

from vocab.pageviews import NotPageViews, check_views, count_views

HOURLY = b"""aa Main_Page 2 0
en Eiffel_Tower 12 0
en.m Eiffel_Tower 30 0
en.m Eiffel%20Tower 1 0
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
TSV = 'Eiffel Tower\t40\nEiffel_Tower\t3\n"Weird" (film)\t3\nno number\tx\n'
EXPECTED = {'"Weird" (film)': 3, "Eiffel Tower": 43}


def as_dict(table):
    return dict(zip(table["title"].to_pylist(), table["views"].to_pylist(), strict=True))


def count(data, project="en.wikipedia", **options):
    return count_views(io.BytesIO(data), project=project, **options)


FILES = {
    "hourly": HOURLY,
    "hourly-gzip": gzip.compress(HOURLY),
    "complete": COMPLETE,
    "complete-bz2": bz2.compress(COMPLETE),
    "complete-without-page-ids": COMPLETE.replace(b" 3 desktop", b" desktop")
    .replace(b" 9232", b"")
    .replace(b" null", b""),
    "complete-crlf": COMPLETE.replace(b"\n", b"\r\n"),
    "json-list": JSON_LIST.encode(),
    "rest": json.dumps(REST).encode(),
    "tsv": TSV.encode(),
    "tsv-crlf": TSV.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_views_of_the_wiki_and_counts_bad_rows(name):
    found = count(FILES[name])
    assert as_dict(found.views) == EXPECTED
    assert found.num_bad_rows == 1
    check_views(io.BytesIO(FILES[name]), project="en.wikipedia", name=name)


@pytest.mark.parametrize(("access", "views"), [("all", 43), ("desktop", 12), ("mobile", 31)])
@pytest.mark.parametrize("name", ["hourly", "complete"])
def test_the_sites_of_a_wiki_count_together_or_apart(name, access, views):
    assert as_dict(count(FILES[name], access=access).views)["Eiffel Tower"] == views


def test_rows_are_whole_across_the_borders_of_reads_and_blocks(monkeypatch):
    whole = count(COMPLETE * 50)
    monkeypatch.setattr("vocab.kernels.compressed._READ_BYTES", 101)
    monkeypatch.setattr("vocab.pageviews._BLOCK_BYTES", 333)
    in_parts = count(COMPLETE * 50)
    assert as_dict(in_parts.views) == as_dict(whole.views) == {title: 50 * views for title, views in EXPECTED.items()}
    assert in_parts[1:] == whole[1:] == (200, 50)


def test_rows_of_a_wiki_may_stand_anywhere():
    rng = random.Random(0)
    rows = [
        f"{wiki} T{n % 7} {n} desktop {n} A1\n" for n in range(500) for wiki in ("de.wikipedia", "en.wikipedia", "fr")
    ]
    rng.shuffle(rows)
    views = as_dict(count("".join(rows).encode()).views)
    assert views == {f"T{k}": sum(range(k, 500, 7)) for k in range(7)}


def test_sister_projects_have_codes_of_their_own():
    assert as_dict(count(HOURLY, project="en.wiktionary").views) == {"Eiffel Tower": 500}


def test_titles_are_spelled_as_in_a_dump_but_for_their_first_letter():
    rows = b"en Eiffel_Tower%2C_Paris 1 0\nen Eiffel__Tower,_Paris_ 2 0\nen 100% 4 0\n"
    rows += b"en %C3%89cole 8 0\nen \xe9cole 16 0\n"
    assert as_dict(count(rows).views) == {"100%": 4, "Eiffel Tower, Paris": 3, "École": 8, "\ufffdcole": 16}


def test_a_row_of_bytes_that_are_no_text_is_bad_and_nothing_else(capfd):
    found = count(HOURLY + b"en \xff\xfe x y z\n")
    assert found.num_bad_rows == 2
    assert as_dict(found.views) == EXPECTED
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("data", [b"<html>", b"[{", b"a b c", b""], ids=["html", "cut-json", "words", "empty"])
def test_another_format_is_refused(data):
    with pytest.raises(NotPageViews):
        count(data)


def test_a_file_of_many_wikis_needs_the_name_of_one():
    with pytest.raises(NotPageViews, match="say which one"):
        check_views(io.BytesIO(HOURLY), project="", name="views")
    assert as_dict(count(FILES["tsv"], project="").views) == EXPECTED


def test_a_file_cut_short_is_an_error():
    with pytest.raises(OSError, match="cut short"):
        count(gzip.compress(HOURLY)[:-4])


def test_real_page_views_are_read(real_data):
    hours = sorted((real_data / "pageviews" / "wikitrends_2012-03-19").glob("*.json"))
    top = []
    for path in [*hours, real_data / "pageviews" / "top_weekly_20230706.json"]:
        with open(path, "rb") as file:
            found = count_views(file, project="en.wikipedia")
        assert found.num_bad_rows == 0
        assert 0.98 * found.num_rows <= found.views.num_rows <= found.num_rows  # "Xbox_360" and "Xbox 360" are one
        top.append(found.num_rows)
    assert top == [1000] * 24 + [2167]
