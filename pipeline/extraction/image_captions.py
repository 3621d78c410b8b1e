"""Texts about an image that stand elsewhere in the page and are tied to it by name.

In: the elements of a page, and one of its images. Out: the text of the elements that label or describe it by id, of
the caption that WordPress puts below it, and those of the areas of its map.
Source: WAI-ARIA 1.2 (aria-labelledby, aria-describedby); WHATWG HTML 4.8.13-14 (map, area); WordPress 2.6 to 5
(the classes of the caption shortcode and of galleries).
"""

import itertools
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # loads numba
    from pipeline.extraction.html_elements import Elements, Image

_CAPTION_CLASS: Final = "wp-caption-text"
_CAPTIONED_CLASSES: Final = frozenset({"wp-caption", "gallery-item"})  # of what holds image and caption
_TYING: Final = frozenset({"aria-describedby", "aria-labelledby", "usemap"})
_MAX_IDS: Final = 8
_MAX_LOOKUPS: Final = 200  # of ids of one page
_MAX_CAPTIONS: Final = 500


class TiedTexts:
    """The texts of one page that are tied to its images."""

    def __init__(self, elements: "Elements") -> None:
        self._elements = elements
        self._texts: dict[int, str] = {}
        self._by_id: dict[str, str] = {}
        self._by_map: dict[str, list[str]] = {}
        self._captions: list[tuple[int, int, int]] | None = None

    def may_have(self, image: "Image") -> bool:
        """Whether there may be such texts of an image: a quick look."""
        return self._elements.has_captions or not _TYING.isdisjoint(image.attributes)

    def find(self, image: "Image") -> list[tuple[str, str]]:
        """The texts tied to an image, and what they are: ``caption``, ``aria-label``, ``area``."""
        attributes = image.attributes
        texts: list[tuple[str, str]] = []
        if ids := attributes.get("aria-describedby"):
            texts.append((self._text_of_ids(ids), "caption"))
        if ids := attributes.get("aria-labelledby"):
            texts.append((self._text_of_ids(ids), "aria-label"))
        if self._has_captions():
            texts.append((self._wordpress_caption(image), "caption"))
        if name := attributes.get("usemap"):
            texts += [(alt, "area") for alt in self._area_texts(name.partition("#")[2] or name)]
        return [(text, source) for text, source in texts if text and not text.isspace()]

    def _text_of_ids(self, ids: str) -> str:
        return " ".join(filter(None, map(self._text_of_id, ids.split()[:_MAX_IDS])))

    def _text_of_id(self, name: str) -> str:
        if name not in self._by_id and len(self._by_id) < _MAX_LOOKUPS:
            elements = self._elements
            tokens = elements.find_tags(name.encode())
            token = next((token for token in tokens if elements.attributes_of(token).get("id") == name), -1)
            self._by_id[name] = elements.text_of(token) if token >= 0 else ""
        return self._by_id.get(name, "")

    def _wordpress_caption(self, image: "Image") -> str:
        """The caption in the innermost element that holds both it and an image."""
        for first, last, caption in self._captions or ():
            if first < image.token < last:
                if caption not in self._texts:
                    self._texts[caption] = self._elements.text_of(caption)
                return self._texts[caption]
        return ""

    def _has_captions(self) -> bool:
        if self._captions is None:
            self._captions = self._find_captions()
        return bool(self._captions)

    def _find_captions(self) -> list[tuple[int, int, int]]:
        """Where elements begin and end that hold a caption, the smallest ones first, and where that begins."""
        captions = self._with_class(frozenset({_CAPTION_CLASS})) if self._elements.has_captions else []
        found: list[tuple[int, int, int]] = []
        for token in self._with_class(_CAPTIONED_CLASSES) if captions else ():
            last = self._elements.end_of(token)
            held = bisect_right(captions, token)
            if held < len(captions) and captions[held] < last:
                found.append((token, last, captions[held]))
        return sorted(found, key=lambda places: places[1] - places[0])

    def _with_class(self, names: frozenset[str]) -> list[int]:
        """The rows of the start tags with one of some classes."""
        elements, found = self._elements, set[int]()
        for name in names:
            for token in itertools.islice(elements.find_tags(name.encode()), _MAX_CAPTIONS):
                if not names.isdisjoint(elements.attributes_of(token).get("class", "").split()):
                    found.add(token)
        return sorted(found)

    def _area_texts(self, name: str) -> list[str]:
        if name not in self._by_map and len(self._by_map) < _MAX_LOOKUPS:
            elements = self._elements
            self._by_map[name] = []
            for token in elements.find_named("map"):
                attributes = elements.attributes_of(token)
                if name in (attributes.get("name"), attributes.get("id")):
                    areas = elements.find_named("area", first=token, last=elements.end_of(token))
                    alts = (elements.attributes_of(area).get("alt", "") for area in areas)
                    self._by_map[name] = list(dict.fromkeys(alts))
                    break
        return self._by_map.get(name, [])
