"""The text normalisation and tokenisation, one for queries and for the texts they are searched in.

In: any text. Out: its canonical tokens joined by single spaces, so that "the text contains the query" means
`" query " in " text "` on the normalised strings. Two styles:

`words` (the default)
    Compatibility characters are unified (NFKC) and case is folded, unless `case="sensitive"`: by Unicode's full
    folding, without the dot that it leaves over an i, so that "İstanbul" and "Istanbul" are one. Marks that readers
    need and writers leave out go: vowels and tatweel of Arabic, points of Hebrew, vowels of Syriac, stress in Cyrillic.
    Letters, numbers and their marks make tokens; an apostrophe inside a word belongs to it, but separates a clitic from
    it (`vocab.clitics`: dog's is `dog s`); everything else separates. Scripts that write no spaces between words
    (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) give one token a character, its marks included.
    Signs that a name ends with are spelled out as they are spoken, so that C++, C# and C are three: a run of "+" behind
    a letter (C++ is `c plus plus`), "#" and "♯" behind a single letter (F# is `f sharp`), "♭" likewise (`flat`), where
    no letter or number follows; behind several "+", a number may (C++11). Normalising twice changes nothing.
`metaclip`
    What MetaCLIP does, bit for bit: seven punctuation characters become tokens, white space becomes spaces, nothing is
    collapsed or folded, and queries are left as they are.

A whole column is normalised at once, as one long string; a single text is a column of one.

Source: Unicode Standard Annex 15 (NFKC), section 3.13 (case folding), and 9.1, 9.2, 9.3 (which points of Hebrew, Arabic
and Syriac are optional); MetaCLIP's metaclip1/substr_matching.py.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.clitics import CLITICS, NO_CLITICS

Case = Literal["fold", "sensitive"]
Style = Literal["words", "metaclip"]
_Code = TypeVar("_Code", np.uint8, np.uint32)


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Which strings count as the same: chosen once, when a vocabulary is compiled, and kept with it."""

    case: Case = "fold"
    style: Style = "words"
    clitics: str = "en"  # a key of `vocab.clitics.CLITICS`

    def __post_init__(self) -> None:
        if self.case not in get_args(Case) or self.style not in get_args(Style):
            raise ValueError(f"unknown normalisation: case {self.case!r}, style {self.style!r}")
        if self.clitics not in CLITICS:
            raise ValueError(f"clitics must be one of {', '.join(CLITICS)}, not {self.clitics!r}")
        if self.style == "metaclip" and (self.case, self.clitics) != ("sensitive", NO_CLITICS):
            raise ValueError(
                "the metaclip style heeds case and knows no clitics: case must be 'sensitive', clitics 'none', "
                f"not {self.case!r} and {self.clitics!r}"
            )

    def normalize_texts(self, texts: pa.Array) -> pa.Array:
        """Normalises a column of texts that queries are searched in."""
        return _space_punctuation(texts) if self.style == "metaclip" else self._normalize_words(texts)

    def goes_by_bytes(self, texts: pa.Array) -> pa.Array:
        """Whether `byte_rules` do for each text of a column without nulls."""
        return pa.repeat(True, len(texts)) if self.style == "metaclip" else pc.string_is_ascii(texts)

    def byte_rules(self) -> "ByteRules":
        """How to cut texts that need no more than a look at each byte."""
        kinds, becomes = _character_kinds()[:256], np.arange(256, dtype=np.uint8)
        if self.style == "metaclip":
            alone = np.isin(becomes, list(_PUNCTUATION))
            in_word = ~alone & ~np.isin(becomes, list(_WHITE_SPACE))
            return ByteRules(becomes, in_word, alone, empty_tokens=True)
        if self.case == "fold":
            becomes = np.frombuffer(bytes(range(256)).lower(), np.uint8)
        return ByteRules(
            becomes,
            kinds == _WORD,
            kinds == _ALONE,
            quote=_APOSTROPHE,
            before=_ascii_only(CLITICS[self.clitics].before),
            behind=_ascii_only(CLITICS[self.clitics].behind),
            any_behind=CLITICS[self.clitics].any_behind,
            behind_letters={ord("+"): _PLUS_WORD.encode()},
            behind_single_letter={ord("#"): _SIGN_WORDS["#"].encode()},
        )

    def normalize_queries(self, queries: pa.Array) -> pa.Array:
        """Normalises a column of queries; a query without a token comes out empty."""
        return queries if self.style == "metaclip" else self._normalize_words(queries)

    def _normalize_words(self, texts: pa.Array) -> pa.Array:
        return normalize_column(texts, case=self.case, clitics=self.clitics)


