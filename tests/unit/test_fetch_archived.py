"""Images out of archives: the right record for a URL, redirects followed, the same checks as on the network.

The reference is `find_records`: all image tables in memory, and a loop over the redirects.
"""

from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.base.folders import RawFolder, StageFolder
from pipeline.base.ids import pair_id
from pipeline.base.schemas import PLAN
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_table, write_table
from pipeline.fetching.answers import MAX_REDIRECTS
from pipeline.fetching.archived import fetch_archived
from pipeline.fetching.lookup import archive_names, hash_urls
from pipeline.fetching.planning import group_units
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.searching import Planned, search_archives
from pipeline.steps import MapUnits
from pipeline.web.archives.records import index_images

SITE = "http://a.example"


def find_records(archives, urls):
    """The record that answers each URL, as (archive, member, offset), or None; redirects followed.

    Args:
        archives: Path of each archive, by its name.
        urls: Canonical image URLs.
    """
    tables = []
    for name, path in sorted(archives.items()):
        table = index_images(path)
        tables.append(table.append_column("archive", pa.repeat(pa.scalar(name), table.num_rows)))
    index = pa.concat_tables(tables)
    answers, found = {}, {}
    ends = {url: url for url in urls}  # where the redirects of each URL have led so far
    for _ in range(MAX_REDIRECTS + 1):
        unknown = pa.array([end for end in ends.values() if end not in answers], pa.string())
        for row in sorted(index.filter(pc.is_in(index["canonical_url"], unknown)).to_pylist(), key=rank):
            answers.setdefault(row["canonical_url"], row)
        found |= {url: answers.get(end) for url, end in ends.items()}
        ends = {url: row["location"] for url in ends if (row := found[url]) and row["location"]}
    found |= dict.fromkeys(ends)
    return {url: row and (row["archive"], row["member"], row["offset"]) for url, row in found.items()}


def rank(row):
    if row["location"]:
        return 1
    return 0 if row["status"] in (None, 200) else 2


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


def write_archives(folder, *contents):
    """The paths of archives, by name."""
    folder.mkdir(exist_ok=True, parents=True)
    paths = []
    for number, records in enumerate(contents):
        paths.append(str(folder / f"{number}.warc"))
        (folder / f"{number}.warc").write_bytes(b"".join(records))
    return archive_names(paths)


def run_step(step):
    """What an engine does, in a few lines."""
    transform = step.transform
    if isinstance(transform, MapUnits):
        return {
            output: transform.work(unit, output)
            for unit, output in zip(transform.units, transform.outputs, strict=True)
        }
    found = defaultdict(list)
    for source in transform.sources:
        for number, message in transform.pack(source):
            found[number].append(message)
    units = enumerate(zip(transform.units, transform.outputs, strict=True))
    return {output: transform.work(unit, output, found.pop(number, [])) for number, (unit, output) in units}


def search(folder, archives, *units):
    """Searches archives for the URLs of fetch units; gives the records of each, and the labels of the steps."""
    plans = StageFolder(str(folder / "plans"))
    for number, urls in enumerate(units):
        rows = [
            {"image_url": url, "text": "", "text_source": "", "source_file": "", "pair_id": pair_id(url, "")}
            for url in urls
        ]
        empty = {"query_ids": [], "kept_for": [], "keep_probability": 1.0}
        write_table(plans.table(raw_name(number)), pa.Table.from_pylist([row | empty for row in rows], PLAN), PLAN)
    planned = Planned(plans, group_units(len(units), size=2), 2, sum(map(len, units)))
    steps, made, labels = search_archives(archives, planned, RawFolder(str(folder / "raw"))), None, []
    while True:
        try:
            step = steps.send(made)
        except StopIteration as end:
            tables = [read_table(end.value.table(raw_name(number))) for number in range(len(units))]
            return tables, labels
        made = run_step(step)
        labels.append(step.label)


def fetch(folder, urls, *contents):
    archives = write_archives(folder / "archives", *contents)
    [records], _ = search(folder, archives, urls)
    found = {}
    rules = FetchRules(max_bytes=1000)
    fetch_archived(urls, rules, archives=archives, records=records, normalize=bytes, store=found.__setitem__)
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


