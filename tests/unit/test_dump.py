"""MediaWiki dumps: units that hold every page once, damage, and what is no article."""

import bz2
import functools
import gzip
import lzma
import random
import struct
from itertools import pairwise
from xml.sax.saxutils import escape

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.dump import (
    Article,
    NotADump,
    Redirect,
    Refusal,
    StreamEnd,
    Unit,
    _PageBuffer,
    plan_units,
    read_dump,
    read_index,
    read_site,
)
from vocab.kernels.compressed import read_chunks
from vocab.site import Site
from vocab.wiki_names import names_of

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de"><siteinfo>'
    "<sitename>Wikipedia</sitename><dbname>dewiki</dbname><base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>"
    '<namespaces><namespace key="0" case="first-letter" /><namespace key="6" case="first-letter">Datei</namespace>'
    "</namespaces></siteinfo>\n"
)
TAIL = "</mediawiki>\n"


def page(title, text="Some text.", ns=0, extra="", model="wikitext"):
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{ns}</ns>\n    <id>7</id>{extra}\n    <revision>"
        f"<model>{model}</model><format>text/x-wiki</format>"
        f'<text bytes="9" xml:space="preserve">{escape(text)}</text></revision>\n  </page>\n'
    )


PAGES = [page(f"Title {number}", f"Text {number} " * (number + 1)) for number in range(9)]
PLAIN = (HEAD + "".join(PAGES) + TAIL).encode()
STREAMS = [bz2.compress(part.encode()) for part in (HEAD, "".join(PAGES[:4]), "".join(PAGES[4:8]), PAGES[8], TAIL)]


def save(tmp_path, data):
    path = tmp_path / "dump"
    path.write_bytes(data)
    return str(path)


def open_file(path):
    return open(path, "rb")


def read_all(path, unit_bytes=1 << 20, starts=()):
    units = plan_units(path, open_file, unit_bytes=unit_bytes, starts=starts)
    return [item for unit in units for item in read_dump(unit, open_file)]


def titles_of(items):
    return [item.title for item in items if isinstance(item, Article)]


ALL_TITLES = [f"Title {number}" for number in range(9)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(bz2.compress(PLAIN), id="one-bz2-stream"),
        pytest.param(b"".join(STREAMS), id="multistream"),
        pytest.param(b"".join(bz2.compress(PLAIN[k : k + 99]) for k in range(0, len(PLAIN), 99)), id="cut-anywhere"),
        pytest.param(gzip.compress(PLAIN), id="gzip"),
        pytest.param(zstandard.compress(PLAIN), id="zstd"),
        pytest.param(lzma.compress(PLAIN), id="xz"),
        pytest.param("".join(PAGES).encode(), id="no-root"),
        pytest.param(b"\xef\xbb\xbf<?xml version='1.0'?>\n" + PLAIN, id="declaration"),
    ],
)
@pytest.mark.parametrize("unit_bytes", [1 << 20, 700, 64, 7, 1])
def test_every_page_is_read_once_however_the_dump_is_cut(tmp_path, data, unit_bytes):
    items = read_all(save(tmp_path, data), unit_bytes)
    assert titles_of(items) == ALL_TITLES
    assert not [item for item in items if isinstance(item, Refusal)]


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(1, len(PLAIN) - 1), unique=True), borders=st.lists(st.integers(1, 3000), unique=True))
def test_any_streams_in_any_units_give_every_page_once(tmp_path_factory, cuts, borders):
    edges = [0, *sorted(cuts), len(PLAIN)]
    data = b"".join(bz2.compress(PLAIN[a:b]) for a, b in pairwise(edges))
    path = save(tmp_path_factory.mktemp("dump"), data)
    inner = [border for border in sorted(borders) if border < len(data)]
    edges = [0, *inner, len(data)]
    units = [Unit(path, "bz2", a, b) for a, b in pairwise(edges)]
    assert titles_of(item for unit in units for item in read_dump(unit, open_file)) == ALL_TITLES


