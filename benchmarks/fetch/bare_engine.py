"""The engine of fetch-images alone: URLs of a table to checked images, in some processes, without Beam, plans or tars.

    python benchmarks/fetch/bare_engine.py URLS.parquet OUTPUT --workers N [flags of fetch-images]

Hosts are dealt out to the processes. Each image goes into a tar as the stage's own would, so that both can be counted
and both write the same bytes, but without text and provenance.
"""

import argparse
import os
import sys
import zlib
from functools import partial

import pyarrow.parquet as pq

from pipeline.base.drops import DropReason
from pipeline.base.options import add_flags, options_from
from pipeline.base.tar import END_OF_ARCHIVE, encode_member
from pipeline.fetching.answers import Fetched
from pipeline.fetching.crawler import fetch_images, run_loop
from pipeline.fetching.stage import FetchImages
from pipeline.pixels.images import normalize_image


def fetch(stage: FetchImages, urls: list[str], output: str) -> None:
    """Fetches URLs by the function that a fetch unit calls."""
    with open(output, "wb") as tar:

        def store(url: str, fetched: Fetched) -> None:
            if not isinstance(fetched.image, DropReason):
                tar.write(encode_member(f"{zlib.crc32(url.encode()):08x}.jpg", fetched.image.data))

        run_loop(lambda: fetch_images(urls, stage, normalize=partial(normalize_image, rules=stage), store=store))
        tar.write(END_OF_ARCHIVE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", help="A Parquet file with a column url")
    parser.add_argument("output", help="Folder to write")
    parser.add_argument("--workers", type=int, default=1, help="Processes [1]")
    add_flags(stage_flags := argparse.ArgumentParser(add_help=False), FetchImages)
    arguments, flags = parser.parse_known_args()
    stage = options_from(FetchImages, vars(stage_flags.parse_args(flags)))
    urls = pq.read_table(arguments.urls, columns=["url"])["url"].to_pylist()
    os.makedirs(arguments.output)
    children = []
    for worker in range(arguments.workers):
        share = [url for url in urls if zlib.crc32(url.split("/")[2].encode()) % arguments.workers == worker]
        if not (child := os.fork()):
            fetch(stage, share, os.path.join(arguments.output, f"{worker}.tar"))
            os._exit(0)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
