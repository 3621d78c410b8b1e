"""The generated world: same seed same bytes, held-out combinations nowhere in the crawl, every fault present."""

import bz2
import gzip
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from fastwarc.warc import ArchiveIterator
from PIL import Image

from jobs.demo.world import crawl, faults, wiki
from jobs.demo.world.captions import PLURALS, name_thing
from jobs.demo.world.folder import SIZES, write_world
from jobs.demo.world.scenes import BACKGROUNDS, COLOURS, HELD_OUT, SHAPES
from jobs.demo.world.web import Answer, dump_answers, load_answers

NAMESPACE = "{http://www.mediawiki.org/xml/export-0.11/}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "world"
    write_world(str(folder), "small")
    return folder


@pytest.fixture(scope="module")
def made() -> crawl.Crawl:
    return crawl.make_crawl(Random(1), 240)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path):
    write_world(str(tmp_path), "small")
    assert digests(tmp_path) == digests(world)


def test_another_seed_gives_another_world(world: Path, tmp_path: Path):
    write_world(str(tmp_path), "small", seed=1)
    same = {name for name, digest in digests(tmp_path).items() if digests(world).get(name) == digest}
    assert same == {"holdout/classes.txt", "holdout/templates.txt", "web/answers.json"}


def test_a_whole_world_is_left_alone_and_a_cut_one_is_finished(world: Path, tmp_path: Path):
    write_world(str(tmp_path), "small")
    (tmp_path / "crawl/demo.warc.gz").unlink()
    write_world(str(tmp_path), "small")
    assert not (tmp_path / "crawl/demo.warc.gz").exists()
    (tmp_path / "world.json").unlink()
    write_world(str(tmp_path), "small")
    assert digests(tmp_path) == digests(world)


def test_no_held_out_combination_is_shown_in_the_crawl(made: crawl.Crawl):
    shown = {thing for scene in made.scenes.values() for thing in scene.things}
    assert len(shown) == 48
    assert not shown & set(HELD_OUT)


def test_no_held_out_combination_is_named_in_the_crawl(made: crawl.Crawl):
    words = "|".join(rf"{thing.colour}\W+(?:{thing.shape}|{PLURALS[thing.shape]})" for thing in HELD_OUT)
    for page in made.pages:
        assert not re.search(rf"\b(?:{words})\b", page.html.decode("utf-8", "replace").lower())


def test_the_evaluation_shows_only_held_out_combinations(world: Path):
    classes = (world / "holdout/classes.txt").read_text().splitlines()
    assert classes == [name_thing(thing) for thing in HELD_OUT]
    assert sorted(classes) == sorted(path.name for path in (world / "holdout/classes").iterdir())
    rows = [line.split("\t") for line in (world / "holdout/captions.tsv").read_text().splitlines()[1:]]
    assert len(rows) == SIZES["small"].num_captions
    for image, caption in rows:
        assert (world / "holdout" / image).is_file()
        assert any(name in caption.lower() or plural(name) in caption.lower() for name in classes)


def plural(name: str) -> str:
    colour, shape = name.split()
    return f"{colour} {PLURALS[shape]}"


def test_every_kind_of_fault_is_on_a_page(made: crawl.Crawl):
    html = b"".join(page.html for page in made.pages).decode("utf-8", "replace")
    for fault in faults.list_faults(b"", ""):
        assert f'src="/{fault.name}"' in html
        assert f"{faults.ODD_HOST}/{fault.name}" in made.bodies
    for host in (faults.BUSY_HOST, faults.DOWN_HOST):
        assert any(page.url.startswith(f"http://{host}/") for page in made.pages)
    assert 'src="/private/' in html
    assert crawl.OPT_OUT in html


def test_the_bomb_is_small_in_bytes_and_large_in_pixels(made: crawl.Crawl):
    bomb = made.bodies[f"{faults.ODD_HOST}/bomb.png"]
    assert len(bomb) < 100_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bomb))


