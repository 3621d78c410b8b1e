"""Records of a WAT, read many at a time where they are written in the usual way: no object is made for one, or a link.

In: inflated bytes of a WAT, some whole records and a part of one. Out: where each record is, what it is, and lines of
text for those that describe a page with images (`read_records`). A record written in another way is left to its reader
in Python, which finds the same in a usual one, where no text that is not wanted is damaged (of strings only their ends
and escapes are looked at, not their encoding).

JSON is followed key by key through the objects of `_SCHEMA`; whatever is in other places is stepped over.
Source: ISO 28500 5 (record header); RFC 8259 (JSON); commoncrawl/ia-web-commons (the objects of a WAT record).
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from vocab.kernels.standalone import Array, standalone

# Columns of `records`.
VERDICT, FIRST, BEHIND, NUM_METAS, NUM_HEADERS, NUM_IMAGES, NUM_LONG, NUM_BARE = range(8)
NUM_COLUMNS: Final = 8
NOTHING, PAGE, UNUSUAL = range(3)  # verdicts
PLACEHOLDER_MARK: Final = " "  # before an address
NUM_DONE, BYTES_DONE, LINE_BYTES = range(3)  # places in `done`
NUM_SCRATCH: Final = 8  # columns of `images` and `signals`

_MAX_LENGTH_DIGITS: Final = 8
_MAX_RECORD_BYTES: Final = 16 << 20
_MAX_HOST_BYTES: Final = 253
_MAX_URL_BYTES: Final = 2000
_MAX_PLACEHOLDER_BYTES: Final = 40
_MAX_DEPTH: Final = 60
_STEP: Final = 64  # bytes looked at together
# The same in each of eight bytes; a byte is found to be zero, or below a limit, by what its subtraction borrows, for
# certain as far as the first one (Warren, Hacker's Delight, 6-1).
_ONES: Final = np.uint64(0x0101010101010101)
_TOP_BITS: Final = np.uint64(0x8080808080808080)
_EIGHT_QUOTES: Final = np.uint64(0x2222222222222222)
_EIGHT_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_EIGHT_SPACES: Final = np.uint64(0x2020202020202020)
_PLACES: Final = np.uint64(0x0001020304050607)  # times 256 to the power n has n in its highest byte
_QUOTE, _BACKSLASH, _TAB, _NEWLINE, _RETURN, _SPACE = (ord(mark) for mark in '"\\\t\n\r ')
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _COMMA, _COLON = (ord(mark) for mark in "{}[],:")
_SLASH, _DOT, _QUESTION, _HASH, _PERCENT, _AND, _MINUS = (ord(mark) for mark in "/.?#%&-")


def _bytes(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


_VERSION_0: Final = _bytes("WARC/1.0\r\n")
_VERSION_1: Final = _bytes("WARC/1.1\r\n")
_METADATA: Final = _bytes("WARC-Type: metadata\r\n")
_TYPE: Final = _bytes("Content-Type: application/json\r\n")
_LENGTH: Final = _bytes("Content-Length: ")
_END: Final = _bytes("\r\n\r\n")
_MARK_OF_HTML: Final = _bytes('"HTML-Metadata"')
_MARK_OF_ANSWER: Final = _bytes('"HTTP-Response-Metadata"')
_IMAGE_PATH: Final = _bytes("IMG@/src")
_LINK_START: Final = _bytes('{"path":"')
_IMAGE_START: Final = _bytes('{"path":"IMG@')
_IMAGE_KEY: Final = _bytes('"path":"IMG@')
_OK: Final = _bytes("200")
_PLACEHOLDER_MARK: Final = _bytes(PLACEHOLDER_MARK)
_NULL: Final = _bytes("null")
_TRUE: Final = _bytes("true")
_FALSE: Final = _bytes("false")
_HTTP: Final = _bytes("http:")
_HTTPS: Final = _bytes("https:")
_PUNYCODE: Final = _bytes("xn--")

# The objects and lists that wanted values are in; each has one place, so that what is around it is known.
_ROOT, _ENVELOPE, _PAYLOAD, _RESPONSE, _MESSAGE, _HEADERS, _HTML, _HEAD, _METAS, _META, _LINKS, _LINK, _HEADER = range(
    13
)
_PARENTS: Final = np.array(
    [-1, _ROOT, _ENVELOPE, _PAYLOAD, _RESPONSE, _RESPONSE, _RESPONSE, _HTML, _HEAD, _METAS, _HTML, _LINKS, _ENVELOPE]
)
# The texts that are wanted: places in `texts`.
_URL, _BASE, _NAME, _PROPERTY, _HTTP_EQUIV, _CONTENT, _LINK_PATH, _LINK_URL, _LINK_ALT, _LINK_TITLE = range(10)
_NUM_TEXTS: Final = 10
# What a key's value must be.
_OBJECT, _LIST, _TEXT, _TEXT_OR_NULL, _STATUS = range(5)
_SCHEMA: Final = (
    (_ROOT, "Envelope", _OBJECT, _ENVELOPE),
    (_ENVELOPE, "Payload-Metadata", _OBJECT, _PAYLOAD),
    (_ENVELOPE, "WARC-Header-Metadata", _OBJECT, _HEADER),
    (_PAYLOAD, "HTTP-Response-Metadata", _OBJECT, _RESPONSE),
    (_RESPONSE, "Response-Message", _OBJECT, _MESSAGE),
    (_RESPONSE, "Headers", _OBJECT, _HEADERS),
    (_RESPONSE, "HTML-Metadata", _OBJECT, _HTML),
    (_MESSAGE, "Status", _STATUS, 0),
    (_HTML, "Head", _OBJECT, _HEAD),
    (_HTML, "Links", _LIST, _LINKS),
    (_HEAD, "Base", _TEXT_OR_NULL, _BASE),
    (_HEAD, "Metas", _LIST, _METAS),
    (_META, "name", _TEXT_OR_NULL, _NAME),
    (_META, "property", _TEXT_OR_NULL, _PROPERTY),
    (_META, "http-equiv", _TEXT_OR_NULL, _HTTP_EQUIV),
    (_META, "content", _TEXT_OR_NULL, _CONTENT),
    (_LINK, "path", _TEXT, _LINK_PATH),
    (_LINK, "url", _TEXT_OR_NULL, _LINK_URL),
    (_LINK, "alt", _TEXT_OR_NULL, _LINK_ALT),
    (_LINK, "title", _TEXT_OR_NULL, _LINK_TITLE),
    (_HEADER, "WARC-Target-URI", _TEXT, _URL),
)  # in the order of the objects
_FIRST_KEYS: Final = np.searchsorted([state for state, *_ in _SCHEMA], np.arange(14))
_KEY_KINDS: Final = np.array([kind for _, _, kind, _ in _SCHEMA])
_KEY_VALUES: Final = np.array([value for *_, value in _SCHEMA])
_KEY_LENGTHS: Final = np.array([len(key) for _, key, _, _ in _SCHEMA])
_KEYS: Final = np.array([list(key.encode().ljust(24, b"\0")) for _, key, _, _ in _SCHEMA], np.uint8)
_NEEDED_BITS: Final = sum(
    1 << number for number, (_, key, *_) in enumerate(_SCHEMA) if key in ("Status", "HTML-Metadata")
)
_HEAD_BIT: Final = 1 << next(number for number, (_, key, *_) in enumerate(_SCHEMA) if key == "Head")
_META_BITS: Final = sum(1 << number for number, (state, *_) in enumerate(_SCHEMA) if state == _META)
_LINK_BITS: Final = sum(1 << number for number, (state, *_) in enumerate(_SCHEMA) if state == _LINK)

_BYTES, _LONGS = Array(np.dtype(np.uint8), 1), Array(np.dtype(np.int64), 1)
_NAMES, _ROWS = Array(np.dtype(np.uint8), 3), Array(np.dtype(np.int64), 2)


def make_names(names: Iterable[str]) -> Any:
    """Names as `read_records` looks them up: uint8 [longest + 1, most of one length, longest], by length, 0 behind."""
    by_length: dict[int, list[bytes]] = {}
    for name in sorted(names):
        by_length.setdefault(len(name), []).append(name.encode())
    longest = max(by_length)
    table = np.zeros((longest + 1, max(map(len, by_length.values())), longest), np.uint8)
    for length, some in by_length.items():
        for number, encoded in enumerate(some):
            table[length, number, :length] = np.frombuffer(encoded, np.uint8)
    return table


@standalone(_BYTES, int, int, int, _NAMES, _NAMES, _BYTES, _BYTES, _ROWS, _BYTES, _ROWS, _ROWS, _ROWS, _BYTES, _LONGS)
def read_records(
    data: Any,
    first: int,
    last: int,
    is_long: int,
    fields: Any,
    names: Any,
    plain: Any,
    starts: Any,
    records: Any,
    lines: Any,
    images: Any,
    signals: Any,
    texts: Any,
    seen: Any,
    done: Any,
) -> None:
    """Reads records until one is cut off, or no metadata in JSON, or its header is written in an unusual way.

    A page's lines are, with a newline behind each: its address; its base; name and content of each wanted meta element,
    then of each wanted header line; address and alt of each image with a text. Where an image takes a closer look its
    address is empty, and its JSON is there instead of an alt; where it may be a placeholder, a mark is before the
    address. All is as in the JSON: bytes that should be UTF-8.

    Args:
        data: uint8 [any].
        first: Where the first record begins.
        last: Where the data ends.
        is_long: Whether every image takes a closer look.
        fields: Names of record headers that are usual, see `make_names`; in others' place it stops.
        names: Wanted names of meta elements and header lines, in lower case.
        plain: uint8 [256], the bytes that paths and queries may hold without a closer look: not 0.
        starts: uint8 [3 * any], beginnings of files' names, in lower case, that may be placeholders.
        records: int64 [any, `NUM_COLUMNS`], filled.
        lines: uint8 [any], filled.
        images: int64 [any, `NUM_SCRATCH`], for the images of one page.
        signals: int64 [any, `NUM_SCRATCH`], for its meta elements and header lines.
        texts: int64 [any, 3], for ten texts.
        seen: uint8 [any], as many as `fields` and `names` have rows each.
        done: int64 [3]: how many records, where the next one begins, the bytes of lines. Filled.
    """
    num_records = 0
    line_bytes = 0
    at = first
    while num_records < records.shape[0]:
        body = _read_header(data, at, last, fields, seen, done)
        if body < 0:
            break
        behind = body + done[0]
        if behind + 4 > last or not _is_at(data, behind, _END) or data[np.uint64(body)] != _OPEN:
            break
        record = records[num_records]
        record[:] = 0
        record[FIRST] = body
        record[BEHIND] = behind
        record[VERDICT] = UNUSUAL
        if _find(data, body, behind, _MARK_OF_ANSWER) == behind and _find(data, body, behind, _MARK_OF_HTML) == behind:
            if _behind_space(data, body, behind) == _CLOSE:
                record[VERDICT] = NOTHING
        elif _read_page(data, body, behind, is_long, names, plain, starts, images, signals, texts, seen, record):
            end = _write_page(data, names, images, signals, texts, record, lines, line_bytes)
            if end >= 0:
                record[VERDICT] = PAGE
                line_bytes = end
        num_records += 1
        at = behind + 4
    done[NUM_DONE] = num_records
    done[BYTES_DONE] = at
    done[LINE_BYTES] = line_bytes


def _read_header(data: Any, first: int, last: int, fields: Any, seen: Any, done: Any) -> int:
    """Where the body of a record begins that is metadata in JSON; its length goes into `done`. Below 0: no such one."""
    if not _is_before(data, first, last, _VERSION_0) and not _is_before(data, first, last, _VERSION_1):
        return -1
    at = first + _VERSION_0.size
    seen[:] = 0
    length = -1
    is_metadata = False
    is_json = False
    while at + 2 <= last and data[np.uint64(at)] != _RETURN:
        colon = at
        while colon + 2 < last and _SPACE < data[np.uint64(colon)] != _COLON:
            colon += 1
        if data[np.uint64(colon)] != _COLON or data[np.uint64(colon + 1)] != _SPACE:
            return -1
        number = _find_name(data, at, colon, fields, 0)
        if number < 0 or seen[np.uint64(number)]:
            return -1
        seen[np.uint64(number)] = 1
        end = colon + 2
        while end + 2 < last and _SPACE <= data[np.uint64(end)] < 127:
            end += 1
        if data[np.uint64(end)] != _RETURN or data[np.uint64(end + 1)] != _NEWLINE:
            return -1
        is_metadata |= _is_before(data, at, last, _METADATA)
        is_json |= _is_before(data, at, last, _TYPE)
        if _is_before(data, at, last, _LENGTH):
            length = _read_number(data, colon + 2, end)
        at = end + 2
    if at + 2 > last or data[np.uint64(at + 1)] != _NEWLINE or not is_metadata or not is_json:
        return -1
    if not 0 < length < _MAX_RECORD_BYTES:
        return -1
    done[0] = length
    return at + 2


def _read_number(data: Any, first: int, last: int) -> int:
    """A whole number of few digits; below 0 if there is none."""
    if not 0 < last - first <= _MAX_LENGTH_DIGITS:
        return -1
    number = 0
    for at in range(first, last):
        digit = int(data[np.uint64(at)]) - 48
        if not 0 <= digit < 10:
            return -1
        number = 10 * number + digit
    return number


def _behind_space(data: Any, first: int, behind: int) -> int:
    """The last byte that is no white space, or 0."""
    at = behind - 1
    while at >= first and (data[np.uint64(at)] == _SPACE or _TAB <= data[np.uint64(at)] <= _RETURN):
        at -= 1
    return int(data[np.uint64(at)]) if at >= first else 0


# JSON ► where the wanted texts are. Behind a record is the end of a line: every search stops there, if not before.


def _read_page(
    data: Any,
    first: int,
    end: int,
    is_long: int,
    names: Any,
    plain: Any,
    starts: Any,
    images: Any,
    signals: Any,
    texts: Any,
    seen: Any,
    record: Any,
) -> bool:
    """Fills the scratch arrays from the JSON of a record; whether it is usual, and a page with images."""
    texts[:] = 0
    seen[:] = 0
    state = _ROOT
    keys_seen = 0
    may_jump = False  # from link to link
    opened = first  # the object that was opened last
    is_new = True
    at = first + 1
    while True:
        if not is_new or data[np.uint64(at)] != _CLOSE:
            key = at + 1
            key_end = _next_mark(data, key)  # a key with escapes is unusual
            if (
                data[np.uint64(at)] != _QUOTE
                or data[np.uint64(key_end)] != _QUOTE
                or data[np.uint64(key_end + 1)] != _COLON
            ):
                return False
            at = key_end + 2
            number = _find_key(data, key, key_end, state)
            if state == _HEADERS:
                at = _read_field(data, key, key_end, at, names, signals, seen, record)
            elif number < 0:
                at = _skip_value(data, at)
            else:
                if keys_seen >> number & 1:
                    return False
                keys_seen |= 1 << number
                kind, value = _KEY_KINDS[number], _KEY_VALUES[number]
                if kind == _OBJECT or (kind == _LIST and data[np.uint64(at + 1)] != _CLOSE_LIST):
                    if kind == _LIST:
                        if data[np.uint64(at)] != _OPEN_LIST:
                            return False
                        at += 1
                        value += 1  # the object that the list holds
                        if value == _LINK and keys_seen & _HEAD_BIT:
                            link = _next_link(data, at, end)
                            may_jump = link >= 0
                            at = max(link, at)
                    if data[np.uint64(at)] != _OPEN:
                        return False
                    state, opened, is_new = value, at, True
                    at += 1
                    continue
                if kind == _LIST:
                    at = at + 2 if data[np.uint64(at)] == _OPEN_LIST else -1
                elif kind == _STATUS:
                    at = _skip_ok(data, at)
                else:
                    at = _read_text(data, at, texts[value], kind)
            if at < 0:
                return False
        is_new = False
        while True:
            mark = data[np.uint64(at)]
            is_list = state in (_METAS, _LINKS)
            if mark == _COMMA:
                at += 1
                if is_list:
                    if state == _LINKS and may_jump:
                        link = _next_link(data, at, end)
                        may_jump = link >= 0
                        at = max(link, at)
                    if data[np.uint64(at)] != _OPEN:
                        return False
                    state, opened, is_new = state + 1, at, True
                    at += 1
                break
            if mark != (_CLOSE_LIST if is_list else _CLOSE):
                return False
            at += 1
            if state == _META:
                if not _note_meta(data, names, texts, signals, record):
                    return False
                keys_seen &= ~_META_BITS
            elif state == _LINK:
                if not _note_link(data, opened, at, is_long, plain, starts, texts, images, record):
                    return False
                keys_seen &= ~_LINK_BITS
            state = _PARENTS[state]
            if state < 0:
                while at < end and data[np.uint64(at)] in (_SPACE, _NEWLINE, _RETURN, _TAB):
                    at += 1
                is_whole = at == end and keys_seen & _NEEDED_BITS == _NEEDED_BITS
                return is_whole and record[NUM_IMAGES] + record[NUM_BARE] > 0


def _next_link(data: Any, at: int, end: int) -> int:
    """The link at a place, or where it and others begin with paths that are no images', the next image, or last link.

    It is taken for granted that a link holds no other, that no list of links follows this one, and that there is no
    error in what is passed over. Below 0 where images begin in another way.
    """
    if not _is_at(data, at, _LINK_START) or _is_at(data, at, _IMAGE_START):
        return at
    image = _find(data, at, end, _IMAGE_KEY)
    if image < end:
        return image - 1 if data[np.uint64(image - 1)] == _OPEN else -1
    at = end - _LINK_START.size
    while not _is_at(data, at, _LINK_START):
        at -= 1
    return at


def _find_key(data: Any, first: int, last: int, state: int) -> int:
    """The number of a key of an object in the schema; below 0 if it is not there."""
    for number in range(_FIRST_KEYS[state], _FIRST_KEYS[state + 1]):
        if _KEY_LENGTHS[number] == last - first:
            is_same = True
            for place in range(last - first):
                is_same &= _KEYS[number, place] == data[np.uint64(first + place)]
            if is_same:
                return number
    return -1


def _read_text(data: Any, at: int, text: Any, kind: int) -> int:
    """Notes where a text is (its end, and whether it holds escapes); gives the place behind it, below 0 if none is."""
    if data[np.uint64(at)] != _QUOTE:
        return at + 4 if kind == _TEXT_OR_NULL and _is_at(data, at, _NULL) else -1
    behind = _next_mark(data, at + 1)
    has_escapes = data[np.uint64(behind)] == _BACKSLASH
    if has_escapes:
        behind = _end_of_text(data, behind)
    if behind < 0 or data[np.uint64(behind)] != _QUOTE:
        return -1
    text[0], text[1], text[2] = at + 1, behind, has_escapes
    return behind + 1


def _skip_ok(data: Any, at: int) -> int:
    """Steps over the status 200, a text or a number; below 0 if it is none."""
    if data[np.uint64(at)] == _QUOTE:
        return at + 5 if _is_at(data, at + 1, _OK) and data[np.uint64(at + 4)] == _QUOTE else -1
    is_ok = _is_at(data, at, _OK) and (data[np.uint64(at + 3)] == _COMMA or data[np.uint64(at + 3)] == _CLOSE)
    return at + 3 if is_ok else -1


def _read_field(data: Any, key: int, key_end: int, at: int, names: Any, signals: Any, seen: Any, record: Any) -> int:
    """Notes the values of a header line that is wanted; gives the place behind it, below 0 if it is unusual."""
    if not _is_ascii(data, key, key_end):
        return -1
    number = _find_name(data, key, key_end, names, 1)
    if number >= 0:
        if seen[np.uint64(number)]:
            return -1
        seen[np.uint64(number)] = 1
    is_list = data[np.uint64(at)] == _OPEN_LIST
    at += is_list
    if is_list and data[np.uint64(at)] == _CLOSE_LIST:
        return at + 1
    while True:
        if data[np.uint64(at)] != _QUOTE:
            return -1
        behind = _next_mark(data, at + 1)
        if data[np.uint64(behind)] == _BACKSLASH and number < 0:
            behind = _end_of_text(data, behind)
        if behind < 0 or data[np.uint64(behind)] != _QUOTE:
            return -1
        if number >= 0 and not _note_signal(number, at + 1, behind, 1, signals, record):
            return -1
        at = behind + 1
        if not is_list:
            return at
        if data[np.uint64(at)] == _CLOSE_LIST:
            return at + 1
        if data[np.uint64(at)] != _COMMA:
            return -1
        at += 1


def _note_meta(data: Any, names: Any, texts: Any, signals: Any, record: Any) -> bool:
    """Notes a meta element whose name is wanted; whether it is usual."""
    content = texts[_CONTENT]
    is_usual = True
    if content[0] < content[1]:
        for place in range(_NAME, _HTTP_EQUIV + 1):
            name = texts[place]
            if name[2] or not _is_ascii(data, name[0], name[1]):
                is_usual = False
                break
            number = _find_name(data, name[0], name[1], names, 1)
            if number >= 0:
                is_usual = not content[2] and _note_signal(number, content[0], content[1], 0, signals, record)
                break
    texts[_NAME : _CONTENT + 1] = 0
    return is_usual


def _note_signal(number: int, first: int, last: int, is_header: int, signals: Any, record: Any) -> bool:
    count = record[NUM_METAS] + record[NUM_HEADERS]
    if count == signals.shape[0]:
        return False
    signals[count, 0], signals[count, 1], signals[count, 2], signals[count, 3] = number, first, last, is_header
    record[NUM_HEADERS if is_header else NUM_METAS] += 1
    return True


def _note_link(
    data: Any, first: int, last: int, is_long: int, plain: Any, starts: Any, texts: Any, images: Any, record: Any
) -> bool:
    """Notes an image that has a text, and counts one that has none; whether the link is usual."""
    path, url, alt, title = texts[_LINK_PATH], texts[_LINK_URL], texts[_LINK_ALT], texts[_LINK_TITLE]
    is_usual = not path[2]
    if path[1] - path[0] == _IMAGE_PATH.size and _is_at(data, path[0], _IMAGE_PATH):
        # A query that is not ASCII is escaped in the encoding of the page.
        is_usual &= not url[2] and (_is_ascii(data, url[0], url[1]) or not _holds(data, url[0], url[1], _QUESTION))
        if alt[0] >= alt[1] and title[0] >= title[1]:
            record[NUM_BARE] += 1
        elif record[NUM_IMAGES] == images.shape[0]:
            is_usual = False
        else:
            image = images[record[NUM_IMAGES]]
            record[NUM_IMAGES] += 1
            image[0], image[1], image[2], image[3], image[4], image[5] = first, last, url[0], url[1], alt[0], alt[1]
            is_short = not is_long and not alt[2] and _is_text(data, alt[0], alt[1])
            image[6] = _judge_url(data, url[0], url[1], plain, starts) if is_short else 0
    texts[_LINK_PATH : _LINK_TITLE + 1] = 0
    return is_usual


def _is_text(data: Any, first: int, last: int) -> bool:
    """Whether a text is more than white space for certain, and holds no reference to a character."""
    is_more = False
    for at in range(first, last):
        byte = data[np.uint64(at)]
        if byte == _AND:
            return False
        # White space beyond ASCII begins with C2, E1, E2, or as E3 80.
        is_more |= _SPACE < byte < 128 or 0xC4 <= byte < 0xE1 or byte > 0xE3
        is_more |= byte == 0xE3 and data[np.uint64(at + 1)] > 0x80
    return is_more


# How the address of an image begins, when it takes no closer look; where it may be a placeholder, that and this.
_CLOSER, _ABSOLUTE, _NO_SCHEME, _NO_HOST = range(4)
_PLACEHOLDER: Final = 4


def _judge_url(data: Any, first: int, last: int, plain: Any, starts: Any) -> int:
    """How an address begins, or that it takes a closer look."""
    if last - first > _MAX_URL_BYTES:
        return _CLOSER
    at = first + _scheme_bytes(data, first, last)
    begins = _ABSOLUTE if at > first else _NO_SCHEME
    path = _end_of_host(data, at, last)
    if path < 0:
        if at > first:
            return _CLOSER
        begins, path = _NO_HOST, first
    end = last - (last > first and data[np.uint64(last - 1)] == _HASH)
    if path >= end or data[np.uint64(path)] != _SLASH or (path + 1 < end and data[np.uint64(path + 1)] == _SLASH):
        return _CLOSER
    name = path + 1
    query = end
    for place in range(path, end):
        byte = data[np.uint64(place)]
        if not plain[np.uint64(byte)]:
            if byte != _PERCENT or not _is_escape(data, place, end):
                return _CLOSER
        elif byte == _SLASH:
            if place + 1 < end and data[np.uint64(place + 1)] == _DOT:
                return _CLOSER
            if query == end:
                name = place + 1
        elif byte == _QUESTION and query == end:
            query = place
    if _holds_piece(data, first, end, _PUNYCODE):
        return _CLOSER
    return begins + _PLACEHOLDER if _is_placeholder(data, name, query, starts) else begins


def _scheme_bytes(data: Any, first: int, last: int) -> int:
    """The length of http: or https: where an address begins with it, else 0."""
    if _is_before(data, first, last, _HTTP):
        return _HTTP.size
    return _HTTPS.size if _is_before(data, first, last, _HTTPS) else 0


def _end_of_host(data: Any, first: int, last: int) -> int:
    """Where a path begins behind two slashes and a host name of several labels in lower case; below 0 if none does."""
    if first + 2 > last or data[np.uint64(first)] != _SLASH or data[np.uint64(first + 1)] != _SLASH:
        return -1
    label = first + 2
    at = label
    while at < last and data[np.uint64(at)] != _SLASH:
        byte = data[np.uint64(at)]
        if byte == _DOT:
            if at == label:
                return -1
            label = at + 1
        elif not (97 <= byte < 123 or 48 <= byte < 58 or byte == _MINUS):
            return -1
        at += 1
    if at == last or label == first + 2 or not 97 <= data[np.uint64(label)] < 123:
        return -1
    return at


def _is_escape(data: Any, at: int, end: int) -> bool:
    """Whether an escape stands for a byte that must be escaped, in capitals."""
    if at + 3 > end:
        return False
    high, low = data[np.uint64(at + 1)], data[np.uint64(at + 2)]
    is_letter = 65 <= low < 71
    is_hex = 48 <= low < 58 or is_letter
    if high == 50:  # %20 to %2F, but for - and .
        return is_hex and low != 68 and low != 69
    if high == 51:
        return is_letter
    return is_hex and (high == 56 or high == 57 or 65 <= high < 71)


def _is_placeholder(data: Any, first: int, last: int, starts: Any) -> bool:
    """Whether the name of a file may be that of a placeholder."""
    if not 3 <= last - first <= _MAX_PLACEHOLDER_BYTES:
        return False
    for place in range(0, starts.size, 3):
        is_same = True
        for number in range(3):
            is_same &= _in_lower_case(data[np.uint64(first + number)]) == starts[np.uint64(place + number)]
        if is_same:
            return True
    return False


# Where they are ► lines.


def _write_page(
    data: Any, names: Any, images: Any, signals: Any, texts: Any, record: Any, lines: Any, first: int
) -> int:
    """Writes the lines of a page; gives the place behind them, below 0 where there is no room, or something unusual."""
    url, base = texts[_URL], texts[_BASE]
    if url[2] or base[2]:
        return -1
    scheme = _scheme_bytes(data, url[0], url[1])
    path = _end_of_host(data, url[0] + scheme, url[1]) if scheme and base[0] == base[1] else -1
    host_bytes = path - url[0] - scheme - 2
    if host_bytes > _MAX_HOST_BYTES or (path > 0 and _holds_piece(data, url[0], path, _PUNYCODE)):
        path = -1
    at = _write_line(data, url[0], url[1], lines, first)
    at = _write_line(data, base[0], base[1], lines, at)
    num_signals = record[NUM_METAS] + record[NUM_HEADERS]
    for is_header in range(2):
        for number in range(num_signals):
            signal = signals[number]
            if signal[3] == is_header:
                length, place = divmod(signal[0], names.shape[1])
                at = _write_line(names[length, place], 0, length, lines, at)
                at = _write_line(data, signal[1], signal[2], lines, at)
    for number in range(record[NUM_IMAGES]):
        image = images[number]
        begins = image[6] % _PLACEHOLDER
        if begins == _CLOSER or (begins != _ABSOLUTE and path < 0):
            record[NUM_LONG] += 1
            at = _write_line(data, 0, 0, lines, at)
            at = _write_line(data, image[0], image[1], lines, at)
            continue
        if image[6] > _PLACEHOLDER:
            record[NUM_LONG] += 1
            at = _write(_PLACEHOLDER_MARK, 0, 1, lines, at)
        if begins == _NO_SCHEME:
            at = _write(data, url[0], url[0] + scheme, lines, at)
        elif begins == _NO_HOST:
            at = _write(data, url[0], path, lines, at)
        address_end = image[3] - (data[np.uint64(image[3] - 1)] == _HASH)
        at = _write_line(data, image[2], address_end, lines, at)
        at = _write_line(data, image[4], image[5], lines, at)
    return at


def _write_line(data: Any, first: int, last: int, lines: Any, at: int) -> int:
    at = _write(data, first, last, lines, at)
    if at < 0 or at == lines.size:
        return -1
    lines[np.uint64(at)] = _NEWLINE
    return at + 1


def _write(data: Any, first: int, last: int, lines: Any, at: int) -> int:
    """Copies bytes; gives the place behind them, below 0 where there is no room."""
    if at < 0 or at + last - first > lines.size:
        return -1
    start, place = np.uint64(first), np.uint64(at)
    for number in range(np.uint64(max(last - first, 0))):
        lines[place + number] = data[start + number]
    return at + max(last - first, 0)


# Bytes.


def _skip_value(data: Any, at: int) -> int:
    """The place behind a JSON value; below 0 if it is damaged, very deep, or written in an unusual way."""
    depth = 0
    lists = 0  # a bit for each level: whether it is a list
    while True:
        mark = data[np.uint64(at)]
        if mark == _QUOTE:
            at = _end_of_text(data, at + 1) + 1
            if at == 0:
                return -1
        elif mark in (_OPEN, _OPEN_LIST):
            is_list = mark == _OPEN_LIST
            if data[np.uint64(at + 1)] != (_CLOSE_LIST if is_list else _CLOSE):
                depth += 1
                lists = lists << 1 | is_list
                if depth == _MAX_DEPTH:
                    return -1
                at = at + 1 if is_list else _skip_key(data, at + 1)
                if at < 0:
                    return -1
                continue
            at += 2
        else:
            at = _skip_word(data, at)
            if at < 0:
                return -1
        while depth:
            mark = data[np.uint64(at)]
            if mark == _COMMA:
                at = at + 1 if lists & 1 else _skip_key(data, at + 1)
                break
            if mark != (_CLOSE_LIST if lists & 1 else _CLOSE):
                return -1
            depth -= 1
            lists >>= 1
            at += 1
        if depth == 0 or at < 0:
            return at


def _skip_key(data: Any, at: int) -> int:
    if data[np.uint64(at)] != _QUOTE:
        return -1
    at = _end_of_text(data, at + 1) + 1
    return at + 1 if at > 0 and data[np.uint64(at)] == _COLON else -1


def _skip_word(data: Any, at: int) -> int:
    """The place behind null, true, false or a whole number; below 0 if there is none."""
    if _is_at(data, at, _NULL) or _is_at(data, at, _TRUE):
        return at + 4
    if _is_at(data, at, _FALSE):
        return at + 5
    at += data[np.uint64(at)] == _MINUS
    first = at
    while 48 <= data[np.uint64(at)] < 58:
        at += 1
    is_number = at == first + 1 or (at > first and data[np.uint64(first)] != 48)
    return at if is_number else -1


def _end_of_text(data: Any, at: int) -> int:
    """Where the quote is that ends a JSON string; below 0 if the string is damaged, or holds a half of a character."""
    at = _next_mark(data, at)
    while data[np.uint64(at)] == _BACKSLASH:
        at = _skip_escape(data, at)
        if at < 0:
            return -1
        at = _next_mark(data, at)
    return at if data[np.uint64(at)] == _QUOTE else -1


def _next_mark(data: Any, at: int) -> int:
    """Where the next quote, backslash or control character is: there is one, eight bytes are looked at together."""
    while at + 8 <= data.size:
        word = _word(data, np.uint64(at))
        quotes = word ^ _EIGHT_QUOTES
        escapes = word ^ _EIGHT_BACKSLASHES
        found = (quotes - _ONES) & ~quotes | (escapes - _ONES) & ~escapes | (word - _EIGHT_SPACES) & ~word
        found &= _TOP_BITS
        if found:
            lowest = (found & (~found + np.uint64(1))) >> np.uint64(7)
            return at + int(np.int64((lowest * _PLACES) >> np.uint64(56)))
        at += 8
    while data[np.uint64(at)] >= _SPACE and data[np.uint64(at)] != _QUOTE and data[np.uint64(at)] != _BACKSLASH:
        at += 1
    return at


def _word(data: Any, at: Any) -> Any:
    """Eight bytes as a number, the first the lowest: one instruction."""
    word = np.uint64(0)
    for place in range(8):
        word |= np.uint64(data[at + np.uint64(place)]) << np.uint64(8 * place)
    return word


def _skip_escape(data: Any, at: int) -> int:
    """The place behind an escape in a JSON string; below 0 if it is none, or for a half of a character."""
    kind = data[np.uint64(at + 1)]
    if kind != 117:  # u
        return at + 2 if kind in (_QUOTE, _BACKSLASH, _SLASH, 98, 102, 110, 114, 116) else -1  # b f n r t
    for place in range(at + 2, at + 6):
        digit = _in_lower_case(data[np.uint64(place)])
        if not (48 <= digit < 58 or 97 <= digit < 103):
            return -1
    is_half = _in_lower_case(data[np.uint64(at + 2)]) == 100 and data[np.uint64(at + 3)] >= 56
    return -1 if is_half else at + 6


def _find_name(data: Any, first: int, last: int, names: Any, is_folded: int) -> int:
    """The number of a name of those of `make_names`, in any case if so wanted; below 0 if it is not there."""
    length = last - first
    if length >= names.shape[0]:
        return -1
    for number in range(names.shape[1]):
        name = names[length, number]
        if name[0] == 0:
            return -1
        place = 0
        while place < length:
            byte = data[np.uint64(first + place)]
            if (_in_lower_case(byte) if is_folded else byte) != name[place]:
                break
            place += 1
        if place == length:
            return length * names.shape[1] + number
    return -1


def _in_lower_case(byte: int) -> int:
    return byte | 32 if 65 <= byte < 91 else byte


def _is_ascii(data: Any, first: int, last: int) -> bool:
    bits = np.uint8(0)
    for at in range(np.uint64(first), np.uint64(last)):
        bits |= data[at]
    return bool(bits < 128)


def _holds(data: Any, first: int, last: int, byte: int) -> bool:
    is_there = False
    for at in range(np.uint64(first), np.uint64(last)):
        is_there |= data[at] == byte
    return is_there


def _holds_piece(data: Any, first: int, last: int, piece: Any) -> bool:
    return _find(data, first, last, piece) < last


def _find(data: Any, at: int, end: int, piece: Any) -> int:
    """Where a piece is next, or else the end; its first and last byte are looked for in many places at once."""
    first, last, reach = piece[0], piece[-1], np.uint64(piece.size - 1)
    while at + piece.size + _STEP <= end:
        start = np.uint64(at)
        is_near = False
        for place in range(start, start + np.uint64(_STEP)):
            is_near |= (data[place] == first) & (data[place + reach] == last)
        if is_near:
            for near in range(at, at + _STEP):
                if _is_at(data, near, piece):
                    return near
        at += _STEP
    while at + piece.size <= end:
        if _is_at(data, at, piece):
            return at
        at += 1
    return end


def _is_before(data: Any, at: int, last: int, piece: Any) -> bool:
    return at + piece.size <= last and _is_at(data, at, piece)


def _is_at(data: Any, at: int, piece: Any) -> bool:
    for place in range(piece.size):  # noqa: SIM110 (numba compiles no generators inside functions)
        if data[np.uint64(at + place)] != piece[place]:
            return False
    return True
