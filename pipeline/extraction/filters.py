"""Which pairs are worth keeping, by their text and URL alone: pure functions over whole Arrow columns.

In: a table with the columns image_url and text, texts already clean. Out: a mask of the rows kept, and how many rows
each filter refused; a row counts for the first filter that refuses it.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.drops import DropReason
from pipeline.options import option
from pipeline.urls import url_host

Mask = npt.NDArray[np.bool_]

_NO_LETTERS: Final = r"[^\p{L}\p{M}]+"
# Control characters, marks that only say how text is stored, and U+200B, which is no space.
_REMOVED: Final = r"[\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}\x{200B}\x{FEFF}\x{FFFE}\x{FFFF}]+"
_SPACES: Final = r"[\s\x0b\x{85}\p{Z}]+"


@dataclass(kw_only=True)
class FilterOptions:
    """The options of the filters; a stage that filters has them among its own."""

    min_chars: int = option(2, "Fewest characters of a text.", minimum=1)
    max_chars: int = option(1000, "Most characters of a text (COYO-700M's limit).", minimum=1)
    min_words: int = option(1, "Fewest words of a text, counted by spaces; keep 1 for Chinese or Thai.", minimum=1)
    min_letters: float = option(0.25, "Smallest share of letters among a text's characters.", minimum=0, maximum=1)
    max_url_chars: int = option(2048, "Most characters of an image URL.", minimum=16)
    refuse_suffix: tuple[str, ...] = option(
        ("svg", "svgz", "ico"), "Image formats refused by the end of the URL's path; never fetched."
    )
    block_domain: tuple[str, ...] = option((), "Domains, with all below them, whose images are refused.")
    block_text: tuple[str, ...] = option((), "Refuse texts that hold one of these, whatever the case.")


class Refusals(NamedTuple):
    """What the filters say of a table: the rows kept, and the rows each filter refused."""

    kept: Mask
    drops: dict[DropReason, int]


def filter_options(stage: FilterOptions) -> FilterOptions:
    """The filters' options alone, to be sent to workers."""
    return FilterOptions(**{field.name: getattr(stage, field.name) for field in dataclasses.fields(FilterOptions)})


def clean_texts(texts: pa.Array) -> pa.Array:
    r"""Texts with white space collapsed to single spaces, none at the ends, and without control characters.

    >>> clean_texts(pa.array([" a\u00a0 b\x07\n"])).to_pylist()
    ['a b']
    """
    texts = pc.replace_substring_regex(texts, _REMOVED, "")
    return pc.utf8_trim(pc.replace_substring_regex(texts, _SPACES, " "), " ")


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
    if options.min_letters > 0:
        yield DropReason.TOO_FEW_LETTERS, lambda t: _letter_share(t["text"]) < options.min_letters
    if options.refuse_suffix:
        suffixes = "|".join(re.escape(suffix.lstrip(".")) for suffix in options.refuse_suffix)
        pattern = rf"(?i)^[^?]*\.(?:{suffixes})(?:\?|$)"
        yield DropReason.REFUSED_SUFFIX, lambda t: _mask(pc.match_substring_regex(t["image_url"], pattern))
    if options.block_domain:
        yield DropReason.BLOCKED_DOMAIN, lambda t: _has_domain(t["image_url"], options.block_domain)
    for text in options.block_text:
        yield DropReason.BLOCKED_TEXT, _holds(text)


def _holds(text: str) -> Callable[[pa.Table], Mask]:
    return lambda t: _mask(pc.match_substring(t["text"], text, ignore_case=True))


def _mask(values: pa.ChunkedArray) -> Mask:
    return np.asarray(values.to_numpy(), np.bool_)


def _num_words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.add(pc.count_substring(texts, " "), 1)


def _letter_share(texts: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    letters = pc.utf8_length(pc.replace_substring_regex(texts, _NO_LETTERS, "")).to_numpy()
    return np.asarray(letters / np.maximum(pc.utf8_length(texts).to_numpy(), 1), np.float64)


def _has_domain(urls: pa.ChunkedArray, domains: Sequence[str]) -> Mask:
    blocked = frozenset(domain.lower().strip(".") for domain in domains)
    hosts = [url_host(url).strip(".") for url in urls.to_pylist()]
    known = {host: _is_below(host, blocked) for host in set(hosts)}
    return np.fromiter((known[host] for host in hosts), np.bool_, len(hosts))


def _is_below(host: str, domains: frozenset[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[start:]) in domains for start in range(len(labels)))
