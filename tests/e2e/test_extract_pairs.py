"""The job extract-pairs on small and on real crawls."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base.drops import check_counts
from pipeline.base.tables import read_table
from pipeline.extraction.stage import ExtractPairs


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


def test_pages_are_read_the_same_where_nothing_can_be_compiled(crawl, checkout, tmp_path):
    run_stage(ExtractPairs(input=(str(crawl),), output=str(tmp_path / "compiled")), workers=1, quiet=True)
    command = [sys.executable, "-m", "jobs", "extract-pairs", "--input", str(crawl)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "plain"), "--workers", "1"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "slower, not compiled: NUMBA_DISABLE_JIT is set" in done.stderr
    assert contents(tmp_path / "plain") == contents(tmp_path / "compiled")


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
        (["--input", "x", "--language", "xx"], "language: unknown language xx; known are am, ar,"),
        (["--input", "x", "--near-duplicates", "0.1"], "near-duplicates must be 0 or at least 0.3"),
    ],
)
def test_bad_use_gives_one_clear_line(flags, message, checkout, tmp_path, capsys):
    flags = [str(checkout / flag) if flag.endswith(".toml") else flag for flag in flags]
    assert main(["extract-pairs", *flags, "--output", str(tmp_path / "out"), "--quiet"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_columns_and_filters_are_flags(tmp_path):
    (tmp_path / "list.tsv").write_text("who\twhat\nhttp://a.example/1.jpg\ta red cat\nhttp://a.example/2.jpg\tdog\n")
    flags = ["--url-column", "who", "--text-column", "what", "--min-words", "2"]
    paths = ["--input", str(tmp_path / "list.tsv"), "--output", str(tmp_path / "out")]
    assert main(["extract-pairs", *paths, *flags, "--quiet"]) == 0
    counts = json.loads((tmp_path / "out" / "_stage.json").read_text())["counts"]
    assert counts == {"pairs/in": 2, "pairs/kept": 1, "pairs/drop/too_few_words": 1}


def test_every_filter_over_all_inputs_gives_the_same_pairs_for_any_number_of_workers(tmp_path):
    kinds = ["a small red house by the sea", "ein kleines rotes Haus am Meer", "logo of the company"]
    for part in range(3):
        rows = [
            f"http://a.example/{part}-{i}.jpg,{kinds[i % 3]}{f' number {part}{i}' * (i % 3 == 0)}" for i in range(30)
        ]
        (tmp_path / f"list-{part}.csv").write_text(
            "\n".join(["url,text", *rows, "http://b.example/1.jpg,LOGO of the company!"])
        )
    (tmp_path / "blocked").write_text("-29.jpg\n")
    options = {
        "input": (str(tmp_path / "list-*.csv"),),
        "language": ("en",),
        "block_urls": (str(tmp_path / "blocked"),),
        "max_text_repeats": 4,
        "near_duplicates": 0.7,
    }
    found = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        counts = run_stage(ExtractPairs(**options, output=str(output)), workers=workers, quiet=True)
        found.append((counts, contents(output)))
    assert found[0] == found[1]
    counts = found[0][0]
    assert counts["pairs/drop/blocked_url"] == 3
    assert counts["pairs/drop/other_language"] == 30
    assert counts["pairs/drop/duplicate_pair"] == 2
    assert counts["pairs/drop/repeated_text"] == 30 - 3 + 1 - 4
    assert counts["pairs/drop/near_duplicate"] > 20
    assert counts["pairs/kept"] == 93 - sum(counts[name] for name in counts if "drop" in name)


def test_pages_in_other_languages_are_left_out(tmp_path):
    pages = [
        "<html lang=de><img src=1.jpg alt='a red house'>",
        "<html lang=en-US><img src=2.jpg alt='ein rotes Haus'>",
        "<img src=3.jpg alt='a small red house by the sea'>",
        "<img src=4.jpg alt='ein kleines rotes Haus am Meer'>",
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(answer(f"http://a.example/{i}", html) for i, html in enumerate(pages)))
    stage = ExtractPairs(input=(str(tmp_path / "a.warc"),), page_language=("en",), output=str(tmp_path / "out"))
    counts = run_stage(stage, quiet=True)
    assert counts == {
        "records": 4,
        "pages/in": 4,
        "pages/kept": 2,
        "pages/drop/other_language": 2,
        "pairs/in": 2,
        "pairs/kept": 2,
    }


@pytest.mark.parametrize(
    ("preset", "lines"),
    [
        ("cc3m", ["a red house\thttp://a.example/1.jpg"]),
        ("cc12m", ["http://a.example/1.jpg\ta red house"]),
        ("laion", ["URL\tWIDTH\tTEXT", "http://a.example/1.jpg\t3\ta red house"]),
        ("coyo", ["id\turl\ttext\tnum_faces", "7\thttp://a.example/1.jpg\ta red house\t0"]),
        ("datacomp", ["uid\turl\ttext", "ab\thttp://a.example/1.jpg\ta red house"]),
    ],
)
def test_published_lists_are_read_by_their_preset(preset, lines, tmp_path):
    (tmp_path / "list.tsv").write_text("\n".join(lines))
    stage = ExtractPairs(input=(str(tmp_path / "list.tsv"),), table_preset=preset, output=str(tmp_path / "out"))
    assert run_stage(stage, quiet=True) == {"pairs/in": 1, "pairs/kept": 1}
    [path] = (tmp_path / "out").glob("*.parquet")
    [row] = read_table(str(path)).to_pylist()
    assert (row["image_url"], row["text"]) == ("http://a.example/1.jpg", "a red house")


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
    assert by_source["laion_url_text_10k.parquet"] >= 9_940, "43 texts are file names or addresses"
    assert 90 <= by_source["IAH-20080430204825-00000-blackbook.warc.gz"] <= 110, "its 666 alts are 24 images"
    html = sum(number for name, number in by_source.items() if ".html" in name)
    assert html >= 950, "1,193 alts; furniture repeats"
    assert {"alt", "figcaption", "title", "link-title", "json-ld", "og", "table"} <= set(
        pairs["text_source"].to_pylist()
    )
    assert all(url.startswith("http") and url.isascii() for url in pairs["image_url"].to_pylist())
