"""One fetch unit: a plan ► a raw tar and its index.

In: the plan of a unit (`PLAN`) and where images come from, the network or archives. Out: ``raw-NNNNN.tar``, the samples
in key order, and ``raw-NNNNN.index.parquet`` (`RAW_INDEX`, a row for every pair of the plan), which is written last:
where it lies, the unit is done. The bytes of both depend on plan and answers alone, not on their order or speed. Where
a unit is written anew, its new index is laid ready in a working folder before the new tar takes the place of the old
one: whoever is killed between the two leaves a tar that has an index all the same.
"""

import contextlib
import io
import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.carried_columns import carried_fields, json_column, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder, raw_tar_of
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import OK_STATUS, PLAN, PROVENANCE, RAW_INDEX
from pipeline.base.shard_format import UID, describe_probability, raw_name, sample_key
from pipeline.base.tables import read_table, write_table
from pipeline.base.tar import END_OF_ARCHIVE
from pipeline.fetching.answers import Fetched, Store
from pipeline.fetching.peer_table import PEER_TABLE, describe_index
from pipeline.fetching.raw import encode_sample
from pipeline.pixels.images import CheckedImage
from pipeline.web.blocklists import NOTHING_LISTED, Blocklists

ImageSource = Callable[[str, Sequence[str], Store], None]  # fetches the distinct URLs of a named unit for the store

KnownSamples = Callable[[int], bytes]  # the members of the sample of a row

_SPOOL_BYTES: Final = 1 << 16  # of a unit's images in memory; what is more goes to a temporary file
_PLAN_COLUMNS: Final = (  # of the index, by where they come from
    "pair_id",
    "image_url",
    "text",
    *PROVENANCE,
    "query_ids",
    "kept_for",
    "keep_probability",
)
WANTED_DIGEST: Final = "sha256"  # of a plan that a list was made: what the image of a row should be, or null
_PLACE_COLUMNS: Final = ("offset", "length")
_IMAGE_COLUMNS: Final = ("sha256", "phash", "looks", "width", "height", "original_width", "original_height", "mime")
_ANSWER_COLUMNS: Final = ("http_status",)
_UNFIT: Final = frozenset(  # what the image itself was at fault for
    map(
        str,
        (
            DropReason.UNKNOWN_FORMAT,
            DropReason.BROKEN_IMAGE,
            DropReason.TOO_MANY_PIXELS,
            DropReason.TOO_COSTLY,
            DropReason.TOO_SMALL,
            DropReason.TOO_NARROW,
        ),
    )
)
_KNOWN_COLUMNS: Final = ("image_url", "status", "bytes", *_IMAGE_COLUMNS, *_ANSWER_COLUMNS)


class StoredUrl(NamedTuple):
    """What came of a URL; the image itself, of `length` bytes, lies in the spool at `offset`, or in an earlier tar."""

    fetched: Fetched
    offset: int = 0
    length: int = 0


class Place(NamedTuple):
    """Where a sample lies in the raw tar."""

    offset: int
    length: int


