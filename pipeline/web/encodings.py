"""The encodings of the web: what their labels mean, and the text that bytes in them are.

In: a label as a page or a server writes it; bytes and the name of an encoding. Out: the name of the encoding, in lower
case; text.
Source: WHATWG Encoding 4.2 (names and labels; the package `webencodings` holds the table), 9 (single-byte decoders),
14 (replacement, x-user-defined). Python's codecs of like names are stricter, and its aliases others.
"""

import codecs
from functools import cache, lru_cache
from typing import Final

import webencodings

from pipeline.web.double_bytes import DOUBLE_BYTES, decode_double_bytes

REPLACEMENT: Final = "replacement"  # stands for encodings that no browser decodes any more
UTF_16: Final = ("utf-16le", "utf-16be")

_X_USER_DEFINED: Final = "x-user-defined"
_PYTHON_NAMES: Final = {
    "ibm866": "cp866", "iso-8859-8-i": "iso-8859-8",
    "macintosh": "mac-roman", "windows-874": "cp874", "x-mac-cyrillic": "mac-cyrillic",
}  # fmt: skip
_OTHERS: Final = {("koi8-u", 0xAE): "ў", ("koi8-u", 0xBE): "Ў", ("windows-1255", 0xCA): "\u05ba"}


@lru_cache(maxsize=256)
def find_encoding(label: str) -> str | None:
    """The encoding that a label means, or None for one that means nothing.

    >>> find_encoding(" ISO-8859-1 "), find_encoding("x-sjis"), find_encoding("hz-gb-2312"), find_encoding("hex")
    ('windows-1252', 'shift_jis', 'replacement', None)
    """
    if not label.isascii():
        return None
    found = webencodings.lookup(label)
    return found.name if found else None


def decode(data: bytes, encoding: str) -> str:
    r"""The text that bytes in an encoding are; what is malformed becomes U+FFFD.

    Args:
        data: Any bytes; a byte order mark is a character like others.
        encoding: As `find_encoding` gives it.

    >>> decode(b"\xe0\x81", "windows-1255")
    'א\x81'
    """
    if encoding == REPLACEMENT:
        return "\ufffd" if data else ""
    if encoding in DOUBLE_BYTES:
        return decode_double_bytes(data, encoding)
    if encoding == "utf-8" or encoding in UTF_16:
        return data.decode(encoding, "replace")
    return codecs.charmap_decode(data, "replace", single_bytes(encoding))[0]


@cache
def single_bytes(encoding: str) -> str:
    """The characters of the 256 bytes in a single-byte encoding; U+FFFD where a byte means nothing."""
    if encoding == _X_USER_DEFINED:
        return "".join(chr(byte if byte < 0x80 else 0xF700 + byte) for byte in range(256))
    codec = _PYTHON_NAMES.get(encoding, encoding)
    characters = [bytes([byte]).decode(codec, "replace") for byte in range(256)]
    for byte, character in enumerate(characters):
        is_control = character == "\ufffd" and byte < 0xA0
        characters[byte] = _OTHERS.get((encoding, byte)) or (chr(byte) if is_control else character)
    return "".join(characters)
