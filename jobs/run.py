"""`wit400m run FILE.toml`: several stages, in the order the data flows, from one file.

The file holds ``data = "DIR"`` (where all stages write), optionally ``workers``, and one table per stage to run, named
as the stage; keys are the stage's options without their dashes in front::

    data = "data"

    [build-vocab]
    dump = ["simplewiki-latest-pages-articles-multistream.xml.bz2"]

    [extract-pairs]
    input = ["crawl/*.warc.gz"]

    [match-pairs]
    [balance-pairs]
    cap = 20000
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engines import Engine
from jobs.memory import usable_memory
from jobs.runner import DEFAULT_DATA, guard, job_parser, load_stage, run_log, run_stage
from pipeline.base.files import check_folder, read_bytes
from pipeline.base.flow import STAGES
from pipeline.base.funnel import funnel_lines
from pipeline.base.lineage import read_stage
from pipeline.base.options import options_from
from pipeline.base.stage_folder import history_of
from pipeline.steps import Stage


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    parser = job_parser("wit400m run", (__doc__ or "").partition("\n\n")[2])
    parser.add_argument("config", metavar="FILE.toml", help="What to run")
    arguments, beam_flags = parser.parse_known_args(argv)

    def run() -> None:
        config = read_config(arguments.config)
        stages = configured_stages(config, data=arguments.data or config.get("data", DEFAULT_DATA))
        workers = arguments.workers or config.get("workers") or os.cpu_count() or 1
        if arguments.dry_run:
            from jobs.dry_run import describe_run  # late: it knows all stages, which takes long to import

            engine = Engine(workers=workers, beam_flags=tuple(beam_flags), memory=arguments.memory or usable_memory())
            print("\n".join(describe_run(stages, engine, overwrite=arguments.overwrite)))
            return
        for stage in stages:
            check_folder(stage.output)
        for stage in stages:
            run_stage(
                stage,
                workers=workers,
                overwrite=arguments.overwrite,
                quiet=arguments.quiet,
                beam_flags=beam_flags,
                memory=arguments.memory,
                engine_timeout_s=arguments.engine_timeout_s,
            )
        if not arguments.quiet:
            last = stages[-1]
            own = {"stage": last.name, "counts": read_stage(last.output)["counts"]}
            print("\n".join(["", *funnel_lines([*history_of(last), own])]))

    return guard(run, prog=parser.prog, verbose=arguments.verbose, log=run_log(parser.prog, arguments))


def read_config(path: str) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: When it is not TOML.
    """
    try:
        return tomllib.loads(read_bytes(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def configured_stages(config: Mapping[str, Any], *, data: str) -> list[Stage]:
    """The stages that a configuration names, in the order of the flow, their options checked.

    Raises:
        ValueError: For an unknown stage or option, or a value out of its limits.
    """
    tables = {name: value for name, value in config.items() if isinstance(value, Mapping)}
    if unknown := sorted(set(config) - {*STAGES, "data", "workers"}):
        names = ", ".join(STAGES)
        raise ValueError(f"unknown name {unknown[0]!r}; a configuration holds data, workers and tables: {names}")
    if not tables:
        raise ValueError("the configuration names no stage")
    return [options_from(load_stage(name), tables[name], data=data) for name in STAGES if name in tables]
