"""What the readers of pages, WAT records and tables have in common: an image and a text that may become a pair."""

from typing import NamedTuple

from pipeline.base.drops import DropReason

# From the text that describes an image best to the one that does worst; also who wins among duplicates.
TEXT_SOURCES = (
    "alt", "figcaption", "caption", "json-ld", "microdata", "title", "aria-label", "area", "link-title", "og",
    "twitter", "table",
)  # fmt: skip


class Candidate(NamedTuple):
    """An image found with a text, or with the reason why the two make no pair.

    Attributes:
        image_url: Canonical URL, or why there is none.
        text: As found, entities decoded, white space as it was; empty when there is none.
        text_source: One of `TEXT_SOURCES`; empty when there is no text.
    """

    image_url: str | DropReason
    text: str
    text_source: str


class Page(NamedTuple):
    """A page and its candidates.

    Attributes:
        url: Address of the page; empty when unknown.
        language: As the page declares it, in lower case; empty when it does not.
        candidates: Every image of the page, in its order; those without a text may come last.
        num_json_lds: Its JSON-LD scripts that name an image.
        num_unread: Those of them that could not be read, or not whole.
    """

    url: str
    language: str
    candidates: list[Candidate]
    num_json_lds: int = 0
    num_unread: int = 0
