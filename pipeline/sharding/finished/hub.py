"""A finished set ► a repository on the Hugging Face Hub, in commits of many files; the last has the manifest.

The file system of the package ``huggingface_hub`` makes a commit of every file, and the Hub grants some hundred commits
an hour; so files go in batches. A file that a commit was cut short with is found again by the Hub itself: it knows
contents by their digests, and asks for none twice.
Source: Hugging Face Hub, "Repository limitations and recommendations"; `huggingface_hub.HfApi.create_commit`.
"""

import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pipeline.base.shard_format import MANIFEST_NAME
from pipeline.sharding.finished.pushing import Plan, SetFile, read_checked, with_patience

_PREFIX: Final = "hf://"
_BUCKETS: Final = "hf://buckets/"  # they have no commits
_MOST_FILES: Final = 100  # of a commit
_MOST_BYTES: Final = 5 << 30  # of a commit, which lie on the local disk meanwhile


def is_repository(target: str) -> bool:
    """Whether a path is in a repository of the Hub."""
    return target.startswith(_PREFIX) and not target.startswith(_BUCKETS)


def check_installed() -> None:
    """Raises ValueError, which says what to install, when the package is not there."""
    _hub()


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise ValueError("hf:// needs the package huggingface_hub: install wit400m with the extra 'hub'") from None


def cut_commits(send: Sequence[SetFile], *, most_files: int, most_bytes: int) -> list[list[SetFile]]:
    """Files as batches, in order; the manifest is in the last, alone where there are several.

    >>> made = [SetFile(name, 6, "") for name in ("a", "b", "c", "manifest.json")]
    >>> [[file.name for file in part] for part in cut_commits(made, most_files=9, most_bytes=12)]
    [['a', 'b'], ['c'], ['manifest.json']]
    >>> [[file.name for file in part] for part in cut_commits(made, most_files=9, most_bytes=99)]
    [['a', 'b', 'c', 'manifest.json']]
    """
    parts: list[list[SetFile]] = []
    for file in send:
        held = parts[-1] if parts else []
        if not held or len(held) == most_files or sum(one.bytes for one in held) + file.bytes > most_bytes:
            parts.append([])
        parts[-1].append(file)
    if len(parts) > 1 and parts[-1][-1].name == MANIFEST_NAME and len(parts[-1]) > 1:
        parts.append([parts[-1].pop()])
    return parts


def commit_all(plan: Plan, *, folder: str, target: str, at_once: int, tries: int) -> Iterator[SetFile]:
    """Carries out a plan in a repository; gives each file when it is there.

    Args:
        plan: What to do.
        folder: Of the set.
        target: ``hf://datasets/OWNER/NAME[@REVISION][/FOLDER]``.
        at_once: Files of a commit under way at once.
        tries: How often a commit is tried at most.

    Raises:
        ChangedFile: See `pushing.read_checked`; the commit of that file is not made.
        OSError: When the Hub does not take a commit.
    """
    hub = _hub()
    hub.utils.disable_progress_bars()  # there is one of our own
    system = hub.HfFileSystem()
    place = system.resolve_path(target)
    parts = cut_commits(plan.send, most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
    # What tells of another set goes first, unless one commit does all.
    first = [*plan.invalid, *plan.remove] if len(parts) > 1 else plan.remove
    for number, part in enumerate(parts or [[]]):
        gone = [] if number else first
        if not part and not gone:
            return
        with tempfile.TemporaryDirectory(prefix="wit400m-") as copies:
            operations = [hub.CommitOperationDelete(path_in_repo=_within(place.path_in_repo, name)) for name in gone]
            added = [(_within(place.path_in_repo, file.name), _copy(file, folder, copies)) for file in part]
            message = f"wit400m push: {len(part):,} files, part {number + 1:,} of {len(parts):,}"

            def commit(operations: Sequence[Any] = operations, added: Any = added, message: str = message) -> None:
                # A commit changes its operations: each try has its own.
                adds = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in added]
                try:
                    system._api.create_commit(
                        repo_id=place.repo_id,
                        repo_type=place.repo_type,
                        revision=place.revision,
                        operations=[*operations, *adds],
                        commit_message=message,
                        num_threads=at_once,
                    )
                except Exception as error:  # the client's own, of several packages
                    raise OSError(f"{target}: {error}") from error

            with_patience(commit, tries=tries)
        yield from part
    system.invalidate_cache()


def _within(inner: str, name: str) -> str:
    return f"{inner.rstrip('/')}/{name}" if inner else name


def _copy(file: SetFile, folder: str, copies: str) -> str:
    """A local file with the checked content of a file of the set."""
    path = os.path.join(copies, file.name.replace("/", "--"))
    with open(path, "wb") as copy:
        for part in read_checked(folder, file):
            copy.write(part)
    return path
