r"""Where a phrase ends: the places in a text that no bigram lies across.

In: texts. Out: their phrases, from which punctuation that ends one is gone. A phrase ends

- at a line break, and at every other control character: U+001F stands where a template was;
- at punctuation and symbols of any script: , ; : ! ? … / ( " « 「 。 、 । ، = → • and so on;
- at a hyphen, en dash, middle dot or straight quote that is not inside a word: *hip-hop* and *Franco–Prussian* go on,
  *first- and second-class* ends once, and so does whatever stands around a spaced dash. An em dash always ends one;
- at a full stop, unless it belongs to a word: *St.*, *Dr.* (two letters, a capital and a small one), the *J.* of a name
  (one letter, but no small one: *e.g.* ends), *Gen.* and others that stand before names, *3.* (one or two digits: an
  ordinal number, in German, Czech, Finnish…), *example.com*;
- before and after a number that is written with marks or narrow spaces in it: of *1,000 people* or *10:30 am*, *000
  people* and *30 am* are no bigrams.

It does not end at an apostrophe, nor at signs that are read as words or as part of one: & + @ # % * ° § _ and those of
currencies. But a clitic, which an apostrophe makes a word of its own (`vocab.clitics`), is a phrase of its own, too: of
*the dog's bowl* there is *the dog*, of *l'église romane* there is *église romane*, and no more.

Only the texts that are counted are cut into phrases. Those that queries are searched in are not: *St. Louis* and *st
louis* have the same tokens.
"""

import functools
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.clitics import CLITICS, NO_CLITICS, CliticRule
from vocab.normalize import Case, join_rows, normalize_column, spell_signs, unify_characters

_Code = TypeVar("_Code", np.uint8, np.uint32)
_Kinds = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]

_ROW, _END_CODE = ord("\n"), ord("\x1f")

# Kinds of characters. Words are made of those from _MARK on; what stands directly between two of those from _APOSTROPHE
# on is inside a word.
_SPACE, _GOES_ON, _ENDS, _JOINS, _HYPHEN, _STOP, _APOSTROPHE, _MARK, _SMALL, _CAPITAL, _LETTER, _NUMBER, _DIGIT = range(
    13
)

_OF_CATEGORY = {"Ll": _SMALL, "Lu": _CAPITAL, "Lt": _CAPITAL, "Lm": _LETTER, "Lo": _LETTER, "Nd": _DIGIT} | {
    "Nl": _NUMBER, "No": _NUMBER, "Mn": _MARK, "Mc": _MARK, "Zl": _ENDS, "Zp": _ENDS, "Cc": _ENDS, "Pd": _ENDS,
    "Ps": _ENDS, "Pe": _ENDS, "Pi": _ENDS, "Pf": _ENDS, "Po": _ENDS, "Sm": _ENDS, "So": _ENDS,
}  # fmt: skip
_EXCEPTIONS = (
    (_SPACE, " "),
    (_STOP, "."),
    (_APOSTROPHE, "'\u2019\u02bc"),
    (_HYPHEN, "-\u2010\u2012\u2013\u2212\u05be"),  # hyphens, figure dash, en dash, minus, Hebrew maqaf
    (_JOINS, '"\u2018\u00b7\u2027\u05f4\u055b\u055c\u055e'),  # the last ones: Hebrew abbreviations; Armenian tones
    (_GOES_ON, "&+@#%*°§®©\u2030\u2032\u2033\u066a\u05f3\u0970"),  # geresh, the Devanagari sign of abbreviations
    (_GOES_ON, "\u1361\u0f0b\u0f0c"),  # what stands between words in Ethiopic, between syllables in Tibetan
)
_EXCEPTIONAL = {sign: kind for kind, signs in _EXCEPTIONS for sign in signs}

# Those of three letters and more that stand before or inside a name, in languages of the Latin alphabet.
_ABBREVIATIONS = frozenset((
    "Adm", "Amb", "Ave", "Blvd", "Brig", "Bros", "Capt", "Cmdr", "Col", "Comdr", "Corp", "Cpl", "Dept", "Dra", "Drs",
    "Esq", "Gen", "Gov", "Hon", "Inc", "Ing", "Lieut", "Ltd", "Maj", "Messrs", "Mgr", "Mrs", "Msgr", "Mts", "Prof",
    "Pvt", "Rep", "Rev", "Sen", "Sgt", "Sra", "Sta", "Supt", "Univ", "Vol",
))  # fmt: skip
_ABBREVIATION_SIZES = min(map(len, _ABBREVIATIONS)), max(map(len, _ABBREVIATIONS))
_ORDINAL_DIGITS = 2

_APOSTROPHES = "'\u2019\u02bc\uff07"

_NUMBER_SPACES = "\u00a0\u2007\u2009\u202f"  # stand inside numbers; NFKC makes common spaces of them
_GOES_ON_SIGN = "_"  # separates as they do


