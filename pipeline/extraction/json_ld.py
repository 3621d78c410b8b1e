"""JSON-LD ► the images it describes, and those it shows things by.

In: the texts of a page's JSON-LD scripts. Out: an image and a text, for each ImageObject that has a text of its own,
and for each image of a thing (an article, a product, a recipe, a person) that has a name or headline; and how many
scripts could not be read.
Source: schema.org ImageObject, Thing (image), CreativeWork (headline, thumbnail, thumbnailUrl); JSON-LD 1.1, 3.3
(references by @id), 4.2 (values).
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pipeline.extraction.html_text import decode_again
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.lenient_json import read_json
from pipeline.extraction.page_metadata import Find, says_something

Node = Mapping[str, Any]

_MOST_NODES: Final = 10_000  # of a script
_MOST_FINDS: Final = 10_000  # of a page
_MOST_TEXTS: Final = 50  # of an image
_MARKS: Final = ("mage", "thumbnail")  # of scripts that name an image
_IMAGE_TYPES: Final = frozenset({"imageobject", "imageobjectsnapshot", "barcode"})
_ADDRESSES: Final = ("contentUrl", "url", "thumbnailUrl")
_OWN_TEXTS: Final = ("caption", "description", "name", "alternateName", "headline")
_NAMES: Final = ("name", "headline", "alternateName", "alternativeHeadline")
_SHOWN_BY: Final = (("image", "photo", "primaryImageOfPage"), ("thumbnail", "thumbnailUrl"))  # the first are better
_SHOWS: Final = frozenset(itertools.chain(*_SHOWN_BY))
_CONTAINERS: Final = (list, dict)
_IMAGE_NAME: Final = re.compile(r"\.(?:jpe?g|png|webp|gif|avif)(?:\?|$)", re.IGNORECASE)
_INLINE_TAG: Final = re.compile(r"</?(?:a|abbr|b|cite|code|em|font|i|mark|q|s|small|span|strong|sub|sup|u)\b[^<>]*+>")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*+>")


class JsonLd(NamedTuple):
    """What the JSON-LD of a page says of images.

    Attributes:
        finds: Images and their texts.
        num_scripts: Those that name an image.
        num_unread: Of those, the ones that could not be read, or not whole.
    """

    finds: list[Find]
    num_scripts: int
    num_unread: int


NO_JSON_LD: Final = JsonLd([], 0, 0)


def find_json_ld(scripts: Iterable[str], *, all_texts: bool = False, target_px: int = 336) -> JsonLd:
    """Finds the images of a page's JSON-LD scripts.

    Args:
        scripts: Their texts.
        all_texts: All texts of an image, instead of its best one.
        target_px: See `choose_reference`.
    """
    read = [read_json(text.strip()) for text in scripts if any(mark in text for mark in _MARKS)]
    if not read:
        return NO_JSON_LD
    nodes = [node for script in read for node in itertools.islice(_walk(script.values), _MOST_NODES)]
    told = _Told(nodes, all_texts=all_texts)
    found = dict.fromkeys(itertools.islice(itertools.chain(told.images(), told.things()), _MOST_FINDS))
    finds = [
        Find(choose_reference({"src": reference}, target_px=target_px), text, "json-ld") for reference, text in found
    ]
    return JsonLd(finds, len(read), sum(not script.is_whole for script in read))


class _Told:
    """References to images and the texts that some nodes have for them."""

    def __init__(self, nodes: list[Node], *, all_texts: bool) -> None:
        self._all_texts, self._most = all_texts, _MOST_TEXTS if all_texts else 1
        self._objects: list[Node] = []
        self._things: list[Node] = []
        for node in nodes:
            if _is_image(node):
                self._objects.append(node)
            elif not _SHOWS.isdisjoint(node):
                self._things.append(node)
        self._images = {id_: node for node in reversed(self._objects) if (id_ := _id(node))}
        self._described: set[str] = set()

    def images(self) -> Iterator[tuple[str, str]]:
        """Those of the image objects."""
        for node in self._objects:
            yield from self._pair(_addresses(node), _texts(node, _OWN_TEXTS, self._most))

    def things(self) -> Iterator[tuple[str, str]]:
        """Those of the things that images show; after `images`."""
        for node in self._things:
            names = _texts(node, _NAMES, self._most) or _texts(node, ("description",), 1)
            for value in _shown(node) if names else ():
                image = self._resolve(value)
                references = [one for one in _addresses(image) if self._all_texts or one not in self._described]
                if references:
                    yield from self._pair(references, [*_texts(image, _OWN_TEXTS, self._most), *names])

    def _pair(self, references: list[str], texts: list[str]) -> Iterator[tuple[str, str]]:
        for reference in references if texts else ():
            self._described.add(reference)
            for text in texts if self._all_texts else texts[:1]:
                yield reference, text

    def _resolve(self, value: Any) -> Node:
        """The image that a value is, or refers to."""
        if isinstance(value, str):
            return self._images.get(value) or {"url": value}
        return value if _addresses(value) else self._images.get(_id(value), value)


def _walk(values: list[Any]) -> Iterator[Node]:
    """All objects in some values, outer ones first; keys without the prefix of their vocabulary."""
    todo: list[Any] = values[::-1]
    while todo:
        value = todo.pop()
        if type(value) is list:
            todo += value[::-1]
        elif type(value) is dict:
            if ":" in "".join(value):
                value = {_plain_name(key): item for key, item in value.items()}
            context = value.get("@context")  # says what names mean, nothing of images
            todo += [item for item in reversed(value.values()) if type(item) in _CONTAINERS and item is not context]
            yield value


def _plain_name(name: str) -> str:
    """A name without what stands before it: ``http://schema.org/``, ``schema:``."""
    return name.rpartition("/")[2].rpartition(":")[2]


