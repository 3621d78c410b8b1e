"""A tar as bytes, member by member: the same for the same content, no time, no owner.

Source: POSIX.1-2017 pax, "ustar Interchange Format".
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_BYTES:
        raise ValueError(f"tar member name of more than 100 bytes: {name}")
    header = bytearray(_BLOCK_BYTES)
    for start, field in (
        (0, encoded),
        (100, b"0000444\0"),  # mode: all may read
        (108, b"0000000\0"),  # uid
        (116, b"0000000\0"),  # gid
        (124, b"%011o\0" % len(data)),
        (136, b"00000000000\0"),  # mtime: 1970
        (148, b" " * 8),
        (156, b"0"),  # a regular file
        (257, b"ustar\x0000"),
    ):
        header[start : start + len(field)] = field
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return b"".join((header, data, bytes(-len(data) % _BLOCK_BYTES)))


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


def update_json(members: bytes, suffix: str, changes: Mapping[str, Any]) -> bytes:
    """Members as `encode_member` made them, with some keys of one's JSON set anew.

    Args:
        members: One after another.
        suffix: Of the name of the member to change, with its dot.
        changes: Keys and values.
    """
    for member in list_members(members):
        if member.name.endswith(suffix):
            content = json.loads(members[member.data : member.data + member.size]) | dict(changes)
            return members[: member.start] + encode_member(member.name, encode_json(content)) + members[member.end :]
    raise ValueError(f"no tar member whose name ends with {suffix}")
