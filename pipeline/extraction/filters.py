"""Which pairs are worth keeping, by their text and URL alone: pure functions over whole Arrow columns.

In: a table with the columns image_url and text, texts already clean. Out: a mask of the rows kept, and how many rows
each filter refused; a row counts for the first filter that refuses it.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import DropReason
from pipeline.base.files import read_bytes
from pipeline.base.options import option
from pipeline.extraction.file_names import are_file_names
from pipeline.extraction.html_text import decode_again
from pipeline.extraction.languages import identify_languages
from pipeline.web.urls import url_host
from vocab.normalize import normalize_column

Mask = npt.NDArray[np.bool_]

_RE2_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PATTERN_PARTS: Final = 200
# Control characters, marks that only say how text is stored, and U+200B, which is no space.
_REMOVED: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\ufeff\ufffe\uffff\ud800-\udfff]+")
_SPACES: Final = re.compile(r"\s+")


@dataclass(kw_only=True)
class FilterOptions:
    """The options of the filters; a stage that filters has them among its own."""

    min_chars: int = option(2, "Fewest characters of a text.", minimum=1)
    max_chars: int = option(1000, "Most characters of a text (COYO-700M's limit).", minimum=1)
    min_words: int = option(1, "Fewest words of a text, counted by spaces; keep 1 for Chinese or Thai.", minimum=1)
    min_letters: float = option(0.25, "Smallest share of letters among a text's characters.", minimum=0, maximum=1)
    file_names: bool = option(False, "Keep texts that are names of files or addresses, as IMG_1234.jpg.")
    max_url_chars: int = option(2048, "Most characters of an image URL.", minimum=16)
    refuse_suffix: tuple[str, ...] = option(
        ("svg", "svgz", "ico"), "Image formats refused by the end of the URL's path; never fetched."
    )
    block_domain: tuple[str, ...] = option((), "Domains, with all below them, whose images are refused.")
    block_domains: tuple[str, ...] = option((), "Files of such domains, one a line.", identity=False)
    block_url: tuple[str, ...] = option((), "Refuse images whose URL holds one of these, whatever the case.")
    block_urls: tuple[str, ...] = option((), "Files of such parts of URLs, one a line.", identity=False)
    block_text: tuple[str, ...] = option((), "Refuse texts that hold one of these, whatever the case.")
    block_texts: tuple[str, ...] = option((), "Files of such parts of texts, one a line.", identity=False)
    language: tuple[str, ...] = option(
        (), "Keep texts in these languages only (ISO 639-1 codes), told from the text; e.g. en de."
    )
    scrub_contacts: bool = option(False, "Take e-mail addresses and telephone numbers out of texts.")

    def block_files(self) -> list[str]:
        """The files of block lists."""
        return [*self.block_domains, *self.block_urls, *self.block_texts]


class Refusals(NamedTuple):
    """What the filters say of a table: the rows kept, and the rows each filter refused."""

    kept: Mask
    drops: dict[DropReason, int]


def filter_options(stage: FilterOptions) -> FilterOptions:
    """The filters' options alone, to be sent to workers, with the entries of block lists in them."""
    options = FilterOptions(**{field.name: getattr(stage, field.name) for field in dataclasses.fields(FilterOptions)})
    return dataclasses.replace(
        options,
        block_domain=(*options.block_domain, *_read_lists(options.block_domains)),
        block_url=(*options.block_url, *_read_lists(options.block_urls)),
        block_text=(*options.block_text, *_read_lists(options.block_texts)),
    )


