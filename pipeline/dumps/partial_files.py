"""A file that is being downloaded: what is there of it, what that hashes to, and how it gets its name.

It lies beside its place as ``.NAME.part``, and what the server calls that version of it (its ETag or date) in
``.NAME.part.version``, so that a later run can go on with it. It gets its name when it is whole.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self

from pipeline.base.files import make_folder

_READ_BYTES = 1 << 20


class DownloadFailed(OSError):
    """A file could not be had; the message is for the user."""


class Download(NamedTuple):
    """A file to get."""

    url: str
    path: str
    size: int = 0  # bytes; 0: unknown
    checksum: str = ""  # ALGORITHM:HEXADECIMAL, e.g. "sha1:da39…"; "": unknown

    @property
    def part_path(self) -> str:
        """Where it lies until it is whole."""
        folder, name = os.path.split(self.path)
        return os.path.join(folder, f".{name}.part")


def is_there(download: Download) -> bool:
    """Whether a file is there, whole.

    Raises:
        DownloadFailed: When another file has its name.
    """
    if not os.path.exists(download.path):
        return False
    found = os.path.getsize(download.path)
    if download.size and found != download.size:
        raise DownloadFailed(
            f"{download.path} has {found:,} bytes, not {download.size:,}: move it away (a download that was cut?)"
        )
    return True


def bytes_here(download: Download) -> int:
    """How much of a file is there, whole or in part."""
    for path in (download.part_path, download.path):
        try:
            return os.path.getsize(path)
        except FileNotFoundError:  # not begun, or it got its name this moment
            continue
    return 0


class PartialFile:
    """What is there of a file.

    Attributes:
        size: Bytes that are there.
        most_bytes: The most there ever were.
        version: What the server calls the version they are of; "" when it said nothing.
    """

    def __init__(self, download: Download) -> None:
        self._download = download
        self._version_path = f"{download.part_path}.version"
        make_folder(os.path.dirname(download.path) or ".")
        self._file = open(download.part_path, "a+b", buffering=0)  # noqa: SIM115
        self._digest = self._new_digest()
        self.size = 0
        self.version = ""
        self._take_up()
        self.most_bytes = self.size

    @classmethod
    @contextmanager
    def open(cls, download: Download) -> Iterator[Self]:
        """Opens what an earlier run left of a file, or nothing yet."""
        part = cls(download)
        try:
            yield part
        finally:
            part._file.close()

    @property
    def checksum(self) -> str:
        """Of what is there, as in `Download`."""
        return f"{self._digest.name}:{self._digest.hexdigest()}"

    def append(self, data: bytes) -> None:
        """Adds bytes.

        Raises:
            DownloadFailed: When the disk is full.
        """
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            name, folder = os.path.split(self._download.path)[::-1]
            raise DownloadFailed(
                f"no space left in {folder or '.'}: {self.size:,} bytes of {name} are there; "
                "make room and run it again to continue"
            ) from error
        self._digest.update(data)
        self.size += len(data)
        self.most_bytes = max(self.most_bytes, self.size)

    def restart(self) -> None:
        """Throws away what is there."""
        self._file.truncate(0)
        self._digest = self._new_digest()
        self.size = 0
        self.set_version("")

    def discard(self) -> None:
        """Removes what is there, for a file that there is not."""
        for path in (self._download.part_path, self._version_path):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def set_version(self, version: str) -> None:
        """Notes what the server calls this version of the file."""
        self.version = version
        with open(self._version_path, "w") as file:
            file.write(version)

    def finish(self) -> None:
        """Gives the file its name."""
        os.fsync(self._file.fileno())
        os.replace(self._download.part_path, self._download.path)
        if os.path.exists(self._version_path):
            os.unlink(self._version_path)

    def _new_digest(self) -> "hashlib._Hash":
        return hashlib.new(self._download.checksum.partition(":")[0] or "sha1", usedforsecurity=False)

    def _take_up(self) -> None:
        if os.path.exists(self._version_path):
            with open(self._version_path) as file:
                self.version = file.read()
        self._file.seek(0)
        while data := self._file.read(_READ_BYTES):
            self._digest.update(data)
            self.size += len(data)
        if 0 < self._download.size < self.size:
            self.restart()
