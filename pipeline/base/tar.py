"""A tar as bytes, member by member: the same for the same content, no time, no owner.

Source: POSIX.1-2017 pax, "ustar Interchange Format".
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

_BLOCK_BYTES: Final = 512
END_OF_ARCHIVE: Final = bytes(2 * _BLOCK_BYTES)  # two empty blocks
_RECORD_BYTES: Final = 20 * _BLOCK_BYTES
_CHECKSUM: Final = slice(148, 156)
_SIZE: Final = slice(124, 136)
_MAGIC: Final = slice(257, 262)
_NAME_BYTES: Final = 100


def encode_member(name: str, data: bytes) -> bytes:
    """One tar member: header, data, padding to whole blocks.

    Args:
        name: ASCII, at most 100 characters.
        data: Content, under 8 GiB.

    Raises:
        ValueError: For a name that does not fit a plain header.
    """
    return b"".join((encode_header(name, len(data)), data, bytes(-len(data) % _BLOCK_BYTES)))


def encode_header(name: str, size: int) -> bytes:
    """What comes before the data of a member.

    Args:
        name: ASCII, at most 100 characters.
        size: Bytes of the data, under 8 GiB.

    Raises:
        ValueError: For a name that does not fit a plain header.
    """
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_BYTES:
        raise ValueError(f"tar member name of more than 100 bytes: {name}")
    header = bytearray(_BLOCK_BYTES)
    for start, field in (
        (0, encoded),
        (100, b"0000444\0"),  # mode: all may read
        (108, b"0000000\0"),  # uid
        (116, b"0000000\0"),  # gid
        (124, b"%011o\0" % size),
        (136, b"00000000000\0"),  # mtime: 1970
        (148, b" " * 8),
        (156, b"0"),  # a regular file
        (257, b"ustar\x0000"),
    ):
        header[start : start + len(field)] = field
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def fill_archive(size: int) -> bytes:
    """What ends an archive and fills its last record, as POSIX asks for.

    Args:
        size: Bytes of all members.

    >>> len(fill_archive(1536)), len(fill_archive(10_240 - 1024))
    (8704, 1024)
    """
    return END_OF_ARCHIVE + bytes(-(size + len(END_OF_ARCHIVE)) % _RECORD_BYTES)


def encode_json(content: Mapping[str, Any]) -> bytes:
    """A record as JSON, the same bytes for the same content."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class Member(NamedTuple):
    """A member among others, by its bytes.

    Attributes:
        name: Its name.
        start: Where its header begins.
        data: Where its content begins.
        size: Bytes of its content.
        end: Where the next member begins.
    """

    name: str
    start: int
    data: int
    size: int
    end: int


def list_members(members: bytes | memoryview) -> list[Member]:
    """The members that some bytes hold, in order.

    Args:
        members: One after another, as `encode_member` makes them.

    Raises:
        ValueError: When there is something else among them.
    """
    found = []
    start = 0
    while start < len(members):
        header = bytes(members[start : start + _BLOCK_BYTES])
        if header[_MAGIC] != b"ustar" or not (digits := header[_SIZE].strip(b" \0")).isdigit():
            raise ValueError(f"{header[:_NAME_BYTES].rstrip(bytes(1))!r}, which begins no tar member")
        data, size = start + _BLOCK_BYTES, int(digits, 8)
        member = Member(
            header[:_NAME_BYTES].rstrip(b"\0").decode("latin-1"), start, data, size, data + size + -size % _BLOCK_BYTES
        )
        if member.end > len(members):
            raise ValueError(f"{member.name!r} of {size} bytes, more than there should be")
        found.append(member)
        start = member.end
    return found


def are_members(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], prefixes: npt.NDArray[np.bytes_]
) -> npt.NDArray[np.bool_]:
    """Whether runs of members are whole, with headers as `encode_member` writes them: [runs], all at once.

    Args:
        data: Runs of members, one after another.
        starts: [runs + 1], where each begins, and where the last ends.
        prefixes: [runs], what all names of a run begin with, of one length.

    >>> data = np.frombuffer(encode_member("a.jpg", b"xyz") + encode_member("b.jpg", b"") + bytes(512), np.uint8)
    >>> are_members(data, np.array([0, 1024, 1536, 2048]), np.array([b"a.", b"a.", b"c."])).tolist()
    [True, False, False]
    """
    wanted = prefixes.view(np.uint8).reshape(len(prefixes), prefixes.dtype.itemsize)
    places, ends = starts[:-1].copy(), starts[1:]
    good = np.ones(len(places), bool)
    rows = np.flatnonzero(places < ends)
    while len(rows):
        fits = places[rows] + _BLOCK_BYTES <= ends[rows]
        good[rows[~fits]] = False
        rows = rows[fits]
        named = (_gather(data, places[rows], slice(0, wanted.shape[1])) == wanted[rows]).all(axis=1)
        marked = (_gather(data, places[rows], _MAGIC) == np.frombuffer(b"ustar", np.uint8)).all(axis=1)
        digits = _gather(data, places[rows], _SIZE)[:, :-1].astype(np.int64) - ord("0")
        readable = ((digits >= 0) & (digits < 8)).all(axis=1)
        sizes = digits @ (8 ** np.arange(digits.shape[1])[::-1])
        good[rows] = named & marked & readable
        rows, sizes = rows[good[rows]], sizes[good[rows]]
        places[rows] += _BLOCK_BYTES + -(-sizes // _BLOCK_BYTES) * _BLOCK_BYTES
        rows = rows[places[rows] < ends[rows]]
    return good & (places == ends)


def _gather(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], part: slice) -> npt.NDArray[np.uint8]:
    """A part of the header at each of some places: [places, bytes]."""
    return data[starts[:, None] + np.arange(part.start, part.stop)]
