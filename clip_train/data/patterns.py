"""Braces in names of shards, as shells and webdataset write them: one pattern to many names.

In: ``s3://bucket/{00000..00041}.tar``. Out: the names.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from clip_train.errors import InputError

_MOST: Final = 1_000_000  # names of one pattern
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")


def expand_braces(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for, in order: ranges of numbers and lists, one in another too.

    >>> expand_braces("a/{08..11}.tar"), expand_braces("{x,y{1..2}}.tar"), expand_braces("plain.tar")
    (['a/08.tar', 'a/09.tar', 'a/10.tar', 'a/11.tar'], ['x.tar', 'y1.tar', 'y2.tar'], ['plain.tar'])

    Raises:
        InputError: When a brace is not closed, a range counts down, or there would be too many names.
    """
    names = list(islice(_expand(pattern), _MOST + 1))
    if len(names) > _MOST:
        raise InputError(f"{pattern}: more than {_MOST:,} names")
    return names


def _expand(pattern: str) -> Iterator[str]:
    start = pattern.find("{")
    if start < 0:
        if "}" in pattern:
            raise InputError(f"{pattern}: a brace that closes nothing")
        yield pattern
        return
    parts, end = _split_braces(pattern, start)
    for part in parts:
        for inner in _expand(part) if len(parts) > 1 else _expand_range(part, pattern):
            for rest in _expand(pattern[end:]):
                yield pattern[:start] + inner + rest


def _split_braces(pattern: str, start: int) -> tuple[list[str], int]:
    """What stands between the commas of the braces that open at a place, and where the text goes on behind them."""
    depth, parts, begin = 0, [], start + 1
    for place in range(start, len(pattern)):
        mark = pattern[place]
        depth += (mark == "{") - (mark == "}")
        if depth == 0 or (depth == 1 and mark == ","):
            parts.append(pattern[begin:place])
            begin = place + 1
        if depth == 0:
            return parts, begin
    raise InputError(f"{pattern}: a brace that is not closed")


def _expand_range(part: str, pattern: str) -> Iterator[str]:
    found = _RANGE.fullmatch(part)
    if not found:
        raise InputError(f"{pattern}: {{{part}}} is neither a range like {{00000..00041}} nor a list like {{a,b}}")
    first, last, step = found[1], found[2], int(found[3] or 1)
    if int(first) > int(last) or not step:
        raise InputError(f"{pattern}: the range {{{part}}} holds nothing")
    if (int(last) - int(first)) // step >= _MOST:
        raise InputError(f"{pattern}: more than {_MOST:,} names")
    width = max(len(first), len(last)) if first[0] == "0" or last[0] == "0" else 0
    for number in range(int(first), int(last) + 1, step):
        yield f"{number:0{width}d}"
