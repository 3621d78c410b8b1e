"""The tags of an HTML page, found in one pass over its bytes.

In: the bytes of a page. Out: a row for every tag and comment, and a row for every attribute that is wanted; texts are
what lies between rows. The pass keeps the states of the standard's tokenizer that decide what is a tag: attribute
values, comments, raw text (scripts with their escaped states, styles, titles), CDATA and titles inside SVG. It takes
linear time whatever the page holds. What it knows of open elements is those of SVG and MathML, and how many of HTML are
open by each name: an end tag of HTML closes the SVG and MathML in the element that it ends, and one that ends nothing
does not.
Source: WHATWG HTML 13.2.5 (tokenization), 13.2.6.5 (foreign content); compiled by numba, see `compiled`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from vocab.kernels.compiled import compile_kernel

Numbers = npt.NDArray[np.int64]
Tables = tuple[Numbers, Numbers, Numbers, Numbers]  # names of attributes, then values: keys and numbers

# What a tag does to the tokens that follow, or to open elements of SVG and MathML; bits.
RAW_TEXT: Final = 1  # nothing is a tag up to its end tag
SCRIPT: Final = 2  # the same, with the escaped states of scripts
PLAIN_TEXT: Final = 4  # nothing is a tag any more
FOREIGN: Final = 8  # svg and math
BREAKS_OUT: Final = 16  # of SVG and MathML
INTEGRATES: Final = 32  # HTML inside SVG, or inside MathML if it is one of its elements
NEVER_OPEN: Final = 64  # has no content, or is open on every page: its end tag ends nothing in SVG and MathML
HEADING: Final = 128  # its end tag ends any heading
PARAGRAPH: Final = 256  # p and br, whose end tags break out of SVG and MathML as well
MATH: Final = 512  # of MathML
NOSCRIPT: Final = 1024
NOFRAMES: Final = 2048

# Columns of tokens and of attributes.
CODE, START, END, FIRST_ATTRIBUTE = 0, 1, 2, 3
NAME, VALUE_START, VALUE_END = 0, 1, 2
HAS_ITEMS, HAS_PAGES, HAS_CAPTIONS = 1, 2, 4  # bits of what is in a page, see `scan_tags`
OTHERS: Final = 1  # wanted of a tag: also attributes with unknown names that begin with data-; none has to be telling
TELLING: Final = 0b11110  # numbers of attributes; a tag with none of a known value is read as one without attributes
UNKNOWN: Final = 1 << 10  # codes of names that are in no table begin here

_SLOTS: Final = 1 << 9  # of a table of names
_FACTOR: Final = 1_099_511_628_211  # FNV's prime
_NAME_BITS: Final = (1 << 56) - 1
_IN_MATH: Final = 1 << 57  # of what is open: it is MathML, not SVG
_QUOTE, _APOSTROPHE, _AMPERSAND, _DASH, _SLASH, _EQUALS = b"\"'&-/="
_LESS, _GREATER, _EXCLAMATION, _QUESTION, _OPEN_BRACKET, _CLOSE_BRACKET = b"<>!?[]"
_SPACES: Final = sum(1 << byte for byte in b"\t\n\f\r ")
_NAME_ENDS: Final = _SPACES | 1 << _SLASH | 1 << _GREATER
_CDATA: Final = tuple(b"[CDATA[")
_FOREIGN_DEPTH: Final = 64
_MAX_OTHERS: Final = 64  # attributes of unknown names, of one tag
_MAX_ATTRIBUTES: Final = 63 + _MAX_OTHERS  # wanted ones of one tag
_DATA: Final = tuple(b"data-")
_TYPE: Final = tuple(b"itemtype")
_IMAGE_TYPE: Final = tuple(b"ImageObject")
_CAPTION: Final = tuple(b"wp-caption")
_DOT: Final = ord(".")
_MIN_ADDRESS_BYTES: Final = 5  # a.jpg
_NAME_ROWS: Final = 64  # of `opened`, for names without a code; behind them one for headings
_BLOCK: Final = 64


class Names(NamedTuple):
    """Names as the compiled pass looks them up: open addressing, zero where there is none."""

    keys: Numbers
    numbers: Numbers


def index_names(names: Mapping[str, int]) -> Names:
    """A table of names in lower case and their numbers, all positive."""
    keys, numbers = np.zeros(_SLOTS, np.int64), np.zeros(_SLOTS, np.int64)
    for name, number in names.items():
        key = _key_of(name)
        slot = key & (_SLOTS - 1)
        while numbers[slot]:
            slot = (slot + 1) & (_SLOTS - 1)
        keys[slot], numbers[slot] = key, number
    return Names(keys, numbers)


def unknown_code(name: str) -> int:
    """The code of elements whose name is in no table."""
    return UNKNOWN + _key_of(name)


def _key_of(name: str) -> int:
    key = 0
    for byte in name.encode():
        key = (key * _FACTOR + byte) & _NAME_BITS
    return key


@compile_kernel
def _is_space(byte: int) -> bool:
    return byte <= 32 and _SPACES >> byte & 1 > 0


@compile_kernel
def _ends_name(byte: int) -> bool:
    """Of a tag."""
    return byte <= 62 and _NAME_ENDS >> byte & 1 > 0


@compile_kernel
def _is_letter(byte: int) -> bool:
    return ord("a") <= (byte | 32) <= ord("z")


@compile_kernel
def _lower(byte: int) -> int:
    return byte | 32 if ord("A") <= byte <= ord("Z") else byte


@compile_kernel
def _find(html: bytes, sign: int, place: int) -> int:
    """The place of the next such byte, or the length of the page."""
    end, byte = len(html), np.uint8(sign)
    while place + _BLOCK <= end:  # the compiler looks at many bytes of a block at once
        hits = np.uint8(0)
        for offset in range(_BLOCK):
            hits |= np.uint8(html[np.uint64(place + offset)] == byte)
        if hits:
            break
        place += _BLOCK
    while place < end and html[np.uint64(place)] != byte:
        place += 1
    return place


@compile_kernel
def _find_quote(html: bytes, sign: int, place: int) -> int:
    """The same, for values of attributes: most are short."""
    last = min(place + _BLOCK, len(html))
    while place < last and html[np.uint64(place)] != sign:
        place += 1
    return place if place < last else _find(html, sign, place)


@compile_kernel
def _look_up(keys: Numbers, numbers: Numbers, key: int) -> int:
    slot = key & (_SLOTS - 1)
    while numbers[slot] and keys[slot] != key:
        slot = (slot + 1) & (_SLOTS - 1)
    return numbers[slot]


@compile_kernel
def _has_name(html: bytes, place: int, name: int, length: int) -> bool:
    """Whether the name that stands at another place stands here too, and ends."""
    if place + length >= len(html) or not _ends_name(html[place + length]):
        return False
    for offset in range(length):  # noqa: SIM110, numba has no generators
        if (html[place + offset] | 32) != (html[name + offset] | 32):
            return False
    return True


@compile_kernel
def _skip_raw_text(html: bytes, place: int, name: int, length: int) -> int:
    """The place of the end tag that ends a raw text, or the length of the page."""
    while True:
        place = _find(html, _LESS, place)
        if place + 1 >= len(html):
            return len(html)
        if html[place + 1] == _SLASH and _has_name(html, place + 2, name, length):
            return place
        place += 1


@compile_kernel
def _skip_text(html: bytes, place: int, kind: int, name: int, length: int) -> int:
    """The place of the end tag that ends a text without tags, or the length of the page."""
    if kind & PLAIN_TEXT:
        return len(html)
    return _skip_script(html, place, name, length) if kind & SCRIPT else _skip_raw_text(html, place, name, length)


@compile_kernel
def _find_arrow(html: bytes, place: int) -> int:
    """The place after the next ``-->``, or the length of the page."""
    first = place
    while True:
        place = _find(html, _GREATER, place) + 1
        if place > len(html):
            return len(html)
        if place - 3 >= first and html[place - 2] == _DASH and html[place - 3] == _DASH:
            return place


@compile_kernel
def _skip_script(html: bytes, place: int, name: int, length: int) -> int:
    """The place of the end tag that ends a script; a script inside ``<!--`` may hold one more."""
    arrow, depth = 0, 0  # depth 1 after <!--, 2 after <script in it
    while True:
        place = _find(html, _LESS, place)
        if depth and arrow <= place:
            depth = 0
        if place + 3 >= len(html):
            return len(html)
        if html[place + 1] == _SLASH:
            if _has_name(html, place + 2, name, length):
                if depth < 2:
                    return place
                depth = 1
        elif depth == 1 and _has_name(html, place + 1, name, length):
            depth = 2
        elif depth == 0 and html[place + 1] == _EXCLAMATION and html[place + 2] == _DASH and html[place + 3] == _DASH:
            depth = 1
            arrow = max(arrow, _find_arrow(html, place + 2)) if arrow <= place + 2 else arrow
        place += 1


@compile_kernel
def _skip_comment(html: bytes, place: int) -> int:
    """The place after a comment, of which the first byte after ``<!--`` is given."""
    first = place
    if place < len(html) and html[place] == _GREATER:
        return place + 1
    if place + 1 < len(html) and html[place] == _DASH and html[place + 1] == _GREATER:
        return place + 2
    while True:
        place = _find(html, _GREATER, place) + 1
        if place > len(html):
            return len(html)
        dash = place - 3 if html[place - 2] == _EXCLAMATION else place - 2  # --!> or -->
        if dash - 1 >= first and html[dash] == _DASH and html[dash - 1] == _DASH:
            return place


@compile_kernel
def _is_cdata(html: bytes, place: int) -> bool:
    if place + len(_CDATA) > len(html):
        return False
    for offset in range(len(_CDATA)):  # noqa: SIM110, numba has no generators
        if html[place + offset] != _CDATA[offset]:
            return False
    return True


@compile_kernel
def _skip_cdata(html: bytes, place: int) -> int:
    """The place after the next ``]]>``, or the length of the page."""
    while True:
        place = _find(html, _GREATER, place) + 1
        if place > len(html):
            return len(html)
        if html[place - 2] == _CLOSE_BRACKET and html[place - 3] == _CLOSE_BRACKET:
            return place


@compile_kernel
def _skip_markup(html: bytes, place: int, is_foreign: bool) -> int:
    """The place after a comment, a declaration, or what is read as a comment; its ``<`` is given."""
    if place + 3 < len(html) and html[place + 1] == _EXCLAMATION:
        if html[place + 2] == _DASH and html[place + 3] == _DASH:
            return _skip_comment(html, place + 4)
        if is_foreign and _is_cdata(html, place + 2):
            return _skip_cdata(html, place + 9)
    return min(_find(html, _GREATER, place) + 1, len(html))


@compile_kernel
def _read_name(html: bytes, place: int) -> tuple[int, int]:
    """The place after the name of a tag, and its key."""
    key = 0
    while place < len(html) and not _ends_name(html[np.uint64(place)]):
        byte = int(html[np.uint64(place)])
        key = (key * _FACTOR + _lower(byte)) & _NAME_BITS
        place += 1
    return place, key


@compile_kernel
def _skip_value(html: bytes, place: int) -> tuple[int, int, int]:
    """First byte of an attribute's value, byte after its last, and the place after it; the place after = is given."""
    end = len(html)
    while place < end and _is_space(html[np.uint64(place)]):
        place += 1
    if place >= end or html[np.uint64(place)] == _GREATER:
        return place, place, place
    first = place
    if html[np.uint64(place)] == _QUOTE or html[np.uint64(place)] == _APOSTROPHE:
        place = _find_quote(html, html[np.uint64(place)], place + 1)
        return first + 1, place, place + 1
    while place < end and html[np.uint64(place)] != _GREATER and not _is_space(html[np.uint64(place)]):
        place += 1
    return first, place, place


