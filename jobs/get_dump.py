"""`wit400m get-dump`: downloads what build-vocab reads, and prints the flags by which it is given."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from jobs.progress import show_progress
from jobs.runner import DEFAULT_DATA, guard, hint_flags
from pipeline.base.files import check_folder
from pipeline.base.options import add_flags, options_from
from pipeline.dumps.get_dump import GetDump, get_files, plan_dump
from pipeline.dumps.partial_files import Download, bytes_here


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"wit400m {GetDump.name}",
        description=f"{GetDump.__doc__}\n\nA second run skips what is there; one that was cut short continues. What it "
        "prints are\nflags of build-vocab. Page-view files that the server has not are left out, and counted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="DIR", default=DEFAULT_DATA, help=f"Folder of all folders [{DEFAULT_DATA}]")
    parser.add_argument("--quiet", action="store_true", help="Print flags, warnings and errors only")
    parser.add_argument("--verbose", action="store_true", help="Print full tracebacks")
    add_flags(parser, GetDump)
    arguments, unknown = parser.parse_known_args(argv)
    values = vars(arguments)
    data, quiet, verbose = (values.pop(name) for name in ("data", "quiet", "verbose"))

    def run() -> None:
        if unknown:
            named = "" if unknown[0].startswith("-") else "; a wiki is named by --wiki"
            raise ValueError(f"unexpected: {' '.join(unknown)}{named}{hint_flags(unknown, parser)}")
        options = options_from(GetDump, values, data=data)
        check_folder(options.output)
        plan = plan_dump(options)
        downloads = plan.downloads(options)
        with _download_progress(downloads, quiet=quiet):
            plan = get_files(plan, options)
        if plan.missing:
            print(f"{parser.prog}: warning: {plan.warning()}", file=sys.stderr)
        if not quiet:
            size = sum(map(bytes_here, plan.downloads(options)))
            print(
                f"{GetDump.name}: {plan.wiki} of {plan.date}, {len(plan.files)} files, {size:,} bytes"
                f" -> {options.output}",
                file=sys.stderr,
            )
        print(shlex.join(plan.build_flags(options.output)))

    return guard(run, prog=parser.prog, verbose=verbose)


def _download_progress(downloads: Sequence[Download], *, quiet: bool) -> AbstractContextManager[None]:
    if quiet:
        return nullcontext()
    total = sum(download.size for download in downloads) or None
    return show_progress(GetDump.name, total, lambda: sum(map(bytes_here, downloads)), unit="B", scaled=True)
