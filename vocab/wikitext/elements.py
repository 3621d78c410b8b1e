"""Comments and the elements that MediaWiki's preprocessor takes out first, whatever stands around them.

In: wikitext. Out: the text without them; the texts of ``<nowiki>``, which are shown as they are; what is in galleries.

One pass from left to right: what begins first hides what is in it, so a comment in a reference ends with the
reference, and a ``<ref>`` in a comment is none. An element goes up to the first closing tag of its name; without one
its tag stays. A comment and ``<includeonly>`` that never end go on to the end of the page.

Source: https://www.mediawiki.org/wiki/Help:Formatting, Help:Transclusion (what is shown on the page itself) and
Preprocessor_Hash.php of MediaWiki 1.39.
"""

import re
from typing import Final, NamedTuple

from vocab.wikitext.marks import BLOCK, BOUNDARY, KEPT, KEPT_END

_COMMENT, _REFERENCE, _NOWIKI, _GALLERY, _INCLUDED = "!--", "ref", "nowiki", "gallery", "includeonly"
_UP_TO_THE_END = (_COMMENT, _INCLUDED)  # where they never end
# What an element leaves. The number of a reference stands behind a word and ends no phrase.
_BLOCKS = (
    "references", _GALLERY, "syntaxhighlight", "source", "pre", "score", "timeline", "graph", "imagemap", "mapframe",
    "templatedata", "inputbox", "categorytree",
)  # fmt: skip
_LEAVES: Final = {
    _REFERENCE: " ",
    **dict.fromkeys(("math", "chem", "ce", "code", "hiero", "maplink"), BOUNDARY),
    **dict.fromkeys((_NOWIKI, _INCLUDED, "templatestyles", "indicator", "section"), ""),
    **dict.fromkeys(_BLOCKS, BLOCK),
}
NAMES: Final = tuple(_LEAVES)
_ANY_NAME = "|".join(_LEAVES)
_TAGS_ALONE = ("noinclude", "/noinclude", "onlyinclude", "/onlyinclude")  # of these only the tags go
_CLOSINGS: Final = {
    _COMMENT: "-->",
    **dict.fromkeys(_TAGS_ALONE, ""),
    **{name: f"</{name}>" for name in _LEAVES},
}
# Tags in lower case; closing ones with spaces; and all that have a capital, which are looked at more closely.
_BEGIN = re.compile(
    rf"<(!--|(?:{_ANY_NAME}|{'|'.join(_TAGS_ALONE)})(?=\s|/?>)|/(?:{_ANY_NAME})\s++>"
    r"|[a-z]*[A-Z][A-Za-z]*+(?=\s|/?>)|/[a-z]*[A-Z][A-Za-z]*+\s*+>)"
)
_CAPTION = re.compile(r"""\scaption\s*+=\s*+("[^"]*+"|'[^']*+'|[^\s>]++)""", re.IGNORECASE)
_QUOTES = "\"'"
_MAY_BE_ODD = re.compile(r"</[a-z]*+[A-Z\s]")
_ODD_CLOSING = re.compile(rf"</({_ANY_NAME})\s*+>", re.IGNORECASE)


class Elements(NamedTuple):
    """A text without comments and elements, and what was taken out of it."""

    text: str
    galleries: list[str]  # lines of files, as <gallery> has them; its own caption is that of a file without a name


def take_elements(text: str, kept: list[str]) -> Elements:
    r"""Takes comments and elements out of a text.

    Args:
        text: Wikitext.
        kept: To which the texts of ``<nowiki>`` are added; where they stood, their numbers are, between marks.

    >>> take_elements("a<!-- b --> <nowiki>[[c]]</nowiki><ref>d <!-- e</ref> f", []).text
    'a \x020\x03  f'
    """
    parts: list[str] = []
    galleries: list[str] = []
    missing: set[str] = set()  # what was looked for in vain is not looked for again
    if _MAY_BE_ODD.search(text):
        text = _ODD_CLOSING.sub(_spell_plainly, text)
    find = text.find
    position = resume = 0
    for tag in _BEGIN.finditer(text):
        start, begin = tag.span()
        if start < resume:
            continue
        name = tag[1] if tag[1] in _CLOSINGS else tag[1].lower()
        closing = _CLOSINGS.get(name)
        if closing is None:
            continue
        if name != _COMMENT:
            begin = 0 if ">" in missing else find(">", begin) + 1  # of what is inside
            if not begin:
                missing.add(">")
                continue
        if not closing or (text[begin - 2] == "/" and name != _COMMENT):
            end = stop = begin
        else:
            end = -1 if closing in missing else find(closing, begin)
            stop = end + len(closing)
            if end < 0:
                missing.add(closing)
                if name not in _UP_TO_THE_END:
                    resume = begin  # all of the tag is text
                    continue
                end = stop = len(text)
        parts += (text[position:start], _LEAVES.get(name, ""))
        position = resume = stop
        if name == _NOWIKI:
            parts[-1] = f"{KEPT}{len(kept)}{KEPT_END}"
            kept.append(text[begin:end].replace("\n", " "))
        elif name == _GALLERY:
            galleries.append(_read_gallery(text[tag.end() : begin - 1], text[begin:end]))
    return Elements("".join([*parts, text[position:]]), galleries)


def _read_gallery(attributes: str, inside: str) -> str:
    title = _CAPTION.search(attributes)
    return f"|{title[1].strip(_QUOTES)}\n{inside}" if title else inside


def _spell_plainly(tag: re.Match[str]) -> str:
    return f"</{tag[1].lower()}>"
