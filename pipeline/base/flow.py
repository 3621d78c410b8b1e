"""The stages by name, in the order the data flows: which class each is, and what it does in a few words.

A command, a table in a configuration file and an entry of a funnel have the name of their stage.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class FlowEntry(NamedTuple):
    """A stage before it is loaded.

    Attributes:
        stage: ``module:class``.
        help: What it reads -> what it writes.
    """

    stage: str
    help: str


STAGES: Final[Mapping[str, FlowEntry]] = {
    "build-vocab": FlowEntry(
        "pipeline.vocabulary.stage:BuildVocab", "dump, page views, WordNet -> the query vocabulary"
    ),
    "import-vocab": FlowEntry(
        "pipeline.vocabulary.importing:ImportVocab", "own lists of queries, a built vocabulary -> a vocabulary of both"
    ),
    "extract-pairs": FlowEntry(
        "pipeline.extraction.stage:ExtractPairs", "WARC, WAT, URL+text tables -> distinct (image URL, text) pairs"
    ),
    "match-pairs": FlowEntry("pipeline.matching.stage:MatchPairs", "pairs -> pairs with the queries their text holds"),
    "balance-pairs": FlowEntry(
        "pipeline.balancing.stage:BalancePairs", "matched pairs -> at most `cap` pairs a query, exactly"
    ),
    "fetch-images": FlowEntry("pipeline.fetching.stage:FetchImages", "balanced pairs -> images, in raw tars"),
    "balance-final": FlowEntry(
        "pipeline.balancing.final:BalanceFinal", "fetched images -> at most `cap` of them a query, exactly"
    ),
    "top-up-pairs": FlowEntry(
        "pipeline.balancing.top_up:TopUpPairs", "a final selection -> what to fetch next for queries that came up short"
    ),
    "write-shards": FlowEntry(
        "pipeline.sharding.stage:WriteShards", "raw tars -> WebDataset shards, manifest, data card"
    ),
    "subset": FlowEntry(
        "pipeline.sharding.finished.subsetting:Subset",
        "finished shards, lists or a condition -> finished shards of a part",
    ),
}
