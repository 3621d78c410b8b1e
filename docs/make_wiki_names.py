"""Writes vocab/wiki_names.json: what wikis call namespaces, switches, image options and redirects in their languages.

apt-get download mediawiki && dpkg-deb -x mediawiki_*.deb unpacked
python docs/make_wiki_names.py unpacked/usr/share/mediawiki

Names come from MediaWiki's message files. Three things are not in them and are written here by hand, as facts: the
wikis' own aliases and the languages that have wikis (Wikimedia's configuration), and the words of extensions.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parent.parent / "vocab" / "wiki_names.json"
NAMESPACES = {
    "NS_MEDIA": -2, "NS_SPECIAL": -1, "NS_MAIN": 0, "NS_TALK": 1, "NS_USER": 2, "NS_USER_TALK": 3, "NS_PROJECT": 4,
    "NS_PROJECT_TALK": 5, "NS_FILE": 6, "NS_FILE_TALK": 7, "NS_MEDIAWIKI": 8, "NS_MEDIAWIKI_TALK": 9,
    "NS_TEMPLATE": 10, "NS_TEMPLATE_TALK": 11, "NS_HELP": 12, "NS_HELP_TALK": 13, "NS_CATEGORY": 14,
    "NS_CATEGORY_TALK": 15,
}  # fmt: skip
OF_THE_SITE = ("$1", "{{")  # names of the project's talk pages hold the name of the project

# Switches and image options of extensions that Wikimedia's wikis have, from their *.i18n.magic.php: Disambiguator,
# Wikibase, ProofreadPage, GlobalUserPage, DiscussionTools; TimedMediaHandler, PagedTiffHandler; and one of a later
# MediaWiki (expectunusedtemplate). English: whether in any case (0).
EXTENSION_SWITCHES = (
    "disambiguation", "expectedunconnectedpage", "expectunusedtemplate", "expectwithoutscans", "noglobal",
    "archivedtalk", "notalk",
)  # fmt: skip
EXTENSIONS_IN_ENGLISH: dict[str, list[Any]] = {
    "disambiguation": [1, "__DISAMBIG__"],
    "expectedunconnectedpage": [1, "__EXPECTED_UNCONNECTED_PAGE__"],
    "expectunusedtemplate": [1, "__EXPECTUNUSEDTEMPLATE__"],
    "expectwithoutscans": [1, "__EXPECTWITHOUTSCANS__"],
    "noglobal": [1, "__NOGLOBAL__"],
    "archivedtalk": [0, "__ARCHIVEDTALK__"],
    "notalk": [0, "__NOTALK__"],
    "timedmedia_thumbtime": [0, "thumbtime=$1"],
    "timedmedia_starttime": [0, "start=$1"],
    "timedmedia_endtime": [0, "end=$1"],
    "timedmedia_disablecontrols": [0, "disablecontrols=$1"],
    "timedmedia_noplayer": [0, "noplayer"],
    "timedmedia_noicon": [0, "noicon"],
    "timedmedia_loop": [0, "loop"],
    "timedmedia_muted": [0, "muted"],
    "img_lossy": [0, "lossy=$1"],
}
EXTENSION_WORDS = {
    "disambiguation": {
        "ar": ["__توضيح__"], "arz": ["__توضيح__"], "cs": ["__ROZCESTNÍK__"], "de": ["__BEGRIFFSKLÄRUNG__"],
        "diq": ["_MANEYOBİN_"], "es": ["__DISAMBIGUACIÓN__", "__DISAMBIGUACION__"], "et": ["__TÄPSUSTUS__"],
        "fa": ["__ابهامزدایی__"], "fr": ["__HOMONYMIE__"], "gl": ["__HOMÓNIMOS__", "__HOMONIMOS__"],
        "he": ["__דף_פירושונים__", "__פירושונים__"], "hi": ["__बहुवि__"], "ja": ["__曖昧さ回避__"],
        "ko": ["__동음이의__"], "lb": ["__HOMONYMIE__"], "mk": ["__ПОЈАСНУВАЊЕ__"], "ml": ["__വിവക്ഷ__", "_വിവക്ഷിതം_"],
        "mr": ["__निःसंदिग्ध__"], "nb": ["__PEKER__"], "nn": ["__FLEIRTYDING__"], "sr-ec": ["__ДИСАМБИГ__"],
        "ur": ["__ضد_ابہام__"], "vi": ["__ĐỊNH_HƯỚNG__", "__ĐỊNHHƯỚNG__"], "zh-hans": ["__消歧义__", "__消除歧义__"],
    },
    "archivedtalk": {"zh-hans": ["__已存档讨论__"]},
    "timedmedia_thumbtime": {
        "ar": ["وقت_التصغير=$1"], "arz": ["وقت_التصغير=$1"], "he": ["זמן_חלונית=$1"], "ml": ["ലഘുരൂപസമയം=$1"],
        "mr": ["थंबटाइम=$1", "इवलावेळ=$1"], "nds-nl": ["miniatuurtied=$1", "miniatuurtijd=$1"],
        "nl": ["miniatuurtijd=$1"], "ru": ["времямини=$1"], "uk": ["часміні=$1", "времямини=$1"],
        "ur": ["وقت_تصغیر=$1"],
    },
    "timedmedia_starttime": {
        "af": ["begin=$1"], "ar": ["بداية=$1"], "arz": ["بداية=$1"], "he": ["התחלה=$1"], "ko": ["시작=$1"],
        "ml": ["തുടങ്ങുക=$1"], "mr": ["सुरवात=$1"], "ru": ["начало=$1"], "uk": ["початок=$1", "начало=$1"],
        "ur": ["آغاز=$1"],
    },
    "timedmedia_endtime": {
        "af": ["einde=$1"], "ar": ["نهاية=$1"], "arc": ["ܫܘܠܡܐ=$1"], "arz": ["نهاية=$1"], "he": ["סיום=$1"],
        "ko": ["끝=$1"], "ml": ["നിർത്തുക=$1"], "mr": ["शेवट=$1"], "nds-nl": ["einde=$1", "eind=$1"], "nl": ["eind=$1"],
        "ru": ["окончание=$1"], "uk": ["закінчення=$1", "окончание=$1"], "ur": ["اختتام=$1"],
    },
    "timedmedia_disablecontrols": {
        "ru": ["выклкнопки=$1"], "uk": ["вимккнопки=$1", "выклкнопки=$1"], "ur": ["کنٹرول_غیرفعال=$1"],
    },
}  # fmt: skip

# Wikimedia's operations/mediawiki-config, `core-Namespaces.php`: names of its projects, which each is an alias in its
# own wikis and in no wiki the name of an article; and aliases of files, media and categories in single wikis.
PROJECTS = (
    "Project", "Wikibooks", "Wikinews", "Wikipedia", "Wikiquote", "Wikisource", "Wikiversity", "Wikivoyage",
    "Wiktionary",
)  # fmt: skip
_CAT = {"CAT": 14}
_KAT = {"KAT": 14}
_RUSSIAN = {"К": 14}
WIKI_ALIASES: dict[str, dict[str, int]] = {
    "aswiki": _CAT, "azwiki": {"FL": 6} | _KAT, "ckbwiki": {"پ": 14}, "commonswiki": _CAT, "cuwiki": {"Категория": 14},
    "enwikibooks": _CAT, "enwikinews": _CAT, "enwiktionary": _CAT, "eswiki": _CAT, "eswikibooks": _CAT, "ganwiki": _CAT,
    "guwiki": {"શ્રે": 14} | _CAT, "hewiki": {"קו": 6, "קט": 14}, "hewikinews": {"קו": 6, "קט": 14, "תג": 14},
    "hewikisource": {"קו": 6, "קט": 14}, "hiwiki": {"श्र": 14}, "hrwiki": {"DT": 6, "KT": 14, "CT": 14}, "itwiki": _CAT,
    "itwikiversity": _CAT, "mlwikibooks": {"പ്ര": 6, "വ": 14}, "newikibooks": {"श्रे": 14}, "ruwiki": _RUSSIAN,
    "ruwikibooks": _RUSSIAN, "ruwikiquote": _RUSSIAN, "ruwikisource": _RUSSIAN, "ruwiktionary": _RUSSIAN,
    "shwiki": {"DT": 6, "ДТ": 6, "KAT": 14, "КАТ": 14, "KT": 14, "КТ": 14}, "svwiktionary": _KAT, "thwikibooks": _CAT,
    "thwikisource": _CAT, "trwiki": _KAT, "trwikibooks": _KAT, "trwikiquote": _KAT, "trwikisource": _KAT,
    "trwikivoyage": _KAT, "trwiktionary": _KAT, "ukwikinews": _RUSSIAN, "ukwikivoyage": _RUSSIAN,
    "vecwiki": {"Immagine": 6}, "wuuwiki": {"媒体": -2, "文件": 6, "分类": 14}, "yuewiktionary": _CAT,
    "zh_classicalwiki": _CAT, "zhwiki": _CAT, "zhwikibooks": _CAT, "zhwikinews": _CAT, "zhwikiquote": _CAT,
}  # fmt: skip

# Wikimedia's operations/mediawiki-config: `langlist`, and the languages that its interwiki table has besides.
WIKI_LANGUAGES = """
    aa ab ace ady af ak als alt am ami an ang anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg bcl
    be be-tarask be-x-old bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca cbk-zam cdo ce ceb ch cho chr chy ckb co
    cr crh cs csb cu cv cy da dag de din diq dsb dty dv dz ee el eml en eo es et eu ext fa fat ff fi fiu-vro fj fo fr
    frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gsw gu guc gur guw gv ha hak haw he hi hif ho hr hsb ht
    hu hy hyw hz ia id ie ig ii ik ilo inh io is it iu ja jam jbo jv ka kaa kab kbd kbp kcg kg ki kj kk kl km kn ko koi
    kr krc ks ksh ku kv kw ky la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh
    mhr mi min mk ml mn mni mnw mo mr mrj ms mt mus mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng nia nl nn no
    nov nqo nrm nso nv ny oc olo om or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rm rmy rn
    ro roa-rup roa-tara ru rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn shy si simple sk skr sl sm smn sn
    so sq sr srn ss st stq su sv sw szl szy ta tay tcy te tet tg th ti tk tl tly tn to tpi tr trv ts tt tum tw ty tyv
    udm ug uk ur uz ve vec vep vi vls vo vro wa war wo wuu xal xh xmf yi yo yue za zea zh zh-classical zh-cn zh-min-nan
    zh-tw zh-yue zu