def test_the_furniture_of_every_page_is_there(made: crawl.Crawl):
    hosts = {page.url.split("/")[2] for page in made.pages if page.status == 200 and page.mime.startswith("text/html")}
    missing = {host for host in hosts if f"{host}/static/logo.png" not in made.scenes}
    assert missing == {"artist.example"}  # opted out: nobody may ask
    assert "files.school.example/static/avatar.png" in made.scenes


def test_texts_repeat_mislead_and_crowd_the_head(made: crawl.Crawl):
    texts = re.findall(r'alt="([^"]+)"', b"".join(page.html for page in made.pages).decode("utf-8", "replace"))
    counts = Counter(word for text in texts for word in text.lower().split())
    assert counts["stock"] > 40
    assert counts["logo"] > len(made.pages) * 0.9
    assert any(text in texts for text in crawl.FOREIGN_TEXTS)


def test_all_pictures_decode(world: Path):
    with zipfile.ZipFile(world / "web/bodies.zip") as archive:
        names = [name for name in archive.namelist() if "/pictures/" in name or "/p/" in name]
        assert len(names) > SIZES["small"].num_pictures
        for name in names:
            Image.open(io.BytesIO(archive.read(name))).load()


def test_the_web_archive_is_read_back_record_by_record(world: Path):
    with (world / "crawl/demo.warc.gz").open("rb") as file:
        records = [(r.headers["WARC-Type"], r.record_id) for r in ArchiveIterator(file)]
    kinds = Counter(kind for kind, _ in records)
    assert kinds["warcinfo"] == 1
    assert kinds["request"] == kinds["response"] > 30
    assert len({identity for _, identity in records}) == len(records)


def test_index_offsets_point_at_the_streams_of_their_pages(world: Path):
    dump = (world / f"wiki/{wiki.NAME}-pages-articles-multistream.xml.bz2").read_bytes()
    index = bz2.decompress((world / f"wiki/{wiki.NAME}-pages-articles-multistream-index.txt.bz2").read_bytes())
    rows = [line.split(":", 2) for line in index.decode().splitlines()]
    for offset, number, title in rows[:: len(rows) // 7]:
        stream = bz2.BZ2Decompressor().decompress(dump[int(offset) :]).decode()
        assert f"<title>{title}</title>\n" in stream
        assert f"<id>{number}</id>" in stream


def test_the_dump_is_well_formed_and_has_redirects_and_other_namespaces(world: Path):
    root = ET.fromstring(bz2.decompress((world / f"wiki/{wiki.NAME}-pages-articles-multistream.xml.bz2").read_bytes()))
    pages = root.findall(f"{NAMESPACE}page")
    assert {page.findtext(f"{NAMESPACE}ns") for page in pages} == {"0", "1", "10", "14"}
    assert sum(page.find(f"{NAMESPACE}redirect") is not None for page in pages) == 30


def test_prose_has_every_word_of_the_scenes_at_the_real_threshold():
    counts = Counter(wiki.write_prose(Random(2), SIZES["small"].num_articles * 17).lower().replace(".", "").split())
    for word in (*COLOURS, *SHAPES, *BACKGROUNDS, "background", "picture", "stock", "three", "above", "corner"):
        assert counts[word] >= 100, word


def test_markup_words_are_not_in_the_prose():
    prose = wiki.write_prose(Random(2), 500)
    assert not any(word in prose for word in wiki.MARKUP_ONLY)


def test_page_views_have_the_official_columns(world: Path):
    lines = gzip.decompress((world / "wiki/pageviews-20250101-000000.gz").read_bytes()).decode().splitlines()
    assert all(re.fullmatch(r"[a-z.]+ \S+ \d+ 0", line) for line in lines)
    assert any(line.startswith("demo Red_circle ") for line in lines)


def test_answers_survive_their_file():
    answers = {"a.example/x.jpg": Answer(status=301, headers={"Location": "http://b/"}), "b.example/": Answer()}
    content = dump_answers(answers)
    assert load_answers(content) == answers
    assert json.loads(content)["b.example/"] == {"status": 200}
