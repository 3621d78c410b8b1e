"""The JSON of many WAT records ► what is wanted of each: a compiled reader for records as Common Crawl writes them.

In: the JSON of some records. Out: for each a `WatPage`, a refusal, or None where the record is damaged or in any way
unusual (a wanted key twice, an escape in a key, half a surrogate pair, deep nesting, a value of another type): it is
then for `wat_page.decode_record`. What is read here is valid JSON to its last byte, and gives the same there.

Importing this module loads numba, half a second; the first call on a machine compiles for some seconds.
Source: RFC 8259 (JSON); commoncrawl/ia-web-commons (the keys).
"""

import functools
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.drops import DropReason
from pipeline.extraction.encodings import is_utf8
from pipeline.extraction.page_metadata import NAMES
from pipeline.extraction.wat_addresses import address_rules, count_plain, mark_bytes
from pipeline.extraction.wat_page import IMAGE_PATH, WatPage, wanted_metas
from vocab.compiled import compile_kernel

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

# Objects and lists on the way to what is wanted, then the strings wanted of them.
_RECORD, _ENVELOPE, _WARC_HEADER, _PAYLOAD, _RESPONSE, _MESSAGE, _HEADERS, _HTML, _HEAD, _METAS, _LINKS = range(1, 12)
_META, _LINK = 12, 13
_URI, _STATUS, _BASE, _NAME, _PROPERTY, _CONTENT, _PATH, _URL, _ALT, _TITLE = range(16, 26)
_NUM_CODES: Final = 26
_TREE: Final = {
    _RECORD: {"Envelope": _ENVELOPE},
    _ENVELOPE: {"WARC-Header-Metadata": _WARC_HEADER, "Payload-Metadata": _PAYLOAD},
    _WARC_HEADER: {"WARC-Target-URI": _URI},
    _PAYLOAD: {"HTTP-Response-Metadata": _RESPONSE},
    _RESPONSE: {"Response-Message": _MESSAGE, "Headers": _HEADERS, "HTML-Metadata": _HTML},
    _MESSAGE: {"Status": _STATUS},
    _HTML: {"Head": _HEAD, "Links": _LINKS},
    _HEAD: {"Base": _BASE, "Metas": _METAS},
    _META: {"name": _NAME, "property": _PROPERTY, "content": _CONTENT},
    _LINK: {"path": _PATH, "url": _URL, "alt": _ALT, "title": _TITLE},
}

# Streams of the strings found, each string ended by a NUL.
_PAGE_STREAM, _META_STREAM, _IMAGE_STREAM = range(3)
_DAMAGED, _NOT_OK, _PAGE = range(3)  # what became of a record

_PADDING: Final = 64  # NULs behind the last record: a byte that is nowhere valid ends every loop
_MAX_DEPTH: Final = 60
_QUOTE, _BACKSLASH, _COMMA, _COLON, _ZERO, _MINUS = b'"\\,:0-'
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = b"{}[]"
_U, _E, _DOT, _PLUS = b"ue.+"
_T, _F, _N = b"tfn"


def _array(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_IS_PLAIN: Final = mark_bytes(set(range(0x20, 256)) - {_QUOTE, _BACKSLASH})  # in a string, means itself
_IS_SPACE: Final = mark_bytes(b" \t\r\n")
_IS_DIGIT: Final = mark_bytes(b"0123456789")
_HEX: Final = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else 255 for c in range(256)], np.uint8)
_ESCAPED: Final = np.zeros(256, np.uint8)  # what follows a backslash -> what it means; 0: nothing, or a number follows
_ESCAPED[list(b'"\\/bfnrt')] = list(b'"\\/\b\f\n\r\t')
_TRUE, _FALSE, _NULL = map(_array, ("true", "false", "null"))
_OK: Final = _array('200"')
_IMAGE: Final = _array(IMAGE_PATH + '"')
_KEYS: Final = sorted({key for members in _TREE.values() for key in members})


def _hash_keys(factor: int, shift: int) -> list[int]:
    return [(ord(key[0]) * factor + (ord(key[-1]) << shift) + len(key)) & 255 for key in _KEYS]


