"""Images that a page describes by microdata.

In: the elements of a page. Out: the address and the text of every item that is an ImageObject, as they stand.
Source: WHATWG HTML 5.2.4 (values of properties); schema.org ImageObject.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.base.drops import DropReason
from pipeline.extraction.html_elements import Elements
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.lazy_attributes import is_address
from pipeline.extraction.page_metadata import Find, says_something

_TYPE: Final = "schema.org/ImageObject"
_MARK: Final = b"item"  # in tags with itemprop or itemscope
_SCOPE: Final = "itemscope"
_REFERENCES: Final = ("contenturl", "image", "url", "thumbnailurl", "thumbnail")
_TEXTS: Final = ("caption", "description", "name", "headline", "alternatename")
_READ: Final = frozenset((*_REFERENCES, *_TEXTS))
_TOLD: Final = re.compile(rb"itemprop\s*=[^<>]{,99}(?:caption|description|name|headline)", re.IGNORECASE)
_VOCABULARY: Final = re.compile(r"https?://schema\.org/", re.IGNORECASE)  # names may be addresses
# Attributes that hold the value of a property, by the element it stands on.
_VALUES: Final = {
    "meta": ("content",), "a": ("href",), "area": ("href",), "link": ("href",), "object": ("data",), "source": ("src",),
    "embed": ("src",),
}  # fmt: skip
_MAX_ITEMS: Final = 300
_MAX_PROPERTIES: Final = 200


def find_item_images(elements: Elements, *, target_px: int) -> Iterator[Find]:
    """The ImageObjects of a page that say where the image is and what it shows.

    Args:
        elements: Of the page.
        target_px: Width wanted where one is offered in several.
    """
    if not elements.has_items:
        return
    for _, scope in zip(range(_MAX_ITEMS), elements.find_tags(_TYPE.encode()), strict=False):
        if not _TOLD.search(elements.bytes_of(scope)):
            continue
        attributes = elements.attributes_of(scope)
        is_image = any(name.endswith(_TYPE) for name in attributes.get("itemtype", "").split())
        if is_image and _SCOPE in attributes:
            properties = _read_item(elements, scope, target_px)
            reference = _find_reference(properties) or _only_image(elements, scope, target_px)
            text = next((properties[name] for name in _TEXTS if says_something(properties.get(name))), "")
            if reference and text:
                yield Find(reference, text, "microdata")


def _find_reference(properties: Mapping[str, str]) -> str:
    """The address of an item's image; its url may be that of a page about it."""
    found = ((name, properties[name]) for name in _REFERENCES if properties.get(name))
    return next((value for name, value in found if name != "url" or is_address(value, is_named=False)), "")


def _only_image(elements: Elements, scope: int, target_px: int) -> str:
    """The address of the one img in an item that names none."""
    end = elements.end_of(scope)
    images = [image for image in elements.images_between(scope, end) if image.attributes.get("src")]
    if len(images) != 1:
        return ""
    reference = choose_reference(images[0].attributes, target_px=target_px)
    return "" if isinstance(reference, DropReason) else reference


def _read_item(elements: Elements, scope: int, target_px: int) -> dict[str, str]:
    """The properties of an item, without those of items in it."""
    properties: dict[str, str] = {}
    inner_end = 0
    found = elements.find_tags(_MARK, first=scope + 1, last=elements.end_of(scope))
    for _, token in zip(range(_MAX_PROPERTIES), found, strict=False):
        if token < inner_end:
            continue
        attributes = elements.attributes_of(token)
        if _SCOPE in attributes:
            inner_end = elements.end_of(token)
            continue
        told = _VOCABULARY.sub("", attributes.get("itemprop", "")).lower().split()
        names = _READ.intersection(told) - properties.keys()
        if names:
            properties |= dict.fromkeys(names, _read_value(elements, token, attributes, target_px))
    return properties


def _read_value(elements: Elements, token: int, attributes: Mapping[str, str], target_px: int) -> str:
    """The value of a property; many pages give it in a content attribute, whatever the element."""
    name = elements.name_of(token)
    if name in ("img", "amp-img"):
        reference = choose_reference(attributes, target_px=target_px)
        return "" if isinstance(reference, DropReason) else reference
    places = ("content", *_VALUES.get(name, ()))
    value = next((attributes[place] for place in places if attributes.get(place)), None)
    return value.strip() if value is not None else elements.text_of(token).strip()