class FetchUnit:
    """A fetch unit under way: its URLs, and what has come of them so far.

    What an earlier run fetched of it is taken over, as it lies in the unit's tar.

    Attributes:
        name: Of the unit.
        urls: What is to be fetched: the distinct URLs that nothing final is known of.

    Args:
        name: Of the unit.
        plan: Its plan (`PLAN`).
        known: What an earlier run made of it; None: nothing.
        again: Statuses that are not final.
        blocked: What is neither asked for nor kept.
        keep_changed: Whether images that are not those that the plan wants by their digests are kept all the same.
    """

    def __init__(
        self,
        name: str,
        plan: pa.Table,
        known: "KnownUnit | None" = None,
        again: Collection[str] = (),
        blocked: Blocklists = NOTHING_LISTED,
        keep_changed: bool = False,
    ) -> None:
        self.name = name
        self._plan = plan
        self._known = known
        self._keep_changed = keep_changed
        self._stored: dict[str, StoredUrl] = known.answers(again) if known else {}
        self._stored |= dict.fromkeys(_blocked_urls(plan, blocked), StoredUrl(Fetched(DropReason.BLOCKED)))
        self._kept = frozenset(self._stored)
        self.urls: list[str] = [url for url in plan["image_url"].unique().to_pylist() if url not in self._stored]
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115, `write` closes it

    def store(self, url: str, fetched: Fetched) -> None:
        """Keeps what came of a URL until the unit is written."""
        if isinstance(fetched.image, DropReason):
            self._stored[url] = StoredUrl(fetched)
            return
        offset = self._spool.seek(0, io.SEEK_END)
        length = self._spool.write(fetched.image.data)
        self._stored[url] = StoredUrl(fetched._replace(image=fetched.image._replace(data=b"")), offset, length)

    def write(
        self,
        index: str,
        *,
        queries: pa.Array,
        waits: Mapping[str, float] | None = None,
        img2dataset_names: bool = False,
    ) -> Counts:
        """Writes the tar, what there is to tell of it, and last the index.

        Args:
            index: Where the index goes; the tar lies beside it.
            queries: Query strings, by query id.
            waits: Hosts that want to be left alone longer than a run waits, until when (seconds since 1970).
            img2dataset_names: Whether samples are described under img2dataset's names, too.

        Returns:
            Counts of images: one for every row of the plan.
        """
        places: list[Place | None] = []
        stored, changed = self._stored_rows()
        drops = Counter(str(one.fetched.image) for one in stored if isinstance(one.fetched.image, DropReason))
        counts = drop_counts("images", len(stored) - drops.total(), drops) | {"urls": len(self._stored)}
        counts |= {"changed_images": changed} if changed and self._keep_changed else {}
        offset, exif = 0, dict[str, str]()
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._spool)
            known = opened.enter_context(self._known.open()) if self._known and self._kept else None
            tar = opened.enter_context(files.write_whole(raw_tar_of(index)))
            for sample in self._samples(stored, queries, img2dataset_names, known):
                if sample and img2dataset_names:
                    exif.update([_exif_of(sample)])
                length = tar.write(sample)
                places.append(Place(offset, length) if length else None)
                offset += length
            tar.write(END_OF_ARCHIVE)
            table = index_unit(self._plan, stored, places)
            schema = with_carried(RAW_INDEX, carried_fields(self._plan.schema))
            if self._known:
                with files.record_writes():  # in a list of its own: it is none of the unit's files
                    write_table(next_of(index), table, schema, counts)
        files.write_json(stats_of(index), describe_counts(counts))
        if img2dataset_names:
            write_table(peer_table_of(index), describe_index(table, exif=exif, unfit=_UNFIT), PEER_TABLE)
        if waits:
            files.write_json(waits_of(index), waits)
        else:
            files.remove_file(waits_of(index))
        write_table(index, table, schema, counts)
        pa.default_memory_pool().release_unused()  # until the next unit is written, which takes a while
        return counts

    def _stored_rows(self) -> tuple[list[StoredUrl], int]:
        """What came of each row of the plan, and of how many it is another image than the plan wants."""
        stored = [self._stored[url] for url in self._plan["image_url"].to_pylist()]
        if WANTED_DIGEST not in self._plan.column_names:
            return stored, 0
        changed = [
            number
            for number, (one, wanted) in enumerate(zip(stored, self._plan[WANTED_DIGEST].to_pylist(), strict=True))
            if wanted and isinstance(one.fetched.image, CheckedImage) and one.fetched.image.sha256 != wanted
        ]
        for number in changed if not self._keep_changed else ():
            stored[number] = StoredUrl(Fetched(DropReason.CHANGED_IMAGE, stored[number].fetched.http_status))
        return stored, len(changed)

    def _samples(
        self, stored: Sequence[StoredUrl], queries: pa.Array, img2dataset_names: bool, known: KnownSamples | None
    ) -> Iterator[bytes]:
        """The members of each sample, in the order of the plan; empty where there is no image."""
        carried = {field.name: json_column(self._plan[field.name]) for field in carried_fields(self._plan.schema)}
        rows = _with_query_strings(self._plan.select(PLAN.names), queries).to_pylist()
        for number, row in enumerate(rows):
            image = stored[number].fetched.image
            if isinstance(image, DropReason):
                yield b""
            elif row["image_url"] in self._kept and known:
                yield known(number)
            else:
                provenance = describe_sample(row, image, img2dataset_names=img2dataset_names)
                provenance |= {name: values[number] for name, values in carried.items()}
                yield self._encode(row, image, stored[number], provenance)

    def _encode(self, row: dict[str, Any], image: CheckedImage, place: StoredUrl, provenance: dict[str, Any]) -> bytes:
        self._spool.seek(place.offset)
        return encode_sample(
            sample_key(row["pair_id"]),
            image=self._spool.read(place.length),
            mime=image.mime,
            text=row["text"],
            provenance=provenance,
        )


