"""Images out of archives: the right record for a URL, redirects followed, the same checks as on the network."""

import pytest

from pipeline.base.drops import DropReason
from pipeline.base.tables import write_table
from pipeline.fetching.archived import fetch_archived, find_records, read_archive_index
from pipeline.fetching.rules import FetchRules
from pipeline.web.archives.records import index_images

SITE = "http://a.example"


def record(url, body=b"", status=200, kind="response", **headers):
    lines = [f"HTTP/1.1 {status} Status", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]
    block = "\r\n".join(lines).encode() + body
    head = ["WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2020-01-01T00:00:00Z"]
    head += ["WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>"]
    head += ["Content-Type: application/http;msgtype=response", f"Content-Length: {len(block)}", "", ""]
    return "\r\n".join(head).encode() + block + b"\r\n\r\n"


def image(url, body, **headers):
    return record(url, body, Content_Type="image/jpeg", Content_Length=len(body), **headers)


def redirect(url, target):
    return record(url, b"", 301, Location=target, Content_Length=0)


def open_archives(folder, *contents):
    archives, indexes = [], []
    for number, records in enumerate(contents):
        archives.append(str(folder / f"{number}.warc"))
        (folder / f"{number}.warc").write_bytes(b"".join(records))
        indexes.append(str(folder / f"{number}.parquet"))
        table = index_images(archives[-1])
        write_table(indexes[-1], table, table.schema)
    return archives, read_archive_index(indexes)


def fetch(folder, urls, *contents):
    archives, index = open_archives(folder, *contents)
    found = {}
    rules = FetchRules(max_bytes=1000)
    fetch_archived(urls, rules, archives=archives, index=index, normalize=bytes, store=found.__setitem__)
    assert set(found) == set(urls)
    return found


def test_an_image_is_found_by_its_url_in_any_archive(tmp_path):
    found = fetch(
        tmp_path, [f"{SITE}/1.jpg", f"{SITE}/2.jpg"], [image(f"{SITE}/1.jpg", b"one")], [image(f"{SITE}/2.jpg", b"two")]
    )
    assert [answer.image for answer in found.values()] == [b"one", b"two"]
    assert {answer.http_status for answer in found.values()} == {200}


def test_of_several_records_the_first_image_is_taken(tmp_path):
    url = f"{SITE}/1.jpg"
    refused = record(url, b"", 404, Content_Type="image/jpeg")
    found = fetch(tmp_path, [url], [refused, redirect(url, "/gone.jpg")], [image(url, b"old"), image(url, b"new")])
    assert found[url].image == b"old"


def test_redirects_are_followed_inside_and_across_archives(tmp_path):
    chain = [redirect(f"{SITE}/{n}.jpg", f"/{n + 1}.jpg") for n in range(5)]
    found = fetch(
        tmp_path, [f"{SITE}/0.jpg", f"{SITE}/3.jpg"], chain[::2], [*chain[1::2], image(f"{SITE}/5.jpg", b"end")]
    )
    assert {answer.image for answer in found.values()} == {b"end"}


@pytest.mark.parametrize("length", [1, 2, 7])
def test_redirects_that_lead_nowhere_or_too_far_are_not_in_the_archive(tmp_path, length):
    loop = [redirect(f"{SITE}/{n}.jpg", f"/{(n + 1) % length}.jpg?") for n in range(length)]
    chain = [redirect(f"{SITE}/c{n}.jpg", f"/c{n + 1}.jpg") for n in range(6)]
    urls = [f"{SITE}/0.jpg", f"{SITE}/c0.jpg", f"{SITE}/none.jpg"]
    found = fetch(tmp_path, urls, [*loop, *chain, image(f"{SITE}/c6.jpg", b"too far")])
    assert {answer.image for answer in found.values()} == {DropReason.NOT_IN_ARCHIVE}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (record(f"{SITE}/1.jpg", b"", 404, Content_Type="image/jpeg"), "not_found"),
        (record(f"{SITE}/1.jpg", b"", 503, Content_Type="image/jpeg"), "http_error"),
        (image(f"{SITE}/1.jpg", b"x", X_Robots_Tag="noai"), "opted_out"),
        (image(f"{SITE}/1.jpg", b"x", tdm_reservation="1"), "opted_out"),
        (image(f"{SITE}/1.jpg", bytes(1001)), "too_many_bytes"),
    ],
)
def test_archived_answers_get_the_checks_of_live_ones(tmp_path, answer, expected):
    assert fetch(tmp_path, [f"{SITE}/1.jpg"], [answer])[f"{SITE}/1.jpg"].image == expected


def test_no_archive_holds_nothing():
    assert find_records(read_archive_index([]), [f"{SITE}/1.jpg"]) == {f"{SITE}/1.jpg": None}
