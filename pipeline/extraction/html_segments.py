"""Pages cut so that no page, however made, takes an HTML parser more than linear time.

In: a page as bytes. Out: the page, or for a very large one its segments, to be parsed one by one. An HTML5 parser
takes time (and some pages memory) quadratic in the number of open elements and of attributes of one tag: 100,000 nested
div, 500 kB, take Lexbor 14 s. Few pages reach the limits below; an image loses what surrounds it at a cut only.
Source: WHATWG HTML 13.2.4 (stack of open elements, active formatting elements).
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_TAGS: Final = 4000  # in a segment, start and end tags; nine of ten real news pages hold fewer
MAX_SEGMENT_BYTES: Final = 1 << 20
MAX_TAG_BYTES: Final = 1 << 15  # without a > sign
MAX_GAP_BYTES: Final = 1 << 17  # without a < sign: a script, or a tag with > signs in its attributes

_DATA_URL: Final = re.compile(rb"data:[^\"'\s<>]{512,}")
_RAW_TEXT: Final = (
    (b"<script", b"</script", b"<script>"),
    (b"<style", b"</style", b"<style>"),
    (b"<!--", b"-->", b"<!--"),
)


def split_html(html: bytes) -> list[bytes]:
    """Cuts a page before tags so that segments hold at most `MAX_TAGS` tags, and shortens what is too long for a tag.

    >>> [len(segment) for segment in split_html(b"<p>" * 10000)]
    [12000, 12000, 6000]
    """
    html = _shorten_gaps(html, b">", MAX_TAG_BYTES, _shorten_tag)
    html = _shorten_gaps(html, b"<", MAX_GAP_BYTES, _shorten_text)
    opens = np.frombuffer(html, np.uint8) == ord("<")
    if len(html) <= MAX_SEGMENT_BYTES and np.count_nonzero(opens) <= MAX_TAGS:
        return [html]
    cuts = _choose_cuts(html, opens)
    segments, opener = [], b""
    for first, last in zip([0, *cuts], [*cuts, len(html)], strict=True):
        segments.append(opener + html[first:last])
        opener = _open_raw_text(segments[-1]) if last < len(html) else b""
    return segments


def _long_gaps(html: bytes, sign: bytes, max_bytes: int) -> Iterator[tuple[int, int]]:
    """First and last place of every stretch without a sign that is longer than allowed."""
    first, half = 0, max_bytes // 2
    while first + half < len(html):
        found = html.rfind(sign, first, first + half)
        if found < 0:
            found = html.find(sign, first + half)
            found = found if found >= 0 else len(html)
            if found - first > max_bytes:
                yield first, found
        first = found + 1


def _choose_cuts(html: bytes, opens: npt.NDArray[np.bool_]) -> list[int]:
    """Where segments after the first begin: at a tag's start, a true element of `opens`."""
    cuts: list[int] = []
    first = 0
    while True:
        limit = first + MAX_SEGMENT_BYTES
        if np.count_nonzero(opens[first:limit]) > MAX_TAGS:
            first = _find_nth(opens, first, limit, MAX_TAGS)
        elif limit >= len(html):
            return cuts
        else:
            last = html.rfind(b"<", first + 1, limit)
            first = last if last >= 0 else html.find(b"<", limit)
            if first < 0:
                return cuts
        cuts.append(first)


def _find_nth(marks: npt.NDArray[np.bool_], first: int, last: int, number: int) -> int:
    """The place of the true element that has `number` others before it from `first` on; it lies before `last`."""
    while last - first > 1:
        middle = (first + last) // 2
        before = int(np.count_nonzero(marks[first:middle]))
        if before > number:
            last = middle
        else:
            first, number = middle, number - before
    return first


def _shorten_gaps(html: bytes, sign: bytes, max_bytes: int, shorten: Callable[[bytes], bytes]) -> bytes:
    """The page with every stretch between two signs that is too long shortened."""
    parts, position = [], 0
    for first, last in _long_gaps(html, sign, max_bytes):
        parts += [html[position:first], shorten(html[first:last])]
        position = last
    return b"".join([*parts, html[position:]]) if parts else html


def _drop_data_urls(text: bytes) -> bytes:
    return _DATA_URL.sub(b"data:,", text) if b"data:" in text else text


def _shorten_text(text: bytes) -> bytes:
    """What stands between two < signs: a script, or a tag that holds an image in its attributes."""
    is_script = text[:6].lower() in (b"script", b"style>", b"style ")
    return (text if is_script else _drop_data_urls(text))[:MAX_GAP_BYTES]


def _shorten_tag(text: bytes) -> bytes:
    """What stands between two > signs: text, then perhaps a tag; a script may hold < signs before its end tag."""
    if 0 <= text.find(b"<") < len(text) - MAX_TAG_BYTES:
        text = _drop_data_urls(text)
    first, last = text.find(b"<"), text.rfind(b"<")
    if first < 0 or len(text) - first <= MAX_TAG_BYTES:
        return text
    return text[:first] + (text[last:] if len(text) - last <= MAX_TAG_BYTES else b"")


def _open_raw_text(segment: bytes) -> bytes:
    """What the next segment has to begin with for its start to be read as the rest of a script, style or comment."""
    lowered = segment.lower()
    for start, end, opener in _RAW_TEXT:
        if lowered.find(start, lowered.rfind(end) + 1) >= 0:
            return opener
    return b""
