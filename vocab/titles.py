"""Titles: the names of the articles that people look at.

In: page views by title (`pageviews`), and a dump's articles and redirects. Out: titles with their views; the views of
a redirect count for the article it leads to.

Source: Radford et al. 2021, section 2.2 ("the names of all Wikipedia articles above a certain search volume");
https://www.mediawiki.org/wiki/Manual:Page_title (spelling), https://www.mediawiki.org/wiki/Help:Redirects.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.sums import add_up
from vocab.known_titles import capitalize
from vocab.normalize import Normalization
from vocab.pageviews import VIEWS

TITLES = pa.schema(
    [
        pa.field("title", pa.string(), nullable=False),
        pa.field("target", pa.string()),  # null: an article
        pa.field("is_disambiguation", pa.bool_()),  # null: not known
    ]
)
SELECTED_TITLES = pa.schema([*VIEWS, pa.field("display", pa.string(), nullable=False)])  # as the most viewed is spelled

_NUM_DOUBLINGS = 4  # follows chains of 16 redirects; MediaWiki itself follows one
_QUALIFIER = r"\s+\([^()]*\)$"
_LETTER, _LETTER_OR_NUMBER = r"\p{L}", r"[\p{L}\p{N}]"


def follow_redirects(views: pa.Table, titles: pa.Table) -> pa.Table:
    """Counts the views of every title for the article it leads to.

    A title that the dump does not have begins with a capital: most wikis do not tell the two apart (wiktionaries do).
    Of redirects in a circle, none leads to an article, and each keeps views of its own or of its neighbour.

    Args:
        views: VIEWS.
        titles: TITLES of a dump.
    """
    found = views["title"]
    found = pc.if_else(pc.is_in(found, value_set=titles["title"]), found, capitalize(found))
    redirects = _resolve(titles)
    target = redirects["target"].take(pc.index_in(found, value_set=redirects["title"]))
    return add_up([pa.table([pc.coalesce(target, found), views["views"]], schema=VIEWS)], VIEWS)


def only_articles(views: pa.Table, titles: pa.Table) -> pa.Table:
    """The rows whose title is an article of a dump."""
    articles = titles.filter(pc.is_null(titles["target"]))["title"]
    return views.filter(pc.is_in(views["title"], value_set=articles))


def without_namespaces(views: pa.Table, namespaces: Iterable[str]) -> pa.Table:
    """The rows whose title begins with the name of no namespace; for titles that no dump vouches for."""
    prefixes = pa.array(sorted(f"{name.lower()}:" for name in namespaces), pa.string())
    prefix = pc.utf8_lower(pc.replace_substring_regex(views["title"], r"^([^:]*:).*$", r"\1"))
    return views.filter(pc.invert(pc.is_in(prefix, value_set=prefixes)))


def without_titles(views: pa.Table, titles: Sequence[str]) -> pa.Table:
    """The rows of all other titles."""
    return views.filter(pc.invert(pc.is_in(views["title"], value_set=pa.array(titles, pa.string()))))


def without_disambiguations(views: pa.Table, titles: pa.Table) -> pa.Table:
    """The rows of all titles but those of pages that only tell subjects of one name apart."""
    of_no_subject = titles.filter(pc.fill_null(titles["is_disambiguation"], False))["title"]
    return views.filter(pc.invert(pc.is_in(views["title"], value_set=of_no_subject)))


def without_matches(views: pa.Table, patterns: Iterable[str]) -> pa.Table:
    """The rows whose title no expression is found in.

    Args:
        views: VIEWS.
        patterns: Regular expressions, RE2 syntax.
    """
    for pattern in patterns:
        views = views.filter(pc.invert(pc.match_substring_regex(views["title"], pattern)))
    return views


def check_pattern(pattern: str) -> None:
    """Tries out a regular expression.

    Raises:
        ValueError: When it is none in RE2 syntax.
    """
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{pattern!r} is no regular expression (RE2): {error}") from error


def select_titles(
    views: pa.Table,
    *,
    min_views: int,
    qualifiers: str = "strip",
    normalization: Normalization | None = None,
    max_chars: int = 256,
    numbers: bool = True,
) -> pa.Table:
    """The titles with enough views, in their normalised form, most viewed first.

    Of titles that read the same ("Mercury (planet)", "Mercury (element)") the most viewed counts: each is the name of
    an article of its own, and that must be above the volume, whatever else is called so.

    Args:
        views: VIEWS, by canonical title.
        min_views: Least views, of a title.
        qualifiers: What to do with the "(film)" at the end of a title: "strip", "keep" or "drop" the title.
        normalization: Which titles read the same; None: the default one.
        max_chars: Longest title; nobody describes a picture by a longer one (MetaCLIP 2 has 256).
        numbers: Whether titles without a letter are taken.

    Returns:
        SELECTED_TITLES; what has neither a letter nor a number is no title.
    """
    if qualifiers == "drop":
        views = views.filter(pc.invert(pc.match_substring_regex(views["title"], _QUALIFIER)))
    views = views.sort_by([("views", "descending"), ("title", "ascending")])
    display = views["title"]
    if qualifiers == "strip":
        display = pc.replace_substring_regex(display, _QUALIFIER, "")
    title = (normalization or Normalization()).normalize_queries(display.combine_chunks())
    spelled = pa.table([title, views["views"], display], schema=SELECTED_TITLES)
    best = spelled.group_by("title", use_threads=False).aggregate([("views", "first"), ("display", "first")])
    best = best.select(["title", "views_first", "display_first"]).rename_columns(SELECTED_TITLES.names)
    is_name = pc.match_substring_regex(best["title"], _LETTER_OR_NUMBER if numbers else _LETTER)
    enough = pc.and_(pc.greater_equal(best["views"], min_views), is_name)
    kept = best.filter(pc.and_(enough, pc.less_equal(pc.utf8_length(best["title"]), max_chars)))
    return kept.sort_by([("views", "descending"), ("title", "ascending")]).cast(SELECTED_TITLES)


def _resolve(titles: pa.Table) -> pa.Table:
    """(title, target) of all redirects, once each; the target is where a chain of them ends."""
    redirects = titles.filter(pc.is_valid(titles["target"]))
    redirects = redirects.group_by("title").aggregate([("target", "min")])  # two dumps may have two
    title, target = redirects["title"], pc.replace_substring_regex(redirects["target_min"], "#.*$", "")
    for _ in range(_NUM_DOUBLINGS):
        further = pc.coalesce(target.take(pc.index_in(target, value_set=title)), target)
        if further.equals(target):
            break
        target = further
    return pa.table([title, target], names=["title", "target"])
