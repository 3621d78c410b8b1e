"""The elements of a page that may hold an image, a text for it, or what its owner says of its use.

In: the bytes of a page, valid UTF-8. Out: `Elements`: those elements in their order, with the values of their
attributes and what is around them. Two compiled passes find them, one over the bytes and one over the tags; what few
pages ask for is looked up by name.
Source: WHATWG HTML 13.2 (parsing).
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipeline.extraction.element_text import read_text
from pipeline.extraction.html_names import ATTRIBUTES, IMAGE_INPUT, JSON_LD, META_NAMES, pass_tables
from pipeline.extraction.html_text import decode_attribute, decode_text
from pipeline.extraction.page_metadata import NAMES
from vocab.kernels import html_tokens, html_tree
from vocab.kernels.html_tree import CODES, FLAGS

_META, _SCRIPT, _SOURCE, _BASE, _INPUT = (CODES[name] for name in ("meta", "script", "source", "base", "input"))
_NOSCRIPT, _NOFRAMES = CODES["noscript"], CODES["noframes"]
_IMAGES: Final = frozenset(CODES[name] for name in ("img", "image", "amp-img", "amp-anim"))
_NAME_END: Final = re.compile(rb"[\s=]")
_ATTRIBUTE: Final = re.compile(r"""([^\s/>][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"'][^\s>]*)?))?""")
_TAG_NAME: Final = re.compile(rb"</?[^\s/>]*")
_FRAMESET: Final = re.compile(rb"<frameset[\s>]", re.IGNORECASE)
_ESCAPED_IMAGE: Final = re.compile(rb"\s*&lt;[^<]*img\s", re.IGNORECASE)
_MAX_CHILDREN: Final = 100
_MAX_SOURCES: Final = 64  # of a picture
_NEAR_BYTES: Final = 2000
_NEAR_TAGS: Final = 6  # between an image and the noscript that is about it


class Image(NamedTuple):
    """An img element, or one like it.

    Attributes:
        attributes: Names and values of its attributes that are read.
        token: The row of its tag.
        link: The row of the tag of the nearest link around it, or -1.
        figure: The row of the nearest figure around it, or -1.
        level: How many levels up that is.
        picture: The row of the tag of the picture that it is in directly, or -1.
    """

    attributes: dict[str, str]
    token: int
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
        images: Its img elements and those like them.
        sources: The attributes of source elements, by the picture they are in.
        json_lds: The texts of its JSON-LD scripts.
        has_items: Whether its microdata describes images.
        has_captions: Whether WordPress may have put captions into it.
    """

    def __init__(self, html: bytes) -> None:
        self._html = html
        self._is_odd = b"\r" in html or b"\0" in html
        self._tags, attributes, marks = html_tokens.scan_tags(html, *pass_tables())
        self._numbers, self._starts, self._ends = attributes.T.tolist()  # a list a row would keep the collector busy
        self.has_items, self._has_pages = marks & html_tokens.HAS_ITEMS > 0, marks & html_tokens.HAS_PAGES > 0
        self.has_captions = marks & html_tokens.HAS_CAPTIONS > 0
        elements, self._rows = html_tree.find_surroundings(self._tags, FLAGS)
        self._captions: dict[int, str] = {}
        self._titles: dict[int, str] = {}
        self.num_bytes = len(html)
        self._num_bytes_left = 8 * len(html)  # of elements whose text is asked for
        self.base = ""
        self.metas: list[tuple[str, str]] = []
        self.images: list[Image] = []
        self.sources: dict[int, list[dict[str, str]]] = defaultdict(list)
        self.json_lds: list[str] = []
        root: dict[str, str] = {}
        tokens = elements[:, 0]
        lasts = self._tags[tokens + 1, html_tokens.FIRST_ATTRIBUTE].tolist()
        codes, _, _, firsts = self._tags[tokens].T.tolist()
        rows = zip(codes, firsts, lasts, *elements.T.tolist(), strict=True)
        for code, first, last, token, link, figure, level, picture in rows:
            values = self._values(first, last)
            if code in _IMAGES or (code == _INPUT and values.get("type", "").lower() == IMAGE_INPUT):
                self.images.append(Image(values, token, link, figure, level, picture))
            elif code == _META:
                self._add_meta(values)
            elif code == _SCRIPT:
                if values.get("type", "").lower() in JSON_LD:
                    self.json_lds.append(self._text_after(token))
            elif code == _SOURCE:
                if len(self.sources[picture]) < _MAX_SOURCES:
                    self.sources[picture].append(values)
            elif code == _BASE:
                self.base = self.base or values.get("href", "")
            elif code != _INPUT:
                root = values | root
        self.language = root.get("lang") or root.get("xml:lang") or ""

    def _add_meta(self, values: dict[str, str]) -> None:
        for attribute in META_NAMES:
            name = values.get(attribute, "").lower()
            if name in NAMES:
                if content := values.get("content"):
                    self.metas.append((name, content))
                return

    def link_title(self, token: int) -> str:
        """The title of a link; empty when it has none."""
        if token not in self._titles:
            first, last = self._tags[token : token + 2, html_tokens.FIRST_ATTRIBUTE].tolist()
            self._titles[token] = self._values(first, last).get("title", "")
        return self._titles[token]

    def caption(self, figure: int, level: int) -> str:
        """The first figcaption of the nearest figure that has one.

        Args:
            figure: The row of the innermost figure.
            level: How many levels up that is.
        """
        while figure >= 0 and level <= html_tree.ANCESTORS:
            outer, depth, caption = self._rows[figure, :3].tolist()
            if caption >= 0:
                if caption not in self._captions:
                    self._captions[caption] = self._text_between(*self._rows[caption, :2].tolist())
                return self._captions[caption]
            level += depth - self._rows[outer, html_tree.DEPTH] if outer >= 0 else 0
            figure = outer
        return ""

    def find_tags(self, mark: bytes, *, first: int = 0, last: int | None = None) -> Iterator[int]:
        """The rows of start tags that hold something.

        Args:
            mark: Bytes in the tag.
            first: The row of the first tag to look at.
            last: The row behind the last one; the end of the page if not given.
        """
        starts = self._tags[:, html_tokens.START]
        place, end = int(starts[first]), int(starts[-1 if last is None else last])
        while (place := self._html.find(mark, place, end)) >= 0:
            token = int(np.searchsorted(starts, place, "right")) - 1
            code, _, tag_end, _ = self._tags[token].tolist()
            place += 1
            if code > 0 and place < tag_end:
                place = tag_end
                yield token

    def find_named(self, name: str, *, first: int = 0, last: int | None = None) -> list[int]:
        """The rows of the start tags of a name, see `find_tags`."""
        found: list[int] = (np.flatnonzero(self._tags[first:last, html_tokens.CODE] == CODES[name]) + first).tolist()
        return found

    def end_of(self, token: int) -> int:
        """The row of the tag that ends the element that begins with one: itself when it has no content."""
        return html_tree.ends_of(self._rows, token, token + 1)[0]

    def text_of(self, token: int) -> str:
        """The text of the element that begins with a tag; empty when too much was read already."""
        last = self.end_of(token)
        self._num_bytes_left -= int(self._tags[last, html_tokens.START] - self._tags[token, html_tokens.START])
        return self._text_between(token, last) if self._num_bytes_left >= 0 else ""

    def bytes_of(self, token: int) -> bytes:
        """The element that begins with a tag as it stands."""
        start, end = self._tags[[token, self.end_of(token)], html_tokens.START].tolist()
        return self._html[start:end]

    def name_of(self, token: int) -> str:
        """The name of the element that begins with a tag."""
        name = _TAG_NAME.match(self.tag_of(token))
        return name[0].strip(b"</").decode().lower() if name else ""

    def tag_of(self, token: int) -> bytes:
        """A tag as it stands."""
        _, start, end, _ = self._tags[token].tolist()
        return self._html[start:end]

    def attributes_of(self, token: int) -> dict[str, str]:
        """All attributes of a tag."""
        tag = self.tag_of(token)
        name = _TAG_NAME.match(tag)
        text = tag[name.end() if name else 0 :].decode()
        values: dict[str, str] = {}
        for found in _ATTRIBUTE.finditer(_tidy(text, "\ufffd") if self._is_odd else text):
            values.setdefault(found[1].lower(), decode_attribute(found[2] or found[3] or found[4] or ""))
        return values

    def images_between(self, first: int, last: int) -> list[Image]:
        """The images whose tags stand between two others."""
        begin, end = (bisect_left(self.images, token, key=lambda image: image.token) for token in (first, last))
        return self.images[begin:end]

    def noscript_images(self, image: Image) -> list[Image]:
        """The images of the noscript elements right behind and right before an image."""
        _, start, end, _ = self._tags[image.token].tolist()
        if self._html.find(b"oscript", max(0, start - _NEAR_BYTES), end + _NEAR_BYTES) < 0:
            return []
        codes = self._tags[max(0, image.token - _NEAR_TAGS) : image.token + _NEAR_TAGS + 1, html_tokens.CODE].tolist()
        middle = min(image.token, _NEAR_TAGS)
        place = bisect_left(self.images, image.token, key=lambda other: other.token)
        found = []
        for step, sign in ((1, 1), (-1, -1)):
            for distance in range(1, _NEAR_TAGS + 1):
                at = middle + step * distance
                if not 0 <= at < len(codes) or codes[at] in _IMAGES:
                    break
                if codes[at] == sign * _NOSCRIPT:
                    other = place + step
                    found += self.images[other : other + 1] if other >= 0 else []
                    break
        return [other for other in found if self._is_in_noscript(other)]

    def _is_in_noscript(self, image: Image) -> bool:
        first = max(0, image.token - _NEAR_TAGS)
        return any(
            self.end_of(token) > image.token for token in self.find_named("noscript", first=first, last=image.token)
        )

    def children(self) -> Iterator["Elements"]:
        """Pages that stand in this one as text: in noscript with its signs escaped, in the noframes of a frameset."""
        if not self._has_pages:
            return
        kinds = self._tags[:, html_tokens.CODE]
        for token in np.flatnonzero((kinds == _NOSCRIPT) | (kinds == _NOFRAMES))[:_MAX_CHILDREN].tolist():
            first, last = int(self._tags[token, html_tokens.END]), int(self._tags[token + 1, html_tokens.START])
            if kinds[token] == _NOFRAMES:
                if _FRAMESET.search(self._html, 0, first):
                    yield Elements(self._html[first:last])
            elif _ESCAPED_IMAGE.match(self._html, first, last):
                yield Elements(decode_text(self._html[first:last].decode()).encode("utf-8", "replace"))

    def _text_between(self, first: int, last: int) -> str:
        text = read_text(self._html, self._tags, self._rows, first=first, last=last)
        return _tidy(text, "") if self._is_odd else text

    def _text_after(self, token: int) -> str:
        """The text between a tag and the next, as it stands."""
        text = self._html[self._tags[token, 2] : self._tags[token + 1, 1]].decode()
        return _tidy(text, "") if self._is_odd else text

    def _values(self, first: int, last: int) -> dict[str, str]:
        """Names and values of the attributes in some rows."""
        html, numbers, starts, ends, is_odd = self._html, self._numbers, self._starts, self._ends, self._is_odd
        values: dict[str, str] = {}
        for row in range(last - 1, first - 1, -1):  # of equal names the first one counts
            value = html[starts[row] : ends[row]].decode()
            if is_odd:
                value = _tidy(value, "\ufffd")
            if "&" in value:
                value = decode_attribute(value)
            number = numbers[row]
            values[ATTRIBUTES[number] if number > 0 else self._name_at(row)] = value
        return values

    def _name_at(self, row: int) -> str:
        """The name of an attribute that is in no table."""
        name = self._html[-self._numbers[row] : self._starts[row]]
        return _NAME_END.split(name, maxsplit=1)[0].decode().lower()


def _tidy(text: str, zero: str) -> str:
    """Text as a parser sees it: with its line ends and without zeros."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", zero)
