"""Files on any file system: local paths and every URL that fsspec knows (gs://, s3://, https://…).

What is written appears whole or not at all: it is made as a local file first, which then is renamed on a local disk, or
uploaded to an object store, where an object shows only when all of it has arrived. Names that begin with ``_`` or ``.``
are working files and are never listed. On object stores each function makes as few requests as can be, and an error
names the object.
"""

import contextlib
import errno
import fnmatch
import glob
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from io import BufferedReader
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

T = TypeVar("T")
R = TypeVar("R")

_STAMP_BYTES: Final = 1 << 20  # read at each end of a file to recognise it
_PART_BYTES: Final = 8 << 20
# Of one call of the system where much is written: for more, Linux looks for larger pages, which may take three times as
# long as the copying (ext4, 6.18: 0.4 to 1.8 CPU s a GB in calls of 4 MiB, 0.45 to 0.55 in these).
_WRITE_BYTES: Final = 128 << 10
_ONE_REQUEST_BYTES: Final = 64 << 20  # uploaded in one request; what is larger goes in parts
_READ_AHEAD_BYTES: Final = 1 << 20  # of a stored file that is read piece by piece
_AT_ONCE: Final = 64  # requests in flight where many files are asked about
_TEMPORARY: Final = ".tmp-"


class NotAFolder(OSError, ValueError):
    """A file lies where a folder should be, or above it."""


class FileTrouble(OSError):
    """What is wrong with a file or with its place; the message says all that a user needs to know."""


class Written(NamedTuple):
    """A file that was written whole."""

    path: str
    bytes: int
    sha256: str  # hexadecimal


class Entry(NamedTuple):
    """Something directly in a folder."""

    bytes: int
    modified: float | None  # seconds since 1970, where the file system tells
    is_folder: bool


class Stored(NamedTuple):
    """A file below a folder, as its file system tells of it.

    Attributes:
        bytes: Its size.
        mark: Another one where the content may be another: an etag, or a time; empty where nothing is told.
        sha256: Of the content, hexadecimal, where the file system tells; else empty.
        blob: What git would call the content (SHA-1), where the file system tells; else empty.
    """

    bytes: int
    mark: str
    sha256: str
    blob: str


class HashedFile:
    """A file that is written and hashed in one pass, the hashing beside the writing; see `write_hashed`.

    Attributes:
        bytes: How many were written.
    """

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._digest = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        """Appends bytes, which must stay as they are until the next call of a method has returned."""
        self._wait()
        self._hashing = self._pool.submit(self._digest.update, data)
        view = memoryview(data)
        for start in range(0, len(view), _WRITE_BYTES):
            self._file.write(view[start : start + _WRITE_BYTES])
        self.bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """The digest of all that was written, as hexadecimal digits."""
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()


_TIMES: Final = ("mtime", "LastModified", "updated", "last_modified", "created")  # of a change, by file system
_MARKS: Final = ("ETag", "etag", "md5Hash", "generation", *_TIMES)

_recorder: ContextVar[list[Written] | None] = ContextVar("recorder", default=None)
_discarded: ContextVar[list[str] | None] = ContextVar("discarded", default=None)


def is_local(path: str) -> bool:
    """Whether a path lies on this machine's own file system."""
    return "://" not in path or path.startswith("file://")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it, however both are spelled.

    >>> is_within("data/a/../vocab/x", "data/vocab/"), is_within("gs://b/vocab2", "gs://b/vocab")
    (True, False)
    """
    path, folder = (os.path.realpath(_plain(it)) if is_local(it) else it.rstrip("/") for it in (path, folder))
    return f"{path}/".startswith(folder.rstrip("/") + "/")


def join(folder: str, *names: str) -> str:
    """A path below a folder, on any file system.

    >>> join("gs://bucket/data/", "pairs", "a.parquet")
    'gs://bucket/data/pairs/a.parquet'
    """
    return "/".join([folder.rstrip("/") or "/", *names])


def basename(path: str) -> str:
    """The last part of a path.

    >>> basename("https://host/a/b.warc.gz?x=1")
    'b.warc.gz'
    """
    last = path.rstrip("/").rsplit("/", 1)[-1]
    return last if is_local(path) else last.partition("?")[0]


def open_for_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes as they are stored (nothing is decompressed); seekable."""
    if is_local(path):
        return open(_plain(path), "rb")
    with _store(path) as (system, inner):
        file = system.open(inner, "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead")
        return cast(BinaryIO, _StoredFile(file, path))


