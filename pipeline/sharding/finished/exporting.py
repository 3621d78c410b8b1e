"""A finished set of shards ► a list of its samples without their images, which others can be given.

In: the indexes of the shards, and the queries that the card counts. Out: one table of `LISTED` and of the columns that
samples carry, in the order of the set: as Parquet, in full, or as CSV, where lists are JSON. By such a table
fetch-images fetches the same images again, and checks that they are the same.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import flatten_lists
from pipeline.base.carried_columns import json_column, with_carried
from pipeline.base.folders import ShardsFolder
from pipeline.base.schemas import LISTED, RAW_INDEX, SHARD_INDEX
from pipeline.base.shard_format import FACES_BLURRED, UID
from pipeline.base.tables import open_table_writer, read_schema, read_table
from pipeline.sharding.finished.choosing import carried_in_shards

CSV_SUFFIX: Final = ".csv"
SUFFIXES: Final = (".parquet", CSV_SUFFIX)


def write_list(shards: ShardsFolder, output: str) -> Iterator[int]:
    """Writes the list of a set; gives how many samples each shard has, when it is written.

    Args:
        shards: Folder of the set.
        output: ``.parquet`` or ``.csv``.

    Raises:
        ValueError: For another name.
    """
    if not output.endswith(SUFFIXES):
        raise ValueError(f"output must end with {' or '.join(SUFFIXES)}, not {output!r}")
    entries = files.read_json(shards.manifest)["shards"]
    queries = read_query_strings(shards.query_counts)
    tables = (list_shard(shards.index(entry["name"]), queries) for entry in entries)
    schema = _list_schema(read_schema(shards.index(entries[0]["name"]))) if entries else LISTED
    yield from (_write_csv if output.endswith(CSV_SUFFIX) else _write_parquet)(output, tables, schema)


def read_query_strings(query_counts: str) -> pa.Array:
    """Queries by their ids, empty where there is none, from the table of the card."""
    table = read_table(query_counts, ["query_id", "query"])
    strings = np.full(max(table["query_id"].to_pylist(), default=-1) + 1, "", object)
    strings[table["query_id"].to_numpy()] = table["query"].to_pylist()
    return pa.array(strings.tolist(), pa.string())


def list_shard(index: str, queries: pa.Array) -> pa.Table:
    """The samples of a shard, as a list has them.

    Args:
        index: Of the shard.
        queries: By id.
    """
    table = read_table(index)
    schema = _list_schema(table.schema)
    pair_id = RAW_INDEX.field(0).name  # there where samples are called by other names than the ids of their pairs
    made = {
        "key": table[pair_id if pair_id in table.column_names else "key"],
        "queries": _strings_of(table["query_ids"], queries),
        "kept_for": _strings_of(table["kept_for"], queries),
    }
    return pa.table([made[name] if name in made else table[name] for name in schema.names], schema)


def _list_schema(index: pa.Schema) -> pa.Schema:
    """Of a list, by the columns of an index; a ``uid`` that is carried is in the place of ours.

    How many faces were blurred is not told: in pictures that are fetched again none are.
    """
    carried = tuple(field for field in carried_in_shards(index) if field.name != FACES_BLURRED)
    has_own = index.field(UID) == SHARD_INDEX.field(UID)
    return with_carried(pa.schema([field for field in LISTED if has_own or field.name != UID]), carried)


def _strings_of(lists: pa.ChunkedArray, queries: pa.Array) -> pa.ListArray:
    column = lists.combine_chunks()
    _, ids = flatten_lists(column)
    offsets = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy())])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), queries.take(pa.array(ids)))


def _write_parquet(output: str, tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[int]:
    with open_table_writer(output, schema) as writer:
        for table in tables:
            writer.write(table)
            yield table.num_rows


def _write_csv(output: str, tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[int]:
    import pyarrow.csv

    plain = pa.schema([field if _is_plain(field.type) else pa.field(field.name, pa.string()) for field in schema])
    with files.write_whole(output) as file, pyarrow.csv.CSVWriter(file, plain) as writer:
        for table in tables:
            columns = [
                table[field.name] if _is_plain(field.type) else _as_json(table[field.name]) for field in table.schema
            ]
            writer.write_table(pa.table(columns, plain))
            yield table.num_rows


def _is_plain(type_: pa.DataType) -> bool:
    """Whether CSV has values of a type as they are."""
    return not (pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_))


def _as_json(column: pa.ChunkedArray) -> pa.Array:
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in json_column(column)]
    return pa.array(texts, pa.string())


def fetch_options(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The options by which the images of a set were fetched, of each round; those that decide the bytes.

    Args:
        history: Of the set's ``card/funnel.json``.
    """
    return [dict(entry.get("options", {})) for entry in history if entry["stage"] == "fetch-images"]
