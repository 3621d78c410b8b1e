"""Pairs ► pairs with the queries that their text holds: the stage match-pairs.

In: tables of pairs (extract-pairs) and a vocabulary (build-vocab, import-vocab). Out, in one folder: for each table of
pairs, under its name, the queries of its pairs, row for row (`pipeline.base.matched_tables`); and ``counts.npy``,
[num_queries] int64, in how many pairs each query was found. Of the pairs only the texts are read.

What "holds" means is fixed when a vocabulary is compiled (`vocab.normalize`). Asked for another meaning, this stage
compiles the queries anew for itself.

Source: Radford et al. 2021, section 2.2; Xu et al. 2023 (MetaCLIP), section 3.2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.arrays import list_column, read_lists
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import VOCAB_MAKERS, MatchedFolder, PairsFolder, VocabFolder, table_name
from pipeline.base.lineage import check_maker
from pipeline.base.matched_tables import matched_schema
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.schemas import MATCHED
from pipeline.base.tables import open_table_writer, read_batches, read_column, read_table
from pipeline.steps import MapUnits, Question, Stage, Step, Steps, count_queries
from vocab.clitics import check_clitics
from vocab.matcher import Kernel, Matcher, compile_matcher, load_kernel
from vocab.normalize import METACLIP, Case, Normalization


def explain_text(stage: "MatchPairs", text: str) -> Iterable[str]:
    """The text as it is normalised, then a line for each query it holds: id, query, sources; of own lists, where."""
    check_maker(stage, "vocab")
    matcher, vocab = stage.load_matcher(), VocabFolder(stage.vocab)
    normalized = matcher.normalization.normalize_texts(pa.array([text]))[0].as_py()
    ids = pa.array(matcher.match_text(text), pa.int32())
    rows = read_table(vocab.queries, ["query_id", "query", "sources"]).take(ids).to_pylist()
    places = _places_in_lists(vocab, [row["query"] for row in rows])
    lines = [[str(row["query_id"]), row["query"], ",".join(row["sources"])] for row in rows]
    found = ["\t".join([*line, *(["; ".join(places[line[1]])] if line[1] in places else [])]) for line in lines]
    return [normalized, *(found or ["(holds no query)"])]


def _places_in_lists(vocab: VocabFolder, queries: Sequence[str]) -> dict[str, list[str]]:
    """Where in own lists some queries stand, those that do."""
    if not files.exists(vocab.imports):
        return {}
    rows = read_table(vocab.imports, ["query", "source"], where=pc.field("query").isin(pa.array(queries, pa.string())))
    places: dict[str, list[str]] = {}
    for row in rows.to_pylist():
        places.setdefault(row["query"], []).append(row["source"])
    return places


@dataclass(kw_only=True)
class MatchPairs(Stage):
    """Finds the queries that each pair's text holds; --explain TEXT shows those of a text."""

    name: ClassVar[str] = "match-pairs"
    format: ClassVar[int] = Stage.format + 2
    questions = {  # noqa: RUF012 (never changed)
        "explain": Question(
            "TEXT",
            "Show how TEXT is normalised and the id, query and sources of every query it holds; match nothing else",
            explain_text,
        )
    }

    pairs: str = option("", "Folder of pairs (extract-pairs).", under_data="pairs", made_by=("extract-pairs",))
    vocab: str = option("", "Folder of the vocabulary (build-vocab).", under_data="vocab", made_by=VOCAB_MAKERS)
    output: str = option("", "Folder to write.", under_data="matched")
    case: Case | None = option(None, "Whether case makes no difference (fold) [as the vocabulary says].")
    clitics: str = option(
        "", "Language whose clitics are words of their own (en: dog's is dog, s), or none [as the vocabulary says]."
    )
    preset: Literal["metaclip"] | None = option(None, "Match as MetaCLIP does, bit for bit.")
    kernel: Kernel = option(
        "auto",
        "What searches the texts, with the same result: code compiled by numba, or the slower numpy where that fails.",
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if self.preset and self.case == "fold":
            raise ValueError("match-pairs: preset metaclip is case-sensitive; case must not be 'fold'")
        check_clitics(self.clitics, stage=self.name, metaclip=self.preset == "metaclip")

    def inputs(self) -> list[str]:
        """The folders of the pairs and of the vocabulary."""
        return [self.pairs, self.vocab]

    def steps(self) -> Steps:
        """Match table by table, then count."""
        pairs, matched = PairsFolder(self.pairs), MatchedFolder(self.output)
        matcher, folder = self.load_matcher(), VocabFolder(self.vocab).matcher
        if self.kernel == "numba":
            matcher.prepare()  # or says that it does not work
        if self.normalization is not None:
            folder = matched.working("matcher")
            matcher.save(folder, files.write_bytes_whole)
        shared = OnWorker(load_same_matcher, folder, matcher.digest, kernel=matcher.kernel)
        match = MapUnits(
            units=pairs.tables,
            output_of=lambda path: matched.table(table_name(path)),
            work=partial(match_table, matcher=shared),
        )
        read = partial(read_lists, column="query_ids")
        count = count_queries(match.outputs, read, matcher.num_queries, output=matched.counts)
        prepare = None if self.kernel == "numpy" else load_kernel
        yield Step("MatchQueries", match, prepare=prepare), Step("CountQueries", count)

    @property
    def normalization(self) -> Normalization | None:
        """The normalisation that the options ask for; None: the one that the vocabulary was compiled with."""
        if self.preset:
            return METACLIP
        if not (self.case or self.clitics):
            return None
        compiled = Matcher.load(VocabFolder(self.vocab).matcher, files.local_path).normalization
        case = self.case or ("fold" if compiled == METACLIP else compiled.case)
        return Normalization(case=case, clitics=self.clitics or compiled.clitics)

    def load_matcher(self) -> Matcher:
        """The matcher that the options ask for."""
        vocab = VocabFolder(self.vocab)
        if self.normalization is None:
            return Matcher.load(vocab.matcher, files.local_path, kernel=self.kernel)
        queries = read_column(vocab.queries, "query")
        return compile_matcher(queries, normalization=self.normalization, kernel=self.kernel)


def load_same_matcher(folder: str, digest: str, *, kernel: Kernel) -> Matcher:
    """Maps the compiled queries of a folder into memory.

    Raises:
        ValueError: When they are not those with the digest.
    """
    matcher = Matcher.load(folder, files.local_path, kernel=kernel)
    if matcher.digest != digest:
        raise ValueError(f"{folder}: holds another matcher than when this stage began")
    return matcher


def match_table(source: str, target: str, *, matcher: OnWorker[Matcher]) -> Counts:
    """Writes the queries of the pairs of one table.

    Returns:
        Pairs in, those with a query kept, the others dropped; and how many queries were found in them.
    """
    num_pairs = num_kept = num_matches = 0
    with open_table_writer(target, matched_schema(source)) as writer:
        for batch in read_batches(source, ["text"]):
            matches = matcher.get().match_column(batch["text"])
            lengths = np.diff(matches.offsets)
            writer.write(pa.RecordBatch.from_arrays([list_column(lengths, matches.query_ids)], MATCHED.names))
            num_pairs += batch.num_rows
            num_kept += int(np.count_nonzero(lengths))
            num_matches += len(matches.query_ids)
        counts = drop_counts("pairs", num_kept, {DropReason.NO_QUERY.value: num_pairs - num_kept})
        writer.counts = counts | {"matches": num_matches}
        return writer.counts
