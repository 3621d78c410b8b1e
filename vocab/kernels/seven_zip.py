"""7z archives as runs of plain bytes, by the package py7zr, which is an extra.

In: a seekable binary file. Out: `Piece`s of all files in it, one behind another. An archive lists what is in it at its
end, so of one that is cut short nothing can be read.

py7zr gives what it decompresses to a writer, and does not return before it is done. So it works in a thread, which
waits whenever a few pieces are ahead of those that were taken.
"""

import contextlib
import importlib
import queue
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import BinaryIO, Final

from vocab.kernels.pieces import Piece

_PIECES_AHEAD: Final = 2  # of some megabytes each
_LOOK_S: Final = 0.1

_Put = Callable[[bytes | BaseException | None], None]
_Queue = queue.Queue[bytes | BaseException | None]  # None: that is all


class NoReader(ValueError):
    """An archive needs a package that is not installed."""


def read_7z(file: BinaryIO) -> Iterator[Piece]:
    """Reads a whole archive.

    Raises:
        NoReader: When py7zr is not installed.
        OSError: From the disk.
    """
    library = _import_library()
    pieces: _Queue = queue.Queue(_PIECES_AHEAD)
    is_over = threading.Event()
    threading.Thread(target=_extract, args=(library, file, pieces, is_over), daemon=True).start()
    try:
        while isinstance(data := pieces.get(), bytes):
            yield Piece(0, data)
    finally:
        is_over.set()
    if isinstance(data, MemoryError) or (isinstance(data, OSError) and data.errno is not None):
        raise data
    yield Piece(0, b"", ended=True, damaged=data is not None)


def _import_library() -> ModuleType:
    try:
        return importlib.import_module("py7zr")
    except ModuleNotFoundError as error:
        raise NoReader(
            "this is a 7z archive, which the package py7zr reads: install wit400m with the extra '7z', or unpack it"
        ) from error


class _IsOver(Exception):
    """Nobody takes any more pieces."""


def _extract(library: ModuleType, file: BinaryIO, pieces: _Queue, is_over: threading.Event) -> None:
    """Puts all content into the queue, and at last None or what went wrong."""

    def put(item: bytes | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                return pieces.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
        raise _IsOver

    try:
        with library.SevenZipFile(file) as archive:
            archive.extractall(factory=_Writers(put))
        put(None)
    except _IsOver:
        return
    except BaseException as error:  # at corrupt numbers py7zr raises whatever they lead to; who reads must know of it
        _put_last(put, error)


def _put_last(put: _Put, error: BaseException) -> None:
    with contextlib.suppress(_IsOver):
        put(error)


class _Writers:
    """Where py7zr gets a writer for each file in an archive (its `WriterFactory`)."""

    def __init__(self, put: _Put) -> None:
        self._put = put

    def create(self, filename: str) -> "_Writer":
        return _Writer(self._put)


class _Writer:
    """A writer of py7zr (its `Py7zIO`)."""

    def __init__(self, put: _Put) -> None:
        self._put = put
        self._size = 0

    def write(self, data: bytes) -> int:
        self._put(bytes(data))
        self._size += len(data)
        return len(data)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        return None

    def size(self) -> int:
        return self._size