def test_an_answer_that_a_proxy_changed_counts_as_an_image(tmp_path):
    url = f"{SITE}/1.jpg"
    refused = record(url, b"", 404, Content_Type="image/jpeg")
    changed = record(url, b"new", 203, Content_Type="image/jpeg", Content_Length=3)
    found = fetch(tmp_path, [url], [refused, redirect(url, "/gone.jpg"), changed])
    assert (found[url].image, found[url].http_status) == (b"new", 203)


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
        (image(f"{SITE}/1.jpg", b"x", X_Robots_Tag="unavailable_after: Wed, 01 Jan 2020 15:00:00 PST"), "opted_out"),
        (image(f"{SITE}/1.jpg", b"x", tdm_reservation="1"), "opted_out"),
        (image(f"{SITE}/1.jpg", b"x", Content_Usage="train-ai=n"), "opted_out"),
        (image(f"{SITE}/1.jpg", bytes(1001)), "too_many_bytes"),
    ],
)
def test_archived_answers_get_the_checks_of_live_ones(tmp_path, answer, expected):
    assert fetch(tmp_path, [f"{SITE}/1.jpg"], [answer])[f"{SITE}/1.jpg"].image == expected


PAGES = [f"{SITE}/{n}.jpg" for n in range(9)]
answers_to_urls = st.lists(
    st.tuples(st.sampled_from(PAGES), st.sampled_from(["image", "refusal", *PAGES])), max_size=25
)


@given(
    archives=st.lists(answers_to_urls, min_size=1, max_size=3),
    units=st.lists(st.lists(st.sampled_from(PAGES), unique=True), min_size=1, max_size=5),
    bucket_rows=st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=15, deadline=None)
def test_every_unit_gets_the_records_that_a_search_in_memory_finds(tmp_path_factory, archives, units, bucket_rows):
    folder = tmp_path_factory.mktemp("search")
    make = {"image": lambda url: image(url, b"x"), "refusal": lambda url: record(url, b"", 404, Content_Type="image/x")}
    contents = [
        [make[what](url) if what in make else redirect(url, what) for url, what in answers] for answers in archives
    ]
    named = write_archives(folder, *contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.fetching.lookup._BUCKET_ROWS", bucket_rows)
        tables, _ = search(folder, named, *units)
    for urls, table in zip(units, tables, strict=True):
        hashes = dict(zip(hash_urls(pa.array(urls, pa.string())).to_pylist(), urls, strict=True))
        found = {hashes[row["url"]]: (row["archive"], row["member"], row["offset"]) for row in table.to_pylist()}
        assert len(found) == table.num_rows
        assert found == {url: place for url, place in find_records(named, urls).items() if place}


def test_only_as_many_rounds_are_asked_as_there_are_redirects(tmp_path):
    archives = write_archives(
        tmp_path,
        [image(f"{SITE}/1.jpg", b"one"), redirect(f"{SITE}/2.jpg", "/1.jpg"), redirect(f"{SITE}/3.jpg", "/2.jpg")],
    )
    rounds = []
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        _, labels = search(tmp_path / name, archives, [f"{SITE}/{name}"])
        rounds.append(sum(label.startswith("FindAnswers") for label in labels))
    assert rounds == [1, 2, 3]


def test_which_record_is_taken_does_not_depend_on_the_order_or_folder_of_archives(tmp_path):
    url = f"{SITE}/1.jpg"
    for folder, names in (("a", ("x.warc", "y.warc")), ("b", ("y.warc", "x.warc"))):
        for name in names:
            (tmp_path / folder / name[0]).mkdir(parents=True)
            (tmp_path / folder / name[0] / name).write_bytes(image(url, name.encode()))
    one = archive_names([str(tmp_path / "a" / n[0] / n) for n in ("x.warc", "y.warc")])
    other = archive_names([str(tmp_path / "b" / n[0] / n) for n in ("y.warc", "x.warc")])
    assert list(one) == list(other)
    [records], [again] = (search(tmp_path / name, found, [url])[0] for name, found in (("1", one), ("2", other)))
    assert records.equals(again)
    [row] = records.to_pylist()
    assert row["archive"].startswith("x.warc-")


def test_archives_of_one_name_are_told_apart_and_one_given_twice_is_one(tmp_path):
    paths = [tmp_path / folder / "a.warc" for folder in ("p", "q", "r")]
    for path, body in zip(paths, (b"one", b"two", b"one"), strict=True):
        path.parent.mkdir()
        path.write_bytes(image(f"{SITE}/1.jpg", body))
    names = archive_names(list(map(str, paths)))
    assert sorted(names.values()) == [str(paths[0]), str(paths[1])]


def test_an_archive_without_images_answers_nothing(tmp_path):
    assert fetch(tmp_path, [f"{SITE}/1.jpg"], [])[f"{SITE}/1.jpg"].image == DropReason.NOT_IN_ARCHIVE
