"""Getting WordNet: NLTK's package where the network allows it, Debian's packages otherwise.

Out: a folder of NLTK data, ``FOLDER/corpora/wordnet`` or ``FOLDER/corpora/wordnet.zip``.

Source: https://www.nltk.org/data.html; Debian packages wordnet-base and wordnet-sense-index (WordNet 3.0 as it is,
without the file ``lexnames``, whose facts are in the manual page lexnames(5WN)).
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from urllib.parse import urljoin
from xml.etree import ElementTree

from pipeline.base.files import check_folder
from pipeline.dumps.downloads import Client, Manners
from pipeline.dumps.partial_files import Download
from vocab.synsets import WordNetMissing, find_wordnet

DEFAULT_INDEX_URL = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml"

_PACKAGES = ("wordnet-base", "wordnet-sense-index")
_COMMAND_TIMEOUT_S = 600
_RETRIES = 2

# Lexicographer files in the order of their numbers; the parts of speech are numbered 1 to 4.
_LEXNAMES = (
    ("adj", 3, "all pert"),
    ("adv", 4, "all"),
    ("noun", 1, "Tops act animal artifact attribute body cognition communication event feeling food group location"
     " motive object person phenomenon plant possession process quantity relation shape state substance time"),
    ("verb", 2, "body change cognition communication competition consumption contact creation emotion motion perception"
     " possession social stative weather"),
    ("adj", 3, "ppl"),
)  # fmt: skip


class NoWordNet(OSError):
    """WordNet could be had in no way; the message tells what each way said."""


def get_wordnet(folder: str, *, index_url: str = DEFAULT_INDEX_URL) -> str:
    """Puts WordNet into a folder of NLTK data, unless it is there.

    Args:
        folder: Made when it does not exist.
        index_url: NLTK's package index, or a mirror of it.

    Returns:
        How it was had: "found", "downloaded" or "unpacked".

    Raises:
        NoWordNet: When neither way works.
        ValueError: When there can be no such folder, or the index is no address.
    """
    check_folder(folder)
    if not re.match(r"https?://[^/]", index_url):
        raise ValueError(f"get-wordnet: index-url must be an http or https URL, not {index_url!r}")
    if _is_there(folder):
        return "found"
    problems = []
    ways: dict[str, Callable[[], str]] = {
        "downloaded": lambda: _download(folder, index_url),
        "unpacked": lambda: _unpack(folder),
    }
    for way, get in ways.items():
        problem = get()
        if not problem and _is_there(folder):
            return way
        problems.append(problem or "what came is not whole")
    raise NoWordNet(
        f"NLTK's download: {problems[0]}; Debian's packages: {problems[1]}. On a machine with a network, run "
        f"`python -m nltk.downloader -d {folder} wordnet` and copy the folder here"
    )


def write_lexnames(path: str) -> None:
    """Writes the file ``lexnames``: number, name and part of speech of every lexicographer file."""
    files = [(f"{kind}.{topic}", number) for kind, number, topics in _LEXNAMES for topic in topics.split()]
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"{index:02d}\t{name}\t{number}\n" for index, (name, number) in enumerate(files))


def _is_there(folder: str) -> bool:
    try:
        find_wordnet(folder)
    except WordNetMissing:
        return False
    return True


def _download(folder: str, index_url: str) -> str:
    """Returns what went wrong, or ""."""
    client = Client(Manners(retries=_RETRIES))
    try:
        client.get(_find_package(client.read(index_url), index_url, folder))
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _find_package(index: bytes, index_url: str, folder: str) -> Download:
    """WordNet, as NLTK's index of packages has it; NLTK reads the archive as it is.

    Raises:
        ValueError: When it is not listed there.
    """
    try:
        package = ElementTree.fromstring(index).find(".//package[@id='wordnet']")
    except ElementTree.ParseError as error:
        raise ValueError(f"{index_url} is no index of NLTK's packages ({error})") from error
    if package is None or not package.get("url"):
        raise ValueError(f"{index_url} lists no wordnet")
    sums = {"sha256": package.get("sha256_checksum"), "md5": package.get("checksum")}
    return Download(
        urljoin(index_url, package.get("url")),
        os.path.join(folder, "corpora", "wordnet.zip"),
        int(package.get("size", 0)),
        next((f"{algorithm}:{digest}" for algorithm, digest in sums.items() if digest), ""),
    )


def _unpack(folder: str) -> str:
    """Returns what went wrong, or ""."""
    with tempfile.TemporaryDirectory() as work:
        commands = [["apt-get", "update"], ["apt-get", "download", *_PACKAGES]]
        problems = [_run(command, work) for command in commands]
        packages = sorted(glob.glob(os.path.join(work, "*.deb")))
        if len(packages) < len(_PACKAGES):
            return problems[1] or problems[0] or "they did not come"
        for package in packages:
            if problem := _run(["dpkg-deb", "-x", package, "unpacked"], work):
                return problem
        return _copy_whole(os.path.join(work, "unpacked", "usr", "share", "wordnet"), folder)


def _copy_whole(source: str, folder: str) -> str:
    """Copies WordNet's files into a folder of NLTK data, all or none; returns what went wrong, or ""."""
    corpus = os.path.join(folder, "corpora", "wordnet")
    aside = f"{corpus}.part"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside)
        write_lexnames(os.path.join(aside, "lexnames"))
        shutil.rmtree(corpus, ignore_errors=True)  # it was not whole
        os.replace(aside, corpus)
    except OSError as error:  # of many files: a list of what went wrong with each
        problem = error.args[0][-1][-1] if isinstance(error, shutil.Error) else error
        shutil.rmtree(aside, ignore_errors=True)
        return f"cannot write {corpus}: {problem}"
    return ""


def _run(command: list[str], folder: str) -> str:
    """Runs a command in a folder; returns what went wrong, or ""."""
    if shutil.which(command[0]) is None:
        return f"there is no {command[0]}"
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
