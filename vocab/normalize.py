"""The text normalisation and tokenisation, one for queries and for the texts they are searched in.

In: any text. Out: its canonical tokens joined by single spaces, so that "the text contains the query" means
`" query " in " text "` on the normalised strings. Two styles:

`words` (the default)
    Compatibility characters are unified (NFKC) and case is folded, unless `case="sensitive"`: by Unicode's full
    folding, without the dot that it leaves over an i, so that "İstanbul" and "Istanbul" are one. Letters, numbers and
    their marks make tokens; an apostrophe inside a word belongs to it; everything else separates. Scripts that
    write no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) give one token a character,
    its marks included. Normalising twice changes nothing.
`metaclip`
    What MetaCLIP does, bit for bit: seven punctuation characters become tokens, white space becomes spaces, nothing is
    collapsed or folded, and queries are left as they are.

A whole column is normalised at once, as one long string; a single text is a column of one.

Source: Unicode Standard Annex 15 (NFKC) and section 3.13 (case folding); MetaCLIP's metaclip1/substr_matching.py.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Case = Literal["fold", "sensitive"]
Style = Literal["words", "metaclip"]
_Code = TypeVar("_Code", np.uint8, np.uint32)


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Which strings count as the same: chosen once, when a vocabulary is compiled, and kept with it."""

    case: Case = "fold"
    style: Style = "words"

    def __post_init__(self) -> None:
        if self.case not in get_args(Case) or self.style not in get_args(Style):
            raise ValueError(f"unknown normalisation: case {self.case!r}, style {self.style!r}")
        if self.style == "metaclip" and self.case != "sensitive":
            raise ValueError("the metaclip style is case-sensitive: case must be 'sensitive'")

    def normalize_texts(self, texts: pa.Array) -> pa.Array:
        """Normalises a column of texts that queries are searched in."""
        return _space_punctuation(texts) if self.style == "metaclip" else normalize_column(texts, case=self.case)

    def goes_by_bytes(self, texts: pa.Array) -> pa.Array:
        """Whether `byte_rules` do for each text of a column without nulls."""
        return pa.repeat(True, len(texts)) if self.style == "metaclip" else pc.string_is_ascii(texts)

    def byte_rules(self) -> "ByteRules":
        """How to cut texts that need no more than a look at each byte."""
        kinds, becomes = _character_kinds()[:256], np.arange(256, dtype=np.uint8)
        if self.style == "metaclip":
            alone = np.isin(becomes, list(_PUNCTUATION))
            in_word = ~alone & ~np.isin(becomes, list(_WHITE_SPACE))
            return ByteRules(becomes, in_word, alone, quote=_NO_BYTE, empty_tokens=True)
        if self.case == "fold":
            becomes = np.frombuffer(bytes(range(256)).lower(), np.uint8)
        return ByteRules(becomes, kinds == _WORD, kinds == _ALONE, quote=_APOSTROPHE, empty_tokens=False)

    def normalize_queries(self, queries: pa.Array) -> pa.Array:
        """Normalises a column of queries; a query without a token comes out empty."""
        return queries if self.style == "metaclip" else normalize_column(queries, case=self.case)


class ByteRules(NamedTuple):
    """How to cut a text into tokens and normalise these, byte by byte; what is none of the following separates."""

    becomes: npt.NDArray[np.uint8]  # [256]
    in_word: npt.NDArray[np.bool_]  # [256] is part of a token
    alone: npt.NDArray[np.bool_]  # [256] is a token
    quote: int  # a byte that is part of a token between two that are; 256: there is none
    empty_tokens: bool  # whether there is one between two separators, and between one and the beginning or end

    @classmethod
    def of_normalized(cls) -> Self:
        """The rules of texts that are normalised already: tokens between single spaces."""
        becomes = np.arange(256, dtype=np.uint8)
        return cls(becomes, becomes != _SPACE, np.zeros(256, np.bool_), quote=_NO_BYTE, empty_tokens=False)


METACLIP = Normalization(case="sensitive", style="metaclip")


def normalize_text(text: str, *, case: Case = "fold") -> str:
    """The canonical tokens of one text, joined by single spaces.

    >>> normalize_text("The Eiffel-Tower, at  5 o’clock")
    "the eiffel tower at 5 o'clock"
    >>> normalize_text("In 北京 2008", case="sensitive")
    'In 北 京 2008'
    """
    joined = "\n" + text.replace("\n", " ") + "\n"
    return _normalize_joined(joined.encode(), case).tobytes().decode().strip()


def tokenize(text: str, *, case: Case = "fold") -> list[str]:
    """The canonical tokens of one text."""
    return normalize_text(text, case=case).split()


def normalize_column(texts: pa.Array, *, case: Case = "fold") -> pa.Array:
    """Normalises every text of a column; the same as `normalize_text` on each, at a fraction of the cost.

    Args:
        texts: string or large_string; null counts as empty.
        case: "fold" makes "Straße" and "STRASSE" one; "sensitive" leaves the case.

    Returns:
        A column of the same type and length, without nulls.
    """
    texts = pc.replace_substring(pc.fill_null(texts, ""), "\n", " ")
    is_ascii = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    parts = [texts.filter(pa.array(selected)) for selected in (is_ascii, ~is_ascii)]
    parts = [_split_rows(_normalize_joined(join_rows(part, "\n"), case)) for part in parts]
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
_NO_BYTE = 256

# Kinds of characters; marks and apostrophes become one of the others by what stands beside them.
_SEPARATES, _WORD, _ALONE, _MARK, _QUOTE, _ATTACHED, _ROW_MARK = range(7)

_APOSTROPHES = "'\u2019\u02bc"

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


def _normalize_joined(joined: bytes, case: Case) -> npt.NDArray[np.uint8]:
    """Normalises the rows between row marks; each may keep a space before its first token."""
    if joined.isascii():
        return _join_tokens(np.frombuffer(joined.lower() if case == "fold" else joined, np.uint8))
    text = unify_characters(joined.decode())
    if case == "fold":
        text = unicodedata.normalize("NFKC", _DOTTED_I.sub("i", text.casefold()))
    codes = _join_tokens(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    return np.frombuffer(codes.tobytes().decode("utf-32-le").encode(), np.uint8)


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
    return kinds


_PUNCTUATION, _WHITE_SPACE = b",.;:?!`", b"\t\n\r "


def _space_punctuation(texts: pa.Array) -> pa.Array:
    spaced = pc.replace_substring_regex(pc.fill_null(texts, ""), f"[{_PUNCTUATION.decode()}]", r" \0 ")
    return pc.replace_substring_regex(spaced, f"[{_WHITE_SPACE.decode()}]", " ")
