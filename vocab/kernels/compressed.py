"""Compressed files as runs of plain bytes, from any offset, and past whatever is damaged.

In: a seekable binary file. Out: `Piece`s of its decompressed content. bz2 files, of one stream or of many, and files
that are not compressed can be entered anywhere: reading begins at the first block that begins at or after the offset.
gzip, zstd, xz and 7z files are read from the start.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import BinaryIO

from vocab.kernels.bz2_streams import read_bz2
from vocab.kernels.members import GZIP, XZ, ZSTD, read_members
from vocab.kernels.pieces import Piece
from vocab.kernels.seven_zip import read_7z
from vocab.kernels.windows import Window

OpenFile = Callable[[str], BinaryIO]

_READ_BYTES = 1 << 20
_LONGEST_START = 6
_SEVEN_ZIP_START = b"7z\xbc\xaf\x27\x1c"


class Compression(StrEnum):
    """How a file is compressed, told by its first bytes."""

    NONE = "none"
    BZ2 = "bz2"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    SEVEN_ZIP = "7z"

    @property
    def is_splittable(self) -> bool:
        """Whether reading may begin in the middle of a file."""
        return self in (Compression.NONE, Compression.BZ2)


_MEMBERS = {Compression.GZIP: GZIP, Compression.ZSTD: ZSTD, Compression.XZ: XZ}


def detect_compression(file: BinaryIO) -> Compression:
    """Tells a file's compression by its first bytes."""
    file.seek(0)
    head = file.read(_LONGEST_START)
    if head.startswith(b"BZh"):
        return Compression.BZ2
    if head.startswith(_SEVEN_ZIP_START):
        return Compression.SEVEN_ZIP
    return next((kind for kind, format_ in _MEMBERS.items() if format_.begins.match(head)), Compression.NONE)


def read_pieces(file: BinaryIO, compression: Compression, *, start: int = 0, cut: int = 0) -> Iterator[Piece]:
    """Reads on from an offset to the end of the file; stop taking pieces when there are enough.

    Args:
        file: Seekable.
        compression: Of the file.
        start: Where to begin; 0 unless the compression is splittable.
        cut: An offset that no piece of an uncompressed file crosses.

    Raises:
        NoReader: At the first piece of a 7z archive, when nothing is installed that reads it.
    """
    match compression:
        case Compression.NONE:
            return _read_plain(file, start, cut)
        case Compression.BZ2:
            return read_bz2(Window(file), start)
        case Compression.SEVEN_ZIP:
            return read_7z(file)
        case _:
            return read_members(Window(file), _MEMBERS[compression])


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Reads a whole file, decompressed, in runs that are not empty.

    Raises:
        OSError: When it is cut short or corrupt.
        NoReader: When it is a 7z archive, and nothing is installed that reads it.
    """
    for piece in read_pieces(file, detect_compression(file)):
        if piece.damaged:
            raise OSError(f"the file is cut short or corrupt, in the part that begins at byte {piece.offset:,}")
        if piece.data:
            yield piece.data


def _read_plain(file: BinaryIO, start: int, cut: int) -> Iterator[Piece]:
    file.seek(start)
    while data := file.read(min(_READ_BYTES, cut - start) if start < cut else _READ_BYTES):
        yield Piece(start, data)
        start += len(data)
