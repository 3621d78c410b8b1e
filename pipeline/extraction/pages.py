"""Pages ► candidates: every image of an HTML page with the text that describes it.

In: the bytes of a page and where it was found. Out: a `Page`, or why it is left out. The address of an image may stand
in src, a lazy attribute, srcset, the picture around it or a noscript beside it; its text in alt, a caption, title, an
ARIA label, the areas of its map, the title of a link around it, the page's metadata (Open Graph, Twitter card), JSON-LD
or microdata. A page whose owner forbids its use is left out.
Source: WHATWG HTML 4.8 (images), 4.4.12-13 (figures); ogp.me; schema.org ImageObject; notes on real pages in docs/.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import TEXT_SOURCES, Page
from pipeline.extraction.encodings import decode_page
from pipeline.extraction.image_captions import TiedTexts
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.json_ld import find_json_ld
from pipeline.extraction.page_metadata import (
    NOTHING,
    Find,
    find_card_images,
    resolve_finds,
    says_something,
)
from pipeline.web.optouts import header_opt_out

if TYPE_CHECKING:
    from pipeline.extraction.html_elements import Elements, Image

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})

_CHARS_OF_A_TEXT: Final = 20  # what it costs to look at a short one
_XHTML: Final = "application/xhtml+xml"
_SELF_CLOSED: Final = re.compile(rb"<(script|style|title|iframe|textarea|noscript|a|div|span|p)\b([^<>]{0,2000})/>")
_TEXT_ATTRIBUTES: Final = ("alt", "title", "aria-label")
_IMAGE_TEXTS: Final = {source: rank for rank, source in enumerate(TEXT_SOURCES)}


class PageRules(NamedTuple):
    """How pages are read.

    Attributes:
        all_texts: One candidate for every text of an image, instead of one for its best text.
        target_px: Width wanted where a page offers an image in several.
        noindex: Whether robots noindex and noimageindex count as opt-outs.
    """

    all_texts: bool = False
    target_px: int = 336
    noindex: bool = True


DEFAULT_RULES: Final = PageRules()


def parse_page(
    html: bytes,
    url: str,
    *,
    mime: str = "text/html",
    charset: str = "",
    headers: Sequence[tuple[str, str]] = (),
    rules: PageRules = DEFAULT_RULES,
) -> Page | DropReason:
    """Finds the images of a page and their texts.

    Args:
        html: The page's bytes, decompressed.
        url: Where it was found; empty when unknown, then the page's own og:url is believed.
        mime: Its media type; XHTML closes elements in a way that HTML does not.
        charset: The charset of its Content-Type header; empty when there was none.
        headers: Its HTTP header lines, names in lower case, for what they say of its use.
        rules: How to read it.
    """
    from pipeline.extraction.html_elements import Elements  # loads numba
    from pipeline.extraction.microdata import find_item_images

    decoded = decode_page(html, charset=charset, url=url)
    if isinstance(decoded, DropReason):
        return decoded
    html, encoding = decoded
    if mime == _XHTML:
        html = _SELF_CLOSED.sub(rb"<\1\2></\1>", html)
    elements = Elements(html)
    metas = [*headers, *elements.metas]
    if header_opt_out(metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    url = url or next((content for name, content in metas if name == "og:url"), "")
    told = find_json_ld(elements.json_lds, all_texts=rules.all_texts, target_px=rules.target_px)
    finds = list(_find_images(elements, rules))
    for child in elements.children():
        finds += _find_images(child, rules)
    finds += told.finds
    finds += find_item_images(elements, target_px=rules.target_px)
    finds += find_card_images(metas)
    candidates = resolve_finds(finds, url=url, base=elements.base, encoding=encoding)
    return Page(url, _tidy_language(elements.language), candidates, told.num_scripts, told.num_unread)


def _find_images(elements: "Elements", rules: PageRules) -> Iterator[Find]:
    context = _Context(elements)
    for image in elements.images:
        alt = image.attributes.get("alt")
        if alt and not rules.all_texts and not alt.isspace():  # no text is better
            yield Find(_find_reference(image, context, rules.target_px), alt, "alt")
        elif texts := _image_texts(image, context):
            reference = _find_reference(image, context, rules.target_px)
            for text, source in texts if rules.all_texts else _best_texts(texts):
                yield Find(reference, text, source)
        else:
            yield NOTHING


def _find_reference(image: "Image", context: "_Context", target_px: int) -> str | DropReason:
    sources = context.sources(image) if image.picture >= 0 else ()
    reference = choose_reference(image.attributes, sources, target_px=target_px)
    if isinstance(reference, DropReason):
        return _noscript_reference(image, context, target_px) or reference
    return reference


def _best_texts(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The best text of an image; every area of its map is as good as the others."""
    return texts if texts[0][1] == "area" else texts[:1]


def _noscript_reference(image: "Image", context: "_Context", target_px: int) -> str:
    """The address that stands in a noscript beside an image that has none; empty when there is none without a text."""
    for other in context.elements.noscript_images(image):
        reference = choose_reference(other.attributes, context.sources(other), target_px=target_px)
        if not isinstance(reference, DropReason) and not _image_texts(other, context):
            return reference
    return ""


class _Context:
    """What is around images; not much more than the page holds, however many images are around it."""

    def __init__(self, elements: "Elements") -> None:
        self.elements = elements
        self._num_chars_left = 4 * elements.num_bytes
        self._tied = TiedTexts(elements)

    def texts(self, image: "Image") -> list[tuple[str, str]]:
        """The caption of the nearest figure around an image, the title of the nearest link, and texts tied to it."""
        texts = self._tied.find(image) if self._tied.may_have(image) else []
        if image.figure >= 0 and (caption := self.elements.caption(image.figure, image.level)):
            texts.append((caption, "figcaption"))
        if image.link >= 0 and (title := self.elements.link_title(image.link)):
            texts.append((title, "link-title"))
        return [text for text in texts if says_something(text[0]) and self._allows([text[0]])]

    def sources(self, image: "Image") -> Sequence[Mapping[str, str]]:
        """The attributes of every source in the picture around an image."""
        found = self.elements.sources.get(image.picture) if image.picture >= 0 else None
        return found if found and self._allows(text for source in found for text in source.values()) else ()

    def _allows(self, texts: Iterable[str]) -> bool:
        if self._num_chars_left >= 0:
            self._num_chars_left -= sum(len(text) + _CHARS_OF_A_TEXT for text in texts)
        return self._num_chars_left >= 0


def _image_texts(image: "Image", context: _Context) -> list[tuple[str, str]]:
    """The texts of an image and where they stand, the best one first."""
    attributes = image.attributes
    texts = context.texts(image)  # what labels it by id is put before its own label
    for name in _TEXT_ATTRIBUTES:
        if (value := attributes.get(name)) and not value.isspace():
            texts.append((value, name))
    return sorted(texts, key=lambda text: _IMAGE_TEXTS[text[1]]) if len(texts) > 1 else texts


def _tidy_language(language: str) -> str:
    language = language.strip().lower()
    return language if len(language) <= 35 and language.isascii() else ""  # RFC 5646 4.4.1
