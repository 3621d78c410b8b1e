import gzip
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import check_counts
from pipeline.base.ids import pair_id
from pipeline.base.schemas import PAIRS
from pipeline.extraction.filters import FilterOptions
from pipeline.extraction.losers import EXTRACTED
from pipeline.extraction.pages import PageRules
from pipeline.extraction.unit import Extraction, ExtractionRules, input_kind, page_order, preference, saved_page_key
from pipeline.extraction.url_lists import ListColumns


def rules(**page_urls):
    return ExtractionRules(PageRules(), ListColumns(), FilterOptions(), page_urls)


def extract(path, found=None):
    extraction = Extraction(str(path), "name", found or rules())
    table = pa.concat_tables(extraction.batches(input_kind(str(path))))
    counts = extraction.counts
    check_counts({**counts, "pairs/kept": table.num_rows} if "pairs/in" in counts or table.num_rows else counts)
    assert table.schema.equals(EXTRACTED) or table.num_rows == 0 or table.cast(EXTRACTED)
    return table.to_pylist(), counts


def answer(url: str, body: bytes, *, status: str = "200 OK", mime: str = "text/html; charset=utf-8") -> bytes:
    block = f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\n\r\n".encode() + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


PAGE = b"<html lang=en><img src=1.jpg alt='a cat'><img src=2.jpg><img src=data: alt='a dog'><img src=3.svg alt=sign>"


def test_everything_in_an_archive_is_kept_or_dropped_with_a_reason(tmp_path):
    path = tmp_path / "a.warc"
    parts = [
        answer("http://a.example/p/", PAGE),
        answer("http://a.example/q", PAGE, status="404 Not Found"),
        answer("http://a.example/1.jpg", b"\xff\xd8", mime="image/jpeg"),
        answer("http://a.example/r", b"<meta name=robots content=noai>" + PAGE),
        answer("http://a.example/s", PAGE, mime=""),
        answer("http://a.example/t", PAGE)[:-100],
    ]
    path.write_bytes(b"".join(parts))
    rows, counts = extract(path)
    assert counts == {
        "records": 5,
        "pages/in": 6,
        "pages/kept": 2,
        "pages/drop/not_ok": 1,
        "pages/drop/not_html": 1,
        "pages/drop/opted_out": 1,
        "pages/drop/cut_record": 1,
        "pairs/in": 8,
        "pairs/drop/no_text": 2,
        "pairs/drop/data_url": 2,
        "pairs/drop/refused_suffix": 2,
    }
    first = rows[0]
    assert {name: first[name] for name in PAIRS.names} == {
        "pair_id": pair_id("http://a.example/p/1.jpg", "a cat"),
        "image_url": "http://a.example/p/1.jpg",
        "text": "a cat",
        "text_source": "alt",
        "page_url": "http://a.example/p/",
        "language": "en",
        "source_file": "a.warc",
    }


def test_a_saved_page_takes_its_address_from_the_list(tmp_path):
    path = tmp_path / "page.html.gz"
    path.write_bytes(gzip.compress(PAGE))
    rows, counts = extract(path, rules(page="http://b.example/x/y"))
    assert [row["image_url"] for row in rows] == ["http://b.example/x/1.jpg"]
    assert counts["pages/kept"] == 1
    path.write_bytes(gzip.compress(PAGE)[:-5])
    assert extract(path)[1] == {"pages/in": 1, "pages/drop/bad_encoding": 1}


def test_a_table_gives_a_pair_a_row(tmp_path):
    path = tmp_path / "a.csv"
    lines = [
        "url,text,page_url",
        "HTTP://h/1#x, a  cat ,p",
        "http://h/2,,p",
        "nowhere,a dog,p",
        ",a cow,p",
        "http://h/3",
    ]
    path.write_text("\n".join(lines))
    [row], counts = extract(path)
    assert (row["image_url"], row["text"], row["text_source"], row["page_url"]) == ("http://h/1", "a cat", "table", "p")
    drops = {"pairs/drop/bad_row": 1, "pairs/drop/no_text": 1, "pairs/drop/bad_url": 1, "pairs/drop/no_image_url": 1}
    assert counts == {"pairs/in": 5, **drops}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("CC-MAIN-1.warc.gz", b"", "archive"),
        ("CC-MAIN-1.warc.wat.gz", b"", "archive"),
        ("crawl.wacz", b"", "archive"),
        ("page.XHTML", b"", "html"),
        ("list.jsonl.gz", b"", "table"),
        ("unnamed", b"WARC/1.0\r\n", "archive"),
        ("unnamed", gzip.compress(b"WARC/1.0\r\n", mtime=0), "archive"),
        ("index", b"\n<!DOCTYPE html>", "html"),
    ],
)
def test_the_kind_of_an_input_is_told_by_its_name_or_its_start(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    assert input_kind(str(path)) == kind


def test_a_file_of_no_known_kind_is_an_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(ValueError, match=r"notes\.txt: not a web archive"):
        input_kind(str(path))


def test_better_text_sources_are_preferred_whatever_the_page():
    assert max(preference("alt", page_order(str(i), "n")) for i in range(50)) < min(
        preference("og", page_order(str(i), "n")) for i in range(50)
    )
    assert saved_page_key("/x/a.b.html.gz") == "a.b"


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([PAGE, b"<img src=1.jpg alt=x>", b"<base href=::>"]), max_size=5),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=12),
    st.floats(0.5, 1),
)
def test_no_archive_crashes_and_nothing_is_lost(tmp_path_factory, bodies, url, length):
    path = tmp_path_factory.mktemp("fuzz") / "a.warc"
    content = b"".join(answer(f"http://a.example/{url}", body) for body in bodies)
    path.write_bytes(content[: int(length * len(content))])
    extract(path)


def test_the_real_crawls_hold_the_pairs_that_were_counted_by_hand(real_data):
    sources = Counter()
    for path, pages, sourced in [
        ("warc/books.toscrape.warc", 1, 20),
        ("warc/IAH-20080430204825-00000-blackbook.warc.gz", 94, 597),  # 70 of its 666 alts stand in error pages
        ("warc/sample-0000.warc.gz", 22, 50),  # 121 of its 170 alts describe .svg, 7 are file names; 8 captions, titles
        ("commoncrawl/cc-main-2020-34/warcfile.warc.gz", 15, 37),  # 2 of them input elements, 2 areas of a map
        ("commoncrawl/cc-main-2024-22/whirlwind.warc.gz", 1, 6),  # 2 of 7 are .svg; 1 is of an article's JSON-LD
    ]:
        rows, counts = extract(real_data / path)
        assert (counts["pages/kept"], len(rows)) == (pages, sourced), path
        sources.update(row["text_source"] for row in rows)
    assert sources["alt"] == 20 + 597 + 42 + 34 + 5