def read_list(content: bytes) -> list[str]:
    r"""The entries of a list: one a line, without white space around; lines that begin with # are comments.

    >>> read_list(b"# ads\nad.example \n\n")
    ['ad.example']
    """
    lines = [line.strip() for line in content.decode("utf-8-sig", "replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _read_lists(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from read_list(read_bytes(path))


def clean_texts(texts: Iterable[str]) -> list[str]:
    r"""Texts with white space collapsed to single spaces, none at the ends, without control characters, decoded.

    What was escaped twice still holds character references; see `decode_again`.

    >>> clean_texts([" a\u00a0 b\x07\n", "c &amp; d"])
    ['a b', 'c & d']
    """
    # A printable text holds no control character, and no white space but spaces.
    return [
        text
        if text.isprintable() and "  " not in text and text == text.strip() and not ("&" in text and ";" in text)
        else _clean(text)
        for text in texts
    ]


def _clean(text: str) -> str:
    return _SPACES.sub(" ", _REMOVED.sub("", decode_again(text))).strip(" ")


def normalized_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as they are compared: as for matching; a text without a letter or digit stays as it is.

    >>> normalized_texts(pa.array(["A Cat!", "???"])).to_pylist()
    ['a cat', '???']
    """
    flat = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if not len(flat):
        return pa.array([], pa.string())
    flat = pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat
    normal = normalize_column(flat)
    return pc.if_else(pc.equal(normal, ""), flat, normal)


def refuse_pairs(pairs: pa.Table, options: FilterOptions) -> Refusals:
    """Applies the filters to pairs.

    Args:
        pairs: With columns image_url (canonical) and text (clean), without nulls.
        options: The limits.
    """
    kept = np.ones(pairs.num_rows, np.bool_)
    drops: dict[DropReason, int] = {}
    for reason, refuses in _filters(options):
        refused = kept & refuses(pairs)
        kept &= ~refused
        if refused.any():
            drops[reason] = int(refused.sum())
    return Refusals(kept, drops)


def _filters(options: FilterOptions) -> Iterator[tuple[DropReason, Callable[[pa.Table], Mask]]]:
    """The filters that are on, cheapest first."""
    yield DropReason.TEXT_TOO_SHORT, lambda t: _mask(pc.less(pc.utf8_length(t["text"]), options.min_chars))
    yield DropReason.TEXT_TOO_LONG, lambda t: _mask(pc.greater(pc.utf8_length(t["text"]), options.max_chars))
    yield DropReason.URL_TOO_LONG, lambda t: _mask(pc.greater(pc.binary_length(t["image_url"]), options.max_url_chars))
    if options.min_words > 1:
        yield DropReason.TOO_FEW_WORDS, lambda t: _mask(pc.less(_num_words(t["text"]), options.min_words))
    if not options.file_names:
        yield DropReason.FILE_NAME, lambda t: _mask(are_file_names(t["text"]))
    if options.min_letters > 0:
        yield DropReason.TOO_FEW_LETTERS, lambda t: _has_few_letters(t["text"], options.min_letters)
    if options.refuse_suffix:
        suffixes = "|".join(re.escape(suffix.lstrip(".")) for suffix in options.refuse_suffix)
        pattern = rf"(?i)^[^?]*\.(?:{suffixes})(?:\?|$)"
        yield DropReason.REFUSED_SUFFIX, lambda t: _mask(pc.match_substring_regex(t["image_url"], pattern))
    if options.block_domain:
        blocked = frozenset(domain.lower().strip(".") for domain in options.block_domain)
        yield DropReason.BLOCKED_DOMAIN, lambda t: _has_domain(t["image_url"], blocked)
    if options.block_url:
        yield DropReason.BLOCKED_URL, lambda t: _holds_any(t["image_url"], options.block_url)
    if options.block_text:
        yield DropReason.BLOCKED_TEXT, lambda t: _holds_any(t["text"], options.block_text)
    if options.language:
        yield DropReason.OTHER_LANGUAGE, lambda t: _is_in_none_of(t["text"], options.language)


def _holds_any(column: pa.ChunkedArray, parts: Sequence[str]) -> Mask:
    """Which texts hold one of many parts, whatever the case; patterns are kept small enough for the engine's memory."""
    found = np.zeros(len(column), np.bool_)
    for first in range(0, len(parts), _PATTERN_PARTS):
        pattern = "|".join(map(_quote, parts[first : first + _PATTERN_PARTS]))
        found |= _mask(pc.match_substring_regex(column, pattern, ignore_case=True))
    return found


def _quote(text: str) -> str:
    """A text as a pattern of RE2, which refuses escapes of letters and of characters beyond ASCII."""
    return _RE2_SPECIAL.sub(r"\\\g<0>", text)


def _is_in_none_of(texts: pa.ChunkedArray, languages: Sequence[str]) -> Mask:
    found = identify_languages(texts.to_pylist())
    return np.fromiter((language not in languages for language in found), np.bool_, len(found))


def _mask(values: pa.ChunkedArray) -> Mask:
    return np.asarray(values.to_numpy(), np.bool_)


def _num_words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.add(pc.count_substring(texts, " "), 1)


def _has_few_letters(texts: pa.ChunkedArray, min_share: float) -> Mask:
    """Which texts hold less than a share of letters; most have enough ASCII letters to need no closer look."""
    lengths = np.maximum(pc.utf8_length(texts).to_numpy(), 1)
    few = np.asarray(_num_ascii_letters(texts) < min_share * lengths)
    closely = texts.filter(pa.array(few)).to_pylist()
    letters = [sum(map(_is_letter, text)) for text in closely]
    few[few] = np.array(letters, np.int64) < min_share * lengths[few]
    return few


def _is_letter(character: str) -> bool:
    return character.isalpha() or unicodedata.category(character).startswith("M")


def _num_ascii_letters(texts: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    if not len(texts):
        return np.zeros(0, np.int64)
    flat = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in texts.chunks])
    ends = np.frombuffer(flat.buffers()[1], np.int64)[flat.offset :][: len(flat) + 1]
    data = np.frombuffer(flat.buffers()[2], np.uint8)[: ends[-1]]
    letters_before = np.zeros(len(data) + 1, np.int64)
    np.cumsum((data | 0x20) - np.uint8(ord("a")) < 26, out=letters_before[1:])
    return np.asarray(letters_before[ends[1:]] - letters_before[ends[:-1]])


def _has_domain(urls: pa.ChunkedArray, blocked: frozenset[str]) -> Mask:
    hosts = [url_host(url).strip(".") for url in urls.to_pylist()]
    known = {host: _is_below(host, blocked) for host in set(hosts)}
    return np.fromiter((known[host] for host in hosts), np.bool_, len(hosts))


def _is_below(host: str, domains: frozenset[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[start:]) in domains for start in range(len(labels)))