@compile_kernel
def _is_known(html: bytes, place: int, end: int, keys: Numbers, numbers: Numbers) -> bool:
    """Whether a value is in a table; one with character references may be."""
    key = 0
    while place < end:
        byte = int(html[place])
        if byte == _AMPERSAND:
            return True
        key = (key * _FACTOR + _lower(byte)) & _NAME_BITS
        place += 1
    return _look_up(keys, numbers, key) > 0


@compile_kernel
def _is_data(html: bytes, place: int) -> bool:
    """Whether a name begins with ``data-``."""
    if place + len(_DATA) > len(html):
        return False
    for offset in range(len(_DATA) - 1):
        if html[place + offset] | 32 != _DATA[offset]:
            return False
    return html[place + len(_DATA) - 1] == _DASH


@compile_kernel
def _is_type(html: bytes, place: int) -> bool:
    """Whether a name begins with ``itemtype``."""
    if place + len(_TYPE) > len(html):
        return False
    for offset in range(len(_TYPE)):  # noqa: SIM110, numba has no generators
        if html[place + offset] | 32 != _TYPE[offset]:
            return False
    return True


@compile_kernel
def _holds(html: bytes, place: int, word: tuple[int, ...]) -> bool:
    """Whether a word stands at a place, where there are as many bytes."""
    for offset in range(len(word)):  # noqa: SIM110, numba has no generators
        if html[place + offset] != word[offset]:
            return False
    return True


