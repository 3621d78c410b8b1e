"""A self-contained HTML page: its head and style, sections, tables and figures.

In: texts, numbers and pictures as SVG text. Out: the page as one string that needs no network and no script, readable
on dark and light screens and on paper. Everything that is not marked as HTML is escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --card: #f3f4f1; --ink: #1d2327; --quiet: #667079; --line: #d9dcd8;
  --word: #0072b2; --bigram: #d55e00; --title: #009e73; --synset: #b0589b; --total: #51606b; --below: #b9c0c4;
  --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15191c; --card: #1e2428; --ink: #e6e9ea; --quiet: #98a3aa;
  --line: #343c42; --word: #56b4e9; --bigram: #f0883e; --title: #2fc79a; --synset: #d98ac4; --total: #a9b6bf;
  --below: #4b555c; --mark: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 3.2rem 0 .4rem; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 1.4rem 0 .3rem; font-size: 1rem; }
p { max-width: 46rem; margin: .5rem 0; }
.lead { color: var(--quiet); font-size: 1.1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin: 1.6rem 0; }
.tile { padding: .8rem 1rem; border-radius: .5rem; background: var(--card); }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile span { color: var(--quiet); font-size: .85rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .95rem; }
a { color: var(--word); }
figure { margin: 1.2rem 0; }
figcaption { max-width: 46rem; color: var(--quiet); font-size: .9rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; }
th, td { padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0 2.5rem; }
.columns table { width: 100%; }
details { margin: .4rem 0; font-size: .92rem; }
summary { color: var(--quiet); cursor: pointer; }
svg text { fill: var(--ink); font-size: 13px; }
svg text.tick, svg text.axis-label, svg text.note { fill: var(--quiet); font-size: 12px; }
svg text.note { fill: var(--mark); }
svg text.value { font-variant-numeric: tabular-nums; font-size: 12px; fill: var(--quiet); }
.grid { stroke: var(--line); stroke-width: 1; }
.axis, .join { stroke: var(--quiet); stroke-width: 1.2; }
.mark { stroke: var(--mark); stroke-width: 1.4; stroke-dasharray: 5 4; }
.curve { fill: none; stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round; }
.curve.word { stroke: var(--word); } .curve.bigram { stroke: var(--bigram); } .curve.below { stroke: var(--below); }
rect.word, circle.word { fill: var(--word); } rect.bigram, circle.bigram { fill: var(--bigram); }
rect.title, circle.title { fill: var(--title); } rect.synset, circle.synset { fill: var(--synset); }
rect.total { fill: var(--total); } rect.below { fill: var(--below); } circle.outside { fill: var(--line); }
rect.stripe { fill: var(--card); }
.shared { opacity: .5; } rect.share { fill: var(--below); } rect.budget { fill: none; stroke: var(--below); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .3rem 0; font-size: .9rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; background: var(--total); }
.legend i.own, .legend i.shared { background: var(--word); }
.legend i.share, .legend i.below { background: var(--below); }
.legend i.budget { background: none; border: 1px solid var(--below); }
@media print { body { max-width: none; padding: 0; } details { display: none; } figure, tr { break-inside: avoid; } }
"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Section(NamedTuple):
    """A part of the page with a heading."""

    name: str
    heading: str
    content: Sequence[Html]


def render_page(title: str, lead: str, tiles: Iterable[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: Of the page.
        lead: A sentence below it.
        tiles: The most important figures, (figure, what it is).
        sections: What follows.
    """
    boxes = "\n".join(f'<div class="tile"><b>{escape(a)}</b><span>{escape(b)}</span></div>' for a, b in tiles)
    links = "\n".join(f'<a href="#{part.name}">{escape(part.heading)}</a>' for part in sections)
    bodies = "\n".join(
        f'<section id="{part.name}">\n<h2>{escape(part.heading)}</h2>\n{chr(10).join(part.content)}\n</section>'
        for part in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n<div class="tiles">\n{boxes}\n</div>\n'
        f"<nav>\n{links}\n</nav>\n</header>\n<main>\n{bodies}\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str) -> Html:
    """A paragraph of plain text."""
    return Html(f"<p>{escape(text)}</p>")


def figure(svg: str, caption: str, legend: Sequence[tuple[str, str]] = ()) -> Html:
    """A picture and what to see in it.

    Args:
        svg: The picture.
        caption: Goes below.
        legend: What its colours mean: (class, meaning).
    """
    marks = "".join(f'<span><i class="{kind}"></i>{escape(text)}</span>' for kind, text in legend)
    key = f'<div class="legend">{marks}</div>\n' if legend else ""
    return Html(f'<figure>\n<div class="wide">{svg}</div>\n{key}<figcaption>{escape(caption)}</figcaption>\n</figure>')


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, heading: str = "") -> Html:
    """A table; whole numbers get their thousands apart, fractions two places, and both are set to the right."""
    body = [list(row) for row in rows]
    numeric = [bool(body) and isinstance(body[0][column], int | float) for column in range(len(head))]
    titles = "".join(
        f'<th class="number">{escape(text)}</th>' if is_number else f"<th>{escape(text)}</th>"
        for text, is_number in zip(head, numeric, strict=True)
    )
    lines = [f"<tr>{titles}</tr>", *(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)]
    above = f"<h3>{escape(heading)}</h3>\n" if heading else ""
    return Html(f'{above}<div class="wide"><table>\n{chr(10).join(lines)}\n</table></div>')


def columns(parts: Iterable[Html]) -> Html:
    """Parts side by side where there is room."""
    return Html('<div class="columns">\n' + "\n".join(f"<div>{part}</div>" for part in parts) + "\n</div>")


def folded(summary: str, content: Html) -> Html:
    """Content that opens on demand."""
    return Html(f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>")


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.2f}</td>'
    return f'<td class="text">{escape(str(value))}</td>'
