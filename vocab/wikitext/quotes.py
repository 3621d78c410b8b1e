"""Apostrophes that are text among those that are markup for bold and italic type.

In: lines of wikitext. Out: the lines without the markup.

Two apostrophes are italic type, three bold, five both; of four the first is text, of more than five all but the last
five. When a line has an odd number of both, one of its threes is an apostrophe before italic type: the first behind a
word of one letter, else behind any word, else behind a space.

Source: https://www.mediawiki.org/wiki/Help:Formatting; `doQuotes` in Parser.php of MediaWiki 1.39.
"""

import re

_RUN = re.compile("''++")
_RUN_APART = re.compile("(''++)")
_BOLD_BEGINS = re.compile("'''")
_ITALIC, _BOLD, _BOTH = 2, 3, 5


def drop_quotes(text: str) -> str:
    """Leaves out the markup of bold and italic type, line by line.

    >>> drop_quotes("''Time'''s cover")
    "Time's cover"
    """
    parts: list[str] = []
    position = 0
    for bold in _BOLD_BEGINS.finditer(text):
        if bold.start() < position:
            continue
        start = text.rfind("\n", position, bold.start()) + 1 or position
        stop = text.find("\n", bold.end())
        stop = len(text) if stop < 0 else stop
        parts += (_RUN.sub("", text[position:start]), _drop_in_line(text[start:stop]))
        position = stop
    return "".join([*parts, _RUN.sub("", text[position:])])


def _drop_in_line(line: str) -> str:
    pieces = _RUN_APART.split(line)
    texts, sizes = pieces[::2], list(map(len, pieces[1::2]))
    num_bold, num_italic = sizes.count(_BOLD), sizes.count(_ITALIC)
    if num_bold + num_italic == len(sizes) and not (num_bold % 2 and num_italic % 2):
        return "".join(texts)
    for number, size in enumerate(sizes):
        if size not in (_ITALIC, _BOLD, _BOTH):
            sizes[number] = _BOLD if size < _BOTH else _BOTH
            texts[number] += "'" * (size - sizes[number])
    num_bold, num_italic = (sum(size in (kind, _BOTH) for size in sizes) for kind in (_BOLD, _ITALIC))
    if num_bold % 2 and num_italic % 2:
        candidates = [number for number, size in enumerate(sizes) if size == _BOLD]
        if candidates:
            texts[min(candidates, key=lambda number: _rank(texts[number]))] += "'"
    return "".join(texts)


def _rank(before: str) -> int:
    """How unlikely three apostrophes behind a text are to begin with one that is text; the first of equals is taken."""
    tail = before[-2:].encode(errors="surrogatepass")  # MediaWiki looks at bytes: é is no single letter
    if tail.endswith(b" "):
        return 2
    return 0 if tail[-2:-1] == b" " else 1
