"""Whether a source of a picture is meant for a screen like that of most readers.

In: the media and type of a source element. Out: yes or no.
Source: CSS Media Queries 4 (syntax, features; what is unknown does not match); WHATWG HTML 4.8.4.3.7.
"""

import functools
import re
from typing import Final

# The screen: a usual desktop one, at its plain density.
_WIDTH_PX: Final = 1280.0
_HEIGHT_PX: Final = 800.0
_EM_PX: Final = 16.0
# Types that `pipeline.pixels` decodes; a test compares.
DECODED_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/bmp"})
_SAME_TYPES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}

_SIZES: Final = {"width": _WIDTH_PX, "device-width": _WIDTH_PX, "height": _HEIGHT_PX, "device-height": _HEIGHT_PX}
_DENSITIES: Final = frozenset({"resolution", "-webkit-device-pixel-ratio", "device-pixel-ratio"})
_WORDS: Final = {
    "orientation": "landscape",
    "prefers-color-scheme": "light",
    "prefers-reduced-motion": "no-preference",
    "hover": "hover",
    "pointer": "fine",
}
_PIXELS: Final = {"px": 1.0, "em": _EM_PX, "rem": _EM_PX, "": 1.0}
_DOTS: Final = {"dppx": 1.0, "x": 1.0, "": 1.0, "dpi": 1 / 96, "dpcm": 2.54 / 96}
_NUMBER: Final = re.compile(r"([0-9]*\.?[0-9]+)(?:/([0-9]+))?\s*([a-z]*)")
_PREFIX: Final = re.compile(r"(-webkit-|-moz-|-o-)?(min|max)-+")
_RANGE: Final = re.compile(r"([0-9.]+[a-z]*)?\s*([<>]=?)?\s*(width|height|resolution)\s*([<>]=?|=)?\s*([0-9.]+[a-z]*)?")
_MAX_CHARS: Final = 1000


@functools.lru_cache(maxsize=1024)
def is_decoded(kind: str) -> bool:
    """Whether images of a media type can be used; those of no type may.

    >>> [is_decoded(kind) for kind in ("", "image/webp", "image/jxl")]
    [True, True, False]
    """
    kind = kind.partition(";")[0].strip().lower()
    return not kind or _SAME_TYPES.get(kind, kind) in DECODED_TYPES


@functools.lru_cache(maxsize=1024)
def matches_screen(media: str) -> bool:
    """Whether a list of media queries matches the screen.

    >>> [matches_screen(media) for media in ("", "(min-width: 40em)", "(max-width: 767px)", "print, screen")]
    [True, True, False, True]
    """
    media = media.strip().lower()
    if not media:
        return True
    return len(media) <= _MAX_CHARS and any(_matches(query.strip()) for query in media.split(","))


def _matches(query: str) -> bool:
    is_negated = query.startswith("not ")
    parts = re.split(r"\s*\band\b\s*", query.removeprefix("not ").removeprefix("only "))
    found = [_matches_part(part.strip()) for part in parts]
    return None not in found and all(found) != is_negated


def _matches_part(part: str) -> bool | None:
    """Whether a media type or feature matches, or None when it is unknown."""
    if not part.startswith("("):
        return part in ("all", "screen") if part in ("all", "screen", "print", "speech", "tv") else None
    name, colon, value = part.strip("() ").partition(":")
    name, value = name.strip(), value.strip()
    if not colon:
        return _matches_range(name)
    if name in _WORDS:
        return value == _WORDS[name]
    prefix = _PREFIX.match(name)
    feature = (prefix[1] or "") + name[prefix.end() :] if prefix else name
    have, limit = _measures(feature, value)
    if limit is None:
        return None
    if not prefix:
        return have == limit
    return have >= limit if prefix[2] == "min" else have <= limit


def _matches_range(text: str) -> bool | None:
    """A range such as ``400px <= width < 900px``."""
    found = _RANGE.fullmatch(text)
    if not found or not ((found[4] and found[5]) or (found[1] and found[2])):
        return None
    checks: list[bool | None] = []
    if found[1] and found[2]:
        checks.append(_compares(found[3], {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[found[2]], found[1]))
    if found[4] and found[5]:
        checks.append(_compares(found[3], found[4], found[5]))
    return None if None in checks else all(checks)


def _compares(feature: str, sign: str, value: str) -> bool | None:
    have, limit = _measures(feature, value)
    if limit is None:
        return None
    return {"<": have < limit, "<=": have <= limit, ">": have > limit, ">=": have >= limit, "=": have == limit}[sign]


def _measures(feature: str, value: str) -> tuple[float, float | None]:
    """What the screen has of a feature, and the value as a number of the same unit, or None when either is unknown."""
    number = _NUMBER.fullmatch(value)
    if not number:
        return 0.0, None
    amount = float(number[1]) / (float(number[2] or 1) or 1.0)
    if feature in _SIZES and number[3] in _PIXELS:
        return _SIZES[feature], amount * _PIXELS[number[3]]
    if feature in _DENSITIES and number[3] in _DOTS:
        return 1.0, amount * _DOTS[number[3]]
    return 0.0, None
