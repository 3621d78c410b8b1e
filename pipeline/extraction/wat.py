"""WAT records ► candidates: the images of a page as Common Crawl's metadata files list them.

In: the JSON of WAT metadata records. Out: for each a `Page`, or why it is left out, or None for a record about no
answer. WAT lists src, alt and title of an img, and the page's meta elements: a twentieth of the bytes of WARC, without
lazy attributes, srcset and captions.
Source: commoncrawl/ia-web-commons (the extractor), IIPC Web Archive Transformation specification.
"""

from collections.abc import Iterator, Sequence
from itertools import compress, repeat
from typing import Final

from pipeline.drops import DropReason
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.page_metadata import (
    NO_CANDIDATE,
    find_card_images,
    forbids_use,
    page_resolver,
    resolve_find,
    says_something,
)
from pipeline.extraction.pages import DEFAULT_RULES, PageRules
from pipeline.extraction.wat_page import WatPage, decode_record, unescape
from pipeline.urls import UrlResolver
from vocab.compiled import find_obstacle

_MARK_OF_ANSWER: Final = b'"HTTP-Response-Metadata"'
_MARK_OF_HTML: Final = b'"HTML-Metadata"'


def parse_wat(record: bytes, rules: PageRules = DEFAULT_RULES) -> Page | DropReason | None:
    """Finds the images of the page that a WAT record is about.

    Args:
        record: The JSON of one metadata record.
        rules: How pages are read.

    Returns:
        None when the record is about a request or about the crawl.
    """
    [outcome] = parse_wats([record], rules, is_compiled=False)
    return outcome


def parse_wats(
    records: Sequence[bytes], rules: PageRules = DEFAULT_RULES, *, is_compiled: bool
) -> Iterator[Page | DropReason | None]:
    """Does the same for many records.

    Args:
        records: As long together as may be in memory several times.
        rules: How pages are read.
        is_compiled: Whether to use compiled code, which pays from some thousand records on; the outcome is the same.
    """
    answers = [_MARK_OF_HTML in record and _MARK_OF_ANSWER in record for record in records]
    scanned = iter(_scan(list(compress(records, answers))) if is_compiled else repeat(None))
    for record, is_answer in zip(records, answers, strict=True):
        if not is_answer:
            yield _refuse_record(record)
            continue
        found = next(scanned)
        if not (isinstance(found, WatPage) and (found.images or found.num_bare)) and not _may_hold_images(record):
            yield Page("", "", [])
            continue
        page = decode_record(record) if found is None else found
        yield _read_page(page, rules) if isinstance(page, WatPage) else page


def _refuse_record(record: bytes) -> DropReason | None:
    """What becomes of a record that describes no HTML."""
    if _MARK_OF_ANSWER in record:
        return DropReason.NOT_HTML
    return None if record.rstrip().endswith(b"}") else DropReason.CUT_JSON


def _may_hold_images(record: bytes) -> bool:
    return b"IMG@" in record or b"og:image" in record or b"twitter:image" in record


def _scan(records: Sequence[bytes]) -> list[WatPage | DropReason | None]:
    if find_obstacle():
        return [None] * len(records)
    from pipeline.extraction.wat_scan import scan_records  # loads numba

    return scan_records(records)


def _read_page(page: WatPage, rules: PageRules) -> Page | DropReason:
    if page.metas and forbids_use(page.metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    resolver = page_resolver(url=page.url, base=unescape(page.base))
    candidates: list[Candidate] = []
    for url, alt, title, num_plain in page.images:
        address = resolver.resolve_plain(url[:num_plain]) if num_plain else None
        if address and alt and not rules.all_texts and "&" not in alt and not alt.isspace():
            candidates.append(Candidate(address, alt, "alt"))  # what most of them come to, at once
        elif texts := _image_texts(alt, title, rules):
            found = address or _image_address(unescape(url), resolver, rules)
            candidates += [Candidate(found, text, source) for text, source in texts]
        else:
            candidates.append(NO_CANDIDATE)
    candidates += [resolve_find(find, resolver.resolve) for find in find_card_images(page.metas)]
    candidates += [NO_CANDIDATE] * page.num_bare
    return Page(page.url, "", candidates)


def _image_texts(alt: str, title: str, rules: PageRules) -> Sequence[tuple[str, str]]:
    """The texts wanted of an image, and where they stand."""
    alt = unescape(alt)
    if alt and not rules.all_texts and not alt.isspace():  # no text is better
        return ((alt, "alt"),)
    texts = [(text, source) for text, source in ((alt, "alt"), (unescape(title), "title")) if says_something(text)]
    return texts if rules.all_texts else texts[:1]


def _image_address(url: str, resolver: UrlResolver, rules: PageRules) -> str | DropReason:
    if url.startswith("data:"):
        return DropReason.DATA_URL
    reference = choose_reference({"src": url}, target_px=rules.target_px)
    return reference if isinstance(reference, DropReason) else resolver.resolve(reference) or DropReason.BAD_URL
