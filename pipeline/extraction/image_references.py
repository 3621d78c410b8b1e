"""Which of the addresses that a page gives for an image is the image.

In: the attributes of an img, and those of the sources in the picture around it. Out: one reference (not resolved yet),
or why there is none. Lazy pages keep a placeholder in src and the image in a data attribute, so what scripts load comes
first (`lazy_attributes`), then src and srcset, then what other data attributes hold. Where there are several sizes, of
the img itself or of sources for a usual screen, the width wanted decides.
Source: WHATWG HTML 4.8.4.3 (source sets); counts of attributes on real pages.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipeline.base.drops import DropReason
from pipeline.extraction.lazy_attributes import KNOWN_ATTRIBUTES, find_loaded, find_spare, is_address, is_usual
from pipeline.extraction.media_queries import is_decoded, matches_screen
from pipeline.extraction.srcsets import Offer, choose_offer, parse_srcset

REFERENCE_ATTRIBUTES: Final = ("src", "srcset", "width", *KNOWN_ATTRIBUTES)
SOURCE_ATTRIBUTES: Final = ("srcset", "data-srcset", "data-lazy-srcset", "media", "type")
# Attributes of an img that hold no reference.
_TEXTS: Final = frozenset({
    "alt", "src", "width", "title", "aria-label", "aria-labelledby", "aria-describedby", "usemap", "type",
})  # fmt: skip
_LAZY: Final = frozenset(name for name in KNOWN_ATTRIBUTES if not name.endswith("srcset"))
# A reference that is one beyond doubt: http(s) or relative, nothing to strip or fill in.
_PLAIN: Final = re.compile(
    r"(?:https?://|/)[A-Za-z0-9_%~./?&=+,;@!()*:#-]{1,2000}|[A-Za-z0-9_%~.-][A-Za-z0-9_%~./?&=+,;@!()*#-]{0,2000}"
)
_PLACEHOLDER: Final = re.compile(
    r"(?:(?:lazy|img|image|pic|photo|default|ajax|pre)[-_.]?)?"
    r"(?:blank|spacer|transparent|trans|pixel|placeholder|loading|loader|lazy|lazyload|gr[ea]y|clear|empty|dummy|spinner|"
    r"shim|leer|1x1|1px|missing[-_]?(?:image|img|photo))"
    r"(?:[-_.]?(?:image|img|gif|pixel|bg|white|\d{1,4}(?:x\d{1,4})?))?\.(?:gif|png|svg|jpe?g|webp)",
    re.ASCII | re.IGNORECASE,
)
# How the names begin that the pattern allows: three characters, in lower case.
PLACEHOLDER_STARTS: Final = frozenset({
    "1px", "1x1", "aja", "bla", "cle", "def", "dum", "emp", "gra", "gre", "ima", "img", "laz", "lee", "loa", "mis",
    "pho", "pic", "pix", "pla", "pre", "shi", "spa", "spi", "tra",
})  # fmt: skip
_TEMPLATE: Final = re.compile(r"\{\{|\$\{|\{[a-z_]{1,20}\}", re.IGNORECASE)  # what a script would fill in
_NOT_FETCHED: Final = ("data:", "blob:", "about:", "javascript:", "file:", "#")
MAX_PLACEHOLDER_CHARS: Final = 40
_MAX_REFERENCE_CHARS: Final = 8192
_WIDTH: Final = re.compile(r"\s*(\d{1,5})(?:\.\d*)?\s*(?:px\s*)?")


def choose_reference(
    attributes: Mapping[str, str], sources: Sequence[Mapping[str, str]] = (), *, target_px: int
) -> str | DropReason:
    """The reference of an image.

    Args:
        attributes: Of the img element.
        sources: The attributes of every source in the picture around it.
        target_px: Width wanted where the page offers several.

    >>> choose_reference({"src": "blank.gif", "data-src": "cat.jpg"}, target_px=224)
    'cat.jpg'
    """
    if not sources:  # most images have one address, and no other attribute that may be one
        if _TEXTS.issuperset(attributes):
            return _tidy(attributes.get("src", ""), target_px)
        others = attributes.keys() - _TEXTS
        if len(others) == 1 and not _LAZY.isdisjoint(others):
            value = attributes[others.pop()]
            if is_usual(value) and not isinstance(reference := _tidy(value, target_px), DropReason):
                return reference
    choice = _Choice(attributes, target_px)
    loaded = find_loaded(attributes)
    reference = choice.best(loaded)
    own = loaded
    if not reference or not is_address(reference, is_named=False):
        plain = _plain_offers(attributes)
        shown = choice.best(plain)
        if shown and (not reference or is_address(shown, is_named=False)):
            own, reference = plain, shown
    if sources:
        reference = choice.best([*own, *_shown_offers(sources)]) or choice.best(_source_offers(sources))
    return reference or choice.best(find_spare(attributes)) or choice.reason


class _Choice:
    """Which of several offers is taken.

    Attributes:
        reason: Why the last one that could not be fetched cannot.
    """

    def __init__(self, attributes: Mapping[str, str], target_px: int) -> None:
        self.reason = DropReason.NO_IMAGE_URL
        self._attributes = attributes
        self._target_px = target_px

    def best(self, offers: list[Offer]) -> str:
        """The reference of the best offer that can be fetched; empty when none can."""
        if not offers:
            return ""
        if len(offers) == 1:
            return self.tidy(offers[0].reference)
        width = _WIDTH.fullmatch(self._attributes.get("width", ""))
        shown_px = float(width[1]) if width else 0.0
        reference = self.tidy(choose_offer(offers, self._target_px, shown_px).reference)
        if reference:
            return reference
        usable = [offer for offer in offers if self.tidy(offer.reference)]
        return self.tidy(choose_offer(usable, self._target_px, shown_px).reference) if usable else ""

    def tidy(self, reference: str) -> str:
        """A reference without white space around it; empty when it cannot be fetched."""
        found = _tidy(reference, self._target_px)
        if not isinstance(found, DropReason):
            return found
        if found != DropReason.NO_IMAGE_URL:
            self.reason = found
        return ""


def _tidy(reference: str, target_px: int) -> str | DropReason:
    if _PLAIN.fullmatch(reference) and not is_placeholder(reference):
        return reference
    reference = reference.strip()
    if "{width}" in reference:
        reference = reference.replace("{width}", str(target_px))
    if reference[:11].lower().startswith("data:"):
        return DropReason.DATA_URL
    if is_placeholder(reference):
        return DropReason.PLACEHOLDER
    return reference if _is_fetchable(reference) else DropReason.NO_IMAGE_URL


def _plain_offers(attributes: Mapping[str, str]) -> list[Offer]:
    """What src and srcset offer; src is the image of density 1 where no other is."""
    srcset, src = attributes.get("srcset"), Offer(attributes.get("src", ""))
    if not srcset:
        return [src]
    offers = parse_srcset(srcset)
    return offers if any(unit == "x" and number == 1 for _, number, unit in offers) else [*offers, src]


def _shown_offers(sources: Sequence[Mapping[str, str]]) -> list[Offer]:
    """What the sources of a picture offer that a usual screen would show."""
    return _source_offers([source for source in sources if matches_screen(source.get("media", ""))])


def _source_offers(sources: Iterable[Mapping[str, str]]) -> list[Offer]:
    """What the sources of a picture offer, but for images that nothing here decodes."""
    offers: list[Offer] = []
    for source in sources:
        if is_decoded(source.get("type", "")):
            offers += find_loaded(source) or parse_srcset(source.get("srcset", ""))
    return offers


def is_placeholder(reference: str) -> bool:
    """Whether the name of a file says that it only stands for an image."""
    if "?" in reference or "#" in reference:
        reference = reference.partition("?")[0].partition("#")[0]
    start = reference.rfind("/") + 1
    if reference[start : start + 3].lower() not in PLACEHOLDER_STARTS or len(reference) - start > MAX_PLACEHOLDER_CHARS:
        return False
    return _PLACEHOLDER.fullmatch(reference, start) is not None


def _is_fetchable(reference: str) -> bool:
    return (
        0 < len(reference) <= _MAX_REFERENCE_CHARS
        and not reference[:11].lower().startswith(_NOT_FETCHED)
        and not ("{" in reference and _TEMPLATE.search(reference))
    )