class ByteRules(NamedTuple):
    """How to cut a text into tokens and normalise these, byte by byte; what is none of the following separates."""

    becomes: npt.NDArray[np.uint8]  # [256]
    in_word: npt.NDArray[np.bool_]  # [256] is part of a token
    alone: npt.NDArray[np.bool_]  # [256] is a token
    quote: int | None = None  # a byte that is part of a token between two that are, but for clitics
    before: tuple[bytes, ...] = ()  # parts of a word behind which the quote separates, in lower case
    behind: tuple[bytes, ...] = ()  # parts of a word in front of which it does
    any_behind: bool = False  # it always does, but behind a single letter
    behind_letters: Mapping[int, bytes] = {}  # bytes that stand for a token, each of a run that ends a word
    behind_single_letter: Mapping[int, bytes] = {}  # bytes that do where they end a word of one letter
    empty_tokens: bool = False  # whether there is one between two separators, and between one and the beginning or end

    @classmethod
    def of_normalized(cls) -> Self:
        """The rules of texts that are normalised already: tokens between single spaces."""
        becomes = np.arange(256, dtype=np.uint8)
        return cls(becomes, becomes != _SPACE, np.zeros(256, np.bool_))


ENGLISH = Normalization()
METACLIP = Normalization(case="sensitive", style="metaclip", clitics=NO_CLITICS)


def normalize_text(text: str, *, case: Case = "fold", clitics: str = "en") -> str:
    """The canonical tokens of one text, joined by single spaces.

    >>> normalize_text("The Eiffel-Tower’s lift, at  5 o’clock")
    "the eiffel tower s lift at 5 o'clock"
    >>> normalize_text("In 北京 2008", case="sensitive")
    'In 北 京 2008'
    >>> normalize_text("Aujourd'hui, l'église", clitics="fr")
    "aujourd'hui l église"
    """
    joined = "\n" + text.replace("\n", " ") + "\n"
    return _normalize_joined(joined.encode(), case, clitics).tobytes().decode().strip()


def tokenize(text: str, *, case: Case = "fold", clitics: str = "en") -> list[str]:
    """The canonical tokens of one text."""
    return normalize_text(text, case=case, clitics=clitics).split()


def normalize_column(texts: pa.Array, *, case: Case = "fold", clitics: str = "en") -> pa.Array:
    """Normalises every text of a column; the same as `normalize_text` on each, at a fraction of the cost.

    Args:
        texts: string or large_string; null counts as empty.
        case: "fold" makes "Straße" and "STRASSE" one; "sensitive" leaves the case.
        clitics: Whose are words of their own, a key of `vocab.clitics.CLITICS`.

    Returns:
        A column of the same type and length, without nulls.
    """
    texts = pc.replace_substring(pc.fill_null(texts, ""), "\n", " ")
    is_ascii = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    parts = [texts.filter(pa.array(selected)) for selected in (is_ascii, ~is_ascii)]
    parts = [_split_rows(_normalize_joined(join_rows(part, "\n"), case, clitics)) for part in parts]
    rows = np.where(is_ascii, np.cumsum(is_ascii), len(parts[0]) + np.cumsum(~is_ascii)) - 1
    return pa.concat_arrays(parts).take(pa.array(rows)).cast(texts.type)


def unify_characters(text: str) -> str:
    """A text in compatibility characters (NFKC), without those that show nothing.

    >>> unify_characters("１６\u00adｍ，")
    '16m,'
    """
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def join_rows(texts: pa.Array, mark: str) -> bytes:
    """Joins a column without nulls into one UTF-8 string, with a mark before, between and after its rows.

    >>> join_rows(pa.array(["a", "b c"]), "|")
    b'|a|b c|'
    """
    rows = texts.cast(pa.large_string())
    whole = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
    joined: bytes = pc.binary_join(whole, pa.scalar(mark, rows.type)).cast(pa.large_binary())[0].as_py()
    edge = mark.encode()
    return edge + joined + edge if len(rows) else edge


# The words style. All rows of a column are one string while they are worked on, each between two row marks.

_ROW = ord("\n")  # a line break inside a text separates as a space does, so it is free to mark the rows
_SPACE = ord(" ")
_APOSTROPHE = ord("'")

# Kinds of characters; marks and apostrophes become one of the others by what stands beside them.
_SEPARATES, _WORD, _ALONE, _MARK, _QUOTE, _ATTACHED, _ROW_MARK, _OPTIONAL = range(8)

