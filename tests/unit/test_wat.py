import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction import image_references, wat_scan
from pipeline.extraction import wat as wat_module
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.pages import DEFAULT_RULES, PageRules
from pipeline.extraction.wat import _image_address, parse_wat
from pipeline.extraction.wat_links import cut_links
from pipeline.extraction.wat_page import decode_record
from pipeline.extraction.wat_scan import WatScanner, load_scanner
from pipeline.web.archives.records import iterate_records
from pipeline.web.urls import UrlResolver

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


@pytest.mark.parametrize(
    ("headers", "metas", "escaped"),
    [
        ({}, [], "%E5%9B%BE"),
        ({"Content-Type": "text/html; charset=gbk"}, [], "%CD%BC"),
        ({"Content-Type": ["text/html"]}, [{"charset": "GB2312"}], "%CD%BC"),
        ({}, [{"http-equiv": "Content-Type", "content": "text/html; charset=gbk"}], "%CD%BC"),
        ({}, [{"name": "x", "content": "text/html; charset=gbk"}], "%E5%9B%BE"),
        ({"Content-Type": "text/html; charset=utf-8"}, [{"charset": "gbk"}], "%E5%9B%BE"),
    ],
)
def test_queries_are_escaped_in_the_encoding_that_the_page_declares(headers, metas, escaped):
    link = {**LINK, "url": "a.php?图"}
    page = parse_wat(wat(link, head={"Metas": metas}, headers=headers))
    assert page.candidates[0].image_url == f"http://a.example/x/a.php?{escaped}"


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
        (wat(LINK, head={"Metas": [{"http-equiv": "X-Robots-Tag", "content": "noai"}]}), DropReason.OPTED_OUT),
        (wat(LINK, head={"Metas": [{"name": "GPTBot", "content": "noindex;noai"}]}), DropReason.OPTED_OUT),
        (wat(LINK, headers={"Content-Usage": "train-ai=n"}), DropReason.OPTED_OUT),
        (wat(LINK, headers={"content-signal": "search=yes, ai-train=no"}), DropReason.OPTED_OUT),
        (wat(LINK, status="404"), DropReason.NOT_OK),
        (wat(LINK)[:-40], DropReason.CUT_JSON),
        (wat(LINK)[:20], DropReason.CUT_JSON),
        (wat({**LINK, "alt": ["no text"]}), DropReason.CUT_JSON),
        (b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{}}}}', DropReason.NOT_HTML),
        (b'{"Envelope":{"Payload-Metadata":{"HTTP-Request-Metadata":{}}}}', None),
        (wat(), Page("", "", [])),
    ],
    ids=[
        "robots",
        "header",
        "http-equiv",
        "by name",
        "usage",
        "signal",
        "status",
        "cut",
        "cut early",
        "wrong type",
        "no html",
        "request",
        "no image",
    ],
)
def test_what_gives_no_page_says_why(record, outcome):
    assert parse_wat(record) == outcome


def test_half_characters_in_escapes_do_not_cost_the_page():
    record = wat({**LINK, "alt": "TEXT"}).replace(b"TEXT", b"cat \\ud83d sat")
    assert parse_wat(record).candidates[0].text == "cat  sat"


@settings(max_examples=100)
@given(st.integers(0, 600), st.integers(0, 20), st.binary(max_size=8), st.text(max_size=20))
def test_no_damage_crashes_the_reader(at, removed, inserted, alt):
    record = wat({**LINK, "alt": alt})
    damaged = record[:at] + inserted + record[at + removed :]
    outcome = parse_wat(damaged)
    assert outcome is None or isinstance(outcome, DropReason | Page)


# Whole, without other links, and by compiled code the same is found.

TEXTS = st.text(max_size=12) | st.sampled_from(["a red cat", "A &amp; B", " ", "&#xD800;", "\0", "é\u2019\U0001f600"])
TEXTS |= st.sampled_from(['},{"path":"IMG@/src","alt":"', '},"Links":[', '{"path":"', "\\", '\\"', "}]"])
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
        "text": st.none() | st.floats(allow_nan=False, allow_infinity=False),
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


def compact(record: bytes) -> bytes:
    return json.dumps(json.loads(record), ensure_ascii=False, separators=(",", ":")).encode()


def wrap(record: bytes) -> bytes:
    """A record as it stands in a WAT."""
    head = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(record) + record + b"\r\n\r\n"


