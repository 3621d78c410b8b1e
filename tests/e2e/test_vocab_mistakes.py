"""Whatever a user does wrong with build-vocab is told in one line, by an exit code, and leaves no vocabulary."""

import bz2
import errno
import os
import random

import pytest

from jobs.__main__ import main
from jobs.demo.world.wiki import make_pages, write_dump

FAILED, BAD_USE = 1, 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with a made dump, its index, page views, and files that are something else."""
    folder = tmp_path_factory.mktemp("inputs")
    pages = make_pages(random.Random(3), 60)
    dump, index = write_dump(pages)
    views = "".join(f"demo.wikipedia {page.title.replace(' ', '_')} 1 desktop {n} A1\n" for n, page in enumerate(pages))
    contents = {
        "dump.xml.bz2": dump,
        "index.txt.bz2": index,
        "views.bz2": bz2.compress(views.encode()),
        "cut-views.bz2": bz2.compress(views.encode() * 400)[:-200],
        "german-views.bz2": bz2.compress(views.replace("demo.", "de.").encode()),
        "german-views.tsv": "Vereinigtes Königreich\t500\n".encode(),
        "short.xml.bz2": dump[:40],
        "headed.xml.bz2": dump[: dump.index(b"BZh", 1) + 60],
        "talk.xml": bz2.decompress(dump).replace(b"<ns>0</ns>", b"<ns>1</ns>"),
        "small.xml": (xml := bz2.decompress(dump))[: xml.index(b"</page>") + 7],
        "error.html": b"<!DOCTYPE html><html>404 Not Found</html>",
        "empty": b"",
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(5000),
        "words.txt": b"some words\n",
        "config.toml": b"[build-vocab]\n",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


DUMP = ["--dump", "dump.xml.bz2"]
MISTAKES = {
    "no-dump": ([], BAD_USE, "dump must be given"),
    "missing-dump": (["--dump", "nowhere.xml.bz2"], BAD_USE, "no file matches: nowhere.xml.bz2"),
    "html": (["--dump", "error.html"], BAD_USE, "error.html: this is an HTML page"),
    "empty": (["--dump", "empty"], BAD_USE, "empty: the file is empty"),
    "cut-at-once": (["--dump", "short.xml.bz2"], BAD_USE, "short.xml.bz2: the file is empty or damaged"),
    "cut-after-its-head": (["--dump", "headed.xml.bz2"], BAD_USE, "no article in it (streams/drop/damaged_stream: 1)"),
    "no-articles": (["--dump", "talk.xml"], BAD_USE, "talk.xml: no article in it ("),
    "no-query": (["--dump", "small.xml", "--min-word-count", "9000"], FAILED, "none occurs 9000 times"),
    "picture": (["--dump", "picture.png"], BAD_USE, "picture.png: this file holds something else"),
    "index-as-dump": (["--dump", "index.txt.bz2"], BAD_USE, "index.txt.bz2: this file holds something else"),
    "views-as-dump": (["--dump", "views.bz2"], BAD_USE, "views.bz2: this file holds something else"),
    "dump-as-views": ([*DUMP, "--pageviews", "dump.xml.bz2"], BAD_USE, "dump.xml.bz2: unknown page-view format"),
    "html-as-views": ([*DUMP, "--pageviews", "error.html"], BAD_USE, "error.html: unknown page-view format"),
    "missing-views": ([*DUMP, "--pageviews", "nowhere.gz"], BAD_USE, "no file matches: nowhere.gz"),
    "cut-views": ([*DUMP, "--pageviews", "cut-views.bz2"], FAILED, "cut-views.bz2: the file is cut short"),
    "views-of-another-wiki": ([*DUMP, "--pageviews", "german-views.bz2"], BAD_USE, "no row of demo.wikipedia"),
    "titles-of-another-wiki": ([*DUMP, "--pageviews", "german-views.tsv"], BAD_USE, "of another wiki?"),
    "views-as-index": ([*DUMP, "--index", "views.bz2"], BAD_USE, "views.bz2: this is no index"),
    "no-wordnet": ([*DUMP, "--wordnet", "."], BAD_USE, "wit400m get-wordnet"),
    "expression": ([*DUMP, "--drop-titles", "("], BAD_USE, "drop-titles: '(' is no regular expression"),
    "unknown-flag": ([*DUMP, "--min-word-cuont", "5"], BAD_USE, "unknown flag: --min"),
    "output-of-others": ([*DUMP, "--output", "."], BAD_USE, "holds files that no stage wrote"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_an_exit_code(inputs, tmp_path, monkeypatch, capsys, name):
    flags, code, message = MISTAKES[name]
    monkeypatch.chdir(inputs)
    wordnet = [] if "--wordnet" in flags else ["--wordnet", "none"]
    output = [] if "--output" in flags else ["--output", str(tmp_path / "vocab")]
    assert main(["build-vocab", *flags, *wordnet, *output, "--workers", "1"]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "vocab" / "queries.parquet").exists()


def test_a_full_disk_is_one_line_and_the_next_run_continues(inputs, tmp_path, monkeypatch, capsys):
    def fail(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flags = ["--dump", str(inputs / "dump.xml.bz2"), "--wordnet", "none", "--output", str(tmp_path / "vocab")]
    with monkeypatch.context() as full:
        full.setattr("pipeline.base.files.os.fsync", fail)
        assert main(["build-vocab", *flags, "--workers", "1"]) == FAILED
    [line] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert not (tmp_path / "vocab" / "queries.parquet").exists()
    assert main(["build-vocab", *flags, "--workers", "1", "--quiet"]) == 0
    assert (tmp_path / "vocab" / "queries.parquet").exists()
