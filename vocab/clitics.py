"""Clitics: the short words that a language writes onto another with an apostrophe, as in dog's, l'église, Ankara'da.

In: the language of a wiki. Out: the rule of where its apostrophes separate. Apostrophes cut a word into parts; one
separates if the part in front of it or the part behind it is a clitic, whatever else the word is made of. So what is
cut once is not cut again, and neither *aujourd'hui* nor *o'clock* nor *O'Brien* is touched.

Only languages are here that write clitics so; where an apostrophe is a letter (Ukrainian, Uzbek, Breton), there is
nothing to cut.

Source: Apache Lucene's analyzers for the elisions of French, Italian, Catalan and Irish, the English possessive and the
Turkish suffixes; for the other languages their Wikipedias' articles on the apostrophe and on elision.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

NO_CLITICS: Final = "none"


class CliticRule(NamedTuple):
    """Where an apostrophe separates words; all in lower case, for any case."""

    before: tuple[str, ...] = ()  # clitics in front of an apostrophe
    behind: tuple[str, ...] = ()  # clitics behind one
    any_behind: bool = False  # whatever stands behind is one, unless a single letter is in front, as in O'Neill


def _rule(before: str = "", behind: str = "", *, any_behind: bool = False) -> CliticRule:
    return CliticRule(tuple(before.split()), tuple(behind.split()), any_behind)


_FRENCH = _rule("c d j l m n s t ç qu jusqu lorsqu puisqu quoiqu")
_ITALIAN = _rule(
    "c d l m n s t v un all coll dall dell nell pell sull agl cogl dagl degl gl negl sugl bell ch com cos dev dov "
    "grand mezz nessun alcun ciascun qualcun quand quant quell quest sant senz sott tant tutt vent trent quarant "
    "cinquant sessant settant ottant novant anch ognun cent poc"
)
_CATALAN = _rule("d l m n s t", "l ls m n ns s t")
_OCCITAN = _rule("c d j l m n s t qu")
_ENGLISH = _rule(behind="d ll m re s ve")

CLITICS: Final[Mapping[str, CliticRule]] = {
    NO_CLITICS: CliticRule(),
    "af": _rule(behind="s"),
    "ca": _CATALAN,
    "co": _rule("c d l m n s t v un quell quess ind induv cum"),
    "cy": _rule(behind="ch i m n r s th u w"),
    "de": _rule(behind="s"),
    "en": _ENGLISH,
    "eo": _rule("l"),
    "fr": _FRENCH,
    "fur": _rule("c d l m n s t un dal"),
    "ga": _rule("b d m"),
    "gd": _rule("b d dh m th"),
    "it": _ITALIAN,
    "lb": _rule("d"),
    "lmo": _rule("c d l m n s t un"),
    "mt": _rule("b f m s t x"),
    "nap": _rule("c d l m n s t v un"),
    "nl": _rule(behind="s t tje tjes"),
    "oc": _OCCITAN,
    "pcd": _rule("c ch d j l m n s t qu"),
    "pl": _rule(behind="a ach ami e ego em emu i ie m mi om owi owie s u y ów"),
    "pms": _rule("c d l m n s t un"),
    "pt": _rule("d"),
    "scn": _rule("c d l m n s t un"),
    "sco": _ENGLISH,
    "tr": _rule(any_behind=True),
    "vec": _rule("c d l m n s t un"),
    "wa": _rule("c d dj l m n s t k"),
}

_SAME_AS = {"simple": "en", "gl": "pt", "lij": "pms", "frp": "fr", "nrm": "pcd", "an": "ca", "ast": "ca"}


def check_clitics(clitics: str, *, stage: str, metaclip: bool) -> None:
    """Checks the option of a stage; empty: not given.

    Args:
        clitics: Its value.
        stage: Its name.
        metaclip: Whether queries are searched for as MetaCLIP does.

    Raises:
        ValueError: When no such rule is known, or MetaCLIP's search cannot have it.
    """
    if clitics not in ("", *CLITICS):
        raise ValueError(f"{stage}: clitics must be one of {', '.join(CLITICS)}, not {clitics!r}")
    if metaclip and clitics not in ("", NO_CLITICS):
        raise ValueError(f"{stage}: MetaCLIP's search knows no clitics; clitics must be 'none', not {clitics!r}")


def clitics_of(language: str) -> str:
    """The key of a language's rule.

    Args:
        language: As in the host of its wiki: "en", "simple"; empty: not known.

    >>> clitics_of("fr"), clitics_of("simple"), clitics_of("uk"), clitics_of("")
    ('fr', 'en', 'none', 'none')
    """
    known = _SAME_AS.get(language, language)
    return known if known in CLITICS else NO_CLITICS