def scan(records: list[bytes], rules: PageRules = DEFAULT_RULES) -> list:
    """What is found in records by compiled code, where there is any; what it leaves is read as ever."""
    data = bytearray(b"".join(map(wrap, records)))
    scanner = load_scanner(rules)
    outcomes, at = [], 0
    while len(outcomes) < len(records):
        found, at = scanner.scan(data, at, len(data)) if scanner else ([], at)
        outcomes += found
        if len(outcomes) < len(records):
            record = records[len(outcomes)]
            outcomes.append(parse_wat(record, rules))
            at += len(wrap(record))
    assert at == len(data)
    return outcomes


def abridged_and_whole(records: list[bytes], rules: PageRules = DEFAULT_RULES) -> list[list]:
    """What is found in records without other links, which compiled code finds too, and in whole ones."""
    abridged = [parse_wat(record, rules) for record in records]
    for record, outcome, scanned in zip(records, abridged, scan(records, rules), strict=True):
        assert scanned == outcome or (outcome is DropReason.CUT_JSON and not is_utf8(record))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wat_module, "cut_links", lambda record: b"")
        return [abridged, [parse_wat(record, rules) for record in records]]


def is_utf8(content: bytes) -> bool:
    try:
        return bool(content.decode()) or True
    except UnicodeDecodeError:
        return False


@settings(max_examples=300)
@given(st.lists(RECORDS, max_size=3), st.booleans())
def test_without_links_that_are_no_images_the_same_is_found(records, all_texts):
    abridged, whole = abridged_and_whole(records, PageRules(all_texts=all_texts))
    assert abridged == whole


@settings(max_examples=300)
@given(RECORDS, EDITS)
def test_in_a_damaged_record_without_other_links_the_same_or_more_is_found(record, edits):
    for place, removed, inserted in edits:
        at = int(place * len(record))
        record = record[:at] + inserted + record[at + removed :]
    [abridged], [whole] = abridged_and_whole([record])
    assert abridged == whole or (whole is DropReason.CUT_JSON and isinstance(abridged, Page | DropReason))


OTHER = {"path": "A@/href", "url": "b", "text": "x", "n": ["]", None]}


def test_the_links_that_are_no_images_are_cut_out_but_for_the_last():
    links = [OTHER, LINK, LINK | {"alt": '{"path":"A'}, OTHER, OTHER, LINK, OTHER, OTHER | {"url": "c"}]
    kept = [LINK, links[2], LINK, links[-1]]
    assert cut_links(compact(wat(*links))) == compact(wat(*kept))
    assert cut_links(compact(wat(OTHER, LINK))) == compact(wat(LINK))


def test_of_a_record_cut_anywhere_the_same_is_told():
    record = compact(wat(OTHER, LINK, OTHER, OTHER, LINK, OTHER))
    abridged, whole = abridged_and_whole([record[:size] for size in range(len(record))])
    assert abridged == whole
    assert set(whole[record.index(b"IMG@/src") + 8 :]) == {DropReason.CUT_JSON}


def test_an_error_in_a_link_that_is_no_image_is_passed_over():
    record = compact(wat(OTHER, LINK, OTHER)).replace(b"null", b"nil", 1)
    assert decode_record(record) is DropReason.CUT_JSON
    assert decode_record(record, cut_links(record)) == decode_record(wat(LINK))


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.replace(b'"path":"IMG@/src","url":"a.jpg"', b'"url":"a.jpg","path":"IMG@/src"'),
        lambda record: record.replace(b'":', b'": '),
        lambda record: record.replace(b'{"Head":{},"Links":', b'{"Links":').replace(b"]}}}", b'],"Head":{}}}}'),
        lambda record: record.replace(b'"Links"', b'"L\\u0069nks"'),
    ],
    ids=["path last", "white space", "links first", "escape in a key"],
)
def test_a_record_written_in_another_way_is_left_as_it_is(change):
    usual = compact(wat(LINK, OTHER))
    unusual = change(usual)
    assert unusual != usual
    assert json.loads(unusual)
    assert len(cut_links(usual)) > 0 == len(cut_links(unusual))
    assert abridged_and_whole([unusual]) == abridged_and_whole([usual])


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
        (b'"Container":{}', b'"Container":' + b"[" * 2000 + b"]" * 2000),
        (b'"Container":{}}', b'"Container":{}}\x0b'),
        (b'"Container":{}}', b'"Container":{}} \r\n'),
        (b'"Status":"200"', b'"Status":200'),
        (b'"Status":"200"', b'"Status":200.0'),
        (b'"Headers":{}', b'"Headers":{"x":["a"],"robots":[],"y":"\\u0041"}'),
        (b'"Headers":{}', b'"Headers":{"x":null}'),
        (b'"Head":{}', b'"Head":{"Metas":[{},{"name":null,"content":"a"},{"property":"K\xe2\x84\xaa"}]}'),
        (b'"Head":{}', b'"Head":{"Metas":[{"name":"robots"},null]}'),
    ],
)
def test_what_is_odd_outside_of_other_links_is_found(damage):
    good = compact(wat(OTHER, LINK))
    odd = good.replace(*damage)
    assert odd != good
    abridged, whole = abridged_and_whole([good, odd, good])
    assert abridged == whole


