"""A run's folder, which one run at a time works in.

In: a folder. Out: a context in which no other process can have it.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from clip_train.errors import InputError
from clip_train.files import make_folder

LOCK_NAME = ".lock"


@contextlib.contextmanager
def held_folder(path: str) -> Iterator[None]:
    """Makes a folder and keeps it from other processes that ask for it in this way.

    It is held by a record lock: forked workers do not inherit it, so it ends with this process, however that ends.

    Raises:
        InputError: When another process holds the folder, or it cannot be made.
    """
    make_folder(path)
    try:
        descriptor = os.open(os.path.join(path, LOCK_NAME), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX leaves open which of the two it is
        os.close(descriptor)
        raise InputError(f"{path}: another run is at work there; wait for it, or give another --output") from error
    except OSError:  # a file system that has no locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)