def _blocked_urls(plan: pa.Table, blocked: Blocklists) -> set[str]:
    """The URLs of a plan that are listed, or all of whose samples are."""
    if not blocked:
        return set()
    keys = pa.array(map(sample_key, plan["pair_id"].to_pylist()), pa.string())
    uids = {UID: plan[UID]} if UID in plan.column_names else {}
    hashes = {"sha256": pa.nulls(plan.num_rows, pa.binary(32)), "phash": pa.nulls(plan.num_rows, pa.int64())}
    listed = blocked.rows(pa.table({"key": keys, "image_url": plan["image_url"], **hashes, **uids}))
    wanted = set(plan["image_url"].filter(pa.array(~listed)).to_pylist())
    return set(plan["image_url"].filter(pa.array(listed)).to_pylist()) - wanted


class KnownUnit:
    """A unit as an earlier run left it.

    Args:
        index: Its index (`RAW_INDEX`).
        tar: Path of its tar.
    """

    def __init__(self, index: pa.Table, tar: str) -> None:
        self._index = index
        self._tar = tar

    def answers(self, again: Collection[str]) -> dict[str, StoredUrl]:
        """What came of its URLs, but for those whose status is one of some."""
        rows = self._index.filter(pc.invert(pc.is_in(self._index["status"], pa.array(list(again), pa.string()))))
        # Rows of one URL may differ where a list wants two images of it: what came goes before that it is another.
        ordered = sorted(rows.select(_KNOWN_COLUMNS).to_pylist(), key=lambda row: row["status"] == OK_STATUS)
        return {row["image_url"]: StoredUrl(_fetched_before(row), length=row["bytes"] or 0) for row in ordered}

    @contextmanager
    def open(self) -> Iterator[KnownSamples]:
        """Opens its tar once, for the members of the samples of its rows; those are asked for in order.

        Raises:
            OSError: When the tar was changed since.
        """
        keys, offsets, lengths = (self._index[name].to_pylist() for name in ("key", *_PLACE_COLUMNS))
        with files.open_for_read(self._tar) as tar:

            def read(number: int) -> bytes:
                tar.seek(offsets[number])
                members = tar.read(lengths[number])
                if not members.startswith(keys[number].encode()):
                    raise OSError(
                        f"{self._tar}: no sample {keys[number]} at {offsets[number]}, where its index says it is"
                    )
                return members

            yield read


def read_known(index: str, plan: pa.Table) -> KnownUnit | None:
    """What an earlier run made of a unit; None when there is nothing, or it is not whole.

    Args:
        index: Path of the index.
        plan: The plan it must be of.
    """
    tar = raw_tar_of(index)
    if not files.exists(tar):
        return None
    num_bytes = files.file_size(tar)
    for path in (index, next_of(index)):
        known = read_table(path) if files.exists(path) else None
        if known is not None and known["pair_id"].equals(plan["pair_id"]) and num_bytes == _tar_bytes(known):
            return KnownUnit(known, tar)
    return None


def fetch_unit(
    unit: int,
    index: str,
    *,
    plans: StageFolder,
    source: OnWorker[ImageSource],
    queries: OnWorker[pa.Array],
    blocked: OnWorker[Blocklists],
    img2dataset_names: bool = False,
    keep_changed: bool = False,
) -> Counts:
    """Takes the images of a plan from where they lie, and writes them to a tar beside their index.

    Args:
        unit: Its number.
        index: Where the index goes, last.
        plans: Tables of `PLAN`, by the names of units.
        source: Where images come from.
        queries: Query strings, by query id.
        blocked: What is neither looked for nor kept.
        img2dataset_names: Whether samples are described under img2dataset's names, too.
        keep_changed: Whether images that are not those that the plan wants are kept all the same.

    Returns:
        Counts of images: one for every row of the plan.
    """
    name = raw_name(unit)
    one = FetchUnit(name, read_table(plans.table(name)), blocked=blocked.get(), keep_changed=keep_changed)
    source.get()(name, one.urls, one.store)
    return one.write(index, queries=queries.get(), img2dataset_names=img2dataset_names)


def stats_of(index: str) -> str:
    """Where a unit's statistics lie, beside its index."""
    return raw_tar_of(index).removesuffix(".tar") + ".stats.json"


def waits_of(index: str) -> str:
    """Where it is said which hosts of a unit want to be asked later, if there are any."""
    return raw_tar_of(index).removesuffix(".tar") + ".waiting.json"


def peer_table_of(index: str) -> str:
    """Where the table lies that tells of a unit under img2dataset's names, if it was asked for."""
    return raw_tar_of(index).removesuffix(".tar") + ".parquet"


