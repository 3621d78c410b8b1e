"""Samples as they lie in a raw tar: three members that share a key, one after another.

In: a stored image, its text and where they came from. Out: the bytes of the members, headers and padding included,
the same for the same sample: no time, no owner. A final shard is made by copying these bytes.
Source: POSIX.1-2017 pax, "ustar Interchange Format"; names by `pipeline.shard_format`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from pipeline.shard_format import IMAGE_SUFFIXES, JSON_SUFFIX, TEXT_SUFFIX, member_name

END_OF_ARCHIVE: Final = bytes(1024)  # two empty blocks
_BLOCK_BYTES: Final = 512
_CHECKSUM: Final = slice(148, 156)


def encode_sample(key: str, *, image: bytes, mime: str, text: str, provenance: Mapping[str, Any]) -> bytes:
    """The members of one sample.

    Args:
        key: Common name of the members.
        image: Encoded image.
        mime: Its type; decides its suffix.
        text: The text of the pair.
        provenance: `shard_format.SAMPLE_JSON_KEYS` and their values.
    """
    described = json.dumps(provenance, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return b"".join(
        (
            encode_member(member_name(key, IMAGE_SUFFIXES[mime]), image),
            encode_member(member_name(key, JSON_SUFFIX), described.encode()),
            encode_member(member_name(key, TEXT_SUFFIX), text.encode()),
        )
    )


def encode_member(name: str, data: bytes) -> bytes:
    """One tar member: header, data, padding to whole blocks.

    Args:
        name: ASCII, at most 100 characters.
        data: Content, under 8 GiB.

    Raises:
        ValueError: For a name that does not fit a plain header.
    """
    encoded = name.encode("ascii")
    if len(encoded) > 100:
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
