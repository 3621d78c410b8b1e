"""Files on any file system: local paths and every URL that fsspec knows (gs://, s3://, https://…).

What is written appears whole or not at all: on a local disk under a temporary name that is renamed, on an object
store by the upload itself. Names that begin with ``_`` or ``.`` are working files and are never listed.
"""

import fcntl
import fnmatch
import glob
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs

_STAMP_BYTES = 1 << 20  # read at each end of a file to recognise it
_TEMPORARY = ".tmp-"


def is_local(path: str) -> bool:
    """Whether a path lies on this machine's own file system."""
    return "://" not in path or path.startswith("file://")


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
    return cast(BinaryIO, fsspec.open(path, "rb", compression=None).open())


def read_bytes(path: str) -> bytes:
    """The whole content of a file."""
    with open_for_read(path) as file:
        return file.read()


@contextmanager
def write_whole(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name only if the block ends well."""
    if not is_local(path):
        buffer = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115
        with buffer:
            yield cast(BinaryIO, buffer)
            buffer.seek(0)
            with fsspec.open(path, "wb", compression=None) as target:
                while part := buffer.read(8 << 20):
                    target.write(part)
        return
    final = _plain(path)
    folder, name = os.path.split(final)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = os.path.join(folder, f".{name}{_TEMPORARY}{secrets.token_hex(6)}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def write_bytes_whole(path: str, data: bytes) -> None:
    """Writes a file in one go, whole or not at all."""
    with write_whole(path) as file:
        file.write(data)


def write_json(path: str, content: Any, *, sort_keys: bool = True) -> None:
    """Writes a JSON file for people and programs, whole or not at all; the same bytes for the same content."""
    write_bytes_whole(path, (json.dumps(content, indent=1, sort_keys=sort_keys) + "\n").encode())


def read_json(path: str) -> Any:
    """The content of a JSON file."""
    return json.loads(read_bytes(path))


def distinct_names(paths: Sequence[str]) -> list[str]:
    """The base names of files that come together in one folder; a name that is taken gets a number.

    >>> distinct_names(["old/a.parquet", "new/a.parquet", "new/b.index.parquet"])
    ['a.parquet', 'a-2.parquet', 'b.index.parquet']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem, dot, suffix = basename(path).partition(".")
        name, number = f"{stem}{dot}{suffix}", 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}{dot}{suffix}"
        taken.add(name)
        names.append(name)
    return names


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return os.path.exists(_plain(path))
    system, inner = url_to_fs(path)
    return bool(system.exists(inner))


def is_folder(path: str) -> bool:
    """Whether a path names a folder."""
    if is_local(path):
        return os.path.isdir(_plain(path))
    system, inner = url_to_fs(path)
    return bool(system.isdir(inner))


def file_size(path: str) -> int:
    """Bytes of a file."""
    if is_local(path):
        return os.path.getsize(_plain(path))
    system, inner = url_to_fs(path)
    return int(system.size(inner))


def list_files(folder: str, suffix: str = "") -> list[str]:
    """The files directly in a folder, sorted by name, without working files; empty when there is no such folder."""
    if is_local(folder):
        plain = _plain(folder)
        names = [e.name for e in os.scandir(plain) if e.is_file()] if os.path.isdir(plain) else []
    else:
        system, inner = url_to_fs(folder)
        found = system.ls(inner, detail=True) if system.isdir(inner) else []
        names = [basename(entry["name"]) for entry in found if entry["type"] == "file"]
    return [join(folder, name) for name in sorted(names) if name.endswith(suffix) and name[0] not in "._"]


def existing(paths: Iterable[str]) -> set[str]:
    """Those of some files that are there; each folder is asked once."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0] or ".", []).append(path)
    return {
        path
        for folder, its in folders.items()
        for there in [{basename(found) for found in list_files(folder)}]
        for path in its
        if basename(path) in there
    }


def expand_inputs(patterns: Sequence[str]) -> list[str]:
    """The files that paths, folders and globs name, sorted by path, each once.

    Raises:
        FileNotFoundError: For a pattern that names no file.
    """
    found: set[str] = set()
    for pattern in patterns:
        files = _expand(pattern)
        if not files:
            raise FileNotFoundError(f"no such file, and no file matches: {pattern}")
        found.update(files)
    return sorted(found)


def make_folder(path: str) -> None:
    """Makes a folder and its parents where the file system has folders."""
    if is_local(path):
        os.makedirs(_plain(path), exist_ok=True)


class FolderInUse(ValueError):
    """Another process works in a folder."""


@contextmanager
def hold_folder(path: str) -> Iterator[None]:
    """Makes a folder and keeps it from other processes of this machine that hold it too; a process that dies lets go.

    On other file systems nobody is kept out.

    Raises:
        FolderInUse: When another process holds it.
    """
    if not is_local(path):
        yield
        return
    make_folder(path)
    descriptor = os.open(_plain(path), os.O_RDONLY)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUse(f"{path}: another run is working there; wait for it, or choose another folder") from error
    except OSError:  # a file system that has no locks
        return


def remove_tree(path: str) -> None:
    """Removes a folder and all in it, or a file; nothing happens when it is not there."""
    system, inner = url_to_fs(path)
    if system.exists(inner):
        system.rm(inner, recursive=True)


def remove_temporaries(folder: str) -> None:
    """Removes what writers that were killed left in a local folder and the folders below."""
    if not is_local(folder):
        return
    for parent, _, names in os.walk(_plain(folder)):
        for name in fnmatch.filter(names, f".*{_TEMPORARY}*"):
            os.unlink(os.path.join(parent, name))


def remove_working_folders(folder: str) -> None:
    """Removes the folders directly in a folder whose names begin with ``_``."""
    system, inner = url_to_fs(folder)
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
        with open_for_read(path) as source, write_whole(copy) as target:
            while part := source.read(8 << 20):
                target.write(part)
    return copy


def file_stamp(path: str) -> dict[str, Any]:
    """What a file is recognised by: name, size and a digest of its two ends; its folder and age do not count."""
    size = file_size(path)
    digest = hashlib.sha256(str(size).encode())
    with open_for_read(path) as file:
        digest.update(file.read(_STAMP_BYTES))
        if size > _STAMP_BYTES:
            file.seek(max(size - _STAMP_BYTES, _STAMP_BYTES))
            digest.update(file.read(_STAMP_BYTES))
    return {"name": basename(path), "bytes": size, "digest": digest.hexdigest()}


def _plain(path: str) -> str:
    return path.removeprefix("file://")


def _expand(pattern: str) -> list[str]:
    if is_local(pattern):
        plain = _plain(pattern)
        if os.path.isdir(plain):
            return list_files(plain)
        if os.path.isfile(plain):
            return [plain]
        return [path for path in glob.glob(plain, recursive=True) if os.path.isfile(path)]
    system, inner = url_to_fs(pattern)
    if glob.has_magic(inner) and system.protocol not in ("http", "https", ("http", "https")):
        return [system.unstrip_protocol(path) for path in system.glob(inner)]
    if system.isdir(inner):
        return list_files(pattern)
    return [pattern] if system.exists(inner) else []