"""

# Wikis that are not named after their language (Wikimedia's configuration).
RENAMED_WIKIS = {"no": "nb", "simple": "en"}

_CONSTANTS: dict[str, Any] = {**NAMESPACES, "false": "", "true": 1}
Token = tuple[str, str]  # kind, text
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)|(?P<single>'(?:[^'\\]|\\.)*')|(?P<double>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<arrow>=>)|(?P<name>-?\w+)|(?P<mark>[\[\](),.])""",
    re.DOTALL,
)


class PhpValue:
    """Reads one literal of PHP: arrays, strings, numbers and names of namespaces."""

    def __init__(self, text: str, start: int) -> None:
        self._tokens = self._read_tokens(text, start)
        self._next = next(self._tokens)

    def read(self) -> Any:
        """The literal, as list, dict, str or int."""
        value = self._read_one()
        while self._next == ("mark", "."):
            self._advance()
            value += self._read_one()
        return value

    def _read_one(self) -> Any:
        kind, text = self._advance()
        if kind in ("single", "double"):
            return _unescape(text)
        if kind == "name" and text == "array":
            kind, text = self._advance()
        if kind == "mark" and text in "[(":
            return self._read_array("]" if text == "[" else ")")
        return _CONSTANTS[text] if text in _CONSTANTS else int(text)

    def _read_array(self, end: str) -> list[Any] | dict[Any, Any]:
        items: list[Any] = []
        pairs: dict[Any, Any] = {}
        while self._next != ("mark", end):
            value = self.read()
            if self._next[0] == "arrow":
                self._advance()
                pairs[value] = self.read()
            else:
                items.append(value)
            if self._next == ("mark", ","):
                self._advance()
        self._advance()
        return pairs or items

    def _advance(self) -> Token:
        token, self._next = self._next, next(self._tokens, ("end", ""))
        return token

    @staticmethod
    def _read_tokens(text: str, start: int) -> Iterator[Token]:
        while found := _TOKEN.match(text, start):
            start = found.end()
            if found.lastgroup and found.lastgroup != "skip":
                yield found.lastgroup, found[0]


