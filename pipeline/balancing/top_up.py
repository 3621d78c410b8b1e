"""A final selection with short queries ► the pairs to fetch next: the stage top-up-pairs.

In: pairs, their queries, the folder of balance-final. Out: a folder as balance-pairs writes it, of the pairs that no
round has fetched yet; its ``cuts.parquet`` holds the cuts of all rounds together.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.balancing.caps import next_fetch_caps
from pipeline.balancing.cutting import find_cuts
from pipeline.balancing.pool import matched_tables
from pipeline.balancing.rules import cut_words, finished_rule, read_cuts, write_rule
from pipeline.balancing.stage import cuts_table, keep_by_cuts
from pipeline.base import files
from pipeline.base.folders import BalancedFolder
from pipeline.base.lineage import Kinship
from pipeline.base.options import option
from pipeline.base.schemas import CUTS
from pipeline.base.tables import write_table
from pipeline.steps import Stage, Steps


@dataclass(kw_only=True)
class TopUpPairs(Stage):
    """Plans the next pairs to fetch for queries that came up short of their cap."""

    name: ClassVar[str] = "top-up-pairs"

    matched: str = option("", "Folder of matched pairs (match-pairs).", under_data="matched", made_by=("match-pairs",))
    pairs: str = option(
        "", "Folder of the pairs that were matched (extract-pairs).", under_data="pairs", made_by=("extract-pairs",)
    )
    final: str = option(
        "", "Folder of the final selection with short queries.", under_data="final", made_by=("balance-final",)
    )
    output: str = option("", "Folder to write, for fetch-images and the next balance-final.", under_data="top-up")

    def inputs(self) -> list[str]:
        """The folders of the pairs, of their queries and of the final selection."""
        return [self.matched, self.pairs, self.final]

    def kin(self) -> list[Kinship]:
        """The final selection was made among the matched pairs."""
        return [Kinship(self.matched, self.pairs), Kinship(self.final, self.matched)]

    def steps(self) -> Steps:
        """Find the cuts that bring enough for short queries; keep what they add to the earlier cuts."""
        rule, final = finished_rule(self.final), read_cuts(self.final)
        folder = BalancedFolder(self.output)
        drawing = rule.prepare_drawing(final["query"], folder.working("cuts"))
        tables = matched_tables(self.matched, self.pairs)
        counts, fetched, alive = (final[name].to_numpy() for name in ("count", "fetched", "alive"))
        fetch_cuts = cut_words(final["fetch_cut"])
        if not files.exists(folder.cuts):
            caps = next_fetch_caps(counts, fetched, alive, rule.cap)
            # A query that is not short is not asked: its count passes for its cap.
            asked = np.where(caps > fetched, counts, caps)
            cuts = yield from find_cuts(tables, asked, caps, drawing=drawing, folder=folder.working("cuts"))
            cuts = np.where(caps > fetched, cuts, fetch_cuts)
            write_table(folder.cuts, cuts_table(final["query"], counts, cuts, caps), CUTS)
        write_rule(self.output, rule)
        yield from keep_by_cuts(tables, folder, rule, drawing, fetched=fetch_cuts)
