"""The counting steps of build-vocab, one after another on a dump of three streams."""

import bz2
import gzip
import os
from functools import partial

import pyarrow as pa
import pytest

from jobs.engines import Engine
from jobs.runner import make_step
from pipeline.base.drops import add_counts, check_counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import read_counts, read_row_groups, read_table
from pipeline.steps import MapUnits, Step
from pipeline.vocabulary.file_views import count_file_views, write_known_titles
from pipeline.vocabulary.total_counts import (
    join_words,
    merge_bigrams,
    merge_words,
    plan_bigram_ranges,
    plan_word_ranges,
)
from pipeline.vocabulary.unit_counts import choose_unit_bytes, count_unit_bigrams, count_unit_words, plan_tasks
from vocab.dump import plan_units
from vocab.site import Site
from vocab.wikitext.prose import Edition

HEAD = "<mediawiki><siteinfo><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>"


def page(title, text, ns=0, redirect=""):
    extra = f'<redirect title="{redirect}" />' if redirect else ""
    return f"<page><title>{title}</title><ns>{ns}</ns>{extra}<revision><text>{text}</text></revision></page>"


PAGES = [
    page("New York", "The [[city]] of New York.\n\nNew York is big. {{x|New York}}"),
    page("NYC", "#REDIRECT [[New York]]", redirect="New York"),
    page("Talk:New York", "New York New York", ns=1),
    page("York", "New [[York]] 1984, York 1984: 1984 1984, 1984 1984: [[File:x.jpg|New York]] the city"),
]


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(part.encode()) for part in (HEAD, *PAGES, "</mediawiki>")))
    units = plan_units(str(path), open_file, unit_bytes=150)
    return plan_tasks([*units, *units], StageFolder(str(tmp_path / "units")))


def open_file(path):
    return open(path, "rb")


def run(units, output_of, work, **options):
    """What the units count."""
    transform = MapUnits(units=units, output_of=output_of, work=partial(work, **options))
    folder = os.path.commonpath([os.path.dirname(output) for output in transform.outputs])
    made = make_step(Step("Step", transform), Engine(workers=1), folder)
    return add_counts(*(receipt.counts for receipt in made.values()))


def count_words(tasks, site=Site()):
    return run(tasks, lambda task: task.paths.words, count_unit_words, edition=Edition.of_site(site), case="fold")


def add_up_words(tasks, output, *, all_numbers=False):
    ranges = plan_word_ranges(tasks, StageFolder(f"{output}-sums"))
    tables = [task.paths.words for task in tasks]
    options = {"min_count": 2, "numbers_below": 4, "all_numbers": all_numbers}
    assert run(ranges, lambda words: words.kept, merge_words, tables=tables, **options) == {}
    return run([ranges], lambda _: output, join_words, survey=f"{output}.json", threshold=2)


def count_views(source, output, **options):
    return run([str(source)], lambda _: str(output), count_file_views, project="en.wikipedia", **options)


def test_count_words_leaves_words_tokens_and_titles_and_counts_what_is_no_article(tasks):
    counts = count_words(tasks)
    check_counts(counts)
    assert counts["wiki_pages/in"] == 4
    assert counts["wiki_pages/kept"] == 2
    assert counts["wiki_pages/drop/redirect"] == counts["wiki_pages/drop/other_namespace"] == 1
    assert counts["streams/kept"] == 6
    titles = pa.concat_tables([read_table(task.paths.titles) for task in tasks])
    assert sorted(titles["title"].to_pylist()) == ["NYC", "New York", "York"]
    assert titles.filter(pa.compute.equal(titles["title"], "NYC"))["target"].to_pylist() == ["New York"]


