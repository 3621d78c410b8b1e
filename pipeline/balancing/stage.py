"""Matched pairs ► at most `cap` pairs a query, exactly: the stage balance-pairs.

In: pairs (extract-pairs), their queries and the counts of these (match-pairs), the vocabulary (build-vocab); if a new
crawl is added, the balanced folder of those before. Out, in one folder: a table of balanced pairs for each table of
pairs, under its name; ``cuts.parquet`` (`CUTS`), what the cap did to every query; and ``rule.json``.

A query found in more than `cap` pairs selects those for which it draws the smallest lots (`lots`); any
other query selects all its pairs. A pair is kept if a query selects it. No pair is shuffled: only lots just around the
expected cuts are collected, then each table is filtered by the cuts alone.

Source: Radford et al. 2021, section 2.2: up to 20,000 pairs a query.
"""

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.balancing.caps import Floats, cap_for_pairs, cap_for_tail_share, expected_pairs, fetch_cap, keep_shares
from pipeline.balancing.companions import companion_step, with_companions
from pipeline.balancing.cutting import find_cuts
from pipeline.balancing.keeping import keep_table, open_selection
from pipeline.balancing.known import Side, known_step, without_known
from pipeline.balancing.lots import Drawing
from pipeline.balancing.pool import PoolTable, carried_by_pool, matched_tables, new_names, whole_tables
from pipeline.balancing.rules import Rule, cut_column, cut_words, finished_rule, read_cuts, read_rule, write_rule
from pipeline.balancing.sampling import read_sample, sample_step
from pipeline.base import files
from pipeline.base.arrays import Ints, read_array, read_lists, write_array
from pipeline.base.carried_columns import carried_by
from pipeline.base.drops import LostRows
from pipeline.base.folders import VOCAB_MAKERS, BalancedFolder, By, MatchedFolder, PairsFolder, VocabFolder
from pipeline.base.ids import Words
from pipeline.base.lineage import Kinship, read_stage
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.schemas import CUTS
from pipeline.base.tables import read_table, write_table
from pipeline.steps import MapUnits, Stage, Step, Steps, count_queries

DEFAULT_CAP = 20_000  # Radford et al. 2021, section 2.2


