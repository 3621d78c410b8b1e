"""`python -m jobs.demo` = `wit400m demo`: makes a small world and takes it through every stage to a trained model."""

import argparse
import os
import sys
from collections.abc import Sequence

from jobs.demo.flow import RECIPES, DemoFailed, run_demo
from pipeline.base.files import NotAFolder, check_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code (0 done, 1 a command failed or the model learned too little, 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m demo",
        description="Makes a small world (a wiki, a crawl, a web server) and takes it through every stage to a trained "
        "model, by the commands that you would type. Run again, it continues where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("--output", default="demo-data", metavar="DIR", help="Folder for all of it [%(default)s]")
    parser.add_argument("--size", choices=RECIPES, default="full", help="small: a trial of the machinery [%(default)s]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="Processes [%(default)s]")
    arguments = parser.parse_args(argv)
    try:
        check_folder(arguments.output)
        run_demo(arguments.output, size=arguments.size, workers=arguments.workers)
    except (DemoFailed, NotAFolder) as error:
        print(f"wit400m demo: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, NotAFolder) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
