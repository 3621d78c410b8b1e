r"""JSON as pages have it ► values: with what their authors add to it, or forget.

In: the text of a script that should be JSON. Out: its values, and whether all of it was read. What is mended leaves no
doubt what was meant: comments and the wrappers of scripts (``<!--``, CDATA), commas and semicolons too many, several
values in a row, line breaks and other controls inside strings, escapes that JSON does not have, halves of characters,
a script that was escaped as HTML; and, where that is not enough, quotes inside strings that nothing follows that could
follow a string. What is cut off, and JavaScript, is not read.
Source: RFC 8259; faults counted in scripts of real pages, and those that validators of structured data report.
"""

import json
import re
from typing import Any, Final, NamedTuple

import msgspec

from pipeline.extraction.html_text import decode_again

_STRING: Final = r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
# A quote is part of a string unless something follows that may follow a string.
_LOOSE_STRING: Final = r'"(?:[^"\\]++|\\.|"(?!\s*(?:[:}\]]|,\s*(?:["{\[\d-]|(?:true|false|null)\b)|\Z)))*+(?:"|\\?\Z)'
_ODD_SPACES: Final = r"(?:[^\S \t\r\n]|[\ufeff\u200b\0])++"
_NOTHING: Final = rf"(?://[ \t]*+)?(?:<!--|-->|<!\[CDATA\[|(?:<!)?\]\]>)|/\*.*?(?:\*/|\Z)|//[^\r\n]*+|{_ODD_SPACES}"
_TOKENS: Final = tuple(re.compile(f"({string})|{_NOTHING}", re.DOTALL) for string in (_STRING, _LOOSE_STRING))
_SEPARATORS: Final = re.compile(rf"({_STRING})|([\[{{])[\s,;]++([\]}}]?)|[,;][\s,;]*+([\]}}]?)", re.DOTALL)
_BETWEEN: Final = re.compile(r"[\s,]*+")
_ESCAPE: Final = re.compile(
    r'\\(?:(["\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})'
    r"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|(.?))",
    re.DOTALL,
)
_DECODER: Final = json.JSONDecoder(strict=False)


class ReadScript(NamedTuple):
    """What a script holds.

    Attributes:
        values: Its values, as far as they can be read.
        is_whole: Whether that is all of it.
    """

    values: list[Any]
    is_whole: bool


def read_json(text: str) -> ReadScript:
    r"""Reads a script.

    >>> read_json('/* a */ {"a": "x\ny", "b": [1, 2,],}; {}')
    ReadScript(values=[{'a': 'x\ny', 'b': [1, 2]}, {}], is_whole=True)
    >>> read_json('{"a": "the "best" cat", "b": 1}').values
    [{'a': 'the "best" cat', 'b': 1}]
    >>> read_json('{"a": 1} {"b": ')
    ReadScript(values=[{'a': 1}], is_whole=False)
    """
    try:
        return ReadScript([msgspec.json.decode(text)], is_whole=True)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if '"' not in text:
        text = decode_again(text)
    found = ReadScript([], is_whole=False)
    for tokens in _TOKENS:
        mended = _read_values(_SEPARATORS.sub(_mend_separators, tokens.sub(_mend_token, text)))
        if mended.is_whole:
            return mended
        found = found if found.values else mended
    return found


def _read_values(text: str) -> ReadScript:
    values: list[Any] = []
    at = 0
    while match := _BETWEEN.match(text, at):
        if match.end() == len(text):
            break
        try:
            value, at = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            return ReadScript(values, is_whole=False)
        values.append(value)
    return ReadScript(values, is_whole=bool(values))


def _mend_token(match: re.Match[str]) -> str:
    """A string as JSON writes it; a space in place of what is none."""
    string = match[1]
    if string is None:
        return " "
    inner = string[1:-1] if len(string) > 1 and string.endswith('"') else string[1:]
    if "\\" in inner:
        inner = _ESCAPE.sub(_mend_escape, inner)
    if '"' in inner:
        inner = re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', inner, flags=re.DOTALL)
    return f'"{inner}"'


def _mend_escape(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    return "\ufffd" if match[2] else match[3]


def _mend_separators(match: re.Match[str]) -> str:
    """One comma in place of several, none where nothing is separated; strings and brackets stay."""
    string, opening, closing, closing_alone = match.groups()
    if opening:
        return f"{opening}{closing}"
    return string or closing_alone or ","
