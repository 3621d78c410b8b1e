"""Raw indexes ► survivors: the samples that go into shards.

In: the index of every raw tar, and a model's scores if there are any. Out, per group of raw tars, a table of its
survivors (images that are there, no duplicates, and fit their text well enough), in key order (`SURVIVORS`).
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base.arrays import read_array
from pipeline.base.carried_columns import Carried, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.ids import id_words, sorted_order
from pipeline.base.on_worker import OnWorker
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.row_conditions import parse_condition
from pipeline.base.schemas import RAW_INDEX
from pipeline.base.shard_format import UID
from pipeline.base.tables import write_table
from pipeline.sharding.stored_samples import RawGroup, read_group
from pipeline.web.blocklists import Blocklists, Mask

# Of samples with the same image bytes keep one a text, one at all, or all.
Duplicates = Literal["pair", "image", "keep"]

_SHOWN: Final = (
    "key",
    "image_url",
    "text",
    "text_source",
    "page_url",
    "language",
    "source_file",
    "query_ids",
    "kept_for",
    "keep_probability",
    "sha256",
    "phash",
)
_SIZES: Final = ("width", "height", "original_width", "original_height", "mime", "bytes")
_SHOWN_NAMES: Final = {"image_url": "url", "text": "caption"}  # as the JSON of samples has them
_OUR_NAMES: Final = {shown: ours for ours, shown in _SHOWN_NAMES.items()}
_ROW: Final = "row of the group"
SURVIVORS = pa.schema(
    [
        *(RAW_INDEX.field(name) for name in (*_SHOWN, *_SIZES)),
        pa.field("raw", pa.int32(), nullable=False),  # number of the raw tar
        pa.field("offset", pa.int64(), nullable=False),  # of the sample's first tar header in it
        pa.field("length", pa.int64(), nullable=False),  # bytes of all its members, headers and padding
    ]
)
_RECORD = np.dtype([("duplicate_id", ">u8", 2), ("key", ">u8", 2), ("unit", "i4"), ("row", "i4")])


def duplicate_ids(table: pa.Table, *, by_text: bool) -> pa.Array:
    """An id that duplicates share: of the image bytes, and of the text too if `by_text`."""
    digests = table["sha256"].to_pylist()
    texts = table["text"].to_pylist() if by_text else [""] * len(digests)
    ids = [
        hashlib.blake2b(digest + text.encode(), digest_size=16).digest()
        for digest, text in zip(digests, texts, strict=True)
    ]
    return pa.array(ids, pa.binary(16))


def find_losers(records: np.ndarray) -> np.ndarray:
    """Of records that share a duplicate id, all but the one with the smallest key; of one key, the first row.

    Args:
        records: [n] of `_RECORD`, in any order.
    """
    keys = (records["row"], records["unit"], records["key"][:, 1], records["key"][:, 0])
    order = np.lexsort((*keys, *records["duplicate_id"].T[::-1]))
    ordered = records[order]
    same = np.all(ordered["duplicate_id"][1:] == ordered["duplicate_id"][:-1], axis=1)
    return ordered[1:][same]


class Wanted(NamedTuple):
    """Which samples may go into shards at all, told from a row alone.

    Attributes:
        blocked: What is left out.
        where: A condition on the columns of samples, under the names of their JSON; empty: there is none.
        carried: Columns that samples carry.
    """

    blocked: OnWorker[Blocklists]
    where: str = ""
    carried: Carried = ()

    @property
    def columns(self) -> list[str]:
        """Of raw indexes, what must be known of a row; nothing where all are wanted."""
        named = parse_condition(self.where).columns if self.where else ()
        asked = [_OUR_NAMES.get(name, name) for name in named]
        if self.blocked.get():
            asked += ["key", "image_url", "sha256", "phash"] + [UID] * (UID in {field.name for field in self.carried})
        return list(dict.fromkeys(asked))

    def refusals(self, table: pa.Table) -> dict[DropReason, Mask]:
        """Which rows are not wanted, by reason; each has one."""
        blocked = self.blocked.get().rows(table) if self.blocked.get() else np.zeros(table.num_rows, bool)
        refused = np.zeros(table.num_rows, bool)
        if self.where:
            holds = parse_condition(self.where).bind(condition_schema(self.carried))
            rows = pa.array(np.arange(table.num_rows))
            shown = table.rename_columns([_SHOWN_NAMES.get(name, name) for name in table.column_names])
            refused[:] = True
            refused[shown.append_column(_ROW, rows).filter(holds)[_ROW].to_numpy()] = False
        return {DropReason.BLOCKED: blocked, DropReason.REFUSED_ROW: refused & ~blocked}


def condition_schema(carried: Carried) -> pa.Schema:
    """The columns that a condition on samples may name.

    Args:
        carried: Columns that samples carry.
    """
    ours = [SURVIVORS.field(name) for name in (*_SHOWN, *_SIZES)]
    return pa.schema([*(field.with_name(_SHOWN_NAMES.get(field.name, field.name)) for field in ours), *carried])


def pack_samples(
    group: RawGroup, *, duplicates: Duplicates, buckets: int, wanted: Wanted
) -> Iterator[tuple[int, bytes]]:
    """The samples of a group as records of 40 bytes, by bucket of their duplicate ids.

    Args:
        group: Of raw tars.
        duplicates: What is compared.
        buckets: How many there are.
        wanted: Which samples may stay; others win over no duplicate.
    """
    if duplicates == "keep":
        return
    columns = wanted.columns
    table = read_group(group, list(dict.fromkeys(["sha256", "text", *columns])))
    rows = np.arange(table.num_rows)
    if columns:
        rows = np.flatnonzero(~np.logical_or.reduce(list(wanted.refusals(table).values())))
        table = table.take(rows)
    records = np.empty(table.num_rows, _RECORD)
    records["duplicate_id"] = id_words(duplicate_ids(table, by_text=duplicates == "pair"))
    records["key"] = id_words(table["pair_id"])
    records["unit"], records["row"] = group.number, rows
    yield from split_by_bucket(records, records["duplicate_id"][:, 0], buckets)


def find_losing_rows(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows of the losers among all records in a bucket, by group."""
    losers = find_losers(np.frombuffer(b"".join(parts), _RECORD))
    return split_by_unit(losers, losers["row"])


