"""WAT records ► candidates: the images of a page as Common Crawl's metadata files list them.

In: the JSON of a WAT metadata record. Out: a `Page`, or why it is left out, or None for a record about no answer. WAT
lists src, alt and title of an img, and the page's meta elements: a twentieth of the bytes of WARC, without
lazy attributes, srcset and captions.
Source: commoncrawl/ia-web-commons (the extractor), IIPC Web Archive Transformation specification.
"""

import re
import string
from collections.abc import Sequence
from functools import partial
from typing import Final

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.image_references import choose_reference, is_placeholder
from pipeline.extraction.page_metadata import (
    NO_CANDIDATE,
    find_card_images,
    page_resolver,
    resolve_find,
    says_something,
)
from pipeline.extraction.pages import DEFAULT_RULES, PageRules
from pipeline.extraction.prescan import read_declaration
from pipeline.extraction.wat_links import cut_links
from pipeline.extraction.wat_page import Link, WatPage, decode_record, find_declarations, unescape
from pipeline.web.encodings import find_encoding
from pipeline.web.http import parse_charset
from pipeline.web.optouts import header_opt_out
from pipeline.web.urls import UrlResolver

_MARK_OF_ANSWER: Final = b'"HTTP-Response-Metadata"'
_MARK_OF_HTML: Final = b'"HTML-Metadata"'
# What addresses may hold without a closer look, besides escapes, and the mark before a fragment at their end.
PLAIN_CHARACTERS: Final = string.ascii_letters + string.digits + "_~.&=+,@!()*:/?-"

# Most addresses; `choose_reference` and `UrlResolver.resolve` would change nothing in them but an empty fragment, where
# they are no placeholders, not too long, and hold no segment that begins with a dot and no encoded label of a host.
# A semicolon may end a reference to a character.
_PLAIN: Final = re.compile(
    r"((?:(?:https?:)?//(?:[a-z0-9-]++\.)++[a-z][a-z0-9-]*+)?"
    rf"/(?!/)(?:[{PLAIN_CHARACTERS}]++|%(?:2[0-9A-CF]|3[A-F]|[89A-F][0-9A-F]))*+)#?"
)
_MAX_PLAIN_CHARS: Final = 2000

make_candidate: Final = partial(tuple.__new__, Candidate)  # in half the time


def parse_wat(record: bytes, rules: PageRules = DEFAULT_RULES) -> Page | DropReason | None:
    """Finds the images of the page that a WAT record is about.

    Args:
        record: The JSON of one metadata record.
        rules: How pages are read.

    Returns:
        None when the record is about a request or about the crawl.
    """
    if _MARK_OF_HTML not in record or _MARK_OF_ANSWER not in record:
        return _refuse_record(record)
    abridged = cut_links(record)
    if not abridged and not _may_hold_images(record):
        return Page("", "", [])
    page = decode_record(record, abridged)
    return _read_page(page, record, rules) if isinstance(page, WatPage) else page


def _refuse_record(record: bytes) -> DropReason | None:
    """What becomes of a record that describes no HTML."""
    if _MARK_OF_ANSWER in record:
        return DropReason.NOT_HTML
    return None if record.rstrip().endswith(b"}") else DropReason.CUT_JSON


def _may_hold_images(record: bytes) -> bool:
    return b"IMG@" in record or b"og:image" in record or b"twitter:image" in record


def _read_page(page: WatPage, record: bytes, rules: PageRules) -> Page | DropReason:
    if page.metas and header_opt_out(page.metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    resolver = page_resolver(url=page.url, base=unescape(page.base), encoding=_query_encoding(page, record))
    candidates: list[Candidate] = []
    num_bare = 0
    for image in page.images:
        alt = image.alt
        if not alt and not image.title:
            num_bare += 1
        elif alt and not rules.all_texts and "&" not in alt and not alt.isspace():  # most images that have a text
            address = _image_address(image.url or "", resolver, rules)
            candidates.append(make_candidate((address, alt, "alt")))
        else:
            candidates += read_image(image, resolver, rules)
    candidates += [resolve_find(find, resolver.resolve) for find in find_card_images(page.metas)]
    candidates += [NO_CANDIDATE] * num_bare
    return Page(page.url, "", candidates)


def read_image(image: Link, resolver: UrlResolver, rules: PageRules) -> list[Candidate]:
    """The candidates of an image with a text: one for each text that is wanted of it."""
    texts = _image_texts(image, rules)
    if not texts:
        return [NO_CANDIDATE]
    address = _image_address(image.url or "", resolver, rules)
    return [Candidate(address, text, source) for text, source in texts]


def _query_encoding(page: WatPage, record: bytes) -> str:
    """The encoding that a page declares, where it makes a difference to an address."""
    if not any(image.url and not image.url.isascii() and "?" in image.url for image in page.images):
        return "utf-8"
    content_types, metas = find_declarations(record)
    attributes = ({name.encode(): value.lower().encode() for name, value in meta.items()} for meta in metas)
    return find_encoding(parse_charset(content_types)) or next(filter(None, map(read_declaration, attributes)), "utf-8")


def _image_texts(image: Link, rules: PageRules) -> Sequence[tuple[str, str]]:
    """The texts wanted of an image, and where they stand."""
    alt = unescape(image.alt or "")
    if alt and not rules.all_texts and not alt.isspace():  # no text is better
        return ((alt, "alt"),)
    title = unescape(image.title or "")
    texts = [(text, source) for text, source in ((alt, "alt"), (title, "title")) if says_something(text)]
    return texts if rules.all_texts else texts[:1]


def _image_address(url: str, resolver: UrlResolver, rules: PageRules) -> str | DropReason:
    if url.startswith("data:"):
        return DropReason.DATA_URL
    plain = _PLAIN.fullmatch(url)
    is_plain = (
        plain and "/." not in url and "xn--" not in url and len(url) <= _MAX_PLAIN_CHARS and not is_placeholder(url)
    )
    if plain and is_plain and (address := plain[1] if url[0] != "/" else resolver.resolve_plain(plain[1])):
        return address
    reference = choose_reference({"src": unescape(url)}, target_px=rules.target_px)
    return reference if isinstance(reference, DropReason) else resolver.resolve(reference) or DropReason.BAD_URL
