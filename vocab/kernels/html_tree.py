"""The elements around the images of a page, by the rules of an HTML parser but without a tree.

In: the tags of a page. Out: a row for every element that may say something, with the figure, picture and link that it
is in. A stack of open elements is kept as browsers keep it: end tags that pages leave out, tables, and formatting
elements that outlive the paragraph they began in. What is moved after it was read (in front of a table, by a late end
tag) keeps the surroundings that it was read in; a link around a table ends where another link begins in the table. The
stack is no deeper than in browsers, so time is linear.
Source: WHATWG HTML 13.2.4 (stack of open elements, active formatting elements), 13.2.6 (tree construction); the limit
of 512 open elements is Blink's; numba compiles this file, see vocab/kernels/compiled.py, so all the rules are in it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from vocab.kernels.compiled import compile_kernel

Numbers = npt.NDArray[np.int64]

# Names of elements by what is true of them; where an element is in no group it is an ordinary one, like span.
_GROUPS: Final = {
    "block": "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer "
    "header hgroup main menu nav ol search section summary ul pre listing",
    "closes p": "p form plaintext xmp h1 h2 h3 h4 h5 h6 li dd dt hr",
    "heading": "h1 h2 h3 h4 h5 h6",
    "ended": "button form select applet marquee object",  # its end tag ends what is open in it, as a block's does
    "void": "area base basefont bgsound br col embed hr image img input keygen link meta param source track wbr",
    "formatting": "a b big code em font i nobr s small strike strong tt u",
    "implied": "dd dt li optgroup option p rb rp rt rtc",  # its end tag may be left out
    "no reopening": "p form plaintext h1 h2 h3 h4 h5 h6 li dd dt hr param source track textarea iframe noembed rb rtc "
    "rp rt noframes base basefont bgsound link meta script style template title",
    "special": "applet area base basefont bgsound br button caption col colgroup dd dt embed form h1 h2 h3 h4 h5 h6 hr "
    "iframe img input keygen li link marquee meta noembed noframes noscript object p param plaintext script select "
    "source style table tbody td template textarea tfoot th thead title tr track wbr xmp",
    "scope": "applet caption table td th marquee object select template",  # nothing in it ends what is around it
    "list scope": "ol ul",
    "button scope": "button",
    "table scope": "table template",
    "marker": "applet marquee object caption td th template",  # formatting elements end with it
    "table part": "table tbody thead tfoot tr",  # what stands in it, but in no cell, is put before the table
    "cell": "td th caption",
    "row group": "tbody thead tfoot",
    "in table": "caption colgroup col tbody thead tfoot tr td th",
    "ignored": "html head body frameset frame !doctype",
    "raw": "script style title textarea iframe noembed noframes xmp plaintext",
    "image": "img image amp-img amp-anim",
    "emitted": "html meta base script source input",  # where they have attributes that are read
    "foreign": "svg math foreignobject desc mi mo mn ms mtext",
    "other": "map picture ruby span sub sup var",
}  # fmt: skip
_BITS: Final = {group: 1 << place for place, group in enumerate(_GROUPS)}
CODES: Final = {name: code for code, name in enumerate(dict.fromkeys(" ".join(_GROUPS.values()).split()), 1)}


def _flags() -> Numbers:
    flags = np.zeros(len(CODES) + 1, np.int64)
    for group, names in _GROUPS.items():
        for name in names.split():
            flags[CODES[name]] |= _BITS[group]
    blocks = flags & _BITS["block"] > 0
    flags[blocks & (np.arange(len(flags)) != CODES["dialog"])] |= _BITS["special"]
    flags[~blocks & (flags & _BITS["no reopening"] == 0)] |= _REOPENS
    flags[blocks] |= _BITS["closes p"] | _BITS["ended"]
    return flags


_CLOSES_P, _HEADING, _ENDED = (_BITS[group] for group in ("closes p", "heading", "ended"))
_VOID, _FORMATTING, _IMPLIED, _SPECIAL = (_BITS[group] for group in ("void", "formatting", "implied", "special"))
_SCOPE, _LIST_SCOPE, _BUTTON_SCOPE = (_BITS[group] for group in ("scope", "list scope", "button scope"))
_TABLE_SCOPE, _MARKER, _TABLE_PART = (_BITS[group] for group in ("table scope", "marker", "table part"))
_CELL, _ROW_GROUP, _IN_TABLE = (_BITS[group] for group in ("cell", "row group", "in table"))
_IGNORED, _RAW, _EMITTED, _AN_IMAGE = (_BITS[group] for group in ("ignored", "raw", "emitted", "image"))
_REOPENS: Final = 1 << len(_GROUPS)  # formatting elements go on in it
FLAGS: Final = _flags()

_A, _BR, _BUTTON = (CODES[name] for name in ("a", "br", "button"))
_ADDRESS, _COL, _COLGROUP, _DD = (CODES[name] for name in ("address", "col", "colgroup", "dd"))
_DIV, _DT, _FIGCAPTION, _FIGURE = (CODES[name] for name in ("div", "dt", "figcaption", "figure"))
_FORM, _HR, _INPUT, _LI, _NOBR = (CODES[name] for name in ("form", "hr", "input", "li", "nobr"))
_OPTGROUP, _OPTION, _P, _PICTURE = (CODES[name] for name in ("optgroup", "option", "p", "picture"))
_RB, _RP, _RT, _RTC, _RUBY = (CODES[name] for name in ("rb", "rp", "rt", "rtc", "ruby"))
_SELECT, _TABLE, _TBODY, _TD = (CODES[name] for name in ("select", "table", "tbody", "td"))
_TEMPLATE, _TH, _TR = (CODES[name] for name in ("template", "th", "tr"))
_DOCTYPE, _HTML = (CODES[name] for name in ("!doctype", "html"))

NO_EFFECT: Final = -(1 << 60)  # code of an end tag, or other tag, that is ignored
TOKEN, LINK, FIGURE, LEVEL, PICTURE = range(5)  # columns of surroundings
OUTER, DEPTH, FIRST_CAPTION = range(3)  # columns of figures
FIRST, LAST = range(2)  # columns of captions

_CODE, _SERIAL, _PAYLOAD, _TOKEN = range(4)  # columns of open elements and of formatting elements
_MAX_OPEN: Final = 512
_MAX_FORMATS: Final = 64
# Rows of the one array that holds all: open elements, formatting elements, numbers, names, ends of elements by their
# tags, figures and figcaptions.
_FORMAT_ROWS: Final = _MAX_OPEN
_OPEN: Final = _FORMAT_ROWS + _MAX_FORMATS  # how many there are
_FORMATS, _NEXT, _NOW, _HAS_FORM, _QUIRKS, _NUM_ROWS = range(_OPEN + 1, _OPEN + 7)
_NAME_ROWS: Final = _NUM_ROWS + 1
_NUM_NAMES: Final = len(FLAGS)
ENDS: Final = _NAME_ROWS + _NUM_NAMES  # each row holds those of as many tags as there are columns
_COLUMNS: Final = 4
ANCESTORS: Final = 8  # how far up a figure or link is looked for
_NESTED_CAPTIONS: Final = 8
_FAMILY: Final = 3  # equal formatting elements that go on, HTML 13.2.4.3


@compile_kernel
def _flags_of(tree: Numbers, code: int) -> int:
    return tree[_NAME_ROWS + code, 1] if code < _NUM_NAMES else _REOPENS


@compile_kernel
def _top(tree: Numbers) -> int:
    """The code of the innermost open element, or zero."""
    place = tree[_OPEN, 0] - 1
    return tree[place, _CODE] if place >= 0 else 0


@compile_kernel
def _count(tree: Numbers, code: int, step: int) -> None:
    if code < _NUM_NAMES:
        tree[_NAME_ROWS + code, 0] += step


@compile_kernel
def _set_end(tree: Numbers, token: int, end: int) -> None:
    tree[ENDS + token // _COLUMNS, token % _COLUMNS] = end


@compile_kernel
def _cut(tree: Numbers, size: int) -> None:
    """Ends open elements until only so many are left."""
    while tree[_OPEN, 0] > size:
        tree[_OPEN, 0] -= 1
        place = tree[_OPEN, 0]
        code = tree[place, _CODE]
        _count(tree, code, -1)
        _set_end(tree, tree[place, _TOKEN], tree[_NOW, 0])
        if code == _FIGCAPTION:
            tree[tree[place, _PAYLOAD], LAST] = tree[_NOW, 0]


@compile_kernel
def _remove(tree: Numbers, place: int) -> None:
    """Takes an open element away and leaves those in it open."""
    _count(tree, tree[place, _CODE], -1)
    _set_end(tree, tree[place, _TOKEN], tree[_NOW, 0])
    for later in range(place + 1, tree[_OPEN, 0]):
        tree[later - 1] = tree[later]
    tree[_OPEN, 0] -= 1


@compile_kernel
def _push(tree: Numbers, code: int, payload: int) -> int:
    """Opens an element; one that would be too deep takes the place of the deepest. Gives its serial number."""
    _cut(tree, _MAX_OPEN - 2)
    place = tree[_OPEN, 0]
    tree[place, _CODE] = code
    tree[place, _PAYLOAD] = payload
    tree[place, _TOKEN] = tree[_NOW, 0]
    tree[place, _SERIAL] = tree[_NEXT, 0]
    tree[_OPEN, 0] += 1
    tree[_NEXT, 0] += 1
    _count(tree, code, 1)
    return tree[_NEXT, 0] - 1


@compile_kernel
def _find_open(tree: Numbers, code: int, barriers: int) -> int:
    """The place of the innermost open element of a kind that no barrier hides, or -1."""
    if code < _NUM_NAMES and tree[_NAME_ROWS + code, 0] == 0:
        return -1
    for place in range(tree[_OPEN, 0] - 1, -1, -1):
        found = tree[place, _CODE]
        if found == code:
            return place
        if _flags_of(tree, found) & barriers:
            return -1
    return -1


@compile_kernel
def _close(tree: Numbers, code: int, barriers: int) -> bool:
    """Ends the innermost element of a kind and all in it; whether there was one."""
    place = _find_open(tree, code, barriers)
    if place >= 0:
        _cut(tree, place)
    return place >= 0


@compile_kernel
def _close_implied(tree: Numbers, but: int) -> None:
    while tree[_OPEN, 0] and _flags_of(tree, _top(tree)) & _IMPLIED and _top(tree) != but:
        _cut(tree, tree[_OPEN, 0] - 1)


@compile_kernel
def _clear_formats(tree: Numbers) -> None:
    """Forgets formatting elements to the last marker and with it."""
    while tree[_FORMATS, 0]:
        tree[_FORMATS, 0] -= 1
        if tree[_FORMAT_ROWS + tree[_FORMATS, 0], _CODE] == 0:
            break


@compile_kernel
def _drop_format(tree: Numbers, place: int) -> None:
    for later in range(place + 1, tree[_FORMATS, 0]):
        tree[_FORMAT_ROWS + later - 1] = tree[_FORMAT_ROWS + later]
    tree[_FORMATS, 0] -= 1


@compile_kernel
def _add_format(tree: Numbers, code: int, serial: int, payload: int) -> None:
    """Remembers a formatting element, or a marker (zero); of equal ones, and of all, the first is forgotten."""
    equal, first = 0, 0
    for place in range(tree[_FORMATS, 0] - 1, -1, -1):
        found = tree[_FORMAT_ROWS + place, _CODE]
        if code == 0 or found == 0:
            break
        if found == code and tree[_FORMAT_ROWS + place, _PAYLOAD] == payload:
            equal, first = equal + 1, place
    if equal >= _FAMILY:
        _drop_format(tree, first)
    elif tree[_FORMATS, 0] == _MAX_FORMATS:
        _drop_format(tree, 0)
    row = _FORMAT_ROWS + tree[_FORMATS, 0]
    tree[row, _CODE], tree[row, _SERIAL], tree[row, _PAYLOAD] = code, serial, payload
    tree[row, _TOKEN] = tree[_NOW, 0]
    tree[_FORMATS, 0] += 1


@compile_kernel
def _find_serial(tree: Numbers, serial: int) -> int:
    for place in range(tree[_OPEN, 0] - 1, -1, -1):
        if tree[place, _SERIAL] == serial:
            return place
    return -1


@compile_kernel
def _find_format(tree: Numbers, serial: int) -> int:
    for place in range(tree[_FORMATS, 0] - 1, -1, -1):
        if tree[_FORMAT_ROWS + place, _CODE] and tree[_FORMAT_ROWS + place, _SERIAL] == serial:
            return place
    return -1


@compile_kernel
def _last_format(tree: Numbers, code: int) -> int:
    """The place of the last formatting element of a kind after the last marker, or -1."""
    for place in range(tree[_FORMATS, 0] - 1, -1, -1):
        found = tree[_FORMAT_ROWS + place, _CODE]
        if found == code or found == 0:
            return place if found == code else -1
    return -1


@compile_kernel
def _reopen_formats(tree: Numbers) -> None:
    """Formatting elements that something else has ended go on here."""
    end = first = _FORMAT_ROWS + tree[_FORMATS, 0]
    while first > _FORMAT_ROWS and tree[first - 1, _CODE] and _find_serial(tree, tree[first - 1, _SERIAL]) < 0:
        first -= 1
    for row in range(first, end):
        tree[row, _SERIAL] = _push(tree, tree[row, _CODE], tree[row, _PAYLOAD])
        tree[tree[_OPEN, 0] - 1, _TOKEN] = tree[row, _TOKEN]


@compile_kernel
def _end_format(tree: Numbers, code: int) -> bool:
    """The end of a formatting element, which may leave open what began in it: the adoption agency algorithm."""
    if _top(tree) == code and _find_format(tree, tree[tree[_OPEN, 0] - 1, _SERIAL]) < 0:
        _cut(tree, tree[_OPEN, 0] - 1)
        return True
    for turn in range(8):
        entry = _last_format(tree, code)
        if entry < 0:
            return _close(tree, code, _SPECIAL) if turn == 0 else True
        place = _find_serial(tree, tree[_FORMAT_ROWS + entry, _SERIAL])
        if place < 0:
            _drop_format(tree, entry)
            return True
        block = -1
        for later in range(tree[_OPEN, 0] - 1, place, -1):
            flags = _flags_of(tree, tree[later, _CODE])
            if flags & _SCOPE:
                return turn > 0
            if flags & _SPECIAL:
                block = later
        if block < 0:
            _cut(tree, place)
            _drop_format(tree, entry)
            return True
        for inner in range(block - 1, place, -1):
            if _find_format(tree, tree[inner, _SERIAL]) < 0:
                _remove(tree, inner)
                block -= 1
        payload, serial, token = tree[place, _PAYLOAD], tree[place, _SERIAL], tree[place, _TOKEN]
        for later in range(place, block):
            tree[later] = tree[later + 1]
        tree[block, _CODE], tree[block, _SERIAL], tree[block, _PAYLOAD] = code, serial, payload
        tree[block, _TOKEN] = token
    return True


@compile_kernel
def _end_item(tree: Numbers, code: int, other: int) -> None:
    """A list item ends the one before it."""
    for place in range(tree[_OPEN, 0] - 1, -1, -1):
        found = tree[place, _CODE]
        if found in (code, other):
            _cut(tree, place)
            return
        if _flags_of(tree, found) & _SPECIAL and found != _ADDRESS and found != _DIV and found != _P:
            return


@compile_kernel
def _table_place(tree: Numbers) -> int:
    """The place of the innermost part of a table (or template), or -1."""
    for place in range(tree[_OPEN, 0] - 1, -1, -1):
        code = tree[place, _CODE]
        if _flags_of(tree, code) & (_TABLE_PART | _CELL) or code in (_COLGROUP, _TEMPLATE):
            return place
    return -1


@compile_kernel
def _start_in_table(tree: Numbers, code: int) -> bool:
    """A row, cell or other part of a table begins; outside a table it is ignored."""
    place = _table_place(tree)
    if place < 0:
        return False
    found = tree[place, _CODE]
    while _flags_of(tree, found) & _CELL or (found == _COLGROUP and code != _COL):
        if _find_open(tree, _TABLE, 0) < 0:
            return False
        _cut(tree, place)
        if found != _COLGROUP:
            _clear_formats(tree)
        place = _table_place(tree)
        if place < 0:
            return False
        found = tree[place, _CODE]
    if found != _TEMPLATE:
        is_cell = code in (_TD, _TH)
        if found == _TR and not is_cell:
            _cut(tree, place)
            place -= 1
            found = _top(tree)
        if _flags_of(tree, found) & _ROW_GROUP and not is_cell and code != _TR:
            _cut(tree, place)
            place -= 1
            found = _top(tree)
        _cut(tree, place + 1)
        if found == _TABLE and (is_cell or code == _TR):
            _push(tree, _TBODY, -1)
            found = _TBODY
        if found != _TR and is_cell:
            _push(tree, _TR, -1)
    if code != _COL:
        _push(tree, code, -1)
        if _flags_of(tree, code) & _CELL:
            _add_format(tree, 0, 0, 0)
    return True


@compile_kernel
def _end_in_table(tree: Numbers, code: int) -> bool:
    """The end of a table or of a part that holds cells, which ends the cell that is open in it."""
    if _find_open(tree, code, _TABLE_SCOPE) < 0:
        return False
    place = _table_place(tree)
    if _flags_of(tree, tree[place, _CODE]) & _CELL:
        _cut(tree, place)
        _clear_formats(tree)
    return _close(tree, code, _TABLE_SCOPE)


@compile_kernel
def _start_table(tree: Numbers) -> None:
    place = _table_place(tree)
    if place >= 0 and _flags_of(tree, tree[place, _CODE]) & _TABLE_PART:
        _close(tree, _TABLE, _TABLE_SCOPE)
    elif not tree[_QUIRKS, 0]:
        _close(tree, _P, _SCOPE | _BUTTON_SCOPE)
    _push(tree, _TABLE, -1)


@compile_kernel
def _close_before(tree: Numbers, code: int, flags: int) -> None:
    """Ends what ends where an element begins."""
    if code == _LI:
        _end_item(tree, _LI, _LI)
    elif code in (_DD, _DT):
        _end_item(tree, _DD, _DT)
    if flags & _CLOSES_P:
        _close(tree, _P, _SCOPE | _BUTTON_SCOPE)
    if flags & _HEADING and _flags_of(tree, _top(tree)) & _HEADING:
        _cut(tree, tree[_OPEN, 0] - 1)
    elif code in (_BUTTON, _SELECT, _INPUT):
        _close(tree, _BUTTON if code == _BUTTON else _SELECT, _SCOPE)
    elif code in (_A, _NOBR):
        entry = _last_format(tree, code)
        if entry >= 0:
            serial = tree[_FORMAT_ROWS + entry, _SERIAL]
            _end_format(tree, code)
            entry, place = _find_format(tree, serial), _find_serial(tree, serial)
            if entry >= 0:
                _drop_format(tree, entry)
            if place >= 0:
                _remove(tree, place)
    elif code in (_OPTION, _OPTGROUP, _HR):
        if _find_open(tree, _SELECT, _SCOPE) >= 0:
            _close_implied(tree, _OPTGROUP if code == _OPTION else 0)
        elif _top(tree) == _OPTION and code != _HR:
            _cut(tree, tree[_OPEN, 0] - 1)
    elif (code in (_RB, _RTC, _RP, _RT)) and _find_open(tree, _RUBY, _SCOPE) >= 0:
        _close_implied(tree, _RTC if code in (_RP, _RT) else 0)


@compile_kernel
def _start(tree: Numbers, code: int, flags: int) -> bool:
    """A start tag; whether it has an effect."""
    if flags & _IGNORED:
        return False
    if flags & _IN_TABLE:
        return _start_in_table(tree, code)
    if code == _TABLE:
        _start_table(tree)
        return True
    if code == _FORM and tree[_NAME_ROWS + _TEMPLATE, 0] == 0:
        if tree[_HAS_FORM, 0]:
            return False
        tree[_HAS_FORM, 0] = 1
        if _flags_of(tree, _top(tree)) & _TABLE_PART:
            return True
    _close_before(tree, code, flags)
    if flags & _REOPENS and tree[_FORMATS, 0]:
        _reopen_formats(tree)
    if flags & _VOID:
        return True
    payload = tree[_NOW, 0]
    if code == _FIGURE:
        payload = _add_figure(tree)
    elif code == _FIGCAPTION:
        payload = _add_caption(tree)
    serial = _push(tree, code, payload)
    if flags & _FORMATTING:
        _add_format(tree, code, serial, payload if code == _A else -1)
    elif flags & _MARKER:
        _add_format(tree, 0, 0, 0)
    return True


@compile_kernel
def _add_figure(tree: Numbers) -> int:
    """The row of a figure that is about to begin."""
    outer, row = _find_open(tree, _FIGURE, 0), tree[_NUM_ROWS, 0]
    tree[row, OUTER] = tree[outer, _PAYLOAD] if outer >= 0 else -1
    tree[row, DEPTH] = tree[_OPEN, 0]
    tree[row, FIRST_CAPTION] = -1
    tree[_NUM_ROWS, 0] += 1
    return row


@compile_kernel
def _add_caption(tree: Numbers) -> int:
    """The row of a figcaption that is about to begin: the first one of figures around it that have none yet.

    One in a template is in no figure.
    """
    row = tree[_NUM_ROWS, 0]
    tree[row, FIRST] = tree[row, LAST] = tree[_NOW, 0]
    tree[_NUM_ROWS, 0] += 1
    is_one = tree[_NAME_ROWS + _FIGCAPTION, 0] < _NESTED_CAPTIONS and tree[_NAME_ROWS + _TEMPLATE, 0] == 0
    place = _find_open(tree, _FIGURE, 0) if is_one else -1
    figure = tree[place, _PAYLOAD] if place >= 0 else -1
    while figure >= 0 and tree[figure, FIRST_CAPTION] < 0:
        tree[figure, FIRST_CAPTION] = row
        figure = tree[figure, OUTER]
    return row


@compile_kernel
def _end_form(tree: Numbers) -> bool:
    """Ends the form but nothing in it."""
    tree[_HAS_FORM, 0] = 0
    place = _find_open(tree, _FORM, _SCOPE)
    if place < 0:
        return False
    _close_implied(tree, 0)
    if place < tree[_OPEN, 0]:
        _remove(tree, place)
    return True


@compile_kernel
def _end_heading(tree: Numbers) -> bool:
    for place in range(tree[_OPEN, 0] - 1, -1, -1):
        flags = _flags_of(tree, tree[place, _CODE])
        if flags & _HEADING:
            _cut(tree, place)
            return True
        if flags & _SCOPE:
            break
    return False


@compile_kernel
def _end(tree: Numbers, code: int, flags: int) -> bool:
    """An end tag; whether it has an effect."""
    if flags & _IGNORED:
        return False
    if flags & _FORMATTING:
        return _end_format(tree, code)
    if code == _FORM and tree[_NAME_ROWS + _TEMPLATE, 0] == 0:
        return _end_form(tree)
    if flags & _HEADING:
        return _end_heading(tree)
    if code == _P:
        _close(tree, _P, _SCOPE | _BUTTON_SCOPE)
        return True
    if code == _BR:
        _reopen_formats(tree)
        return True
    if code == _LI:
        return _close(tree, _LI, _SCOPE | _LIST_SCOPE)
    if code == _TEMPLATE or flags & (_CELL | _MARKER):
        is_closed = _close(tree, code, _barriers_of(code, flags))
        if is_closed:
            _clear_formats(tree)
        return is_closed
    if flags & (_TABLE_PART | _IN_TABLE):
        return _end_in_table(tree, code)
    if flags & _ENDED or code in (_DD, _DT):
        return _close(tree, code, _SCOPE)
    return _close(tree, code, _SPECIAL)


@compile_kernel
def _barriers_of(code: int, flags: int) -> int:
    if code == _TEMPLATE:
        return 0
    return _TABLE_SCOPE if flags & _CELL else _SCOPE


@compile_kernel
def _look_around(tree: Numbers, elements: Numbers, row: int, place: int) -> None:
    """What an element is in, `ANCESTORS` levels up; the place of the element around it is given."""
    elements[row, LINK] = elements[row, FIGURE] = elements[row, LEVEL] = elements[row, PICTURE] = -1
    child, level = 0, 1
    if place >= 0 and tree[place, _CODE] == _PICTURE:
        elements[row, PICTURE] = tree[place, _PAYLOAD]
    while place >= 0 and level <= ANCESTORS:
        code = tree[place, _CODE]
        flags = _flags_of(tree, code)
        if flags & _TABLE_PART and not child & (_TABLE_PART | _CELL):  # it is moved in front of the table
            place = _find_below(tree, place)
            child = 0
            continue
        if code == _FIGURE and elements[row, FIGURE] < 0:
            elements[row, FIGURE], elements[row, LEVEL] = tree[place, _PAYLOAD], level
        elif code == _A and elements[row, LINK] < 0:
            elements[row, LINK] = tree[place, _PAYLOAD]
        child = flags
        place -= 1
        level += 1


@compile_kernel
def _find_below(tree: Numbers, place: int) -> int:
    """The place of the element around a table of which a part is given."""
    while place >= 0 and tree[place, _CODE] != _TABLE:
        place -= 1
    return place - 1


@compile_kernel
def _make_room(tags: Numbers, flags: Numbers) -> tuple[Numbers, int]:
    """The array that holds all, with nothing open, and how many elements may say something."""
    num_rows = num_elements = is_strict = 0
    for token in range(len(tags)):
        code = tags[token, 0]
        num_rows += code in (_FIGURE, _FIGCAPTION)
        is_strict |= code == _DOCTYPE
        num_elements += 0 < code < len(flags) and flags[code] & (_EMITTED | _AN_IMAGE) > 0
    end_rows = (len(tags) + _COLUMNS - 1) // _COLUMNS
    tree = np.empty((ENDS + end_rows + num_rows, _COLUMNS), np.int64)
    tree[_OPEN:_NAME_ROWS] = 0
    for token in range(len(tags)):
        _set_end(tree, token, token)
    tree[_NAME_ROWS : _NAME_ROWS + _NUM_NAMES, 0] = 0
    tree[_NAME_ROWS : _NAME_ROWS + _NUM_NAMES, 1] = flags
    tree[_NUM_ROWS, 0] = ENDS + end_rows
    tree[_QUIRKS, 0] = not is_strict
    return tree, num_elements


@compile_kernel
def find_surroundings(tags: Numbers, flags: Numbers) -> tuple[Numbers, Numbers]:
    """Finds what is around the elements that may say something.

    Args:
        tags: As `html_tokens.scan_tags` gives them; those without an effect get the code `NO_EFFECT`.
        flags: `FLAGS`.

    Returns:
        Elements, [number, 5]: its tag and, where it is near enough, else -1, the tag of the link around it, the row of
        the figure, how many levels up that is, and the tag of the picture that it is in directly. And rows, of which
        those of figures hold the row of the figure around it or -1, its depth, the row of its first figcaption or -1,
        those of figcaptions their tag and the tag that they end with; and those from `ENDS` on, for every tag, the tag
        that ends the element that begins with it: itself where none does, see `ends_of`.
    """
    tree, max_elements = _make_room(tags, flags)
    elements = np.empty((max_elements, 5), np.int64)
    num_elements = last_end = 0
    for token in range(len(tags)):
        code, start = tags[token, 0], tags[token, 1]
        tree[_NOW, 0] = token
        if tree[_FORMATS, 0] and start > last_end and not _flags_of(tree, _top(tree)) & (_RAW | _TABLE_PART):
            _reopen_formats(tree)  # they go on in a text
        last_end = tags[token, 2]
        if code == 0:
            continue
        bits = _flags_of(tree, abs(code))
        if code < 0:
            has_effect = _end(tree, -code, bits)
        else:
            has_effect = _start(tree, code, bits)
            is_emitted = bits & _AN_IMAGE or (bits & _EMITTED and tags[token + 1, 3] > tags[token, 3])
            if is_emitted and tree[_NAME_ROWS + _TEMPLATE, 0] == 0:
                elements[num_elements, TOKEN] = token
                has_content = has_effect and bits & _VOID == 0 and _top(tree) == code
                _look_around(tree, elements, num_elements, tree[_OPEN, 0] - 1 - has_content)
                num_elements += 1
        if not has_effect and code != _HTML:
            tags[token, 0] = NO_EFFECT
    tree[_NOW, 0] = len(tags) - 1
    _cut(tree, 0)
    return elements[:num_elements], tree


def ends_of(rows: Numbers, first: int, last: int) -> list[int]:
    """The ends of the elements that begin with some tags, in the rows that `find_surroundings` gives."""
    ends: list[int] = rows.reshape(-1)[ENDS * _COLUMNS + first : ENDS * _COLUMNS + last].tolist()
    return ends