@dataclass(kw_only=True)
class BalancePairs(Stage):
    """Keeps at most `cap` pairs for every query; a pair stays if any of its queries selects it.

    After fetching, balance-final makes the cap exact among the images that came, and top-up-pairs plans what to fetch
    next for queries that came up short.
    """

    name: ClassVar[str] = "balance-pairs"

    matched: str = option("", "Folder of matched pairs (match-pairs).", under_data="matched", made_by=("match-pairs",))
    pairs: str = option(
        "", "Folder of the pairs that were matched (extract-pairs).", under_data="pairs", made_by=("extract-pairs",)
    )
    vocab: str = option("", "Folder of the vocabulary (build-vocab).", under_data="vocab", made_by=VOCAB_MAKERS)
    output: str = option("", "Folder to write.", under_data="balanced")
    cap: int | None = option(None, f"Pairs that a query selects at most (CLIP 2.2) [{DEFAULT_CAP}].", minimum=1)
    tail_share: float | None = option(
        None,
        "In place of cap: the smallest cap for which queries found less often hold this share of all matches "
        "(MetaCLIP: 0.06).",
        minimum=0,
        maximum=1,
    )
    target_pairs: int | None = option(
        None,
        "In place of cap: the largest cap expected to keep at most so many pairs; every query keeps one.",
        minimum=1,
    )
    hashes: Literal["independent", "coordinated"] = option(
        "independent", "Whether each query draws its own lot for a pair, or all the same one, which keeps fewer pairs."
    )
    yield_: float = option(
        1.0,
        "Share of the links expected to be alive: selects so many pairs to fetch that `cap` of each query survive; "
        "balance-final then cuts exactly.",
        minimum=0.01,
        maximum=1,
    )
    previous: str = option(
        "",
        "Balanced folder of the crawls before; the matched pairs are added to it.",
        identity=False,
        made_by=("balance-pairs",),
    )
    by: Literal["pair", "image"] = option(
        "pair",
        "Keep pairs, or images: an image is kept when any of its texts is, fetched once, and has all texts kept.",
        sparse=True,
    )
    image_texts: Literal["kept", "matched"] = option(
        "kept", "With --by image: an image's texts are those that were kept, or all that hold a query.", sparse=True
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
            self.cap = DEFAULT_CAP
        if self.image_texts == "matched" and self.by == "pair":
            raise ValueError(f"{self.name}: image-texts 'matched' wants by 'image', not 'pair'")
        if self.by == "image" and self.yield_ < 1:
            raise ValueError(
                f"{self.name}: by 'image' wants yield 1, not {self.yield_:g}: no final cut is made among images"
            )
        if self.image_texts == "matched" and self.previous:
            raise ValueError(
                f"{self.name}: image-texts 'matched' wants no previous, not {self.previous!r}: texts that were left "
                "out there are unknown"
            )

    def inputs(self) -> list[str]:
        """The folders of the pairs, of their queries, of the vocabulary and of the crawls before."""
        if self.previous:
            carried_by([PairsFolder(self.pairs).tables, BalancedFolder(self.previous).tables])
        return [self.matched, self.pairs, self.vocab, *([self.previous] if self.previous else [])]

    def kin(self) -> list[Kinship]:
        """The matched pairs come from the pairs and the vocabulary, which the crawls before had as well."""
        previous = [Kinship(self.previous, self.vocab)] if self.previous else []
        return [Kinship(self.matched, self.pairs), Kinship(self.matched, self.vocab), *previous]

    def steps(self) -> Steps:
        """Choose the cap, find the cut of every query, filter table by table; check that every query got its share."""
        queries = read_table(VocabFolder(self.vocab).queries, ["query"])["query"]
        tables, counts = yield from self._gather(queries)
        rule = read_rule(self.output)
        if rule is None:
            rule = yield from self._choose_rule(tables, counts)
            write_rule(self.output, rule)
        folder = BalancedFolder(self.output)
        drawing = rule.prepare_drawing(queries, folder.working("cuts"), counts > rule.fetch_cap)
        if not files.exists(folder.cuts):
            caps = np.full(len(counts), rule.fetch_cap)
            cuts = yield from find_cuts(tables, counts, caps, drawing=drawing, folder=folder.working("cuts"))
            write_table(folder.cuts, cuts_table(queries, counts, cuts, np.minimum(counts, caps)), CUTS)
        num_matched = read_stage(self.matched)["counts"]["pairs/kept"]
        yield from keep_by_cuts(tables, folder, rule, drawing, num_matched=num_matched)
        yield {"cap": rule.cap, "fetch_cap": rule.fetch_cap}

    def _working(self, *names: str) -> str:
        return BalancedFolder(self.output).working("cuts", *names)

    def _gather(self, queries: pa.ChunkedArray) -> Generator[Step, None, tuple[list[PoolTable], Ints]]:
        """All pairs and the count of every query among them."""
        new = matched_tables(self.matched, self.pairs)
        counts = read_array(MatchedFolder(self.matched).counts)
        if len(counts) != len(queries):
            raise ValueError(
                f"{self.matched} was matched with {len(counts)} queries, but {self.vocab} has {len(queries)}"
            )
        if not self.previous:
            return new, counts
        self._check_previous(queries)
        earlier = whole_tables(BalancedFolder(self.previous).tables)
        new = yield from self._without_known(earlier, new, queries)
        added = self._working("added.npy")
        yield Step("CountNew", count_queries(new, PoolTable.query_lists, len(queries), output=added))
        tables = [*(table._replace(balanced=True) for table in earlier), *new_names(new, earlier, matched=self.matched)]
        return tables, read_cuts(self.previous)["count"].to_numpy() + read_array(added)

    def _check_previous(self, queries: pa.ChunkedArray) -> None:
        if not read_cuts(self.previous)["query"].equals(queries):
            raise ValueError(f"{self.previous} was balanced with other queries than those in {self.vocab}")
        rule = finished_rule(self.previous)
        if rule.by == By.IMAGE_MATCHED:
            raise ValueError(f"{self.previous} holds pairs that no query selected (--image-texts matched)")
        if (rule.hashes, rule.seed) != (self.hashes, self.seed):
            raise ValueError(f"{self.previous} was made with --hashes {rule.hashes} --seed {rule.seed}; give the same")

    def _without_known(
        self, earlier: Sequence[PoolTable], new: Sequence[PoolTable], queries: pa.ChunkedArray
    ) -> Generator[Step, None, list[PoolTable]]:
        """The new tables without the rows whose pairs the earlier crawls had."""
        cuts, known = self._working("previous", "cuts.npy"), self._working("known")
        write_array(cuts, cut_words(read_cuts(self.previous)["cut"]))
        drawing = finished_rule(self.previous).prepare_drawing(queries, self._working("previous"))
        before, now = (read_stage(folder)["counts"] for folder in (self.previous, self.matched))
        selected = now["pairs/kept"] * before["pairs/kept"] // max(1, before["pairs/in"])
        sides = Side(earlier, before["pairs/kept"], before["pairs/kept"]), Side(new, now["pairs/in"], selected)
        yield Step("FindKnown", known_step(*sides, drawing=drawing, cuts=OnWorker(read_array, cuts), folder=known))
        return without_known(sides[1], known)

    def _choose_rule(self, tables: Sequence[PoolTable], counts: Ints) -> Generator[Step, None, Rule]:
        """The cap that the options ask for, as if only pairs with a live link were counted."""
        alive: Floats = counts * np.float64(self.yield_)
        if self.target_pairs is not None:
            sampling = sample_step(tables, self._working("sample"))
            yield Step("SamplePairs", sampling)
            sample = read_sample(sampling.outputs)
            target, coordinated = self.target_pairs / self.yield_, self.hashes == "coordinated"
            cap = cap_for_pairs(sample, alive, target, coordinated=coordinated)
            fewest = expected_pairs(sample, keep_shares(alive, 1), coordinated=coordinated)
            if fewest > target:
                logging.getLogger(__name__).warning(
                    "target-pairs %s cannot be met: about %s are kept, for every query keeps at least one of its pairs",
                    f"{self.target_pairs:,}",
                    f"{round(fewest * self.yield_):,}",
                )
        elif self.tail_share is not None:
            cap = cap_for_tail_share(np.ceil(alive).astype(np.int64), self.tail_share)
        else:
            cap = self.cap or DEFAULT_CAP
        of_images = By.IMAGE_MATCHED if self.image_texts == "matched" else By.IMAGE
        by = By.PAIR if self.by == "pair" else of_images
        rule = Rule(cap, fetch_cap(cap, self.yield_), self.seed, self.hashes, by)
        if self.previous and rule.fetch_cap > (most := finished_rule(self.previous).fetch_cap):
            raise ValueError(
                f"{self.name}: {rule.fetch_cap} pairs a query are needed, but {self.previous} left some out at {most}"
            )
        return rule


def keep_by_cuts(
    tables: Sequence[PoolTable],
    folder: BalancedFolder,
    rule: Rule,
    drawing: OnWorker[Drawing],
    *,
    fetched: Words | None = None,
    num_matched: int = 0,
) -> Steps:
    """Writes the pairs that the cuts of a folder select, and checks that every query selects as many as its cut says.

    Args:
        tables: The pairs.
        folder: Where the cuts are, and the selected pairs go.
        rule: How pairs are selected.
        drawing: What draws lots.
        fetched: Cuts of an earlier round whose pairs are left out.
        num_matched: Pairs that hold a query, about.
    """
    cuts = read_table(folder.cuts, ["count", "cut", "kept"])
    arrays = {
        "cuts": cut_words(cuts["cut"]),
        "shares": keep_shares(cuts["count"].to_numpy(), cuts["kept"].to_numpy()),
        **({} if fetched is None else {"fetched": fetched}),
    }
    paths = {name: folder.working("cuts", f"{name}.npy") for name in arrays}
    for name, array in arrays.items():
        write_array(paths[name], array)
    selection = OnWorker(open_selection, drawing, coordinated=rule.coordinated, **paths)
    find: tuple[Step, ...] = ()
    if rule.by == By.IMAGE_MATCHED:
        lists = folder.working("cuts", "companions")
        find = (Step("FindCompanions", companion_step(tables, num_matched, selection=selection, folder=lists)),)
        tables = with_companions(tables, num_matched, lists)
    keep = MapUnits(
        units=tables,
        output_of=lambda table: folder.file(table.name),
        work=partial(keep_table, selection=selection, carried=carried_by_pool(tables)),
    )
    if fetched is not None:
        yield Step("KeepSelected", keep)
        return
    kept_file = folder.working("cuts", "kept.npy")
    count = count_queries(keep.outputs, partial(read_lists, column="kept_for"), cuts.num_rows, output=kept_file)
    yield (*find, Step("KeepSelected", keep), Step("CountQueries", count))
    kept = read_array(kept_file)
    if not np.array_equal(kept, cuts["kept"].to_numpy()):
        check_kept(read_table(folder.cuts), kept)  # the queries are read for what it says, only then


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
