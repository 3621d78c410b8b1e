"""The normalisation: by example, against an obvious one-character-at-a-time version, and its laws."""

import re
import sys
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vocab.normalize import METACLIP, Normalization, normalize_column, normalize_text, tokenize

ODD_TEXT = st.text(
    st.one_of(
        st.sampled_from("aB'’ʼ- \n\t\x00.éİßŉǰᾳ\u0301\u0345\u200b\u200d\u00ad\ufe0f❤กิ中々がｶﾞ한1２½ﬁ„\U00020000"),
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
    ],
)
def test_text_becomes_its_canonical_tokens(text, expected):
    assert normalize_text(text) == expected
    assert tokenize(text) == expected.split()


def test_sensitive_case_changes_nothing_but_the_folding():
    assert normalize_text("The EIFFEL-Tower’s Straße", case="sensitive") == "The EIFFEL Tower's Straße"


def normalize_slowly(text: str, case: str) -> str:
    """Do what normalize_text does, one character at a time."""
    text = re.sub("[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f]", "", text)
    text = re.sub("[\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]", "", text)
    text = unicodedata.normalize("NFKC", text)
    if case == "fold":
        text = unicodedata.normalize("NFKC", re.sub("i\u0307+", "i", text.casefold()))
    tokens = [""]
    for position, char in enumerate(text):
        category = unicodedata.category(char)
        following = text[position + 1 : position + 2]
        if char in "'’ʼ":
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
    return " ".join(token for token in tokens if token)


def is_word(token: str) -> bool:
    starts_word = bool(token) and token[0] not in "'’ʼ" and unicodedata.category(token[0])[0] in "LN"
    return starts_word and not is_unspaced(token)


def is_unspaced(token: str) -> bool:
    name = unicodedata.name(token[0], "")
    scripts = ("CJK", "HIRAGANA", "KATAKANA", "HENTAIGANA", "BOPOMOFO", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER")
    others = ("IDEOGRAPHIC ", "VERTICAL IDEOGRAPHIC", "HANGZHOU", "VERTICAL KANA", "MASU MARK")
    if name.startswith("IDEOGRAPHIC TALLY"):
        return False
    return name.startswith(scripts + others) or "KATAKANA-HIRAGANA" in name


@given(st.lists(ODD_TEXT, max_size=8), st.sampled_from(["fold", "sensitive"]))
@example(["\u0301a", "b\u0301", "'", "a'", "'b", "中", "\u0301中", "中\u0301'a"], "fold")
@settings(max_examples=100)
def test_column_equals_the_slow_version_of_each_text(texts, case):
    expected = [normalize_slowly(text, case) for text in texts]
    assert normalize_column(pa.array(texts, pa.string()), case=case).to_pylist() == expected
    assert [normalize_text(text, case=case) for text in texts] == expected


@given(ODD_TEXT, st.sampled_from(["fold", "sensitive"]))
@settings(max_examples=100)
def test_normalising_twice_changes_nothing(text, case):
    once = normalize_text(text, case=case)
    assert normalize_text(once, case=case) == once


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


@pytest.mark.parametrize("options", [{"style": "metaclip"}, {"case": "upper"}, {"style": "subword"}])
def test_impossible_normalisation_is_refused(options):
    with pytest.raises(ValueError, match="case"):
        Normalization(**options)
