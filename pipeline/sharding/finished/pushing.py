"""A finished set of shards ► the same set elsewhere: on a bucket, on a hub of data sets, on another disk.

What belongs to the set is what its ``_stage.json`` names, or, in a copy without one, what its manifest does. Each file
is read once and must have the digest that the set says it has, or the push ends with an error and that file does not
appear. The manifest is sent last, and one that tells of another set is taken away first: who finds a manifest finds all
that it names. What is there already, by its size and by a digest, is not sent again. Digests are those that the store
tells, or that ``_push.json`` at the target keeps with the *mark* (`files.Stored`) that the store gave each file then.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.lineage import STAGE_NAME
from pipeline.base.shard_format import MANIFEST_NAME
from pipeline.sharding.forms import stats_name

T = TypeVar("T")

RECORD_NAME: Final = "_push.json"
_PART_BYTES: Final = 8 << 20
_RECORD_S: Final = 30.0  # between two writings of the record
_LONGEST_PAUSE_S: Final = 60.0


class ChangedFile(ValueError):
    """A file of the set is not what the set says it is."""


class SetFile(NamedTuple):
    """A file of a finished set.

    Attributes:
        name: Its path in the set's folder.
        bytes: Its size.
        sha256: Hexadecimal.
    """

    name: str
    bytes: int
    sha256: str


class Plan(NamedTuple):
    """What a push has to do.

    Attributes:
        send: Files, in the order in which they are sent; the manifest last.
        there: Files that are there already.
        remove: Names of files at the target that an earlier push left and the set does not have.
        invalid: Files at the target that tell of another set, and have to go first.
        others: How many files are there of which nothing is known; they are left alone.
    """

    send: list[SetFile]
    there: list[SetFile]
    remove: list[str]
    invalid: list[str]
    others: int


def list_set(shards: ShardsFolder) -> list[SetFile]:
    """The files of a finished set, in the order in which they are to be sent: the manifest last.

    Raises:
        ValueError: When the set is not finished, or a removal in it is not; or when two of its files disagree.
    """
    if not files.exists(shards.manifest):
        raise ValueError(f"{shards.path}: no {MANIFEST_NAME}; only a finished set of shards can be pushed")
    if files.exists(shards.working("removal", "plan.json")):
        raise ValueError(f"{shards.path}: a removal was cut short; run `wit400m remove` again first")
    manifest, stage = files.read_json(shards.manifest), shards.file(STAGE_NAME)
    listed = {entry["name"]: SetFile(entry["name"], entry["bytes"], entry["sha256"]) for entry in manifest["shards"]}
    if files.exists(stage):
        outputs = files.read_json(stage)["outputs"]
        told = {one["name"]: SetFile(one["name"], one["bytes"], one["sha256"]) for one in outputs}
        if wrong := sorted(name for name, file in listed.items() if told.get(name) != file):
            raise ValueError(f"{shards.path}: {MANIFEST_NAME} and {STAGE_NAME} differ about {wrong[0]}; verify the set")
        rest = [STAGE_NAME]
    else:
        told = listed
        rest = [name for name in _beside(shards, list(listed)) if name not in listed]
    described = {name: told.get(name) or _describe(shards, name) for name in (*told, *rest)}
    described.setdefault(MANIFEST_NAME, _describe(shards, MANIFEST_NAME))
    return sorted(described.values(), key=lambda file: (file.name == MANIFEST_NAME, file.name == STAGE_NAME, file.name))


def _beside(shards: ShardsFolder, names: Sequence[str]) -> list[str]:
    """What lies beside some shards and belongs to them."""
    there = files.list_stored(shards.path)
    start = f"{shards.path}/"
    known = [path.removeprefix(start) for path in (*map(shards.index, names), *shards.about_all)]
    known += map(stats_name, names)  # where the form of the set has them
    card = [name for name in there if name.startswith(f"{files.basename(shards.card)}/")]
    return [name for name in dict.fromkeys([*known, *card]) if name in there]


def _describe(shards: ShardsFolder, name: str) -> SetFile:
    path = shards.file(*name.split("/"))
    return SetFile(name, files.file_size(path), files.file_digest(path))


def plan_push(
    wanted: Sequence[SetFile],
    there: Mapping[str, files.Stored],
    record: Mapping[str, Sequence[Any]],
    *,
    blob_of: Callable[[SetFile], str],
    before: Sequence[str] = (),
) -> Plan:
    """What is to be sent, and what is to go.

    Args:
        wanted: The files of the set, in the order in which they are sent.
        there: What is at the target.
        record: Of earlier pushes there: size, sha256 and mark of files by name.
        blob_of: What git would call a file of the set.
        before: Names of files that the set which is there, or was, tells of.
    """

    def is_there(file: SetFile) -> bool:
        found = there.get(file.name)
        if found is None or found.bytes != file.bytes:
            return False
        if found.sha256 or found.blob:
            return found.sha256 == file.sha256 if found.sha256 else found.blob == blob_of(file)
        return bool(found.mark) and list(record.get(file.name, ())) == [file.bytes, file.sha256, found.mark]

    kept = [file for file in wanted if is_there(file)]
    send = [file for file in wanted if file not in set(kept)]
    names, known = {file.name for file in wanted}, {*before, *record, MANIFEST_NAME, STAGE_NAME}
    remove = sorted(name for name in known if name in there and name not in names)
    stale = {file.name for file in send} & there.keys() & {MANIFEST_NAME, STAGE_NAME}
    others = sum(name not in names | known and not _is_ours(name) for name in there)
    return Plan(send, kept, remove, sorted(stale), others)


def _is_ours(name: str) -> bool:
    """Whether a file at the target is a working file, of this program or of the target's own (``.gitattributes``)."""
    return any(part[0] in "._" for part in name.split("/") if part)


