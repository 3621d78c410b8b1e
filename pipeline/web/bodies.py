"""The body of an answer as it was before it was compressed for the way, never larger than a cap.

In: compressed bytes and the Content-Encoding. Out: the bytes, or the reason there are none. A small body may inflate
to any size; inflating stops at the cap.
Source: RFC 9110 8.4 (content codings); RFC 1950-1952 (zlib, deflate, gzip); RFC 7932 (Brotli).
"""

import zlib
from typing import Final

import brotli

from pipeline.base.drops import DropReason

_GZIP: Final = 16 + zlib.MAX_WBITS
_BARE_DEFLATE: Final = -zlib.MAX_WBITS


def decode_body(body: bytes, encoding: str, *, max_bytes: int) -> bytes | DropReason:
    """Undoes the content codings of a body.

    Args:
        body: As received.
        encoding: Value of Content-Encoding; empty when there was none.
        max_bytes: Most bytes wanted.

    >>> decode_body(zlib.compress(bytes(1000)), "deflate", max_bytes=999)
    <DropReason.TOO_MANY_BYTES: 'too_many_bytes'>
    """
    for coding in reversed([name.strip().lower() for name in encoding.split(",") if name.strip()]):
        if coding == "identity":
            continue
        try:
            decoded = _decode(body, coding, max_bytes + 1)
        except (zlib.error, brotli.error):
            return DropReason.BAD_ENCODING
        if decoded is None:
            return DropReason.BAD_ENCODING
        body = decoded
    return body if len(body) <= max_bytes else DropReason.TOO_MANY_BYTES


def _decode(body: bytes, coding: str, limit: int) -> bytes | None:
    """Up to `limit` bytes of a decoded body; None when the coding is unknown or the body cut off."""
    if coding in ("gzip", "x-gzip"):
        return _inflate(body, _GZIP, limit)
    if coding == "deflate":
        # RFC 9110 means zlib's format, but many servers send the bare stream inside it
        is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _inflate(body, zlib.MAX_WBITS if is_zlib else _BARE_DEFLATE, limit)
    if coding == "br":
        return _unbrotli(body, limit)
    return None


def _inflate(body: bytes, window_bits: int, limit: int) -> bytes | None:
    inflater = zlib.decompressobj(window_bits)
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
