"""The data card of a set: its numbers are those of the shards, hostile texts stay texts, what is removed is gone."""

import base64
import hashlib
import html
import importlib.util
import io
import json
import shutil
import sys
import tarfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.ids import pair_id
from pipeline.base.rendering import clean_text
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.shard_format import SAMPLE_JSON_KEYS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.fetching.raw import encode_sample
from pipeline.sharding.stage import WriteShards

NUM_SAMPLES, NUM_SHARDS = 130, 6
LEAST_SCORE = 0.2
HOSTILE = (
    "<script>alert(1)</script>",
    "</figcaption></figure><img src=http://evil.example/x.png onerror=alert(1)>",
    "</title></style><style>*{display:none}</style>",
    "\u202egpj.exe \u2066isolated",
    "[a](javascript:alert(1)) | `code` *b* ![i](http://evil.example/i.png)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; & \"quoted\" 'text'",
    "w" * 400,
    "\u0642\u0637\u0629 \u0639\u0644\u0649 \u0627\u0644\u0633\u062c\u0627\u062f\u0629",
    "\u732b\u5728\u57ab\u5b50\u4e0a" * 30,
    "\U0001f408\u200d\u2b1b cat",
    "nul \x00 and \x1b[31m",
)
QUERIES = ("picture", "<b>bold</b>", "a|b `c` \u202ed")
HOSTS = ("h0.example", "h1.example", ".".join(["a" * 60] * 3) + ".example", "xn--bcher-kva.example")
LONG_LICENSE = "http://licenses.example/" + "by/" * 60 + "<i>"


def picture(number: int) -> bytes:
    """A JPEG file of one colour, which no other sample has."""
    color = tuple(np.random.default_rng(number).integers(0, 256, 3).tolist())
    buffer = io.BytesIO()
    Image.new("RGB", (40 + number % 5 * 60, 30 + number % 3 * 100), color).save(buffer, "JPEG")
    return buffer.getvalue()


def sample(number: int):
    """A row of a raw index, without its place, and the bytes of the sample."""
    url = f"http://{HOSTS[number % len(HOSTS)]}/{number}.jpg?<x>"
    text = HOSTILE[number] if number < len(HOSTILE) else f"picture {number}"
    image, identity = picture(number), pair_id(url, text)
    key, digest = identity.hex(), hashlib.sha256(image).digest()
    with Image.open(io.BytesIO(image)) as opened:
        width, height = opened.size
    sizes = {"width": width, "height": height, "original_width": 2 * width, "original_height": 2 * height}
    row = dict.fromkeys(RAW_INDEX.names) | sizes | {"pair_id": identity, "key": key, "status": "ok", "sha256": digest}
    queries = [0, *([1] if number % 3 == 0 else []), *([2] if number % 10 == 0 else [])]
    row |= {"image_url": url, "text": text, "query_ids": queries, "kept_for": queries, "keep_probability": 1.0}
    row |= {"mime": "image/jpeg", "bytes": len(image), "text_source": "alt" if number % 4 else "title"}
    row |= {"language": "en" if number % 2 else None, "page_url": f"http://p{number % 3}.example/", "source_file": "w"}
    row |= {"LICENSE": LONG_LICENSE if number % 2 else None, "similarity": number / 100}
    told = dict.fromkeys(SAMPLE_JSON_KEYS, "") | sizes
    told |= {"key": key, "uid": key, "url": url, "caption": text, "sha256": digest.hex(), "keep_probability": 1.0}
    told |= {name: row[name] or "" for name in ("text_source", "page_url", "language", "source_file")}
    names = [QUERIES[query] for query in queries]
    told |= {"queries": names, "kept_for": names}
    told |= {name: row[name] for name in ("LICENSE", "similarity")}
    return row, encode_sample(key, image=image, mime="image/jpeg", text=text, provenance=told)