_FACTOR, _SHIFT = next(found for found in product(range(1, 99), range(8)) if len(set(_hash_keys(*found))) == len(_KEYS))
_KEY_OF_HASH: Final = np.full(256, -1, np.int64)
_KEY_OF_HASH[_hash_keys(_FACTOR, _SHIFT)] = range(len(_KEYS))
_KEY_BYTES: Final = np.zeros((len(_KEYS), 32), np.uint8)
_CODE_OF_KEY: Final = np.zeros((_NUM_CODES, len(_KEYS)), np.int64)  # in an object: of its member; 0: not wanted
_PARENT: Final = np.zeros(_NUM_CODES, np.int64)
for _key in _KEYS:
    _KEY_BYTES[_KEYS.index(_key), : len(_key) + 1] = _array(_key + '"')
for _context, _members in _TREE.items():
    for _key, _code in _members.items():
        _CODE_OF_KEY[_context, _KEYS.index(_key)] = _code
        _PARENT[_code] = _context
_PARENT[[_META, _LINK]] = _METAS, _LINKS


class _Output(NamedTuple):
    """What is found.

    Attributes:
        streams: The strings.
        used: How far each stream is filled.
        totals: Numbers of metas, of images with a text, and of those without, so far.
    """

    streams: Bytes
    used: Numbers
    totals: Numbers


