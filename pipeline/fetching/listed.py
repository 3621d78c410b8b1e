"""A list of samples that others made ► what fetch-images plans from, in place of balanced pairs.

In: Parquet tables with the columns of `LISTED`, as export-urls writes them; only ``url`` and ``caption`` must be there.
Out: tables of `BALANCED` with the digest that each image should have, and the queries of the list (`CUTS`), which lie
beside the raw tars: write-shards needs no other folder then. Ids of queries are kept where the list has them, or follow
from the order of their strings.
Source: of a list of addresses as the form of a data set, LAION-5B (2022) and DataComp (2023); of digests in it, against
what has changed since or was put there to be found, Carlini et al., "Poisoning Web-Scale Training Datasets is
Practical" (2023).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.base import files
from pipeline.base.carried_columns import Carried, carried_fields, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.ids import pair_id
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import BALANCED, CUTS, LISTED, RAW_INDEX
from pipeline.base.shard_format import UID
from pipeline.base.tables import read_schema, read_table, write_table
from pipeline.fetching.unit import WANTED_DIGEST
from pipeline.web.urls import canonicalize_url

NEEDED: Final = ("url", "caption")
_DIGEST_FIELD: Final = RAW_INDEX.field(WANTED_DIGEST)
_PART_ROWS: Final = 1 << 16  # which a worker holds at once, about
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TEXT_SOURCE: Final = "caption"  # where a list does not say: its column
_FOUND = pa.schema(
    [
        pa.field("query_id", pa.int32()),  # null where the list has none
        pa.field("query", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
    ]
)


class ListPart(NamedTuple):
    """Some rows of a list.

    Attributes:
        number: Among all parts.
        path: Of the table.
        first: Its first row group.
        end: The row group behind its last.
    """

    number: int
    path: str
    first: int
    end: int

    @property
    def name(self) -> str:
        """Of the files that are made of it."""
        return f"{self.number:05d}"


def list_parts(paths: Sequence[str]) -> list[ListPart]:
    """The parts of some tables, in order."""
    found: list[tuple[str, int, int]] = []
    for path, sizes in zip(paths, files.each(_group_sizes, paths), strict=True):
        rows = np.cumsum([0, *sizes])
        starts = np.unique(np.searchsorted(rows, np.arange(0, max(1, int(rows[-1])), _PART_ROWS), "right") - 1).tolist()
        found += zip([path] * len(starts), starts, [*starts[1:], len(sizes)], strict=True)
    return [ListPart(number, *part) for number, part in enumerate(found)]


def _group_sizes(path: str) -> list[int]:
    with files.open_for_read(path) as file:
        metadata = pq.read_metadata(file)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def check_lists(paths: Sequence[str]) -> Carried:
    """Checks that some tables are lists of one kind.

    Returns:
        The columns that they carry.

    Raises:
        ValueError: When one is no table, lacks a column, has one of another kind, or carries others than the first; it
            names the file.
    """
    if not paths:
        raise ValueError("from-list: no table is given")
    found = dict(zip(paths, files.each(_read_list_schema, paths), strict=True))
    for path, schema in found.items():
        if missing := [name for name in NEEDED if name not in schema.names]:
            raise ValueError(f"from-list: {path}: no column {missing[0]!r} among {', '.join(schema.names)}")
        if wrong := [name for name in LISTED.names if name in schema.names and not _is_as_listed(schema, name)]:
            said, wanted = schema.field(wrong[0]).type, LISTED.field(wrong[0]).type
            raise ValueError(f"from-list: {path}: column {wrong[0]!r} is {said}, and should be {wanted}")
        if carried_by_list(schema) != carried_by_list(found[paths[0]]):
            raise ValueError(f"from-list: {path} carries other columns than {paths[0]}")
    return carried_by_list(found[paths[0]])


def _is_as_listed(schema: pa.Schema, name: str) -> bool:
    """Whether a column of a list has values of the kind that `LISTED` says; a ``uid`` may be of any."""
    return name == UID or _kind_of(schema.field(name).type) == _kind_of(LISTED.field(name).type)


def _kind_of(type_: pa.DataType) -> str:
    """What a column's values are, however they are stored.

    >>> [_kind_of(type_) for type_ in (pa.large_string(), pa.list_(pa.int64()), pa.float64(), pa.binary())]
    ['text', 'list of whole number', 'number', 'binary']
    """
    if pa.types.is_dictionary(type_):
        return _kind_of(type_.value_type)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"list of {_kind_of(type_.value_type)}"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole number"
    return "number" if pa.types.is_floating(type_) else str(type_)


def _read_list_schema(path: str) -> pa.Schema:
    try:
        return read_schema(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"from-list: {path}: no Parquet table ({error})") from error


def carried_by_list(schema: pa.Schema) -> Carried:
    """The columns of a list that are none of ours; a ``uid`` that is the key, as export-urls says it, is none."""
    own_uid = UID in schema.names and schema.field(UID).remove_metadata() == LISTED.field(UID)
    return tuple(field for field in carried_fields(schema) if not (own_uid and field.name == UID))


def read_part(part: ListPart, columns: Sequence[str]) -> pa.Table:
    """Those of some columns that a part of a list has."""
    with files.open_for_read(part.path) as file, pq.ParquetFile(file) as table:
        names = [name for name in columns if name in table.schema_arrow.names]
        return table.read_row_groups(list(range(part.first, part.end)), names, use_threads=False)


def write_queries(part: ListPart, output: str) -> Counts:
    """Writes the queries of a part of a list, how many rows hold each and are kept for it (`_FOUND`)."""
    table = read_part(part, ["queries", "query_ids", "kept_for"])
    counts: dict[str, list[int]] = {}
    ids: dict[str, int | None] = {}
    if "queries" in table.column_names:
        strings = _values(table["queries"])
        for value in pc.value_counts(strings).to_pylist():
            counts[value["values"]] = [value["counts"], 0]
        if "query_ids" in table.column_names:
            ids = _pair_ids(strings, _values(table["query_ids"]), path=part.path)
    if "kept_for" in table.column_names:
        for value in pc.value_counts(_values(table["kept_for"])).to_pylist():
            counts.setdefault(value["values"], [0, 0])[1] = value["counts"]
    rows = [
        {"query_id": ids.get(query), "query": query, "count": count, "kept": kept}
        for query, (count, kept) in sorted(counts.items())
    ]
    write_table(output, pa.Table.from_pylist(rows, _FOUND), _FOUND)
    return {}


def _values(lists: pa.ChunkedArray) -> pa.Array:
    """All elements of a column of lists that are no nulls."""
    return pc.drop_null(pc.list_flatten(lists.combine_chunks()))


def _pair_ids(strings: pa.Array, ids: pa.Array, *, path: str) -> dict[str, int | None]:
    """The id of each query, from both lists of all rows."""
    if len(strings) != len(ids):
        raise ValueError(f"from-list: {path}: queries and query_ids are not of the same length")
    pairs = pa.table({"query": strings, "id": ids.cast(pa.int32())}).group_by(["query", "id"]).aggregate([])
    return dict(zip(pairs["query"].to_pylist(), pairs["id"].to_pylist(), strict=True))


def merge_queries(tables: Sequence[str]) -> pa.Table:
    """The queries of a list (`CUTS`), in the order of their ids.

    Args:
        tables: Of `write_queries`.

    Raises:
        ValueError: When two queries have one id, or one has two.
    """
    counts: dict[str, list[int]] = {}
    ids: dict[str, int] = {}
    for path in tables:
        for row in read_table(path).to_pylist():
            total = counts.setdefault(row["query"], [0, 0])
            total[0], total[1] = total[0] + row["count"], total[1] + row["kept"]
            if row["query_id"] is not None and ids.setdefault(row["query"], row["query_id"]) != row["query_id"]:
                raise ValueError(f"from-list: query {row['query']!r} has two ids")
    if ids and len(ids) < len(counts):
        raise ValueError(f"from-list: query {min(counts.keys() - ids.keys())!r} has no id, and others have")
    ids = ids or {query: number for number, query in enumerate(sorted(counts))}
    if len(set(ids.values())) < len(ids):
        raise ValueError("from-list: two queries have one id")
    rows = [
        {"query_id": number, "query": query, "count": counts[query][0], "cut": None, "kept": counts[query][1]}
        for query, number in sorted(ids.items(), key=lambda item: item[1])
    ]
    return pa.Table.from_pylist(rows, CUTS)


def query_strings(cuts: str) -> pa.Array:
    """Query strings by their ids, from a table of `CUTS`; empty where no query has an id."""
    table = read_table(cuts, ["query_id", "query"])
    found = dict(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))
    return pa.array([found.get(number, "") for number in range(max(found, default=-1) + 1)], pa.string())


def listed_schema(carried: Carried) -> pa.Schema:
    """Of the tables that are planned from: `BALANCED`, what is carried, and `WANTED_DIGEST`."""
    return with_carried(BALANCED, carried).append(_DIGEST_FIELD)


def write_balanced(part: ListPart, output: str, *, ids: OnWorker[dict[str, int]], carried: Carried) -> Counts:
    """Writes the rows of a part of a list that can be fetched as pairs to fetch (`listed_schema`).

    Args:
        part: Of a list.
        output: Where to.
        ids: Of queries, by their strings.
        carried: Columns that the list carries.

    Returns:
        Counts of rows of the list.
    """
    schema = listed_schema(carried)
    table = read_part(part, [*LISTED.names, *(field.name for field in carried)])
    rows, drops = list[dict[str, Any]](), {str(DropReason.BAD_URL): 0, str(DropReason.NO_TEXT): 0}
    kept: list[int] = []
    for number, row in enumerate(
        table.select([name for name in LISTED.names if name in table.column_names]).to_pylist()
    ):
        url = canonicalize_url(row["url"] or "")
        if url is None or not row["caption"]:
            drops[str(DropReason.BAD_URL if url is None else DropReason.NO_TEXT)] += 1
            continue
        rows.append(_balanced_row(row, url, ids.get(), source_file=files.basename(part.path)))
        kept.append(number)
    made = pa.Table.from_pylist(rows, pa.schema([*BALANCED, _DIGEST_FIELD]))
    for field in carried:
        made = made.append_column(field, table[field.name].take(pa.array(kept, pa.int64())).cast(field.type))
    counts = drop_counts("rows", len(rows), drops)
    write_table(output, made.select(schema.names), schema, counts)
    return counts


def _balanced_row(row: Mapping[str, Any], url: str, ids: Mapping[str, int], *, source_file: str) -> dict[str, Any]:
    key, digest = str(row.get("key") or "").lower(), str(row.get("sha256") or "").lower()
    chance = row.get("keep_probability")
    return {
        "pair_id": bytes.fromhex(key) if _KEY.fullmatch(key) else pair_id(url, row["caption"]),
        "image_url": url,
        "text": row["caption"],
        "text_source": row.get("text_source") or _TEXT_SOURCE,
        "page_url": row.get("page_url"),
        "language": row.get("language"),
        "source_file": row.get("source_file") or source_file,
        "query_ids": _ids_of(row.get("queries"), ids),
        "kept_for": _ids_of(row.get("kept_for"), ids),
        "keep_probability": 1.0 if chance is None else chance,
        WANTED_DIGEST: bytes.fromhex(digest) if _DIGEST.fullmatch(digest) else None,
    }


def _ids_of(queries: Sequence[str | None] | None, ids: Mapping[str, int]) -> list[int]:
    """The ids of some queries, sorted, each once."""
    return sorted({ids[query] for query in queries or () if query is not None})


def load_query_ids(cuts: str) -> dict[str, int]:
    """The id of each query, from a table of `CUTS`."""
    table = read_table(cuts, ["query_id", "query"])
    return dict(zip(table["query"].to_pylist(), table["query_id"].to_pylist(), strict=True))
