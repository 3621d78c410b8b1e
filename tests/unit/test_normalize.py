"""The normalisation: by example, against an obvious one-character-at-a-time version, and its laws."""

import re
import sys
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vocab.clitics import CLITICS, clitics_of
from vocab.normalize import METACLIP, Normalization, normalize_column, normalize_text, tokenize

ODD_TEXT = st.text(
    st.one_of(
        st.sampled_from("aB'’ʼ- \n\t\x00.éİßŉǰᾳ\u0301\u0345\u200b\u200d\u00ad\ufe0f❤กิ中々がｶﾞ한1２½ﬁ„\U00020000"),
        st.sampled_from("''''sSldtrquLÉ++##♯♭＋_иеЯ\u0301\u0306اـ\u064e\u0653ש\u05bc׳"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\n", ""),
        ("The Eiffel Tower", "the eiffel tower"),
        ("new  york\nCITY", "new york city"),
        ("St. Louis (Missouri)", "st louis missouri"),
        ("Washington, D.C.", "washington d c"),
        ("rock 'n' roll, dogs' o’neill rock''n", "rock n roll dogs o'neill rock n"),
        ("Straße STRASSE", "strasse strasse"),
        ("İstanbul I\u0307STANBUL istanbul Istanbul i\u0307\u0307", "istanbul istanbul istanbul istanbul i"),
        ("Kadıköy KADIKÖY", "kadıköy kadiköy"),  # without a language, I is the capital of i
        ("i\u0307\u0301 ẋ", "í ẋ"),
        ("ﬁne ２０２１ x²", "fine 2021 x2"),
        ("cafe\u0301 café", "café café"),
        ("co\u00adoperate zero\u200bwidth", "cooperate zero width"),
        ("❤️ 1️⃣ \u0301a", "1 a"),
        ("snake_case half-life a/b", "snake case half life a b"),
        ("हिन्दी में", "हिन्दी में"),
        ("in 北京2008年", "in 北 京 2008 年"),
        ("ｶﾞラス", "ガ ラ ス"),
        ("กินข้าว", "กิ น ข้ า ว"),
        ("ប្រទេស", "ប្ រ ទេ ស"),
        ("한국 사람", "한국 사람"),
        ("l\x00r", "l r"),
        ("dog's DOG’S dog＇s dog 's dogs'", "dog s dog s dog s dog s dogs"),
        ("McDonald's, he'd've, 1990's", "mcdonald s he d ve 1990 s"),
        ("o'clock O'Brien don't fo'c's'le", "o'clock o'brien don't fo'c s'le"),
        ("C++ C# C F♯ B♭ Disney+ A+", "c plus plus c sharp c f sharp b flat disney plus a plus"),
        ("C++11, C++/CLI, 'C++'s, C＋＋", "c plus plus 11 c plus plus cli c plus plus s c plus plus"),
        ("#cat cat# Item# 7 red+panda a++b 18+ 1+1 A+1 + ++ C#m", "cat cat item 7 red panda a b 18 1 1 a 1 c m"),
        ("كِتَابٌ كتـــاب آية", "كتاب كتاب آية"),
        ("שָׁלוֹם שׁ ג׳ירפה", "שלום ש ג'ירפה"),
        ("Москва́ ёлка́ й ѓ cafe\u0301", "москва ёлка й ѓ café"),
    ],
)
def test_text_becomes_its_canonical_tokens(text, expected):
    assert normalize_text(text) == expected
    assert tokenize(text) == expected.split()


def test_sensitive_case_changes_nothing_but_the_folding():
    assert normalize_text("The EIFFEL-Tower’S Straße C#", case="sensitive") == "The EIFFEL Tower S Straße C sharp"


@pytest.mark.parametrize(
    ("clitics", "text", "expected"),
    [
        ("fr", "L'église d’Aujourd'hui, qu'il JUSQU'À O'Neill", "l église d aujourd'hui qu il jusqu à o'neill"),
        ("it", "dell'Eneide un'altra dell’arte c'è l'", "dell eneide un altra dell arte c è l"),
        ("ca", "l'Hospitalet d'ella, agafa'ls-hi porta'm", "l hospitalet d ella agafa ls hi porta m"),
        (
            "tr",
            "İstanbul'da TÜRKİYE'nin 5'i O'Brien'ın D'Artagnan",
            "istanbul da türkiye nin 5 i o'brien ın d'artagnan",
        ),
        ("nl", "foto's A4'tje zo'n", "foto s a4 tje zo'n"),
        ("cy", "i'r mae'n", "i r mae n"),
        ("none", "dog's L'église İstanbul'da м'ята", "dog's l'église istanbul'da м'ята"),
        ("en", "L'église İstanbul'da м'ята", "l'église istanbul'da м'ята"),
    ],
)
def test_clitics_are_those_of_the_language(clitics, text, expected):
    assert normalize_text(text, clitics=clitics) == expected


def test_wikis_without_clitics_have_no_rule():
    assert [clitics_of(language) for language in ("en", "simple", "gl", "uk", "uz", "")] == [
        "en", "en", "pt", "none", "none", "none",
    ]  # fmt: skip


def test_clitics_fit_what_is_compiled_of_them():
    for rule in CLITICS.values():
        parts = (*rule.before, *rule.behind)
        assert len(set(rule.before)) + len(set(rule.behind)) == len(parts)
        assert all(part == part.casefold() and part.isalpha() for part in parts)
        assert all(len(part) <= 8 for part in parts if part.isascii())


OPTIONAL = re.compile("[\u0640\u064b-\u0652\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
MORE_OPTIONAL = re.compile(
    "[\u0610-\u061a\u0656-\u065e\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0730-\u074a\u08d3-\u08e1\u08e3-\u08ff]"
)


def drop_marks_slowly(text: str) -> str:
    before = None
    while before != text:
        before = text
        kept = re.sub("(?<=[\u0400-\u052f])[\u0300\u0301]+", "", MORE_OPTIONAL.sub("", OPTIONAL.sub("", text)))
        text = unicodedata.normalize("NFKC", kept)
    return text


def spell_signs_slowly(text: str) -> str:
    spelled, position = "", 0
    if not set(text) & set("+#♯♭"):
        return text
    while position < len(text):
        sign, run = text[position], 1
        while sign == "+" and text[position + run : position + run + 1] == "+":
            run += 1
        before, after = text[:position], text[position + run : position + run + 1]
        is_last = not after.isalnum() or (run > 1 and after.isdecimal())
        behind_letter = before[-1:].isalnum() and not before[-1:].isdecimal()
        if sign == "+" and behind_letter and is_last:
            spelled += " plus" * run + " "
        elif sign in "#♯♭" and behind_letter and not before[-2:-1].isalnum() and is_last:
            spelled += " flat " if sign == "♭" else " sharp "
        else:
            spelled += text[position : position + run]
        position += run
    return spelled


def cut_slowly(token: str, clitics: str) -> list[str]:
    """The words of a token whose apostrophes are all inside it."""
    rule = CLITICS[clitics]
    first, *parts = token.split("'")
    words = [first]
    for before, part in zip([first, *parts], parts, strict=False):
        is_letter = len(before) == 1 and before.isalnum() and not before.isdecimal()
        is_clitic = before.lower() in rule.before or part.lower() in rule.behind or (rule.any_behind and not is_letter)
        words = [*words, part] if is_clitic else [*words[:-1], f"{words[-1]}'{part}"]
    return words


def normalize_slowly(text: str, case: str, clitics: str = "en") -> str:
    """Do what normalize_text does, one character at a time."""
    text = re.sub("[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f]", "", text)
    text = re.sub("[\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]", "", text)
    text = spell_signs_slowly(unicodedata.normalize("NFKC", text))
    if case == "fold":
        text = unicodedata.normalize("NFKC", re.sub("i\u0307+", "i", text.casefold()))
    text = drop_marks_slowly(text)
    tokens = [""]
    for position, char in enumerate(text):
        category = unicodedata.category(char)
        following = text[position + 1 : position + 2]
        if char in "'’ʼ׳":
            if is_word(tokens[-1]) and is_word(following):
                tokens[-1] += "'"
            else:
                tokens.append("")
        elif category[0] in "LN":
            if is_unspaced(char) or (tokens[-1] and is_unspaced(tokens[-1][0])):
                tokens.append("")
            tokens[-1] += char
        elif category in ("Mn", "Mc") and tokens[-1] and tokens[-1][-1] != "'":
            tokens[-1] += char
        else:
            tokens.append("")
    return " ".join(word for token in tokens if token for word in cut_slowly(token, clitics))


def is_word(token: str) -> bool:
    starts_word = bool(token) and token[0] not in "'’ʼ׳" and unicodedata.category(token[0])[0] in "LN"
    return starts_word and not is_unspaced(token)


def is_unspaced(token: str) -> bool:
    name = unicodedata.name(token[0], "")
    scripts = ("CJK", "HIRAGANA", "KATAKANA", "HENTAIGANA", "BOPOMOFO", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER")
    others = ("IDEOGRAPHIC ", "VERTICAL IDEOGRAPHIC", "HANGZHOU", "VERTICAL KANA", "MASU MARK")
    if name.startswith("IDEOGRAPHIC TALLY"):
        return False
    return name.startswith(scripts + others) or "KATAKANA-HIRAGANA" in name


CASES, RULES = st.sampled_from(["fold", "sensitive"]), st.sampled_from(["en", "fr", "it", "tr", "ca", "none"])


@given(st.lists(ODD_TEXT, max_size=8), CASES, RULES)
@example(["\u0301a", "b\u0301", "'", "a'", "'b", "中", "\u0301中", "中\u0301'a"], "fold", "en")
@example(["и\u0301\u0306\u0301", "ا\u0610\u0653", "a\u064e+", "C+#", "b#'s", "dog's's", "L'L'a's"], "fold", "fr")
@settings(max_examples=150)
def test_column_equals_the_slow_version_of_each_text(texts, case, clitics):
    expected = [normalize_slowly(text, case, clitics) for text in texts]
    assert normalize_column(pa.array(texts, pa.string()), case=case, clitics=clitics).to_pylist() == expected
    assert [normalize_text(text, case=case, clitics=clitics) for text in texts] == expected


@given(ODD_TEXT, CASES, RULES)
@example("и\u0301\u0306\u0301", "fold", "en")
@settings(max_examples=150)
def test_normalising_twice_changes_nothing(text, case, clitics):
    once = normalize_text(text, case=case, clitics=clitics)
    assert normalize_text(once, case=case, clitics=clitics) == once


def test_every_character_is_classified_as_in_the_slow_version_and_stays_as_it_came_out():
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    characters = [char for char in characters if unicodedata.category(char) not in ("Cs", "Cn", "Co")]
    between_letters = pa.array([f"a{char}b" for char in characters], pa.string())
    once = normalize_column(between_letters)
    assert once.to_pylist() == [normalize_slowly(text, "fold") for text in between_letters.to_pylist()]
    assert normalize_column(once) == once


def test_column_keeps_its_type_and_length_and_counts_null_as_empty():
    for kind in (pa.string(), pa.large_string()):
        normalized = normalize_column(pa.array(["A", None, "É", ""], kind))
        assert normalized == pa.array(["a", "", "é", ""], kind)
    assert normalize_column(pa.array([], pa.string())) == pa.array([], pa.string())
    assert normalize_column(pa.array(["x", "A B", "C"])[1:]).to_pylist() == ["a b", "c"]


def test_metaclip_style_spaces_seven_characters_and_nothing_else():
    texts = pa.array(["St. Louis,\tUSA", "a  b\r\n(c) 'd'`;:?!-", "", None, "naïve\x00"])
    assert METACLIP.normalize_texts(texts).to_pylist() == [
        "St .  Louis ,  USA",
        "a  b  (c) 'd' `  ;  :  ?  ! -",
        "",
        "",
        "naïve\x00",
    ]
    assert METACLIP.normalize_queries(texts) == texts


@pytest.mark.parametrize(
    "options",
    [
        {"style": "metaclip"},
        {"case": "upper"},
        {"style": "subword"},
        {"style": "metaclip", "case": "sensitive"},
        {"clitics": "english"},
    ],
)
def test_impossible_normalisation_is_refused(options):
    with pytest.raises(ValueError, match=r"case|clitics must be one of none, .*, not 'english'"):
        Normalization(**options)