def scan_records(records: Sequence[bytes]) -> list[WatPage | DropReason | None]:
    """Reads some records, some hundred kB of them at a time."""
    joined = b"\0".join([*records, bytes(_PADDING)])
    if not is_utf8(joined):
        return [None] * len(records)
    data = np.frombuffer(joined, np.uint8)
    starts = np.cumsum([0, *(len(record) + 1 for record in records)], dtype=np.int64)
    streams = np.empty((3, len(data)), np.uint8)  # what is wanted is shorter than the JSON of it
    used = np.zeros(3, np.int64)
    outcomes = np.zeros((len(records), 4), np.int64)  # what became of it; `_read_record`'s totals
    _scan(data, starts, _wanted_names(), streams, used, outcomes)
    fields, metas, images = (bytes(streams[k, : used[k]]).decode().split("\0") for k in range(3))
    plain = count_plain(streams[_IMAGE_STREAM], len(images) // 3, address_rules()).tolist()
    described = list(zip(images[::3], images[1::3], images[2::3], plain, strict=False))
    return list(_collect(outcomes.tolist(), fields, metas, described))


@functools.cache
def _wanted_names() -> Bytes:
    """`NAMES`, each ended by a quote; an argument, because numba would keep a constant when another file changes it."""
    return _array("".join(f'{name}"' for name in sorted(NAMES)))


def _collect(
    outcomes: list[list[int]], fields: list[str], metas: list[str], images: list[tuple[str, str, str, int]]
) -> Iterator[WatPage | DropReason | None]:
    pages = zip(fields[::2], fields[1::2], strict=False)
    named = list(zip(metas[::2], metas[1::2], strict=False))
    num_metas = num_images = num_bare = 0
    for kind, last_meta, last_image, last_bare in outcomes:
        if kind == _DAMAGED:
            yield None
            continue
        url, base = next(pages)
        if kind == _NOT_OK:
            yield DropReason.NOT_OK
        else:
            found = wanted_metas(named[num_metas:last_meta]) if last_meta > num_metas else []
            yield WatPage(url, base, found, images[num_images:last_image], last_bare - num_bare)
        num_metas, num_images, num_bare = last_meta, last_image, last_bare


@compile_kernel
def _scan(data: Bytes, starts: Numbers, names: Bytes, streams: Bytes, used: Numbers, outcomes: Numbers) -> None:
    """Reads record after record; leaves nothing in the streams of those that are damaged."""
    found = np.empty(_NUM_CODES, np.int64)
    totals = np.zeros(3, np.int64)
    output = _Output(streams, used, totals)
    for number in range(starts.size - 1):
        before, totals_before = used.copy(), totals.copy()
        found[:] = -1
        end = _read_record(data, starts[number], names, found, output)
        if end == starts[number + 1] - 1 and found[_HTML] >= 0:
            _copy_string(data, found[_URI], output, _PAGE_STREAM)
            _copy_string(data, found[_BASE], output, _PAGE_STREAM)
            is_ok = found[_STATUS] >= 0 and _starts_with(data, found[_STATUS] + 1, _OK)
            outcomes[number, 0] = _PAGE if is_ok else _NOT_OK
        else:
            used[:] = before
            totals[:] = totals_before
        outcomes[number, 1:] = totals


@compile_kernel
def _read_record(data: Bytes, at: int, names: Bytes, found: Numbers, output: _Output) -> int:
    """Reads a record; gives the place behind it, or another place where it cannot be read.

    Args:
        data: UTF-8, ended by NULs; the first of them is where whatever cannot be read leads to.
        at: Where the record begins.
        names: See `_wanted_names`.
        found: Where the objects and strings of each code begin; -1: not there.
        output: Gets what is wanted.
    """
    failure = data.size - _PADDING
    at = _skip_space(data, at)
    if data[at] != _OPEN:
        return failure
    context = _RECORD
    at = _skip_space(data, at + 1)
    while True:
        is_list = context in (_LINKS, _METAS)
        if data[at] == (_CLOSE_LIST if is_list else _CLOSE):
            if context == _RECORD:
                return _skip_space(data, at + 1)
            if context in (_LINK, _META) and not _keep(data, context, names, found, output):
                return failure
            context = _PARENT[context]
            at = _next_item(data, at + 1)
        elif is_list and data[at] == _OPEN:
            context = _LINK if context == _LINKS else _META
            found[_NAME:] = -1
            at = _skip_space(data, at + 1)
        elif is_list or data[at] != _QUOTE:
            return failure
        else:
            end = _skip_plain(data, at + 1)
            code = _find_code(data, at + 1, end, context)
            at = _skip_space(data, end + 1)
            if data[end] != _QUOTE or data[at] != _COLON:
                return failure
            at = _skip_space(data, at + 1)
            if code == 0:
                at = _skip_string(data, at) if data[at] == _QUOTE else _skip_value(data, at)
                at = _next_item(data, at)
                continue
            if code < _URI and found[code] >= 0:
                return failure
            found[code] = at
            if code >= _URI:
                at = _skip_wanted(data, at, code)
                at = _next_item(data, at)
            elif code == _HEADERS:
                at = _next_item(data, _skip_headers(data, at, names))
            elif data[at] == (_OPEN_LIST if code in (_LINKS, _METAS) else _OPEN):
                context = code
                at = _skip_space(data, at + 1)
            else:
                return failure


@compile_kernel
def _find_code(data: Bytes, first: int, end: int, context: int) -> int:
    """The code of a key in an object; 0 for one that is not wanted."""
    if end == first:
        return 0
    key = _KEY_OF_HASH[(int(data[first]) * _FACTOR + (int(data[end - 1]) << _SHIFT) + end - first) & 255]
    if key < 0 or _CODE_OF_KEY[context, key] == 0:
        return 0
    for place in range(end - first + 1):
        if _KEY_BYTES[key, place] != data[first + place]:
            return 0
    return _CODE_OF_KEY[context, key]


@compile_kernel
def _keep(data: Bytes, context: int, names: Bytes, found: Numbers, output: _Output) -> bool:
    """Copies what is wanted of a link or meta element; whether that could be told."""
    if context == _LINK:
        path = found[_PATH]
        if path >= 0 and _starts_with(data, path + 1, _IMAGE):
            if _is_empty(data, found[_ALT]) and _is_empty(data, found[_TITLE]):
                output.totals[2] += 1
            else:
                for code in (_URL, _ALT, _TITLE):
                    _copy_string(data, found[code], output, _IMAGE_STREAM)
                output.totals[1] += 1
        return path < 0 or data[_skip_plain(data, path + 1)] == _QUOTE
    name = found[_PROPERTY] if _is_empty(data, found[_NAME]) else found[_NAME]
    if not _is_empty(data, name) and not _is_empty(data, found[_CONTENT]) and _may_be_wanted(data, name, names):
        _copy_string(data, name, output, _META_STREAM)
        _copy_string(data, found[_CONTENT], output, _META_STREAM)
        output.totals[0] += 1
    return True


@compile_kernel
def _is_empty(data: Bytes, at: int) -> bool:
    return at < 0 or data[at] != _QUOTE or data[at + 1] == _QUOTE


@compile_kernel
def _may_be_wanted(data: Bytes, at: int, names: Bytes) -> bool:
    """Whether a string is one of the wanted names, whatever the case, or holds an escape before that is clear."""
    first, place = 0, 0
    while place < names.size:
        byte = data[at + 1 + place - first]
        if byte == _BACKSLASH:
            return True
        if ord("A") <= byte <= ord("Z"):
            byte |= 0x20
        if byte == names[place]:
            if byte == _QUOTE:
                return True
            place += 1
        else:
            while names[place] != _QUOTE:
                place += 1
            place += 1
            first = place
    return False


@compile_kernel
def _copy_string(data: Bytes, at: int, output: _Output, stream: int) -> None:
    """Writes a string without its escapes, or nothing for a null, then a NUL."""
    written = output.used[stream]
    row = output.streams[stream]
    if at >= 0 and data[at] == _QUOTE:
        at += 1
        while data[at] != _QUOTE:
            if data[at] != _BACKSLASH:
                row[written] = data[at]
                written += 1
                at += 1
            elif data[at + 1] != _U:
                row[written] = _ESCAPED[data[at + 1]]
                written += 1
                at += 2
            else:
                written = _write_character(row, written, _read_escape(data, at))
                at += 6
    row[written] = 0
    output.used[stream] = written + 1


@compile_kernel
def _write_character(row: Bytes, at: int, code: int) -> int:
    """Writes a character of the basic plane as UTF-8; gives the place behind it."""
    if code < 0x80:
        row[at] = code
        return at + 1
    if code < 0x800:
        row[at] = 0xC0 | code >> 6
        row[at + 1] = 0x80 | code & 0x3F
        return at + 2
    row[at] = 0xE0 | code >> 12
    row[at + 1] = 0x80 | (code >> 6) & 0x3F
    row[at + 2] = 0x80 | code & 0x3F
    return at + 3


@compile_kernel
def _skip_headers(data: Bytes, at: int, names: Bytes) -> int:
    """Behind an object of strings and lists of strings; one with a name that is wanted is refused, they are rare."""
    failure = data.size - _PADDING
    if data[at] != _OPEN:
        return failure
    at = _skip_space(data, at + 1)
    while data[at] == _QUOTE:
        if _may_be_wanted(data, at, names):
            return failure
        at = _skip_key(data, at)
        if data[at] == _OPEN_LIST:
            at = _skip_space(data, at + 1)
            while data[at] == _QUOTE:
                at = _next_item(data, _skip_string(data, at))
            at = at + 1 if data[at] == _CLOSE_LIST else failure
        else:
            at = _skip_string(data, at)
        at = _next_item(data, at)
    return at + 1 if data[at] == _CLOSE else failure


@compile_kernel
def _next_item(data: Bytes, at: int) -> int:
    """From behind a value to the next key or value, or to what closes the list or object."""
    at = _skip_space(data, at)
    if data[at] != _COMMA:
        return at if data[at] == _CLOSE or data[at] == _CLOSE_LIST else data.size - _PADDING
    at = _skip_space(data, at + 1)
    return data.size - _PADDING if data[at] == _CLOSE or data[at] == _CLOSE_LIST else at


@compile_kernel
def _skip_wanted(data: Bytes, at: int, code: int) -> int:
    """Behind a string, or a null where that is allowed."""
    if data[at] == _QUOTE:
        return _skip_string(data, at)
    is_optional = code != _URI and code != _STATUS and code != _PATH
    return at + 4 if is_optional and _starts_with(data, at, _NULL) else data.size - _PADDING


@compile_kernel
def _skip_value(data: Bytes, at: int) -> int:
    """Behind any value."""
    depth, kinds = 0, np.uint64(0)  # a bit for each open object or list: whether it is an object
    while True:
        opener = data[at]
        if opener in (_OPEN, _OPEN_LIST):
            if depth == _MAX_DEPTH:
                return data.size - _PADDING
            depth += 1
            kinds = (kinds << np.uint64(1)) | np.uint64(opener == _OPEN)
            at = _skip_space(data, at + 1)
            if data[at] != opener + 2:  # not empty
                if opener == _OPEN:
                    at = _skip_key(data, at)
                continue
        else:
            at = _skip_scalar(data, at)
        has_next = False
        while depth > 0 and not has_next:
            is_object = kinds & np.uint64(1)
            at = _next_item(data, at)
            if data[at] == (_CLOSE if is_object else _CLOSE_LIST):
                at += 1
                depth -= 1
                kinds >>= np.uint64(1)
            elif data[at] == _CLOSE or data[at] == _CLOSE_LIST or data[at] == 0:
                return data.size - _PADDING
            else:
                has_next = True
                if is_object:
                    at = _skip_key(data, at)
        if not has_next:
            return at


@compile_kernel
def _skip_key(data: Bytes, at: int) -> int:
    """From a key to its value."""
    at = _skip_space(data, _skip_string(data, at))
    return _skip_space(data, at + 1) if data[at] == _COLON else data.size - _PADDING


@compile_kernel
def _skip_scalar(data: Bytes, at: int) -> int:
    if data[at] == _QUOTE:
        return _skip_string(data, at)
    if data[at] == _T:
        return at + 4 if _starts_with(data, at, _TRUE) else data.size - _PADDING
    if data[at] == _F:
        return at + 5 if _starts_with(data, at, _FALSE) else data.size - _PADDING
    if data[at] == _N:
        return at + 4 if _starts_with(data, at, _NULL) else data.size - _PADDING
    return _skip_number(data, at)


@compile_kernel
def _skip_number(data: Bytes, at: int) -> int:
    failure = data.size - _PADDING
    first = at + 1 if data[at] == _MINUS else at
    at = _skip_digits(data, first)
    if at == first or (data[first] == _ZERO and at > first + 1):
        return failure
    if data[at] == _DOT:
        first = at + 1
        at = _skip_digits(data, first)
        if at == first:
            return failure
    if data[at] | 0x20 == _E:
        first = at + 2 if data[at + 1] == _PLUS or data[at + 1] == _MINUS else at + 1
        at = _skip_digits(data, first)
        if at == first:
            return failure
    return at


@compile_kernel
def _skip_digits(data: Bytes, at: int) -> int:
    while _IS_DIGIT[data[at]]:
        at += 1
    return at


@compile_kernel
def _skip_string(data: Bytes, at: int) -> int:
    """Behind a string that begins here."""
    if data[at] != _QUOTE:
        return data.size - _PADDING
    at += 1
    while True:
        at = _skip_plain(data, at)
        if data[at] == _QUOTE:
            return at + 1
        if data[at] != _BACKSLASH:
            return data.size - _PADDING
        if _ESCAPED[data[at + 1]]:
            at += 2
        elif _read_escape(data, at) > 0:
            at += 6
        else:
            return data.size - _PADDING


@compile_kernel
def _read_escape(data: Bytes, at: int) -> int:
    r"""The character of an escape like \u00e9; 0 where there is none, or none that is a character by itself."""
    if data[at + 1] != _U:
        return 0
    code = 0
    for place in range(at + 2, at + 6):
        digit = int(_HEX[data[place]])
        if digit > 15:
            return 0
        code = code << 4 | digit
    return 0 if 0xD800 <= code < 0xE000 else code


@compile_kernel
def _skip_plain(data: Bytes, at: int) -> int:
    """To the first byte that ends a string, or is an escape, or in no string."""
    place = np.uint64(at)  # numba looks twice at an index that might be negative
    while _IS_PLAIN[data[place]]:
        place += np.uint64(1)
    return int(place)


@compile_kernel
def _skip_space(data: Bytes, at: int) -> int:
    while data[at] <= 0x20 and _IS_SPACE[data[at]]:
        at += 1
    return at


@compile_kernel
def _starts_with(data: Bytes, at: int, word: Bytes) -> bool:
    for place in range(word.size):  # noqa: SIM110 (numba compiles no generators inside functions)
        if data[at + place] != word[place]:
            return False
    return True
