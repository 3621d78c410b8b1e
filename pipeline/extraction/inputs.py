"""What is read, cut into units of work: one file, or one part of a large table, each.

In: paths, and lists of paths as Common Crawl publishes them (``warc.paths.gz``). Out: `InputUnit`s, and a local copy of
a unit's file while it is read. A remote file is copied whole before it is read, so a connection that breaks is tried
again and never looks like a file that is cut.
Source: commoncrawl.org/get-started (path lists, their base addresses).
"""

import gzip
import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations import http

from pipeline.base import files
from pipeline.extraction.filters import read_list
from pipeline.extraction.unit import input_kind, named_kind
from pipeline.extraction.url_lists import WHOLE, TablePart, table_parts
from pipeline.web.http import pause_s

LIST_SUFFIXES: Final = (".paths", ".paths.gz")
COMMON_CRAWL: Final = "https://data.commoncrawl.org/"

_COPY_BYTES: Final = 8 << 20
_FIRST_PAUSE_S: Final = 1.0
READ_ERRORS: Final = (OSError, http.aiohttp.ClientError)  # fsspec hands on what its HTTP client raises


class InputUnit(NamedTuple):
    """One file or part of a file: where it is, the name its tables get, and what it is.

    Attributes:
        path: Of the file.
        name: Of the tables made of it.
        kind: As `input_kind` says.
        first: Where its part begins, see `TablePart`.
        last: Where its part ends.
        is_listed: Whether a list of paths names it; nobody has looked whether it is there.
    """

    path: str
    name: str
    kind: str
    first: int = WHOLE.first
    last: int = WHOLE.last
    is_listed: bool = False

    @property
    def part(self) -> TablePart:
        """The part of the table it is."""
        return TablePart(self.first, self.last)


class UnreadableInput(RuntimeError):
    """A remote or listed file that could not be read, however often it was tried."""


def list_units(paths: Sequence[str], *, path_base: str, part_bytes: int) -> list[InputUnit]:
    """The units that files make, sorted by name; a file given twice, in two folders say, is one.

    Args:
        paths: Of inputs and of lists of inputs.
        path_base: What stands before the paths in lists.
        part_bytes: Tables are cut into parts of about this size.

    Raises:
        ValueError: For a file of no known kind.
    """

    def units_of(path: str) -> list[InputUnit]:
        listed = path.endswith(LIST_SUFFIXES)
        return list(_listed_units(path, path_base) if listed else _file_units(path, part_bytes))

    units: dict[str, InputUnit] = {}
    for unit in itertools.chain.from_iterable(files.each(units_of, paths)):
        units.setdefault(unit.name, unit)
    return [units[name] for name in sorted(units)]


@contextmanager
def local_copy(path: str, *, tries: int) -> Iterator[str]:
    """A local file with the content of a file, until the block ends; the file itself where it is local.

    Raises:
        UnreadableInput: When it cannot be read.
    """
    if files.is_local(path):
        if not files.exists(path):
            raise UnreadableInput(f"{path}: no such file")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wit400m-") as folder:
        copy = files.join(folder, files.basename(path))
        _copy(path, copy, tries)
        yield copy


def _copy(path: str, copy: str, tries: int) -> None:
    for number in range(1, tries + 1):
        try:
            with files.open_for_read(path) as source, open(copy, "wb") as target:
                while part := source.read(_COPY_BYTES):
                    target.write(part)
            if files.file_size(copy) == (_remote_size(path) or files.file_size(copy)):
                return
            error: BaseException = EOFError("it ended too early")
        except READ_ERRORS as failure:  # fsspec calls any failure to look at an address "not found"
            error = failure
        if number < tries:
            time.sleep(pause_s(number, first_s=_FIRST_PAUSE_S))
    raise UnreadableInput(f"{path}: cannot be read after {tries} tries: {type(error).__name__}: {error}") from error


def _remote_size(path: str) -> int | None:
    """Bytes of a remote file; None where its server does not say."""
    system, inner = url_to_fs(path)
    size: int | None = system.size(inner)
    return size


def _file_units(path: str, part_bytes: int) -> Iterator[InputUnit]:
    name = f"{_plain_name(path)}-{files.file_stamp(path)['digest'][:12]}"
    kind = input_kind(path)
    parts = table_parts(path, part_bytes) if kind == "table" else [WHOLE]
    if len(parts) == 1:
        yield InputUnit(path, name, kind)
        return
    for number, part in enumerate(parts):
        yield InputUnit(path, f"{name}-{number:05}", kind, *part)


def _listed_units(path: str, path_base: str) -> Iterator[InputUnit]:
    content = files.read_bytes(path)
    for line in read_list(gzip.decompress(content) if path.endswith(".gz") else content):
        kind = named_kind(line)
        if kind is None:
            raise ValueError(f"{path}: {line}: the name of no web archive, HTML page or table")
        name = f"{_plain_name(line)}-{hashlib.sha256(line.encode()).hexdigest()[:12]}"
        is_whole_path = "://" in line or line.startswith("/")
        yield InputUnit(line if is_whole_path else path_base + line, name, kind, is_listed=True)


def _plain_name(path: str) -> str:
    return files.basename(path).lstrip("._")