def read_bytes(path: str) -> bytes:
    """The whole content of a file."""
    if is_local(path):
        with open(_plain(path), "rb") as file:
            return file.read()
    with _store(path) as (system, inner):
        at_once = {"max_concurrency": 1} if "s3" in system.protocol else {}  # more, and s3fs asks for the size first
        return cast(bytes, system.cat_file(inner, **at_once))


def read_range(path: str, start: int, length: int) -> bytes:
    """Some bytes of a file, in one request; fewer where the file ends before."""
    if is_local(path):
        with open(_plain(path), "rb") as file:
            return os.pread(file.fileno(), length, start)
    if not length:
        return b""
    with _store(path) as (system, inner):
        return cast(bytes, system.cat_file(inner, start=start, end=start + length))


@contextmanager
def write_whole(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name only if the block ends well.

    Raises:
        FileTrouble: When the disk is full.
    """
    with _write_whole(path, file_digest) as file:
        yield file


@contextmanager
def write_hashed(path: str) -> Iterator[HashedFile]:
    """Opens a large file as `write_whole` does, which is hashed while it is written and so need not be read again.

    Raises:
        FileTrouble: When the disk is full.
    """
    hashed: list[HashedFile] = []
    with ThreadPoolExecutor(1) as pool, _write_whole(path, lambda _: hashed[0].sha256) as file:
        hashed.append(HashedFile(file, pool))
        yield hashed[0]


@contextmanager
def _write_whole(path: str, digest_of: Callable[[str], str]) -> Iterator[BinaryIO]:
    if (discarded := _discarded.get()) is not None:
        with tempfile.TemporaryFile() as buffer:
            yield cast(BinaryIO, buffer)
        discarded.append(path)
        return
    if is_local(path):
        with _write_local(_plain(path)) as file:
            yield file
        _record(path, _plain(path), digest_of)
        return
    with tempfile.NamedTemporaryFile(prefix="wit400m-", suffix=f"-{basename(path)}") as buffer:
        with _naming_full(tempfile.gettempdir()):
            yield cast(BinaryIO, buffer)
            buffer.flush()
        _upload(buffer.name, path)
        _record(path, buffer.name, digest_of)


def write_bytes_whole(path: str, data: bytes) -> None:
    """Writes a file in one go, whole or not at all."""
    with write_whole(path) as file:
        file.write(data)


@contextmanager
def record_writes() -> Iterator[list[Written]]:
    """Gives a list of all files that this thread writes whole while the block runs, with their digests."""
    written: list[Written] = []
    token = _recorder.set(written)
    try:
        yield written
    finally:
        _recorder.reset(token)


@contextmanager
def discard_writes() -> Iterator[list[str]]:
    """While the block runs, what this thread writes whole is not kept; gives a list of the paths it would have had."""
    discarded: list[str] = []
    token = _discarded.set(discarded)
    try:
        yield discarded
    finally:
        _discarded.reset(token)


def write_json(path: str, content: Any, *, sort_keys: bool = True) -> None:
    """Writes a JSON file for people and programs, whole or not at all; the same bytes for the same content."""
    write_bytes_whole(path, (json.dumps(content, indent=1, sort_keys=sort_keys) + "\n").encode())


def read_json(path: str) -> Any:
    """The content of a JSON file."""
    return json.loads(read_bytes(path))


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return os.path.exists(_plain(path))
    with _store(path) as (system, inner):
        return bool(system.exists(inner))


def is_folder(path: str) -> bool:
    """Whether a path names a folder."""
    if is_local(path):
        return os.path.isdir(_plain(path))
    with _store(path) as (system, inner):
        return bool(system.isdir(inner))


def file_size(path: str) -> int:
    """Bytes of a file."""
    if is_local(path):
        return os.path.getsize(_plain(path))
    with _store(path) as (system, inner):
        return int(system.size(inner))


def list_files(folder: str, suffix: str = "") -> list[str]:
    """The files directly in a folder, sorted by name, without working files; empty when there is no such folder."""
    return [join(folder, name) for name in sorted(list_sizes(folder)) if name.endswith(suffix) and name[0] not in "._"]


def list_sizes(folder: str) -> dict[str, int]:
    """The bytes of every file directly in a folder, by its name; empty when there is no such folder."""
    if is_local(folder):
        plain = _plain(folder)
        if not os.path.isdir(plain):
            return {}
        return {entry.name: entry.stat().st_size for entry in os.scandir(plain) if entry.is_file()}
    with _store(folder) as (system, inner):
        try:
            found = system.ls(inner, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
    return {basename(e["name"]): int(e["size"] or 0) for e in found if e["type"] == "file" and e["name"] != inner}


def list_entries(folder: str) -> dict[str, Entry]:
    """All that is directly in a folder, working files and folders included, by name; one request for a page of them."""
    if is_local(folder):
        plain = _plain(folder)
        if not os.path.isdir(plain):
            return {}
        with os.scandir(plain) as found:
            return {e.name: Entry(e.stat().st_size, e.stat().st_mtime, e.is_dir()) for e in found}
    with _store(folder) as (system, inner):
        try:
            listed = system.ls(inner, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
    own = inner.rstrip("/")
    return {
        basename(e["name"]): Entry(int(e["size"] or 0), _modified(e), e["type"] == "directory")
        for e in listed
        if e["name"].rstrip("/") != own
    }


def list_stored(folder: str) -> dict[str, Stored]:
    """All files in a folder and those below it, working files as well, by their path in it; none where it is not."""
    with _store(folder) as (system, inner):
        system.invalidate_cache()  # some keep listings whatever they are asked
        try:
            found = system.find(inner, detail=True)
        except FileNotFoundError:
            return {}
        own = inner.rstrip("/") + "/"
        return {name.removeprefix(own): _stored(entry) for name, entry in found.items() if name.startswith(own)}


def find_stored(path: str) -> Stored:
    """A file, as its file system tells of it."""
    with _store(path) as (system, inner):
        return _stored(system.info(inner))


def _stored(entry: Mapping[str, Any]) -> Stored:
    mark = next((f"{name} {entry[name]}" for name in _MARKS if entry.get(name) is not None), "")
    lfs = entry.get("lfs") or {}
    # On the Hugging Face Hub a large file's blob is a pointer to it, and not its content.
    blob = "" if lfs else str(entry.get("blob_id") or "")
    return Stored(int(entry["size"] or 0), mark, str(lfs.get("sha256") or ""), blob)


def sizes(paths: Iterable[str]) -> dict[str, int]:
    """The bytes of those of some files that are there; each folder is asked once."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0] or ".", []).append(path)
    listings = dict(zip(folders, each(list_sizes, folders), strict=True))
    return {
        path: listings[folder][basename(path)]
        for folder, its in folders.items()
        for path in its
        if basename(path) in listings[folder]
    }


def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What a function gives for each item, in order, many at once: for questions that a far file system answers."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def expand_inputs(patterns: Sequence[str], *, hidden: str = "._") -> list[str]:
    """The files that paths, folders and globs name, sorted by path, each once.

    A folder names all files below it, but for working files and folders, whose names begin with a dot or ``_``.

    Args:
        patterns: What names files.
        hidden: The characters with which names of files and folders begin that are passed over in folders.

    Raises:
        FileNotFoundError: For a pattern that names no file.
    """
    found: set[str] = set()
    for pattern, files in zip(patterns, each(partial(_expand, hidden=hidden), patterns), strict=True):
        if not files:
            what = "no file in the folder" if is_folder(pattern) else "no such file, and no file matches:"
            raise FileNotFoundError(f"{what} {pattern}")
        found.update(files)
    return sorted(found)


def check_folder(path: str) -> None:
    """Checks that there can be a folder at a path; object stores have none.

    Raises:
        NotAFolder: When a file lies there or above it.
    """
    if not is_local(path):
        return
    place = whole = os.path.abspath(_plain(path))
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        what = "a file is there" if place == whole else f"{place} is a file"
        raise NotAFolder(f"{path} cannot be a folder, because {what}; choose another one")


def make_folder(path: str) -> None:
    """Makes a folder and its parents where the file system has folders.

    Raises:
        NotAFolder: When a file lies there or above it.
        OSError: When it cannot be made; the message names it.
    """
    if not is_local(path):
        return
    check_folder(path)
    try:
        os.makedirs(_plain(path), exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {path}: {error.strerror}") from error


def remove_file(path: str) -> None:
    """Removes a file; nothing happens when it is not there."""
    with contextlib.suppress(FileNotFoundError), _store(path) as (system, inner):
        system.rm_file(inner)


def remove_tree(path: str) -> None:
    """Removes a folder and all in it, or a file; nothing happens when it is not there."""
    with _store(path) as (system, inner):
        if system.exists(inner):
            system.rm(inner, recursive=True)


def tree_bytes(folder: str) -> int:
    """Bytes of all files in a local folder and those below, working files as well; 0 when there is none."""
    places = ((parent, name) for parent, _, names in os.walk(_plain(folder)) for name in names)
    return sum(os.lstat(os.path.join(*place)).st_size for place in places)


def remove_temporaries(folder: str) -> None:
    """Removes what writers that were killed left in a local folder and the folders below."""
    if not is_local(folder):
        return
    for parent, _, names in os.walk(_plain(folder)):
        for name in fnmatch.filter(names, f".*{_TEMPORARY}*"):
            os.unlink(os.path.join(parent, name))


def remove_working_folders(folder: str) -> None:
    """Removes the folders directly in a folder whose names begin with ``_``."""
    with _store(folder) as (system, inner):
        for entry in system.ls(inner, detail=True):
            if entry["type"] == "directory" and basename(entry["name"]).startswith("_"):
                system.rm(entry["name"], recursive=True)


def local_path(path: str) -> str:
    """A path that can be memory-mapped: the path itself when local, else a copy kept for this machine.

    The copy is keyed by the file's stamp, so a changed file is copied anew and processes share one copy.
    """
    if is_local(path):
        return _plain(path)
    stamp = file_stamp(path)
    copy = os.path.join(tempfile.gettempdir(), "wit400m-cache", f"{stamp['digest'][:32]}-{stamp['name']}")
    if not os.path.exists(copy):
        with open_for_read(path) as source, _write_local(copy) as target:
            while part := source.read(_PART_BYTES):
                target.write(part)
    return copy


def file_stamp(path: str) -> dict[str, Any]:
    """What a file is recognised by: name, size and a digest of its two ends; its folder and age do not count."""
    size = file_size(path)
    digest = hashlib.sha256(str(size).encode())
    digest.update(read_range(path, 0, min(size, _STAMP_BYTES)))
    if size > _STAMP_BYTES:
        start = max(size - _STAMP_BYTES, _STAMP_BYTES)
        digest.update(read_range(path, start, size - start))
    return {"name": basename(path), "bytes": size, "digest": digest.hexdigest()}


def file_digest(path: str) -> str:
    """The SHA-256 of a whole file, as hexadecimal digits."""
    with open_for_read(path) as file:
        return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()


@contextmanager
def _write_local(final: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(final)
    make_folder(folder or ".")
    temporary = os.path.join(folder, f".{name}{_TEMPORARY}{secrets.token_hex(6)}")
    try:
        with _naming_full(folder or "."), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _upload(local: str, path: str) -> None:
    with _store(path) as (system, inner):
        if os.path.getsize(local) > _ONE_REQUEST_BYTES:
            system.put_file(local, inner)
            return
        with open(local, "rb") as file:
            system.pipe_file(inner, file.read())


def _record(path: str, local: str, digest_of: Callable[[str], str]) -> None:
    written = _recorder.get()
    if written is not None:
        written.append(Written(path, os.path.getsize(local), digest_of(local)))


@contextmanager
def _store(path: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """The file system of a path and the path in it; what goes wrong there names the path.

    Listings are not kept: other machines write, too.
    """
    with _naming(path):
        yield url_to_fs(path, use_listings_cache=False)


class _StoredFile:
    """A file of a store, open for reading; what goes wrong while it is read names its path."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def read(self, size: int = -1) -> bytes:
        with _naming(self._path):
            return cast(bytes, self._file.read(size))

    def readinto(self, buffer: Any) -> int:
        with _naming(self._path):
            return cast(int, self._file.readinto(buffer))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_StoredFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        with _naming(self._path):
            yield from self._file


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """What goes wrong in the block names a path."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except Exception as error:  # whatever the client of a store raises
        if isinstance(error, OSError) and path in str(error):
            raise
        raise OSError(f"{path}: {error or type(error).__name__}") from error


@contextmanager
def _naming_full(folder: str) -> Iterator[None]:
    """That a disk is full is told with the folder that has no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, FileTrouble):
            raise
        raise FileTrouble(f"no space left in {folder}: make room and run it again to continue") from error


def _modified(entry: Mapping[str, Any]) -> float | None:
    """When a file of a listing was written; file systems call that by several names, and some do not tell."""
    for name in _TIMES:
        value = entry.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if value is not None:
            return float(value)
    return None


def _plain(path: str) -> str:
    return path.removeprefix("file://")


def _expand(pattern: str, *, hidden: str) -> list[str]:
    if is_local(pattern):
        plain = _plain(pattern)
        if os.path.isdir(plain):
            return _local_tree(plain, hidden)
        if os.path.isfile(plain):
            return [plain]
        return [path for path in glob.glob(plain, recursive=True) if os.path.isfile(path)]
    with _store(pattern) as (system, inner):
        if glob.has_magic(inner) and system.protocol not in ("http", "https", ("http", "https")):
            return [system.unstrip_protocol(path) for path in system.glob(inner)]
        if not system.isdir(inner):
            return [pattern] if system.exists(inner) else []
        if "http" not in system.protocol:
            below = (path[len(inner.rstrip("/")) + 1 :] for path in system.find(inner))
            return [join(pattern, name) for name in sorted(below) if name and not _is_hidden(name, hidden)]
    return list_files(pattern)  # the pages of a site link to more than lies below


def _local_tree(folder: str, hidden: str) -> list[str]:
    """The files in a folder and those below it, also behind links, without those that are hidden; sorted."""
    found: list[str] = []
    seen: set[str] = set()
    todo = [folder]
    while todo:
        parent = todo.pop()
        if (real := os.path.realpath(parent)) in seen:
            continue
        seen.add(real)
        with os.scandir(parent) as listed:
            entries = [entry for entry in listed if entry.name[0] not in hidden]
        found += [join(parent, entry.name) for entry in entries if entry.is_file()]
        todo += [join(parent, entry.name) for entry in entries if entry.is_dir()]
    return sorted(found)


def _is_hidden(path: str, hidden: str) -> bool:
    return any(name[0] in hidden for name in path.split("/") if name)
