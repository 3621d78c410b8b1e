"""What a file that a stage reads from end to end is recognised by: all its bytes.

In: a path. Out: a stamp as `files.file_stamp` gives it, whose digest is of the whole file. So a dump that was repaired
in its middle is another one, and a copy, wherever it lies and whatever its date, is the same.

Reading such a file costs far more than its digest. Still it is wanted several times in a run and again when the run is
repeated, so a machine remembers the digests of large files, each under all that tells this file in this state from
others: what changes a file also changes its time of change, which nobody can set.
"""

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

from fsspec.core import url_to_fs

from pipeline.base import files

_LARGE_BYTES: Final = 64 << 20  # takes longer to read than a clock takes to tick
_PART_BYTES: Final = 2 << 20
_PARTS_AT_ONCE: Final = 4  # of each of many files
_VERSIONS: Final = ("ETag", "etag", "md5Hash", "crc32c", "generation")  # by which stores tell an object from another


def whole_stamp(path: str) -> dict[str, Any]:
    """Name, size and the digest of a whole file.

    Raises:
        FileNotFoundError: When there is none.
    """
    size = files.file_size(path)
    note = _note_of(path) if size >= _LARGE_BYTES else ""
    if note and os.path.exists(note):
        digest = str(files.read_json(note))
    else:
        digest = _digest(path, size)
        if note and note == _note_of(path):
            files.write_json(note, digest)
    return {"name": files.basename(path), "bytes": size, "digest": digest}


def _digest(path: str, size: int) -> str:
    """A digest of the digests of all parts, which are read a few at once: a far store answers slowly."""

    def digest_part(start: int) -> bytes:
        return hashlib.sha256(files.read_range(path, start, min(_PART_BYTES, size - start))).digest()

    with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
        parts = pool.map(digest_part, range(0, size, _PART_BYTES))
        return hashlib.sha256(b"".join([str(size).encode(), *parts])).hexdigest()


def _note_of(path: str) -> str:
    """Where a file's digest is remembered; empty, where nothing tells its states apart."""
    if files.is_local(path):
        found = os.stat(path.removeprefix("file://"))
        state: list[object] = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    else:
        system, inner = url_to_fs(path, use_listings_cache=False)
        entry = cast(dict[str, Any], system.info(inner))
        state = [path, entry["size"], *(str(entry[name]) for name in _VERSIONS if name in entry)]
        if len(state) == 2:
            return ""
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    return os.path.join(tempfile.gettempdir(), "wit400m-cache", f"{key}.digest")
