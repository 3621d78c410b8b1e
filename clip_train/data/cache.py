"""A folder of this machine with what its processes make once of shards: indexes of tars, copies of far shards.

In: a shard. Out: where its samples lie, and an open file. The index that `write-shards` writes beside a shard is used
where it is; of other tars one is made by whichever process needs it first, and kept. A shard of an object store or a
web server is copied when it is first needed, and copies that were not used for longest make room for new ones.
All processes of a machine share the folder; what they make appears whole, and a lock keeps two from making the same.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clip_train.data.tars import find_members, index_shard
from clip_train.errors import DataError, InputError
from pipeline.base import files

GB: Final = 10**9

_COPY_SUFFIX: Final = ".copy"
_INDEX_SUFFIX: Final = ".npy"
_EXTENT_COLUMNS: Final = ("offset", "length")  # of the table beside a shard
_PART_BYTES: Final = 8 << 20
_WAITS_S: Final = (1.0, 5.0)  # before another try to copy a file

Extents = NDArray[np.int64]  # [samples, 2]: first byte and number of bytes of each sample's members


class Opened(NamedTuple):
    """A shard that is open."""

    descriptor: int
    extents: Extents


class ShardCache:
    """Indexes and copies of shards.

    Args:
        folder: Where they are kept; by default ``wit400m`` in the user's folder for such files.
        max_bytes: Most that is kept of copies; the one in use stays in any case.
    """

    def __init__(self, folder: str = "", *, max_bytes: int = 100 * GB) -> None:
        self._folder = os.path.abspath(folder or default_folder())
        self._max_bytes = max_bytes

    def open(self, path: str, num_bytes: int | None = None) -> Opened:
        """Opens a shard and finds its samples.

        Args:
            path: A local path or a URL.
            num_bytes: Size of a far file, as it was listed.

        Raises:
            InputError: When there is no such shard, or it is no tar.
            DataError: When a far shard cannot be fetched now.
        """
        if files.is_local(path):
            local = path.removeprefix("file://")
            return Opened(_open(local), self.extents(path))
        size = files.file_size(path) if num_bytes is None else num_bytes
        while True:
            local = self._copy(path, size)
            with contextlib.suppress(FileNotFoundError):  # it has just made room for another one
                descriptor = os.open(local, os.O_RDONLY)
                os.utime(local)
                return Opened(descriptor, self._find_extents(path, local))

    def extents(self, path: str) -> Extents:
        """Where the samples of a local shard lie.

        Raises:
            InputError: When there is no such shard, or it is no tar.
        """
        return self._find_extents(path, path.removeprefix("file://"))

    def _find_extents(self, path: str, local: str) -> Extents:
        beside = self.read_table(path)
        if beside is not None and _fits(beside, local):
            return beside
        try:
            status = os.stat(local)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        kept = self._place(f"{os.path.abspath(local)} {status.st_size} {status.st_mtime_ns}", _INDEX_SUFFIX)
        if (known := _load(kept)) is not None:
            return known
        with self._locked(kept):
            if (known := _load(kept)) is not None:
                return known
            rows = [spans.whole for spans in index_shard(local)]
            found = np.array(rows, dtype=np.int64).reshape(-1, 2)
            with contextlib.suppress(OSError), _written_aside(kept) as aside, open(aside, "wb") as file:
                np.save(file, found)
            return found

    def read_table(self, path: str) -> Extents | None:
        """What the table beside a shard says of its samples, when there is one that knows."""
        beside = path.removesuffix(".tar") + ".parquet"
        try:
            if files.is_local(path):
                source = beside.removeprefix("file://")
                if not os.path.exists(source):
                    return None
            else:
                source = self._copy(beside, files.file_size(beside))
            table = pq.ParquetFile(source, memory_map=True)
            if not set(_EXTENT_COLUMNS) <= set(table.schema_arrow.names):
                return None
            rows = table.read(columns=list(_EXTENT_COLUMNS), use_threads=False)
            return np.stack([rows[name].to_numpy() for name in _EXTENT_COLUMNS], axis=1).astype(np.int64)
        except (OSError, pa.ArrowException, InputError):  # none, or not one of ours
            return None

    def _copy(self, path: str, num_bytes: int) -> str:
        """The local copy of a far file, made where there is none."""
        copy = self._place(f"{path} {num_bytes}", _COPY_SUFFIX)
        if os.path.exists(copy):
            return copy
        with self._locked(copy):
            if os.path.exists(copy):
                return copy
            for wait_s in (*_WAITS_S, None):
                try:
                    self._fetch(path, copy, num_bytes)
                    break
                except FileNotFoundError as error:
                    raise InputError(str(error)) from error
                except OSError as error:
                    if wait_s is None:
                        raise DataError(f"cannot be copied to {self._folder}: {error}") from error
                    time.sleep(wait_s)
            self._make_room(spared=copy)
        return copy

    def _fetch(self, path: str, copy: str, num_bytes: int) -> None:
        with _written_aside(copy) as aside:
            with files.open_for_read(path) as source, open(aside, "wb") as target:
                while part := source.read(_PART_BYTES):
                    target.write(part)
            if os.path.getsize(aside) != num_bytes:
                raise OSError(f"{path}: {os.path.getsize(aside):,} bytes came, not {num_bytes:,}")

    def _make_room(self, *, spared: str) -> None:
        """Removes the copies that were not used for longest, until the rest may stay."""
        with os.scandir(self._folder) as found:
            copies = [(entry.stat().st_mtime, entry) for entry in found if entry.name.endswith(_COPY_SUFFIX)]
        total = sum(entry.stat().st_size for _, entry in copies)
        for _, entry in sorted(copies, key=lambda copy: copy[0]):
            if total <= self._max_bytes:
                return
            if entry.path != spared:
                total -= entry.stat().st_size
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)

    def _place(self, identity: str, suffix: str) -> str:
        name = hashlib.blake2b(identity.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        return os.path.join(self._folder, name + suffix)

    @contextlib.contextmanager
    def _locked(self, place: str) -> Iterator[None]:
        """Keeps other processes from making the same; where no lock can be had, two may."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                os.makedirs(self._folder, exist_ok=True)
                name = f"{os.path.basename(place)[:2]}.lock"
                lock = held.enter_context(open(os.path.join(self._folder, name), "wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def default_folder() -> str:
    """Where this user's programs keep what they can make again, or what ``WIT400M_CACHE`` names."""
    if named := os.environ.get("WIT400M_CACHE"):
        return named
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "wit400m")


@contextlib.contextmanager
def _written_aside(path: str) -> Iterator[str]:
    """Gives a path to write to, which takes the place of `path` when all went well."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), suffix=".part", delete=False) as file:
        aside = file.name
    try:
        yield aside
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def _load(path: str) -> Extents | None:
    with contextlib.suppress(OSError, ValueError, EOFError):
        found: Extents = np.load(path, allow_pickle=False)
        return found
    return None


def _fits(extents: Extents, local: str) -> bool:
    """Whether a table speaks of this very tar: some sample lies where it says."""
    if not len(extents):
        return not os.path.getsize(local) or not index_shard(local)
    with open(local, "rb") as file:
        for row in {0, len(extents) // 2, len(extents) - 1}:
            offset, length = extents[row].tolist()
            file.seek(offset)
            if find_members(file.read(length), offset) is not None:
                return True
    return False


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
