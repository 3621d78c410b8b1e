"""Names of HTML elements and attributes: what is read of them, and what the pass over a page's bytes has to know.

In: nothing. Out: the attributes that are read, element by element, and the tables of `html_tokens.scan_tags`.
Source: WHATWG HTML 13.2.5 (raw text), 13.2.6.5 (foreign content).
"""

import functools
from typing import Final, NamedTuple

import numpy as np

from pipeline.extraction.image_references import REFERENCE_ATTRIBUTES
from pipeline.extraction.page_metadata import NAMES
from vocab.kernels.html_tokens import (
    BREAKS_OUT,
    FOREIGN,
    HTML_ONLY,
    INTEGRATES,
    PLAIN_TEXT,
    RAW_TEXT,
    SCRIPT,
    Numbers,
    Tables,
    index_names,
)
from vocab.kernels.html_tree import CODES

JSON_LD: Final = tuple(f"application/ld+json{rest}" for rest in ("", ";charset=utf-8", "; charset=utf-8", ";", " "))

_OF_IMAGES: Final = ("alt", "title", "aria-label", *REFERENCE_ATTRIBUTES)
META_NAMES: Final = ("name", "property", "http-equiv")
# Elements, and their attributes that are read.
WANTED: Final = {
    "html": ("lang", "xml:lang"),
    "base": ("href",),
    "meta": (*META_NAMES, "content"),
    "script": ("type",),
    "img": _OF_IMAGES,
    "image": _OF_IMAGES,
    "source": ("data-srcset", "srcset"),
    "a": ("title",),
}
_TELLING: Final = (*META_NAMES, "type")  # they come first, see `html_tokens.TELLING`
ATTRIBUTES: Final = ("", *dict.fromkeys((*_TELLING, *(name for names in WANTED.values() for name in names))))

_KINDS: Final = {
    RAW_TEXT: "style title textarea iframe noembed noframes xmp",
    SCRIPT: "script",
    PLAIN_TEXT: "plaintext",
    FOREIGN: "svg math",
    INTEGRATES: "foreignobject desc title mi mo mn ms mtext",
    BREAKS_OUT: "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing "
    "menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var",
}
_FOREIGN_TOO: Final = f"{_KINDS[FOREIGN]} {_KINDS[INTEGRATES]} script style font image"


class PassTables(NamedTuple):
    """The arguments of `html_tokens.scan_tags` after the page."""

    tag_keys: Numbers
    tag_codes: Numbers
    kinds: Numbers
    wanted: Numbers
    tables: Tables


@functools.cache
def pass_tables() -> PassTables:
    """What the pass over bytes has to know of names."""
    kinds, wanted = np.zeros(len(CODES) + 1, np.int64), np.zeros(len(CODES) + 1, np.int64)
    for kind, tags in _KINDS.items():
        for tag in tags.split():
            kinds[CODES[tag]] |= kind
    for tag in CODES.keys() - set(_FOREIGN_TOO.split()):
        kinds[CODES[tag]] |= HTML_ONLY
    numbers = {name: number for number, name in enumerate(ATTRIBUTES) if name}
    for tag, names in WANTED.items():
        wanted[CODES[tag]] = sum(1 << numbers[name] for name in names)
    values = index_names(dict.fromkeys((*NAMES, *JSON_LD), 1))
    return PassTables(*index_names(CODES), kinds, wanted, (*index_names(numbers), *values))
