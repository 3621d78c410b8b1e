"""Templates and pictures as text: pages for people, the same bytes for the same content.

In: a template beside the modules of a package and the values that it names; what draws on a figure. Out: HTML or
Markdown; SVG to put into a page. Pages extend ``page_layout.html.j2``, which has the looks of all, on a wide screen and
on a phone, in light and dark (`PALETTE`), and make tables and figures by the macros of ``page_parts.html.j2``.
"""

import functools
import io
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = {  # colours on a light screen and on a dark one
    "paper": ("#fdfdfb", "#15191c"),
    "card": ("#f3f4f1", "#1e2428"),
    "ink": ("#1d2327", "#e6e9ea"),
    "quiet": ("#667079", "#98a3aa"),
    "line": ("#d9dcd8", "#343c42"),
    "word": ("#0072b2", "#56b4e9"),
    "bigram": ("#d55e00", "#f0883e"),
    "title": ("#009e73", "#2fc79a"),
    "synset": ("#b0589b", "#d98ac4"),
    "total": ("#51606b", "#a9b6bf"),
    "below": ("#b9c0c4", "#4b555c"),
    "mark": ("#b3261e", "#ff8a80"),
}
COLORS = {name: light for name, (light, _) in PALETTE.items()}
_VARIABLES = {light: f"var(--{name})" for name, light in COLORS.items()}
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["quiet"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": COLORS["quiet"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 13,
    "grid.color": COLORS["line"],
    "legend.edgecolor": "none",
    "legend.facecolor": COLORS["paper"],
    "lines.linewidth": 2.4,
    "svg.fonttype": "none",
    "text.color": COLORS["ink"],
    "text.parse_math": False,
    "xtick.color": COLORS["quiet"],
    "ytick.color": COLORS["quiet"],
}
_INCHES = {"broad": (10, 4.4), "narrow": (5, 4)}  # of 72 units
_NOTE = "note: "
# What is not to be seen, but changes what is: control characters, and those that turn the direction of text around.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONG_WORD: Final = re.compile(r"\S{25}")  # no word of a language, and too broad for a column of a table
_SHORT_CHARS: Final = 16


class Share(float):
    """A share of a whole, shown in per cent."""


class Cell(NamedTuple):
    """What a cell of a table shows.

    Attributes:
        text: As it is read.
        kind: number; short: a text that stays in one line; long: one with a word that may be broken; or none of these.
    """

    text: str
    kind: str


def render_template(package: str, name: str, **values: Any) -> str:
    """Fills in a template of a package; in HTML, values are escaped, in Markdown by the filter `escape_markdown`."""
    return _environment(package).get_template(name).render(values)


@functools.cache
def _environment(package: str) -> Environment:
    """Where templates of a package are found, once compiled, and what they may use."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader(__package__, ".")]),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["palette"] = PALETTE
    environment.filters |= {"escape_markdown": escape_markdown, "cell": show_cell, "shown": clean_text}
    return environment


def escape_markdown(text: str) -> str:
    r"""A text as one that means itself in a cell of a Markdown table.

    >>> print(escape_markdown("a|b*\nrock 'n' roll"))
    a\|b\* rock 'n' roll
    """
    return re.sub(r"([\\`*_~\[\]<>|&])", r"\\\1", clean_text(" ".join(text.splitlines())))


def clean_text(text: str) -> str:
    r"""A text of anybody's with a mark in place of each character that nobody sees and that changes what is seen.

    >>> clean_text("a\x00b \u202egpj.exe")
    'a\ufffdb \ufffdgpj.exe'
    """
    return _UNSEEN.sub("\ufffd", text)


def show_cell(value: object) -> Cell:
    """What a cell shows of a value.

    >>> [show_cell(value).text for value in (1234, 0.25, 12.5, Share(0.5), Share(0.00004), "a text")]
    ['1,234', '0.250', '12.50', '50.0 %', '<0.1 %', 'a text']
    """
    if isinstance(value, Share):
        return Cell("<0.1 %" if 0 < value < 0.0005 else f"{value:.1%}".replace("%", " %"), "number")
    if isinstance(value, int):
        return Cell(f"{value:,}", "number")
    if isinstance(value, float):
        digits = ",.2f" if abs(value) >= 1 or not value else ".3f" if abs(value) >= 0.1 else ".3g"
        return Cell(format(value, digits), "number")
    text = clean_text(str(value))
    return Cell(text, "short" if len(text) <= _SHORT_CHARS else "long" if _LONG_WORD.search(text) else "")


def note(text: str) -> str:
    """The `gid` by which an artist shows a text when it is pointed at."""
    return _NOTE + text


def draw_svg(name: str, draw: Callable[["Figure"], None]) -> str:
    """A picture as two ``<svg>`` elements, of which a page shows one: ``broad``, and ``narrow`` on a phone.

    Args:
        name: Of the picture in its page.
        draw: Draws on an empty figure, with `COLORS` only; `is_narrow` tells it how much room there is.
    """
    return "".join(_draw_one(name, shape, draw) for shape in _INCHES)


def is_narrow(figure: "Figure") -> bool:
    """Whether a figure is that of a phone."""
    return bool(figure.get_figwidth() == _INCHES["narrow"][0])


def _draw_one(name: str, shape: str, draw: Callable[["Figure"], None]) -> str:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no word on fonts, nor on a home that is read-only
    from matplotlib import style  # late: it takes half a second, and most stages draw nothing
    from matplotlib.figure import Figure

    file = io.StringIO()
    own = {"svg.hashsalt": f"{name}-{shape}", "figure.figsize": _INCHES[shape]}
    with style.context(["default", _STYLE | own]):  # whatever the user's own style
        figure = Figure()
        draw(figure)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    svg = re.sub("#[0-9a-f]{6}", lambda color: _VARIABLES.get(color[0], color[0]), svg[svg.index("<svg") :])
    svg = svg.replace("<svg ", f'<svg class="{shape}" ', 1)
    return re.sub(r"""<g id=("[^"]*"|'[^']*')([^>]*)>""", _open_group, svg)


def _open_group(group: re.Match[str]) -> str:
    """Names of groups are not unique in a page; those that are notes become titles."""
    name, others = group[1][1:-1], group[2]
    return f"<g{others}>" + (f"<title>{name.removeprefix(_NOTE)}</title>" if name.startswith(_NOTE) else "")
