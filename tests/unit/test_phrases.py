"""A phrase ends at punctuation of every script, and not within words, names and abbreviations."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.normalize import tokenize
from vocab.phrases import split_phrases


def phrases_of(text, case="sensitive"):
    """The tokens of each phrase of a text."""
    [phrases] = split_phrases(pa.array([text], pa.string())).to_pylist()
    return [tokens for phrase in phrases if (tokens := tokenize(phrase, case=case))]


def shown(text):
    return " | ".join(map(" ".join, phrases_of(text)))


ENDED = {
    "comma": ("in France, Spain", "in France | Spain"),
    "comma without a space": ("France,Spain", "France | Spain"),
    "full stop": ("the war. The end", "the war | The end"),
    "semicolon": ("one; two", "one | two"),
    "colon": ("See also: cats", "See also | cats"),
    "question and exclamation mark": ("why? because! so", "why | because | so"),
    "brackets": ("a (b) c [d] e {f} g", "a | b | c | d | e | f | g"),
    "quotes": ('the "Blue" house', "the | Blue | house"),
    "quotes that lean": ("the “Blue” house, ‘so’ „x“ «y» ›z‹", "the | Blue | house | so | x | y | z"),
    "slash": ("and/or a \\ b", "and | or a | b"),
    "dash between spaces": ("one - two – three — four", "one | two | three | four"),
    "em dash": ("word—word", "word | word"),
    "two hyphens": ("word--word", "word | word"),
    "hyphen that a word is left out at": ("first- and second-class", "first | and second class"),
    "bullet": ("a • b", "a | b"),
    "three dots": ("wait… what... now", "wait | what | now"),
    "bar and signs of mathematics": ("a | b = c < d", "a | b | c | d"),
    "removed template": ("a \x1f b", "a | b"),
    "line": ("a\nb\u2028c\td", "a | b | c | d"),
    "Chinese": ("北京。上海、天津，重慶", "北 京 | 上 海 | 天 津 | 重 慶"),
    "Japanese": ("「東京」の・京都", "東 京 | の | 京 都"),
    "Devanagari": ("एक। दो॥ तीन", "एक | दो | तीन"),
    "Arabic": ("واحد، اثنان؟ ثلاثة؛ أربعة۔ خمسة", "واحد | اثنان | ثلاثة | أربعة | خمسة"),
    "Armenian": ("մեկ։ երկու՝ երեք", "մեկ | երկու | երեք"),
    "Greek": ("ένα· δύο; τρία", "ένα | δύο | τρία"),
    "Burmese": ("က၊ ခ။ ဂ", "က | ခ | ဂ"),
    "Ethiopic": ("ሀ። ለ፣ መ", "ሀ | ለ | መ"),
    "small abbreviation": ("e.g. cats, i.e. dogs", "e | g | cats | i | e | dogs"),
    "abbreviation that is a word": ("in the sea. They", "in the sea | They"),
    "year": ("in 1984. The", "in 1984 | The"),
    "number with marks in it": ("of 1,000 people", "of | 1 | 000 | people"),
    "fraction, time, range, date": (
        "a 2.5 b 10:30 c 1939–45 d 9/11 e ½ f", "a | 2 | 5 | b | 10 | 30 | c | 1939 | 45 | d | 9 | 11 | e | 1 | 2 | f"
    ),
    "number with narrow spaces": ("soit 12\u202f000\u00a0habitants", "soit | 12 | 000 | habitants"),
    "long number": ("ISBN 0-19-852663-6 by", "ISBN | 0 | 19 | 852663 | 6 | by"),
}  # fmt: skip
UNENDED = {
    "space": "New  York\u00a0City\u3000Hall 5\u00a0km",
    "hyphen in a word": "hip-hop music",
    "en dash in a word": "the Franco–Prussian War",
    "hyphen behind an abbreviation": "a U.S.-led war",
    "apostrophe": "the dogs' bowl rock 'n' roll d’Eneide",
    "initials": "J. R. R. Tolkien and J.R.R. Tolkien in the U.S. Army",
    "Dr. and St.": "Dr. Who of St. Louis met Mr. Lt. No. 5",
    "titles": "Maj. Gen. Lee and Prof. Mrs. Brig. Warner Bros. Pictures",
    "degree": "a Ph.D. thesis",
    "Cyrillic, Greek, Hebrew and Devanagari initials": "А. С. Пушкин Α. Παπα ד. בן डॉ. अम",
    "ordinal number": "am 3. Oktober dem 20. Jahrhundert",
    "address": "at example.com now",
    "ampersand": "Marks & Spencer of AT&T",
    "number": "World War 2 and a Boeing 747 with F-16",
    "signs that are read": "Route #5 of C++ and 5 % for US$ 5 at 30 °C",
    "Catalan": "una col·lecció",
    "Hebrew": 'של צה"ל בית־ספר',
    "Tibetan and Ethiopic": "བོད་སྐད ሀ፡ለ",
    "Armenian tone": "ինչո՞ւ ոչ",
    "soft hyphen": "a soft\u00adhyphen",
}


@pytest.mark.parametrize(("text", "phrases"), ENDED.values(), ids=ENDED.keys())
def test_a_phrase_ends(text, phrases):
    assert shown(text) == phrases


@pytest.mark.parametrize("text", UNENDED.values(), ids=UNENDED.keys())
def test_a_phrase_goes_on(text):
    assert phrases_of(text) == [tokenize(text, case="sensitive")]


SIGNS = "abAB0é中\u0e01 #.,'-–—\"/()\u2019\u02bc\u0301\u0345\u00ad\u00a0\u202f\x1f\u2028½1９ǅﬁ·:+$…。ʼ‘ㅤ\u0338<="
PIECES = st.sampled_from(["St", "Gen", "Prof", "e.g.", "J.", "1,0", "3.", ". ", " - ", *SIGNS])
TEXTS = st.lists(PIECES, max_size=14).map("".join)
# Any characters that Python knows: the package regex may know those of a later Unicode.
KNOWN = st.characters(exclude_categories=("Cn", "Cs"))


@settings(max_examples=100)
@given(st.lists(TEXTS | st.text(KNOWN, max_size=12), max_size=9))
def test_phrases_are_those_of_the_plain_rule(plain_phrases, texts):
    texts = [text.replace("\n", " ") for text in texts]
    found = split_phrases(pa.array(texts, pa.string())).to_pylist()
    for text, phrases in zip(texts, found, strict=True):
        expected, of_text = (list(filter(None, map(tokenize, each))) for each in (plain_phrases(text), phrases))
        assert of_text == expected


@settings(max_examples=100)
@given(TEXTS | st.text(KNOWN, max_size=20), st.sampled_from(["fold", "sensitive"]))
def test_the_tokens_of_a_text_are_those_of_its_phrases(text, case):
    assert [token for phrase in phrases_of(text, case) for token in phrase] == tokenize(text, case=case)


@settings(max_examples=100)
@given(TEXTS)
def test_whatever_stands_beyond_a_space_changes_nothing(text):
    whole = split_phrases(pa.array([text], pa.string())).to_pylist()[0]
    chunks = split_phrases(pa.array(text.split(" "), pa.string())).to_pylist()
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined = [*joined[:-1], joined[-1] + " " + chunk[0], *chunk[1:]]
    assert [phrase for phrase in joined if phrase.strip()] == [phrase for phrase in whole if phrase.strip()]


def test_no_texts_and_empty_texts_have_no_tokens():
    assert split_phrases(pa.array([], pa.string())).to_pylist() == []
    assert split_phrases(pa.array(["", "é", ""], pa.string())).to_pylist() == [[""], ["é"], [""]]