def next_of(index: str) -> str:
    """Where the index of a unit that is written anew is laid ready, until the stage is done."""
    name = files.basename(index)
    return files.join(index.removesuffix(name), "_next", name)


def describe_counts(counts: Counts) -> dict[str, Any]:
    """The statistics of a unit, under the names that img2dataset has for those of a shard.

    >>> describe_counts({"images/in": 3, "images/kept": 1, "images/drop/not_found": 1, "images/drop/broken_image": 1})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'count': 3, 'successes': 1, 'failed_to_download': 1, 'failed_to_resize': 1,
     'status_dict': {'broken_image': 1, 'not_found': 1, 'success': 1}}
    """
    drops = {name.rpartition("/")[2]: n for name, n in counts.items() if name.startswith("images/drop/")}
    unfit = sum(number for name, number in drops.items() if name in _UNFIT)
    kept = counts["images/kept"]
    return {
        "count": counts["images/in"],
        "successes": kept,
        "failed_to_download": sum(drops.values()) - unfit,
        "failed_to_resize": unfit,
        "status_dict": dict(sorted((drops | {"success": kept}).items())),
    }


def index_unit(plan: pa.Table, stored: Sequence[StoredUrl], places: Sequence[Place | None]) -> pa.Table:
    """The index of a unit, row for row with its plan."""
    answers = [one.fetched for one in stored]
    images = [answer.image if isinstance(answer.image, CheckedImage) else None for answer in answers]
    statuses = [str(answer.image) if isinstance(answer.image, DropReason) else OK_STATUS for answer in answers]
    keys = pa.array(map(sample_key, plan["pair_id"].to_pylist()), pa.string())
    carried = [field.name for field in carried_fields(plan.schema)]
    columns = {name: plan[name] for name in (*_PLAN_COLUMNS, *carried)} | {
        "key": keys,
        "status": pa.array(statuses, pa.string()),
        "bytes": pa.array(
            [one.length if image else None for one, image in zip(stored, images, strict=True)], pa.int32()
        ),
    }
    for names, records in ((_PLACE_COLUMNS, places), (_IMAGE_COLUMNS, images), (_ANSWER_COLUMNS, answers)):
        for name in names:
            columns[name] = pa.array([getattr(r, name, None) for r in records], RAW_INDEX.field(name).type)
    return pa.table(columns).select([*RAW_INDEX.names, *carried])


def describe_sample(row: dict[str, Any], image: CheckedImage, *, img2dataset_names: bool = False) -> dict[str, Any]:
    """The provenance of a sample (`shard_format.SAMPLE_JSON_KEYS`).

    Args:
        row: Of the plan, with query strings in place of ids.
        image: As stored; its camera's data are told if it has them.
        img2dataset_names: Whether to tell it under the names that img2dataset has, too.
    """
    described = {
        "key": sample_key(row["pair_id"]),
        UID: sample_key(row["pair_id"]),
        "url": row["image_url"],
        "page_url": row["page_url"] or "",
        "caption": row["text"],
        "text_source": row["text_source"],
        "language": row["language"] or "",
        "source_file": row["source_file"],
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
    if image.exif is not None or img2dataset_names:
        described["exif"] = json.dumps(image.exif or {})
    if img2dataset_names:
        described |= {"status": "success", "error_message": None}
    return described


def _exif_of(members: bytes) -> tuple[str, str]:
    """The key of a sample that tells of itself under img2dataset's names, and what it says of its camera."""
    with tarfile.open(fileobj=io.BytesIO(members), mode="r:") as tar:
        described = next(member for member in tar if member.name.endswith(".json"))
        content = json.load(cast(BinaryIO, tar.extractfile(described)))
    return content["key"], content["exif"]


def _tar_bytes(index: pa.Table) -> int:
    """How long the tar of an index is."""
    ends = pc.max(pc.add(index["offset"], index["length"])).as_py() or 0
    return int(ends) + len(END_OF_ARCHIVE)


def _fetched_before(row: dict[str, Any]) -> Fetched:
    if row["status"] != OK_STATUS:
        return Fetched(DropReason(row["status"]), row["http_status"])
    return Fetched(CheckedImage(data=b"", **{name: row[name] for name in _IMAGE_COLUMNS}), row["http_status"])


def _with_query_strings(plan: pa.Table, queries: pa.Array) -> pa.Table:
    for name in ("query_ids", "kept_for"):
        lists = plan[name].combine_chunks()
        strings = pa.ListArray.from_arrays(lists.offsets, queries.take(lists.values))
        plan = plan.set_column(plan.schema.get_field_index(name), name, strings)
    return plan
