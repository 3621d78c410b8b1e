"""Made-up inputs of every stage, of any number of rows: what the stage before would have left, small but for the rows.

In: a folder with the `vocab/` and `pairs/` of zipf_pairs.py. Out, beside these: a list of URLs and texts for
extract-pairs; an archive of pictures for fetch-images; raw tars of tiny images for write-shards.
"""

import gzip
import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
from PIL import Image
from sharding import fixed_column, make_looks
from zipf_pairs import write_stage

from pipeline.base import files
from pipeline.base.folders import BalancedFolder, RawFolder
from pipeline.base.schemas import OK_STATUS, RAW_INDEX
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_batches, read_column, read_table, write_table
from pipeline.base.tar import encode_json, encode_member
from pipeline.pixels.looks import LOOKS_BYTES

NUM_PICTURES = 24
PICTURE_PX = (640, 480)
TINY_IMAGE = bytes(range(256)) * 2
RAW_ROWS = 10_000  # of a raw tar, as fetch-images makes them


def write_list(folder: str) -> str:
    """Writes the URLs and texts of `pairs/` as one TSV; gives its path."""
    path = files.join(folder, "list.tsv")
    options = pcsv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with files.write_whole(path) as file:
        for table in files.list_files(files.join(folder, "pairs"), ".parquet"):
            pcsv.write_csv(read_table(table, ["image_url", "text"]), file, options)
    return path


def write_archive(folder: str, path: str) -> float:
    """Writes a WARC that has a picture for every pair of `balanced/`; gives the bytes of a picture, on average."""
    pictures = [draw_picture(seed) for seed in range(NUM_PICTURES)]
    with files.write_whole(path) as file:
        for number, url in enumerate(urls_of(folder)):
            body = pictures[number % NUM_PICTURES]
            http = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
                f"WARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Target-URI: {url}\r\n"
                f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
            )
            file.write(gzip.compress(head.encode() + http + b"\r\n\r\n", 1))
    return sum(map(len, pictures)) / NUM_PICTURES


def urls_of(folder: str) -> Iterator[str]:
    for table in BalancedFolder(files.join(folder, "balanced")).tables:
        yield from read_column(table, "image_url").to_pylist()


def draw_picture(seed: int) -> bytes:
    """A JPEG with as much detail as a photograph has, about 100 kB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(PICTURE_PX)
    noisy = np.asarray(coarse, np.int16) + rng.normal(0, 9, (PICTURE_PX[1], PICTURE_PX[0], 3)).astype(np.int16)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_raw_tars(folder: str, raw_folder: str) -> None:
    """Writes raw tars of tiny images, one for each pair of `balanced/`, and declares the folder finished."""
    raw, balanced, number = RawFolder(raw_folder), files.join(folder, "balanced"), 0
    for table in BalancedFolder(balanced).tables:
        for batch in read_batches(table, ["pair_id", "image_url", "text", "query_ids", "kept_for"], RAW_ROWS):
            write_raw_tar(raw, raw_name(number), batch)
            number += 1
    write_stage(raw.path, "fetch-images", {}, [balanced])


def write_raw_tar(raw: RawFolder, name: str, pairs: pa.RecordBatch) -> None:
    pairs = pairs.sort_by("pair_id")
    keys = [pair_id.hex() for pair_id in pairs["pair_id"].to_pylist()]
    lengths = []
    with files.write_whole(raw.tar(name)) as tar:
        for key, text in zip(keys, pairs["text"].to_pylist(), strict=True):
            members = (("jpg", TINY_IMAGE), ("json", encode_json({"key": key})), ("txt", text.encode()))
            lengths.append(tar.write(b"".join(encode_member(f"{key}.{suffix}", data) for suffix, data in members)))
    ends, rng = np.cumsum(lengths), np.random.default_rng(int(keys[0], 16))
    known = {name: pairs[name] for name in pairs.schema.names} | {
        "key": pa.array(keys),
        "status": pa.repeat(OK_STATUS, len(keys)),
        "offset": pa.array(ends - lengths),
        "length": pa.array(lengths),
        "sha256": pa.array([(key + key).encode()[:32] for key in keys], pa.binary(32)),
        "mime": pa.repeat("image/jpeg", len(keys)),
        "keep_probability": pa.array(np.ones(len(keys), np.float32)),
        "looks": fixed_column(make_looks(rng, len(keys), np.arange(0)).tobytes(), LOOKS_BYTES),
    }
    columns = [known.get(field.name, _filling(field, len(keys))).cast(field.type) for field in RAW_INDEX]
    write_table(raw.index(name), pa.table(columns, schema=RAW_INDEX), RAW_INDEX)


def _filling(field: pa.Field, number: int) -> pa.Array:
    if field.nullable and not pa.types.is_integer(field.type):
        return pa.nulls(number, field.type)
    return pa.array(np.full(number, 640)) if pa.types.is_integer(field.type) else pa.repeat("", number)
