"""`wit400m match-pairs`: pairs to pairs with the queries their text holds; `--explain TEXT` shows those of one text."""

from collections.abc import Sequence

import pyarrow as pa

from jobs.runner import Question, run_job, show_warnings
from pipeline.base.tables import read_table
from pipeline.matching.stage import MatchPairs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job, or explains a text; returns the exit code."""
    show_warnings("vocab.matcher")
    help = "Show how TEXT is normalised and the id, query and sources of every query it holds; match nothing else"
    return run_job(MatchPairs, argv, question=Question("explain", "TEXT", help, explain_text))


def explain_text(stage: MatchPairs, text: str) -> list[str]:
    """The text as it is normalised, then a line for each query it holds: id, query, sources."""
    matcher = stage.load_matcher()
    normalized = matcher.normalization.normalize_texts(pa.array([text]))[0].as_py()
    ids = pa.array(matcher.match_text(text), pa.int32())
    rows = read_table(stage.queries, ["query_id", "query", "sources"]).take(ids).to_pylist()
    found = [f"{row['query_id']}\t{row['query']}\t{','.join(row['sources'])}" for row in rows]
    return [normalized, *(found or ["(holds no query)"])]
