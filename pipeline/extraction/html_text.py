"""Character references of HTML.

In: text or attribute values as they stand in a page. Out: the characters they mean.
Source: WHATWG HTML 13.2.5.72-80 (character references), 13.5 (their names).
"""

import re
from html.entities import html5
from typing import Final

_REFERENCE: Final = re.compile(r"&(?:#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));?|([A-Za-z][A-Za-z0-9]*;?))")
_WHOLE_REFERENCE: Final = re.compile(r"&(?:#(?:[xX]([0-9A-Fa-f]{1,6})|([0-9]{1,7}))|([A-Za-z][A-Za-z0-9]{1,31}));")
_MOST_ESCAPES: Final = 3  # of one text, one upon the other
_MAX_NAME_CHARS: Final = max(map(len, html5))
_MAX_DIGITS: Final = 7  # of a code point, in decimal
_REPLACEMENT: Final = "\ufffd"
# What numbers of C1 controls mean, where they mean another character.
_WINDOWS: Final = {code: text for code in range(0x80, 0xA0) if (text := bytes([code]).decode("cp1252", "ignore"))}


def decode_text(text: str) -> str:
    """Text between tags.

    >>> decode_text("&copy=1 &#x80; &notit;")
    '©=1 € ¬it;'
    """
    return _REFERENCE.sub(_decode, text) if "&" in text else text


def decode_attribute(value: str) -> str:
    """The value of an attribute, where a name without a semicolon may be part of an address.

    >>> decode_attribute("?a=1&copy=2&amp;b=&lt")
    '?a=1&copy=2&b=<'
    """
    if value.count("&") == value.count("&amp;"):  # most are addresses
        return value.replace("&amp;", "&")
    return _REFERENCE.sub(_decode_in_attribute, value)


def decode_again(text: str) -> str:
    """A text that was escaped more often than it was decoded.

    Only what is a reference beyond doubt is decoded: a name of the standard, or the number of a character, with its
    semicolon.

    >>> decode_again("Tom &amp;amp; Jerry&#39;s &notit; &copy 2020")
    "Tom & Jerry's &notit; &copy 2020"
    """
    for _ in range(_MOST_ESCAPES):
        if "&" not in text or text == (decoded := _WHOLE_REFERENCE.sub(_decode_whole, text)):
            break
        text = decoded
    return text


def _decode_whole(match: re.Match[str]) -> str:
    found = html5.get(f"{match[3]};", "") if match[3] else _decode_number(match)
    return match[0] if found in ("", _REPLACEMENT) else found


def _decode(match: re.Match[str]) -> str:
    name = match[3]
    if name is None:
        return _decode_number(match)
    for length in range(min(len(name), _MAX_NAME_CHARS), 1, -1):
        if text := html5.get(name[:length]):
            return text + name[length:]
    return match[0]


def _decode_in_attribute(match: re.Match[str]) -> str:
    name = match[3]
    if name is None:
        return _decode_number(match)
    following = match.string[match.end() : match.end() + 1]
    if following == "=" and name[-1] != ";":
        return match[0]
    return html5.get(name) or match[0]


def _decode_number(match: re.Match[str]) -> str:
    digits = (match[1] or match[2]).lstrip("0")
    if not digits or len(digits) > _MAX_DIGITS:
        return _REPLACEMENT
    code = int(digits, 16 if match[1] else 10)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return _REPLACEMENT
    return _WINDOWS.get(code) or chr(code)