@compile_kernel
def _is_image_type(html: bytes, place: int, end: int) -> bool:
    """Whether a value ends in ``ImageObject``."""
    place = max(place, end - len(_IMAGE_TYPE))
    if end - place < len(_IMAGE_TYPE):
        return False
    return _holds(html, place, _IMAGE_TYPE)


@compile_kernel
def _is_caption(html: bytes, place: int, end: int) -> bool:
    """Whether a value begins with ``wp-caption``."""
    if html[np.uint64(place)] != _CAPTION[0] or place + len(_CAPTION) > end:
        return False
    return _holds(html, place, _CAPTION)


@compile_kernel
def _may_be_address(html: bytes, place: int, end: int) -> bool:
    """Whether a value is long enough for an address and has a dot or slash."""
    if end - place < _MIN_ADDRESS_BYTES:
        return False
    while place < end and html[np.uint64(place)] != _DOT and html[np.uint64(place)] != _SLASH:
        place += 1
    return place < end


@compile_kernel
def _read_attributes(
    html: bytes, place: int, wanted: int, tables: Tables, attributes: Numbers, count: int, marks: Numbers
) -> tuple[int, int]:
    """The place after a tag, and the number of attributes then; the place after its name is given.

    Of attributes with the same name the first one counts, but of those of unknown names all are given. A page that ends
    in a tag gives a place after its end.
    """
    end, first_count, others = len(html), count, _MAX_OTHERS if wanted & OTHERS else 0
    keys, numbers, value_keys, value_numbers = tables
    telling, is_telling = 0 if others else wanted & TELLING, False
    while place < end:
        byte = html[np.uint64(place)]
        if byte == _GREATER:
            return place + 1, first_count if telling and not is_telling else count
        if byte == _SLASH or _is_space(byte):
            place += 1
            continue
        key, name = 0, place
        while True:  # its first byte may be any
            byte = int(byte)
            key = (key * _FACTOR + _lower(byte)) & _NAME_BITS
            place += 1
            if place >= end:
                return end + 1, count
            byte = html[np.uint64(place)]
            if byte == _EQUALS or _ends_name(byte):
                break
        while place < end and _is_space(html[np.uint64(place)]):
            place += 1
        first = last = place
        if place < end and html[np.uint64(place)] == _EQUALS:
            first, last, place = _skip_value(html, place + 1)
        number = _look_up(keys, numbers, key)
        if number == 0:
            if others and _is_data(html, name) and _may_be_address(html, first, last):
                attributes[count, NAME], attributes[count, VALUE_START], attributes[count, VALUE_END] = (
                    -name,
                    first,
                    last,
                )
                count, others = count + 1, others - 1
            elif _is_type(html, name) and _is_image_type(html, first, last):
                marks[0] |= HAS_ITEMS
        elif wanted >> number & 1:
            wanted &= ~(1 << number)
            if TELLING >> number & 1:
                is_telling |= _is_known(html, first, last, value_keys, value_numbers)
            attributes[count, NAME] = number
            attributes[count, VALUE_START] = first
            attributes[count, VALUE_END] = last
            count += 1
    return end + 1, count