def git_blob(content: bytes) -> str:
    """What git calls some content.

    >>> git_blob(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def read_checked(folder: str, file: SetFile) -> Iterator[bytes]:
    """A file of a set, part by part.

    Args:
        folder: Of the set.
        file: What is read.

    Raises:
        ChangedFile: Behind the last part, when these are not the bytes that the set says.
    """
    digest, size = hashlib.sha256(), 0
    with files.open_for_read(files.join(folder, file.name)) as source:
        while part := source.read(_PART_BYTES):
            digest.update(part)
            size += len(part)
            yield part
    if (size, digest.hexdigest()) != (file.bytes, file.sha256):
        raise ChangedFile(
            f"{files.join(folder, file.name)}: {size:,} bytes with sha256 {digest.hexdigest()[:16]}…, but the set has "
            f"{file.bytes:,} with {file.sha256[:16]}…; it was not sent. `wit400m verify` tells what else is wrong"
        )


def send_file(file: SetFile, *, folder: str, target: str) -> list[Any]:
    """Sends a file; returns what the record says of it: size, sha256, mark.

    Raises:
        ChangedFile: See `read_checked`; the file does not appear.
        OSError: When it does not come through.
    """
    path = files.join(target, file.name)
    with files.write_whole(path) as sent:
        for part in read_checked(folder, file):
            sent.write(part)
    stored = files.find_stored(path)
    if stored.bytes != file.bytes:
        raise OSError(f"{path}: {file.bytes:,} bytes were sent, and {stored.bytes:,} are there")
    return [file.bytes, file.sha256, stored.mark]


def with_patience(act: Callable[[], T], *, tries: int, pause: Callable[[float], None] = time.sleep) -> T:
    """What a function gives, which is tried again when the other side fails, after pauses of 1, 2, 4… seconds.

    Args:
        act: The function.
        tries: How often at most.
        pause: Waits for so many seconds.

    Raises:
        OSError: That of the last try; what no further try mends is raised at once.
    """
    for number in range(tries):
        try:
            return act()
        except (FileNotFoundError, files.FileTrouble, files.NotAFolder):
            raise
        except OSError:
            if number == tries - 1:
                raise
            pause(min(2.0**number, _LONGEST_PAUSE_S))
    raise ValueError(f"tries must be at least 1, not {tries}")


class Record:
    """What ``_push.json`` at a target says; written every `_RECORD_S` seconds at most.

    Args:
        target: The folder.
    """

    def __init__(self, target: str) -> None:
        self._path = files.join(target, RECORD_NAME)
        self.files: dict[str, list[Any]] = files.read_json(self._path)["files"] if files.exists(self._path) else {}
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def add(self, name: str, told: list[Any]) -> None:
        """Notes that a file is there; writes the record when it is time."""
        with self._lock:
            self.files[name] = told
            if time.monotonic() - self._written > _RECORD_S:
                self.write()

    def drop(self, names: Sequence[str]) -> None:
        """Notes that files are not there any more."""
        for name in names:
            self.files.pop(name, None)

    def write(self) -> None:
        """Writes the record."""
        files.write_json(self._path, {"files": self.files})
        self._written = time.monotonic()


def send_all(plan: Plan, record: Record, *, folder: str, target: str, at_once: int, tries: int) -> Iterator[SetFile]:
    """Carries out a plan; gives each file when it is there.

    Args:
        plan: What to do.
        record: Of the target.
        folder: Of the set.
        target: Folder to send to.
        at_once: Files under way at once, but for the two that say that all are there.
        tries: How often a file is sent at most.

    Raises:
        ChangedFile, OSError: See `send_file`; files that are there by then stay, and are in the record.
    """
    final = [file for file in plan.send if file.name in (MANIFEST_NAME, STAGE_NAME)]
    first = plan.send[: len(plan.send) - len(final)]
    _remove(target, plan.invalid, tries)
    record.drop([*plan.invalid, *plan.remove])

    def send(file: SetFile) -> SetFile:
        record.add(file.name, with_patience(lambda: send_file(file, folder=folder, target=target), tries=tries))
        return file

    try:
        yield from _each_at_once(send, first, at_once)
        _remove(target, plan.remove, tries)
        yield from map(send, final)
    finally:
        with_patience(record.write, tries=tries)


def _remove(target: str, names: Sequence[str], tries: int) -> None:
    for name in names:
        with_patience(partial(files.remove_file, files.join(target, name)), tries=tries)


def _each_at_once(act: Callable[[SetFile], SetFile], todo: Sequence[SetFile], at_once: int) -> Iterator[SetFile]:
    """What a function gives for files, so many at once, as they come; at the first error no other is begun."""
    left, running = iter(todo), set[Future[SetFile]]()
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            while len(running) < at_once and (file := next(left, None)):
                running.add(pool.submit(act, file))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from [one.result() for one in done]


def find_missing(wanted: Sequence[SetFile], target: str) -> list[str]:
    """What is wrong at a target, by the sizes that its file system tells, a line each."""
    there = files.list_stored(target)
    return [
        f"{file.name}: {f'{there[file.name].bytes:,} bytes' if file.name in there else 'nothing'} is there, "
        f"not {file.bytes:,} bytes"
        for file in wanted
        if file.name not in there or there[file.name].bytes != file.bytes
    ]


def find_changed(file: SetFile, *, target: str) -> str:
    """What is wrong with the content of a file at a target, which is read; nothing, if all is well."""
    digest = files.file_digest(files.join(target, file.name))
    return "" if digest == file.sha256 else f"{file.name}: sha256 {digest[:16]}…, not {file.sha256[:16]}…"
