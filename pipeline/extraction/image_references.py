"""Which of the addresses that a page gives for an image is the image.

In: the attributes of an img, and the srcset of the sources around it. Out: one reference (not resolved yet), or why
there is none. Lazy pages keep a placeholder in src and the image in a data attribute, so data attributes come first.
Source: WHATWG HTML 4.8.4.2 (srcset); counts of attributes on real pages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pipeline.base.drops import DropReason

_LAZY_ATTRIBUTES: Final = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-original-src", "data-image", "data-img",
    "data-img-src", "data-image-src", "data-full-src", "data-hi-res-src", "data-url", "data-echo", "data-ll-src",
    "data-cfsrc", "data-delayed-url", "data-defer-src", "data-actualsrc",
)  # fmt: skip
_LAZY_SRCSETS: Final = ("data-srcset", "data-lazy-srcset")
_LAZY_NAMES: Final = frozenset(_LAZY_ATTRIBUTES + _LAZY_SRCSETS)
REFERENCE_ATTRIBUTES: Final = ("src", "srcset", *_LAZY_ATTRIBUTES, *_LAZY_SRCSETS)
# A reference that is one beyond doubt: http(s) or relative, nothing to strip or fill in.
_PLAIN: Final = re.compile(
    r"(?:https?://|/)[A-Za-z0-9_%~./?&=+,;@!()*:#-]{1,2000}|[A-Za-z0-9_%~.-][A-Za-z0-9_%~./?&=+,;@!()*#-]{0,2000}"
)
_PLACEHOLDER: Final = re.compile(
    r"(?:(?:lazy|img|image|pic|photo|default|ajax|pre)[-_.]?)?"
    r"(?:blank|spacer|transparent|trans|pixel|placeholder|loading|loader|lazy|lazyload|gr[ea]y|clear|empty|dummy|spinner|"
    r"1x1|1px)(?:[-_.]?(?:image|img|gif|pixel|bg|white|\d{1,4}(?:x\d{1,4})?))?\.(?:gif|png|svg|jpe?g|webp)",
    re.ASCII | re.IGNORECASE,
)
# How the names begin that the pattern allows: three characters, in lower case.
PLACEHOLDER_STARTS: Final = frozenset({
    "1px", "1x1", "aja", "bla", "cle", "def", "dum", "emp", "gra", "gre", "ima", "img", "laz", "loa", "pho", "pic",
    "pix", "pla", "pre", "spa", "spi", "tra",
})  # fmt: skip
_TEMPLATE: Final = re.compile(r"\{\{|\$\{|\{[a-z_]{1,20}\}", re.IGNORECASE)  # what a script would fill in
_NOT_FETCHED: Final = ("data:", "blob:", "about:", "javascript:", "file:", "#")
MAX_PLACEHOLDER_CHARS: Final = 40
_MAX_REFERENCE_CHARS: Final = 8192


def choose_reference(
    attributes: Mapping[str, str | None], picture_srcsets: Sequence[str] = (), *, target_px: int
) -> str | DropReason:
    """The reference of an image.

    Args:
        attributes: Of the img element.
        picture_srcsets: The srcset of every source in the picture around it.
        target_px: Width wanted where a srcset offers several.

    >>> choose_reference({"src": "blank.gif", "data-src": "cat.jpg"}, target_px=224)
    'cat.jpg'
    """
    src = attributes.get("src") or ""
    if _PLAIN.fullmatch(src) and _LAZY_NAMES.isdisjoint(attributes) and not is_placeholder(src):
        return src
    reason = DropReason.NO_IMAGE_URL
    for reference in _references(attributes, picture_srcsets, target_px):
        reference = reference.strip()
        if "{width}" in reference:
            reference = reference.replace("{width}", str(target_px))
        if reference[:11].lower().startswith("data:"):
            reason = DropReason.DATA_URL
        elif is_placeholder(reference):
            reason = DropReason.PLACEHOLDER
        elif _is_fetchable(reference):
            return reference
    return reason


def choose_from_srcset(srcset: str, target_px: int) -> str:
    """The narrowest image of a srcset that is at least as wide as wanted, else the widest; empty when there is none.

    >>> choose_from_srcset("a,1.jpg 100w, b.jpg 300w,c.jpg 900w", 224)
    'b.jpg'
    """
    offers = parse_srcset(srcset)
    if not offers:
        return ""
    widths = [width if unit == "w" else width * target_px for _, width, unit in offers]
    best = min(range(len(offers)), key=lambda i: (widths[i] < target_px, abs(widths[i] - target_px), i))
    return offers[best][0]


def parse_srcset(srcset: str) -> list[tuple[str, float, str]]:
    """The images of a srcset: reference, number, and unit of the number (``w`` pixels of width, ``x`` density).

    >>> parse_srcset("a.jpg, b.jpg 2x")
    [('a.jpg', 1.0, 'x'), ('b.jpg', 2.0, 'x')]
    """
    offers: list[tuple[str, float, str]] = []
    reference, number, unit = "", 1.0, "x"
    for token in srcset.split():
        if not reference:
            reference, ends = token.strip(","), token.endswith(",")
            following = ""
        else:
            descriptor, comma, following = token.partition(",")
            number, unit = _parse_descriptor(descriptor) or (number, unit)
            ends = bool(comma)
        if ends:
            offers += [(reference, number, unit)] if reference else []
            reference, number, unit = following.strip(","), 1.0, "x"
    return [*offers, (reference, number, unit)] if reference else offers


def _references(attributes: Mapping[str, str | None], picture_srcsets: Sequence[str], target_px: int) -> Iterator[str]:
    for name in _LAZY_ATTRIBUTES:
        if value := attributes.get(name):
            yield value
    for name in _LAZY_SRCSETS:
        if value := attributes.get(name):
            yield choose_from_srcset(value, target_px)
    if value := attributes.get("src"):
        yield value
    if value := attributes.get("srcset"):
        yield choose_from_srcset(value, target_px)
    for value in picture_srcsets:
        yield choose_from_srcset(value, target_px)


def is_placeholder(reference: str) -> bool:
    """Whether the name of a file says that it only stands for an image."""
    name = reference
    if "?" in name or "#" in name:
        name = name.partition("?")[0].partition("#")[0]
    name = name[name.rfind("/") + 1 :]
    if len(name) > MAX_PLACEHOLDER_CHARS or name[:3].lower() not in PLACEHOLDER_STARTS:
        return False
    return _PLACEHOLDER.fullmatch(name) is not None


def _is_fetchable(reference: str) -> bool:
    return (
        0 < len(reference) <= _MAX_REFERENCE_CHARS
        and not reference[:11].lower().startswith(_NOT_FETCHED)
        and not _TEMPLATE.search(reference)
    )


def _parse_descriptor(text: str) -> tuple[float, str] | None:
    unit = text[-1:].lower()
    if unit not in ("w", "x") or len(text) > 12:
        return None
    try:
        number = float(text[:-1])
    except ValueError:
        return None
    return (number, unit) if 0 < number < 1e6 else None