@compile_kernel
def _skip_attributes(html: bytes, place: int, marks: Numbers) -> int:
    """The place after a tag whose attributes are of no use; the place after its name is given."""
    end = len(html)
    while place < end:
        byte = html[np.uint64(place)]
        if byte == _GREATER:
            return place + 1
        place += 1
        if byte == _SLASH or _is_space(byte):
            continue
        is_type = byte | 32 == _TYPE[0] and _is_type(html, place - 1)
        while place < end and html[np.uint64(place)] != _EQUALS and not _ends_name(html[np.uint64(place)]):
            place += 1
        while place < end and _is_space(html[np.uint64(place)]):
            place += 1
        if place < end and html[np.uint64(place)] == _EQUALS:
            first, last, place = _skip_value(html, place + 1)
            if first < last and _is_caption(html, first, last):
                marks[0] |= HAS_CAPTIONS
            if is_type and _is_image_type(html, first, last):
                marks[0] |= HAS_ITEMS
    return end + 1


@compile_kernel
def _is_foreign(foreign: Numbers, depth: int) -> bool:
    """Whether what stands here is SVG or MathML; elements of theirs that hold HTML stand negative in `foreign`."""
    return depth > 0 and foreign[depth - 1] > 0


@compile_kernel
def _enter_foreign(foreign: Numbers, depth: int, key: int, kind: int, is_closed: bool) -> tuple[int, bool]:
    """How many elements of SVG and MathML are open after a start tag, and whether it is one of theirs."""
    if _is_foreign(foreign, depth) and kind & BREAKS_OUT:
        while _is_foreign(foreign, depth):
            depth -= 1
        return depth, False
    is_inner = _is_foreign(foreign, depth)
    is_theirs = is_inner or kind & FOREIGN > 0
    if is_theirs and not is_closed and depth < _FOREIGN_DEPTH:
        language = foreign[depth - 1] & _IN_MATH if is_inner else (_IN_MATH if kind & MATH else 0)
        integrates = kind & INTEGRATES and (kind & MATH > 0) == (language > 0)
        foreign[depth] = -(key | language) if integrates else key | language
        depth += 1
    return depth, is_theirs