def test_the_names_of_the_wiki_tell_what_old_dumps_do_not(tmp_path):
    texts = {
        "Berlin": "Die [[Stadt]] Berlin [[Bild:B.jpg|mini|Mauer]]",
        "Spree-Athen": "#WEITERLEITUNG [[berlin]]",
        "Merkur": "__BEGRIFFSKLÄRUNG__",
        "Benutzerin:Berlin": "Hallo Berlin",
    }
    xml = "".join(
        f"<page><title>{t}</title><revision><text>{text}</text></revision></page>" for t, text in texts.items()
    )
    (tmp_path / "dump.xml").write_text(f"<mediawiki>{xml}</mediawiki>")
    units = plan_units(str(tmp_path / "dump.xml"), open_file, unit_bytes=1 << 20)
    [task] = plan_tasks(units, StageFolder(str(tmp_path / "units")))
    counts = count_words([task], Site(host="de.wikipedia.org"))
    assert counts["wiki_pages/kept"] == 2
    assert counts["wiki_pages/drop/redirect"] == counts["wiki_pages/drop/other_namespace"] == 1
    rows = read_table(task.paths.titles).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("Berlin", None, False),
        ("Spree-Athen", "Berlin", None),
        ("Merkur", None, True),
    ]
    assert set(read_table(task.paths.words)["word"].to_pylist()) & {"mini", "mauer", "hallo", "berlin"} == {
        "berlin",
        "mauer",
    }


def test_captions_and_variants_are_counted_as_the_options_say(tmp_path):
    text = "這是-{zh-hans:计;zh-hant:計}- [[File:A.jpg|thumb|狐]]"
    (tmp_path / "dump.xml").write_text(f"<mediawiki>{page('A', text)}</mediawiki>")
    units = plan_units(str(tmp_path / "dump.xml"), open_file, unit_bytes=1 << 20)
    for number, (options, words) in enumerate({"": "這是计狐", "zh-tw": "這是計"}.items()):
        edition = Edition.of_site(Site(host="zh.wikipedia.org"), variant=options, captions=not options)
        [task] = plan_tasks(units, StageFolder(str(tmp_path / f"units{number}")))
        run([task], lambda task: task.paths.words, count_unit_words, edition=edition, case="fold")
        assert set(read_table(task.paths.words)["word"].to_pylist()) == set(words)


def test_a_unit_that_is_done_is_not_done_again_but_counts(tasks):
    first = count_words(tasks)
    for task in tasks:
        assert read_table(task.paths.words).num_rows <= 9
    again = [task.__class__(unit=task.unit._replace(path="gone"), paths=task.paths) for task in tasks]
    assert count_words(again) == first


@pytest.mark.parametrize(("range_rows", "num_ranges"), [(1, 8), (6, 2), (1000, 1)])
def test_words_are_kept_with_their_display_however_many_ranges_there_are(
    tasks, tmp_path, monkeypatch, range_rows, num_ranges
):
    monkeypatch.setattr("pipeline.vocabulary.total_counts._RANGE_ROWS", range_rows)
    count_words(tasks)
    assert len(plan_word_ranges(tasks, StageFolder(""))) == num_ranges
    output = str(tmp_path / "kept.parquet")
    counts = add_up_words(tasks, output)
    kept = read_table(output)
    assert list(zip(*kept.to_pydict().values(), strict=True)) == [
        *(("0", 0, "0"), ("1", 0, "1"), ("2", 0, "2"), ("3", 0, "3")),
        *(("city", 2, "city"), ("new", 3, "New"), ("the", 2, "The"), ("york", 4, "York")),
    ]
    assert counts == {"tokens": 20, "distinct_tokens": 8, "frequent_words": 4, "frequent_numbers": 4}
    assert read_counts(output) == counts


@pytest.mark.parametrize(("range_rows", "numbers"), [(1, False), (1, True), (1000, True)])
def test_bigrams_of_kept_words_are_counted_and_added_up(tasks, tmp_path, monkeypatch, range_rows, numbers):
    monkeypatch.setattr("pipeline.vocabulary.total_counts._RANGE_ROWS", range_rows)
    count_words(tasks)
    output = str(tmp_path / "kept.parquet")
    add_up_words(tasks, output, all_numbers=numbers)
    assert run(tasks, lambda task: task.paths.bigrams, count_unit_bigrams, kept_words=output) == {}
    ranges = plan_bigram_ranges(tasks, output)
    assert (len(ranges) > 3) == (range_rows == 1)
    tables = [task.paths.bigrams for task in tasks]
    outputs = {bounds: str(tmp_path / f"{bounds}.parquet") for bounds in ranges}
    options = {"tables": tables, "kept_words": output, "min_count": 2, "least_lettered": 1 if numbers else 2}
    counts = run(ranges, outputs.get, merge_bigrams, **options)
    sums = pa.concat_tables(map(read_table, outputs.values()))
    words = read_table(output)["word"].to_pylist()
    spelled = [f"{words[bigram >> 32]} {words[bigram & 0xFFFFFFFF]}" for bigram in sums["bigram"].to_pylist()]
    found = dict(zip(spelled, sums["count"].to_pylist(), strict=True))
    assert found == {"new york": 3, "the city": 2} | ({"york 1984": 2} if numbers else {})
    assert counts["frequent_bigrams"] == len(found)


