"""The same URLs for both programs: a data folder for fetch-images, a table of URLs and captions for img2dataset."""

import os

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.base.folders import BalancedFolder, VocabFolder
from pipeline.base.ids import pair_id
from pipeline.base.schemas import BALANCED
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from vocab.queries import QUERIES

QUERY = "a picture"


def write_inputs(folder: str, urls: list[str]) -> None:
    """Writes ``FOLDER/balanced``, ``FOLDER/vocab`` and ``FOLDER/urls.parquet``."""
    vocab, balanced = VocabFolder(os.path.join(folder, "vocab")), BalancedFolder(os.path.join(folder, "balanced"))
    query = {"query_id": 0, "query": QUERY, "display": QUERY, "sources": ["word"]}
    write_table(vocab.queries, pa.Table.from_pylist([query], QUERIES), QUERIES)
    close_folder(vocab.path, identity={"stage": "build-vocab"}, counts={}, outputs=[], made_from=[])
    pairs = pa.Table.from_pylist([describe_pair(url, caption_of(n)) for n, url in enumerate(urls)], BALANCED)
    write_table(balanced.table("part-00000"), pairs, BALANCED)
    counts = {"pairs/kept": len(urls)}
    identity = {"stage": "balance-pairs"}
    close_folder(balanced.path, identity=identity, counts=counts, outputs=[], made_from=[vocab.path])
    captions = [caption_of(n) for n in range(len(urls))]
    pq.write_table(pa.table({"url": urls, "caption": captions}), urls_table(folder))


def urls_table(folder: str) -> str:
    return os.path.join(folder, "urls.parquet")


def caption_of(number: int) -> str:
    return f"{QUERY} with the number {number}"


def describe_pair(url: str, text: str) -> dict:
    return {
        "pair_id": pair_id(url, text),
        "image_url": url,
        "text": text,
        "text_source": "alt",
        "page_url": "http://page.example/",
        "source_file": "crawl.warc",
        "query_ids": [0],
        "kept_for": [0],
        "keep_probability": 1.0,
    }
