"""Synsets: the names that WordNet gives to the things of the world.

In: WordNet 3.0 as NLTK stores it, in a folder or where NLTK looks. Out: the lemmas of its synsets, with the synsets
that each of them names, as `n02084071`: part of speech and place in WordNet 3.0, by which ImageNet numbers its classes.

Source: Radford et al. 2021, section 2.2 ("all WordNet synsets not already in the query list"); MetaCLIP's
build_metadata.py takes the first lemma of each, in lower case; data file format in the manual page wndb(5WN).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:  # NLTK is imported late: it takes seconds, because it loads scikit-learn where there is one
    from nltk.data import PathPointer

LEMMAS = pa.schema(
    [
        pa.field("lemma", pa.string(), nullable=False),  # as WordNet writes it, with spaces between its words
        pa.field("synset", pa.string(), nullable=False),
    ]
)
NAMED_SYNSETS = pa.schema(
    [
        pa.field("synset", pa.string(), nullable=False),  # the name, normalised
        pa.field("display", pa.string(), nullable=False),
        pa.field("synsets", pa.list_(pa.string()), nullable=False),  # those of this name, sorted
    ]
)

_CORPUS = ("corpora/wordnet", "corpora/wordnet.zip/wordnet/")
_PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_OFFSET_DIGITS = 8
_ADVICE = (
    "get it with `wit400m get-wordnet` (NLTK's download, or Debian's packages wordnet-base and wordnet-sense-index) "
    "or with `python -m nltk.downloader wordnet`, or leave it out with --wordnet none"
)


class WordNetMissing(FileNotFoundError):
    """WordNet is not where it was looked for."""


def find_wordnet(folder: str = "") -> str:
    """The path of the file by which a WordNet is recognised.

    Args:
        folder: Of NLTK data, with corpora/wordnet in it; "" for NLTK's own search path.

    Raises:
        WordNetMissing: When it is not there.
    """
    with _open_corpus(folder) as root:
        archive = getattr(root, "zipfile", None)
    return str(archive.filename if archive is not None else os.path.join(str(root), "data.noun"))


def read_lemmas(folder: str = "", *, all_lemmas: bool = True) -> pa.Table:
    """The lemmas of all synsets; in lower case they are NLTK's `all_lemma_names`.

    Read from the files that NLTK opens, which takes a second where its reader, which links every synset to its
    neighbours, takes ten.

    Args:
        folder: As in `find_wordnet`.
        all_lemmas: Every lemma of a synset, not only the first, after which it is called.

    Returns:
        LEMMAS, a row for every lemma of every synset.

    Raises:
        WordNetMissing: When it is not there, or not whole.
    """
    lemmas: list[str] = []
    synsets: list[str] = []
    try:
        with _open_corpus(folder) as root:
            for part, letter in _PARTS.items():
                with root.join(f"data.{part}").open(encoding="ascii") as file:
                    for line in file:
                        names = _parse_lemmas(line) if all_lemmas else _parse_lemmas(line)[:1]
                        lemmas += names
                        synsets += [letter + line[:_OFFSET_DIGITS]] * len(names)
    except WordNetMissing:
        raise
    except OSError as error:
        raise WordNetMissing(f"WordNet is not whole ({error}); {_ADVICE}") from error
    return pa.table([lemmas, synsets], schema=LEMMAS)


def cut_names(lemmas: pa.Table) -> pa.Table:
    """`LEMMAS` up to their first full stop, as MetaCLIP cuts the names of synsets; those of abbreviations are no more.

    >>> lemmas = pa.table([["dog", "St. Louis", ".22 caliber"], ["n1", "n2", "n3"]], schema=LEMMAS)
    >>> cut_names(lemmas)["lemma"].to_pylist()
    ['dog', 'St', '']
    """
    return lemmas.set_column(0, LEMMAS.field("lemma"), pc.replace_substring_regex(lemmas["lemma"], r"\..*$", ""))


def name_synsets(lemmas: pa.Table, names: pa.Array) -> pa.Table:
    """The synsets of every name, and how the lemma is written for most of them.

    Args:
        lemmas: LEMMAS.
        names: The normalised name of each row; "" leaves the row out.

    Returns:
        NAMED_SYNSETS, sorted by name.

    >>> lemmas = pa.table([["Turkey", "turkey", "turkey"], ["n09039411", "n07648913", "n01794344"]], schema=LEMMAS)
    >>> name_synsets(lemmas, pa.array(["turkey"] * 3)).to_pylist()
    [{'synset': 'turkey', 'display': 'turkey', 'synsets': ['n01794344', 'n07648913', 'n09039411']}]
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    synsets: dict[str, set[str]] = defaultdict(set)
    for name, lemma, synset in zip(
        names.to_pylist(), lemmas["lemma"].to_pylist(), lemmas["synset"].to_pylist(), strict=True
    ):
        spellings[name][lemma] += 1
        synsets[name].add(synset)
    found = sorted(name for name in spellings if name)
    display = [max(spellings[name], key=lambda lemma: (spellings[name][lemma], lemma)) for name in found]
    return pa.table([found, display, [sorted(synsets[name]) for name in found]], schema=NAMED_SYNSETS)


def _parse_lemmas(line: str) -> list[str]:
    """The lemmas in a line of a data file; none in the lines of the licence at its head.

    >>> _parse_lemmas("00003553 03 n 02 whole 0 unit 1 003 @ 00002684 n 0000 | an assemblage of parts")
    ['whole', 'unit']
    >>> _parse_lemmas("01471043 00 s 01 aground(p) 0 001 & 01470854 a 0000 | stuck")
    ['aground']
    """
    if line.startswith(" "):
        return []
    fields = line.split(maxsplit=4)
    words = fields[4].split()[: 2 * int(fields[3], 16) : 2]  # word and sense number, one after the other
    return [word.partition("(")[0].replace("_", " ") for word in words]


@contextmanager
def _open_corpus(folder: str) -> "Iterator[PathPointer]":
    """NLTK's pointer to the corpus. NLTK opens only what is on its search path, so a folder is put there meanwhile."""
    import nltk.data

    search_path = list(nltk.data.path)
    if folder:
        nltk.data.path[:] = [os.path.abspath(folder)]
    try:
        yield _find_corpus(folder)
    finally:
        nltk.data.path[:] = search_path


def _find_corpus(folder: str) -> "PathPointer":
    import nltk.data

    for name in _CORPUS:
        try:
            root = nltk.data.find(name)
            root.join("data.noun")  # raises where that is not
        except (LookupError, OSError):
            continue
        return root
    where = f"in {folder}" if folder else f"on NLTK's search path ({os.pathsep.join(nltk.data.path)})"
    raise WordNetMissing(f"WordNet is not {where}; {_ADVICE}")