def test_units_begin_at_the_streams_of_an_index(tmp_path):
    path = save(tmp_path, b"".join(STREAMS))
    offsets = [sum(map(len, STREAMS[:k])) for k in range(1, 4)]
    index = tmp_path / "index.bz2"
    lines = "".join(f"{offset}:{page_id}:Title: with colons\n" for offset in offsets for page_id in range(3))
    index.write_bytes(bz2.compress(lines.encode()))
    starts = read_index(str(index), open_file)
    assert starts == offsets
    units = plan_units(path, open_file, unit_bytes=1, starts=starts)
    assert [unit.start for unit in units] == [0, *offsets]
    items = read_all(path, 1, starts)
    assert titles_of(items) == ALL_TITLES
    assert sum(isinstance(item, StreamEnd) for item in items) == len(STREAMS)


def test_the_index_of_another_dump_is_refused(tmp_path):
    path = save(tmp_path, b"".join(STREAMS))
    with pytest.raises(NotADump, match="another dump"):
        plan_units(path, open_file, unit_bytes=1, starts=[638, 10**9])
    with pytest.raises(NotADump, match="no index"):
        read_index(save(tmp_path, b"<html>"), open_file)


@pytest.mark.parametrize("unit_bytes", [1 << 20, 64])
def test_a_corrupt_stream_costs_its_own_pages_and_is_told_by_offset(tmp_path, unit_bytes):
    corrupt = bytearray(STREAMS[2])
    corrupt[len(corrupt) // 2] ^= 0xFF
    items = read_all(save(tmp_path, b"".join([*STREAMS[:2], corrupt, *STREAMS[3:]])), unit_bytes)
    assert titles_of(items) == [*ALL_TITLES[:4], ALL_TITLES[8]]
    assert [item for item in items if isinstance(item, Refusal)] == [
        Refusal("damaged_stream", len(STREAMS[0]) + len(STREAMS[1]))
    ]
    assert sum(isinstance(item, StreamEnd) for item in items) == 4


def test_a_dump_cut_short_keeps_the_pages_before_the_cut(tmp_path):
    whole = b"".join(STREAMS[:3])
    items = read_all(save(tmp_path, whole[:-20]))
    assert titles_of(items) == ALL_TITLES[:4]
    assert Refusal("damaged_stream", len(STREAMS[0]) + len(STREAMS[1])) in items
    items = read_all(save(tmp_path, PLAIN[: PLAIN.index(b"Text 5")]))
    assert titles_of(items) == ALL_TITLES[:5]
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["cut_page"]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        pytest.param(page("Talk:A", ns=1), "other_namespace", id="talk"),
        pytest.param(page("Q1", model="wikibase-item"), "not_wikitext", id="data"),
        pytest.param("<page><title>A</title><ns>0</ns><revision><text>a & b</text></page>", "bad_page", id="not-xml"),
        pytest.param("<page><ns>0</ns></page>", "bad_page", id="no-title"),
        pytest.param("<page><title>A</title><ns>0</ns></page>", "bad_page", id="no-revision"),
        pytest.param("<page><title>A\xff</title><ns>0</ns></page>", "bad_page", id="not-utf-8"),
    ],
)
def test_what_is_no_article_is_refused_with_a_reason(tmp_path, xml, reason):
    items = read_all(save(tmp_path, (xml + PAGES[0]).encode("latin-1")))
    assert items == [Refusal(reason, 0), Article("Title 0", "Text 0 ")]


def test_redirects_come_with_their_target(tmp_path):
    xml = page("UK", "#REDIRECT [[United Kingdom]]", extra='<redirect title="United &amp; Kingdom" />')
    assert read_all(save(tmp_path, xml.encode())) == [Redirect("UK", "United & Kingdom")]


def test_of_several_revisions_the_last_one_counts(tmp_path):
    xml = PAGES[0].replace("<revision>", "<revision><text>old</text></revision><revision>")
    assert read_all(save(tmp_path, xml.encode())) == [Article("Title 0", "Text 0 ")]


def test_a_page_without_end_is_given_up_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("vocab.dump._MAX_PAGE_BYTES", 2 << 20)
    xml = "<page>" + "x" * (4 << 20) + PAGES[0]
    items = read_all(save(tmp_path, xml.encode()))
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["page_too_large"]
    assert titles_of(items) == ["Title 0"]


