"""Images that a page's scripts load: what the data attributes of an img say of them.

In: the attributes of an img or source. Out: offers of images, those that scripts put into src apart from those that are
some other view of the image. A name is judged by its words, a value by its shape: it must look like the address of an
image, or be a srcset or JSON that holds some.
Source: counts of attributes on real pages (docs/extraction.md); lazySizes, lozad, Blazy, Foundation Interchange,
WordPress and their like, which differ in the names and agree in the words.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from pipeline.extraction.srcsets import Offer, parse_srcset

# Those that are in use everywhere; where an img has several of them, the first one that has an image.
KNOWN_ATTRIBUTES: Final = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-original-src", "data-image", "data-img",
    "data-img-src", "data-image-src", "data-full-src", "data-hi-res-src", "data-url", "data-echo", "data-ll-src",
    "data-cfsrc", "data-delayed-url", "data-defer-src", "data-actualsrc", "data-srcset", "data-lazy-srcset",
)  # fmt: skip
_RANKS: Final = {name: rank for rank, name in enumerate(KNOWN_ATTRIBUTES)}

# Words of names: a script loads the image from here …
_LOADERS: Final = frozenset(
    ["echo", "ll", "cfsrc", "defer", "deferred", "delay", "delayed", "actualsrc", "original", "unveil", "dejavu"]
)
_SOURCES: Final = frozenset(["src", "srcset", "source"])
# … this is another picture, or another moment of it …
_OTHERS: Final = frozenset(
    [
        "hover",
        "over",
        "rollover",
        "mouseover",
        "active",
        "alt",
        "alternate",
        "back",
        "flip",
        "second",
        "next",
        "prev",
        "fallback",
        "default",
        "poster",
        "video",
        "background",
        "avatar",
        "logo",
        "icon",
        "sprite",
        "overlay",
        "canonical",
    ]
)
# … it is there while or because there is no image …
_NO_IMAGES: Final = frozenset(
    [
        "placeholder",
        "loading",
        "loader",
        "spinner",
        "error",
        "onerror",
        "missing",
        "broken",
        "noimage",
        "lqip",
        "blur",
        "blurhash",
    ]
)
# … or it is something else that is known of it.
_FACTS: Final = frozenset(
    [
        "title",
        "caption",
        "description",
        "text",
        "name",
        "id",
        "type",
        "class",
        "sizes",
        "size",
        "width",
        "height",
        "ratio",
        "dimensions",
        "meta",
        "credit",
        "author",
        "permalink",
        "href",
        "link",
        "page",
        "share",
    ]
)
# How wide images of these names are: what sites mean by them differs, their order does not.
_WIDTHS: Final = {
    "preview": 100, "thumb": 160, "thumbnail": 160, "mini": 160, "xs": 240, "xsmall": 240, "small": 320, "sm": 320,
    "mobile": 480, "phone": 480, "medium": 640, "md": 640, "normal": 640, "tablet": 768, "large": 1024, "lg": 1024,
    "big": 1024, "desktop": 1280, "xl": 1280, "xlarge": 1280, "zoom": 1600, "full": 2048, "fullsize": 2048, "max": 2048,
}  # fmt: skip
_DENSITIES: Final = {"retina": 2, "hidpi": 2, "hd": 2, "at2x": 2, "2x": 2, "at3x": 3, "3x": 3, "1x": 1}
_DIGITS: Final = re.compile(r"(?:w|width)?([1-9]\d{1,3})(?:w|px)?")
_RATIO: Final = re.compile(r"\d{1,2}x\d{1,2}$")  # of a square or wide cut

_EXTENSION: Final = re.compile(
    r"\.(?:jpe?g|jpe|jfif|png|gif|webp|avif|bmp|svg|tiff?)(?![a-z0-9])|[?&;](?:format|fm)=(?:jpe?g|png|webp|avif)\b",
    re.ASCII | re.IGNORECASE,
)
_PAGE: Final = re.compile(r"\.(?:[sx]?html?|js|css|json|xml|pdf|mp4|webm|mov|m3u8|mp3)(?:[?#]|$)|/File:", re.IGNORECASE)
# Most addresses of images. (Sets of characters whose case does not matter are matched more slowly.)
_USUAL: Final = re.compile(
    r"(?:(?i:https?):/)?/?[\w./%~@!$'()*+,;=&-]+\.(?i:jpe?g|png|gif|webp|avif)(?:\?[\w./%~@!$'()*+,;=&:-]*)?",
    re.ASCII,
)
_SERVED: Final = re.compile(
    r"(?:^|/)(?:images?|img|photos?|media|pictures?|thumbs?|thumbnails?|assets|uploads)/", re.IGNORECASE
)
_ADDRESS: Final = re.compile(r"(?:(?:https?:)?//[^/?#\s]+)?/[^\s]*[a-z0-9][^\s]*", re.IGNORECASE)
_NO_ADDRESS: Final = re.compile(r"image/[a-z0-9.+-]+|[\d/.,:x\s-]*", re.IGNORECASE)
_INTERCHANGE: Final = re.compile(r"\[\s*([^,\[\]\s]+)\s*,\s*\(?([\w -]*)\)?\s*\]")
_URL: Final = re.compile(r"""url\(\s*["']?(.*?)["']?\s*\)""", re.IGNORECASE)
_JSON_NODES: Final = 200
_MAX_VALUE_CHARS: Final = 1 << 15


class Role(NamedTuple):
    """What the name of an attribute says of its value.

    Attributes:
        is_loaded: Whether scripts put it into src.
        is_named: Whether it says that it is the address of an image, so that one without an extension is believed.
        is_other: Whether it is another picture.
        number: See `Offer`.
        unit: See `Offer`; empty when no size is told.
    """

    is_loaded: bool
    is_named: bool
    is_other: bool
    number: float
    unit: str


def find_loaded(attributes: Mapping[str, str]) -> list[Offer]:
    """The images that scripts put in the place of the one in src.

    >>> find_loaded({"src": "a.gif", "data-lazy": "true", "data-src-large": "b.jpg"})
    [Offer(reference='b.jpg', number=1024.0, unit='w')]
    """
    known: list[str] = []
    others: list[str] = []
    for name in attributes:
        if name in _RANKS:
            known.append(name)
        elif name.startswith("data-"):
            others.append(name)
    if len(known) > 1:
        known.sort(key=_RANKS.__getitem__)
    offers: list[Offer] = []
    for name in known:
        if not offers or name.endswith("srcset"):
            offers += read_value(attributes[name], is_named=name != "data-url")
    has_known = bool(offers)
    for name in others:
        role = describe_name(name)
        if role and role.is_loaded and (not has_known or role.unit == "x" or name.endswith("srcset")):
            offers += _sized(read_value(attributes[name], is_named=role.is_named), role)
    return offers


def find_spare(attributes: Mapping[str, str]) -> list[Offer]:
    """Images that the other data attributes hold beyond doubt, those that are most likely this one first."""
    others = [name for name in attributes if name.startswith("data-") and name not in _RANKS]
    roles = [(name, role) for name in others if (role := describe_name(name)) and not role.is_loaded]
    offers: list[Offer] = []
    for name, role in sorted(roles, key=lambda named: named[1].is_other):
        if not role.is_other or not offers:
            offers += _sized(read_value(attributes[name], is_named=False), role)
    return offers


def read_value(value: str, *, is_named: bool) -> list[Offer]:
    """The images of a value; none when it is no address of an image, nor a srcset or JSON that holds some.

    Args:
        value: Of an attribute.
        is_named: Whether an address without the extension of an image is believed.
    """
    if is_usual(value):
        return [Offer(value)]
    value = value.strip()
    if not value or len(value) > _MAX_VALUE_CHARS:
        return []
    if value[0] in "[{":
        return [offer for offer in _read_json(value) if _is_image(offer.reference)]
    if value[:4].lower() == "url(":
        value = next((found[1] for found in [_URL.match(value)] if found), "")
    if " " in value or "\n" in value:
        offers = parse_srcset(value)
        if all(is_address(offer.reference, is_named=is_named) for offer in offers) and _is_list(value, offers):
            return offers
    return [Offer(value)] if is_address(value, is_named=is_named) else []


def is_usual(value: str) -> bool:
    """Whether a value has the form of most addresses of images."""
    return _USUAL.fullmatch(value) is not None


def is_address(value: str, *, is_named: bool) -> bool:
    """Whether a value looks like the address of an image.

    >>> [is_address(value, is_named=True) for value in ("true", "123456", "a.jpg", "/images/7", "/a.html")]
    [False, False, True, True, False]
    """
    if is_usual(value):
        return True
    if value[:5].lower() == "data:":
        return True  # no page says so of anything else; it is counted as one
    if _NO_ADDRESS.fullmatch(value) or (not is_named and any(map(str.isspace, value))):
        return False
    if _is_image(value):
        return True
    if _PAGE.search(value) or (any(sign in value for sign in '<>{}"') and "{width}" not in value):
        return False
    return bool((is_named and _ADDRESS.fullmatch(value)) or _SERVED.search(value))


def _is_image(value: str) -> bool:
    if not _EXTENSION.search(value) or "<" in value or value[:1] in '{["':
        return False
    return not _PAGE.search(value.partition("?")[0])


def _is_list(value: str, offers: list[Offer]) -> bool:
    return len(offers) > 1 or (bool(offers) and offers[0].reference != value)


@functools.lru_cache(maxsize=4096)
def describe_name(name: str) -> Role | None:
    """What the name of an attribute says, or None when its value is no image.

    >>> describe_name("data-src-retina").unit, describe_name("data-original-title")
    ('x', None)
    """
    words = [_RATIO.sub("", word) for word in re.split(r"[-_.:]+", name.removeprefix("data-"))]
    if not _NO_IMAGES.isdisjoint(words) or not _FACTS.isdisjoint(words):
        return None
    number, unit = next((size for word in words if (size := _size_of(word))), (1.0, ""))
    is_source = not _SOURCES.isdisjoint(words) or words[-1].endswith(("src", "srcset"))
    is_lazy = any(word.startswith("lazy") or word.endswith("lazy") or word in _LOADERS for word in words)
    is_plain = all(not word or word in _SOURCES or _size_of(word) or word.isdigit() for word in words)
    is_other = not _OTHERS.isdisjoint(words)
    is_loaded = (is_lazy or (is_source and is_plain)) and not is_other
    return Role(is_loaded, is_loaded or is_source, is_other, number, unit)


def _size_of(word: str) -> tuple[float, str] | None:
    if word in _WIDTHS:
        return float(_WIDTHS[word]), "w"
    if word in _DENSITIES:
        return float(_DENSITIES[word]), "x"
    digits = _DIGITS.fullmatch(word)
    return (float(digits[1]), "w") if digits else None


def _sized(offers: list[Offer], role: Role) -> list[Offer]:
    """Offers with the size that the name tells, where the value tells none."""
    if not role.unit or len(offers) != 1 or offers[0][1:] != (1.0, "x"):
        return offers
    return [Offer(offers[0].reference, role.number, role.unit)]


def _read_json(text: str) -> list[Offer]:
    """The strings of a JSON value, with the width that stands beside them or that their key means."""
    try:
        todo: list[tuple[str, Any]] = [("", msgspec.json.decode(text.encode()))]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [_offer(reference, word) for reference, word in _INTERCHANGE.findall(text)]
    offers: list[Offer] = []
    for _ in range(_JSON_NODES):
        if not todo:
            break
        key, node = todo.pop()
        if isinstance(node, str):
            offers += parse_srcset(node) if " " in node and "," in node else [_offer(node.strip(), key)]
        elif isinstance(node, list):
            todo += [(key, value) for value in reversed(node)]
        elif isinstance(node, dict):
            offers += [_offer(name, _width_of(value)) for name, value in node.items() if _is_image(name)]
            width = _width_of(node)
            todo += [(width or name, value) for name, value in reversed(node.items())]
    return offers


def _width_of(value: Any) -> str:
    """The width that [width, height] or an object with a width tells."""
    if isinstance(value, dict):
        value = [value.get("width") or value.get("w")]
    width = value[0] if isinstance(value, list) and value else None
    return str(width) if isinstance(width, int) and not isinstance(width, bool) else ""


def _offer(reference: str, word: str) -> Offer:
    return Offer(reference, *(_size_of(word.strip().lower()) or ()))
