"""Lists of images that differ in size, and which of them to take.

In: the value of a srcset. Out: its offers, and of several offers the one that suits a width.
Source: WHATWG HTML 4.8.4.2.1 (srcset), 4.8.4.3.5 (source sets).
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_MAX_DESCRIPTOR_CHARS: Final = 12
# Most srcsets: addresses with a width or density, no commas at the ends of either; then all that is not usual.
_USUAL: Final = re.compile(r"\s*([^\s,]\S*+)(?<!,)\s++([1-9]\d{0,4})([wx])\s*+(?:,|\Z)|(.+)", re.DOTALL)


class Offer(NamedTuple):
    """An image that a page offers.

    Attributes:
        reference: Its address as it stands in the page.
        number: How large it is.
        unit: Of the number: ``w`` pixels of width, ``x`` density, of which 1 is the width it is shown in.
    """

    reference: str
    number: float = 1.0
    unit: str = "x"


def choose_offer(offers: Sequence[Offer], target_px: int, shown_px: float = 0.0) -> Offer:
    """The narrowest image that is at least as wide as wanted, else the widest.

    Where the width of some is told, the others, of which nothing is known, do not count.

    Args:
        offers: One or more; of equally good ones the first is taken.
        target_px: Width wanted.
        shown_px: Width that the page shows it in; zero when unknown, then an image of density 1 is just wide enough.

    >>> choose_offer([Offer("a", 100, "w"), Offer("b", 400, "w"), Offer("c", 900, "w"), Offer("d")], 336).reference
    'b'
    """
    told = [offer for offer in offers if offer[2] == "w"]
    wanted = target_px if told else target_px / (shown_px or target_px)
    best, *others = told or offers
    for offer in others:
        number, most = offer[1], best[1]
        if (most > number >= wanted) if most >= wanted else number > most:
            best = offer
    return best


def parse_srcset(srcset: str) -> list[Offer]:
    """The images of a srcset.

    >>> parse_srcset("a.jpg, b.jpg 2x")[1]
    Offer(reference='b.jpg', number=2.0, unit='x')
    """
    found = _USUAL.findall(srcset)
    if found and not found[-1][3]:
        return [Offer(reference, float(number), unit) for reference, number, unit, _ in found]
    offers: list[Offer] = []
    reference, number, unit = "", 1.0, "x"
    for token in srcset.split():
        if not reference:
            reference, ends = token.strip(","), token.endswith(",")
            following = ""
        else:
            descriptor, comma, following = token.partition(",")
            number, unit = parse_descriptor(descriptor) or (number, unit)
            ends = bool(comma)
        if ends:
            offers += [Offer(reference, number, unit)] if reference else []
            reference, number, unit = following.strip(","), 1.0, "x"
    return [*offers, Offer(reference, number, unit)] if reference else offers


def parse_descriptor(text: str) -> tuple[float, str] | None:
    """The number and unit of a descriptor, or None when it says nothing."""
    unit = text[-1:].lower()
    if unit not in ("w", "x") or len(text) > _MAX_DESCRIPTOR_CHARS:
        return None
    try:
        number = float(text[:-1])
    except ValueError:
        return None
    return (number, unit) if 0 < number < 1e6 else None
