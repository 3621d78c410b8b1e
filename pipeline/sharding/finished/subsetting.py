"""A finished set of shards ► a finished set of some of its samples: the stage subset.

In: the folder that write-shards or subset left, and what to keep: ids of samples, queries, a condition, scores. No raw
tars are needed: the shards are taken for such, by what their indexes say (`pipeline.sharding.finished.choosing`), and
then all goes as in write-shards. Out: what write-shards leaves, shards of equal size again, in key order; a sample that
stays is the same to the byte.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import read_array, write_array
from pipeline.base.carried_columns import Carried
from pipeline.base.drops import Counts, DropReason, add_counts, drop_counts
from pipeline.base.folders import ShardsFolder, StageFolder
from pipeline.base.lineage import Kinship, Stamp
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.schemas import CUTS
from pipeline.base.tables import read_table
from pipeline.sharding.finished.choosing import (
    Choice,
    QueryColumn,
    QueryList,
    carried_by_shards,
    check_ids,
    choose_samples,
    count_found,
    find_queries,
    read_ids,
)
from pipeline.sharding.selection.exact_duplicates import Duplicates
from pipeline.sharding.selection.near_duplicates import NearDuplicates
from pipeline.sharding.stage import WriteShards
from pipeline.sharding.stored_samples import RawTar
from pipeline.steps import MapUnits, Step

MAKERS: Final = ("write-shards", "subset")


@dataclass(kw_only=True)
class Subset(WriteShards):
    """Writes the samples of finished shards that lists, queries or a condition name as finished shards of their own."""

    name: ClassVar[str] = "subset"
    operand: ClassVar[str] = "shards"

    # What write-shards reads is not read here.
    raw: tuple[str, ...] = ()
    final: str = ""
    balanced: str = ""

    shards: tuple[str, ...] = option((), "Folder of finished shards, one.", under_data="shards", made_by=MAKERS)
    output: str = option("", "Folder to write.", under_data="subset")
    ids: tuple[str, ...] = option(
        (),
        "Only samples with these keys or uids: files .npy of two uint64 each (DataComp) or of texts, or texts, one a "
        "line.",
        identity=False,
        read_here=True,
    )
    queries: str = option(
        "", "Only samples with one of these queries: a text, one a line.", identity=False, read_here=True
    )
    query_column: QueryColumn = option(
        "queries", "Queries that a sample's text holds (queries), or those that selected it (kept_for).", sparse=True
    )
    duplicates: Duplicates = option(
        "keep", "Of samples with the same image bytes keep one a text (pair), one at all (image), or all (keep)."
    )
    near_duplicates: NearDuplicates = option(
        "keep", "Of samples whose pictures are alike keep one a text (pair), one at all (image), or all (keep)."
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if len(self.shards) != 1:
            raise ValueError(f"subset: shards must be one folder, not {', '.join(self.shards) or 'none'}")

    def kin(self) -> list[Kinship]:
        """Nothing: there is one folder."""
        return []

    def _folders(self) -> list[str]:
        return list(self.shards)

    def _sources(self) -> list[str]:
        for path in self.ids:
            check_ids(path)
        if self.queries and not len(self._find_queries().ids):
            raise ValueError(f"subset: queries: none of those in {self.queries} is a query of {self._set.path}")
        return [*self.shards, *self.ids, *([self.queries] if self.queries else [])]

    def stamp(self, path: str) -> Stamp:
        """What an input that is a file is recognised by, and what it is a list of."""
        kind = "ids" if path in self.ids else "queries" if path == self.queries else ""
        stamp = super().stamp(path)
        return {**stamp, "name": f"{kind} {stamp['name']}"} if kind else stamp

    def _find_queries(self) -> QueryList:
        return find_queries(self.queries, self._read_queries())

    @property
    def _set(self) -> ShardsFolder:
        return ShardsFolder(self.shards[0].rstrip("/"))

    def _manifest(self) -> dict[str, Any]:
        try:
            manifest = dict(files.read_json(self._set.manifest))
        except FileNotFoundError:
            raise FileNotFoundError(f"subset: no finished shards in {self._set.path}") from None
        if "layout" in manifest:
            raise ValueError(f"subset: shards: {self._set.path} has the layout {manifest['layout']}, not our own")
        return manifest

    def _carried(self) -> Carried:
        return carried_by_shards(self._set, self._manifest()["shards"])

    def _read_queries(self) -> pa.Table:
        """What the card of the set says of all queries; how they were cut is not known any more."""
        table = read_table(self._set.query_counts).sort_by("query_id")
        columns = {"query_id": table["query_id"], "query": table["query"]}
        columns |= {"count": table["found"], "cut": pa.nulls(table.num_rows, pa.uint64()), "kept": table["balanced"]}
        return pa.table(columns, CUTS)

    def _read_history(self) -> list[dict[str, Any]]:
        """What the card of the set tells, removals included."""
        return list(files.read_json(self._set.funnel))

    def _list_raws(self) -> Generator[Any, Any, tuple[list[RawTar], Counts]]:
        """Chooses; then the shards are the raw tars."""
        working = ShardsFolder(self.output)
        chosen, ids_file = StageFolder(working.working("chosen")), working.working("lists", "ids.npy")
        choice, counts = self._make_choice(ids_file)
        entries: Sequence[dict[str, Any]] = self._manifest()["shards"]
        names = [f"{number:06d}" for number in range(len(entries))]
        tables = [chosen.table(name) for name in names]
        places = {entry["name"]: table for entry, table in zip(entries, tables, strict=True)}
        choose = MapUnits(
            units=entries,
            output_of=lambda entry: places[entry["name"]],
            work=partial(choose_samples, shards=self._set, choice=choice),
        )
        made = yield Step("ChooseSamples", choose)
        if self.ids:
            number = len(read_array(ids_file))
            found = count_found(tables, number)
            counts |= drop_counts("ids", found, {DropReason.NOT_THERE: number - found})
        yield counts
        raws = [
            RawTar(number, self._set.file(*entry["name"].split("/")), table)
            for number, (entry, table) in enumerate(zip(entries, tables, strict=True))
        ]
        return raws, add_counts(counts, *made.values())

    def _make_choice(self, ids_file: str) -> tuple[OnWorker[Choice], Counts]:
        """What is asked for, and how many of the queries there are."""
        counts: Counts = {}
        if self.ids:
            write_array(ids_file, np.unique(np.concatenate([read_ids(path) for path in self.ids])))
        queries = None
        if self.queries:
            found = self._find_queries()
            queries = found.ids
            counts = drop_counts("queries", len(found.ids), {DropReason.NOT_THERE: found.unknown})
        return OnWorker(_open_choice, ids_file if self.ids else "", queries, self.query_column), counts


def _open_choice(ids_file: str, queries: Any, column: QueryColumn) -> Choice:
    return Choice(read_array(ids_file) if ids_file else None, queries, column)