def _unescape(literal: str) -> str:
    if literal[0] == '"':
        literal = re.sub(r"\\u\{([0-9A-Fa-f]+)\}", lambda code: chr(int(code[1], 16)), literal)
    return re.sub(r"\\(['\"\\$])", r"\1", literal[1:-1])


def read_variable(text: str, name: str, default: Any) -> Any:
    """The literal that a PHP file gives to a variable or returns for a function."""
    found = re.search(rf"^[^/*#\n]*{name}(?: =|\(\): array \{{\s+return)\s", text, re.MULTILINE)
    return PhpValue(text, found.end()).read() if found else default


def describe_language(text: str, english: dict[str, list[Any]], extensions: dict[str, list[Any]]) -> dict[str, Any]:
    """What one message file says: fallbacks, names of namespaces, aliases, and words that English does not have."""
    fallback = read_variable(text, r"\$fallback", "")
    aliases = dict(read_variable(text, r"\$namespaceAliases", {}) or {})
    for key, forms in (read_variable(text, r"\$namespaceGenderAliases", {}) or {}).items():
        aliases |= dict.fromkeys(forms.values(), key)
    magic = (read_variable(text, r"\$magicWords", {}) or {}) | extensions
    names = read_variable(text, r"\$namespaceNames", {}) or {}
    facts = {
        "fallbacks": [code.strip() for code in fallback.split(",") if code.strip()],
        "namespaces": {str(key): name for key, name in sorted(names.items()) if key and is_a_name(name)},
        "aliases": {name: key for name, key in sorted(aliases.items()) if is_a_name(name)},
        "words": {
            id_: own
            for id_, (_, *known) in english.items()
            if (own := [word for word in magic.get(id_, [])[1:] if word not in known])
        },
    }
    return {name: value for name, value in facts.items() if value}