_APOSTROPHES = "'\u2019\u02bc\u05f3"  # the last is Hebrew's geresh

# What a sign at the end of a name is called. (Of letters here only: "18+" and "#1" are as they were.)
_PLUS_WORD = "plus"
_SIGN_WORDS = {"#": "sharp", "\u266f": "sharp", "\u266d": "flat"}

# Blocks of the scripts written without spaces between words: Thai and Lao, Tibetan, Burmese (and three more blocks
# below), Khmer, Japanese and Bopomofo with their extensions, Chinese characters with theirs.
_UNSPACED_BLOCKS = (
    (0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3021, 0x3029),
    (0x3031, 0x312F), (0x31A0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF), (0x116D0, 0x116FF), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip

# Characters that show nothing and divide nothing: soft hyphen, joiners, direction marks, variation selectors, tags.
# (Default_Ignorable_Code_Point of the Unicode database; its letters stay and the zero-width space separates.)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)

_DOTTED_I = re.compile("i\u0307+")  # what Unicode folds the Turkish capital to, and nobody writes

# Tatweel and the marks of Arabic but madda, hamza and the wavy hamza, which make other letters; points and accents of
# Hebrew; vowels of Syriac.
_OPTIONAL_MARKS = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065e\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0730-\u074a\u08d3-\u08e1\u08e3-\u08ff"
)
# Stress on a letter of Cyrillic: where such a mark makes another letter, NFKC has made it.
_STRESS = re.compile("[\u0300\u0301](?<=[\u0400-\u052f].)[\u0300\u0301]*")

_LETTER, _WORD_CHARACTER = r"[^\W\d_]", r"[^\W_]"
_SIGNS = "".join(_SIGN_WORDS)
_PLUSES = re.compile(rf"\+(?<={_LETTER}\+)(?:\+*(?!{_WORD_CHARACTER}|\+)|\++(?=\d))")
_SIGN = re.compile(rf"[{_SIGNS}](?<=(?<!{_WORD_CHARACTER}){_LETTER}[{_SIGNS}])(?!{_WORD_CHARACTER})")


def _normalize_joined(joined: bytes, case: Case, clitics: str) -> npt.NDArray[np.uint8]:
    """Normalises the rows between row marks; each may keep a space before its first token."""
    if joined.isascii():
        if b"+" in joined or b"#" in joined:
            joined = spell_signs(joined.decode()).encode()
        tokens = _join_tokens(np.frombuffer(joined.lower() if case == "fold" else joined, np.uint8)).tobytes()
        return np.frombuffer(_cut_clitics(tokens.decode(), clitics).encode() if b"'" in tokens else tokens, np.uint8)
    text = spell_signs(unify_characters(joined.decode()))
    if case == "fold":
        text = unicodedata.normalize("NFKC", _DOTTED_I.sub("i", text.casefold()))
    codes = _drop_optional_marks(text)
    return np.frombuffer(_cut_clitics(_join_tokens(codes).tobytes().decode("utf-32-le"), clitics).encode(), np.uint8)


def _drop_optional_marks(text: str) -> npt.NDArray[np.uint32]:
    """The code points of NFKC text without the marks that writers leave out, in NFKC again."""
    while True:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        is_optional = _character_kinds()[codes] == _OPTIONAL
        shorter = codes[~is_optional].tobytes().decode("utf-32-le") if is_optional.any() else text
        shorter = _STRESS.sub("", shorter)
        if len(shorter) == len(text):
            return codes
        text = unicodedata.normalize("NFKC", shorter)


def spell_signs(text: str) -> str:
    """Puts words for the signs that end a name, in texts of unified characters.

    >>> spell_signs("C++ and C#, not #1").split()
    ['C', 'plus', 'plus', 'and', 'C', 'sharp', ',', 'not', '#1']
    """
    if "+" in text:
        text = _PLUSES.sub(lambda found: f" {_PLUS_WORD}" * len(found[0]) + " ", text)
    return _SIGN.sub(lambda found: f" {_SIGN_WORDS[found[0]]} ", text)


def _cut_clitics(tokens: str, clitics: str) -> str:
    """Separates clitics from the words of normalised texts."""
    found = _clitic_apostrophes(clitics)
    return found.sub(" ", tokens) if found else tokens