def split_phrases(texts: pa.Array) -> pa.LargeListArray:
    """Cuts texts into phrases.

    Args:
        texts: string or large_string, without nulls.

    Returns:
        For each text a list of large_string: what stands before, between and after the ends of phrases, so at least
        one, which may be empty. The tokens of a text are those of its phrases.

    >>> split_phrases(pa.array(["J. R. Smith (St. Louis), hip-hop", "of 1,000 people"])).to_pylist()
    [['J. R. Smith ', 'St. Louis', '', ' hip-hop'], ['of ', '1', '000', ' people']]
    """
    lines = pc.replace_substring(texts.cast(pa.large_string()), "\n", "\x1f")
    is_ascii = pc.string_is_ascii(lines)
    parts = [_split_ascii(lines.filter(is_ascii)), _split_unicode(lines.filter(pc.invert(is_ascii)))]
    is_first = is_ascii.to_numpy(zero_copy_only=False)
    rows = np.where(is_first, np.cumsum(is_first), len(parts[0]) + np.cumsum(~is_first)) - 1
    return pa.concat_arrays(parts).take(pa.array(rows))


def _split_ascii(texts: pa.Array) -> pa.LargeListArray:
    joined = join_rows(texts, "\n")
    if b"+" in joined or b"#" in joined:
        joined = _spell(joined.decode()).encode()
    return _cut(mark_ends(np.frombuffer(joined, np.uint8)))


def _split_unicode(texts: pa.Array) -> pa.LargeListArray:
    text = join_rows(texts, "\n").decode()
    for space in _NUMBER_SPACES:
        text = text.replace(space, _GOES_ON_SIGN)
    marked = mark_ends(np.frombuffer(_spell(unify_characters(text)).encode("utf-32-le"), np.uint32))
    return _cut(np.frombuffer(marked.tobytes().decode("utf-32-le").encode(), np.uint8))


def _spell(text: str) -> str:
    """Puts words for signs that end a name; none that are left may end one when what stands behind them is cut off."""
    spelled = spell_signs(text)
    for sign in "+#":
        spelled = spelled.replace(sign, _GOES_ON_SIGN)
    return spelled


def _cut(marked: npt.NDArray[np.uint8]) -> pa.LargeListArray:
    """Cuts UTF-8 bytes at the row marks into texts, and these at the ends of phrases."""
    is_row = marked == _ROW
    is_mark = is_row | (marked == _END_CODE)
    marks = np.flatnonzero(is_mark)
    ends = marks - np.arange(marks.size)
    phrases = pa.LargeStringArray.from_buffers(marks.size - 1, pa.py_buffer(ends), pa.py_buffer(marked[~is_mark]))
    return pa.LargeListArray.from_arrays(pa.array(np.flatnonzero(is_row[marks])), phrases)


class CliticEnds(NamedTuple):
    """Ends of phrases beside clitics."""

    rows: _Places  # texts that they lie in, ascending
    places: _Places  # in the words of all texts, in front of which they lie; of the last word of a text, behind it


def find_clitic_ends(phrases: pa.Array, words: pa.ListArray, *, case: Case, clitics: str) -> CliticEnds:
    """Finds the ends of phrases on both sides of clitics.

    Args:
        phrases: Texts without nulls.
        words: The normalised words of each.
        case: With which they were normalised.
        clitics: Likewise.

    >>> words = pa.array([["o'clock"], ["the", "dog", "s"], ["bowl"]])
    >>> ends = find_clitic_ends(pa.array(["o'clock", "the dog's", "bowl"]), words, case="fold", clitics="en")
    >>> ends.rows.tolist(), ends.places.tolist()
    ([1, 1], [3, 4])
    """
    rows = pc.indices_nonzero(pc.match_substring_regex(phrases, f"[{_APOSTROPHES}]"))
    uncut, cut = normalize_column(phrases.take(rows), case=case, clitics=NO_CLITICS), words.take(rows)
    is_cut = pc.not_equal(pc.add(pc.count_substring(uncut, " "), 1), pc.list_value_length(cut))
    found: set[tuple[int, int]] = set()
    columns = (column.filter(is_cut).to_pylist() for column in (rows, words.offsets.take(rows), uncut, cut))
    for row, place, text, parts in zip(*columns, strict=True):
        left = iter(parts)
        for whole in text.split():
            of_whole = _take_parts(left, num_apostrophes=whole.count("'"))
            for index in _find_clitics(of_whole, CLITICS[clitics]):
                found.update(((row, place + index), (row, place + index + 1)))
            place += len(of_whole)
    ends = np.array(sorted(found), np.int64).reshape(-1, 2)
    return CliticEnds(ends[:, 0], ends[:, 1])


