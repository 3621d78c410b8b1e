"""The text of an element as a browser shows it.

In: the bytes of a page, and the tags between the one that begins the element and the one that ends it. Out: its text;
only blocks, cells and line breaks part words. What is not shown is left out: scripts, styles, templates, drawings,
elements with the attribute hidden.
Source: WHATWG HTML 3.2.7 (innerText), 15.3.1 (hidden elements), 15.3.2-10 (blocks).
"""

import itertools
import re
from typing import Final

from pipeline.extraction.html_text import decode_text
from vocab.kernels.html_tokens import Numbers, unknown_code
from vocab.kernels.html_tree import CODES, NO_EFFECT, ends_of

_BLOCKS: Final = (
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset figcaption figure "  # noqa: E501
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li listing main menu nav ol optgroup option p "
    "plaintext pre search section summary table tbody td tfoot th thead tr ul xmp"
)
_HIDDEN: Final = (
    "script style template noscript iframe noembed noframes title textarea head datalist rp object audio video canvas"
)
_CODES: Final = {name: CODES.get(name) or unknown_code(name) for name in f"{_BLOCKS} {_HIDDEN}".split()}
_BLOCK_CODES: Final = frozenset(_CODES[name] for name in _BLOCKS.split())
_HIDDEN_CODES: Final = frozenset(_CODES[name] for name in _HIDDEN.split())
_NOT_DECODED: Final = frozenset(_CODES[name] for name in ("xmp", "plaintext"))
_IS_HIDDEN: Final = re.compile(
    rb"""\shidden(?:\s*=\s*["']?(?:hidden)?["']?)?(?=[\s/>])|\sstyle\s*=\s*["'][^"']*display\s*:\s*none""",
    re.IGNORECASE,
)
_NOT_SHOWN: Final = re.compile(rb"<(svg|annotation|annotation-xml)(?=[\s/>])", re.IGNORECASE)


def read_text(html: bytes, tags: Numbers, rows: Numbers, *, first: int, last: int) -> str:
    """The text between two tags.

    Args:
        html: The page.
        tags: See `html_tokens.scan_tags`.
        rows: See `html_tree.find_surroundings`.
        first: The row of the tag before it.
        last: The row of the tag behind it.
    """
    spans = tags[first : last + 1, :3].tolist()
    ends = ends_of(rows, first, last + 1)
    texts: list[str] = []
    shown_from, foreign = 0, b""
    for row, ((code, start, end), (_, next_start, _)) in enumerate(itertools.pairwise(spans), first):
        if foreign:
            if code not in (0, NO_EFFECT) or _ends(html, start, foreign):
                foreign = b""
        elif row >= shown_from and row > first:
            if code == 0:
                hidden = _NOT_SHOWN.match(html, start, end)
                foreign = hidden[1].lower() if hidden and html[end - 2] != ord("/") else b""
            elif code > 0 and (code in _HIDDEN_CODES or _IS_HIDDEN.search(html, start, end)):
                shown_from = ends[row - first]
            if abs(code) in _BLOCK_CODES:
                texts.append(" ")
        if end < next_start and row >= shown_from and not foreign:
            text = html[end:next_start].decode()
            texts.append(text if code in _NOT_DECODED else decode_text(text))
    return "".join(texts)


def _ends(html: bytes, start: int, name: bytes) -> bool:
    return html[start : start + 2 + len(name)].lower() == b"</" + name
