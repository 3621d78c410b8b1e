"""Fetched images ► the exact cap among them: the stage balance-final.

balance-pairs with a yield below 1 selects more pairs of every query than it may keep, the ones with the smallest lots;
fetch-images tries them. Among the images that came, a query again selects the `cap` smallest lots. If so many came,
this is what it would have selected had the images of the whole pool been fetched. If fewer came although the pool
holds more, the query is *short*: top-up-pairs plans its next pairs, in the order of lots, and the final selection is
made again.

In: the balanced folder of the last round, the raw indexes of all rounds. Out, in one folder: for each raw index one
of the rows selected (`RAW_INDEX`), with the queries that keep them; ``cuts.parquet`` (`FINAL_CUTS`); ``rule.json``.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.balancing.caps import is_short, keep_shares
from pipeline.balancing.cutting import find_cuts
from pipeline.balancing.keeping import Selection, keep_selected, open_selection
from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import PoolTable, fetched_tables
from pipeline.balancing.rules import Rule, cut_words, finished_rule, read_cuts, write_rule
from pipeline.balancing.stage import check_kept, cuts_table
from pipeline.base import files
from pipeline.base.arrays import Ints, list_column, read_array, read_lists, write_array
from pipeline.base.carried_columns import carried_by, carried_fields, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import BalancedFolder, By, RawFolder
from pipeline.base.ids import Words
from pipeline.base.lineage import Kinship
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.schemas import FINAL_CUTS, MATCHED, OK_STATUS, PAIRS, RAW_INDEX
from pipeline.base.tables import open_table_writer, read_batches, read_schema, read_table, write_table
from pipeline.steps import MapUnits, Stage, Step, Steps, count_queries

_ALIVE = pa.schema([PAIRS.field("pair_id"), *MATCHED])


@dataclass(kw_only=True)
class BalanceFinal(Stage):
    """Keeps at most `cap` pairs for every query among those whose image came."""

    name: ClassVar[str] = "balance-final"

    balanced: str = option(
        "",
        "Folder of balanced pairs, of the last round.",
        under_data="balanced",
        made_by=("balance-pairs", "top-up-pairs"),
    )
    raw: tuple[str, ...] = option(
        (), "Folders of raw tars (fetch-images), of all rounds.", under_data="raw", made_by=("fetch-images",)
    )
    output: str = option("", "Folder to write.", under_data="final")

    def inputs(self) -> list[str]:
        """The balanced folder and the raw folders, which must carry the same columns."""
        if (by := BalancedFolder(self.balanced).by) is not By.PAIR:
            raise ValueError(
                f"{self.name}: balanced must hold pairs to cut among, but {self.balanced} was balanced by {by.value}; "
                "write-shards takes its images as they are"
            )
        carried_by([RawFolder(folder).indexes for folder in self.raw])
        return [self.balanced, *self.raw]

    def kin(self) -> list[Kinship]:
        """The images of all rounds come from the balanced pairs, or these from them."""
        return [Kinship(raw, self.balanced) for raw in self.raw]

    def steps(self) -> Steps:
        """Count what is alive, find the cuts among it, filter the indexes, check that every query got its share."""
        rule, frontier = finished_rule(self.balanced), read_cuts(self.balanced)
        folder = BalancedFolder(self.output)
        working = folder.working("cuts")
        drawing = rule.prepare_drawing(frontier["query"], working)
        indexes = fetched_tables(self.raw)
        fetch_cuts = files.join(working, "fetch_cuts.npy")
        write_array(fetch_cuts, cut_words(frontier["cut"]))
        find = MapUnits(
            units=indexes,
            output_of=lambda index: files.join(working, "alive", index.name),
            work=partial(write_alive, drawing=drawing, cuts=OnWorker(read_array, fetch_cuts)),
        )
        alive_file = files.join(working, "alive.npy")
        of_queries = partial(read_lists, column="query_ids")
        count_alive = count_queries(find.outputs, of_queries, frontier.num_rows, output=alive_file)
        yield Step("FindAlive", find), Step("CountAlive", count_alive)
        alive = read_array(alive_file)

        if not files.exists(folder.cuts):
            living = [PoolTable(path, index.name) for path, index in zip(find.outputs, indexes, strict=True)]
            caps = np.full(len(alive), rule.cap)
            cuts = yield from find_cuts(living, alive, caps, drawing=drawing, folder=working)
            lowest = np.minimum(cuts, read_array(fetch_cuts))
            write_table(folder.cuts, final_cuts(frontier, lowest, alive, rule.cap), FINAL_CUTS)
        final = read_table(folder.cuts)
        selection = self._selection(final, rule, drawing, working)
        keep = MapUnits(
            units=indexes,
            output_of=lambda index: folder.file(index.name),
            work=partial(keep_fetched, selection=selection),
        )
        kept = files.join(working, "kept.npy")
        count_kept = count_queries(keep.outputs, partial(read_lists, column="kept_for"), final.num_rows, output=kept)
        yield Step("KeepFetched", keep), Step("CountKept", count_kept)
        check_kept(final, read_array(kept))
        write_rule(self.output, rule)
        yield count_short(final, rule.cap)

    def _selection(self, final: pa.Table, rule: Rule, drawing: OnWorker[Drawing], folder: str) -> OnWorker[Selection]:
        cuts, shares = (files.join(folder, f"{name}.npy") for name in ("cuts", "shares"))
        write_array(cuts, cut_words(final["cut"]))
        counts, fetched, alive, kept = (final[name].to_numpy() for name in ("count", "fetched", "alive", "kept"))
        # If links not tried are alive as often as those tried, so many pairs of the pool are.
        write_array(shares, keep_shares(counts * (alive / np.maximum(fetched, 1)), kept))
        return OnWorker(open_selection, drawing, cuts=cuts, shares=shares, coordinated=rule.coordinated)


def write_alive(index: PoolTable, output: str, *, drawing: OnWorker[Drawing], cuts: OnWorker[Words]) -> Counts:
    """Writes the pairs of a raw index with an image, each with the queries that it was fetched for."""
    batches = read_batches(index.path, ["pair_id", "query_ids", "status"])
    write_table(output, (_alive_rows(batch, cuts.get(), drawing.get()) for batch in batches), _ALIVE)
    return {}


def keep_fetched(index: PoolTable, target: str, *, selection: OnWorker[Selection]) -> Counts:
    """Writes the rows of a raw index that are selected.

    Returns:
        Pairs in, kept and dropped; those without an image under the reason for it.
    """
    drops: Counter[str] = Counter()
    schema = with_carried(RAW_INDEX, carried_fields(read_schema(index.path)))
    with open_table_writer(target, schema) as writer:
        for batch in read_batches(index.path, schema.names):
            drops.update(batch["status"].to_pylist())
            writer.write(keep_selected(batch.filter(pc.equal(batch["status"], OK_STATUS)), selection.get()).pairs)
        drops[DropReason.OVER_CAP.value] = drops.pop(OK_STATUS, 0) - writer.num_rows
        writer.counts = drop_counts("pairs", writer.num_rows, drops)
        return writer.counts


def final_cuts(frontier: pa.Table, cuts: Words, alive: Ints, cap: int) -> pa.Table:
    """What the cap does to every query among the images that came, as `FINAL_CUTS`.

    Args:
        frontier: `CUTS` of the last round of fetching.
        cuts: [num_queries], the largest lot that each query keeps.
        alive: [num_queries], pairs with an image that each query had fetched.
        cap: Pairs that a query may keep.
    """
    table = cuts_table(frontier["query"], frontier["count"].to_numpy(), cuts, np.minimum(alive, cap))
    added = {"fetch_cut": frontier["cut"], "fetched": frontier["kept"], "alive": pa.array(alive)}
    for name, column in added.items():
        table = table.append_column(name, column)
    return table


def count_short(final: pa.Table, cap: int) -> Counts:
    """How many queries came up short although the pool holds more of their pairs, and how many pairs they lack."""
    counts, fetched, alive = (final[name].to_numpy() for name in ("count", "fetched", "alive"))
    short = is_short(counts, fetched, alive, cap)
    return {"short_queries": int(short.sum()), "missing_pairs": int((cap - alive[short]).sum())}


def _alive_rows(rows: pa.RecordBatch, cuts: Words, drawing: Drawing) -> pa.RecordBatch:
    living = rows.filter(pc.equal(rows["status"], OK_STATUS))
    numbers, query_ids = select_lots(living, cuts, drawing)
    lists = list_column(np.bincount(numbers, minlength=living.num_rows), query_ids)
    return pa.RecordBatch.from_arrays([living["pair_id"], lists], _ALIVE.names)
