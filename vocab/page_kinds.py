"""Kinds of pages that are no subject of their own: disambiguation pages and lists, told by template and by title.

In: wikitext, or the language of a wiki. Out: whether a page tells subjects of one name apart; regular expressions for
titles. Wikis name these things in their own languages, so the names are here by language; of any other, English names
are known, and users can give expressions of their own. The switch ``__DISAMBIG__`` is known in all its languages.

Source: https://www.mediawiki.org/wiki/Extension:Disambiguator (``__DISAMBIG__``); the Wikipedias' own pages on
disambiguation and on lists, as https://www.wikidata.org/wiki/Q4167410 and https://www.wikidata.org/wiki/Q13406463 link
them across languages.
"""

import re

from vocab.wiki_names import WikiNames, fold_name

_EDGE_CHARS = 2000  # the template stands at an end of the page; looking at the ends alone costs next to nothing
_ENGLISH = "en"
_ENGLISH_WIKIS = ("simple", "")

# What stands in the brackets after a title, and as templates: the names of the template.
_QUALIFIERS = {
    "af": "dubbelsinnig", "am": "መንታ", "ar": "توضيح", "az": "dəqiqləşdirmə", "be": "значэнні", "bg": "пояснение",
    "bn": "দ্ব্যর্থতা নিরসন", "ca": "desambiguació", "cs": "rozcestník", "cy": "gwahaniaethu", "da": "flertydig",
    "de": "Begriffsklärung", "el": "αποσαφήνιση", "en": "disambiguation", "eo": "apartigilo", "es": "desambiguación",
    "et": "täpsustus", "eu": "argipena", "ext": "desambiguáncia", "fa": "ابهام‌زدایی", "fi": "täsmennyssivu",
    "fr": "homonymie", "gl": "homónimos", "he": "פירושונים", "hr": "razdvojba", "hu": "egyértelműsítő lap",
    "hy": "այլ կիրառումներ", "id": "disambiguasi", "is": "aðgreining", "it": "disambigua", "ja": "曖昧さ回避",
    "ko": "동음이의", "lb": "Homonymie", "lt": "reikšmės", "lv": "nozīmju atdalīšana", "mk": "појаснување",
    "ms": "nyahkekaburan", "nl": "doorverwijspagina", "nn": "fleirtyding", "no": "andre betydninger",
    "pl": "ujednoznacznienie", "pt": "desambiguação", "ro": "dezambiguizare", "ru": "значения",
    "sh": "razvrstavanje", "sk": "rozlišovacia stránka", "sl": "razločitev",
    "sr": "вишезначна одредница|višeznačna odrednica", "sv": "olika betydelser", "th": "แก้ความกำกวม",
    "tr": "anlam ayrımı", "uk": "значення", "vi": "định hướng", "zh": "消歧义|消歧義",
}  # fmt: skip
_MORE_TEMPLATES = (
    "disambig", "disamb", "disambig page", "disambiguation page", "disambiguation cleanup", "dab", "wp disambig",
    "geodis", "hndis", "mathdab", "numberdis", "schooldis", "human name disambiguation", "place name disambiguation",
    "airport disambiguation", "biology disambiguation", "call sign disambiguation", "chinese title disambiguation",
    "genus disambiguation", "hospital disambiguation", "letter disambiguation", "mathematical disambiguation",
    "letter-number combination disambiguation", "military unit disambiguation", "number disambiguation",
    "road disambiguation", "school disambiguation", "species latin name disambiguation", "station disambiguation",
    "synagogue disambiguation", "taxonomy disambiguation", "aimai", "人名の曖昧さ回避", "地名の曖昧さ回避", "消歧义页",
    "消歧義頁", "搞清楚", "扤清楚", "釋義", "khu-pia̍t", "동명이인", "неоднозначность", "неоднозначність",
    "неадназначнасць", "неадназначнасьць", "күп мәгънәләр", "күп мәғәнәлелек", "айрық", "чолхалла", "čvor",
    "förgrening", "fleiri týdningar", "peker", "pekerside", "egyért", "dp", "desambig", "desambigación", "dixebra",
    "dixanbigua", "disheñvelout", "discretiva", "idirdhealú", "kthjellim", "täpsustuslehekülg", "nuorodinis", "argipen",
    "cudakirin", "pansayod", "giklaro", "paglilinaw", "trang định hướng", "صفحة توضيح", "ضد ابہام", "ڕوونکردنەوە",
    "دقیقلشدیرمه", "բազմիմաստություն", "მრავალმნიშვნელოვანი", "बहुविकल्पी शब्द", "अस्पष्टता", "பக்கவழி நெறிப்படுத்தல்",
    "అయోమయ నివృత్తి", "ದ್ವಂದ್ವ ನಿವಾರಣೆ", "വിവക്ഷകൾ", "แก้กำกวม",
)  # fmt: skip
_LISTS = {
    "ar": "^قائمة ", "az": " siyahısı$", "be": "^Спіс ", "bg": "^Списък на ", "bn": "তালিকা$", "ca": "^Llistes? ",
    "cs": "^Seznam ", "da": "^Liste over ", "de": "^Listen? ", "el": "^Κατάλογος ",
    "en": "^(?:Lists?|Index|Outline) of ", "eo": "^Listo de ", "es": "^(?:Anexo:)?Lista ", "et": " loend$",
    "eu": " zerrenda$", "fa": "^فهرست ", "fi": "^Luettelo ", "fr": "^Listes? ", "gl": "^Lista ", "he": "^רשימת ",
    "hi": " की सूची$", "hr": "^Popis ", "hu": " listája$", "hy": " ցանկ$", "id": "^Daftar ", "it": "^Liste? ",
    "ja": "一覧$", "ko": " 목록$", "lt": " sąrašas$", "lv": " uzskaitījums$", "ms": "^Senarai ",
    "nl": "^Lijst(?:en)? van ", "nn": "^Liste over ", "no": "^Liste over ", "pl": "^Lista ", "pt": "^Lista ",
    "ro": "^Lista ", "ru": "^(?:Список|Списки) ", "sk": "^Zoznam ", "sl": "^Seznam ", "sr": "^(?:Списак|Spisak) ",
    "sv": "^Lista över ", "th": "^(?:รายชื่อ|รายการ)", "tr": " listesi$", "uk": "^(?:Список|Списки) ",
    "vi": "^Danh sách ", "zh": "(?:列表|一覽)$",
}  # fmt: skip