def write_survivors(
    group: RawGroup,
    output: str,
    parts: Iterable[bytes],
    *,
    duplicates: Duplicates,
    min_score: float | None,
    wanted: Wanted,
) -> Counts:
    """Writes the samples of a group that stay (`SURVIVORS`), in key order.

    Args:
        group: Of raw tars.
        output: Where to write.
        parts: The rows that lose to a duplicate.
        duplicates: What was compared.
        min_score: The lowest score that is good enough; None: samples are not chosen by score.
        wanted: Which samples may stay.
    """
    schema = with_carried(SURVIVORS, wanted.carried)
    table = read_group(group, [name for name in schema.names if name != "raw"])
    losers = np.frombuffer(b"".join(parts), np.int32)
    refusals = wanted.refusals(table)
    kept = ~np.logical_or.reduce(list(refusals.values()))
    kept[losers] = False
    reason = DropReason.DUPLICATE_IMAGE if duplicates == "image" else DropReason.DUPLICATE_SAMPLE
    drops: dict[str, int] = {reason: len(losers), **{name: int(rows.sum()) for name, rows in refusals.items()}}
    if min_score is not None:
        found = read_array(group.scores)
        is_unknown, is_low = np.isnan(found), found < np.float32(min_score)
        drops |= {DropReason.NO_SCORE: int((kept & is_unknown).sum()), DropReason.LOW_SCORE: int((kept & is_low).sum())}
        kept &= ~is_unknown & ~is_low
    counts = drop_counts("samples", int(kept.sum()), drops)
    survivors = table.filter(pa.array(kept))
    write_table(output, survivors.take(sorted_order(id_words(survivors["pair_id"]))), schema, counts)
    return counts
