"""A folder that one run works in at a time: a lock on this machine's disks, a lease on object stores.

A *lease* is an object that says whose the folder is and until when; whoever holds it renews it. A run that dies stops
renewing, and some minutes later the folder is free. Where the store has conditional writes (s3, gs) of two runs that
come at the same moment one gets the lease; elsewhere the one that wrote last.
"""

import fcntl
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from fsspec.core import url_to_fs

from pipeline.base import files

_LEASE_NAME: Final = "_lease.json"
_LEASE_S: Final = 180.0
_RENEW_S: Final = 30.0
_SETTLE_S: Final = 2.0  # longer than two requests
_LOCKS: Final = "/proc/locks"


class FolderInUse(ValueError):
    """Another process works in a folder."""


class LeaseLost(RuntimeError):
    """This run did not renew its lease in time, and another run has taken the folder."""


class Hold:
    """What `hold_folder` gives: a folder that is this run's own, as far as it knows."""

    def __init__(self) -> None:
        self._lost_to = ""

    def lose(self, path: str, owner: str) -> None:
        """Notes that another run has the folder."""
        self._lost_to = f"{path}: taken over by {owner}, because this run did not renew its lease in time"

    def check(self) -> None:
        """Raises `LeaseLost` when another run has the folder."""
        if self._lost_to:
            raise LeaseLost(self._lost_to)


@contextmanager
def hold_folder(path: str) -> Iterator[Hold]:
    """Keeps a folder from other runs that hold it too, and makes it where the file system has folders.

    Raises:
        FolderInUse: When another process holds it.
    """
    with _lock(path) if files.is_local(path) else _lease(path) as hold:
        yield hold


def find_holder(path: str) -> str | None:
    """Who works in a folder, as far as can be told without taking it: by its lease, or by the locks that Linux lists.

    A lock that is held on another machine, or seen from another container, is not listed.
    """
    if not files.is_local(path):
        held = _read(files.join(path, _LEASE_NAME))
        return str(held["owner"]) if held and held["expires"] > time.time() else None
    try:
        about = os.stat(path.removeprefix("file://"))
        with open(_LOCKS) as file:
            locks = [line.split() for line in file]
    except OSError:
        return None
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    holders = [words[4] for words in locks if words[1] == "FLOCK" and words[5] == place]
    return f"process {holders[0]}" if holders else None


@contextmanager
def _lock(path: str) -> Iterator[Hold]:
    files.make_folder(path)
    descriptor = os.open(path.removeprefix("file://"), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(f"{path}: another run is working there; wait for it, or choose another folder") from error
        except OSError:  # a file system that has no locks
            pass
        yield Hold()
    finally:
        os.close(descriptor)


@contextmanager
def _lease(path: str) -> Iterator[Hold]:
    lease, token = files.join(path, _LEASE_NAME), secrets.token_hex(8)
    _take(path, lease, token)
    hold, ended = Hold(), threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, lease, token, hold, ended), name="lease", daemon=True)
    renewal.start()
    try:
        yield hold
    finally:
        ended.set()
        renewal.join()
        if (_read(lease) or {}).get("token") == token:
            files.remove_file(lease)


def _take(path: str, lease: str, token: str) -> None:
    held = _read(lease)
    if held is not None:
        if (left := held["expires"] - time.time()) > 0:
            raise FolderInUse(
                f"{path}: another run ({held['owner']}) is working there; wait for it, or choose another folder "
                f"(should that run be dead, the folder is free in {left:.0f} s)"
            )
        files.remove_file(lease)
    try:
        _create(lease, token)
    except FileExistsError:
        held = {"owner": "one that began at the same moment"} | (_read(lease) or {})
    else:
        if held is not None:  # another run may have found it expired as well, and removed what this one has written
            time.sleep(_SETTLE_S)
        held = _read(lease) or {"owner": "one that took it at the same moment"}
    if held.get("token") != token:
        raise FolderInUse(f"{path}: another run ({held['owner']}) is working there; wait for it")


def _create(lease: str, token: str) -> None:
    """Writes a lease unless one is there, as far as the file system can tell."""
    system, inner = url_to_fs(lease, use_listings_cache=False)
    system.pipe_file(inner, json.dumps(_content(token)).encode(), mode="create")


def _renew(path: str, lease: str, token: str, hold: Hold, ended: threading.Event) -> None:
    while not ended.wait(_RENEW_S):
        try:
            held = _read(lease)
            if held is not None and held["token"] != token:
                hold.lose(path, held["owner"])
                return
            files.write_json(lease, _content(token))
        except OSError:  # the store does not answer; there are more tries before the lease ends
            continue


def _read(lease: str) -> dict[str, Any] | None:
    try:
        return dict(files.read_json(lease))
    except FileNotFoundError:
        return None


def _content(token: str) -> dict[str, Any]:
    owner = f"process {os.getpid()} on {platform.node()}"
    return {"owner": owner, "token": token, "expires": time.time() + _LEASE_S}