_TEMPLATES = frozenset(map(fold_name, [*"|".join(_QUALIFIERS.values()).split("|"), *_MORE_TEMPLATES]))
_TEMPLATE = re.compile(r"\{\{\s*+([^{}|\[\]<>\n]{1,80}+)\s*+[|}]")


def is_disambiguation(wikitext: str, names: WikiNames) -> bool:
    r"""Whether a page is there to tell subjects of one name apart.

    Args:
        wikitext: Of the page.
        names: Of its wiki.

    >>> from vocab.site import Site
    >>> from vocab.wiki_names import names_of
    >>> english = names_of(Site(host="en.wikipedia.org"))
    >>> is_disambiguation("'''Mercury''' may be:\n* [[Mercury (planet)]]\n{{Disambiguation|geo}}", english)
    True
    >>> is_disambiguation("{{for|others|Mercury (disambiguation)}} A planet {{disambiguation needed}} it.", english)
    False
    """
    if len(wikitext) <= 2 * _EDGE_CHARS:
        return _is_marked(wikitext, names)
    return _is_marked(wikitext[:_EDGE_CHARS], names) or _is_marked(wikitext[-_EDGE_CHARS:], names)


def _is_marked(text: str, names: WikiNames) -> bool:
    written = "\n".join(set(_TEMPLATE.findall(text))).replace("_", " ").lower().split("\n")
    if not _TEMPLATES.isdisjoint(map(str.strip, written)) or names.disambiguation.search(text):
        return True
    return any(_without_namespace(name, names) in _TEMPLATES for name in written if ":" in name)


def _without_namespace(name: str, names: WikiNames) -> str:
    namespace, _, rest = name.partition(":")
    return fold_name(rest) if fold_name(namespace) in names.templates else ""


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
