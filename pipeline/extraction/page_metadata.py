"""What the metadata of a page says, whether it is read from HTML or from a WAT record.

In: names and contents of its meta elements and header lines, also of those that say whether its owner forbids its use
(`pipeline.web.optouts`). Out: the images of its social media cards. `Find` is what both readers find; `resolve_finds`
makes candidates of it.
Source: ogp.me (structured properties); Twitter card mark-up.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Candidate
from pipeline.web.optouts import SIGNAL_NAMES
from pipeline.web.urls import UrlResolver

_CARDS: Final = (
    ("og", frozenset({"og:image", "og:image:url", "og:image:secure_url"}), "og:image:alt"),
    ("twitter", frozenset({"twitter:image", "twitter:image:src"}), "twitter:image:alt"),
)
# The names of meta elements and header lines that mean something here.
NAMES: Final = SIGNAL_NAMES | {"og:url"} | {name for _, images, alt in _CARDS for name in (*images, alt)}


class Find(NamedTuple):
    """An image and a text as they stand in a page; the reference may be relative."""

    reference: str | DropReason
    text: str
    text_source: str


# An image without a text.
NOTHING: Final = Find(DropReason.NO_TEXT, "", "")
NO_CANDIDATE: Final = Candidate(DropReason.NO_TEXT, "", "")


def says_something(text: str | None) -> bool:
    """Whether a text is there and not white space only."""
    return bool(text) and not str(text).isspace()


def find_card_images(metas: Sequence[tuple[str, str]]) -> Iterator[Find]:
    """The images of a page's social media cards; an alt belongs to the image before it, or to the first one."""
    names = {name for name, _ in metas}
    for text_source, image_names, alt_name in _CARDS:
        if image_names.isdisjoint(names):
            continue
        references: list[str] = []
        alts: list[str] = []
        for name, content in metas:
            if name in image_names:
                references.append(content)
            elif name == alt_name:
                alts += [""] * (len(references) - 1 - len(alts)) + [content]
        for index, reference in enumerate(dict.fromkeys(references)):
            text = alts[index] if index < len(alts) and says_something(alts[index]) else ""
            yield Find(reference, text, text_source if text else "")


def resolve_finds(finds: Iterable[Find], *, url: str, base: str, encoding: str = "utf-8") -> list[Candidate]:
    """Makes candidates of finds.

    Args:
        finds: As they stand in the page.
        url: Of the page; may be empty.
        base: The href of its base element; may be empty.
        encoding: Of the page, in which the queries of its references are escaped.
    """
    resolve = page_resolver(url=url, base=base, encoding=encoding).resolve
    return [NO_CANDIDATE if find is NOTHING else resolve_find(find, resolve) for find in finds]


def page_resolver(*, url: str, base: str, encoding: str = "utf-8") -> UrlResolver:
    """What resolves the references of a page; see `resolve_finds`."""
    return UrlResolver((base and UrlResolver(url, encoding).resolve(base)) or url, encoding)


def resolve_find(find: Find, resolve: Callable[[str], str | None]) -> Candidate:
    """Makes a candidate of a find."""
    reference, text, text_source = find
    if not text:
        return NO_CANDIDATE
    if isinstance(reference, DropReason):
        return Candidate(reference, text, text_source)
    return Candidate(resolve(reference) or DropReason.BAD_URL, text, text_source)
