"""Names of HTML elements and attributes: what is read of them, and what the pass over a page's bytes has to know.

In: nothing. Out: the attributes that are read, element by element, and the tables of `html_tokens.scan_tags`.
Source: WHATWG HTML 13.2.5 (raw text), 13.2.6.5 (foreign content).
"""

import functools
from typing import Final, NamedTuple

import numpy as np

from pipeline.extraction.image_references import REFERENCE_ATTRIBUTES, SOURCE_ATTRIBUTES
from pipeline.extraction.page_metadata import NAMES
from vocab.kernels.html_tokens import (
    BREAKS_OUT,
    FOREIGN,
    HEADING,
    INTEGRATES,
    MATH,
    NEVER_OPEN,
    NOFRAMES,
    NOSCRIPT,
    OTHERS,
    PARAGRAPH,
    PLAIN_TEXT,
    RAW_TEXT,
    SCRIPT,
    Numbers,
    Tables,
    index_names,
)
from vocab.kernels.html_tree import CODES

JSON_LD: Final = tuple(f"application/ld+json{rest}" for rest in ("", ";charset=utf-8", "; charset=utf-8", ";", " "))
META_NAMES: Final = ("name", "property", "http-equiv")
IMAGE_INPUT: Final = "image"

_OF_IMAGES: Final = (
    "alt", "title", "aria-label", "aria-labelledby", "aria-describedby", "usemap", *REFERENCE_ATTRIBUTES,
)  # fmt: skip
# Elements, and their attributes that are read.
WANTED: Final = {
    "html": ("lang", "xml:lang"),
    "base": ("href",),
    "meta": (*META_NAMES, "content"),
    "script": ("type",),
    "img": _OF_IMAGES,
    "image": _OF_IMAGES,
    "amp-img": _OF_IMAGES,
    "amp-anim": _OF_IMAGES,
    "input": ("type", *_OF_IMAGES),
    "source": SOURCE_ATTRIBUTES,
    "a": ("title",),
}
# Elements of which all attributes are read whose names begin with data- and that may hold an address.
LAZY: Final = ("img", "image", "amp-img", "amp-anim", "source")
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
    NEVER_OPEN: "area base basefont bgsound br col embed hr image img input keygen link meta param source track wbr "
    "html head body frameset frame !doctype",
    HEADING: "h1 h2 h3 h4 h5 h6",
    PARAGRAPH: "p br",
    MATH: "math mi mo mn ms mtext",
    NOSCRIPT: "noscript",
    NOFRAMES: "noframes",
}


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
    numbers = {name: number for number, name in enumerate(ATTRIBUTES) if name}
    for tag, names in WANTED.items():
        wanted[CODES[tag]] = sum(1 << numbers[name] for name in names) | (OTHERS if tag in LAZY else 0)
    values = index_names(dict.fromkeys((*NAMES, *JSON_LD, IMAGE_INPUT), 1))
    return PassTables(*index_names(CODES), kinds, wanted, (*index_names(numbers), *values))
