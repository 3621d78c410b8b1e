"""`wit400m match-pairs`: pairs to pairs with the queries their text holds; `--explain TEXT` shows those of one text."""

import sys
from collections.abc import Sequence

import pyarrow as pa

from jobs.runner import DEFAULT_DATA, guard, job_parser, run_job
from pipeline.matching import MatchPairs
from pipeline.options import add_flags, options_from, options_of
from pipeline.tables import read_table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job, or explains a text; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(word.partition("=")[0] == "--explain" for word in arguments):
        return _explain_job(arguments)
    return run_job(MatchPairs, arguments)


def explain_text(text: str, stage: MatchPairs) -> list[str]:
    """The text as it is normalised, then a line for each query it holds: id, query, sources."""
    matcher = stage.load_matcher()
    normalized = matcher.normalization.normalize_texts(pa.array([text]))[0].as_py()
    rows = read_table(stage.queries, ["query_id", "query", "sources"]).take(matcher.match_text(text)).to_pylist()
    return [normalized, *(f"{row['query_id']}\t{row['query']}\t{','.join(row['sources'])}" for row in rows)]


def _explain_job(argv: Sequence[str]) -> int:
    parser = job_parser("wit400m match-pairs", MatchPairs.__doc__ or "")
    parser.add_argument("--explain", metavar="TEXT", help="The text to explain")
    add_flags(parser.add_argument_group("stage"), MatchPairs)
    arguments = vars(parser.parse_args(argv))
    values = {option.name: arguments[option.name] for option in options_of(MatchPairs) if option.name in arguments}

    def explain() -> None:
        stage = options_from(MatchPairs, values, data=arguments["data"] or DEFAULT_DATA)
        print("\n".join(explain_text(arguments["explain"], stage)))

    return guard(explain, prog=parser.prog, verbose=arguments["verbose"])
