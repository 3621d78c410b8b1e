"""Which addresses of images in WATs are plain: to be used without looking at them again.

In: addresses, alts and titles as `wat_scan` found them. Out: for each address, how many characters of it are plain.
Most addresses are, so most images cost no regular expression.
Source: as for `image_references` and `urls`, of which it knows the simple cases; numba compiles this file, see
vocab/compiled.py, so what those two files decide is handed to it.
"""

import functools
import string
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.extraction.image_references import MAX_PLACEHOLDER_CHARS, PLACEHOLDER_STARTS
from pipeline.urls import canonicalize_url
from vocab.compiled import compile_kernel

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

_MAX_CHARS = 1000
_DOT, _SLASH, _QUESTION, _HASH, _AMPERSAND, _SEMICOLON, _PERCENT = b"./?#&;%"


def mark_bytes(members: Iterable[int]) -> Marks:
    """Which of the 256 bytes are in a set."""
    marks = np.zeros(256, np.bool_)
    marks[list(members)] = True
    return marks


_IN_HOST = mark_bytes(b"abcdefghijklmnopqrstuvwxyz0123456789-.")
_IN_PATH = mark_bytes(set(string.printable.encode()) - set(b" \t\n\r\v\f\"#$%'<>[\\]^`{|}"))


class Rules(NamedTuple):
    """What other files say of addresses.

    Attributes:
        kept_escapes: Two digits behind a % sign that canonical URLs have, too.
        placeholder_starts: How names of placeholders begin, three letters each.
        max_placeholder_chars: How long they are at most.
    """

    kept_escapes: Marks
    placeholder_starts: Bytes
    max_placeholder_chars: int


@functools.cache
def address_rules() -> Rules:
    """The rules of this version."""
    kept = np.zeros((256, 256), np.bool_)
    for digits in product("0123456789ABCDEF", repeat=2):
        escaped = f"http://a.example/%{''.join(digits)}"
        kept[ord(digits[0]), ord(digits[1])] = canonicalize_url(escaped) == escaped
    starts = np.array([list(start.encode()) for start in sorted(PLACEHOLDER_STARTS)], np.uint8)
    return Rules(kept, starts, MAX_PLACEHOLDER_CHARS)


@compile_kernel
def count_plain(strings: Bytes, num_images: int, rules: Rules) -> Numbers:
    """How many characters of each address are plain: all but an empty fragment, or none.

    Args:
        strings: Address, alt and title of every image, each ended by a NUL.
        num_images: How many images there are.
        rules: See `address_rules`.
    """
    counts = np.zeros(num_images, np.int64)
    at = 0
    for number in range(num_images):
        counts[number] = _plain_end(strings, at, rules) - at
        for _ in range(3):
            while strings[at]:
                at += 1
            at += 1
    return counts


@compile_kernel
def _plain_end(row: Bytes, first: int, rules: Rules) -> int:
    """Where a plain address ends, without an empty fragment; `first` where an address has to be looked at closely."""
    path = _find_path(row, first)
    if path < 0 or row[path] != _SLASH or row[path + 1] == _DOT:
        return first
    at, name, query, has_ampersand = path + 1, path + 1, -1, False
    while _IN_PATH[row[at]] or (row[at] == _PERCENT and rules.kept_escapes[row[at + 1], row[at + 2]]):
        if row[at] == _SLASH:
            if row[at + 1] == _DOT:
                return first
            name = name if query >= 0 else at + 1
        elif row[at] == _QUESTION:
            query = at if query < 0 else query
        elif row[at] == _AMPERSAND:
            has_ampersand = True
        elif row[at] == _SEMICOLON and has_ampersand:
            return first  # perhaps a character reference
        at += 1
    name_bytes = (at if query < 0 else query) - name
    is_all = row[at] == 0 or (row[at] == _HASH and row[at + 1] == 0)
    is_clear = name_bytes > rules.max_placeholder_chars or not _begins_as_placeholder(row, name, rules)
    return at if is_all and is_clear and at - first <= _MAX_CHARS else first


@compile_kernel
def _find_path(row: Bytes, first: int) -> int:
    """Where the path begins of an address that begins with it, or has a plain host name; else -1."""
    at = first
    if row[at] == ord("h") and row[at + 1] == ord("t") and row[at + 2] == ord("t") and row[at + 3] == ord("p"):
        at += 5 if row[at + 4] == ord("s") else 4
        at = at + 1 if row[at] == ord(":") else first
    if row[at] != _SLASH or row[at + 1] != _SLASH:
        return at if at == first else -1
    at += 2
    num_dots = 0
    while _IN_HOST[row[at]]:
        if row[at] == _DOT:
            if row[at - 1] == _DOT or row[at - 1] == _SLASH:
                return -1
            num_dots += 1
        at += 1
    return at if num_dots > 0 and row[at - 1] != _DOT else -1


@compile_kernel
def _begins_as_placeholder(row: Bytes, name: int, rules: Rules) -> bool:
    """Whether the first letters of a name are those of a placeholder's."""
    for number in range(len(rules.placeholder_starts)):
        start = rules.placeholder_starts[number]
        if row[name] | 0x20 == start[0] and row[name + 1] | 0x20 == start[1] and row[name + 2] | 0x20 == start[2]:
            return True
    return False