def _take_parts(left: Iterator[str], *, num_apostrophes: int) -> list[str]:
    """The next parts that make a word which has so many apostrophes."""
    parts = [next(left)]
    while len(parts) - 1 + sum(part.count("'") for part in parts) < num_apostrophes:
        parts.append(next(left))
    return parts


def _find_clitics(parts: list[str], rule: CliticRule) -> Iterator[int]:
    """Which of the parts that a word was cut into are clitics."""
    for index, part in enumerate(map(str.lower, parts)):
        is_before = index < len(parts) - 1 and part in rule.before
        is_behind = index > 0 and (rule.any_behind or part in rule.behind)
        if is_before or is_behind:
            yield index


def mark_ends(codes: npt.NDArray[_Code]) -> npt.NDArray[_Code]:
    """Puts U+001F wherever a phrase ends, mostly in place of what ends it.

    Args:
        codes: Characters of texts, NFKC, each text between row marks (line breaks).
    """
    kinds = _find_kinds(codes)
    marked = codes.copy()
    marked[(kinds == _ENDS) & (codes != _ROW)] = _END_CODE
    joins = np.flatnonzero((kinds >= _JOINS) & (kinds <= _STOP))
    marked[joins[~_belongs_to_word(joins, codes, kinds)]] = _END_CODE
    ends, around = _find_composed_numbers(codes, kinds)
    marked[ends] = _END_CODE
    return np.insert(marked, around, _END_CODE)


def _belongs_to_word(signs: _Places, codes: npt.NDArray[_Code], kinds: _Kinds) -> npt.NDArray[np.bool_]:
    """Whether each hyphen, full stop or other sign that may be part of a word is part of one."""
    before, after = kinds[signs - 1], kinds[signs + 1]
    is_hyphen, is_stop = kinds[signs] == _HYPHEN, kinds[signs] == _STOP
    belongs = (after >= _APOSTROPHE) & ((before >= _APOSTROPHE) | (is_hyphen & (before == _STOP)))
    belongs[is_stop] = _belongs_to_abbreviation(signs[is_stop], belongs[is_stop], codes, kinds)
    return belongs


def _belongs_to_abbreviation(
    stops: _Places, inside: npt.NDArray[np.bool_], codes: npt.NDArray[_Code], kinds: _Kinds
) -> npt.NDArray[np.bool_]:
    """Whether each full stop is part of what stands before it, or inside a word of more than one letter."""
    starts = _run_starts(stops, kinds >= _MARK)
    sizes, first = stops - starts, kinds[starts]
    one_letter = _run_starts(stops, kinds == _MARK) == starts + 1
    is_initial = one_letter & ((first == _CAPITAL) | (first == _LETTER))
    is_pair = (sizes == 2) & (first == _CAPITAL) & (kinds[stops - 1] == _SMALL)
    is_ordinal = (sizes <= _ORDINAL_DIGITS) & (first == _DIGIT) & (kinds[stops - 1] == _DIGIT)
    belongs = is_initial | is_pair | is_ordinal | (inside & ~(one_letter & (first == _SMALL)))
    least, most = _ABBREVIATION_SIZES
    for row in np.flatnonzero(~belongs & (first == _CAPITAL) & (sizes >= least) & (sizes <= most)):
        belongs[row] = "".join(map(chr, codes[starts[row] : stops[row]])) in _ABBREVIATIONS
    return belongs


def _find_composed_numbers(codes: npt.NDArray[_Code], kinds: _Kinds) -> tuple[_Places, _Places]:
    """The signs between two digits, and where the numbers that have one begin and end."""
    is_digit, is_sign = kinds == _DIGIT, (kinds > _SPACE) & (kinds < _APOSTROPHE) & (codes != _ROW)
    signs = np.flatnonzero(is_digit[:-2] & is_sign[1:-1] & is_digit[2:]) + 1
    in_word = kinds >= _APOSTROPHE
    beyond = len(kinds) - 1 - _run_starts(len(kinds) - 1 - signs, in_word[::-1])
    return signs, np.concatenate([_run_starts(signs, in_word), beyond + 1])


def _run_starts(places: _Places, in_run: npt.NDArray[np.bool_]) -> _Places:
    """Where the run directly before each place begins; the place itself, which is in none, where there is no run."""
    outside = np.flatnonzero(~in_run)
    starts: _Places = outside[np.searchsorted(outside, places) - 1] + 1
    return starts


def _find_kinds(codes: npt.NDArray[_Code]) -> _Kinds:
    found = np.flatnonzero(np.bincount(codes, minlength=1))
    kinds = np.zeros(int(found[-1]) + 1, np.uint8)
    kinds[found] = [_kind(chr(code)) for code in found]
    return kinds[codes]


@functools.cache
def _kind(sign: str) -> int:
    return _EXCEPTIONAL.get(sign, _OF_CATEGORY.get(unicodedata.category(sign), _GOES_ON))
