"""Queries of references as browsers send them: escaped in the encoding of the page, which need not be UTF-8.

In: a query as it stands in a page, and the page's encoding. Out: the query with every other character than ASCII
escaped; one that the encoding lacks becomes an escaped character reference.
Source: WHATWG URL 1.3 (percent-encode after encoding); WHATWG Encoding 9-12 (encoders: the decoders' tables the other
way round, with the preferences said there).
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

from pipeline.web.double_bytes import DOUBLE_BYTES
from pipeline.web.encodings import REPLACEMENT, UTF_16, decode, single_bytes

_IN_UTF_8: Final = frozenset({"utf-8", REPLACEMENT, *UTF_16})
_OTHERS: Final = re.compile(r"[^\x00-\x7f]+")
_PLAIN_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b"\"#'<>")
_TWICE_IN_BIG5: Final = frozenset("═╞╡╪十卅")  # the last pair counts, not the first
_PAIRS: Final = {  # leads, trails
    "gbk": (range(0x81, 0xFF), range(0x40, 0xFF)),
    "gb18030": (range(0x81, 0xFF), range(0x40, 0xFF)),
    "big5": (range(0xA1, 0xFF), range(0x40, 0xFF)),
    "euc-kr": (range(0x81, 0xFF), range(0x41, 0xFF)),
    "shift_jis": ((*range(0x81, 0xA0), *range(0xE0, 0xED), *range(0xFA, 0xFD)), range(0x40, 0xFD)),
    "euc-jp": (range(0xA1, 0xFF), range(0xA1, 0xFF)),
}
_MINUS: Final = ("\u2212", "\uff0d")  # Japanese encodings have one for both
_VOICING: Final = {"\uff9e": "\u309b", "\uff9f": "\u309c"}


def encode_query(query: str, encoding: str) -> str:
    """A query in ASCII.

    Args:
        query: As it stands in a page, without the question mark.
        encoding: Of the page, as `pipeline.web.encodings.find_encoding` names it.

    >>> encode_query("q=猫&r=é", "gbk")
    'q=%C3%A8&r=%A8%A6'
    >>> encode_query("ł", "windows-1252")
    '%26%23322%3B'
    """
    if encoding in _IN_UTF_8:
        return _OTHERS.sub(lambda run: _escape(run[0].encode("utf-8", "replace")), query)
    return _OTHERS.sub(lambda run: "".join(_encode_run(run[0], encoding)), query)


def _encode_run(text: str, encoding: str) -> Iterator[str]:
    """Parts of a run of characters that are not ASCII."""
    table, is_jis = _byte_table(encoding), False
    for character in text:
        encoded = table.get(character)
        if encoded is None and encoding == "gb18030":
            encoded = character.encode("gb18030", "replace")
        if encoding == "iso-2022-jp" and is_jis != (encoded is not None):
            is_jis = not is_jis
            yield "%1B$B" if is_jis else "%1B(B"
        yield f"%26%23{ord(character)}%3B" if encoded is None else _escape(encoded)
    if is_jis:
        yield "%1B(B"


def _escape(data: bytes) -> str:
    return "".join(chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02X}" for byte in data)


@cache
def _byte_table(encoding: str) -> dict[str, bytes]:
    """The bytes of each character, ASCII left out."""
    if encoding == "iso-2022-jp":
        return _iso_2022_jp_table()
    if encoding not in DOUBLE_BYTES:
        characters = single_bytes(encoding)
        return {
            characters[byte]: bytes([byte]) for byte in reversed(range(0x80, 0x100)) if characters[byte] != "\ufffd"
        }
    table: dict[str, bytes] = {"€": b"\x80"} if encoding == "gbk" else {}
    leads, trails = _PAIRS[encoding]
    for pair in (bytes([lead, trail]) for lead in leads for trail in trails):
        text = decode(pair, encoding)
        if len(text) == 1 and text != "\ufffd" and (text not in table or text in _TWICE_IN_BIG5):
            table[text] = pair
    if encoding in ("shift_jis", "euc-jp"):
        prefix = b"\x8e" if encoding == "euc-jp" else b""
        table |= {chr(0xFF61 - 0xA1 + byte): prefix + bytes([byte]) for byte in range(0xA1, 0xE0)}
        table |= {"¥": b"\\", "\u203e": b"~", _MINUS[0]: table[_MINUS[1]]}
    return table


def _iso_2022_jp_table() -> dict[str, bytes]:
    wide = _byte_table("euc-jp")
    table = {
        text: bytes(byte & 0x7F for byte in pair) for text, pair in wide.items() if len(pair) == 2 and pair[0] > 0x8E
    }
    narrow = {
        chr(code): _VOICING.get(chr(code)) or unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF61, 0xFFA0)
    }
    return table | {text: table[full] for text, full in narrow.items()}
