"""Pages ► candidates: every image of an HTML page with the text that describes it.

In: the bytes of a page and where it was found. Out: a `Page`, or why it is left out. The address of an image may stand
in src, a lazy attribute, srcset or the picture around it; its text in alt, a figcaption, title, aria-label, the title
of a link around it, the page's metadata (Open Graph, Twitter card), or JSON-LD. A page whose owner forbids its use is
left out.
Source: WHATWG HTML 4.8 (images), 4.4.12-13 (figures); ogp.me; schema.org ImageObject; notes on real pages in docs/.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from pipeline.drops import DropReason
from pipeline.extraction.candidates import Page
from pipeline.extraction.encodings import to_utf8
from pipeline.extraction.html_segments import split_html
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.page_metadata import (
    NAMES,
    NOTHING,
    Find,
    find_card_images,
    forbids_use,
    resolve_finds,
    says_something,
)

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})

_SELECTOR: Final = 'html, img, meta, base, picture, figcaption, a[title], script[type="application/ld+json"]'
_KNOWN_TAGS: Final = ("html", "img", "meta", "base", "picture", "figure", "figcaption", "a", "script")
# Numbers of tags are cheaper to read than their names.
_TAGS: Final = {node.tag_id: node.tag for tag in _KNOWN_TAGS for node in LexborHTMLParser(f"<{tag}>").css(tag)}
_ANCESTORS: Final = 8  # how far up a figure or link is looked for
_JSON_LD_NODES: Final = 10_000
_XHTML: Final = "application/xhtml+xml"
_NO_EVENTS: Final = int(LexborDocumentOptions.WO_EVENTS)  # no element is copied into another
_SELF_CLOSED: Final = re.compile(rb"<(script|style|title|iframe|textarea|noscript|a|div|span|p)\b([^<>]{0,2000})/>")
_TEXT_ATTRIBUTES: Final = ("alt", "title", "aria-label")
_IMAGE_TEXTS: Final = ("alt", "figcaption", "title", "aria-label", "link-title")


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
    html = to_utf8(html, charset)
    if mime == _XHTML:
        html = _SELF_CLOSED.sub(rb"<\1\2></\1>", html)
    found = [_read_segment(segment, rules) for segment in split_html(html)]
    metas = [*headers, *(meta for segment in found for meta in segment.metas)]
    if forbids_use(metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    url = url or next((content for name, content in metas if name == "og:url"), "")
    base = next((segment.base for segment in found if segment.base), "")
    finds = [find for segment in found for find in segment.finds]
    finds += find_card_images(metas)
    return Page(url, found[0].language, resolve_finds(finds, url=url, base=base))


class _Segment(NamedTuple):
    """What one segment of a page holds; its tree, which may be large, is gone."""

    language: str
    base: str
    metas: list[tuple[str, str]]
    finds: list[Find]


def _read_segment(html: bytes, rules: PageRules) -> _Segment:
    nodes = defaultdict(list)
    tree = LexborHTMLParser(html, options=_NO_EVENTS)
    for node in tree.css(_SELECTOR):  # one walk: each costs a fourth of parsing
        nodes[_TAGS.get(node.tag_id, "")].append(node)
    finds = _find_images(
        nodes["img"],
        has_pictures=bool(nodes["picture"]),
        has_context=bool(nodes["figcaption"] or nodes["a"]),
        rules=rules,
    )
    return _Segment(
        language=_page_language(nodes["html"]),
        base=next((href for node in nodes["base"] if (href := node.attributes.get("href"))), ""),
        metas=list(_read_metas(nodes["meta"])),
        finds=[*finds, *_find_json_ld(nodes["script"])],
    )


def _find_images(
    images: Sequence[LexborNode], *, has_pictures: bool, has_context: bool, rules: PageRules
) -> Iterator[Find]:
    for image in images:
        attributes = image.attributes
        alt = attributes.get("alt")
        if alt and not rules.all_texts and not alt.isspace():  # no text is better
            texts = [(alt, "alt")]
        else:
            texts = _image_texts(image, attributes, has_context=has_context)
        if not texts:
            yield NOTHING
            continue
        srcsets = _picture_srcsets(image) if has_pictures else []
        reference = choose_reference(attributes, srcsets, target_px=rules.target_px)
        for text, source in texts if rules.all_texts else texts[:1]:
            yield Find(reference, text, source)


def _image_texts(
    image: LexborNode, attributes: Mapping[str, str | None], *, has_context: bool
) -> list[tuple[str, str]]:
    """The texts of an image and where they stand, the best one first."""
    texts = [(value, name) for name in _TEXT_ATTRIBUTES if (value := attributes.get(name)) and not value.isspace()]
    if has_context:
        texts = sorted(texts + _context_texts(image), key=lambda text: _IMAGE_TEXTS.index(text[1]))
    return texts


def _context_texts(image: LexborNode) -> list[tuple[str, str]]:
    """The caption of the nearest figure around an image, and the title of the nearest link."""
    found: dict[str, str] = {}
    node = image.parent
    for _ in range(_ANCESTORS):
        if node is None:
            break
        tag = _TAGS.get(node.tag_id)
        if tag == "figure" and "figcaption" not in found and (caption := node.css_first("figcaption")):
            found["figcaption"] = caption.text(separator=" ")
        elif tag == "a" and "link-title" not in found:
            found["link-title"] = node.attributes.get("title") or ""
        node = node.parent
    return [(text, source) for source, text in found.items() if says_something(text)]


def _picture_srcsets(image: LexborNode) -> list[str]:
    parent = image.parent
    if parent is None or parent.tag != "picture":
        return []
    sources = [node.attributes for node in parent.iter() if node.tag == "source"]
    return [value for source in sources for name in ("data-srcset", "srcset") if (value := source.get(name))]


def _find_json_ld(scripts: Iterable[LexborNode]) -> Iterator[Find]:
    """The ImageObjects of a page's JSON-LD that carry a caption."""
    for script in scripts:
        text = script.text()
        if "ImageObject" not in text:
            continue
        try:
            todo: list[Any] = [msgspec.json.decode(text.strip().encode())]
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            continue
        for _ in range(_JSON_LD_NODES):
            if not todo:
                break
            node = todo.pop()
            if isinstance(node, list):
                todo += reversed(node)
            elif isinstance(node, dict):
                todo += reversed(list(node.values()))
                if "ImageObject" in (node.get("@type") or ()):
                    yield from _image_object(node)


def _image_object(node: dict[str, Any]) -> Iterator[Find]:
    reference = node.get("contentUrl") or node.get("url")
    text = next((node[key] for key in ("caption", "description", "name") if isinstance(node.get(key), str)), "")
    if isinstance(reference, str) and says_something(text):
        yield Find(reference, text, "json-ld")


def _read_metas(metas: Iterable[LexborNode]) -> Iterator[tuple[str, str]]:
    """Name and content of the meta elements that matter, names in lower case."""
    for meta in metas:
        attributes = meta.attributes
        name = (attributes.get("name") or attributes.get("property") or "").lower()
        if name in NAMES and (content := attributes.get("content")):
            yield name, content


def _page_language(roots: Sequence[LexborNode]) -> str:
    attributes = roots[0].attributes if roots else {}
    language = (attributes.get("lang") or attributes.get("xml:lang") or "").strip().lower()
    return language if len(language) <= 35 and language.isascii() else ""  # RFC 5646 4.4.1
