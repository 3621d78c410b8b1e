"""The elements of a page that may hold an image, a text for it, or what its owner says of its use.

In: the bytes of a page, valid UTF-8. Out: `Elements`: those elements in their order, with the values of their
attributes and what is around them. Two compiled passes find them, one over the bytes and one over the tags.
Source: WHATWG HTML 13.2 (parsing).
"""

import itertools
from collections import defaultdict
from typing import Final, NamedTuple

from pipeline.extraction.html_names import ATTRIBUTES, JSON_LD, META_NAMES, pass_tables
from pipeline.extraction.html_text import decode_attribute, decode_text
from pipeline.extraction.page_metadata import NAMES
from vocab.kernels import html_tokens, html_tree
from vocab.kernels.html_tree import CODES, FLAGS, NO_EFFECT

_META, _SCRIPT, _SOURCE, _BASE, _TEMPLATE = (CODES[name] for name in ("meta", "script", "source", "base", "template"))
_IMAGES: Final = (CODES["img"], CODES["image"])
_RAW: Final = "script style iframe noembed noframes xmp plaintext"
_NOT_DECODED: Final = frozenset(CODES[name] for name in _RAW.split())


class Image(NamedTuple):
    """An img element.

    Attributes:
        attributes: Names and values of its attributes that are read.
        link: The row of the tag of the nearest link around it, or -1.
        figure: The row of the nearest figure around it, or -1.
        level: How many levels up that is.
        picture: The row of the tag of the picture that it is in directly, or -1.
    """

    attributes: dict[str, str]
    link: int
    figure: int
    level: int
    picture: int


class Elements:
    """The elements of one page.

    Attributes:
        num_bytes: Of the page.
        language: As its html element gives it.
        base: The first href of a base element; empty when there is none.
        metas: Names (or properties, or http-equivs), in lower case, and contents of the meta elements whose names mean
            something here.
        images: Its img elements.
        srcsets: Those of source elements, by the picture they are in.
        json_lds: The texts of its JSON-LD scripts.
    """

    def __init__(self, html: bytes) -> None:
        self._html = html
        self._is_odd = b"\r" in html or b"\0" in html
        self._tags, self._attributes = html_tokens.scan_tags(html, *pass_tables())
        elements, self._rows = html_tree.find_surroundings(self._tags, FLAGS)
        self._captions: dict[int, str] = {}
        self._titles: dict[int, str] = {}
        self.num_bytes = len(html)
        self.base = ""
        self.metas: list[tuple[str, str]] = []
        self.images: list[Image] = []
        self.srcsets: dict[int, list[str]] = defaultdict(list)
        self.json_lds: list[str] = []
        root: dict[str, str] = {}
        tokens = elements[:, 0]
        codes, firsts = self._tags[tokens, 0].tolist(), self._tags[tokens, 3].tolist()
        lasts, attributes = self._tags[tokens + 1, 3].tolist(), self._attributes.tolist()
        for code, first, last, (token, *around) in zip(codes, firsts, lasts, elements.tolist(), strict=True):
            values = self._values(attributes[first:last])
            if code in _IMAGES:
                self.images.append(Image(values, *around))
            elif code == _META:
                self._add_meta(values)
            elif code == _SCRIPT:
                if values.get("type", "").lower() in JSON_LD:
                    self.json_lds.append(self._text_after(token))
            elif code == _SOURCE:
                found = (values.get("data-srcset"), values.get("srcset"))  # lazy sources come first
                self.srcsets[around[-1]] += [value for value in found if value]
            elif code == _BASE:
                self.base = self.base or values.get("href", "")
            else:
                root = values | root
        self.language = root.get("lang") or root.get("xml:lang") or ""

    def _add_meta(self, values: dict[str, str]) -> None:
        names = (values.get(attribute, "").lower() for attribute in META_NAMES)
        name = next((name for name in names if name in NAMES), "")
        if name and (content := values.get("content")):
            self.metas.append((name, content))

    def link_title(self, token: int) -> str:
        """The title of a link; empty when it has none."""
        if token not in self._titles:
            first, last = self._tags[token : token + 2, html_tokens.FIRST_ATTRIBUTE].tolist()
            self._titles[token] = self._values(self._attributes[first:last].tolist()).get("title", "")
        return self._titles[token]

    def caption(self, figure: int, level: int) -> str:
        """The first figcaption of the nearest figure that has one.

        Args:
            figure: The row of the innermost figure.
            level: How many levels up that is.
        """
        while figure >= 0 and level <= html_tree.ANCESTORS:
            outer, depth, caption = self._rows[figure].tolist()
            if caption >= 0:
                if caption not in self._captions:
                    self._captions[caption] = self._read_caption(*self._rows[caption, :2].tolist())
                return self._captions[caption]
            level += depth - self._rows[outer, html_tree.DEPTH] if outer >= 0 else 0
            figure = outer
        return ""

    def _read_caption(self, first: int, last: int) -> str:
        """The texts of an element from its tag to the one that ends it."""
        tags = self._tags[first : last + 1, :3].tolist()
        texts: list[str] = []
        is_hidden, is_cut = 0, True
        for (code, _, start), (_, end, _) in itertools.pairwise(tags):
            if abs(code) == _TEMPLATE:
                is_hidden += 1 if code > 0 else -1
            is_cut = is_cut or code != NO_EFFECT
            if start == end or is_hidden:
                continue
            text = _tidy(self._html[start:end].decode(), "")
            text = text if code in _NOT_DECODED else decode_text(text)
            if is_cut:
                texts.append(text)
            else:
                texts[-1] += text
            is_cut = False
        return " ".join(texts)

    def _text_after(self, token: int) -> str:
        """The text between a tag and the next, as it stands."""
        text = self._html[self._tags[token, 2] : self._tags[token + 1, 1]].decode()
        return _tidy(text, "") if self._is_odd else text

    def _values(self, spans: list[list[int]]) -> dict[str, str]:
        """Names and values of attributes."""
        html = self._html
        values = {ATTRIBUTES[number]: html[start:end].decode() for number, start, end in spans}
        for name, value in values.items():
            if self._is_odd:
                values[name] = value = _tidy(value, "\ufffd")
            if "&" in value:
                values[name] = decode_attribute(value)
        return values


def _tidy(text: str, zero: str) -> str:
    """Text as a parser sees it: with its line ends and without zeros."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", zero)
