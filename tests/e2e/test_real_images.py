"""Real photographs with real texts, served as a web: tables of URLs and texts ► shards ► a model that retrieves."""

import csv
import html
import json
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from clip_train.__main__ import main as clip_train
from jobs.__main__ import main

PAGE = "<page><title>{}</title><ns>0</ns><revision><text>{}</text></revision></page>\n"
HELD_OUT_EVERY = 10  # of the fashion products
NUM_CAPTIONS = 1000  # of Flickr8k, five an image
STEPS = 120
MARGIN = 3  # times chance: recall@10 of 400 products by chance is 0.025; one that knows colours and kinds is far above


class Pair(NamedTuple):
    name: str
    image: bytes
    text: str


def read_flickr8k(folder: Path):
    rows = list(csv.DictReader((folder / "captions.txt").open(encoding="utf-8")))[:NUM_CAPTIONS]
    return [Pair(row["image"], (folder / "images" / row["image"]).read_bytes(), row["caption"]) for row in rows]


def read_xm3600(folder: Path):
    rows = csv.DictReader((folder / "image_attributions.csv").open(encoding="utf-8"))
    found = [(next((folder / "images").glob(f"{row['ImageID']}.*"), None), row["Title"]) for row in rows]
    return [Pair(path.name, path.read_bytes(), title) for path, title in found if path and title.strip()]


def read_fashion(folder: Path):
    with tarfile.open(folder / "images.tar") as tar:
        images = {member.name: tar.extractfile(member).read() for member in tar}
    rows = csv.DictReader((folder / "products.tsv").open(encoding="utf-8"), delimiter="\t")
    return [Pair(f"{row['product_id']}.jpg", images[f"{row['product_id']}.jpg"], row["title"]) for row in rows]


def serve(loopback, host, pairs):
    """Puts images on the server; returns rows of a table of URLs and texts."""

    def reply(image):
        async def handler(visit):
            await visit.reply(image, Content_Type="image/jpeg")

        return handler

    for pair in pairs:
        loopback.handlers[f"/{host}/{pair.name}"] = reply(pair.image)
    return [{"URL": f"http://{host}.example/{host}/{pair.name}", "TEXT": pair.text} for pair in pairs]


def write_dump(path: Path, rows):
    words = sorted({word for row in rows for word in re.findall(r"[^\W\d_]+", row["TEXT"])})
    prose = "\n\n".join(" ".join(words) for _ in range(100))
    path.write_text(f"<mediawiki>{PAGE.format('Everything', html.escape(prose))}</mediawiki>", encoding="utf-8")


def write_rows(path: Path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def counts_of(folder: Path):
    return json.loads((folder / "_stage.json").read_text())["counts"]


@pytest.mark.slow
def test_a_model_trained_on_real_pairs_finds_held_out_products_far_above_chance(real_data, tmp_path, loopback):
    folder = real_data / "image_text"
    products = read_fashion(folder / "fashion60x80")
    held_out = products[::HELD_OUT_EVERY]
    sets = {
        "flickr": read_flickr8k(folder / "flickr8k"),
        "xm": read_xm3600(folder / "xm3600"),
        "fashion": [p for row, p in enumerate(products) if row % HELD_OUT_EVERY],
    }
    tables = {host: serve(loopback, host, pairs) for host, pairs in sets.items()}
    for host, rows in tables.items():
        write_rows(tmp_path / f"{host}.tsv", rows)
    write_dump(tmp_path / "dump.xml", [row for rows in tables.values() for row in rows])

    data = tmp_path / "data"
    for command, flags in (
        ("build-vocab", ["--dump", str(tmp_path / "dump.xml"), "--wordnet", "none"]),
        ("extract-pairs", ["--input", *(str(tmp_path / f"{host}.tsv") for host in tables)]),
        ("match-pairs", []),
        ("balance-pairs", []),
        (
            "fetch-images",
            [
                *("--connect-to", *loopback.connect_to, "--host-rate", "0", "--contact", "me@lab.example"),
                *("--min-side-px", "32", "--image-size", "64"),
            ],
        ),
        ("write-shards", ["--max-samples", "1000"]),
    ):
        assert main([command, "--data", str(data), "--quiet", "--workers", "1", *flags]) == 0, command
    fetched = counts_of(data / "raw")
    assert fetched["images/kept"] == fetched["images/in"] == counts_of(data / "balanced")["pairs/kept"]
    distinct = {(row["URL"], " ".join(row["TEXT"].split())) for rows in tables.values() for row in rows}
    assert fetched["images/in"] > 0.99 * len(distinct)

    model, table = tmp_path / "model", tmp_path / "held_out.tsv"
    for pair in held_out:
        (tmp_path / pair.name).write_bytes(pair.image)
    write_rows(table, [{"image": pair.name, "caption": pair.text} for pair in held_out])
    trained = ["--shards", str(data / "shards"), "--output", str(model), "--model", "tiny-64"]
    assert clip_train(["train", *trained, "--steps", str(STEPS), "--warmup-steps", "20"]) == 0
    found = tmp_path / "recall.json"
    asked = ["--checkpoint", str(model), "--data", str(table), "--json", str(found)]
    assert clip_train(["evaluate", "retrieval", *asked]) == 0
    recall = json.loads(found.read_text())
    chance = 10 / recall["num_images"]
    assert recall["text_to_image"][2] > MARGIN * chance, recall
    assert recall["image_to_text"][2] > MARGIN * chance, recall
