"""One fetch unit: a plan ► a raw tar and its index.

In: the plan of a unit (`PLAN`) and where images come from, the network or archives. Out: ``raw-NNNNN.tar``, the samples
in key order, and ``raw-NNNNN.index.parquet`` (`RAW_INDEX`, a row for every pair of the plan), which is written last:
where it lies, the unit is done. The bytes of both depend on plan and answers alone, not on their order or speed.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder, raw_tar_of
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import OK_STATUS, RAW_INDEX
from pipeline.base.shard_format import describe_probability, raw_name, sample_key
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import END_OF_ARCHIVE
from pipeline.fetching.answers import Fetched, Store
from pipeline.fetching.images import CheckedImage
from pipeline.fetching.raw import encode_sample

ImageSource = Callable[[str, Sequence[str], Store], None]  # fetches the distinct URLs of a named unit for the store

_SPOOL_BYTES: Final = 64 << 20  # images kept in memory; what is more goes to a temporary file
_PLAN_COLUMNS: Final = (  # of the index, by where they come from
    "pair_id",
    "image_url",
    "text",
    "query_ids",
    "kept_for",
    "keep_probability",
)
_PLACE_COLUMNS: Final = ("offset", "length")
_IMAGE_COLUMNS: Final = ("sha256", "phash", "width", "height", "original_width", "original_height", "mime")
_ANSWER_COLUMNS: Final = ("http_status",)


class StoredUrl(NamedTuple):
    """What came of a URL; the image itself lies in the spool, `offset` and `length` say where."""

    fetched: Fetched
    offset: int = 0
    length: int = 0


class Place(NamedTuple):
    """Where a sample lies in the raw tar."""

    offset: int
    length: int


def fetch_unit(
    unit: int, index: str, *, plans: StageFolder, source: OnWorker[ImageSource], queries: OnWorker[pa.Array]
) -> Counts:
    """Fetches the images of a plan and writes them to a tar beside their index.

    Args:
        unit: Its number.
        index: Where the index goes, last.
        plans: Tables of `PLAN`, by the names of units.
        source: Where images come from.
        queries: Query strings, by query id.

    Returns:
        Counts of images: one for every row of the plan.
    """
    name = raw_name(unit)
    plan = read_table(plans.table(name))
    urls = plan["image_url"].unique().to_pylist()
    stored: dict[str, StoredUrl] = {}
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:

        def store(url: str, fetched: Fetched) -> None:
            stored[url] = _put(spool, fetched)

        source.get()(name, urls, store)
        with files.write_whole(raw_tar_of(index)) as tar:
            places: list[Place | None] = []
            offset = 0
            for sample in _samples(plan, stored, spool, queries.get()):
                length = tar.write(sample)
                places.append(Place(offset, length) if length else None)
                offset += length
            tar.write(END_OF_ARCHIVE)
    answers = [stored[url].fetched for url in plan["image_url"].to_pylist()]
    drops = Counter(str(answer.image) for answer in answers if isinstance(answer.image, DropReason))
    counts = drop_counts("images", len(answers) - drops.total(), drops) | {"urls": len(urls)}
    write_table(index, index_unit(plan, answers, places), RAW_INDEX, counts)
    return counts


def index_unit(plan: pa.Table, answers: Sequence[Fetched], places: Sequence[Place | None]) -> pa.Table:
    """The index of a unit, row for row with its plan."""
    images = [answer.image if isinstance(answer.image, CheckedImage) else None for answer in answers]
    statuses = [str(answer.image) if isinstance(answer.image, DropReason) else OK_STATUS for answer in answers]
    keys = pa.array(map(sample_key, plan["pair_id"].to_pylist()), pa.string())
    columns = {name: plan[name] for name in _PLAN_COLUMNS} | {"key": keys, "status": pa.array(statuses, pa.string())}
    for names, records in ((_PLACE_COLUMNS, places), (_IMAGE_COLUMNS, images), (_ANSWER_COLUMNS, answers)):
        for name in names:
            columns[name] = pa.array([getattr(r, name, None) for r in records], RAW_INDEX.field(name).type)
    return pa.table(columns).select(RAW_INDEX.names)


def describe_sample(row: dict[str, Any], image: CheckedImage) -> dict[str, Any]:
    """The provenance of a sample (`shard_format.SAMPLE_JSON_KEYS`).

    Args:
        row: Of the plan, with query strings in place of ids.
        image: As stored.
    """
    return {
        "pair_id": row["pair_id"].hex(),
        "url": row["image_url"],
        "page_url": row["page_url"],
        "text": row["text"],
        "text_source": row["text_source"],
        "queries": row["query_ids"],
        "kept_for": row["kept_for"],
        "keep_probability": describe_probability(row["keep_probability"]),
        "sha256": image.sha256.hex(),
        "phash": f"{image.phash & 0xFFFF_FFFF_FFFF_FFFF:016x}",
        "width": image.width,
        "height": image.height,
        "original_width": image.original_width,
        "original_height": image.original_height,
    }


def _put(spool: IO[bytes], fetched: Fetched) -> StoredUrl:
    if isinstance(fetched.image, DropReason):
        return StoredUrl(fetched)
    offset = spool.tell()
    length = spool.write(fetched.image.data)
    return StoredUrl(fetched._replace(image=fetched.image._replace(data=b"")), offset, length)


def _samples(plan: pa.Table, stored: Mapping[str, StoredUrl], spool: IO[bytes], queries: pa.Array) -> Iterator[bytes]:
    """The members of each sample of a plan, in its order; empty where there is no image."""
    for row in _with_query_strings(plan, queries).to_pylist():
        found = stored[row["image_url"]]
        image = found.fetched.image
        if isinstance(image, DropReason):
            yield b""
            continue
        spool.seek(found.offset)
        yield encode_sample(
            sample_key(row["pair_id"]),
            image=spool.read(found.length),
            mime=image.mime,
            text=row["text"],
            provenance=describe_sample(row, image),
        )


def _with_query_strings(plan: pa.Table, queries: pa.Array) -> pa.Table:
    for name in ("query_ids", "kept_for"):
        lists = plan[name].combine_chunks()
        strings = pa.ListArray.from_arrays(lists.offsets, queries.take(lists.values))
        plan = plan.set_column(plan.schema.get_field_index(name), name, strings)
    return plan
