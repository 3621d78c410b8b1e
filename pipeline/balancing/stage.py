"""Matched pairs ► at most `cap` pairs a query, exactly: the stage balance-pairs.

In: pairs (extract-pairs), their queries and the counts of these (match-pairs), the vocabulary (build-vocab); if a new
crawl is added, the balanced folder of those before. Out, in one folder: a table of balanced pairs for each table of
pairs, under its name; ``cuts.parquet`` (`CUTS`), what the cap did to every query; and ``rule.json``.

A query found in more than `cap` pairs selects those for which it draws the smallest lots (`lots`); any
other query selects all its pairs. A pair is kept if a query selects it. No pair is shuffled: only lots just around the
expected cuts are collected, then each table is filtered by the cuts alone.

Source: Radford et al. 2021, section 2.2: up to 20,000 pairs a query.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.balancing.caps import Floats, cap_for_pairs, cap_for_tail_share, fetch_cap, keep_shares
from pipeline.balancing.cutting import find_cuts
from pipeline.balancing.keeping import KeepSelected, SelectionFiles
from pipeline.balancing.known import FindKnown
from pipeline.balancing.pool import DrawingFile, Source, list_matched, list_sources, read_source_lists
from pipeline.balancing.rules import (
    CUTS_NAME,
    Rule,
    cut_column,
    cut_words,
    finished_rule,
    read_cuts,
    read_rule,
    write_rule,
)
from pipeline.balancing.sampling import SamplePairs, read_sample
from pipeline.base import files
from pipeline.base.arrays import CountQueries, Ints, read_array, read_lists, write_array
from pipeline.base.drops import LostRows, ReportCounts
from pipeline.base.ids import Words
from pipeline.base.options import option
from pipeline.base.schemas import CUTS
from pipeline.base.stage_folder import Shape, Stage, Step, input_tables, read_stage
from pipeline.base.tables import count_rows, read_table, write_table

_DEFAULT_CAP = 20_000
_SAMPLED_PAIRS = 2_000_000  # leaves a standard error of about 0.1 % in the number of pairs kept


@dataclass(kw_only=True)
class BalancePairs(Stage):
    """Keeps at most `cap` pairs for every query; a pair stays if any of its queries selects it.

    With --final: the exact cap among the pairs whose image came (see --final --help).
    With --top-up: the pairs to fetch next for queries that came up short (see --top-up --help).
    """

    name: ClassVar[str] = "balance-pairs"

    matched: str = option("", "Folder of matched pairs (match-pairs).", under_data="matched")
    pairs: str = option("", "Folder of the pairs that were matched (extract-pairs).", under_data="pairs")
    vocab: str = option("", "Folder of the vocabulary (build-vocab).", under_data="vocab")
    output: str = option("", "Folder to write.", under_data="balanced")
    cap: int | None = option(None, "Pairs that a query selects at most [20000 as in CLIP 2.2].", minimum=1)
    tail_share: float | None = option(
        None,
        "In place of cap: the smallest cap for which queries found less often hold this share of all matches "
        "(MetaCLIP: 0.06).",
        minimum=0,
        maximum=1,
    )
    target_pairs: int | None = option(
        None, "In place of cap: the largest cap expected to keep at most so many pairs.", minimum=1
    )
    hashes: str = option(
        "independent",
        "Whether each query draws its own lot for a pair, or all the same one, which keeps fewer pairs.",
        choices=("independent", "coordinated"),
    )
    yield_: float = option(
        1.0,
        "Share of the links expected to be alive: selects so many pairs to fetch that `cap` of each query survive; "
        "--final then cuts exactly.",
        minimum=0.01,
        maximum=1,
    )
    previous: str = option(
        "", "Balanced folder of the crawls before; the matched pairs are added to it.", identity=False
    )
    seed: int = option(0, "Another number makes another selection.", minimum=0, maximum=2**63 - 1)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        rules = [name for name in ("cap", "tail_share", "target_pairs") if getattr(self, name) is not None]
        if len(rules) > 1:
            given = " and ".join(name.replace("_", "-") for name in rules)
            raise ValueError(f"{self.name}: give one of cap, tail-share and target-pairs, not {given}")
        if not rules:
            self.cap = _DEFAULT_CAP

    def inputs(self) -> list[str]:
        """The folders of the pairs, of their queries, of the vocabulary and of the crawls before."""
        return [self.matched, self.pairs, self.vocab, *([self.previous] if self.previous else [])]

    def steps(self) -> Iterator[Step]:
        """Choose the cap, find the cut of every query, filter table by table; check that every query got its share."""
        queries = read_table(files.join(self.vocab, "queries.parquet"), ["query"])["query"]
        sources, counts = yield from self._gather(queries)
        rule = read_rule(self.output)
        if rule is None:
            rule = yield from self._choose_rule(sources, counts)
            write_rule(self.output, rule)
        drawing = rule.prepare_drawing(queries, self._working)
        cuts_path = files.join(self.output, CUTS_NAME)
        if not files.exists(cuts_path):
            caps = np.full(len(counts), rule.fetch_cap)
            cuts = yield from find_cuts(
                sources, counts, caps, drawing=drawing, folder=self._working, stage_name=self.name
            )
            write_table(cuts_path, cuts_table(queries, counts, cuts, np.minimum(counts, caps)), CUTS)
        yield from keep_by_cuts(self, sources, read_table(cuts_path), rule, drawing)
        yield Step("ReportRule", ReportCounts(self.name, {"cap": rule.cap, "fetch_cap": rule.fetch_cap}))

    @property
    def _working(self) -> str:
        return files.join(self.output, "_cuts")

    def _gather(self, queries: pa.ChunkedArray) -> Generator[Step, None, tuple[list[Source], Ints]]:
        """All pairs and the count of every query among them."""
        new = list_matched(self.matched, self.pairs)
        counts = read_array(files.join(self.matched, "counts.npy"))
        if len(counts) != len(queries):
            raise ValueError(
                f"{self.matched} was matched with {len(counts)} queries, but {self.vocab} has {len(queries)}"
            )
        if not self.previous:
            return new, counts
        self._check_previous(queries)
        earlier = list_sources([path for path in input_tables(self.previous) if files.basename(path) != CUTS_NAME])
        known = files.join(self._working, "known.npy")
        if not files.exists(known):
            yield self._find_known(earlier, new, queries, known)
        new = [source._replace(known=known) for source in new]
        added = files.join(self._working, "added.npy")
        count = CountQueries(
            stage_name=self.name, tables=new, read=read_source_lists, num_queries=len(queries), output=added
        )
        yield Step("CountNew", count, Shape.MAP, (added,))
        sources = [*(source._replace(balanced=True) for source in earlier), *new]
        names = files.distinct_names([source.path for source in sources])
        sources = [source._replace(name=name) for source, name in zip(sources, names, strict=True)]
        return sources, read_cuts(self.previous)["count"].to_numpy() + read_array(added)

    def _check_previous(self, queries: pa.ChunkedArray) -> None:
        made = read_stage(self.previous)["identity"]
        if made["stage"] != self.name or not made["options"]:
            raise ValueError(f"{self.previous} is a final selection or a top-up, to which no crawl can be added")
        if not read_cuts(self.previous)["query"].equals(queries):
            raise ValueError(f"{self.previous} was balanced with other queries than those in {self.vocab}")
        rule = finished_rule(self.previous)
        if (rule.hashes, rule.seed) != (self.hashes, self.seed):
            raise ValueError(f"{self.previous} was made with --hashes {rule.hashes} --seed {rule.seed}; give the same")

    def _find_known(
        self, earlier: Sequence[Source], new: Sequence[Source], queries: pa.ChunkedArray, output: str
    ) -> Step:
        folder = files.join(self._working, "previous")
        cuts = files.join(folder, "cuts.npy")
        write_array(cuts, cut_words(read_cuts(self.previous)["cut"]))
        find = FindKnown(
            stage_name=self.name,
            earlier=earlier,
            new=new,
            drawing=finished_rule(self.previous).prepare_drawing(queries, folder),
            cuts=cuts,
            output=output,
        )
        return Step("FindKnown", find, Shape.SHUFFLE, (output,))

    def _choose_rule(self, sources: Sequence[Source], counts: Ints) -> Generator[Step, None, Rule]:
        """The cap that the options ask for, as if only pairs with a live link were counted."""
        alive: Floats = counts * np.float64(self.yield_)
        if self.target_pairs is not None:
            yield from self._sample(sources)
            sample = read_sample(self._sample_files(sources))
            target = self.target_pairs / self.yield_
            cap = cap_for_pairs(sample, alive, target, coordinated=self.hashes == "coordinated")
        elif self.tail_share is not None:
            cap = cap_for_tail_share(np.ceil(alive).astype(np.int64), self.tail_share)
        else:
            cap = self.cap or _DEFAULT_CAP
        rule = Rule(cap, fetch_cap(cap, self.yield_), self.seed, self.hashes)
        if self.previous and rule.fetch_cap > (most := finished_rule(self.previous).fetch_cap):
            raise ValueError(
                f"{self.name}: {rule.fetch_cap} pairs a query are needed, but {self.previous} left some out at {most}"
            )
        return rule

    def _sample(self, sources: Sequence[Source]) -> Iterator[Step]:
        num_pairs = sum(count_rows(source.path) for source in sources)
        outputs = self._sample_files(sources)
        share = min(1.0, _SAMPLED_PAIRS / max(num_pairs, 1))
        sample = SamplePairs(stage_name=self.name, sources=sources, outputs=outputs, share=share)
        yield Step("SamplePairs", sample, Shape.MAP, outputs)

    def _sample_files(self, sources: Sequence[Source]) -> tuple[str, ...]:
        return tuple(files.join(self._working, "sample", source.name) for source in sources)


def keep_by_cuts(
    stage: Stage,
    sources: Sequence[Source],
    cuts: pa.Table,
    rule: Rule,
    drawing: DrawingFile,
    *,
    fetched: Words | None = None,
) -> Iterator[Step]:
    """Writes the pairs that cuts select, and checks that every query selects as many as its cut says.

    Args:
        stage: Whose output they are.
        sources: The pairs.
        cuts: `CUTS`.
        rule: How pairs are selected.
        drawing: What draws lots.
        fetched: Cuts of an earlier round whose pairs are left out.
    """
    folder = files.join(stage.output, "_cuts")
    arrays = {
        "cuts": cut_words(cuts["cut"]),
        "shares": keep_shares(cuts["count"].to_numpy(), cuts["kept"].to_numpy()),
        "fetched": fetched,
    }
    paths = {name: files.join(folder, f"{name}.npy") for name, array in arrays.items() if array is not None}
    for name, array in arrays.items():
        if array is not None:
            write_array(paths[name], array)
    selection = SelectionFiles(drawing, coordinated=rule.coordinated, **paths)
    outputs = tuple(files.join(stage.output, source.name) for source in sources)
    keep = KeepSelected(stage_name=stage.name, sources=sources, selection=selection, output=stage.output)
    yield Step("KeepSelected", keep, Shape.MAP, outputs)
    if fetched is None:
        kept = files.join(folder, "kept.npy")
        count = CountQueries(
            stage_name=stage.name,
            tables=outputs,
            read=partial(read_lists, column="kept_for"),
            num_queries=cuts.num_rows,
            output=kept,
        )
        yield Step("CountQueries", count, Shape.MAP, (kept,))
        check_kept(cuts, read_array(kept))


def cuts_table(queries: pa.ChunkedArray, counts: Ints, cuts: Words, kept: Ints) -> pa.Table:
    """What the cap does to every query, as `CUTS`."""
    ids = pa.array(np.arange(len(queries)), pa.int32())
    return pa.table([ids, queries, pa.array(counts), cut_column(cuts), pa.array(kept)], schema=CUTS)


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
