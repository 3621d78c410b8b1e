"""Lists of what must not be in a data set: addresses, hosts, samples, and images by what their bytes or looks hash to.

A list is a text file, an entry a line; empty lines and what follows a ``#`` are nothing. Kinds:

``urls``    addresses of images; compared as canonical URLs
``hosts``   names of hosts; those below them, too
``keys``    keys of samples (32 hexadecimal digits), or the uids that pairs carry: texts, or two uint64 as 32 digits
``sha256``  digests of image files as fetched, hexadecimal
``md5``     the same; known only where an image is fetched
``phash``   perceptual hashes of 64 bits (16 hexadecimal digits); pictures within a distance of them

In: such files. Out: `Blocklists`, which tells of rows of tables, of addresses and of images whether they are listed.
Source of the hash lists' use: Re-LAION-5B (2024), which removed links by lists of hashes of child-protection bodies.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.shard_format import UID
from pipeline.web.urls import canonicalize_url, url_host

KINDS: Final = ("urls", "hosts", "keys", "sha256", "md5", "phash")
_DIGITS: Final = {"sha256": 64, "md5": 32, "phash": 16}
_ROWS_AT_ONCE: Final = 1 << 14  # of pictures compared with all hashes: 64 of them fill 8 MB
_HASHES_AT_ONCE: Final = 64

Mask = npt.NDArray[np.bool_]


@dataclass(kw_only=True)
class BlockOptions:
    """What is left out whatever else holds; options of stages."""

    name: ClassVar[str] = ""  # of the stage
    block: tuple[str, ...] = option(
        (),
        f"Lists of what is left out and counted: KIND=FILE ({', '.join(KINDS)}; an entry a line), or folders with "
        "KIND.txt.",
        identity=False,
        read_here=True,
    )
    removals: str = option(
        "",
        "Folder of what `wit400m remove` took out, which stays out.",
        under_data="removals",
        identity=False,
        read_here=True,
    )
    phash_distance: int = option(
        0, "Bits by which pictures may differ from a hash that is listed.", minimum=0, maximum=32, sparse=True
    )

    def __post_init__(self) -> None:
        """Checks the kinds of lists; does no I/O."""
        super().__post_init__()  # type: ignore[misc]
        for one in self.block:
            kind, is_one, _ = one.partition("=")
            if is_one and kind not in KINDS:
                raise ValueError(f"{self.name}: block: {one!r}: the kinds of lists are {', '.join(KINDS)}")

    def hand_out_lists(self, path: str) -> "OnWorker[Blocklists]":
        """Reads all lists, those that were asked for and what was removed before, and puts them where workers see them.

        Args:
            path: Where to.

        Raises:
            ValueError, FileNotFoundError: See `read_blocklists`.
        """
        asked = (*self.block, *([self.removals] if lists_in(self.removals) else []))
        files.write_json(path, read_blocklists(asked).to_json())
        return OnWorker(load_blocklists, path, phash_distance=self.phash_distance)


@dataclass(frozen=True, eq=False)
class Blocklists:
    """All lists together.

    Attributes:
        entries: Of each kind, sorted; as the module says they are compared.
        phash_distance: Bits by which the hashes of pictures may differ.
    """

    entries: Mapping[str, frozenset[str]]
    phash_distance: int = 0

    def __bool__(self) -> bool:
        """Whether anything is listed."""
        return any(self.entries.values())

    @property
    def lists_images(self) -> bool:
        """Whether images are told by their bytes or looks."""
        return any(self.entries.get(kind) for kind in ("sha256", "md5", "phash"))

    def has_host(self, host: str) -> bool:
        """Whether a host is listed, or one above it.

        >>> lists = Blocklists({"hosts": frozenset({"b.example"})})
        >>> lists.has_host("a.b.example"), lists.has_host("ab.example")
        (True, False)
        """
        hosts = self._of("hosts")
        if not hosts:
            return False
        labels = host.split(".")
        return any(".".join(labels[start:]) in hosts for start in range(len(labels)))

    def has_bytes(self, source: bytes) -> bool:
        """Whether an image file is listed by a digest."""
        return any(
            self.entries.get(kind) and hashlib.new(kind, source, usedforsecurity=False).hexdigest() in self._of(kind)
            for kind in ("sha256", "md5")
        )

    def has_looks(self, phash: int) -> bool:
        """Whether a picture is listed, by its perceptual hash of 64 bits, signed or not."""
        return bool(self._near(np.array([phash & 0xFFFF_FFFF_FFFF_FFFF], np.uint64))[0])

    def rows(self, table: pa.Table) -> Mask:
        """Which rows of a table are listed.

        Args:
            table: With columns ``key``, ``image_url``, ``sha256`` (binary), ``phash`` (64 bits, signed or null) and, if
                uids are carried, ``uid``.
        """
        listed = np.zeros(table.num_rows, bool)
        if urls := self._of("urls"):
            listed |= _is_in(table["image_url"], urls)
        if self._of("hosts"):
            listed |= np.array([self.has_host(url_host(url)) for url in table["image_url"].to_pylist()], bool)
        if keys := self._of("keys"):
            listed |= _is_in(table["key"], keys)
            if UID in table.column_names:
                listed |= np.array([uid_text(uid) in keys for uid in table[UID].to_pylist()], bool)
        if digests := self._of("sha256"):
            listed |= _is_in(table["sha256"], {bytes.fromhex(digest) for digest in digests})
        if self._of("phash"):
            known = table["phash"].is_valid().to_numpy(zero_copy_only=False)
            looks = table["phash"].fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
            listed |= known & self._near(looks)
        return listed

    def to_json(self) -> dict[str, list[str]]:
        """All entries, for `load_blocklists`."""
        return {kind: sorted(entries) for kind, entries in self.entries.items()}

    def _of(self, kind: str) -> frozenset[str]:
        return self.entries.get(kind, frozenset())

    def _near(self, looks: npt.NDArray[np.uint64]) -> Mask:
        """Which hashes of pictures are within the distance of a listed one."""
        listed = np.array([int(digits, 16) for digits in sorted(self._of("phash"))], np.uint64)
        if not self.phash_distance:
            return np.isin(looks, listed)
        near = np.zeros(len(looks), bool)
        for first in range(0, len(looks), _ROWS_AT_ONCE):
            rows = looks[first : first + _ROWS_AT_ONCE, None]
            for start in range(0, len(listed), _HASHES_AT_ONCE):
                apart = np.bitwise_count(rows ^ listed[None, start : start + _HASHES_AT_ONCE])
                near[first : first + _ROWS_AT_ONCE] |= (apart <= self.phash_distance).any(axis=1)
        return near


NOTHING_LISTED: Final = Blocklists({})


def uid_text(uid: Any) -> str:
    """A carried uid as lists have it.

    >>> uid_text({"f0": 1, "f1": 255}), uid_text("AB12")
    ('000000000000000100000000000000ff', 'ab12')
    """
    if isinstance(uid, dict) and len(uid) == 2 and all(isinstance(half, int) for half in uid.values()):
        return "".join(f"{half:016x}" for half in uid.values())
    return str(uid).lower()


def read_blocklists(asked: Sequence[str], *, phash_distance: int = 0) -> Blocklists:
    """Reads lists.

    Args:
        asked: ``KIND=FILE``, or folders with files ``KIND.txt``.
        phash_distance: Bits by which the hashes of pictures may differ.

    Raises:
        ValueError: For a line that is no entry of its kind, with file and line, and for a folder without lists.
        FileNotFoundError: Where there is no such file or folder.
    """
    entries: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for kind, path in list_files(asked):
        entries[kind].update(parse_entries(kind, files.read_bytes(path).decode("utf-8-sig"), path=path))
    return Blocklists({kind: frozenset(found) for kind, found in entries.items()}, phash_distance)


def load_blocklists(path: str, *, phash_distance: int = 0) -> Blocklists:
    """Reads what `Blocklists.to_json` gave, from a file."""
    return Blocklists({kind: frozenset(found) for kind, found in files.read_json(path).items()}, phash_distance)


def list_files(asked: Sequence[str]) -> list[tuple[str, str]]:
    """The kind and the path of each list that is asked for.

    Raises:
        ValueError: For a folder without lists.
    """
    found = []
    for one in asked:
        kind, is_one, path = one.partition("=")
        if is_one:
            found.append((kind, path))
        elif lists := lists_in(one):
            found += lists
        else:
            names = ", ".join(f"{kind}.txt" for kind in KINDS)
            raise ValueError(f"block: {one!r}: give KIND=FILE, or a folder that holds one of {names}")
    return found


def lists_in(folder: str) -> list[tuple[str, str]]:
    """The kind and the path of each list in a folder."""
    kinds = {f"{kind}.txt": kind for kind in KINDS}
    found = {files.basename(path): path for path in files.list_files(folder, ".txt")}
    return [(kind, found[name]) for name, kind in kinds.items() if name in found]


def parse_entries(kind: str, content: str, *, path: str) -> Iterator[str]:
    """The entries of a list, as they are compared.

    Args:
        kind: One of `KINDS`.
        content: Of the file.
        path: For the error.

    Raises:
        ValueError: For a line that is no entry.

    >>> list(parse_entries("hosts", "A.example  # asked on 2026-01-02", path="hosts.txt"))
    ['a.example']
    """
    for number, line in enumerate(content.splitlines(), start=1):
        # An address may hold a "#": only one after white space begins a remark.
        text = re.sub(r"(?:^|\s+)#.*$", "", line).strip()
        if not text:
            continue
        entry = _PARSE[kind](text) if kind in _PARSE else _parse_digits(kind, text)
        if not entry:
            raise ValueError(f"{path}: line {number}: {text!r} is none of the {kind}")
        yield entry


def _parse_host(text: str) -> str | None:
    return url_host(url) if (url := canonicalize_url(f"http://{text.rstrip('.')}/")) and "/" not in text else None


def _parse_digits(kind: str, text: str) -> str | None:
    digits = text.lower()
    return digits if re.fullmatch(rf"[0-9a-f]{{{_DIGITS[kind]}}}", digits) else None


_PARSE: Final[Mapping[str, Callable[[str], str | None]]] = {
    "urls": canonicalize_url,
    "hosts": _parse_host,
    "keys": str.lower,
}


def _is_in(column: pa.ChunkedArray, values: Iterable[Any]) -> Mask:
    return pc.is_in(column, value_set=pa.array(sorted(values), column.type)).to_numpy(zero_copy_only=False)
