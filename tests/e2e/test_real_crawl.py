"""Real crawls, all the way to shards, with images out of the same archives: no network is touched."""

import html
import json
import re
import tarfile
from pathlib import Path

import pytest

from jobs.__main__ import main

PAGE = "<page><title>{}</title><ns>0</ns><revision><text>{}</text></revision></page>\n"


def write_dump(path: Path, texts):
    """A dump whose prose holds every word of some texts often enough to make each a query."""
    words = sorted({word for text in texts for word in re.findall(r"[^\W\d_]+", text)})
    prose = "\n\n".join(" ".join(words) for _ in range(100))
    path.write_text(f"<mediawiki>{PAGE.format('Everything', html.escape(prose))}</mediawiki>", encoding="utf-8")


def crawl_to_shards(folder: Path, archive: Path, texts, *flags, workers=1):
    write_dump(folder / "dump.xml", texts)
    data = ["--data", str(folder / "data"), "--quiet", "--workers", str(workers)]
    for command, own in (
        ("build-vocab", ["--dump", str(folder / "dump.xml"), "--wordnet", "none"]),
        ("extract-pairs", ["--input", str(archive)]),
        ("match-pairs", []),
        ("balance-pairs", []),
        ("fetch-images", ["--from-archive", str(archive), *flags]),
        ("write-shards", []),
    ):
        assert main([command, *data, *own]) == 0, command
    return folder / "data"


def read_samples(shards: Path):
    samples = []
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in members:
            key, _, suffix = name.partition(".")
            if suffix == "json":
                image = next(members[f"{key}.{s}"] for s in ("jpg", "png", "webp") if f"{key}.{s}" in members)
                samples.append((json.loads(members[name]), members[f"{key}.txt"].decode(), image))
    return samples


def counts_of(folder: Path):
    return json.loads((folder / "_stage.json").read_text())["counts"]


def test_every_book_of_the_shop_arrives_with_its_title_and_its_own_bytes(real_data, tmp_path):
    archive = real_data / "warc" / "books.toscrape.warc"
    raw = archive.read_bytes()
    found = re.findall(rb'<img src="([^"]+)" alt="([^"]+)"', raw)
    title_of = {source.decode().rsplit("/", 1)[-1]: html.unescape(alt.decode()) for source, alt in found}
    assert len(title_of) == 20
    data = crawl_to_shards(tmp_path, archive, title_of.values(), "--min-side-px", "1")
    samples = read_samples(data / "shards")
    assert {sample["url"].rsplit("/", 1)[-1]: text for sample, text, _ in samples} == title_of
    assert all(image in raw for _, _, image in samples), "small images are stored byte for byte as they were found"


def test_an_old_crawl_of_many_pages_arrives_without_a_loss(real_data, tmp_path):
    archive = real_data / "warc" / "IAH-20080430204825-00000-blackbook.warc.gz"
    words = [
        "Internet Archive of the a and logo icon image in to for new audio movie texts web search home go live music"
    ]
    data = crawl_to_shards(tmp_path, archive, words, "--min-side-px", "1")
    fetched, packed = counts_of(data / "raw"), counts_of(data / "shards")
    assert fetched["images/in"] == counts_of(data / "balanced")["pairs/kept"]
    assert packed["samples/in"] == fetched["images/kept"] > 0
    assert len(read_samples(data / "shards")) == packed["samples/kept"]


@pytest.mark.parametrize("workers", [2])
def test_the_number_of_workers_does_not_show_in_the_shards(real_data, tmp_path, workers):
    archive = real_data / "warc" / "books.toscrape.warc"
    shards = []
    for name, number in (("one", 1), ("many", workers)):
        (tmp_path / name).mkdir()
        data = crawl_to_shards(tmp_path / name, archive, ["a the of in and"], "--min-side-px", "1", workers=number)
        shards.append({path.name: path.read_bytes() for path in (data / "shards").glob("0*")})
    assert shards[0] == shards[1] != {}
