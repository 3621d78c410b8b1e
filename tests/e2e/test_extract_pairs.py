"""The job extract-pairs on small and on real crawls."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.extract_pairs import main
from jobs.runner import run_stage
from pipeline.drops import check_counts
from pipeline.extraction.stage import ExtractPairs
from pipeline.tables import read_table


def answer(url: str, html: str) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html.encode()
    head = f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def page(number: int) -> str:
    images = "".join(f"<img src=/{(number * 7 + i) % 40}.jpg alt='image {(number * 7 + i) % 40}'>" for i in range(15))
    return f"<a href=x title='image 3'><img src=/3.jpg></a>{images}"


@pytest.fixture
def crawl(tmp_path) -> Path:
    folder = tmp_path / "crawl"
    (folder / "more").mkdir(parents=True)
    for part in range(3):
        records = [answer(f"http://a.example/{part}/{number}", page(number)) for number in range(4)]
        (folder / f"part-{part}.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    (folder / "list.csv").write_text("url,text\nhttp://a.example/3.jpg,image 3\nhttp://a.example/99.jpg,image 99\n")
    (folder / "more" / "part-0.warc.gz").write_bytes((folder / "part-0.warc.gz").read_bytes())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_workers_and_the_order_and_place_of_inputs_do_not_show_in_the_pairs(crawl, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in crawl.glob("*.*"):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    inputs = [str(path) for path in sorted(elsewhere.glob("*"))]
    runs = {
        "one": (1, (str(crawl),)),
        "two": (2, (str(crawl),)),
        "moved": (2, tuple(reversed(inputs))),
        "twice": (1, (str(crawl), str(crawl / "more"))),
    }
    counts = {
        name: run_stage(ExtractPairs(input=given, output=str(tmp_path / name)), workers=workers, quiet=True)
        for name, (workers, given) in runs.items()
    }
    assert len(contents(tmp_path / "one")) == 4
    for name in runs:
        assert contents(tmp_path / name) == contents(tmp_path / "one"), name
        assert counts[name] == counts["one"], name
    table = pa.concat_tables(read_table(str(path)) for path in (tmp_path / "one").glob("*.parquet"))
    assert table.num_rows == len(set(table["pair_id"].to_pylist())) == counts["one"]["pairs/kept"] == 37
    third = [row for row in table.to_pylist() if row["text"] == "image 3"]
    assert [row["text_source"] for row in third] == ["alt"], "the best source of equal pairs is kept"


def test_a_run_that_was_cut_short_ends_as_a_whole_one_does(crawl, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = run_stage(ExtractPairs(input=(str(crawl),), output=str(whole)), quiet=True)
    run_stage(ExtractPairs(input=(str(crawl),), output=str(cut)), quiet=True)
    (cut / "_stage.json").unlink()
    sorted(cut.glob("*.parquet"))[1].unlink()
    assert run_stage(ExtractPairs(input=(str(crawl),), output=str(cut)), quiet=True) == expected
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "input must name at least one file"),
        (["--input", "no-such-crawl"], "no-such-crawl"),
        (["--input", "pyproject.toml"], "pyproject.toml: not a web archive"),
        (["--input", "x", "--min-chars", "0"], "min-chars must be at least 1, not 0"),
    ],
)
def test_bad_use_gives_one_clear_line(flags, message, checkout, tmp_path, capsys):
    flags = [str(checkout / flag) if flag.endswith(".toml") else flag for flag in flags]
    assert main([*flags, "--output", str(tmp_path / "out"), "--quiet"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_columns_and_filters_are_flags(tmp_path):
    (tmp_path / "list.tsv").write_text("who\twhat\nhttp://a.example/1.jpg\ta red cat\nhttp://a.example/2.jpg\tdog\n")
    flags = ["--url-column", "who", "--text-column", "what", "--min-words", "2"]
    assert main(["--input", str(tmp_path / "list.tsv"), *flags, "--output", str(tmp_path / "out"), "--quiet"]) == 0
    counts = json.loads((tmp_path / "out" / "_stage.json").read_text())["counts"]
    assert counts == {"pairs/in": 2, "pairs/kept": 1, "pairs/drop/too_few_words": 1}


def test_all_real_crawls_pages_and_tables_become_pairs(real_data, tmp_path):
    stage = ExtractPairs(
        input=(
            str(real_data / "warc"),
            str(real_data / "commoncrawl" / "*" / "*"),
            str(real_data / "html_pages" / "html"),
            str(real_data / "text_lists" / "laion_url_text_10k.parquet"),
        ),
        page_urls=str(real_data / "html_pages" / "urls.tsv"),
        output=str(tmp_path / "pairs"),
    )
    counts = run_stage(stage, workers=2, quiet=True)
    check_counts(counts)
    assert counts["pages/in"] == 4 + 2 + 16 + 1 + 299 + 30 + 24 + 91  # WARC answers, WAT answers, saved pages
    assert counts["pages/kept"] == 225
    tables = {path.name: read_table(str(path)) for path in (tmp_path / "pairs").glob("*.parquet")}
    pairs = pa.concat_tables(tables.values())
    assert pairs.num_rows == len(set(pairs["pair_id"].to_pylist())) == counts["pairs/kept"]
    by_source = Counter(pairs["source_file"].to_pylist())
    assert by_source["books.toscrape.warc"] == 20
    assert by_source["laion_url_text_10k.parquet"] >= 9_980
    assert 90 <= by_source["IAH-20080430204825-00000-blackbook.warc.gz"] <= 110, "its 666 alts are 24 images"
    html = sum(number for name, number in by_source.items() if ".html" in name)
    assert html >= 950, "1,193 alts; furniture repeats"
    assert {"alt", "figcaption", "title", "link-title", "json-ld", "og", "table"} <= set(
        pairs["text_source"].to_pylist()
    )
    assert all(url.startswith("http") and url.isascii() for url in pairs["image_url"].to_pylist())
