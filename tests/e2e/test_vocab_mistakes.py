"""Whatever a user does wrong with build-vocab is told in one line, by an exit code, and leaves no vocabulary."""

import bz2
import errno
import os
import random
import re
import shutil

import pytest

from jobs.__main__ import main
from jobs.demo.world.wiki import make_pages, write_dump
from pipeline.base.flow import STAGES
from pipeline.base.stage_folder import close_folder

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
        "german.xml": bz2.decompress(dump).replace(b"https://demo.", b"https://de."),
        "empty": b"",
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(5000),
        "words.txt": b"some words\n",
        **{f"dumps/demowiki-{date}-pages-articles.xml.bz2": dump for date in (20260401, 20260501)},
        "dumps/demowiki-20260501-pages-articles-multistream-index.txt.bz2": index,
        "others/config.toml": b"[build-vocab]\n",
    }
    for below in ("others", "dumps", "nothing"):
        (folder / below).mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


DUMP = ["--dump", "dump.xml.bz2"]
MISTAKES = {
    "no-dump": ([], BAD_USE, "dump must be given"),
    "two-wikis": ([*DUMP, "german.xml"], BAD_USE, "dump.xml.bz2 is of demo.wikipedia.org, german.xml of de.wikipedia"),
    "missing-dump": (["--dump", "nowhere.xml.bz2"], BAD_USE, "no file matches: nowhere.xml.bz2"),
    "html": (["--dump", "error.html"], BAD_USE, "error.html: this is an HTML page"),
    "empty": (["--dump", "empty"], BAD_USE, "empty: the file is empty"),
    "cut-at-once": (["--dump", "short.xml.bz2"], BAD_USE, "short.xml.bz2: the file is empty or damaged"),
    "cut-after-its-head": (["--dump", "headed.xml.bz2"], BAD_USE, "no article in it (streams/drop/damaged_stream: 1)"),
    "no-articles": (["--dump", "talk.xml"], BAD_USE, "talk.xml: no article in it ("),
    "no-query": (["--dump", "small.xml", "--min-word-count", "9000"], BAD_USE, "lower --min-word-count to"),
    "no-bigram": ([*DUMP, "--max-words", "0", "--min-pmi", "60"], BAD_USE, "--min-pmi 60"),
    "no-title": (
        [*DUMP, "--pageviews", "views.bz2", "--min-word-count", "9000", "--min-views", "9000"],
        BAD_USE,
        "lower --min-views to 108",
    ),
    "no-source": ([*DUMP, "--max-words", "0", "--max-bigrams", "0"], BAD_USE, "nothing is left to give queries"),
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
    "two-dates": (["--dump", "dumps"], BAD_USE, "the dumps of demowiki-20260401 and demowiki-20260501: give the files"),
    "only-an-index": (["--dump", "dumps/*-index.txt.bz2"], BAD_USE, "build-vocab: dump: no dump among dumps/demowiki-"),
    "no-wordnet": ([*DUMP, "--wordnet", "."], BAD_USE, "wit400m get-wordnet"),
    "expression": ([*DUMP, "--drop-titles", "("], BAD_USE, "drop-titles: '(' is no regular expression"),
    "unknown-flag": ([*DUMP, "--min-word-cuont", "5"], BAD_USE, "did you mean --min-word-count?"),
    "unreadable": (["--dump", "https://127.0.0.1:9/x.xml"], FAILED, "https://127.0.0.1:9/x.xml: Cannot connect"),
    "empty-folder": (["--dump", "nothing"], BAD_USE, "no file in the folder nothing"),
    "output-on-a-file": ([*DUMP, "--output", "empty"], BAD_USE, "empty cannot be a folder, because a file is there"),
    "output-below-a-file": ([*DUMP, "--output", "empty/vocab"], BAD_USE, "empty/vocab cannot be a folder, because /"),
    "output-of-others": ([*DUMP, "--output", "others"], BAD_USE, "holds files that no stage wrote"),
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
    assert not re.search("Merge|Count|Words:|Error", line)  # no step of Beam, no class of Python
    assert not (tmp_path / "vocab" / "queries.parquet").exists()


def test_a_dump_needs_no_flag(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    assert main(["build-vocab", "dump.xml.bz2", "--wordnet", "none", "--output", str(tmp_path / "v"), "--dry-run"]) == 0
    assert main(["build-vocab", "nowhere.xml", "--wordnet", "none", "--output", str(tmp_path / "v")]) == BAD_USE
    assert "no such file, and no file matches: nowhere.xml" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_the_next_run_continues(inputs, tmp_path, monkeypatch, capsys):
    def fail(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flags = ["--dump", str(inputs / "dump.xml.bz2"), "--wordnet", "none", "--output", str(tmp_path / "vocab")]
    with monkeypatch.context() as full:
        full.setattr("pipeline.base.files.os.fsync", fail)
        assert main(["build-vocab", *flags, "--workers", "1"]) == FAILED
    [line] = capsys.readouterr().err.splitlines()
    assert f"no space left in {tmp_path}/vocab" in line and "Errno" not in line
    assert not (tmp_path / "vocab" / "queries.parquet").exists()
    assert main(["build-vocab", *flags, "--workers", "1", "--quiet"]) == 0
    assert (tmp_path / "vocab" / "queries.parquet").exists()


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_disk_without_room_is_told_before_work_starts_and_what_is_there_counts(
    inputs, tmp_path, monkeypatch, capsys, dry_run
):
    dump, output = inputs / "dump.xml.bz2", tmp_path / "vocab"
    needed = round(0.74 * dump.stat().st_size)
    flags = ["--dump", str(dump), "--wordnet", "none", "--output", str(output), "--workers", "1", *dry_run]
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("jobs.room.shutil.disk_usage", lambda _: free._replace(free=needed - 1))
    assert main(["build-vocab", *flags]) == FAILED
    [line] = capsys.readouterr().err.splitlines()
    assert f"not enough room in {output}: build-vocab takes about {needed / 1000:.1f} kB more there" in line
    assert not list(tmp_path.rglob("*.*"))
    output.mkdir(exist_ok=True)
    (output / ".left.tmp-1").write_bytes(bytes(10))
    assert main(["build-vocab", *flags]) == 0


def test_where_all_bigrams_are_counted_more_room_is_needed(inputs, tmp_path, monkeypatch, capsys):
    flags = ["--dump", str(inputs / "dump.xml.bz2"), "--wordnet", "none", "--output", str(tmp_path / "vocab")]
    free = shutil.disk_usage(tmp_path)._replace(free=2 * (inputs / "dump.xml.bz2").stat().st_size)
    monkeypatch.setattr("jobs.room.shutil.disk_usage", lambda _: free)
    assert main(["build-vocab", *flags, "--dry-run"]) == 0
    assert main(["build-vocab", *flags, "--dry-run", "--preset", "metaclip"]) == FAILED
    assert "not enough room" in capsys.readouterr().err


NEEDED = {
    "build-vocab": ["--dump", "x"],
    "import-vocab": ["x"],
    "extract-pairs": ["--input", "x"],
    "fetch-images": ["--contact", "me@example.org"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_takes_a_file_for_its_output_folder(tmp_path, capsys, stage):
    (tmp_path / "file").write_bytes(b"kept")
    assert main([stage, *NEEDED.get(stage, []), "--output", str(tmp_path / "file")]) == BAD_USE
    [line] = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/file cannot be a folder, because a file is there" in line
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_of_several_stages_none_starts_when_the_output_of_the_last_is_a_file(inputs, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "run.toml").write_text(
        f'[import-vocab]\ninput = ["{inputs}/words.txt"]\n[balance-pairs]\noutput = "{tmp_path}/file"\n'
    )
    assert main(["run", str(tmp_path / "run.toml"), "--data", str(tmp_path / "data")]) == BAD_USE
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot be a folder" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("other", [[], ["--overwrite"]])
def test_a_vocabulary_is_not_merged_into_itself_nor_lost(inputs, tmp_path, capsys, other):
    own = str(tmp_path / "own")
    assert main(["import-vocab", str(inputs / "words.txt"), "--output", own, "--quiet"]) == 0
    assert main(["import-vocab", str(inputs / "words.txt"), "--merge", f"{own}/.", "--output", own, *other]) == BAD_USE
    [line] = capsys.readouterr().err.splitlines()
    assert "output must not be where an input lies" in line
    assert (tmp_path / "own" / "queries.parquet").exists()


@pytest.mark.parametrize("vocab", ["nowhere", "words.txt", "."])
def test_explain_without_a_vocabulary_says_what_to_run(inputs, monkeypatch, capsys, vocab):
    monkeypatch.chdir(inputs)
    assert main(["match-pairs", "--explain", "a fox", "--vocab", vocab]) == BAD_USE
    [line] = capsys.readouterr().err.splitlines()
    assert f"no finished stage in {vocab} (no _stage.json); run build-vocab or import-vocab first" in line


def test_explain_on_the_folder_of_another_stage_says_so(tmp_path, capsys):
    close_folder(str(tmp_path), identity={"stage": "extract-pairs"}, counts={}, outputs=[], made_from=[])
    assert main(["match-pairs", "--explain", "a fox", "--vocab", str(tmp_path)]) == BAD_USE
    [line] = capsys.readouterr().err.splitlines()
    assert "was made by extract-pairs, not by build-vocab or import-vocab" in line