@pytest.mark.parametrize(("characters", "rows"), [(1, 1000), (60, 1000), (10**6, 1), (10**6, 2)])
def test_the_pieces_that_a_unit_is_counted_in_do_not_show(tmp_path, monkeypatch, characters, rows):
    path = tmp_path / "dump.xml.gz"
    path.write_bytes(gzip.compress("".join([HEAD, *PAGES, *PAGES, "</mediawiki>"]).encode())[:-9])
    [unit] = plan_units(str(path), open_file, unit_bytes=1)
    sums = []
    for name in ("whole", "pieces"):
        if name == "pieces":
            monkeypatch.setattr("pipeline.vocabulary.unit_counts._PIECE_CHARACTERS", characters)
            monkeypatch.setattr("pipeline.vocabulary.unit_counts._PIECE_ROWS", rows)
        [task] = plan_tasks([unit], StageFolder(str(tmp_path / name)))
        counts = count_words([task])
        kept, bigrams = (str(tmp_path / name / file) for file in ("kept.parquet", "bigrams.parquet"))
        counts |= add_up_words([task], kept)
        run([task], lambda task: task.paths.bigrams, count_unit_bigrams, kept_words=kept)
        [bounds] = plan_bigram_ranges([task], kept)
        tables = [task.paths.bigrams]
        counts |= run(
            [bounds],
            lambda _, path=bigrams: path,
            merge_bigrams,
            tables=tables,
            kept_words=kept,
            min_count=2,
            least_lettered=1,
        )
        paths = (kept, bigrams, task.paths.titles, task.paths.damages)
        sums.append((counts, [read_table(path).to_pylist() for path in paths]))
        num_pieces = len(list(read_row_groups(task.paths.tokens)))
    assert num_pieces > 1
    assert sums[0] == sums[1]
    assert sums[0][0]["streams/drop/damaged_stream"] == 1
    assert len(sums[0][1][3]) == 1


def test_count_views_writes_the_views_of_a_file(tmp_path):
    source = tmp_path / "views"
    source.write_text("en New_York 5 0\nen.m New_York 7 0\nen broken 0\nde New_York 9 0\n")
    output = str(tmp_path / "views.parquet")
    counts = count_views(source, output)
    check_counts(counts)
    assert (counts["view_rows/kept"], counts["view_rows/drop/bad_row"]) == (2, 1)
    assert read_table(output).to_pylist() == [{"title": "New York", "views": 12}]


def test_only_views_of_titles_of_the_dump_are_kept_when_these_are_known(tasks, tmp_path):
    count_words(tasks)
    known = str(tmp_path / "titles.parquet")
    titles = [task.paths.titles for task in tasks]
    assert run([titles], lambda _: known, write_known_titles) == {}
    source = tmp_path / "views"
    source.write_text("en New_York 5 0\nen york 7 0\nen NYC 3 0\nen Boston 9 0\nen Talk:New_York 9 0\nen newYork 1 0\n")
    output = str(tmp_path / "views.parquet")
    counts = count_views(source, output, known_titles=known)
    assert counts["view_rows/kept"] == 6
    views = read_table(output)
    assert dict(zip(*views.to_pydict().values(), strict=True)) == {"NYC": 3, "New York": 5, "york": 7}


@pytest.mark.parametrize(
    ("sizes", "unit_bytes"),
    [
        ([1000], 2 << 20),
        ([48 << 20, 48 << 20], 4 << 20),
        ([500 << 20], 8 << 20),
        ([22_000 << 20], 22 << 20),
    ],
    ids=["tiny", "small", "usual", "largest"],
)
def test_units_are_small_enough_for_many_workers_and_not_too_many(tmp_path, sizes, unit_bytes):
    paths = [tmp_path / f"{number}.xml" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        with path.open("wb") as file:
            file.truncate(size)  # takes no room
    assert choose_unit_bytes(list(map(str, paths))) == unit_bytes
