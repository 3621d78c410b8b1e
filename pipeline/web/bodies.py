"""The body of an answer as it was before it was compressed for the way, never larger than a cap.

In: bytes and the Content-Encoding. Out: the bytes, or the reason there are none. A small body may inflate to any size;
inflating stops at the cap. Labels are believed as far as browsers believe them: what is no coding (utf-8, none, binary)
stands for none, and what bears the label of a coding but is plainly something else is taken as it is.
Source: RFC 9110 8.4 (content codings); RFC 1950-1952 (zlib, deflate, gzip); RFC 7932 (Brotli); RFC 8878, RFC 9659
(Zstandard and its window in HTTP).
"""

import re
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import brotli
import zstandard

from pipeline.base.drops import DropReason

_MOST_CODINGS: Final = 5  # in a row; no server has use for more
_MOST_MEMBERS: Final = 10_000  # of one body; a member costs time even when it holds nothing
_ZSTD_WINDOW: Final = 1 << 23  # RFC 9659
_SKIPPED: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18(.{4})", re.DOTALL)  # RFC 8878 3.1.2: a frame without content
_REFUSED: Final = frozenset({"compress", "x-compress", "dcb", "dcz"})  # codings, but none that was asked for
_IMAGES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_RIFF_OR_BOX: Final = ((0, b"RIFF", 8, b"WEBP"), (4, b"ftyp", 8, b"avif"), (4, b"ftyp", 8, b"avis"))


def decode_body(body: bytes, encoding: str, *, max_bytes: int) -> bytes | DropReason:
    """Undoes the content codings of a body.

    Args:
        body: As received.
        encoding: Value of Content-Encoding; empty when there was none.
        max_bytes: Most bytes wanted.

    >>> decode_body(zlib.compress(bytes(1000)), "deflate", max_bytes=999)
    <DropReason.TOO_MANY_BYTES: 'too_many_bytes'>
    >>> decode_body(b"plain", "utf-8", max_bytes=999)
    b'plain'
    """
    codings = [name for name in map(_coding_name, encoding.split(",")) if name in _DECODERS or name in _REFUSED]
    if len(codings) > _MOST_CODINGS:
        return DropReason.BAD_ENCODING
    for coding in reversed(codings):
        decoded = _decode(body, coding, max_bytes + 1)
        if decoded is None and not _is_image(body):
            return DropReason.BAD_ENCODING
        body = body if decoded is None else decoded
    return body if len(body) <= max_bytes else DropReason.TOO_MANY_BYTES


def _coding_name(text: str) -> str:
    return text.partition(";")[0].strip(" \t\"'").lower().removeprefix("x-")


def _is_image(body: bytes) -> bool:
    """Whether a body begins as an image does; no compressed body that can be decoded does."""
    return body.startswith(_IMAGES) or any(
        body.startswith(one, at) and body.startswith(other, then) for at, one, then, other in _RIFF_OR_BOX
    )


def _decode(body: bytes, coding: str, limit: int) -> bytes | None:
    """Up to `limit` bytes of a decoded body; None when it is of another coding, damaged or cut off."""
    if coding in _REFUSED:
        return None
    try:
        return _DECODERS[coding](body, limit)
    except (zlib.error, brotli.error, zstandard.ZstdError):
        return None


class _Kind(NamedTuple):
    """A format of members, one after another."""

    magic: bytes  # that each begins with
    make: Callable[[], Any]  # what decodes one
    part_bytes: int  # given to it at a time
    feed: Callable[[Any, bytes, int], tuple[bytes, int]]  # some of its bytes, and how many it used


def _join_members(body: bytes, kind: _Kind, limit: int) -> bytes | None:
    """The members of a body, joined; what follows the last is ignored. A body without the magic is left as it is."""
    if not body or not kind.magic.startswith(body[: len(kind.magic)]):
        return body[:limit]
    decoded, at = bytearray(), 0
    for _ in range(_MOST_MEMBERS):
        member = kind.make()
        while not member.eof and len(decoded) < limit:
            part = body[at : at + kind.part_bytes]
            found, used = kind.feed(member, part, limit - len(decoded))
            if not part and not found:
                return None
            decoded += found
            at += used
        if len(decoded) >= limit or not body.startswith(kind.magic, at):
            return bytes(decoded[:limit])
    return None


def _feed_zlib(member: Any, part: bytes, room: int) -> tuple[bytes, int]:
    found = member.decompress(part, room)
    return found, len(part) - len(member.unconsumed_tail) - len(member.unused_data)


def _feed_zstd(member: Any, part: bytes, room: int) -> tuple[bytes, int]:
    found = member.decompress(part)
    return found, len(part) - len(member.unused_data)


def _skip_frames(body: bytes) -> bytes:
    """A Zstandard body from its first frame that holds something."""
    at = 0
    for _ in range(_MOST_MEMBERS):
        if not (skipped := _SKIPPED.match(body, at)):
            break
        at = skipped.end() + int.from_bytes(skipped[1], "little")
    return body[at:]


def _inflate(body: bytes, limit: int) -> bytes | None:
    # RFC 9110 means zlib's format, but many servers send the bare stream inside it
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
    decoded = inflater.decompress(body, limit)
    return decoded if inflater.eof or len(decoded) >= limit else None


def _unbrotli(body: bytes, limit: int) -> bytes | None:
    decoder = brotli.Decompressor()
    decoded = bytearray(decoder.process(body, output_buffer_limit=limit))
    while len(decoded) < limit and not decoder.is_finished():
        part = decoder.process(b"", output_buffer_limit=limit)
        if not part:
            return None
        decoded += part
    return bytes(decoded)


_GZIP: Final = _Kind(b"\x1f\x8b\x08", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), 1 << 16, _feed_zlib)
# Four bytes of it may stand for 128 KiB, so few are given at a time.
_ZSTD: Final = _Kind(
    b"\x28\xb5\x2f\xfd",
    lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(),
    1 << 9,
    _feed_zstd,
)
_DECODERS: Final[dict[str, Callable[[bytes, int], bytes | None]]] = {
    "gzip": lambda body, limit: _join_members(body, _GZIP, limit),
    "zstd": lambda body, limit: _join_members(_skip_frames(body), _ZSTD, limit),
    "deflate": _inflate,
    "br": _unbrotli,
}