def make_raw(folder: Path, number: int) -> None:
    """Raw tars and balanced pairs, of stages that counted nothing and tell no options."""
    schema = pa.schema([*RAW_INDEX, pa.field("LICENSE", pa.string()), pa.field("similarity", pa.float32())])
    rows, data = [], b""
    for row, members in sorted(map(sample, range(number)), key=lambda made: made[0]["pair_id"]):
        rows.append(row | {"offset": len(data), "length": len(members)})
        data += members
    files.write_bytes_whole(str(folder / "raw" / "raw-00000.tar"), data)
    write_table(str(folder / "raw" / "raw-00000.index.parquet"), pa.Table.from_pylist(rows, schema), schema)
    found = [number, -(-number // 3), -(-number // 10)]
    cuts = {"query_id": [0, 1, 2], "query": QUERIES, "count": [900, *found[1:]], "cut": [None] * 3, "kept": found}
    write_table(str(folder / "balanced" / "cuts.parquet"), pa.table(cuts, CUTS), CUTS)
    for name, stage, before in (("balanced", "balance-pairs", []), ("raw", "fetch-images", [str(folder / "balanced")])):
        close_folder(
            str(folder / name), identity={"stage": stage, "options": {}}, counts={}, outputs=[], made_from=before
        )


def write_shards(folder: Path, output: str, *, workers: int = 1, **options) -> Path:
    stage = WriteShards(
        raw=(str(folder / "raw"),),
        balanced=str(folder / "balanced"),
        output=str(folder / output),
        min_shards=NUM_SHARDS,
        contact="removal@lab.example",
        title="Cats & <b>dogs</b>",
        **options,
    )
    run_stage(stage, workers=workers, quiet=True)
    return folder / output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a set with a card."""
    folder = tmp_path_factory.mktemp("card")
    make_raw(folder, NUM_SAMPLES)
    scores = pa.table(
        {
            "key": [sample(number)[0]["key"] for number in range(NUM_SAMPLES)],
            "clip": pa.array([number / NUM_SAMPLES for number in range(NUM_SAMPLES)], pa.float32()),
        }
    )
    pq.write_table(scores, str(folder / "part.parquet"))
    files.write_json(str(folder / "scores" / "scores.json"), {"identity": {}, "rows": {"part": NUM_SAMPLES}})
    shutil.move(folder / "part.parquet", folder / "scores" / "part.parquet")
    write_shards(folder, "scored", scores=(str(folder / "scores"),), min_score=LEAST_SCORE)
    write_shards(folder, "shards")
    return folder


@pytest.fixture
def shards(made, tmp_path):
    """A copy of the set."""
    return Path(shutil.copytree(made / "shards", tmp_path / "shards"))


class Page(HTMLParser):
    """The elements and texts of a page, which must be closed in order."""

    VOID = frozenset({"meta", "img", "link", "br", "hr", "path", "use", "rect"})

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.text = (folder / "card.html").read_text(encoding="utf-8")
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(self.text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def shows(self, *cells):
        """Whether some texts come one after the other."""
        return any(self.texts[place : place + len(cells)] == list(cells) for place in range(len(self.texts)))

    def pictures(self):
        """The pictures of samples, as bytes."""
        sources = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2]) for source in sources]


def index_of(shards):
    return pa.concat_tables([pq.read_table(path) for path in sorted(shards.glob("0*.parquet"))])


@pytest.fixture(scope="module")
def page(made):
    return Page(made / "shards")


def test_the_cards_numbers_are_those_of_the_manifest_and_the_indexes(made, page):
    shards = made / "shards"
    manifest, index = json.loads((shards / "manifest.json").read_text()), index_of(shards)
    assert manifest["samples"] == index.num_rows == NUM_SAMPLES
    assert page.shows(f"{NUM_SAMPLES}", "pairs of an image and a text", str(len(manifest["shards"])))
    values = read_table(str(shards / "card" / "values.parquet")).to_pylist()
    told = {name: {row["text"]: row["samples"] for row in values if row["name"] == name} for name in ("image host",)}
    hosts = Counter(url.split("/")[2] for url in index["url"].to_pylist())
    assert told["image host"] == hosts
    for host, number in hosts.items():
        assert page.shows(host, str(number), f"{number / NUM_SAMPLES:.1%}".replace("%", " %"))
    languages = Counter(language or "(not known)" for language in index["language"].to_pylist())
    assert all(page.shows(language, str(number)) for language, number in languages.items())
    counted = Counter(query for row in index["kept_for"].to_pylist() for query in row)
    for query_id, query in enumerate(QUERIES):
        row = [clean_text(query), "900" if query_id == 0 else None, None, str(counted[query_id])]
        places = [place for place, text in enumerate(page.texts) if text == row[0]]
        assert any(page.texts[place + 3] == row[3] for place in places)
    sides = np.minimum(index["original_width"].to_numpy(), index["original_height"].to_numpy())
    assert page.shows("shorter side of images as fetched, pixels", f"{NUM_SAMPLES}", str(sides.min()))
    assert page.shows("LICENSE", "samples", "share")
    assert page.shows("similarity", f"{NUM_SAMPLES}", "0")


def test_the_card_tells_of_scores_before_and_after_the_cut(made):
    page = Page(made / "scored")
    left = index_of(made / "scored").num_rows
    assert left < NUM_SAMPLES
    assert page.shows("clip", str(NUM_SAMPLES), str(left), f"{LEAST_SCORE:.3f}")
    assert "score-0" in page.text
    counts = read_table(str(made / "scored" / "card" / "scores.parquet"))
    assert pa.compute.sum(counts["kept"]).as_py() == left
    assert page.shows("write-shards", "samples", str(NUM_SAMPLES), str(left))
    assert "low score" in page.text


def test_samples_are_shown_with_their_own_pictures(made, page):
    index = {row["key"]: row for row in index_of(made / "shards").to_pylist()}
    stored = {}
    for path in sorted((made / "shards").glob("0*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    stored[member.name[:-4]] = tar.extractfile(member).read()
    keys = [text for text in page.texts if text in index]
    pictures = page.pictures()
    assert len(keys) == len(pictures) == page.tags.count("img") > 48
    for key, small in zip(keys, pictures, strict=True):
        with Image.open(io.BytesIO(small)) as one, Image.open(io.BytesIO(stored[key])) as other:
            assert max(one.size) == min(160, max(other.size))
            colors = [np.asarray(image.convert("RGB"), np.int16).mean(axis=(0, 1)) for image in (one, other)]
            assert np.abs(colors[0] - colors[1]).max() < 4
    assert all(page.shows(key, clean_text(index[key]["url"])) for key in keys)


def test_no_text_of_the_web_becomes_anything_but_text(page):
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "nav", "div", "span", "p"),
        *("a", "b", "h1", "h2", "h3", "ul", "li", "code", "pre", "figure", "figcaption", "img", "table", "thead"),
        *("tbody", "tr", "th", "td", "details", "summary", "svg", "g", "path", "defs", "use", "text", "rect"),
        *("clippath", "lineargradient", "stop"),
    }
    assert page.tags.count("style") == 1 + page.tags.count("svg")  # matplotlib has one in each picture
    assert page.tags.count("title") >= 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "srcdoc"]
    links = [value for _, name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(link.startswith(("#", "data:image/jpeg;base64,", "mailto:removal@lab.example")) for link in links)
    shown = [text for text in HOSTILE if clean_text(text).strip() in page.texts]
    assert len(shown) >= 5  # of those that are among the samples
    assert "\u202e" not in page.text and "\x00" not in page.text and "\x1b" not in page.text
    assert "Cats & <b>dogs</b>" in page.texts


def test_the_readme_shows_texts_as_they_are(made):
    text = (made / "shards" / "README.md").read_text()
    front, body = text.split("---\n", 2)[1:]
    assert json.loads(front.splitlines()[0].removeprefix("pretty_name: ")) == "Cats & <b>dogs</b>"
    assert "# Cats \\& \\<b\\>dogs\\</b\\>" in body
    assert "| \\<b\\>bold\\</b\\> |" in body
    assert "\u202e" not in body
    assert "removal@lab.example" in body


def test_one_and_two_workers_give_the_same_card(made, page):
    again = write_shards(made, "again", workers=2)
    assert (again / "card.html").read_text() == page.text
    assert (again / "croissant.json").read_bytes() == (made / "shards" / "croissant.json").read_bytes()
    for path in (made / "shards" / "card").iterdir():
        assert (again / "card" / path.name).read_bytes() == path.read_bytes()


def test_what_is_removed_is_on_no_part_of_the_card(shards, tmp_path, capsys):
    page = Page(shards)
    index = {row["key"]: row for row in index_of(shards).to_pylist()}
    shown = list(dict.fromkeys(text for text in page.texts if text in index))
    gone = shown[::2]
    (tmp_path / "keys").write_text("\n".join(gone))
    flags = ["--keys", str(tmp_path / "keys"), "--removals", str(tmp_path / "removals"), "--workers", "1"]
    assert main(["remove", str(shards), *flags]) == 0
    after = Page(shards)
    before = dict(zip((text for text in page.texts if text in index), page.pictures(), strict=True))
    for key in gone:
        assert key not in after.text
        assert before[key] not in after.pictures()
        assert html.escape(index[key]["url"]) not in after.text
    left = NUM_SAMPLES - len(gone)
    assert after.shows(str(left), "pairs of an image and a text")
    assert f"{len(gone)} samples were removed since the set was made" in after.text
    assert after.tags.count("img") == len([text for text in after.texts if text in index]) > 40
    total = sum(
        row["samples"]
        for row in read_table(str(shards / "card" / "values.parquet")).to_pylist()
        if row["name"] == "image host"
    )
    assert total == left
    capsys.readouterr()
    assert main(["verify", str(shards), "--workers", "1"]) == 0


def test_verify_finds_a_flipped_byte_in_each_file_of_the_card(shards, capsys):
    names = ["README.md", "card.html", "croissant.json", *(f"card/{path.name}" for path in (shards / "card").iterdir())]
    for name in names:
        data = bytearray((shards / name).read_bytes())
        data[len(data) // 2] ^= 1
        (shards / name).write_bytes(data)
    assert main(["verify", str(shards), "--no-decode", "--workers", "1"]) == 1
    text = capsys.readouterr().out
    assert all(f"{name}: sha256" in text for name in names)


def test_verify_finds_digests_of_other_shards_without_a_list_of_files(shards, capsys):
    (shards / "_stage.json").unlink()
    text = (shards / "croissant.json").read_text()
    digest = json.loads((shards / "manifest.json").read_text())["shards"][0]["sha256"]
    (shards / "croissant.json").write_text(text.replace(digest, "0" * 64))
    assert main(["verify", str(shards), "--no-decode", "--workers", "1"]) == 1
    assert "croissant.json: other shards or digests than in the manifest" in capsys.readouterr().out


def test_of_an_empty_set_a_card_is_made(tmp_path):
    make_raw(tmp_path, 0)
    page = Page(write_shards(tmp_path, "shards"))
    assert page.shows("0", "pairs of an image and a text")
    assert "The set is empty." in page.texts
    assert "img" not in page.tags and "svg" not in page.tags
    assert json.loads((tmp_path / "shards" / "croissant.json").read_text())["recordSet"] == []


def test_croissant_names_every_shard_with_its_digest_and_every_column_of_the_indexes(made):
    told = json.loads((made / "shards" / "croissant.json").read_text())
    manifest = json.loads((made / "shards" / "manifest.json").read_text())
    tars = {one["contentUrl"]: one["sha256"] for one in told["distribution"] if one["@type"] == "cr:FileObject"}
    assert tars == {entry["name"]: entry["sha256"] for entry in manifest["shards"]}
    [records] = told["recordSet"]
    fields = {field["name"]: field for field in records["field"]}
    assert fields.keys() == {"image", *index_of(made / "shards").column_names} - {"looks"}  # bytes have no type there
    assert (fields["similarity"]["dataType"], fields["kept_for"]["repeated"]) == ("sc:Float", True)
    ids = [one["@id"] for one in [*told["distribution"], *told["recordSet"], *records["field"]]]
    assert len(ids) == len(set(ids))


def test_mlcroissant_validates_the_set_and_reads_every_sample(made, tmp_path, monkeypatch):
    pytest.importorskip("mlcroissant")
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "mlcroissant"]:
        monkeypatch.delitem(sys.modules, name)  # it reads where its cache is when it is loaded
    mlcroissant = importlib.import_module("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(made / "shards" / "croissant.json"))
    assert not dataset.metadata.issues.errors
    index = {row["key"]: row for row in index_of(made / "shards").to_pylist()}
    read = {record["samples/key"].decode(): record for record in dataset.records("samples")}
    assert read.keys() == index.keys()
    for key, record in read.items():
        assert record["samples/caption"].decode() == index[key]["caption"]
        assert record["samples/image"].size == (index[key]["width"], index[key]["height"])


@pytest.fixture(scope="module")
def browser():
    """The module that shows pages; tests skip where there is no browser."""
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.find_browser():
        pytest.skip("no Chromium")
    return module


@pytest.fixture(scope="module")
def vocabulary_report(tmp_path_factory):
    """The report of a small vocabulary, with a long title."""
    folder = tmp_path_factory.mktemp("vocabulary")
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><base>https://en.wikipedia.org/wiki/M'
    )
    words = " ".join(
        f"{word} interdisciplinary characterization." for word in ("fox", "rabbit", "internationalization")
    )
    title = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch railway station"
    pages = "".join(
        f"<page><title>{name}</title><ns>0</ns><revision><text>{words * 40}</text></revision></page>"
        for name in ("Fox", title)
    )
    (folder / "dump.xml").write_text(f"{head}</base></siteinfo>{pages}</mediawiki>")
    (folder / "views").write_text(f"en Fox 80 0\nen {title.replace(' ', '_')} 8000000 0\n")
    flags = ["--dump", str(folder / "dump.xml"), "--pageviews", str(folder / "views"), "--wordnet", "none", "--quiet"]
    output = folder / "vocab"
    rules = ["--min-word-count", "40", "--min-bigram-count", "40", "--min-pmi", "1", "--workers", "1"]
    assert main(["build-vocab", *flags, *rules, "--output", str(output)]) == 0
    return output / "report.html"


@pytest.mark.parametrize("name", ["card", "vocabulary"])
def test_in_a_browser_pages_fit_and_can_be_read_on_every_screen(browser, made, vocabulary_report, name):
    path = vocabulary_report if name == "vocabulary" else made / "scored" / "card.html"
    looks = [browser.Look(width, scheme) for width in (1280, 700, 390) for scheme in ("light", "dark")]
    for look, measured in zip(looks, browser.measure_page(path, looks), strict=True):
        assert measured["width"] == measured["window"] == look.width, look
        assert (measured["broken"], measured["outside"]) == ([], []), look
        assert (measured["requests"], measured["asked"]) == ([], []), look
        assert measured["shown"] == measured["images"] and measured["pictures"] > 0, look
        assert (measured["images"] > 48) == (name == "card")
        assert measured["contrast"] > 4.5, (look, measured["where"])
        assert (measured["paper"] > 0.5) == (look.scheme == "light"), look
