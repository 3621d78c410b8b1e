"""Names that a wiki's software knows: of namespaces, behaviour switches, image options, redirects, other languages.

In: a `Site`. Out: its `WikiNames`: those of its language and of the languages that MediaWiki falls back to, English in
the end, and the namespaces that the dump itself lists. `wiki_names.json` holds what MediaWiki's message files say of
each language; `docs/make_wiki_names.py` writes it and says where all of it comes from.

Source: https://www.mediawiki.org/wiki/Help:Magic_words (switches, by case and without), Help:Images#Syntax,
Help:Namespaces, Manual:Interwiki#Interwiki_links_to_other_languages.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vocab.site import Site

TABLE_FILE: Final = Path(__file__).with_suffix(".json")

_ENGLISH = "en"
_MEDIA, _FILE, _TEMPLATE, _CATEGORY = -2, 6, 10, 14
_BLANKS = re.compile(r"[\s_\u180e]+")
_DIRECTIONS = re.compile(r"[\u200e\u200f\u202a-\u202e]+")
_DATABASE = re.compile(r"(.+?)(?:wiki|wiktionary)")
_VALUE = re.escape("$1")
_ANY_VALUE = r".*?"
# Values that MediaWiki takes for some options; with another, the words are the caption.
_VALUES = {
    "width": r"(?:[0-9]++(?:x[0-9]*+)?|x[0-9]++)\s*+(?:px)?\s*+",
    "upright": r"\s*+[-+]?(?:[0-9]++\.?|\.[0-9])[0-9]*+\s*+",
    "page": r"\s*+[0-9]++\s*+",
}


class ImageOption(NamedTuple):
    """What one part of a link to a file says of it."""

    name: str  # "thumbnail", "width", "alt", "link", ...: MediaWiki's name, not the wiki's word
    value: str  # what stands for $1; "" for words without


class WikiNames(NamedTuple):
    """The names of a wiki; namespaces as `fold_name` gives them."""

    language: str  # MediaWiki's code: "de"
    prefix: str  # by which other languages link to it: "de"; Commons and the like have none
    namespaces: frozenset[str]  # of all but the articles' namespace
    files: frozenset[str]  # `[[File:A.jpg|thumb|Caption]]` shows the file
    media: frozenset[str]  # `[[Media:A.ogg|label]]` is a link to the file itself, and shows its label
    categories: frozenset[str]  # `[[Category:A|sort key]]` shows nothing
    templates: frozenset[str]
    switches: re.Pattern[str]  # finds `__NOTOC__`, underscores included; MediaWiki takes them out of the text
    disambiguation: re.Pattern[str]  # finds `__DISAMBIG__`
    redirects: re.Pattern[str]  # matches `#REDIRECT` at the beginning
    image_options: re.Pattern[str]  # matches all of an option; see `find_image_option`
    other_languages: frozenset[str]  # prefixes of links that show nothing in the text
    is_case_sensitive: bool  # whether articles are told apart by the case of their first letter, as in Wiktionary

    def is_other_language(self, prefix: str) -> bool:
        """Whether ``[[prefix:Title]]`` leads to the same page in another language, and shows nothing in the text.

        >>> names = names_of(Site(host="en.wikipedia.org"))
        >>> [prefix for prefix in ("fr", "zh-min-nan", "Simple", "en", "re", "doi") if names.is_other_language(prefix)]
        ['fr', 'zh-min-nan', 'Simple']
        """
        return fold_name(prefix) in self.other_languages

    def find_image_option(self, part: str) -> ImageOption | None:
        """What a part between bars in a link to a file sets; None: it is the caption.

        >>> names = names_of(Site(host="de.wikipedia.org"))
        >>> [names.find_image_option(part) for part in ("hochkant=1.2", "200x100px", "mini", "Ein Hund")]
        [ImageOption(name='upright', value='1.2'), ImageOption(name='width', value='200x100'), \
ImageOption(name='thumbnail', value=''), None]
        """
        found = self.image_options.fullmatch(part.strip())
        if not found:
            return None
        values = (value for value in found.groups()[found.lastindex or 0 :] if value is not None)
        return ImageOption(found.lastgroup or "", next(values, "").strip())

    def is_article_title(self, title: str) -> bool:
        """Whether a title as a dump spells it has the name of no namespace before it."""
        name, colon, _ = title.partition(":")
        return not colon or fold_name(name) not in self.namespaces


def fold_name(name: str) -> str:
    """The form in which MediaWiki compares names of namespaces and prefixes.

    >>> fold_name(" Benutzer_Diskussion ")
    'benutzer diskussion'
    """
    return clean_title(name).lower()


def clean_title(title: str) -> str:
    """A title with single spaces only, none around it, and without marks of direction.

    >>> clean_title("\u200eBig_ __ dog_")
    'Big dog'
    """
    return _BLANKS.sub(" ", _DIRECTIONS.sub("", title)).strip()


@functools.cache
def names_of(site: Site) -> WikiNames:
    """The names of a wiki; English ones and those of all Wikimedia's wikis where nothing is known of it."""
    table = _read_table()
    language = _find_language(site, table)
    chain = _languages_of(language, table)
    namespaces = {fold_name(name): key for name, key in _namespaces(chain, site, table)}
    words = {id_: _words(id_, chain) for id_ in table["languages"][_ENGLISH]["words"]}
    any_case = frozenset(table["any_case"])
    prefix = _find_prefix(site, table) or ("" if site.host else language)
    options = {id_.partition("_")[2]: words[id_] for id_ in words if id_.startswith(("img_", "timedmedia_"))}

    def named(key: int) -> frozenset[str]:
        return frozenset(name for name, of_key in namespaces.items() if of_key == key)

    def finder(ids: Iterable[str]) -> re.Pattern[str]:
        return _compile_words([(word, id_ in any_case) for id_ in ids for word in words[id_]])

    return WikiNames(
        language=language,
        prefix=prefix,
        namespaces=frozenset(namespaces),
        files=named(_FILE),
        media=named(_MEDIA),
        categories=named(_CATEGORY),
        templates=named(_TEMPLATE),
        switches=finder(table["switches"]),
        disambiguation=finder(["disambiguation"]),
        redirects=finder(["redirect"]),
        image_options=_compile_options(options),
        other_languages=frozenset(table["wiki_languages"]) - {prefix},
        is_case_sensitive=site.is_case_sensitive,
    )