@functools.cache
def _clitic_apostrophes(clitics: str) -> re.Pattern[str] | None:
    """Finds the apostrophes that separate in normalised texts, where an apostrophe is always inside a word."""
    rule = CLITICS[clitics]
    edge = r"[ \n']"
    before = [f"(?<={edge}{_any_case(part)}')" for part in rule.before]
    behind = [f"(?={_any_case(part)}{edge})" for part in rule.behind]
    if rule.any_behind:
        behind.append(f"(?<!{edge}{_LETTER}')")
    return re.compile(f"'(?:{'|'.join([*behind, *before])})") if before or behind else None


def _any_case(part: str) -> str:
    """An expression for a string in lower or upper case; of fixed length, as what is looked back for must be."""
    return "".join(f"[{char}{char.upper()}]" for char in part)


def _ascii_only(parts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in parts if part.isascii())


def _join_tokens(codes: npt.NDArray[_Code]) -> npt.NDArray[_Code]:
    """Turns whatever separates tokens into single spaces, at most one at a row's start and none at its end."""
    kinds = _resolve_kinds(_character_kinds()[codes])
    chars = np.where(kinds == _SEPARATES, codes.dtype.type(_SPACE), codes)
    chars[kinds == _QUOTE] = _APOSTROPHE
    alone = kinds == _ALONE
    if alone.any():
        ends_alone = alone[:-1] | (kinds[:-1] == _ATTACHED)
        alone[1:] |= ends_alone & ((kinds[1:] == _WORD) | (kinds[1:] == _QUOTE))
        chars = np.insert(chars, np.flatnonzero(alone), _SPACE)
    is_space = chars == _SPACE
    last_of_run = is_space.copy()
    last_of_run[:-1] &= ~is_space[1:] & (chars[1:] != _ROW)
    return chars[~is_space | last_of_run]


def _resolve_kinds(kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Decides by its neighbours what a mark and an apostrophe is; changes and returns `kinds`."""
    marks = np.flatnonzero(kinds == _MARK)
    if marks.size:
        bases = np.arange(kinds.size)
        bases[marks] = 0
        of_base = kinds[np.maximum.accumulate(bases)[marks]]
        kinds[marks] = np.select([of_base == _WORD, of_base == _ALONE], [_WORD, _ATTACHED], _SEPARATES)
    quotes = np.flatnonzero(kinds == _QUOTE)
    inside_word = (kinds[quotes - 1] == _WORD) & (kinds[quotes + 1] == _WORD)
    kinds[quotes[~inside_word]] = _SEPARATES
    return kinds


def _split_rows(joined: npt.NDArray[np.uint8]) -> pa.Array:
    """Cuts UTF-8 bytes at the row marks into a column, without the spaces at a row's start."""
    row_marks = np.flatnonzero(joined == _ROW)
    starts_with_space = joined[row_marks[:-1] + 1] == _SPACE
    keep = np.ones(joined.size, np.bool_)
    keep[row_marks] = False
    keep[row_marks[:-1][starts_with_space] + 1] = False
    offsets = row_marks - np.arange(row_marks.size)
    offsets[1:] -= np.cumsum(starts_with_space)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(joined[keep]))


@functools.cache
def _character_kinds() -> npt.NDArray[np.uint8]:
    """The kind of every code point, [0x110000]."""
    words = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No")
    of_category = dict.fromkeys(words, _WORD) | {"Mn": _MARK, "Mc": _MARK}
    kinds = np.full(0x110000, _SEPARATES, np.uint8)
    num_planes_with_letters = 4
    assigned = range(num_planes_with_letters << 16)
    kinds[: len(assigned)] = [of_category.get(unicodedata.category(chr(code)), _SEPARATES) for code in assigned]
    for first, last in _UNSPACED_BLOCKS:
        block = kinds[first : last + 1]
        block[block == _WORD] = _ALONE
    kinds[[ord(apostrophe) for apostrophe in _APOSTROPHES]] = _QUOTE
    kinds[_ROW] = _ROW_MARK
    left_out = re.compile(f"[{_OPTIONAL_MARKS}]")
    kinds[[code for code in range(0x0590, 0x0900) if left_out.match(chr(code))]] = _OPTIONAL
    return kinds


_PUNCTUATION, _WHITE_SPACE = b",.;:?!`", b"\t\n\r "


def _space_punctuation(texts: pa.Array) -> pa.Array:
    spaced = pc.replace_substring_regex(pc.fill_null(texts, ""), f"[{_PUNCTUATION.decode()}]", r" \0 ")
    return pc.replace_substring_regex(spaced, f"[{_WHITE_SPACE.decode()}]", " ")
