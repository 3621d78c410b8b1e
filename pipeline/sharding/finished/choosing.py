"""A finished set and lists of samples or queries ► its indexes as those of raw tars, without what was not asked for.

The shards of a finished set are raw tars, for their indexes say where each sample lies. Of each index what is asked for
is written as a `RAW_INDEX`, and so all that write-shards does with raw tars is done with them.

Samples are asked for by *ids*: keys, or uids that samples carry. An id is compared as 128 bits: those that its 32
hexadecimal digits are, or a hash of any other text. Source of the form with two numbers: DataComp, ``resharder.py``.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import load_array, write_array
from pipeline.base.carried_columns import Carried, carried_fields, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.ids import Words, words_column
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import OK_STATUS, RAW_INDEX, SHARD_INDEX
from pipeline.base.shard_format import UID
from pipeline.base.tables import read_schema, read_table, write_table
from pipeline.sharding.selection.verdicts import Mask
from pipeline.sharding.stored_samples import key_words
from pipeline.web.blocklists import uid_text
from vocab.normalize import normalize_text

# By what a list of queries chooses: those that a sample's text holds, or those that selected it.
QueryColumn = Literal["queries", "kept_for"]

# 16 bytes each, which sort as the ids do: zeros at an end, which numpy does not show, sort first all the same.
Ids = npt.NDArray[np.bytes_]

_MOST_HEADER: Final = 1 << 16  # bytes of a .npy before its numbers
_ID: Final = re.compile(r"[0-9a-f]{32}")
_INDEX_NAMES: Final[Mapping[str, str]] = {"image_url": "url", "text": "caption"}  # of raw columns, in a shard's index


class Choice(NamedTuple):
    """What is asked for.

    Attributes:
        ids: [n], sorted, each once; None: all.
        queries: Ids of queries, sorted; None: all.
        column: By which queries.
    """

    ids: Ids | None
    queries: npt.NDArray[np.int32] | None
    column: QueryColumn = "queries"


def read_ids(path: str) -> Ids:
    """The ids of a file, in its order.

    Args:
        path: Of a ``.npy`` of two uint64 an id or of texts, or of a text, an id a line; ``#`` begins a remark.

    Returns:
        [n].

    Raises:
        ValueError: For another file.
    """
    if not path.endswith(".npy"):
        lines = files.read_bytes(path).decode("utf-8-sig").splitlines()
        return ids_of_texts([text for line in lines if (text := re.sub(r"(?:^|\s+)#.*$", "", line).strip())])
    check_ids(path)
    array = np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)
    if array.dtype.kind in "US":
        return ids_of_texts([one.decode() if isinstance(one, bytes) else str(one) for one in array.tolist()])
    halves = [array[name] for name in array.dtype.names] if array.dtype.names else [array[:, 0], array[:, 1]]
    return ids_of_words(np.stack(halves, axis=1))


def check_ids(path: str) -> None:
    """Raises ValueError when a file holds no ids; of a ``.npy`` only its header is read."""
    if not path.endswith(".npy"):
        return
    head = io.BytesIO(files.read_range(path, 0, _MOST_HEADER))
    try:
        version = np.lib.format.read_magic(head)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(head)
    except ValueError as error:
        raise ValueError(f"ids: {path}: {error}") from error
    names = dtype.names or ()
    halves = [dtype[name] for name in names] if len(names) == 2 else [dtype]
    is_text = len(shape) == 1 and dtype.kind in "US"
    has_halves = (len(shape), len(names)) == (1, 2) or (shape[1:], len(names)) == ((2,), 0)
    if not is_text and not (has_halves and all((half.kind, half.itemsize) == ("u", 8) for half in halves)):
        raise ValueError(f"ids: {path}: an array of {dtype} and shape {shape}; an id is two uint64, or a text")


def ids_of_texts(texts: Iterable[str]) -> Ids:
    """Ids of keys and uids: [n].

    >>> ids_of_texts(["0" * 30 + "4A", "0" * 30 + "4a"]).tolist() == [bytes(15) + b"J"] * 2
    True
    """
    return np.frombuffer(b"".join(_id_bytes(text.lower()) for text in texts), "S16")


def ids_of_words(words: Words) -> Ids:
    """Ids of numbers, [n, 2] uint64, high half first: [n]."""
    return np.ascontiguousarray(words.astype(">u8")).view("S16").reshape(-1)


def _id_bytes(text: str) -> bytes:
    if _ID.fullmatch(text):
        return bytes.fromhex(text)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def find_ids(wanted: Ids, ids: Ids) -> tuple[Mask, npt.NDArray[np.int64]]:
    """Which of some rows have an id that is wanted.

    Args:
        wanted: [n], sorted, each once; it may lie in a file, of which little is looked at.
        ids: [rows].

    Returns:
        [rows], whether the id of a row is wanted; the places among the wanted of those that are, each once.

    >>> is_wanted, places = find_ids(np.array([b"b", b"d"], "S16"), np.array([b"d", b"c"], "S16"))
    >>> is_wanted.tolist(), places.tolist()
    ([True, False], [1])
    """
    if not len(wanted):
        return np.zeros(len(ids), bool), np.empty(0, np.int64)
    places = np.searchsorted(wanted, ids)
    is_wanted = wanted[np.minimum(places, len(wanted) - 1)] == ids
    return is_wanted, np.unique(places[is_wanted])


@dataclass(frozen=True)
class QueryList:
    """Queries of a list, among those of a set.

    Attributes:
        ids: Of those that the set knows, sorted.
        unknown: How many others there are.
    """

    ids: npt.NDArray[np.int32]
    unknown: int


def find_queries(path: str, known: pa.Table) -> QueryList:
    """The queries of a list, one a line, as they are in the set or in the form that a vocabulary gives them.

    Args:
        path: Of the list.
        known: Queries of the set: ``query_id`` and ``query``.
    """
    lines = files.read_bytes(path).decode("utf-8-sig").splitlines()
    ids = dict(zip(known["query"].to_pylist(), known["query_id"].to_pylist(), strict=True))
    asked = {text if text in ids else normalize_text(text) for line in lines if (text := line.strip())}
    found = sorted(ids[text] for text in asked if text in ids)
    return QueryList(np.array(found, np.int32), len(asked) - len(found))


def choose_samples(entry: Mapping[str, Any], output: str, *, shards: ShardsFolder, choice: OnWorker[Choice]) -> Counts:
    """Writes what is asked for of a shard's index as a raw index, and beside it which ids were found.

    Args:
        entry: What the manifest says of the shard.
        output: Where to.
        shards: Their folder.
        choice: What is asked for.

    Returns:
        Counts of the samples that are not asked for; others are counted later.
    """
    table, asked = read_table(shards.index(entry["name"])), choice.get()
    is_listed, found = np.ones(table.num_rows, bool), np.empty(0, np.int64)
    if asked.ids is not None:
        is_listed, found = _find_listed(table, asked.ids)
    has_query = is_listed
    if asked.queries is not None:
        has_query = is_listed & _holds_any(table, asked.queries, column=asked.column)
    drops = {DropReason.NOT_LISTED: int((~is_listed).sum()), DropReason.NO_QUERY: int((is_listed & ~has_query).sum())}
    write_array(found_ids(output), found)
    raw = as_raw_index(table.filter(pa.array(has_query)))
    write_table(output, raw, raw.schema)
    return drop_counts("samples", 0, {str(reason): number for reason, number in drops.items()})


def found_ids(output: str) -> str:
    """Where it is said which ids a shard has, by the path of what `choose_samples` wrote."""
    return output.removesuffix(".parquet") + ".npy"


def count_found(outputs: Sequence[str], number: int) -> int:
    """How many of so many ids are in any shard.

    Args:
        outputs: Of `choose_samples`.
        number: Of ids.
    """
    seen = np.zeros(number, bool)
    for output in outputs:
        seen[load_array(found_ids(output))] = True
    return int(seen.sum())


def _find_listed(table: pa.Table, ids: Ids) -> tuple[Mask, npt.NDArray[np.int64]]:
    is_listed, found = find_ids(ids, ids_of_words(key_words(table["key"])))
    if table.schema.field(UID) == SHARD_INDEX.field(UID):
        return is_listed, found  # uids are keys
    by_uid, more = find_ids(ids, ids_of_texts(uid_text(uid) for uid in table[UID].to_pylist()))
    return is_listed | by_uid, np.union1d(found, more)


def _holds_any(table: pa.Table, queries: npt.NDArray[np.int32], *, column: QueryColumn) -> Mask:
    lists = table["query_ids" if column == "queries" else "kept_for"].combine_chunks()
    hits = np.isin(lists.flatten().to_numpy(), queries)
    rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
    return np.bincount(rows[hits], minlength=len(lists)).astype(bool)


def carried_in_shards(schema: pa.Schema) -> Carried:
    """The columns that the samples of a shard's index carry; a ``uid`` that is the key is none.

    Args:
        schema: Of the index.
    """
    has_own = schema.field(UID) == SHARD_INDEX.field(UID)
    return tuple(field for field in carried_fields(schema) if not (has_own and field.name == UID))


def as_raw_index(rows: pa.Table) -> pa.Table:
    """Rows of a shard's index as a `RAW_INDEX`, with what is carried."""
    made: dict[str, Callable[[], pa.Array]] = {
        "pair_id": lambda: words_column(key_words(rows["key"])),
        "status": lambda: pa.array([OK_STATUS] * rows.num_rows, pa.string()),
        "sha256": lambda: pa.array([bytes.fromhex(digest) for digest in rows["sha256"].to_pylist()], pa.binary(32)),
    }
    schema = with_carried(RAW_INDEX, carried_in_shards(rows.schema))
    columns = []
    for field in schema:
        name = _INDEX_NAMES.get(field.name, field.name)
        if field.name in made:
            columns.append(made[field.name]())
        elif name in rows.column_names:
            columns.append(rows[name].cast(field.type))
        else:
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.table(columns, schema)


def carried_by_shards(shards: ShardsFolder, entries: Sequence[Mapping[str, Any]]) -> Carried:
    """The columns that the samples of a set carry.

    Args:
        shards: Its folder.
        entries: What its manifest says of its shards.
    """
    return carried_in_shards(read_schema(shards.index(entries[0]["name"]))) if entries else ()
