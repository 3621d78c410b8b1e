"""Fetched images ► the exact cap among them: the stage balance-final; and what to fetch next: `TopUpPairs`.

balance-pairs with a yield below 1 selects more pairs of every query than it may keep, the ones with the smallest lots;
fetch-images tries them. Among the images that came, a query again selects the `cap` smallest lots. If so many came,
this is what it would have selected had the images of the whole pool been fetched. If fewer came although the pool
holds more, the query is *short*: a top-up plans its next pairs, in the order of lots, and the final selection is made
again.

In: the balanced folder of the last round, the raw indexes of all rounds. Out, in one folder: for each raw index one
of the rows selected (`RAW_INDEX`), with the queries that keep them; ``cuts.parquet`` (`FINAL_CUTS`); ``rule.json``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.balancing.caps import is_short, keep_shares, next_fetch_caps
from pipeline.balancing.cutting import find_cuts
from pipeline.balancing.keeping import Selection, SelectionFiles, keep_selected
from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import DrawingFile, Source, list_matched, list_sources
from pipeline.balancing.rules import (
    CUTS_NAME,
    Rule,
    cut_words,
    finished_rule,
    read_cuts,
    write_rule,
)
from pipeline.balancing.stage import check_kept, cuts_table, keep_by_cuts
from pipeline.base import files
from pipeline.base.arrays import CountQueries, Ints, list_column, read_array, read_lists, write_array
from pipeline.base.drops import Counts, CountUnits, DropReason, ReportCounts, UnitReport, drop_counts, report_unit
from pipeline.base.ids import Words
from pipeline.base.options import option
from pipeline.base.schemas import CUTS, FINAL_CUTS, MATCHED, PAIRS, RAW_INDEX
from pipeline.base.stage_folder import Shape, Stage, Step, input_tables
from pipeline.base.tables import open_table_writer, read_batches, read_counts, read_table, write_table

_OK_STATUS: Final = "ok"
_INDEX_SUFFIX: Final = ".index.parquet"
_ALIVE = pa.schema([PAIRS.field("pair_id"), *MATCHED])


@dataclass(kw_only=True)
class BalanceFinal(Stage):
    """Keeps at most `cap` pairs for every query among those whose image came (balance-pairs --final)."""

    name: ClassVar[str] = "balance-final"

    balanced: str = option("", "Folder of balanced pairs, of the last round.", under_data="balanced")
    raw: tuple[str, ...] = option((), "Folders of raw tars (fetch-images), of all rounds.", under_data="raw")
    output: str = option("", "Folder to write.", under_data="final")

    def inputs(self) -> list[str]:
        """The balanced folder and the raw folders."""
        return [self.balanced, *self.raw]

    def steps(self) -> Iterator[Step]:
        """Count what is alive, find the cuts among it, filter the indexes, check that every query got its share."""
        rule, frontier = finished_rule(self.balanced), read_cuts(self.balanced)
        folder = files.join(self.output, "_cuts")
        drawing = rule.prepare_drawing(frontier["query"], folder)
        sources = list_sources([path for raw in self.raw for path in input_tables(raw, _INDEX_SUFFIX)])
        fetch_cuts = files.join(folder, "fetch_cuts.npy")
        write_array(fetch_cuts, cut_words(frontier["cut"]))
        living = [Source(files.join(folder, "alive", source.name), source.name) for source in sources]
        outputs = tuple(source.path for source in living)
        find = FindAlive(stage_name=self.name, sources=sources, outputs=outputs, drawing=drawing, cuts=fetch_cuts)
        yield Step("FindAlive", find, Shape.MAP, outputs)
        alive_file = files.join(folder, "alive.npy")
        yield self._count("CountAlive", outputs, "query_ids", frontier.num_rows, alive_file)
        alive = read_array(alive_file)

        cuts_path = files.join(self.output, CUTS_NAME)
        if not files.exists(cuts_path):
            caps = np.full(len(alive), rule.cap)
            cuts = yield from find_cuts(living, alive, caps, drawing=drawing, folder=folder, stage_name=self.name)
            lowest = np.minimum(cuts, read_array(fetch_cuts))
            write_table(cuts_path, final_cuts(frontier, lowest, alive, rule.cap), FINAL_CUTS)
        final = read_table(cuts_path)
        selection = self._selection(final, rule, drawing, folder)
        outputs = tuple(files.join(self.output, source.name) for source in sources)
        keep = KeepFetched(stage_name=self.name, sources=sources, selection=selection, output=self.output)
        yield Step("KeepFetched", keep, Shape.MAP, outputs)
        kept = files.join(folder, "kept.npy")
        yield self._count("CountKept", outputs, "kept_for", final.num_rows, kept)
        check_kept(final, read_array(kept))
        write_rule(self.output, rule)
        yield Step("ReportShort", ReportCounts(self.name, count_short(final, rule.cap)))

    def _count(self, label: str, tables: Sequence[str], column: str, num_queries: int, output: str) -> Step:
        read = partial(read_lists, column=column)
        count = CountQueries(stage_name=self.name, tables=tables, read=read, num_queries=num_queries, output=output)
        return Step(label, count, Shape.MAP, (output,))

    def _selection(self, final: pa.Table, rule: Rule, drawing: DrawingFile, folder: str) -> SelectionFiles:
        cuts, shares = (files.join(folder, f"{name}.npy") for name in ("cuts", "shares"))
        write_array(cuts, cut_words(final["cut"]))
        counts, fetched, alive, kept = (final[name].to_numpy() for name in ("count", "fetched", "alive", "kept"))
        # If links not tried are alive as often as those tried, so many pairs of the pool are.
        write_array(shares, keep_shares(counts * (alive / np.maximum(fetched, 1)), kept))
        return SelectionFiles(drawing, cuts, shares, rule.coordinated)


@dataclass(kw_only=True)
class TopUpPairs(Stage):
    """Plans the next pairs to fetch for queries that came up short of their cap (balance-pairs --top-up)."""

    name: ClassVar[str] = "balance-pairs"

    matched: str = option("", "Folder of matched pairs (match-pairs).", under_data="matched")
    pairs: str = option("", "Folder of the pairs that were matched (extract-pairs).", under_data="pairs")
    final: str = option("", "Folder of the final selection with short queries.", under_data="final")
    output: str = option("", "Folder to write, for fetch-images and the next --final.", under_data="top-up")

    def inputs(self) -> list[str]:
        """The folders of the pairs, of their queries and of the final selection."""
        return [self.matched, self.pairs, self.final]

    def steps(self) -> Iterator[Step]:
        """Find the cuts that bring enough for short queries; keep what they add to the earlier cuts."""
        rule, final = finished_rule(self.final), read_cuts(self.final)
        folder = files.join(self.output, "_cuts")
        drawing = rule.prepare_drawing(final["query"], folder)
        sources = list_matched(self.matched, self.pairs)
        counts, fetched, alive = (final[name].to_numpy() for name in ("count", "fetched", "alive"))
        fetch_cuts = cut_words(final["fetch_cut"])
        cuts_path = files.join(self.output, CUTS_NAME)
        if not files.exists(cuts_path):
            caps = next_fetch_caps(counts, fetched, alive, rule.cap)
            # A query that is not short is not asked: its count passes for its cap.
            asked = np.where(caps > fetched, counts, caps)
            cuts = yield from find_cuts(sources, asked, caps, drawing=drawing, folder=folder, stage_name=self.name)
            cuts = np.where(caps > fetched, cuts, fetch_cuts)
            write_table(cuts_path, cuts_table(final["query"], counts, cuts, caps), CUTS)
        write_rule(self.output, rule)
        yield from keep_by_cuts(self, sources, read_table(cuts_path), rule, drawing, fetched=fetch_cuts)


@dataclass(kw_only=True, eq=False)
class FindAlive(beam.PTransform):
    """Writes for every raw index the pairs with an image, each with the queries that it was fetched for.

    Attributes:
        stage_name: Namespace of the counts.
        sources: The raw indexes.
        outputs: One table (`pair_id`, `query_ids`) an index.
        drawing: What draws lots.
        cuts: File of the cuts of all rounds of fetching.
    """

    stage_name: str
    sources: Sequence[Source]
    outputs: Sequence[str]
    drawing: DrawingFile
    cuts: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Indexes" >> beam.Create(list(zip(self.sources, self.outputs, strict=True)))
            | "FindAlive" >> beam.MapTuple(self._find_table).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )

    def _find_table(self, element: Source, output: str) -> UnitReport:
        source = Source(*element)
        if not files.exists(output):
            drawing, cuts = self.drawing.open(), read_array(self.cuts)
            batches = read_batches(source.path, ["pair_id", "query_ids", "status"])
            write_table(output, (_alive_rows(batch, cuts, drawing) for batch in batches), _ALIVE)
        return report_unit(source.name, {})


@dataclass(kw_only=True, eq=False)
class KeepFetched(beam.PTransform):
    """Writes for every raw index the rows selected.

    Attributes:
        stage_name: Namespace of the counts.
        sources: The raw indexes.
        selection: What selects them.
        output: Folder for one table an index.
    """

    stage_name: str
    sources: Sequence[Source]
    selection: SelectionFiles
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Indexes" >> beam.Create(list(self.sources))
            | "KeepRows" >> beam.Map(self._keep_table).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )

    def _keep_table(self, element: Source) -> UnitReport:
        source = Source(*element)
        target = files.join(self.output, source.name)
        counts = read_counts(target)
        if counts is None:
            counts = keep_fetched(source.path, target, self.selection.open())
        return report_unit(source.name, counts)


def keep_fetched(index: str, target: str, selection: Selection) -> Counts:
    """Writes the rows of a raw index that are selected.

    Returns:
        Pairs in, kept and dropped; those without an image under the reason for it.
    """
    drops: Counter[str] = Counter()
    with open_table_writer(target, RAW_INDEX) as writer:
        for batch in read_batches(index, RAW_INDEX.names):
            drops.update(batch["status"].to_pylist())
            writer.write(keep_selected(batch.filter(pc.equal(batch["status"], _OK_STATUS)), selection).pairs)
        drops[DropReason.OVER_CAP.value] = drops.pop(_OK_STATUS, 0) - writer.num_rows
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
    living = rows.filter(pc.equal(rows["status"], _OK_STATUS))
    numbers, query_ids = select_lots(living, cuts, drawing)
    lists = list_column(np.bincount(numbers, minlength=living.num_rows), query_ids)
    return pa.RecordBatch.from_arrays([living["pair_id"], lists], _ALIVE.names)
