"""What build-vocab knows of a wiki before it reads a dump, and refuses when there was nothing in it."""

import gzip
import os

import pyarrow as pa
import pytest

from pipeline.base.folders import StageFolder
from pipeline.base.stage_folder import stage_identity
from pipeline.base.tables import write_table
from pipeline.vocabulary.plan import NoArticle, VocabPlan, check_counted_articles, find_site, plan_vocab
from pipeline.vocabulary.stage import BuildVocab
from pipeline.vocabulary.title_views import OtherWiki, check_counted_views, sum_views
from vocab.pageviews import VIEWS
from vocab.site import Site

SCHEMA = pa.schema([("title", pa.string())])


def plan(**fields):
    empty = {"site": Site(), "project": "en.wikipedia", "tasks": (), "views": {}, "known_titles": "", "kept_words": ""}
    empty |= {"word_survey": "", "sums": StageFolder("sums")}
    return VocabPlan(**empty | fields)


def test_the_wiki_is_that_of_the_first_dump_that_tells_its_address(tmp_path):
    bare, whole = tmp_path / "zhwiki-1.xml", tmp_path / "dewiki-1.xml"
    bare.write_text("<page>")
    base = "<base>https://de.wikipedia.org/wiki/A</base>"
    whole.write_text(f"<mediawiki><siteinfo>{base}</siteinfo><page>")
    assert find_site([str(bare)]) == Site(database="zhwiki")
    assert find_site([str(bare), str(whole)]).host == "de.wikipedia.org"


def test_titles_that_no_dump_vouches_for_are_of_no_namespace_by_any_of_its_names(tmp_path):
    path = str(tmp_path / "views.parquet")
    site = Site(host="de.wikipedia.org", main_page="Wikipedia:Hauptseite")
    titles = [
        "Hund",
        "2001: Odyssee",
        "Bild:A.jpg",
        "File:B.jpg",
        "Benutzerin:C",
        "Spezial:Suche",
        "Merkur (Homonymie)",
    ]
    titles += ["Merkur (Begriffsklärung)", "Liste der Hunde"]
    write_table(path, pa.table([titles, range(1, len(titles) + 1)], schema=VIEWS), VIEWS)
    options = BuildVocab(dump=("d.xml",), output="v", articles_only=False, disambiguation="drop", lists="drop")
    kept = sum_views(options, plan(site=site, views={"views.bz2": path}))
    assert sorted(kept["title"].to_pylist()) == ["2001: Odyssee", "Hund", "Merkur (Homonymie)"]


@pytest.mark.parametrize(("host", "variant"), [("zh", "zh-xx"), ("de", "de-at")])
def test_a_variant_that_the_wiki_has_not_is_refused_before_work_starts(tmp_path, host, variant):
    dump = tmp_path / "dump.xml"
    dump.write_text(f"<mediawiki><siteinfo><base>https://{host}.wikipedia.org/wiki/A</base></siteinfo><page>")
    stage = BuildVocab(dump=(str(dump),), output=str(tmp_path / "v"), wordnet="none", variant=variant)
    with pytest.raises(ValueError, match=f"build-vocab: variant: '{variant}' is none of {host}"):
        stage.inputs()


def dump_of(host, *titles):
    base = f"<siteinfo><base>https://{host}/wiki/Main_Page</base></siteinfo>" if host else ""
    pages = "".join(f"<page><title>{title}</title><ns>0</ns></page>" for title in titles)
    return f"<mediawiki>{base}{pages}</mediawiki>".encode()


def test_dumps_of_two_wikis_are_refused_by_name(tmp_path):
    paths = [tmp_path / name for name in ("a.xml", "b.xml", "c.xml.gz")]
    hosts = ["", "en.wikipedia.org", "en.wikipedia.org"]
    for path, host in zip(paths, hosts, strict=True):
        content = dump_of(host, "A")
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert find_site(list(map(str, paths))).host == "en.wikipedia.org"
    paths[2].write_bytes(gzip.compress(dump_of("de.wikipedia.org", "A")))
    told = r"dump must name files of one wiki: .*b\.xml is of en\.wikipedia\.org, .*c\.xml\.gz of de\.wikipedia\.org"
    with pytest.raises(ValueError, match=told):
        stage_identity(build(*paths))


def build(*dumps):
    return BuildVocab(dump=tuple(map(str, dumps)), wordnet="none", output="vocab")


def test_a_dump_that_was_repaired_in_its_middle_is_another_input_and_a_copy_is_not(tmp_path):
    content = dump_of("en.wikipedia.org", *["Title"] * 120_000)
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "copy").mkdir()
    dump, copy = tmp_path / "dump.xml", tmp_path / "copy" / "dump.xml"
    dump.write_bytes(damaged)
    before, [task, *_] = stage_identity(build(dump)), plan_vocab(build(dump)).tasks
    dump.write_bytes(content)
    copy.write_bytes(content)
    os.utime(copy, (1, 1))
    assert len(content) > 5_000_000
    assert stage_identity(build(dump)) == stage_identity(build(copy)) != before
    assert task.paths not in [task.paths for task in plan_vocab(build(dump)).tasks]


def test_dumps_without_an_article_are_refused():
    with pytest.raises(NoArticle, match=r"no article in it \(no page at all\)"):
        check_counted_articles(plan())


@pytest.mark.parametrize(
    ("rows", "counts", "titles", "message"),
    [
        (0, {}, "", "no row of en.wikipedia is in the page-view files"),
        (0, {"view_rows/in": 9}, "titles.parquet", "no title in the page-view files is in the dump"),
        (0, {"view_rows/in": 9}, "", None),
        (1, {"view_rows/in": 9}, "titles.parquet", None),
    ],
    ids=["another wiki", "other titles", "all titles", "one title"],
)
def test_page_views_of_another_wiki_are_refused(tmp_path, rows, counts, titles, message):
    path = str(tmp_path / "views.parquet")
    write_table(path, pa.table([["a"] * rows], schema=SCHEMA), SCHEMA, counts)
    counted = plan(views={"views.bz2": path}, known_titles=titles)
    if message is None:
        check_counted_views(counted)
        return
    with pytest.raises(OtherWiki, match=message):
        check_counted_views(counted)