def history(num_revisions, text="x" * 40_000):
    revisions = [f"<revision><text>{number} {text}</text></revision>" for number in range(num_revisions)]
    return f"<page><title>Long</title><ns>0</ns><id>1</id>{''.join(revisions)}</page>"


@pytest.mark.parametrize("pack", [bytes, bz2.compress, gzip.compress])
def test_a_page_of_many_revisions_gives_the_last_one_however_long_it_is(tmp_path, monkeypatch, pack):
    monkeypatch.setattr("vocab.dump._MAX_PAGE_BYTES", 100_000)
    monkeypatch.setattr("vocab.kernels.compressed._READ_BYTES", 30_000)
    monkeypatch.setattr("vocab.kernels.members._PIECE_BYTES", 30_000)
    xml = PAGES[0] + history(60) + PAGES[1] + history(2, "y" * 99_000) + PAGES[2]
    items = read_all(save(tmp_path, pack(xml.encode())))
    assert titles_of(items) == ["Title 0", "Long", "Title 1", "Long", "Title 2"]
    assert [item.wikitext[:4] for item in items if isinstance(item, Article)][1::2] == ["59 x", "1 yy"]


def test_what_is_held_of_a_page_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("vocab.dump._MAX_PAGE_BYTES", 100_000)
    monkeypatch.setattr("vocab.kernels.members._PIECE_BYTES", 30_000)
    most = []
    add = _PageBuffer.add
    monkeypatch.setattr(_PageBuffer, "add", lambda self, data: (add(self, data), most.append(len(self._bytes))))
    xml = history(300) + "<page>" + "z" * 5_000_000 + PAGES[0]
    items = read_all(save(tmp_path, gzip.compress(xml.encode())))
    assert titles_of(items) == ["Long", "Title 0"]
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["page_too_large"]
    assert max(most) <= 130_000


