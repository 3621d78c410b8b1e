"""Matched pairs ► at most `cap` pairs a query, exactly: the stage balance-pairs.

In: matched pairs with the counts per query (match-pairs) and the vocabulary (build-vocab). Out, in one folder: a table
of balanced pairs for each table of matched pairs, under its name; and ``cuts.parquet`` (`CUTS`), what the cap did to
every query.

A query found in more than `cap` pairs selects those for which it draws the smallest lots (`lots`); any
other query selects all its pairs. A pair is kept if a query selects it. No pair is shuffled: only lots just around the
expected cuts are collected, then each table is filtered by the cuts alone.

Source: Radford et al. 2021, section 2.2: up to 20,000 pairs a query.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import files
from pipeline.balancing.lots import (
    LARGEST,
    NO_LOTS,
    Drawing,
    collect_lots,
    hash_queries,
    lot_bounds,
    select_lots,
    take_cuts,
)
from pipeline.drops import Counts, CountUnits, DropReason, LostRows, UnitReport, drop_counts, report_unit
from pipeline.ids import Words
from pipeline.options import option
from pipeline.query_lists import CountQueries, Ints, list_column, read_array, write_array
from pipeline.schemas import BALANCED, CUTS
from pipeline.stages import Shape, Stage, Step, input_tables
from pipeline.tables import open_table_writer, read_batches, read_counts, read_table, write_table

CUTS_NAME = "cuts.parquet"
_NUM_BUCKETS = 256  # groups that queries are collected in


@dataclass(kw_only=True)
class BalancePairs(Stage):
    """Keeps at most `cap` pairs for every query; a pair stays if any of its queries selects it."""

    name: ClassVar[str] = "balance-pairs"

    matched: str = option("", "Folder of matched pairs (match-pairs).", under_data="matched")
    vocab: str = option("", "Folder of the vocabulary (build-vocab).", under_data="vocab")
    output: str = option("", "Folder to write.", under_data="balanced")
    cap: int = option(20_000, "Pairs that a query selects at most (CLIP 2.2).", minimum=1)
    seed: int = option(0, "Another number makes another selection.", minimum=0, maximum=2**63 - 1)

    def inputs(self) -> list[str]:
        """The folders of the matched pairs and of the vocabulary."""
        return [self.matched, self.vocab]

    def steps(self) -> Iterator[Step]:
        """Find the cut of every query, filter table by table, then check that every query got its share."""
        tables = input_tables(self.matched)
        queries = read_table(files.join(self.vocab, "queries.parquet"), ["query"])["query"]
        write_array(self._working_file("query_hashes"), hash_queries(queries))
        cuts_path = files.join(self.output, CUTS_NAME)
        if not files.exists(cuts_path):
            counts = self._read_counts(len(queries))
            cuts = yield from self._find_cuts(tables, counts)
            write_table(cuts_path, cuts_table(queries, counts, cuts, cap=self.cap), CUTS)

        outputs = tuple(files.join(self.output, files.basename(table)) for table in tables)
        keep = KeepSelected(
            stage_name=self.name,
            tables=tables,
            seed=self.seed,
            query_hashes=self._working_file("query_hashes"),
            cuts=cuts_path,
            output=self.output,
        )
        yield Step("KeepSelected", keep, Shape.MAP, outputs)
        kept = self._working_file("kept")
        count = CountQueries(
            stage_name=self.name, tables=outputs, column="kept_for", num_queries=len(queries), output=kept
        )
        yield Step("CountQueries", count, Shape.MAP, (kept,))
        check_kept(read_table(cuts_path), read_array(kept))

    def _find_cuts(self, tables: Sequence[str], counts: Ints) -> Generator[Step, None, Words]:
        """Asks all queries over the cap for their cuts, then again those whose bound was too low."""
        cuts = np.full(len(counts), LARGEST)
        unanswered = np.flatnonzero(counts > self.cap)
        widening = 1
        while unanswered.size:
            bounds = np.zeros(len(counts), np.uint64)
            bounds[unanswered] = lot_bounds(counts[unanswered], cap=self.cap, widening=widening)
            write_array(self._working_file(f"bounds-{widening}"), bounds)
            find = FindCuts(
                stage_name=self.name,
                tables=tables,
                seed=self.seed,
                query_hashes=self._working_file("query_hashes"),
                bounds=self._working_file(f"bounds-{widening}"),
                cap=self.cap,
                output=self._working_file(f"cuts-{widening}"),
            )
            yield Step(f"FindCuts{widening}", find, Shape.SHUFFLE, (find.output,))
            found = read_array(find.output)
            cuts[found["query_id"]] = found["lot"]
            unanswered = np.setdiff1d(unanswered, found["query_id"])
            if (bounds[unanswered] == LARGEST).any():
                raise LostRows(f"{self.matched}: holds fewer pairs of a query than its counts say")
            widening *= 2
        return cuts

    def _read_counts(self, num_queries: int) -> Ints:
        counts = read_array(files.join(self.matched, "counts.npy"))
        if len(counts) != num_queries:
            raise ValueError(
                f"{self.matched} was matched with {len(counts)} queries, but {self.vocab} has {num_queries}"
            )
        return counts

    def _working_file(self, name: str) -> str:
        return files.join(self.output, "_cuts", f"{name}.npy")


@dataclass(kw_only=True, eq=False)
class FindCuts(beam.PTransform):
    """Finds the cuts of queries over the cap; only lots up to their bounds are shuffled, packed.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Tables of matched pairs.
        seed: Of the lots.
        query_hashes: File of the hash of every query.
        bounds: File of the bound of every query, [num_queries] uint64, 0 for those not asked for.
        cap: Which lot is the cut, counted from 1.
        output: File of the cuts found, by query; those of queries whose bound was too low are missing.
    """

    stage_name: str
    tables: Sequence[str]
    seed: int
    query_hashes: str
    bounds: str
    cap: int
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        collect = beam.ParDo(_CollectLots(self.seed, self.query_hashes, self.bounds))
        return (
            root
            | "Tables" >> beam.Create(list(self.tables)).with_output_types(str)
            | "CollectLots" >> collect.with_output_types(tuple[int, bytes])
            | "GroupQueries" >> beam.GroupByKey()
            | "TakeCuts" >> beam.Map(_take_packed_cuts, self.cap).with_output_types(bytes)
            | "AllCuts" >> beam.combiners.ToList()
            | "WriteCuts" >> beam.Map(_write_cuts, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class KeepSelected(beam.PTransform):
    """Writes the balanced pairs of every table.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Tables of matched pairs.
        seed: Of the lots.
        query_hashes: File of the hash of every query.
        cuts: Table of the cuts.
        output: Folder for the tables.
    """

    stage_name: str
    tables: Sequence[str]
    seed: int
    query_hashes: str
    cuts: str
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        keep = beam.ParDo(_KeepTable(self.seed, self.query_hashes, self.cuts, self.output))
        return (
            root
            | "Tables" >> beam.Create(list(self.tables)).with_output_types(str)
            | "KeepTable" >> keep.with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def cuts_table(queries: pa.ChunkedArray, counts: Ints, cuts: Words, *, cap: int) -> pa.Table:
    """What the cap does to every query, as `CUTS`."""
    columns = [
        pa.array(np.arange(len(queries)), pa.int32()),
        queries,
        pa.array(counts),
        pa.array(cuts, mask=cuts == LARGEST),
        pa.array(np.minimum(counts, cap)),
    ]
    return pa.table(columns, schema=CUTS)


def check_kept(cuts: pa.Table, kept: Ints) -> None:
    """Raises `LostRows` unless every query selected as many pairs as its cut says."""
    wanted = cuts["kept"].to_numpy()
    wrong = np.flatnonzero(wanted != kept)
    if wrong.size:
        first = int(wrong[0])
        raise LostRows(
            f"{wrong.size} queries selected other numbers of pairs than they should, "
            f"e.g. {cuts['query'][first].as_py()!r} {kept[first]}, not {wanted[first]}"
        )


def keep_selected(matched: pa.RecordBatch, cuts: Words, drawing: Drawing) -> pa.RecordBatch:
    """The pairs that a query selects, with the ids of those that do."""
    rows, query_ids = select_lots(matched, cuts, drawing)
    lengths = np.bincount(rows, minlength=matched.num_rows)
    kept_for = list_column(lengths[lengths > 0], query_ids)
    return matched.filter(pa.array(lengths > 0)).append_column("kept_for", kept_for)


def keep_table(source: str, target: str, cuts: Words, drawing: Drawing) -> Counts:
    """Writes the balanced pairs of one table of matched pairs.

    Returns:
        Pairs in, kept and dropped, and how many selections keep them.
    """
    num_pairs = num_selections = 0
    with open_table_writer(target, BALANCED) as writer:
        for batch in read_batches(source):
            selected = keep_selected(batch, cuts, drawing)
            writer.write(selected)
            num_pairs += batch.num_rows
            num_selections += len(selected["kept_for"].flatten())
        kept = writer.num_rows
        counts = drop_counts("pairs", kept, {DropReason.OVER_CAP.value: num_pairs - kept})
        writer.counts = counts | {"selections": num_selections}
        return writer.counts


class _CollectLots(beam.DoFn):
    def __init__(self, seed: int, query_hashes: str, bounds: str) -> None:
        self._seed = seed
        self._query_hashes = query_hashes
        self._bounds_path = bounds

    def setup(self) -> None:
        self._drawing = Drawing(seed=self._seed, query_hashes=read_array(self._query_hashes))
        self._bounds = read_array(self._bounds_path)

    def process(self, table: str) -> Iterator[tuple[int, bytes]]:
        batches = read_batches(table, ["pair_id", "query_ids"])
        lots = np.concatenate([NO_LOTS, *(collect_lots(batch, self._bounds, self._drawing) for batch in batches)])
        buckets = lots["query_id"] % _NUM_BUCKETS
        order = np.argsort(buckets, kind="stable")
        present, starts = np.unique(buckets[order], return_index=True)
        for bucket, part in zip(present.tolist(), np.split(lots[order], starts)[1:], strict=True):
            yield bucket, part.tobytes()


class _KeepTable(beam.DoFn):
    def __init__(self, seed: int, query_hashes: str, cuts: str, output: str) -> None:
        self._seed = seed
        self._query_hashes = query_hashes
        self._cuts_path = cuts
        self._output = output

    def setup(self) -> None:
        self._drawing = Drawing(seed=self._seed, query_hashes=read_array(self._query_hashes))
        self._cuts = read_table(self._cuts_path, ["cut"])["cut"].fill_null(int(LARGEST)).to_numpy()

    def process(self, source: str) -> Iterator[UnitReport]:
        name = files.basename(source)
        target = files.join(self._output, name)
        counts = read_counts(target)
        if counts is None:
            counts = keep_table(source, target, self._cuts, self._drawing)
        yield report_unit(name, counts)


def _take_packed_cuts(bucket: tuple[int, Iterable[bytes]], cap: int) -> bytes:
    return take_cuts(np.frombuffer(b"".join(bucket[1]), NO_LOTS.dtype), cap).tobytes()


def _write_cuts(packed: Sequence[bytes], output: str) -> UnitReport:
    write_array(output, np.sort(np.frombuffer(b"".join(packed), NO_LOTS.dtype), order="query_id"))
    return report_unit(files.basename(output), {})
