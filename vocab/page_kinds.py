"""Kinds of pages that are no subject of their own: disambiguation pages and lists, told by template and by title.

In: wikitext, or the language of a wiki. Out: whether a page tells subjects of one name apart; regular expressions for
titles. Wikis name these things in their own languages, so the names are here by language, for the largest wikis; of
any other, English names are known, and users can give expressions of their own.

Source: https://www.mediawiki.org/wiki/Extension:Disambiguator (``__DISAMBIG__``); the Wikipedias' own pages on
disambiguation and on lists, as https://www.wikidata.org/wiki/Q4167410 and https://www.wikidata.org/wiki/Q13406463 link
them across languages.
"""

import re

_EDGE_CHARS = 2000  # the template stands at an end of the page; looking at the ends alone costs next to nothing
_ENGLISH = "en"
_ENGLISH_WIKIS = ("simple", "")

# What stands in the brackets after a title, and as templates: the names of the template.
_QUALIFIERS = {
    "ar": "توضيح", "ca": "desambiguació", "cs": "rozcestník", "da": "flertydig", "de": "Begriffsklärung",
    "el": "αποσαφήνιση", "en": "disambiguation", "es": "desambiguación", "fa": "ابهام‌زدایی", "fi": "täsmennyssivu",
    "fr": "homonymie", "he": "פירושונים", "hu": "egyértelműsítő lap", "id": "disambiguasi", "it": "disambigua",
    "ja": "曖昧さ回避", "ko": "동음이의", "nl": "doorverwijspagina", "no": "andre betydninger",
    "pl": "ujednoznacznienie", "pt": "desambiguação", "ro": "dezambiguizare", "ru": "значения",
    "sk": "rozlišovacia stránka", "sv": "olika betydelser", "tr": "anlam ayrımı", "uk": "значення",
    "vi": "định hướng", "zh": "消歧义|消歧義",
}  # fmt: skip
_MORE_TEMPLATES = (
    "disambig", "disambig page", "disambiguation page", "disambiguation cleanup", "dab", "geodis", "hndis", "mathdab",
    "numberdis", "schooldis", "human name disambiguation", "place name disambiguation", "aimai", "人名の曖昧さ回避",
    "地名の曖昧さ回避", "消歧义页", "消歧義頁", "동명이인", "неоднозначность", "неоднозначність", "förgrening",
    "peker", "pekerside", "egyért", "dp", "desambig", "trang định hướng", "صفحة توضيح",
)  # fmt: skip
_LISTS = {
    "ar": "^قائمة ", "ca": "^Llistes? ", "cs": "^Seznam ", "da": "^Liste over ", "de": "^Listen? ",
    "el": "^Κατάλογος ", "en": "^(?:Lists?|Index|Outline) of ", "es": "^(?:Anexo:)?Lista ", "fa": "^فهرست ",
    "fi": "^Luettelo ", "fr": "^Listes? ", "he": "^רשימת ", "hu": " listája$", "id": "^Daftar ", "it": "^Liste? ",
    "ja": "一覧$", "ko": " 목록$", "nl": "^Lijst(?:en)? van ", "no": "^Liste over ", "pl": "^Lista ", "pt": "^Lista ",
    "ro": "^Lista ", "ru": "^(?:Список|Списки) ", "sk": "^Zoznam ", "sv": "^Lista över ", "tr": " listesi$",
    "uk": "^(?:Список|Списки) ", "vi": "^Danh sách ", "zh": "(?:列表|一覽)$",
}  # fmt: skip

_TEMPLATES = "|".join(sorted({*"|".join(_QUALIFIERS.values()).split("|"), *_MORE_TEMPLATES}))
_MARK = re.compile(rf"\{{\{{\s*(?:template:)?(?:{_TEMPLATES})\s*[|}}]|__DISAMBIG__", re.IGNORECASE)


def is_disambiguation(wikitext: str) -> bool:
    r"""Whether a page is there to tell subjects of one name apart.

    >>> is_disambiguation("'''Mercury''' may be:\n* [[Mercury (planet)]]\n{{Disambiguation|geo}}")
    True
    >>> is_disambiguation("{{for|others|Mercury (disambiguation)}} A planet near its {{disambiguation needed}} star.")
    False
    """
    if len(wikitext) <= 2 * _EDGE_CHARS:
        return _MARK.search(wikitext) is not None
    return _MARK.search(wikitext[:_EDGE_CHARS]) is not None or _MARK.search(wikitext[-_EDGE_CHARS:]) is not None


def disambiguation_titles(language: str) -> str:
    """An expression for titles that say that they are such pages.

    >>> bool(re.search(disambiguation_titles("de"), "Merkur (Begriffsklärung)"))
    True
    """
    names = {_QUALIFIERS[_ENGLISH], _QUALIFIERS.get(_known(language), "")} - {""}
    return rf" \((?:{'|'.join(sorted(names))})\)$"


def list_titles(language: str) -> str:
    """An expression for titles of lists.

    >>> [bool(re.search(list_titles(wiki), "Lista Airport")) for wiki in ("en", "es", "xx")]
    [False, True, False]
    """
    return _LISTS.get(_known(language), _LISTS[_ENGLISH])


def _known(language: str) -> str:
    return _ENGLISH if language in _ENGLISH_WIKIS else language
