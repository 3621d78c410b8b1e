"""`wit400m get-dump`: downloads what build-vocab reads, and prints the flags by which it is given."""

import argparse
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from jobs.runner import DEFAULT_DATA, guard
from pipeline.options import add_flags, options_from
from pipeline.vocabulary.getting import GetDump, get_files, plan_dump
from pipeline.vocabulary.partial_files import Download, bytes_here

_INTERVAL_S = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"wit400m {GetDump.name}",
        description=f"{GetDump.__doc__}\n\nA second run skips what is there; one that was cut short continues. What it "
        "prints are\nflags of build-vocab.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="DIR", default=DEFAULT_DATA, help=f"Folder of all folders [{DEFAULT_DATA}]")
    parser.add_argument("--quiet", action="store_true", help="Print flags and errors only")
    parser.add_argument("--verbose", action="store_true", help="Print full tracebacks")
    add_flags(parser, GetDump)
    values = vars(parser.parse_args(argv))
    data, quiet, verbose = (values.pop(name) for name in ("data", "quiet", "verbose"))

    def run() -> None:
        options = options_from(GetDump, values, data=data)
        plan = plan_dump(options)
        downloads = plan.downloads(options)
        with _show_progress(downloads, quiet=quiet):
            get_files(plan, options)
        if not quiet:
            size = sum(map(bytes_here, downloads))
            print(
                f"{GetDump.name}: {plan.wiki} of {plan.date}, {len(downloads)} files, {size:,} bytes"
                f" -> {options.output}",
                file=sys.stderr,
            )
        print(shlex.join(plan.build_flags(options.output)))

    return guard(run, prog=parser.prog, verbose=verbose)


@contextmanager
def _show_progress(downloads: Sequence[Download], *, quiet: bool) -> Iterator[None]:
    """Shows a bar on a terminal while the block runs; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    total = sum(download.size for download in downloads) or None
    with tqdm(total=total, desc=GetDump.name, unit="B", unit_scale=True, leave=False) as bar:
        watcher = threading.Thread(target=_watch, args=(downloads, bar, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(downloads: Sequence[Download], bar: tqdm, ended: threading.Event) -> None:
    while not ended.wait(_INTERVAL_S):
        bar.update(sum(map(bytes_here, downloads)) - bar.n)
