import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.archives.records import iterate_records
from pipeline.drops import DropReason
from pipeline.extraction import image_references
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.pages import PageRules
from pipeline.extraction.wat import parse_wat, parse_wats
from pipeline.extraction.wat_page import WatPage
from pipeline.extraction.wat_scan import scan_records

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


# Both readers of WATs: what the compiled one gives, and what it leaves to the other, is what the other gives.

TEXTS = st.text(max_size=12) | st.sampled_from(["a red cat", "A &amp; B", " ", "&#xD800;", "\0", "é\u2019\U0001f600"])
URLS = (
    st.text("htps:/.a1%2Fxlogif#?&;-_A m", max_size=16)
    | st.from_regex(r"(https?:)?//[a-z.-]{1,6}/[a-zA-Z0-9._%/&;?#-]{0,20}", fullmatch=True)
    | st.sampled_from(
        ["//b.example/spacer.gif", "http:/a.jpg", "///a.jpg", "/../a", "data:x", "http://b.example/a.jpg#"]
    )
)
LINKS = st.fixed_dictionaries(
    {"path": st.sampled_from(["IMG@/src", "A@/href"])},
    optional={
        "url": URLS,
        "alt": TEXTS | st.none(),
        "title": TEXTS,
        "text": st.none() | st.floats(),
        "x": st.lists(TEXTS),
    },
)
METAS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["robots", "Robots", "og:image", "x", ""]),
        "property": st.sampled_from(["OG:image", "og:image:alt", "twitter:image"]),
        "content": TEXTS | st.sampled_from(["noai", "/o.jpg"]),
    },
)
RECORDS = st.builds(
    lambda links, metas, base, status, headers, style: json.dumps(
        json.loads(wat(*links, head={"Metas": metas, "Base": base}, status=status, headers=headers)), **style
    ).encode("utf-8", "surrogatepass"),
    st.lists(LINKS, max_size=4),
    st.lists(METAS, max_size=4),
    st.sampled_from(["", "/y/", "//c.example:81/z/"]),
    st.sampled_from(["200", "404"]),
    st.sampled_from([{}, {"Server": "x", "Via": ["a", "b"]}, {"X-Robots-Tag": "noai"}]),
    st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=2)), max_size=2)


def both_readers(records: list[bytes], rules: PageRules) -> list[list]:
    return [list(parse_wats(records, rules, is_compiled=is_compiled)) for is_compiled in (True, False)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(RECORDS, EDITS), max_size=3), st.booleans())
def test_the_compiled_reader_gives_what_the_exact_one_gives(damaged, all_texts):
    records = []
    for record, edits in damaged:
        for place, removed, inserted in edits:
            at = int(place * len(record))
            record = record[:at] + inserted + record[at + removed :]
        records.append(record)
    compiled, exact = both_readers(records, PageRules(all_texts=all_texts))
    assert compiled == exact


def test_the_compiled_reader_reads_what_is_written_in_the_usual_way():
    links = [{"path": "A@/href", "url": "b", "n": [1, {"x": None}]}, LINK, LINK | {"alt": '\\ " \u00e9 \u2019'}]
    [page, missing] = scan_records([wat(*links, head={"Base": "/"}), wat(status="404")])
    assert page == WatPage(URL, "/", [], [("a.jpg", "A &amp; B", "", 0), ("a.jpg", '\\ " \u00e9 \u2019', "", 0)], 0)
    assert missing is DropReason.NOT_OK


@pytest.mark.parametrize(
    "damage",
    [
        (b'"Links"', b'"Links":[],"Links"'),
        (b'"alt"', b'"\\u0061lt"'),
        (b"&amp;", b"\\ud83d"),
        (b"&amp;", b"\\u0000"),
        (b"&amp;", b"\xff"),
        (b"&amp;", b"\t"),
        (b'"a.jpg"', b"[]"),
        (b'"a.jpg"', b"01"),
        (b"}]", b"},]"),
        (b"{}}", b"{}"),
        (b'"Container": {}', b'"Container": ' + b"[" * 90 + b"]" * 90),
    ],
)
def test_what_is_unusual_is_left_to_the_exact_reader(damage):
    good, bad = wat(LINK), wat(LINK).replace(*damage)
    assert bad != good
    assert scan_records([bad]) == [None]
    assert both_readers([good, bad, good], PageRules())[0] == both_readers([good, bad, good], PageRules())[1]


def test_both_readers_agree_on_real_records(real_data):
    paths = [str(path) for path in sorted((real_data / "commoncrawl").rglob("*.wat*"))]
    records = [record.body for path in paths for record in iterate_records(path) if record.mime == "application/json"]
    assert any(isinstance(page, WatPage) and page.images for page in scan_records(records))
    compiled, exact = both_readers(records, PageRules())
    assert compiled == exact


@given(st.from_regex(image_references._PLACEHOLDER, fullmatch=True))
def test_the_names_of_placeholders_begin_as_listed(name):
    assert name[:3].lower() in image_references.PLACEHOLDER_STARTS
