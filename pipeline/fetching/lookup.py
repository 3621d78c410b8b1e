"""Image URLs ► where in web archives their images lie, for more URLs and images than any memory holds.

In: plans of fetch units, and the table of each archive's images (`IMAGE_INDEX`). Out: for every fetch unit its records
(`RECORDS`). A URL is known by a hash of 128 bits. All answers to a URL meet in the bucket of its hash, where the best
is taken (`ANSWERS`): the first image, else the first redirect, else the first refusal, in the order of the archives'
names and of the records in each. Then plans ask the buckets (`ASKED`); what is told to look elsewhere asks the bucket
of the other URL in the next round, up to `MAX_REDIRECTS` times.

An archive's name is that of its file and a digest of its content, so the order in which archives are given, and the
folders they lie in, are of no account.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder, table_name
from pipeline.base.ids import id_words
from pipeline.base.row_messages import read_messages
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_batches, read_column, read_table, write_table
from pipeline.fetching.answers import TAKEN
from pipeline.fetching.grouped_rows import first_rows, gather_rows, hash_buckets, split_rows
from pipeline.fetching.planning import UnitGroup, split_by_unit, write_group
from pipeline.web.archives.records import IMAGE_INDEX, index_images

URL_HASH: Final = pa.binary(16)
_PLACE: Final = (
    pa.field("archive", pa.string(), nullable=False),  # its name
    pa.field("member", pa.string(), nullable=False),  # WARC inside a WACZ; empty otherwise
    pa.field("offset", pa.int64(), nullable=False),
)
ANSWERS: Final = pa.schema(
    [
        pa.field("url", URL_HASH, nullable=False),
        pa.field("location", URL_HASH),  # of the URL that holds the image instead
        pa.field("rank", pa.int8(), nullable=False),  # 0: an image; 1: it lies elsewhere; 2: a refusal
        *_PLACE,
    ]
)
ASKED: Final = pa.schema(
    [
        pa.field("unit", pa.int32(), nullable=False),  # fetch unit that asks
        pa.field("url", URL_HASH, nullable=False),  # what it wants
        pa.field("end", URL_HASH, nullable=False),  # where the redirects of that have led so far
    ]
)
FOUND: Final = pa.schema([*list(ASKED)[:2], ANSWERS.field("location"), *_PLACE])
FOUND_ELSEWHERE: Final = pa.schema([FOUND.field(name) for name in ("unit", "url", "location")])
ROUTED_RECORDS: Final = pa.schema([*list(ASKED)[:2], *_PLACE])
RECORDS: Final = pa.schema([ASKED.field("url"), *_PLACE])  # of a fetch unit, in the order of reading

PACKED_ANSWER_BYTES: Final = 30  # of a row on its way, about
PACKED_ASKED_BYTES: Final = 20
_BUCKET_ROWS: Final = 500_000  # compared in memory


def archive_names(paths: Sequence[str]) -> dict[str, str]:
    """The path of every archive, by its name, sorted; of two with the same content and file name one is enough."""
    stamps = dict(zip(paths, files.each(files.file_stamp, paths), strict=True))
    found = {f"{stamp['name']}-{stamp['digest'][:16]}": path for path, stamp in reversed(stamps.items())}
    return dict(sorted(found.items()))


def index_archive(archive: tuple[str, str], output: str) -> Counts:
    """Writes where the images of an archive, given by name and path, lie; counts them."""
    table = index_images(archive[1])
    counts = {"archived_answers": table.num_rows}
    write_table(output, table, IMAGE_INDEX, counts)
    return counts


def num_buckets(num_rows: int) -> int:
    """In how many buckets so many answers, or URLs that are asked for, are compared."""
    return -(-num_rows // _BUCKET_ROWS) or 1


def hash_urls(urls: pa.Array) -> pa.Array:
    """The hash of every URL; null where there is none."""
    hashes = [None if u is None else hashlib.blake2b(u.encode(), digest_size=16).digest() for u in urls.to_pylist()]
    return pa.array(hashes, URL_HASH)


def route_answers(indexes: Sequence[str], *, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The rows of some image tables by bucket of their URL, as messages of `ANSWERS`."""
    columns = ["canonical_url", "location", "status", "member", "offset"]
    batches = (_answers(batch, table_name(path)) for path in indexes for batch in read_batches(path, columns))
    for rows in gather_rows(batches, ANSWERS):
        yield from split_rows(rows, hash_buckets(id_words(rows["url"]), buckets))