def test_in_real_records_the_same_is_found(real_data):
    paths = [str(path) for path in sorted((real_data / "commoncrawl").rglob("*.wat*"))]
    records = [record.body for path in paths for record in iterate_records(path) if record.mime == "application/json"]
    abridged, whole = abridged_and_whole(records)
    assert abridged == whole
    assert any(isinstance(page, Page) and page.candidates for page in whole)


@pytest.fixture(scope="module")
def scanner() -> WatScanner:
    return load_scanner(DEFAULT_RULES) or pytest.skip("nothing is compiled here")


USUAL = {
    "as of today": lambda record: record,
    "other texts before paths": lambda record: sort_keys(record),
    "links before the head": lambda record: sort_keys(record, reverse=True),
}


def sort_keys(record: bytes, *, reverse: bool = False) -> bytes:
    def order(value):
        if isinstance(value, dict):
            return {key: order(value[key]) for key in sorted(value, reverse=reverse)}
        return [*map(order, value)] if isinstance(value, list) else value

    return json.dumps(order(json.loads(record)), ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("change", USUAL.values(), ids=USUAL)
def test_a_usual_record_is_read_by_compiled_code_alone(scanner, monkeypatch, change):
    links = [OTHER, LINK | {"url": "/b.jpg"}, LINK, {"path": "IMG@/src", "url": "/c"}, LINK | {"alt": "\\"}, OTHER]
    metas = [{"name": "Robots", "content": "all"}, {"property": "og:image", "content": "o&amp;"}, {"name": "x"}]
    head = {"Base": "/y/", "Metas": metas, "Title": 'a "b"'}
    record = change(compact(wat(*links, head=head, headers={"content-usage": ["x", "y"], "Server": "z\n"})))
    expected = [parse_wat(record)]
    assert isinstance(expected[0], Page)
    monkeypatch.setattr(wat_scan, "parse_wat", None)
    data = bytearray(wrap(b'{"Envelope":{}}') + wrap(record) + wrap(record)[:-1])
    assert scanner.scan(data, 0, len(data)) == ([None, *expected], len(data) - len(wrap(record)) + 1)


@pytest.mark.parametrize(
    "header",
    [
        b"WARC-Type: response",
        b"WARC-Type: Metadata",
        b"warc-type: metadata",
        b"WARC-Type: metadata\r\nWARC-Type: metadata",
        b"WARC-Type: metadata\r\nX-Other: a",
        b"WARC-Type: metadata\nWARC-Date: a",
        b"WARC-Type:metadata",
        b"WARC-Type: metadata\r\nWARC-Target-URI: http://a.example/\xc3\xa9",
        b"WARC-Type: metadata\r\nContent-Length: 1",
    ],
)
def test_records_with_unusual_headers_are_left_to_others(scanner, header):
    data = bytearray(wrap(b'{"Envelope":{}}'))
    odd = data.replace(b"WARC-Type: metadata", header)
    assert scanner.scan(odd, 0, len(odd)) == ([], 0)
    assert scanner.scan(data + odd, 0, len(data + odd)) == ([None], len(data))


def test_more_than_fits_in_memory_is_left_to_others(scanner, monkeypatch):
    many = compact(wat(*[LINK] * 5000))
    long = compact(wat(LINK | {"alt": "a" * (5 << 20)}))
    [bare] = scan([compact(wat(*[{"path": "IMG@/src", "url": "/c"}] * 5000))])
    assert scan([many, long]) == [parse_wat(many), parse_wat(long)]
    assert len(bare.candidates) == 5000


@settings(max_examples=500)
@given(URLS, st.sampled_from([URL, "https://b.example:81/", ""]))
def test_a_plain_address_is_what_it_would_be_the_long_way(url, page_url):
    resolver = UrlResolver(page_url)
    reference = image_references.choose_reference({"src": url}, target_px=336)
    address = reference if isinstance(reference, DropReason) else resolver.resolve(reference) or DropReason.BAD_URL
    assert _image_address(url, resolver, PageRules(target_px=336)) == address


@given(st.from_regex(image_references._PLACEHOLDER, fullmatch=True))
def test_the_names_of_placeholders_begin_as_listed(name):
    assert name[:3].lower() in image_references.PLACEHOLDER_STARTS
