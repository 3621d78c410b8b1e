"""The tables of the pool that is balanced, and what lots are drawn by, as files that workers open."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.carried_columns import Carried, carried_by
from pipeline.base.drops import Counts
from pipeline.base.folders import MatchedFolder, PairsFolder, RawFolder, folder_digest, raw_units, table_name
from pipeline.base.matched_tables import pair_tables, read_matched
from pipeline.base.table_groups import Rows, TableGroup, group_tables, read_rows, rows_by_table, write_row_lists
from pipeline.base.tables import read_batches

_WEIGHT = "keep_probability"


class PoolTable(NamedTuple):
    """A table of pairs with the queries they hold; a pair may hold none.

    Attributes:
        path: Where it lies.
        name: Of the table that is written for it.
        pairs: For a matched table, its table of pairs; empty: all columns are in one table.
        known: File of the rows to pass over (`pipeline.base.table_groups`); empty: none.
        place: Of the table among those whose rows the file lists.
        balanced: Whether it holds balanced pairs, each of which stands for those of its kind that were not kept.
        companions: File of the rows that stay with their images (`pipeline.balancing.companions`), by `place`; empty:
            none do.
    """

    path: str
    name: str
    pairs: str = ""
    known: str = ""
    place: int = 0
    balanced: bool = False
    companions: str = ""

    def read(self, columns: Sequence[str], *, dictionaries: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The pairs batch by batch, with the column of `pair_weights`; without those that are passed over.

        Args:
            columns: Names.
            dictionaries: Those of them that come as dictionary arrays; none of the queries.
        """
        names = [*dict.fromkeys([*columns, *([_WEIGHT] if self.balanced else [])])]
        batches = (
            read_matched(self.path, self.pairs, names, dictionaries=dictionaries)
            if self.pairs
            else read_batches(self.path, names, dictionaries=dictionaries)
        )
        return without_rows(batches, read_rows(self.known, self.place)) if self.known else batches

    def query_lists(self) -> Iterator[pa.ListArray]:
        """The queries of the pairs, batch by batch."""
        for batch in self.read(["query_ids"]):
            yield batch["query_ids"]


def carried_by_pool(tables: Sequence[PoolTable]) -> Carried:
    """The columns that the pairs of all tables carry: they agree, so the first one tells."""
    return carried_by([[tables[0].pairs or tables[0].path]] if tables else [])


def even_groups(tables: Sequence[PoolTable], num_rows: int) -> list[TableGroup[PoolTable]]:
    """Tables in groups, as if they were of equal sizes: `num_rows` together."""
    each = num_rows // max(1, len(tables))
    return group_tables(tables, [each] * len(tables), name_of=lambda table: table_name(table.name))


def list_of(group: TableGroup[PoolTable], folder: str) -> str:
    """The file in a folder that lists rows of the tables of a group."""
    return files.join(folder, f"{group.name}.rows")


def write_list(group: TableGroup[PoolTable], output: str, packed: Iterable[bytes]) -> Counts:
    """Writes the rows of a group that all buckets found."""
    write_row_lists(output, rows_by_table(b"".join(packed), len(group.tables)))
    return {}


def tables_with_lists(
    tables: Sequence[PoolTable], num_rows: int, field: Literal["known", "companions"], *, folder: str
) -> list[PoolTable]:
    """Tables, in their order, each with the list of its group.

    Args:
        tables: Those of `even_groups`.
        num_rows: As given there.
        field: That takes the file of the list.
        folder: Where the lists are.
    """
    listed: dict[str, PoolTable] = {}
    for group in even_groups(tables, num_rows):
        for place, table in enumerate(group.tables):
            found: dict[str, Any] = {field: list_of(group, folder), "place": place}
            listed[table.path] = table._replace(**found)
    return [listed[table.path] for table in tables]


def without_rows(batches: Iterable[pa.RecordBatch], rows: Rows) -> Iterator[pa.RecordBatch]:
    """The batches of a table without some of its rows, which are sorted.

    >>> batches = [pa.record_batch({"row": [0, 1]}), pa.record_batch({"row": [2, 3]})]
    >>> [batch["row"].to_pylist() for batch in without_rows(batches, np.array([0, 3], np.uint32))]
    [[1], [2]]
    """
    first = 0
    for batch in batches:
        begin, end = np.searchsorted(rows, [first, first + batch.num_rows])
        kept = np.ones(batch.num_rows, np.bool_)
        kept[rows[begin:end].astype(np.int64) - first] = False
        yield batch.filter(pa.array(kept))
        first += batch.num_rows


def pair_weights(pairs: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """How many pairs of its pool each pair stands for: 1 / keep probability if it is a balanced one.

    Source: Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe", J. Am.
    Stat. Assoc. 47, 1952.
    """
    if _WEIGHT not in pairs.schema.names:
        return np.ones(pairs.num_rows)
    return 1 / pairs[_WEIGHT].to_numpy().astype(np.float64)


def whole_tables(paths: Sequence[str]) -> list[PoolTable]:
    """Tables with all their columns, of one folder."""
    return [PoolTable(path, files.basename(path)) for path in paths]


def fetched_tables(raw: Sequence[str]) -> list[PoolTable]:
    """The raw indexes of some folders."""
    return [PoolTable(unit.index_file, files.basename(RawFolder(raw[0]).index(unit.name))) for unit in raw_units(raw)]


def new_names(new: Sequence[PoolTable], earlier: Sequence[PoolTable], *, matched: str) -> list[PoolTable]:
    """New tables under names that those of earlier crawls do not have: the same ones, wherever the folders lie.

    Raises:
        ValueError: When the earlier ones hold them already.
    """
    digest = folder_digest(matched)
    renamed = [table._replace(name=f"{digest}-{table.name}") for table in new]
    if {table.name for table in renamed} & {table.name for table in earlier}:
        raise ValueError(f"matched: {matched} was added to the previous crawls before")
    return renamed


def matched_tables(matched: str, pairs: str) -> list[PoolTable]:
    """The tables of a folder of matched pairs, each with its table in the folder of pairs.

    Raises:
        FileNotFoundError: When a folder is not that of a finished stage.
        OtherPairs: When a table of pairs is missing.
    """
    tables, _ = MatchedFolder(matched).tables, PairsFolder(pairs).tables
    places = zip(tables, pair_tables(tables, pairs), strict=True)
    return [PoolTable(path, files.basename(path), of_pairs) for path, of_pairs in places]
