"""Synsets: the names that WordNet gives to the things of the world.

In: WordNet 3.0 as NLTK stores it, in a folder or where NLTK looks. Out: the names of its synsets.

Source: Radford et al. 2021, section 2.2 ("all WordNet synsets not already in the query list"); the name of a synset is
its first lemma, as in MetaCLIP's build_metadata.py; data file format in the manual page wndb(5WN).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import nltk.data

_CORPUS = ("corpora/wordnet", "corpora/wordnet.zip/wordnet/")
_PARTS = ("noun", "verb", "adj", "adv")
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


def read_synset_names(folder: str = "", *, all_lemmas: bool = False) -> list[str]:
    """The names of all synsets, sorted, with spaces between their words.

    The same names as of NLTK's `all_synsets` and `all_lemma_names`; read from the files that NLTK opens, which takes
    a second where its reader, which links every synset to its neighbours, takes ten.

    Args:
        folder: As in `find_wordnet`.
        all_lemmas: Every lemma of a synset instead of its first one.

    Raises:
        WordNetMissing: When it is not there, or not whole.
    """
    names: set[str] = set()
    try:
        with _open_corpus(folder) as root:
            for part in _PARTS:
                with root.join(f"data.{part}").open(encoding="ascii") as file:
                    for line in file:
                        lemmas = _parse_lemmas(line)
                        names.update(lemmas if all_lemmas else lemmas[:1])
    except WordNetMissing:
        raise
    except OSError as error:
        raise WordNetMissing(f"WordNet is not whole ({error}); {_ADVICE}") from error
    return sorted(names)


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
    return [word.partition("(")[0].replace("_", " ").lower() for word in words]


@contextmanager
def _open_corpus(folder: str) -> Iterator[nltk.data.PathPointer]:
    """NLTK's pointer to the corpus. NLTK opens only what is on its search path, so a folder is put there meanwhile."""
    search_path = list(nltk.data.path)
    if folder:
        nltk.data.path[:] = [os.path.abspath(folder)]
    try:
        yield _find_corpus(folder)
    finally:
        nltk.data.path[:] = search_path


def _find_corpus(folder: str) -> nltk.data.PathPointer:
    for name in _CORPUS:
        try:
            root = nltk.data.find(name)
            root.join("data.noun")  # raises where that is not
        except (LookupError, OSError):
            continue
        return root
    where = f"in {folder}" if folder else f"on NLTK's search path ({os.pathsep.join(nltk.data.path)})"
    raise WordNetMissing(f"WordNet is not {where}; {_ADVICE}")
