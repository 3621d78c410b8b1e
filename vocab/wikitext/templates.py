"""Templates that show text of the article itself, and what each shows.

In: the name and the arguments of a template. Out: its text, or a mark of what stands there instead. Templates are not
expanded: those for words of another language, units, names, dates, quotations and type that stand in the running text
of the large wikis are here, by what their own pages say that they show. All others are left out: navigation,
infoboxes, references, warnings.

Source: the documentation of each template, https://en.wikipedia.org/wiki/Template:Lang and so on; Help:Templates and
Help:Magic_words of mediawiki.org for arguments and functions.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Final

from vocab.wikitext import template_names
from vocab.wikitext.marks import BLOCK, BOUNDARY, CAPTION, KEPT
from vocab.wikitext.units import UNITS

Arguments = Mapping[str, str]  # by name, or by number
Rule = Callable[[Arguments], str]

_FUNCTIONS: Final[dict[str, Callable[[str], str]]] = {
    "lc": str.lower,
    "uc": str.upper,
    "lcfirst": lambda text: text[:1].lower() + text[1:],
    "ucfirst": lambda text: text[:1].upper() + text[1:],
    "formatnum": lambda text: _group_digits(text),
    "defaultsort": lambda _: "",
    "displaytitle": lambda _: "",
}
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_NO_TITLE = re.compile(rf"[\[\]{{}}<>\n{KEPT}]")
_CODE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*")
_CENTURY = re.compile(r"[ivxlc]+e siècle")
_NUMBER = re.compile(r"[-+−]?[0-9][0-9.,]*(?:[+ ][0-9]+/[0-9]+|/[0-9]+|e[0-9]+)?")
_FILE = re.compile(r"[^:.|]*+:?[^|]*\.[A-Za-z0-9]{2,4}")
_MAX_DIGITS: Final = 15
_RANGES: Final = {
    "to": " to ", "-": "–", "–": "–", "and": " and ", "or": " or ", "by": " by ", "x": " by ", "*": " by ", "×": " × ",
    "+/-": " ± ", "±": " ± ", "to(-)": " to ", "and(-)": " and ", "to about": " to about ", "&": " and ",
}  # fmt: skip


@lru_cache(maxsize=1 << 14)
def find_rule(name: str) -> str | Rule | None:
    """What shows the text of a template of this name: a rule for its arguments, or the text itself; None: it is none.

    >>> find_rule(" Citation needed ")
    ' '
    """
    if BOUNDARY in name:
        return BOUNDARY  # a template gives the name
    written = name.strip()
    name = " ".join(name.replace("_", " ").lower().split()).removeprefix("template:")
    function, colon, argument = name.partition(":")
    if name in _RULES:
        return _RULES[name]
    if colon and function in _FUNCTIONS:
        return partial(_call, function, argument)
    for begin, rule in _RULES_OF_CODE.items():
        if name.startswith(begin):
            return rule
    if _CENTURY.fullmatch(name):
        return written
    return None if not colon and (not name or _NO_TITLE.search(written)) else BOUNDARY


def show_template(name: str, arguments: str) -> str:
    r"""The text that a template shows.

    Args:
        name: As it is written; when no page can be called so, all is text.
        arguments: From the first bar on.

    >>> [show_template(*call) for call in (("lang", "|la|omnibus"), ("convert", "|3|to|5|km|mi"), ("Infobox", "|a=b"))]
    ['omnibus', '3 to 5 kilometres', '\x1f']
    """
    rule = find_rule(name)
    if isinstance(rule, str):
        return rule
    if rule is None:
        return f"{{{{{name}{arguments}}}}}"
    return rule(_read_arguments(arguments)) or BOUNDARY


def _read_arguments(arguments: str) -> dict[str, str]:
    found: dict[str, str] = {}
    number = 0
    for argument in arguments.split("|")[1:]:
        name, equals, value = argument.partition("=")
        if equals:
            found[name.strip().lower()] = value.strip()
        else:
            number += 1
            found[str(number)] = argument
    return found


def _numbered(arguments: Arguments) -> list[str]:
    """The numbered arguments that say something, in order."""
    numbers = sorted(int(key) for key in arguments if key.isdecimal() and len(key) < 4)
    return [text for number in numbers if (text := arguments.get(str(number), "").strip())]


def _show_one(arguments: Arguments, *, of: tuple[str, ...]) -> str:
    return next((arguments[key] for key in of if arguments.get(key, "").strip()), "")


def _show_list(arguments: Arguments) -> str:
    return BLOCK + BLOCK.join(_numbered(arguments)) + BLOCK


def _show_joined(arguments: Arguments, *, by: str) -> str:
    return by.join(_numbered(arguments))


def _show_quotation(arguments: Arguments) -> str:
    """The quotation, and who said it where."""
    names = (("text", "quote", "texte", "1"), ("author", "sign", "auteur", "2"), ("source", "title", "3"))
    shown = [text for keys in names if (text := _show_one(arguments, of=keys))]
    return BLOCK + BLOCK.join(shown) + BLOCK if shown else ""


def _show_nihongo(arguments: Arguments) -> str:
    """``English (kanji, rōmaji) extra``."""
    english, *original = (arguments.get(number, "").strip() for number in "1234")
    inside = ", ".join(filter(None, original))
    extra = arguments.get("5", arguments.get("extra2", "")).strip()
    shown = f"{english} ({inside})" if english and inside else english or inside
    return f"{shown} {extra}".strip()


def _show_link_to_other_wiki(arguments: Arguments) -> str:
    """{{ill|Title|de|Titel|lt=label}}; of old the code came first."""
    first, second = arguments.get("1", "").strip(), arguments.get("2", "").strip()
    is_old = _CODE.fullmatch(first) and second and not _CODE.fullmatch(second)
    return arguments.get("lt") or (second if is_old else first)


def _show_conversion(arguments: Arguments) -> str:
    """Numbers and units as they are given; what they are converted to is left out."""
    words = _numbered(arguments)
    is_short = arguments.get("abbr") in ("on", "in")
    shown = ""
    position = 0
    while position + 1 < len(words) and _NUMBER.fullmatch(words[position].strip()):
        shown += (" " if shown and not shown.endswith((" ", "–")) else "") + _group_digits(words[position])
        word = words[position + 1].strip()
        position += 2
        if word.lower() in _RANGES:
            shown += _RANGES[word.lower()]
        elif not _NUMBER.fullmatch(word):
            shown += " " + (word if is_short else UNITS.get(word.lower(), word))
    return shown


def _group_digits(number: str) -> str:
    """A number as it is shown: 12345.6 as 12,345.6.

    >>> _group_digits("12345.6789")
    '12,345.6789'
    """
    whole, point, rest = number.partition(".")
    return f"{int(whole):,}{point}{rest}" if whole.isdecimal() and len(whole) <= _MAX_DIGITS else number


def _show_date_of_facts(arguments: Arguments) -> str:
    """{{as of|2010|4}}: As of April 2010."""
    if arguments.get("alt"):
        return arguments["alt"]
    year, month, day = (arguments.get(number, "").strip() for number in "123")
    if month.isdecimal() and 0 < int(month[:3]) <= len(_MONTHS):
        month = _MONTHS[int(month[:3]) - 1]
    begin = "since" if arguments.get("since") else "as of"
    begin = begin if arguments.get("lc") else begin.capitalize()
    date = f"{month} {day}, {year}" if arguments.get("df", "").lower() == "us" and day else f"{day} {month} {year}"
    return f"{'' if arguments.get('bare') else begin} {' '.join(date.split())}".strip()


def _show_ship(arguments: Arguments, *, prefix: str) -> str:
    """{{USS|Hornet|CV-12}}: USS Hornet (CV-12); with a number behind it, without that in brackets."""
    words = _numbered(arguments)
    if not prefix:
        prefix, words = (words or [""])[0], words[1:]
    identity = f" ({words[1]})" if len(words) == len(("name", "identity")) else ""
    return f"{prefix} {words[0]}{identity}" if words else ""


def _show_chinese(arguments: Arguments) -> str:
    """{{zh|t=...|s=...|p=...}}: each in its place."""
    return BOUNDARY.join(
        text for key in ("c", "t", "s", "p", "hp", "w", "j", "poj", "l") if (text := arguments.get(key))
    )


def _show_behind(arguments: Arguments, *, word: str, by: str) -> str:
    return f"{word} {by.join(_numbered(arguments))}".strip()


def _call(function: str, argument: str, arguments: Arguments) -> str:
    del arguments
    return _FUNCTIONS[function](argument.strip())


def _show_country(arguments: Arguments) -> str:
    """The name of a country; what a code stands for is not known here."""
    name = arguments.get("name") or arguments.get("1", "").strip()
    return "" if name.isupper() and len(name) <= len("USA") else name


def _show_captions(arguments: Arguments, *, of: tuple[str, ...]) -> str:
    """Captions, which do not stay in the text; where they stand, there are images."""
    return _mark_captions(text for name, text in arguments.items() if name in of or name.rstrip("0123456789") in of)


def _show_gallery(arguments: Arguments) -> str:
    """Captions between the names of files."""
    return _mark_captions(text for text in _numbered(arguments) if not _FILE.fullmatch(text))


def _mark_captions(captions: Iterable[str]) -> str:
    marked = (CAPTION + text.replace(CAPTION, BLOCK) + CAPTION for text in captions if text.strip())
    return BLOCK + "".join(marked)


def _make_rules() -> dict[str, str | Rule]:
    several: dict[str, str | Rule] = {
        template_names.NOTES: " ",
        **{names: partial(_show_one, of=tuple(keys.split())) for names, keys in template_names.SHOW_ONE.items()},
        **{names: partial(_show_captions, of=tuple(keys.split())) for names, keys in template_names.CAPTIONS.items()},
        template_names.GALLERIES: _show_gallery,
        template_names.QUOTATIONS: _show_quotation,
        template_names.LISTS: _show_list,
        template_names.COUNTRIES: _show_country,
        template_names.INTERWIKI_LINKS: _show_link_to_other_wiki,
        "nihongo|nihongo krt": _show_nihongo,
        "convert|cvt": _show_conversion,
        "as of": _show_date_of_facts,
        "ship": partial(_show_ship, prefix=""),
        "zh|lang-zh|zh-full": _show_chinese,
        "circa|c.": partial(_show_behind, word="c.", by="–"),
        "floruit|fl.": partial(_show_behind, word="fl.", by="–"),
        "reign|r.": partial(_show_behind, word="r.", by="–"),
        "chem|chem2": partial(_show_joined, by=""),
        "unité|unidad|unità|date|date-|bibleverse|bibleref|bibleref2|bible verse": partial(_show_joined, by=" "),
        "frac|fraction|sfrac": partial(_show_joined, by="/"),
        "section link|slink": partial(_show_joined, by=" § "),
        **{prefix.lower(): partial(_show_ship, prefix=prefix) for prefix in template_names.SHIPS},
    }
    return {name: rule for names, rule in several.items() for name in names.split("|")} | template_names.CONSTANTS


_RULES: Final = _make_rules()
_RULES_OF_CODE: Final = {
    begin: partial(_show_one, of=tuple(keys.split())) for begin, keys in template_names.SHOW_ONE_OF_CODE.items()
}