PACKERS = {"gzip": gzip.compress, "zstd": zstandard.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", PACKERS)
def test_zero_bytes_behind_a_dump_cost_no_page(tmp_path, kind):
    items = read_all(save(tmp_path, PACKERS[kind](PLAIN) + bytes(512)))
    assert titles_of(items) == ALL_TITLES
    assert not [item for item in items if isinstance(item, Refusal)]


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_of_a_cut_dump_of_one_stream_come_the_pages_before_the_cut(tmp_path, kind):
    rng = random.Random(3)
    pages = [page(f"Title {number}", rng.randbytes(150).hex()) for number in range(3000)]
    data = PACKERS[kind]((HEAD + "".join(pages) + TAIL).encode())
    items = read_all(save(tmp_path, data[: len(data) // 2]))
    titles = titles_of(items)
    assert len(titles) > 1400
    assert titles == [f"Title {number}" for number in range(len(titles))]
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["cut_page", "damaged_stream"]


def test_a_damaged_member_costs_its_own_pages(tmp_path):
    members = [gzip.compress(part.encode()) for part in (HEAD, "".join(PAGES[:4]), "".join(PAGES[4:8]), PAGES[8])]
    broken = members[2][:12] + b"\xff" * 40
    items = read_all(save(tmp_path, b"".join([*members[:2], broken, members[3]])))
    assert titles_of(items) == [*ALL_TITLES[:4], ALL_TITLES[8]]
    assert [item for item in items if isinstance(item, Refusal)] == [
        Refusal("damaged_stream", len(members[0] + members[1]))
    ]


@pytest.mark.parametrize("unit_bytes", [20_000, 1 << 20])
def test_a_damaged_block_of_one_bz2_stream_costs_the_pages_in_it(tmp_path, unit_bytes):
    rng = random.Random(3)
    pages = [page(f"Title {number}", rng.randbytes(100).hex()) for number in range(2000)]
    data = bytearray(bz2.compress("".join(pages).encode(), 1))
    data[len(data) // 2] ^= 0x10
    path = save(tmp_path, data)
    items = read_all(path, unit_bytes)
    titles = titles_of(items)
    assert 1500 < len(titles) < 2000
    assert {titles[0], titles[-1]} == {"Title 0", "Title 1999"}
    reasons = [item.reason for item in items if isinstance(item, Refusal)]
    assert reasons == ["cut_page", "damaged_stream"]
    shares = [len(titles_of(read_dump(unit, open_file))) for unit in plan_units(path, open_file, unit_bytes=20_000)]
    assert sum(shares) == len(titles)
    assert min(shares[:2]) > 0  # one stream is read by many


@functools.cache
def noisy_dump():
    """Two streams of some blocks, of pages of all sizes."""
    rng = random.Random(7)
    pages = [page(f"Title {number}", rng.randbytes(rng.choice([20, 200, 20_000])).hex()) for number in range(60)]
    text = (HEAD + "".join(pages) + TAIL).encode()
    return bz2.compress(text[:400_000], 1) + bz2.compress(text[400_000:], 1)


@settings(max_examples=12)
@given(
    damages=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), max_size=3),
    unit_bytes=st.integers(5000, 200_000),
)
def test_where_a_damaged_dump_is_cut_into_units_does_not_show(tmp_path_factory, damages, unit_bytes):
    data = bytearray(noisy_dump())
    for place, num_lost, instead in damages:
        start = 20 + int(place * (len(data) - 40))  # the first block's mark stays: without it no unit begins there
        data[start : start + num_lost] = instead
    path = save(tmp_path_factory.mktemp("dump"), data)
    assert sorted(map(repr, read_all(path, unit_bytes))) == sorted(map(repr, read_all(path, 1 << 30)))


def test_both_export_schemas_are_read(tmp_path):
    old = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en"><siteinfo>'
        "<base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo><page><title>Old</title><ns>0</ns><id>1</id>"
        "<revision><id>2</id><parentid>1</parentid><timestamp>2015-01-01T00:00:00Z</timestamp><contributor><ip>::1</ip>"
        '</contributor><model>wikitext</model><format>text/x-wiki</format><text xml:space="preserve">A.</text>'
        "<sha1>0</sha1></revision></page></mediawiki>"
    )
    new = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en"><siteinfo>'
        "<base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo><page><title>New</title><ns>0</ns><id>1</id>"
        "<revision><id>2</id><parentid>1</parentid><timestamp>2025-01-01T00:00:00Z</timestamp><contributor><ip>::1</ip>"
        "</contributor><origin>2</origin><model>wikitext</model><format>text/x-wiki</format>"
        '<text bytes="2" sha1="0" xml:space="preserve">B.</text><sha1>0</sha1></revision></page></mediawiki>'
    )
    assert read_all(save(tmp_path, old.encode())) == [Article("Old", "A.")]
    assert read_all(save(tmp_path, new.encode())) == [Article("New", "B.")]


def old_page(title, text, extra=""):
    return (
        f"<page><title>{escape(title)}</title><id>1</id>{extra}<revision><id>2</id>"
        "<timestamp>2008-01-01T00:00:00Z</timestamp><contributor><ip>127.0.0.1</ip></contributor>"
        f'<text xml:space="preserve">{escape(text)}</text></revision></page>\n'
    )


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.5"])
def test_schemas_without_namespaces_of_pages_are_read_by_the_titles(tmp_path, version):
    flag = "" if version == "0.3" else "<redirect />"
    pages = [
        old_page("Hund", "Ein Hund."),
        old_page("2001: Odyssee", "Ein Film."),
        old_page("Datei:Hund.jpg", "Ein Bild."),
        old_page("Benutzer Diskussion:Hund", "Hallo."),
        old_page("Projekt Tiere:Hund", "Ein Projekt."),
        old_page("Köter", "#WEITERLEITUNG [[hund#Rassen]]", flag),
        old_page("Fiffi", "#REDIRECT [[Hund]]", flag),
        old_page("Bello", "Weiter: #WEITERLEITUNG [[Hund]]"),
    ]
    site = (
        f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-{version}/" version="{version}" xml:lang="de">\n'
        "<siteinfo><sitename>Wikipedia</sitename><base>http://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>"
        '<generator>MediaWiki 1.13alpha</generator><case>first-letter</case><namespaces><namespace key="0" />'
        '<namespace key="6">Bild</namespace><namespace key="100">Projekt Tiere</namespace></namespaces></siteinfo>\n'
    )
    path = save(tmp_path, (site + "".join(pages) + TAIL).encode())
    names = names_of(read_site(path, open_file))
    items = [
        item
        for unit in plan_units(path, open_file, unit_bytes=1 << 20)
        for item in read_dump(unit, open_file, names=names)
    ]
    assert items == [
        Article("Hund", "Ein Hund."),
        Article("2001: Odyssee", "Ein Film."),
        *[Refusal("other_namespace", 0)] * 3,
        Redirect("Köter", "Hund"),
        Redirect("Fiffi", "Hund"),
        Article("Bello", "Weiter: #WEITERLEITUNG [[Hund]]"),
    ]


def test_redirects_without_element_are_told_by_their_text(tmp_path):
    pages = [
        page("A", "#REDIRECT [[b]]"),
        page("C", "#REDIRECT [[b]]", model="json"),
        page("D", "#REDIRECT [[<b>]]", extra="<redirect />"),
        page("E", "#REDIRECT [[f]]", extra='<redirect title="G" />'),
        page("Talk:H", "#REDIRECT [[b]]", ns=1),
    ]
    assert read_all(save(tmp_path, "".join(pages).encode()))[:5] == [
        Redirect("A", "B"),
        Refusal("not_wikitext", 0),
        Redirect("D", ""),
        Redirect("E", "G"),
        Refusal("other_namespace", 0),
    ]


def test_the_head_tells_wiki_main_page_and_namespaces(tmp_path):
    site = read_site(save(tmp_path, b"".join(STREAMS)), open_file)
    assert (site.project, site.main_page) == ("de.wikipedia", "Wikipedia:Hauptseite")
    assert site.namespaces == ((6, "Datei"),)
    assert (site.database, site.language) == ("dewiki", "de")
    assert read_site(save(tmp_path, PAGES[0].encode()), open_file) == Site()
    (tmp_path / "zhwiki-1.xml").write_text(PAGES[0])
    assert read_site(str(tmp_path / "zhwiki-1.xml"), open_file) == Site(database="zhwiki")


EMPTY_STARTS = {
    "gzip": gzip.compress(b"") + gzip.compress(PLAIN),
    "skippable": struct.pack("<II", 0x184D2A50, 4) + b"size" + zstandard.compress(PLAIN),
    "bz2": bz2.compress(b"") + bz2.compress(PLAIN),
    "xz": lzma.compress(b"") + lzma.compress(PLAIN),
}


@pytest.mark.parametrize("kind", EMPTY_STARTS)
def test_a_first_member_without_content_hides_nothing(tmp_path, kind):
    path = save(tmp_path, EMPTY_STARTS[kind])
    assert read_site(path, open_file).project == "de.wikipedia"
    assert titles_of(read_all(path)) == ALL_TITLES
    with open_file(path) as file:
        assert next(read_chunks(file)).startswith(b"<mediawiki")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"<!DOCTYPE html><html>404</html>", "HTML page", id="html"),
        pytest.param(gzip.compress(b"\n<html><title>404"), "HTML page", id="html-gzip"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(bz2.compress(PLAIN)[:40], "empty or damaged", id="cut"),
        pytest.param(gzip.compress(b"-- MySQL dump 10.16\nCREATE TABLE `page`"), "something else", id="sql"),
        pytest.param(HEAD.replace("</base>", "").encode() + PAGES[0].encode(), "siteinfo", id="broken-head"),
        pytest.param(HEAD.replace('key="6"', 'key="six"').encode() + PAGES[0].encode(), "siteinfo", id="no-key"),
    ],
)
def test_a_file_that_is_no_dump_is_named_for_what_it_is(tmp_path, data, message):
    with pytest.raises(NotADump, match=message):
        read_site(save(tmp_path, data), open_file)
