"""The language converter: which of the texts in ``-{zh-hans:A;zh-hant:B}-`` is shown.

In: what stands between the braces, and a wiki's `Converter`. Out: the text that is shown in its place. Rules for the
rest of the page (flags A and H) are not applied to it, nor are the converter's own tables.

Source: https://www.mediawiki.org/wiki/Writing_systems/Syntax; the converters and ConverterRule.php of MediaWiki 1.39.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

# By language: its variants, the first of which is the text as it was written, with their names and those that take
# their place where a text has none for them.
LANGUAGES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "zh": {
        "zh": ("原文", "zh-hans zh-hant zh-cn zh-tw zh-hk zh-sg zh-mo zh-my"),
        "zh-hans": ("简体", "zh-cn zh-sg zh-my"),
        "zh-hant": ("繁體", "zh-tw zh-hk zh-mo"),
        "zh-cn": ("大陆", "zh-hans zh-sg zh-my"),
        "zh-hk": ("香港", "zh-mo zh-hant zh-tw"),
        "zh-mo": ("澳門", "zh-hk zh-hant zh-tw"),
        "zh-my": ("大马", "zh-sg zh-hans zh-cn"),
        "zh-sg": ("新加坡", "zh-my zh-hans zh-cn"),
        "zh-tw": ("臺灣", "zh-hant zh-hk zh-mo"),
    },
    "sr": {
        "sr": ("српски / srpski", "sr-ec"),
        "sr-ec": ("српски (ћирилица)", "sr"),
        "sr-el": ("srpski (latinica)", "sr"),
    },
    "kk": {
        "kk": ("қазақша", "kk-cyrl"),
        "kk-cyrl": ("қазақша (кирил)", "kk"),
        "kk-latn": ("qazaqşa (latın)", "kk"),
        "kk-arab": ("قازاقشا (تٴوتە)", "kk"),
        "kk-kz": ("қазақша (Қазақстан)", "kk-cyrl"),
        "kk-tr": ("qazaqşa (Türkïya)", "kk-latn"),
        "kk-cn": ("قازاقشا (جۇنگو)", "kk-arab"),
    },
    "ku": {
        "ku": ("kurdî", "ku-latn"),
        "ku-arab": ("كوردي (عەرەبی)", "ku-latn"),
        "ku-latn": ("kurdî (latînî)", "ku-arab"),
    },
    "iu": {
        "iu": ("ᐃᓄᒃᑎᑐᑦ/inuktitut", "ike-cans"),
        "ike-cans": ("ᐃᓄᒃᑎᑐᑦ", "iu"),
        "ike-latn": ("inuktitut", "iu"),
    },
    "uz": {
        "uz": ("oʻzbekcha/ўзбекча", "uz-latn"),
        "uz-latn": ("oʻzbekcha", "uz"),
        "uz-cyrl": ("ўзбекча", "uz"),
    },
    "tg": {
        "tg": ("тоҷикӣ", ""),
        "tg-latn": ("tojikī", "tg"),
    },
    "tly": {
        "tly": ("tolışi", ""),
        "tly-cyrl": ("толыши", "tly"),
    },
    "crh": {
        "crh": ("qırımtatarca", "crh-latn"),
        "crh-cyrl": ("къырымтатарджа (Кирилл)", "crh-latn"),
        "crh-latn": ("qırımtatarca (Latin)", "crh-cyrl"),
    },
    "shi": {
        "shi": ("Taclḥit", "shi-latn shi-tfng"),
        "shi-tfng": ("ⵜⴰⵛⵍⵃⵉⵜ", "shi"),
        "shi-latn": ("Taclḥit", "shi"),
    },
    "gan": {
        "gan": ("原文", "gan-hans gan-hant"),
        "gan-hans": ("简体", "gan"),
        "gan-hant": ("繁體", "gan"),
    },
    "ban": {
        "ban": ("Basa Bali", ""),
        "ban-bali": ("ᬩᬲᬩᬮᬶ", "ban"),
        "ban-x-dharma": ("Basa Bali (alih aksara DHARMA)", "ban"),
        "ban-x-palmleaf": ("Basa Bali (alih aksara Palmleaf.org)", "ban"),
        "ban-x-pku": ("Basa Bali (alih aksara Puri Kauhan Ubud)", "ban"),
    },
}
_FLAGS: Final = {flag: flag for flag in "ATRD-HN"}
_MORE_FLAGS: Final = {
    "sr": {"S": "S", "писмо": "S", "pismo": "S", "W": "W", "реч": "W", "reč": "W", "ријеч": "W", "riječ": "W"}
}
_TAKE_FIRST = ("zh", "gan", "")  # wanted variants for which the first text is shown where there is none for them
_SEPARATORS: Final = {"zh": ("：", "；")}  # after a variant's name and after its text, in a description
_OTHER_CODES: Final = {
    "sr-cyrl": "sr-ec", "sr-latn": "sr-el", "zh-hans-cn": "zh-cn", "zh-hans-sg": "zh-sg", "zh-hans-my": "zh-my",
    "zh-hant-tw": "zh-tw", "zh-hant-hk": "zh-hk", "zh-hant-mo": "zh-mo",
}  # fmt: skip
_ENTITY = re.compile(r"(&[#a-zA-Z0-9]+);")
_ENTITY_END = "\x04"
_BLANKS = " \t\n"


class Converter(NamedTuple):
    """The converter of a language, set to a variant."""

    language: str
    wanted: str
    names: Mapping[str, str]  # of its variants
    fallbacks: tuple[str, ...]  # of the wanted variant, the nearest first
    separator: re.Pattern[str]  # between the texts for two variants

    def find_variant(self, code: str) -> str:
        """The variant that a code names, in any case and also by its BCP 47 code; "": none."""
        code = code.lower()
        code = _OTHER_CODES.get(code, code)
        return code if code in self.names else ""


@functools.cache
def find_converter(language: str, variant: str = "") -> Converter | None:
    """The converter of a wiki.

    Args:
        language: Of the wiki; "": unknown.
        variant: The wanted one; "": the text as it was written.

    Returns:
        None when the language has none. When nothing is known, one that knows all variants and shows the first text.

    Raises:
        ValueError: When the language has no such variant.
    """
    variants = LANGUAGES.get(language, {})
    if not language:
        owners = [known for known, codes in LANGUAGES.items() if variant.lower() in codes]
        language = owners[0] if owners else ""
        variants = (
            LANGUAGES[language] if owners else dict(item for codes in LANGUAGES.values() for item in codes.items())
        )
    wanted = variant.lower() or language
    if variant and wanted not in variants:
        raise ValueError(
            f"variant: {variant!r} is none of {language or 'any wiki'} ({', '.join(variants) or 'it has none'})"
        )
    if not variants:
        return None
    return Converter(
        language=language,
        wanted=wanted,
        names={code: name for code, (name, _) in variants.items()},
        fallbacks=tuple(variants[wanted][1].split()) if wanted else (),
        separator=_compile_separator(variants),
    )


def choose_text(rule: str, converter: Converter) -> str:
    """The text that a rule shows.

    Args:
        rule: What stands between ``-{`` and ``}-``; rules in it are resolved already.
        converter: Of the wiki.

    >>> zh_tw = find_converter("zh", "zh-tw")
    >>> [choose_text(rule, zh_tw) for rule in ("zh-cn:A;zh-hk:B", "H|zh-cn:A;zh-tw:B", "C", "N|zh-cn")]
    ['B', '', 'C', '大陆']
    """
    before, bar, after = rule.partition("|")
    flags = _read_flags(before, converter) if bar else ["S"]
    text = after if bar else rule
    if "R" in flags:
        return text
    if "N" in flags:
        return converter.names.get(text.strip(_BLANKS), "")
    texts, directed = _read_texts(text, converter)
    if not texts and not directed:
        if "+" in flags or "-" in flags:
            texts = dict.fromkeys(converter.names, text)
        elif "T" not in flags:
            return text
    shown = ""
    for flag in flags:  # the last one that shows something, or nothing, decides
        if flag == "S":
            shown = _choose(texts, directed, converter) if texts or directed else text
        elif flag == "D":
            shown = "".join(_describe(texts, directed, converter))
        elif flag in "H-+T":
            shown = ""
    return shown


def _read_flags(before: str, converter: Converter) -> list[str]:
    """What is to be done with a text, in the order in which it is done; flags that nobody knows are none."""
    known = _FLAGS | _MORE_FLAGS.get(converter.language, {}) | {code: code for code in converter.names}
    flags = list(dict.fromkeys(known[flag] for part in before.split(";") if (flag := part.strip(_BLANKS)) in known))
    for alone in "RN-":
        if alone in flags:
            return [alone]
    if flags == ["T"]:
        return ["T", "H"]
    if "H" in flags:
        return ["+", "H", *(flag for flag in "TD" if flag in flags)]
    if any(flag in converter.names for flag in flags):
        return ["R"]  # the text of some variants, shown to all
    if "A" in flags:
        flags += [flag for flag in "+S" if flag not in flags]
    if "D" in flags:
        flags = [flag for flag in flags if flag != "S"]
    return flags or ["S"]


def _read_texts(text: str, converter: Converter) -> tuple[dict[str, str], dict[str, str]]:
    """The texts by variant, and those that have a text before ``=>``; none when one is for no variant."""
    texts: dict[str, str] = {}
    directed: dict[str, str] = {}
    for part in converter.separator.split(_ENTITY.sub(rf"\1{_ENTITY_END}", text)):
        code, colon, to = part.replace(_ENTITY_END, ";").partition(":")
        if not colon:
            continue
        source, arrow, code_behind = code.partition("=>")
        variant = converter.find_variant((code_behind if arrow else code).strip(_BLANKS))
        if not variant:
            return {}, {}
        if arrow and source.strip():
            directed.setdefault(variant, to.strip())
        elif not arrow and to.strip():
            texts[variant] = to.strip()
    return texts, directed


def _choose(texts: Mapping[str, str], directed: Mapping[str, str], converter: Converter) -> str:
    for variant in (converter.wanted, *converter.fallbacks):
        if variant in texts:
            return texts[variant]
    if converter.wanted in directed:
        return directed[converter.wanted]
    if converter.wanted in _TAKE_FIRST:
        return next(iter((texts or directed).values()))
    return ""  # MediaWiki says that there is no text


def _describe(texts: Mapping[str, str], directed: Mapping[str, str], converter: Converter) -> Iterator[str]:
    after_name, after_text = _SEPARATORS.get(converter.language, (":", ";"))
    for variant, text in (*texts.items(), *directed.items()):
        yield f"{converter.names[variant]}{after_name}{text}{after_text}"


def _compile_separator(variants: Mapping[str, object]) -> re.Pattern[str]:
    """A semicolon behind which the text for a variant begins, or nothing more."""
    others = [other for other, code in _OTHER_CODES.items() if code in variants]
    codes = "|".join(map(re.escape, (*variants, *others)))
    return re.compile(rf";\s*+(?=(?:[^;]*?=>\s*+)?(?i:{codes})\s*+:|$)")