def _is_image(node: Node) -> bool:
    kind = node.get("@type")
    return _is_image_type(kind) if isinstance(kind, str) else any(map(_is_image_type, _strings(kind)))


@functools.lru_cache(maxsize=1024)
def _is_image_type(kind: str) -> bool:
    return _plain_name(kind).lower() in _IMAGE_TYPES


def _id(node: Node) -> str:
    return id_ if isinstance(id_ := node.get("@id"), str) else ""


def _addresses(node: Node) -> list[str]:
    """Where an image is: its contentUrl, else its url, else that of its thumbnail, else its name in the graph."""
    for key in _ADDRESSES:
        if found := [_tidy_reference(value) for value in _strings(node.get(key)) if value.strip()]:
            return found
    return [id_] if _IMAGE_NAME.search(id_ := _id(node)) else []


def _texts(node: Node, keys: Iterable[str], most: int) -> list[str]:
    """Some texts of a node, the best one first."""
    found: list[str] = []
    for key in keys:
        for value in _strings(node.get(key)):
            text = _tidy_text(value)
            if says_something(text) and text not in found:
                found.append(text)
                if len(found) == most:
                    return found
    return found


def _shown(node: Node) -> list[Any]:
    """The images, or references to images, that a node has."""
    for keys in _SHOWN_BY:
        values = [value for key in keys for value in _flat(node.get(key)) if value and isinstance(value, str | dict)]
        if values:
            return values
    return []


def _strings(value: Any) -> list[str]:
    """The strings that a value is, as they stand or as the values and names of objects."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    found = (one.get("@value") or one.get("@id") if isinstance(one, dict) else one for one in _flat(value))
    return [one for one in found if isinstance(one, str)]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = value.get("@list") or value.get("@set") or value
    return value if isinstance(value, list) else [value]


def _tidy_reference(reference: str) -> str:
    return decode_again(reference.strip()).replace("\\/", "/")


def _tidy_text(text: str) -> str:
    """A text without character references and tags, which many writers leave in it."""
    text = decode_again(text)
    return _TAG.sub(" ", _INLINE_TAG.sub("", text)) if "<" in text else text