def _find_language(site: Site, table: dict[str, Any]) -> str:
    """MediaWiki's code of a wiki's language: of its address or database, else of the dump's head."""
    found = _find_prefix(site, table) or site.language.lower() or _ENGLISH
    return str(table["renamed"].get(found, found))


def _find_prefix(site: Site, table: dict[str, Any]) -> str:
    """The language that names the wiki, as in en.wikipedia.org or enwiki; Commons and the like have none."""
    database = _DATABASE.match(_database(site))
    prefix = database[1].replace("_", "-") if database else ""
    return prefix if prefix in table["wiki_languages"] else ""


def _languages_of(language: str, table: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known of a language, then of those it falls back to, English last."""
    fallbacks = table["languages"].get(language, {}).get("fallbacks", [])
    return [table["languages"].get(code, {}) for code in dict.fromkeys([language, *fallbacks, _ENGLISH])]


def _namespaces(chain: Sequence[dict[str, Any]], site: Site, table: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Names of namespaces with their keys; the later wins.

    A language has the names of one it falls back to where it has none of its own, and all aliases. A wiki that shows
    its pages in several variants of its language knows the names in each.
    """
    names: dict[str, str] = {}
    for facts in reversed(chain):
        names |= facts.get("namespaces", {})
        yield from facts.get("aliases", {}).items()
    variants = (table["languages"][code] for code in chain[0].get("variants", []))
    for each in (chain[-1]["namespaces"], *(facts.get("namespaces", {}) for facts in variants), names):
        yield from ((name, int(key)) for key, name in each.items())
    yield from table["wiki_aliases"].get(_database(site), {}).items()
    yield from ((name, key) for key, name in site.namespaces if key)


def _database(site: Site) -> str:
    """The name of a wiki's database; old dumps give the address only (zh-classical.wikipedia.org)."""
    wiki, _, project = site.host.removesuffix(".org").rpartition(".")
    if site.database or not wiki:
        return site.database
    return wiki.replace("-", "_") + {"wikipedia": "wiki", "wikimedia": "wiki"}.get(project, project)


def _words(id_: str, chain: Sequence[dict[str, Any]]) -> list[str]:
    return [word for facts in chain for word in facts.get("words", {}).get(id_, ())]


def _compile_words(words: Iterable[tuple[str, bool]]) -> re.Pattern[str]:
    """An expression for (word, whether in any case)."""
    by_case: dict[bool, set[str]] = {True: set(), False: set()}
    for word, in_any_case in words:
        by_case[in_any_case].add(re.escape(word))
    groups = [f"(?{flag}:{_any_of(by_case[case])})" for case, flag in ((True, "i"), (False, "")) if by_case[case]]
    return re.compile("|".join(groups))


def _any_of(patterns: Iterable[str]) -> str:
    return "|".join(sorted(patterns, key=lambda pattern: (-len(pattern), pattern)))


def _compile_options(options: dict[str, list[str]]) -> re.Pattern[str]:
    """An expression with a group for each option, named after it, and a nameless one inside it for each value."""
    groups = []
    for name, words in options.items():
        value = f"({_VALUES.get(name, _ANY_VALUE)})"
        forms = sorted({re.escape(word).replace(_VALUE, value) for word in words})
        groups.append(f"(?P<{name}>{'|'.join(forms)})")
    return re.compile("|".join(groups))


@functools.cache
def _read_table() -> dict[str, Any]:
    return json.loads(TABLE_FILE.read_text(encoding="utf-8"))