@compile_kernel
def _leave_foreign(foreign: Numbers, depth: int, key: int, kind: int, is_open: bool) -> tuple[int, bool]:
    """The same after an end tag, of which is given whether it may end an element of HTML."""
    if kind & PARAGRAPH:
        while _is_foreign(foreign, depth):
            depth -= 1
        return depth, False
    for place in range(depth - 1, -1, -1):
        if abs(foreign[place]) & _NAME_BITS == key:
            return place, True
        if foreign[place] < 0 and is_open:
            return place + 1, False
    return 0 if is_open else depth, False


@compile_kernel
def _row_of(code: int, key: int, kind: int, opened: Numbers) -> int:
    """The row of `opened` that counts elements of a name."""
    if kind & HEADING:
        return len(opened) - 1
    return code if code else len(opened) - 2 - (key & (_NAME_ROWS - 1))


@compile_kernel
def _begins_escaped(html: bytes, place: int) -> bool:
    while place < len(html) and _is_space(html[place]):
        place += 1
    return place < len(html) and html[place] == _AMPERSAND


@compile_kernel
def _grow(rows: Numbers, needed: int) -> Numbers:
    """Rows with room for more."""
    if needed <= len(rows):
        return rows
    larger = np.empty((2 * needed, rows.shape[1]), np.int64)
    larger[: len(rows)] = rows
    return larger


