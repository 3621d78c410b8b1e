"""HTML: a list of pictures becomes a page, in the ways in which the web shows pictures.

In: a layout, pictures as (URL, text), a random generator. Out: HTML with the furniture that pages have (logo, avatar,
spacer, navigation), which an extractor must survive.
"""

import html
from collections.abc import Callable, Sequence
from random import Random

from jobs.demo.world.web import name_of

PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FILLER = (
    "More pictures from the collection are below.",
    "Drawn by hand and photographed in daylight.",
    "Click on a picture to see it at full size.",
    "Thank you for your kind letters about the last series.",
)


def render_page(title: str, layout: str, pictures: Sequence[tuple[str, str]], rng: Random, *, head: str = "") -> str:
    """Writes one HTML page.

    Args:
        title: Of the page.
        layout: A key of `LAYOUTS`.
        pictures: URL and text of each; all on the page's own host unless the layout allows others.
        rng: Source of the filler between pictures.
        head: Further HTML of the head, such as an opt-out.
    """
    blocks = [LAYOUTS[layout](url, html.escape(text, quote=True)) for url, text in pictures]
    filler = [f"<p>{rng.choice(FILLER)}</p>" if rng.random() < 0.3 else "" for _ in blocks]
    base = f'<base href="http://{name_of(pictures[0][0]).partition("/")[0]}/">' if layout == "base" else ""
    body = "\n".join(f"{block}{text}" for block, text in zip(blocks, filler, strict=True))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"{base}{head}</head>\n<body><header>"
        f'<a href="/"><img src="/static/logo.png" alt="logo"></a><img src="/static/spacer.gif" alt="">'
        f'<nav><a href="/about">About</a> <a href="/archive">Archive</a></nav></header>\n'
        f"<main><h1>{html.escape(title)}</h1>\n{body}\n</main>"
        f'<footer><img src="/static/avatar.png" alt="avatar"><img src="{PLACEHOLDER}" alt="tracker">'
        f"</footer></body></html>\n"
    )


def _path(url: str) -> str:
    return "/" + name_of(url).partition("/")[2]


def _plain(url: str, text: str) -> str:
    return f'<img src="{_path(url)}" alt="{text}">'


def _figure(url: str, text: str) -> str:
    return f'<figure><img src="{_path(url)}"><figcaption>{text}</figcaption></figure>'


def _lazy(url: str, text: str) -> str:
    return f'<img class="lazyload" src="{PLACEHOLDER}" data-src="{url}" alt="{text}">'


def _srcset(url: str, text: str) -> str:
    small = _path(url).replace("/pictures/", "/thumbs/")
    return f'<img srcset="{small} 24w, {_path(url)} 96w" sizes="96px" alt="{text}">'


def _base(url: str, text: str) -> str:
    return f"<img src={_path(url)[1:]} alt='{text}'>"


def _title(url: str, text: str) -> str:
    return f'<img src="{_path(url)}" alt="" title="{text}">'


def _protocol_relative(url: str, text: str) -> str:
    return f'<p><a href="{_path(url)}"><IMG ALT="{text}" SRC="//{name_of(url)}"></a></p>'


LAYOUTS: dict[str, Callable[[str, str], str]] = {
    "plain": _plain,
    "figure": _figure,
    "lazy": _lazy,
    "srcset": _srcset,
    "base": _base,
    "title": _title,
    "protocol-relative": _protocol_relative,
}