def write_answers(bucket: int, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes the answer to take for each URL of a bucket."""
    order = [(name, "ascending") for name in ("url", "rank", "archive", "member", "offset")]
    write_table(output, first_rows(read_messages(parts, ANSWERS).sort_by(order), "url"), ANSWERS)
    return {}


def ask_for_plans(group: UnitGroup, *, plans: StageFolder, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The URLs in the plans of a group of units, by bucket, as messages of `ASKED`."""
    parts = [pa.record_batch([[], [], []], ASKED)]
    for unit in group.units:
        urls = hash_urls(read_column(plans.table(raw_name(unit)), "image_url").unique())
        parts.append(pa.record_batch([pa.array(np.full(len(urls), unit), pa.int32()), urls, urls], ASKED))
    yield from _split_asked(pa.Table.from_batches(parts), buckets)


def ask_elsewhere(found: str, *, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The URLs that were redirected, by bucket of where to, as messages of `ASKED`."""
    for rows in gather_rows(read_batches(found, ["unit", "url", "location"]), FOUND_ELSEWHERE):
        asked = rows.filter(pc.is_valid(rows["location"])).rename_columns(ASKED.names)
        yield from _split_asked(asked.cast(ASKED), buckets)


def find_answers(bucket: int, output: str, parts: Iterable[bytes], *, answers: StageFolder) -> Counts:
    """Writes what a bucket answers to what it is asked (`FOUND`); counts the redirects among it.

    Args:
        bucket: Its number.
        output: Where that goes.
        parts: Messages of `ASKED`.
        answers: Folder of the tables of all buckets (`ANSWERS`).
    """
    asked = read_messages(parts, ASKED)
    table = read_table(bucket_table(answers, bucket))
    places = pc.index_in(asked["end"], table["url"].combine_chunks())
    is_found = pc.is_valid(places)
    rows = table.take(places.filter(is_found)).set_column(0, ASKED.field("url"), asked["url"].filter(is_found))
    rows = rows.append_column(ASKED.field("unit"), asked["unit"].filter(is_found))
    counts = {"archived_redirects": rows.num_rows - rows["location"].null_count}
    write_table(output, rows.sort_by([("unit", "ascending"), ("url", "ascending")]), FOUND, counts)
    return counts


def route_found(found: str, *, group_size: int) -> Iterator[tuple[int, bytes]]:
    """The records that a bucket found, by group of units, as messages of `ROUTED_RECORDS`."""
    for rows in gather_rows(read_batches(found, FOUND.names), FOUND):
        records = rows.filter(pc.is_null(rows["location"])).select(ROUTED_RECORDS.names)
        yield from split_rows(records, records["unit"].to_numpy() // group_size)


def write_records(group: UnitGroup, output: str, parts: Iterable[bytes], *, records: StageFolder) -> Counts:
    """Writes the records of every unit of a group (`RECORDS`), and last how many there are (`GROUP`)."""
    num_rows: list[int] = []
    for unit, rows in split_by_unit(group, read_messages(parts, ROUTED_RECORDS)):
        order = [(name, "ascending") for name in ("archive", "member", "offset", "url")]
        write_table(records.table(raw_name(unit)), rows.sort_by(order), RECORDS)
        num_rows.append(rows.num_rows)
    write_group(group, output, num_rows, {})
    return {}


def _answers(batch: pa.RecordBatch, archive: str) -> pa.RecordBatch:
    status = batch["status"]
    is_image = pc.or_(pc.is_null(status), pc.is_in(status, pa.array(sorted(TAKEN), status.type)))
    rank = pc.if_else(pc.is_valid(batch["location"]), 1, pc.if_else(is_image, 0, 2)).cast(pa.int8())
    place = [pa.repeat(pa.scalar(archive), batch.num_rows), batch["member"], batch["offset"]]
    return pa.record_batch([hash_urls(batch["canonical_url"]), hash_urls(batch["location"]), rank, *place], ANSWERS)


def _split_asked(asked: pa.Table, buckets: int) -> Iterator[tuple[int, bytes]]:
    yield from split_rows(asked, hash_buckets(id_words(asked["end"]), buckets))


def bucket_table(folder: StageFolder, bucket: int) -> str:
    """The table of a bucket."""
    return folder.table(f"bucket-{bucket:05d}")
