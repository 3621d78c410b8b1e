"""`wit400m get-wordnet`: puts WordNet where build-vocab finds it."""

import argparse
import os
import sys
from collections.abc import Sequence

from pipeline.dumps.wordnet import DEFAULT_INDEX_URL, get_wordnet
from vocab.synsets import WordNetMissing, find_wordnet


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; returns the exit code (0 it is there, 1 it could not be had, 2 bad use)."""
    parser = argparse.ArgumentParser(
        prog="wit400m get-wordnet",
        description="Gets WordNet 3.0 by NLTK's download, or else from Debian's packages (apt-get, dpkg-deb).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output",
        default=os.path.join(os.path.expanduser("~"), "nltk_data"),
        metavar="DIR",
        help="Folder of NLTK data; NLTK looks into the default one by itself [%(default)s]",
    )
    parser.add_argument(
        "--index-url", default=DEFAULT_INDEX_URL, metavar="URL", help="Index of NLTK's data packages, or of a mirror"
    )
    parser.add_argument("--if-missing", action="store_true", help="Do nothing where NLTK finds WordNet by itself")
    arguments = parser.parse_args(argv)
    if arguments.if_missing and (found := _find()):
        print(f"get-wordnet: found -> {found}")
        return 0
    try:
        how = get_wordnet(arguments.output, index_url=arguments.index_url)
    except (OSError, ValueError) as error:
        print(f"wit400m get-wordnet: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print(f"get-wordnet: {how} -> {arguments.output}")
    return 0


def _find() -> str:
    """Where NLTK finds WordNet by itself, or ""."""
    try:
        return find_wordnet()
    except WordNetMissing:
        return ""