@compile_kernel
def scan_tags(
    html: bytes, tag_keys: Numbers, tag_codes: Numbers, kinds: Numbers, wanted: Numbers, tables: Tables
) -> tuple[Numbers, Numbers, int]:
    """Finds the markup of a page.

    Args:
        html: The page.
        tag_keys: Names of elements, see `index_names`.
        tag_codes: Their codes, below `UNKNOWN`.
        kinds: By code, what a tag does to what follows it.
        wanted: By code, bits of the numbers of attributes that are read, and `OTHERS`.
        tables: Names of attributes and their numbers, below 63; values that make a tag one to be read.

    Returns:
        Tags and comments, [number + 1, 4]: code, first byte, byte after the last, row of the first attribute. The code
        is positive for start tags, negative for end tags, zero for what has no effect on elements of HTML and for a
        last row that stands for the end of the page. Attributes, [number, 3]: number of the name, first byte of the
        value, byte after its last; where `OTHERS` are wanted, those of unknown names that begin with ``data-`` and hold
        what may be an address have the place of their name, negative, instead of a number. And bits: `HAS_ITEMS`,
        an element has an itemtype that ends in ``ImageObject``; `HAS_PAGES`, there is a noframes, or a noscript that
        begins with a character reference; `HAS_CAPTIONS`, a value begins with ``wp-caption``, where no attributes are
        read.
    """
    tags, attributes = np.empty((len(html) // 40 + 64, 4), np.int64), np.empty((1024, 3), np.int64)
    foreign, marks = np.empty(_FOREIGN_DEPTH, np.int64), np.zeros(1, np.int64)
    opened = np.zeros(len(kinds) + _NAME_ROWS + 1, np.int64)
    depth, num_tags, num_attributes, place, end = 0, 0, 0, 0, len(html)
    while True:
        place = _find(html, _LESS, place)
        if place + 1 >= end:
            break
        start, sign = place, html[place + 1]
        is_end = sign == _SLASH
        name = start + 1 + is_end
        is_tag = name < end and _is_letter(html[name])
        if not (is_tag or is_end or sign in (_EXCLAMATION, _QUESTION)):
            place += 1
            continue
        tags = _grow(tags, num_tags + 1)
        first_attribute, code, kind, text = num_attributes, 0, 0, 0
        if is_tag:
            after_name, key = _read_name(html, name)
            code = _look_up(tag_keys, tag_codes, key)
            kind, mask = kinds[code], 0 if is_end else wanted[code]
            row = _row_of(code, key, kind, opened)
            code = code or UNKNOWN + key
            if mask:
                attributes = _grow(attributes, num_attributes + _MAX_ATTRIBUTES)
                place, num_attributes = _read_attributes(
                    html, after_name, mask, tables, attributes, num_attributes, marks
                )
            elif after_name < end and html[np.uint64(after_name)] == _GREATER:
                place = after_name + 1
            else:
                place = _skip_attributes(html, after_name, marks)
            if is_end:
                is_open = opened[row] > 0
                depth, is_theirs = _leave_foreign(foreign, depth, key, kind, is_open)
                opened[row] -= is_open and not is_theirs
            else:
                depth, is_theirs = _enter_foreign(foreign, depth, key, kind, html[min(place, end) - 2] == _SLASH)
                opened[row] += not is_theirs and kind & NEVER_OPEN == 0
            if is_theirs or place > end:  # a page that ends in a tag
                code = kind = 0
            text = 0 if is_end else kind & (RAW_TEXT | SCRIPT | PLAIN_TEXT)
            place = min(place, end)
        else:
            if sign == _EXCLAMATION:
                code = _look_up(tag_keys, tag_codes, _read_name(html, start + 1)[1])  # a doctype
            place = _skip_markup(html, start, _is_foreign(foreign, depth))
        tags[num_tags, CODE], tags[num_tags, START], tags[num_tags, END] = -code if is_end else code, start, place
        tags[num_tags, FIRST_ATTRIBUTE] = first_attribute
        num_tags += 1
        if kind & (NOSCRIPT | NOFRAMES) and not is_end:
            marks[0] |= HAS_PAGES if kind & NOFRAMES or _begins_escaped(html, place) else 0
        if text:
            place = _skip_text(html, place, text, name, after_name - name)
    tags = _grow(tags, num_tags + 1)
    tags[num_tags, CODE], tags[num_tags, START], tags[num_tags, END] = 0, end, end
    tags[num_tags, FIRST_ATTRIBUTE] = num_attributes
    return tags[: num_tags + 1], attributes[:num_attributes], marks[0]
