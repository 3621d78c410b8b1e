import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drops import DropReason
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.pages import PageRules
from pipeline.extraction.wat import parse_wat

URL = "http://a.example/x/page.html"


def wat(*links: dict, head: dict | None = None, status: str = "200", headers: dict | None = None) -> bytes:
    response = {
        "Response-Message": {"Status": status},
        "Headers": headers or {},
        "HTML-Metadata": {"Head": head or {}, "Links": list(links)},
    }
    envelope = {
        "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": URL},
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
    }
    return json.dumps({"Envelope": envelope, "Container": {}}).encode()


LINK = {"path": "IMG@/src", "url": "a.jpg", "alt": "A &amp; B"}


def test_the_images_of_a_page_are_read_with_entities_decoded():
    page = parse_wat(wat({"path": "A@/href", "url": "b", "text": "IMG@"}, LINK, {"path": "IMG@/src", "url": "b.jpg"}))
    assert page == Page(
        URL, "", [Candidate("http://a.example/x/a.jpg", "A & B", "alt"), Candidate(DropReason.NO_TEXT, "", "")]
    )


def test_the_base_of_the_page_is_honoured():
    page = parse_wat(wat(LINK, head={"Base": "//b.example/y/"}))
    assert page.candidates[0].image_url == "http://b.example/y/a.jpg"


def test_titles_and_card_images_are_read():
    metas = [{"property": "og:image", "content": "/o.jpg"}, {"property": "og:image:alt", "content": "O"}]
    link = {"path": "IMG@/src", "url": "a.jpg", "title": "T", "alt": None}
    page = parse_wat(wat(link, {**LINK, "title": "T"}, head={"Metas": metas}), PageRules(all_texts=True))
    assert [(candidate.text, candidate.text_source) for candidate in page.candidates] == [
        ("T", "title"),
        ("A & B", "alt"),
        ("T", "title"),
        ("O", "og"),
    ]


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (wat(LINK, head={"Metas": [{"name": "Robots", "content": "noai"}]}), DropReason.OPTED_OUT),
        (wat(LINK, headers={"X-Robots-Tag": ["a", "noimageai"]}), DropReason.OPTED_OUT),
        (wat(LINK, status="404"), DropReason.NOT_OK),
        (wat(LINK)[:-40], DropReason.CUT_JSON),
        (wat(LINK)[:20], DropReason.CUT_JSON),
        (wat({**LINK, "alt": ["no text"]}), DropReason.CUT_JSON),
        (b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{}}}}', DropReason.NOT_HTML),
        (b'{"Envelope":{"Payload-Metadata":{"HTTP-Request-Metadata":{}}}}', None),
        (wat(), Page("", "", [])),
    ],
    ids=["robots", "header", "status", "cut", "cut early", "wrong type", "no html", "request", "no image"],
)
def test_what_gives_no_page_says_why(record, outcome):
    assert parse_wat(record) == outcome


def test_half_characters_in_escapes_do_not_cost_the_page():
    record = wat({**LINK, "alt": "TEXT"}).replace(b"TEXT", b"cat \\ud83d sat")
    assert parse_wat(record).candidates[0].text == "cat  sat"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 600), st.integers(0, 20), st.binary(max_size=8), st.text(max_size=20))
def test_no_damage_crashes_the_reader(at, removed, inserted, alt):
    record = wat({**LINK, "alt": alt})
    damaged = record[:at] + inserted + record[at + removed :]
    outcome = parse_wat(damaged)
    assert outcome is None or isinstance(outcome, DropReason | Page)