def is_a_name(name: str) -> bool:
    """Whether a name is whole without that of a site."""
    return not any(mark in name for mark in OF_THE_SITE)


def describe_wikis(mediawiki: Path) -> dict[str, Any]:
    """The table."""
    version = re.search(r"'MW_VERSION', '([^']+)'", (mediawiki / "includes/Defines.php").read_text())
    factory = next((mediawiki / "includes").rglob("MagicWordFactory.php")).read_text()
    switches = [*read_variable(factory, "DoubleUnderscoreIDs", []), *EXTENSION_SWITCHES]
    texts = {_language_code(path): path.read_text() for path in sorted(mediawiki.glob("languages/messages/*.php"))}
    english = read_variable(texts["en"], r"\$magicWords", {}) | EXTENSIONS_IN_ENGLISH
    english = {id_: words for id_, words in english.items() if id_ in ("redirect", *switches) or _is_of_images(id_)}
    languages = {
        code: described
        for code, text in texts.items()
        if (described := describe_language(text, english, _words_of_extensions(code)))
    }
    languages["en"]["aliases"] |= {f"{name}{talk}": key for name in PROJECTS for talk, key in (("", 4), ("_talk", 5))}
    languages["en"]["words"] = {id_: words[1:] for id_, words in english.items()}
    for path in (mediawiki / "includes/language/converters").glob("*Converter.php"):
        code, *variants = read_variable(path.read_text(), "function getLanguageVariants", [])
        languages[code]["variants"] = [variant for variant in variants if variant in languages]
    renamed = read_variable(
        (mediawiki / "includes/language/LanguageCode.php").read_text(), "DEPRECATED_LANGUAGE_CODE_MAPPING", {}
    )
    return {
        "source": f"MediaWiki {version[1] if version else '?'}, message files, by docs/make_wiki_names.py",
        "any_case": sorted(id_ for id_, words in english.items() if not int(words[0])),
        "switches": sorted(switches),
        "renamed": renamed | RENAMED_WIKIS,
        "wiki_aliases": WIKI_ALIASES,
        "wiki_languages": sorted(WIKI_LANGUAGES.split()),
        "languages": languages,
    }


def _words_of_extensions(code: str) -> dict[str, list[Any]]:
    """As `$magicWords`: the number before the words counts in English only."""
    return {id_: [0, *words[code]] for id_, words in EXTENSION_WORDS.items() if code in words}


def _is_of_images(id_: str) -> bool:
    return id_.startswith(("img_", "timedmedia_"))


def _language_code(path: Path) -> str:
    return path.stem.removeprefix("Messages").lower().replace("_", "-")


def write_table(table: dict[str, Any]) -> str:
    """The table as JSON, a language a line."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    languages = ",\n".join(f"{dump(code)}:{dump(facts)}" for code, facts in sorted(table["languages"].items()))
    others = [f"{dump(key)}:{dump(value)},\n" for key, value in sorted(table.items()) if key != "languages"]
    return f'{{\n{"".join(others)}"languages":{{\n{languages}\n}}\n}}\n'


if __name__ == "__main__":
    TABLE.write_text(write_table(describe_wikis(Path(sys.argv[1]))))
